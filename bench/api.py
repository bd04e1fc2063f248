"""What the daemon costs: API requests at rest, for a step and for a rollout; CPU and memory; how late a weight is.

On a real control plane with kwok's pods. Everything is counted by the API server (its audit log, by the daemon's user) and by the
kernel (/proc), nothing by the daemon itself. Needs root, or a user namespace: `python -m tests.testbed.run` says how.

    python -m bench.api                     # ten minutes at rest, ten minutes of rollouts
    python -m bench.api --minutes 3 --canaries 20 --json
"""

import argparse
import json
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from analyzers.evidence import read as read_evidence
from bench.figures import Costs, costs, ours, percentile, rollouts
from bench.fleet import ACCOUNT, METRICS_PORT, WEIGHTS, Fleet, Meter
from tests.testbed.controlplane import ControlPlane
from tests.witness.audit import Audit

SETTLE = 15.0  # seconds after adoption until the daemon is at rest
LEAST_SERIES = 10
LEAST_MINUTES = 3.0


def main() -> int:
    options = _options()
    with ControlPlane() as plane, plane.entered():
        fleet = Fleet(
            plane, size=options.canaries, spread=min(options.namespaces, options.canaries), dwell=options.minutes * 60 / len(WEIGHTS)
        )
        _say(f"{options.canaries} applications on Kubernetes {plane.version}")
        fleet.build()
        fleet.start_daemon(options.profile)
        try:
            figures = _measure(fleet, options.minutes)
        finally:
            if options.keep:
                shutil.copy(plane.audit_log, options.keep / "audit.log")
                shutil.copy(plane.directory / "daemon.log", options.keep / "daemon.log")
            if fleet.daemon is not None:
                fleet.daemon.stop(20.0)
    print(_table(figures))
    if options.json:
        print(json.dumps(figures))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.api", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of rest, and of the five steps (default 10)")
    parser.add_argument("--canaries", type=int, default=100)
    parser.add_argument("--namespaces", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--profile", type=Path, help="run the daemon under cProfile and write its statistics here")
    parser.add_argument("--keep", type=Path, help="folder to copy the audit log and the daemon's log to")
    options = parser.parse_args()
    if options.minutes < LEAST_MINUTES:
        parser.error(f"--minutes is {options.minutes:g}; in less than {LEAST_MINUTES:g} there are too few ticks to see evidence in each")
    return options


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def _measure(fleet: Fleet, minutes: float) -> dict[str, Any]:
    time.sleep(5)
    fleet.adopt()
    fleet.await_phase("Idle", timeout=180)
    fleet.await_forecast(timeout=240)
    time.sleep(SETTLE)
    meter = Meter(fleet.daemon_pid())
    _say(f"at rest for {minutes:g} min")
    began = time.time()
    _watch(fleet, meter, minutes * 60)
    idle = {"cpu": meter.cpu_percent, "rss": meter.peak_mb, "since": began, "until": time.time()}
    _say("a new version of everything")
    released = time.time()
    fleet.release()
    fleet.await_phase("Progressing", timeout=240)
    _say("all are progressing")
    meter.restart()
    active_since, queried = time.time(), _counted()
    _watch(fleet, meter, minutes * 60 - (time.time() - released) - 5)
    active = {"cpu": meter.cpu_percent, "rss": meter.peak_mb, "since": active_since, "until": time.time()}
    asked = _counted()
    _say("waiting for the promotions")
    fleet.await_phase("Idle", timeout=minutes * 60 + 900)
    time.sleep(5)
    series = (asked["series"] - queried["series"]) * 15 / (active["until"] - active_since) / len(fleet.names)
    return _figures(fleet, idle, active, Audit.read(fleet.plane.audit_log).by(ACCOUNT), released, series)


def _watch(fleet: Fleet, meter: Meter, seconds: float) -> None:
    meter.restart()
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        meter.sample()
        if fleet.daemon is not None and fleet.daemon.popen.poll() is not None:
            raise RuntimeError(f"the daemon ended:\n{fleet.daemon.tail()}")
        time.sleep(min(2.0, left))


def _counted() -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/counted", timeout=10) as answer:
        found: dict[str, int] = json.load(answer)
    return found


def _with_evidence(fleet: Fleet, since: float, until: float) -> int:
    """Canaries whose stored evidence has requests of both arms in every tick of the window (the last two are not final yet)."""
    good = 0
    for run in fleet.plane.json("get", "analysisruns.linnet.dev", "-A")["items"]:
        evidence = (run.get("status") or {}).get("evidence") or {}
        log = read_evidence(evidence["data"]) if evidence else None
        if log is None:
            continue
        scrape = log.config.scrape_seconds
        used = {
            e.index
            for e in log.entries
            if all(m.canary and m.baseline and m.canary.requests and m.baseline.requests for m in e.arms.values())
        }
        begin, end = int(since // scrape) + 4, int(until // scrape) - 3
        good += begin < end and all(index in used for index in range(begin, end))
    return good


def _figures(
    fleet: Fleet, idle: dict[str, float], active: dict[str, float], audit: Audit, released: float, series: float
) -> dict[str, Any]:
    window = audit.between(released)
    rest = ours(audit.between(idle["since"], idle["until"]))
    spent: Costs = costs(rollouts(window).values(), (active["until"] - active["since"]) / 60)
    outcomes = [(c["status"].get("history") or [{}])[0].get("outcome") for c in fleet.canaries()]
    return {
        "idle_requests_per_minute": round(len(rest) / ((idle["until"] - idle["since"]) / 60), 2),
        "writes_per_step": round(spent.writes_per_step, 2),
        "requests_per_rollout": round(spent.requests_per_rollout, 1),
        "cpu_idle_percent": round(idle["cpu"], 2),
        "cpu_active_percent": round(active["cpu"], 2),
        "active_with_evidence": _with_evidence(fleet, active["since"], active["until"]),
        "rss_mb": round(max(idle["rss"], active["rss"]), 1),
        "decision_to_weight_p99_s": round(percentile(spent.delays, 0.99), 3),
        "canaries": len(fleet.names),
        "promoted": outcomes.count("Promoted"),
        "rss_idle_mb": round(idle["rss"], 1),
        "decision_to_weight_p50_s": round(percentile(spent.delays, 0.5), 3),
        "decisions_with_weight": len(spent.delays),
        "series_per_tick": round(series, 1),
        "worst_step_writes": spent.worst_step,
        "worst_rollout_requests": spent.worst_rollout,
        "refused_requests": spent.refused,
        "forbidden_requests": sum(e.code == 403 for e in audit),
        "lease_requests_per_minute": round(_per_minute(audit, "leases", idle), 1),
        "watch_and_relist_requests_per_minute": round(_informers(audit, idle), 1),
        "periodic_evidence_requests_per_minute": round(spent.periodic_per_minute, 1),
        "requests_by_kind": {kind: round(n, 2) for kind, n in spent.by_kind.items()},
        "idle_requests_by_kind": {f"{verb} {resource}": n for (verb, resource), n in rest.counts().items()},
    }


def _per_minute(audit: Audit, resource: str, window: dict[str, float]) -> float:
    return len(audit.between(window["since"], window["until"]).on(resource)) / ((window["until"] - window["since"]) / 60)


def _informers(audit: Audit, window: dict[str, float]) -> float:
    inside = audit.between(window["since"], window["until"]).without("leases")
    return (len(inside) - len(ours(inside))) / ((window["until"] - window["since"]) / 60)


def _table(f: dict[str, Any]) -> str:
    rows = [
        ("requests a minute at rest", f["idle_requests_per_minute"], "0"),
        ("writes a step (mean; worst)", f"{f['writes_per_step']}; {f['worst_step_writes']}", "<= 4"),
        ("requests of a five-step rollout (mean; worst)", f"{f['requests_per_rollout']}; {f['worst_rollout_requests']}", "<= 40"),
        ("CPU at rest, % of a core", f["cpu_idle_percent"], "Flagger 3, Argo Rollouts 0"),
        ("CPU with all active, % of a core", f["cpu_active_percent"], "< 6"),
        ("Canaries with evidence in every tick", f"{f['active_with_evidence']} of {f['canaries']}", "all"),
        ("series a Canary and tick", f["series_per_tick"], f">= {LEAST_SERIES}"),
        ("resident memory, MB (at rest; peak)", f"{f['rss_idle_mb']}; {f['rss_mb']}", "<= 150"),
        ("decision to weight written, s (p50; p99)", f"{f['decision_to_weight_p50_s']}; {f['decision_to_weight_p99_s']}", "p99 <= 1"),
        ("promoted", f"{f['promoted']} of {f['canaries']}", "all"),
        ("apart: Lease requests a minute", f["lease_requests_per_minute"], ""),
        ("apart: watches opened and lists a minute", f["watch_and_relist_requests_per_minute"], ""),
        ("apart: periodic evidence a minute, all Canaries", f["periodic_evidence_requests_per_minute"], ""),
        ("refused by RBAC", f["forbidden_requests"], "0"),
    ]
    rows += [(f"  {kind}, a rollout", n, "") for kind, n in f["requests_by_kind"].items()]
    wide = max(len(str(name)) for name, _, _ in rows)
    return "\n".join(f"{name:<{wide}}  {value!s:>14}  {goal}" for name, value, goal in rows)


if __name__ == "__main__":
    sys.exit(main())
