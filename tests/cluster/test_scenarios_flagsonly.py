"""Flags alone on a worker without a Service and on a StatefulSet: judged by what the app counts by the flag's state, and no pod is touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.scenario import API, Shop
from tests.testbed.controlplane import ADDRESS
from tests.testbed.linnet import Linnet, eventually
from tests.testbed.nodes import shop as manifest
from tests.testbed.prometheus import PORT, Prometheus, start_prometheus
from tests.testbed.unleash import ADMIN, BACKEND, Unleash
from tests.witness.flaglog import FlagLog
from tests.witness.requests import app_records

pytestmark = [pytest.mark.cluster, pytest.mark.unleash]

PRODUCTION = "production"


@pytest.fixture
def prometheus(linnet: Linnet, unleash: Unleash) -> Iterator[Prometheus]:
    started = start_prometheus(linnet.plane, impact=unleash.url.removeprefix("http://"))
    yield started
    started.stop()


def worker(name: str, unleash: Unleash, flag: str, *, image: str, kind: str, **more: str) -> dict[str, Any]:
    """Makes its own jobs; behind the flag is code that has been out for long."""
    env = {"UNLEASH_URL": unleash.url, "UNLEASH_TOKEN": BACKEND[PRODUCTION], "FLAG_KEY": flag, "JOBS_PER_SECOND": "60", **more}
    [body, _] = manifest(name, image=image, env=env, startup_seconds=0)
    body["kind"] = kind
    if kind == "StatefulSet":
        body["spec"] = {**body["spec"], "serviceName": name}
        del body["spec"]["strategy"]
    return body


def sources(unleash: Unleash) -> list[dict[str, Any]]:
    spec = {
        "url": unleash.url,
        "environment": PRODUCTION,
        "tokenSecretRef": {"name": "unleash", "key": "token"},
        "witnessTokenSecretRef": {"name": "unleash", "key": "backend"},
        "settle": "2s",
    }
    data = {"token": unleash.person("flagsonly"), "backend": BACKEND[PRODUCTION]}
    prometheus = {"type": "Prometheus", "prometheus": {"url": f"http://{ADDRESS}:{PORT}"}}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "unleash"}, "stringData": data},
        {"apiVersion": API, "kind": "FlagSource", "metadata": {"name": "unleash"}, "spec": {"type": "Unleash", "unleash": spec}},
        {"apiVersion": API, "kind": "MetricSource", "metadata": {"name": "default"}, "spec": prometheus},
    ]


def own(name: str) -> dict[str, str]:
    """What the app itself counts by the flag's state."""
    return {"errors": f'jobs_total{{code="500",namespace!="",pod=~"{name}-.*"}}', "total": f'jobs_total{{pod=~"{name}-.*"}}'}


def impact(name: str) -> dict[str, str]:
    """What its Unleash counts, as all instances of the app reported it."""
    where = f'{{appName="shop",environment="{PRODUCTION}"}}'
    return {"errors": f"{name}_jobs_failed{where}", "total": f"{name}_jobs{where}"}


def canary(name: str, flag: str, *percents: int, kind: str, ratio: dict[str, str]) -> dict[str, Any]:
    """No labels are named: of one flag alone they are what Unleash's impact metrics say."""
    metric = {"name": "errors", "ratio": ratio, "rollbackIfWorseBy": "2pp", "promoteIfWithin": "10pp"}
    spec = {
        "workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
        "traffic": {"mode": "None"},
        "flags": [{"name": "new", "key": flag, "sourceRef": {"name": "unleash"}}],
        "steps": [{"flags": [{"name": "new", "percent": p}], "dwell": {"minDuration": "3s"}} for p in percents],
        "analysis": {"interval": "1s", "warmUp": "2s", "metrics": [metric]},
    }
    return {"apiVersion": API, "kind": "Canary", "metadata": {"name": name}, "spec": spec}


def pods(shop: Shop) -> dict[str, tuple[str, int]]:
    """Each pod's uid and restarts."""
    return {p["metadata"]["name"]: (p["metadata"]["uid"], p["status"]["containerStatuses"][0]["restartCount"]) for p in shop.items("pods")}


def rollouts(unleash: Unleash, flag: str) -> list[str]:
    return [s["parameters"]["rollout"] for s in unleash.strategies(flag, PRODUCTION) if (s["title"] or "").startswith("linnet ")]


def ended(shop: Shop, name: str, result: str) -> dict[str, Any]:
    def over() -> bool:
        status = shop.status(name)
        return (status.get("verdict") or {}).get("result") == result and status.get("rollout") is None

    try:
        eventually(over, f"{name}: {result}", 120)
    except AssertionError as error:
        status = {k: v for k, v in shop.status(name).items() if k not in ("flagPlans", "rollout")}
        raise AssertionError(f"{error}\n{status}\n{shop.story()}") from None
    return shop.status(name)


def test_flags_alone_are_judged_promoted_and_taken_back_without_touching_a_pod(
    front: Shop, unleash: Unleash, prometheus: Prometheus
) -> None:
    """Bad flags on workers and good ones on a StatefulSet and a worker: flag-on against flag-off decides, and no pod's UID changes.

    Two by what the apps themselves count, two by Unleash's impact metrics alone, which apps send by their SDK.
    """
    bad, good, wrong, right = (unleash.flag() for _ in range(4))
    front.apply(
        *sources(unleash),
        worker("jobs", unleash, bad, image="shop:flagbad-30", kind="Deployment"),
        worker("ledger", unleash, good, image="shop:v1", kind="StatefulSet"),
        worker("mailer", unleash, wrong, image="shop:flagbad-30", kind="Deployment", IMPACT_METRICS="mailer_jobs"),
        worker("biller", unleash, right, image="shop:v1", kind="Deployment", IMPACT_METRICS="biller_jobs"),
    )
    for name in ("jobs", "ledger"):
        prometheus.await_value(f'jobs_total{{pod=~"{name}-.*"}}', 50, timeout=60)
    for name in ("mailer", "biller"):
        prometheus.await_value(impact(name)["total"], 50, timeout=60)
    before = pods(front)
    assert {name.split("-")[0] for name in before} == {"jobs", "ledger", "mailer", "biller"}
    front.apply(
        canary("jobs", bad, 20, 50, kind="Deployment", ratio=own("jobs")),
        canary("ledger", good, 20, 50, kind="StatefulSet", ratio=own("ledger")),
        canary("mailer", wrong, 20, 50, kind="Deployment", ratio=impact("mailer")),
        canary("biller", right, 20, 50, kind="Deployment", ratio=impact("biller")),
    )
    for name, flag in (("jobs", bad), ("mailer", wrong)):
        failed = ended(front, name, "Fail")
        assert "flag-on" in failed["sentence"] and f"Flag {flag} back at 0" in failed["sentence"], failed["sentence"]
        assert rollouts(unleash, flag) == ["0"] and not unleash.enabled(flag, PRODUCTION), "as it was found"
        assert failed["phase"] == "Held"
    for name, flag in (("ledger", good), ("biller", right)):
        passed = ended(front, name, "Pass")
        assert passed["sentence"].endswith(f"flag {flag} 50 %."), passed["sentence"]
        assert rollouts(unleash, flag) == ["50"] and unleash.enabled(flag, PRODUCTION)
        assert (passed["phase"], passed["stableRevision"]) == ("Idle", "plan-1")
    assert pods(front) == before
    assert {event.resource for event in front.writes()} <= {"canaries", "analysisruns"}, "flags and our own objects, nothing else"
    _assert_exposure(front, unleash, bad)


def _assert_exposure(front: Shop, unleash: Unleash, flag: str) -> None:
    """The app's own record: jobs with the flag lie between the first raise and the way back, the SDK's refresh aside."""
    log = FlagLog.read(unleash.url, ADMIN, flag).on(PRODUCTION)
    up, down = log.raises().entries[0].time, log.zeroes().entries[-1].time
    on = [
        r["time"]
        for r in app_records(front.agent.requests)
        if r["pod"].startswith("jobs-") and r.get("flag") is True and r["time"] > front.since
    ]
    assert on, "some jobs had the flag"
    assert up <= min(on) and max(on) < down + 6, (up, down, min(on), max(on))
