"""What the judge decides, and what that costs, beside the stock rules of others: `python -m bench.judge [--json]`.

Good and bad kinds of release (bench/judge_kinds.py) with parameters drawn from ranges, played under each policy with the same seeds.
Printed per kind and policy: false rollbacks or bad promotions, undecided runs, harm (failed, lost or slow canary requests beyond the
ordinary, plus half an hour of all traffic for each bad promotion) and minutes until the end. Ends with one JSON object under --json.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import numpy as np

from analyzers.evidence import Trial
from analyzers.planner import expected_minutes
from bench.judge_kinds import KINDS, Kind
from bench.judge_peers import Argo, Flagger, Kayenta
from bench.judge_policies import LINNET, Linnet, configured, tick_of
from bench.judge_world import EDGES, HORIZON, SCRAPE, Past, Run, Seen, Service, past

DEFAULT_RUNS: Final = 40


class Policy(Protocol):
    weight: float

    def take(self, seen: Seen) -> str: ...


STOCK: Final[dict[str, Callable[[], Policy]]] = {
    "flagger": Flagger,
    "argo": Argo,
    "kayenta": Kayenta,
    "flagger-tuned": partial(Flagger, success=0.9965, p99=0.495),
    "argo-tuned": partial(Argo, errors=0.0035, p99=0.495),
    "kayenta-tuned": partial(Kayenta, marginal=65.0, enough=90.0),
}
"""`tuned`: constants between the standard service and its regressions, set by someone who knows both."""
POLICIES: Final = ("linnet", *STOCK)


def policy_of(name: str, service: Service, history: Past | None) -> Policy:
    if name in STOCK:
        return STOCK[name]()
    return Linnet(configured(service, history), (service.canary_pods, service.pods))


@dataclass(frozen=True, kw_only=True)
class Result:
    kind: str
    policy: str
    outcome: str
    minutes: float
    harm: float
    requests: int
    half: float | None
    proof: float | None = None
    announced: float | None = None


def play(kind: Kind, seed: int, policies: Sequence[str]) -> list[Result]:
    """One draw of the kind, once under each policy."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
    service = kind.draw(rng)
    stream = int(rng.integers(2**31))
    history = past(service, rng) if set(policies) - set(STOCK) else None
    return [_play(kind, service, history, name, np.random.default_rng(stream)) for name in policies]


def _play(kind: Kind, service: Service, history: Past | None, name: str, rng: np.random.Generator) -> Result:
    policy, run = policy_of(name, service, history), Run(service, rng)
    harm, requests, outcome, k = 0.0, 0, "", 0
    half: int | None = None
    proof: int | None = None
    for k in range(HORIZON):
        seen = run.observe(policy.weight)
        harm += seen.harm
        requests += seen.canary.requests if seen.canary else 0
        half = k if half is None and seen.weight >= 50 else half
        outcome = policy.take(seen)
        proof = k if proof is None and isinstance(policy, Linnet) and policy.proven else proof
        if outcome:
            break
    if outcome == "promote" and kind.bad:
        harm += run.harm_after_promotion()
    minute = SCRAPE / 60.0
    return Result(
        kind=kind.name,
        policy=name,
        outcome=outcome or "undecided",
        minutes=(k + 1) * minute,
        harm=harm,
        requests=requests,
        half=None if half is None else half * minute,
        proof=None if proof is None else (proof + 1) * minute,
        announced=announced(policy, service) if isinstance(policy, Linnet) else None,
    )


def announced(policy: Linnet, service: Service) -> float | None:
    """Minutes that the planner would have said before the start."""
    config = policy.judge.config
    return expected_minutes(config, config.rps or service.rps, {"orders": service.conversion or 0.0})


def _job(job: tuple[str, int, tuple[str, ...]]) -> list[Result]:
    name, seed, policies = job
    return play(next(k for k in KINDS if k.name == name), seed, policies)


def collect(kinds: Sequence[Kind], runs: int, seed: int, policies: Sequence[str], processes: int) -> Iterator[tuple[Kind, list[Result]]]:
    """Kind by kind, so that a long run shows what it has."""
    with multiprocessing.get_context("spawn").Pool(processes) if processes > 1 else nullcontext() as pool:
        for kind in kinds:
            jobs = [(kind.name, seed + i, tuple(policies)) for i in range(runs)]
            found = map(_job, jobs) if pool is None else pool.imap(_job, jobs, chunksize=4)
            yield kind, [r for results in found for r in results]


def figures(results: Iterable[Result]) -> dict[str, Any]:
    found = list(results)
    told = [r for r in found if r.announced is not None]
    halves = [r.half for r in found if r.half is not None]
    proofs = [r.proof for r in found if r.proof is not None]
    return {
        "runs": len(found),
        "rolledBack": sum(r.outcome == "rollback" for r in found),
        "promoted": sum(r.outcome == "promote" for r in found),
        "undecided": sum(r.outcome == "undecided" for r in found),
        "harm": round(statistics.fmean(r.harm for r in found), 1),
        "canaryRequests": round(statistics.fmean(r.requests for r in found), 1),
        "minutes": round(statistics.fmean(r.minutes for r in found), 2),
        "withinTwiceAnnounced": sum(r.outcome == "promote" and r.minutes <= 2 * (r.announced or 0.0) for r in told),
        "minutesToHalf": round(statistics.fmean(halves), 2) if halves else None,
        "minutesToProof": round(statistics.fmean(proofs), 2) if proofs else None,
    }


def summary(kinds: Sequence[Kind], table: dict[str, dict[str, Any]], policy: str) -> dict[str, Any]:
    """Over all kinds; harm as a geometric mean, so that no kind drowns the others."""
    good = [table[k.name][policy] for k in kinds if not k.bad]
    bad = [table[k.name][policy] for k in kinds if k.bad]
    return {
        "falseRollbackPercent": _percent(good, "rolledBack"),
        "worstFalseRollbackPercent": max((_percent([g], "rolledBack") for g in good), default=0.0),
        "goodUndecidedPercent": _percent(good, "undecided"),
        "badPromotedPercent": _percent(bad, "promoted"),
        "worstBadPromotedPercent": max((_percent([b], "promoted") for b in bad), default=0.0),
        "badUndecidedPercent": _percent(bad, "undecided"),
        "harmGeometricMean": round(math.exp(statistics.fmean(math.log(1.0 + b["harm"]) for b in bad)), 1) if bad else 0.0,
    }


def _percent(found: Sequence[dict[str, Any]], what: str) -> float:
    runs = sum(f["runs"] for f in found)
    return round(100.0 * sum(f[what] for f in found) / runs, 2) if runs else 0.0


def tick_milliseconds(ticks: int = 200) -> float:
    """CPU time of the judge alone, on a tick of every kind of metric."""
    rng = np.random.default_rng(1)
    service = Service(conversion=0.03)
    judge, world = Trial.begin(configured(service, past(service, rng))), Run(service, rng)
    made = [tick_of(world.observe(20.0), (2, 20)) for _ in range(ticks)]
    before = time.process_time()
    for one in made:
        judge.tick(one)
    return 1000.0 * (time.process_time() - before) / ticks


def commit_seed() -> int:
    """The commit's, so that nobody can fit the judge to one set of draws; 20261123 outside a checkout."""
    try:
        said = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return 20261123
    return int(said.stdout.strip(), 16) % 2**31


def _head(policies: Sequence[str]) -> None:
    print(f"{'kind':<18}" + "".join(f"{p:>22}" for p in policies))
    print(f"{'':<18}" + "".join(f"{'wrong% und% harm min':>22}" for _ in policies), flush=True)


def _row(kind: Kind, found: dict[str, dict[str, Any]]) -> None:
    cells = []
    for f in found.values():
        wrong = 100.0 * f["promoted" if kind.bad else "rolledBack"] / f["runs"]
        cells.append(f"{wrong:6.1f}{100.0 * f['undecided'] / f['runs']:5.0f}{f['harm']:8.0f}{f['minutes']:3.0f}")
    print(f"{'BAD ' if kind.bad else ''}{kind.name:<{14 if kind.bad else 18}}" + "".join(f"{c:>22}" for c in cells), flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS, help="draws of each kind")
    parser.add_argument("--seed", type=int, default=None, help="of the draws; default: from the commit")
    parser.add_argument("--kinds", default="", help="comma-separated names; default: all")
    parser.add_argument("--policies", default=",".join(POLICIES), help="comma-separated names")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    policies, wanted = options.policies.split(","), set(filter(None, options.kinds.split(",")))
    unknown = [p for p in policies if p not in POLICIES] + sorted(wanted - {k.name for k in KINDS})
    if unknown or options.runs < 1:
        names = ", ".join([*POLICIES, *(k.name for k in KINDS)])
        parser.error(f"no such policy or kind: {', '.join(unknown)}; there are {names}" if unknown else "--runs must be at least 1")
    kinds = [k for k in KINDS if not wanted or k.name in wanted]
    seed = commit_seed() if options.seed is None else options.seed
    table: dict[str, dict[str, Any]] = {}
    _head(policies)
    for kind, results in collect(kinds, options.runs, seed, policies, options.processes):
        table[kind.name] = {p: figures(r for r in results if r.policy == p) for p in policies}
        _row(kind, table[kind.name])
    totals = {p: summary(kinds, table, p) for p in policies}
    print(f"\nseed {seed}, {options.runs} runs of each kind")
    for policy, total in totals.items():
        print(f"{policy:<15}" + "  ".join(f"{name} {value}" for name, value in total.items()))
    cost = tick_milliseconds()
    print(f"one tick of one release: {cost:.2f} ms of CPU ({len(LINNET.metrics) + 1} metrics, {len(EDGES) + 1} buckets)")
    if options.json:
        print(json.dumps({"seed": seed, "runs": options.runs, "tickMilliseconds": round(cost, 3), "kinds": table, "summary": totals}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
