"""Each kind of evidence on its own, from a real Prometheus through the daemon to the verdict.

A release that is bad in exactly one thing is stopped for that thing, by name; with that one metric out of the spec the very same
revision is promoted, so it was nothing else. The releases run beside each other, each in a namespace of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from analyzers.evidence import read, replay, walk, write
from analyzers.ticks import Action, Verdict
from tests.cluster.scenario import ANALYSIS, API, Shop, canary
from tests.cluster.stage import scenario
from tests.testbed import build
from tests.testbed.controlplane import ControlPlane
from tests.testbed.prometheus import Prometheus, start_prometheus
from tests.witness.evidence import clean, explained

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

Object = dict[str, Any]
SOURCE = {
    "apiVersion": API,
    "kind": "MetricSource",
    "metadata": {"name": "default"},
    "spec": {"type": "Prometheus", "prometheus": {"url": "http://10.99.0.1:9090"}},
}
ERRORS = {"name": "errors", "preset": "HTTPErrorRatio", "rollbackIfWorseBy": "2pp", "promoteIfWithin": "10pp"}
HALF = [{"weight": 50, "dwell": {"minDuration": "2s"}}]
BY_EVIDENCE = {"strategy": {"ramp": "Adaptive"}, "steps": [{"weight": 10}, {"weight": 50}], "analysis": {**ANALYSIS, "bake": "5s"}}


@pytest.fixture(scope="module", autouse=True)
def prometheus(control_plane: ControlPlane) -> Iterator[Prometheus]:
    """One for all releases of this file; each second it scrapes every pod."""
    lacking = build.missing({"prometheus"})
    if lacking:
        pytest.skip("not built: prometheus: run `python -m tests.testbed.build` (needs Go, about ten minutes once)")
    server = start_prometheus(control_plane)
    yield server
    server.stop()


def linnet(shop: Shop, *words: str) -> tuple[int, str]:
    """The command line as a user runs it; exit code and what it said."""
    program = [str(Path(sys.executable).with_name("linnet")), *words, "-n", shop.namespace, "--kubeconfig", str(shop.plane.kubeconfig)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def stored(shop: Shop, revision: str) -> str:
    """The evidence, of a run whose verdict is not looked at."""
    path = f"/apis/{API}/namespaces/{shop.namespace}/analysisruns/shop-{revision}"
    text: str = json.loads(shop.plane.request(path))["status"]["evidence"]["data"]
    return text


def stopped_for(
    shop: Shop,
    image: str,
    metric: Mapping[str, Any] | None,
    *,
    name: str,
    rate: float = 40,
    patience: float = 90,
    extra: Sequence[Object] = (),
    analysis: Mapping[str, Any] | None = None,
    steps: Sequence[Object] = HALF,
    **manifest: Any,
) -> Object:
    """The release is stopped by `metric` and named for it, and promoted without it; the status at the stop."""
    common = {"interval": "1s", "warmUp": "2s"}
    whole = {**common, "metrics": [*([metric] if metric else []), ERRORS], **(analysis or {})}
    shop.open({"steps": steps, "analysis": whole}, source=SOURCE, extra=extra, **manifest)
    shop.load(rate)
    shop.push(image.removeprefix("shop:"))
    stopped = shop.await_verdict("Fail", patience)
    assert name in stopped["sentence"], stopped["sentence"]
    assert "rolled back" in stopped["sentence"]
    shop.assert_clean()
    run = json.loads(shop.kubectl("get", "analysisruns.linnet.dev", "-o", "json"))["items"][0]
    if metric:
        assert replay(run["status"]["evidence"]["data"]).verdict is Verdict.FAIL
        code, said = linnet(shop, "explain", "deploy/shop")
        assert code == 0 and f"the metric that decided: {name}" in said, said
        assert f"without {name} it would not have been stopped" in said, said
        code, said = linnet(shop, "replay", run["metadata"]["name"])
        assert code == 0 and "The stored verdict is Fail: the same." in said, said
    shop.apply(canary("shop", steps=steps, analysis={**common, "metrics": [ERRORS]}))
    shop.push(image.removeprefix("shop:"))
    shop.await_phase("Held")
    shop.order("retry")
    shop.await_verdict("Pass", 240)
    seen = shop.stop_load()
    shop.assert_no_switch_hurt(seen)
    assert seen.outcomes() == {"200": seen.total}
    return stopped


@scenario
def test_a_release_that_takes_more_cpu_is_stopped_for_that(shop: Shop) -> None:
    """40 % more CPU a request and nothing else; a mean of a minute is one observation, so this is the slowest of all."""
    metric = {"name": "cpu", "preset": "CPUPerRequest"}
    more = {"maxFalseRollbackPercent": 10}
    stopped_for(shop, "shop:cpu-40", metric, name="cpu", rate=24, patience=280, analysis=more, replicas=6, env={"CPU_MS": "3"})


@scenario
def test_evidence_moves_the_weight_and_its_log_says_how(shop: Shop) -> None:
    """A good version climbs to half of the traffic in one write each, a bad one never gets there: both as the log alone has it."""
    shop.open(BY_EVIDENCE, startup_seconds=1)
    shop.load(80)
    shop.push("v2")
    status = shop.await_verdict("Pass", 240)
    log = read(stored(shop, status["verdict"]["revision"]))
    words = shop.steps()
    weights = explained(log)
    assert weights[-2:] == [10, 50]
    assert [f"weight {w}" for w in weights] == [w for w in words if w.startswith("weight ") and w != "weight 0"], words
    assert replay(write(log)).action is Action.PROMOTE
    shop.await_phase("Idle")
    shop.push("bad-30")
    status = shop.await_verdict("Fail", 90)
    failed = read(stored(shop, status["verdict"]["revision"]))
    assert replay(write(failed)).action is Action.ROLLBACK
    assert Action.ROLLBACK not in [answer.action for _, answer, _ in walk(clean(failed))]
    assert max(explained(failed)) <= 10
    assert shop.steps().count("weight 50") == 1
    seen = shop.stop_load()
    shop.assert_clean()
    shop.assert_as_before("shop:v2")
    shop.assert_no_switch_hurt(seen)


@scenario
def test_a_release_whose_slowest_requests_are_slower_is_stopped_for_that(shop: Shop) -> None:
    """The slowest 5 % take three times as long; the mean hardly moves."""
    metric = {"name": "latency", "preset": "HTTPLatency"}
    # Two pods would widen the bound until such a tail fits into it.
    stopped_for(shop, "shop:tail-3", metric, name="latency", patience=150, replicas=6, env={"LATENCY_MS": "40"})


@scenario
def test_a_release_that_restarts_is_stopped_for_that(shop: Shop) -> None:
    """Its pods end themselves now and then, in good manners: no request fails, no pod is in a crash loop for good."""
    metric = {"name": "restarts", "preset": "Restarts"}
    steps: list[Object] = [{"scale": 100}, {"weight": 50, "dwell": {"minDuration": "60s"}}]
    # Seldom enough that never all of its pods are gone at once: that would hurt requests, and be another fault.
    stopped = stopped_for(
        shop, "shop:leaky-45", metric, name="restarts", steps=steps, patience=200, analysis={"maxFalseRollbackPercent": 10}, replicas=6
    )
    assert "the canary's pods restarted" in stopped["sentence"], stopped["sentence"]


@scenario
def test_a_release_that_sells_less_is_stopped_for_that(shop: Shop) -> None:
    """30 % fewer orders, and every request answered."""
    orders = {"errors": "shop_orders_total", "total": "http_requests_total"}
    metric = {"name": "orders", "ratio": orders, "direction": "HigherIsBetter", "lag": "1s"}
    more = {"maxFalseRollbackPercent": 5}
    stopped_for(
        shop, "shop:orders-30", metric, name="orders", rate=50, patience=200, analysis=more, replicas=6, env={"ORDER_PERCENT": "90"}
    )


@scenario
def test_a_release_that_breaks_an_objective_without_a_baseline_is_stopped_for_that(shop: Shop) -> None:
    """An endpoint that stable does not have fails in a fifth of its requests: there is nothing to compare it with but its objective."""
    counter = 'recommendations_total{namespace="{{args.namespace}}",pod=~"shop-canary-.*"'
    query = f'sum(rate({counter},code="200"}}[10s])) / sum(rate({counter}}}[10s]))'
    slo = {
        "apiVersion": API,
        "kind": "AnalysisTemplate",
        "metadata": {"name": "recommendations-slo"},
        "spec": {
            "args": [{"name": "namespace"}],
            "metrics": [
                {
                    "name": "objective",
                    "interval": "2s",
                    "failureLimit": 2,
                    "successCondition": "result[0] >= 0.95",
                    "provider": {"prometheus": {"query": query}},
                }
            ],
        },
    }
    given = [{"name": "namespace", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]
    uses = {"templates": [{"name": "recommendations-slo", "args": given}]}
    stopped_for(shop, "shop:new-20", None, name="recommendations-slo", extra=[slo], analysis=uses)


@scenario
def test_releases_that_rolled_without_linnet_are_judged_from_history(shop: Shop) -> None:
    """No Canary, no hold: one good and one bad release roll natively, and the history tells them apart."""
    shop.open(source=SOURCE, adopted=False, replicas=3)
    shop.load(60)
    words = ("backtest", "deploy/shop", "--prometheus", "http://10.99.0.1:9090", "--interval", "1s")
    code, said = linnet(shop, *words)
    assert code == 1 and "one ReplicaSet only" in said, said
    # Both versions serve for a while, as they do where pods take their time: too short an overlap proves nothing either way.
    shop.kubectl("patch", "deployment", "shop", "-p", '{"spec":{"minReadySeconds":8}}')
    for tag in ("v2", "bad-30"):
        shop.push(tag)
        shop.kubectl("rollout", "status", "deployment/shop", "--timeout=90s")
    code, said = linnet(shop, *words, "--last", "2", "-o", "json")
    assert code == 0, said
    bad, good = json.loads(said)
    assert "shop:bad-30" in bad["release"] and bad["verdict"] == "Fail", bad
    assert "would have rolled it back" in bad["says"] and "canary requests failed" in bad["says"], bad
    assert "shop:v2" in good["release"] and good["verdict"] != "Fail", good
    assert "rolled it back" not in good["says"], good
    code, said = linnet(shop, "plan", "deploy/shop", "--prometheus", "http://10.99.0.1:9090")
    assert code == 0 and "requests/s" in said and "50 %" in said, said


@scenario
def test_templates_decide_before_in_a_step_and_in_the_background(shop: Shop) -> None:
    """All three moments on a real control plane, asking a real Prometheus: each waits for its own, and one that turns bad stops the release."""
    pods = 'namespace="{{args.namespace}}",pod=~"shop-canary-.*"'
    # A pod's first scrape may come before its app listens: what is not up yet is no answer, and is waited for.
    up: Object = {"name": "up", "interval": "1s", "count": 1, "onNoData": "Wait", "successCondition": "all(result, # == 1)"}
    served: Object = {"name": "served", "interval": "1s", "count": 1, "onNoData": "Wait", "successCondition": "result[0] > 0"}
    failing: Object = {"name": "failing", "interval": "1s", "successCondition": "result[0] < 0.1"}
    queries = {
        "scraped": (up, f"up{{{pods}}} == 1"),
        "served": (served, f"sum(rate(http_requests_total{{{pods}}}[5s])) > 0"),
        "failing": (
            failing,
            f'sum(rate(http_requests_total{{{pods},code="500"}}[5s])) / (sum(rate(http_requests_total{{{pods}}}[5s])) > 0)',
        ),
    }
    templates = [
        {
            "apiVersion": API,
            "kind": "AnalysisTemplate",
            "metadata": {"name": name},
            "spec": {"args": [{"name": "namespace"}], "metrics": [{**metric, "provider": {"prometheus": {"query": query}}}]},
        }
        for name, (metric, query) in queries.items()
    ]
    given = {"args": [{"name": "namespace", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]}
    named = [{"name": "scraped", "when": "BeforeFirstStep", **given}, {"name": "failing", **given}]
    steps = [
        {"weight": 20, "dwell": {"minDuration": "2s"}},
        {"analysis": {"name": "served", **given}},
        {"weight": 50, "dwell": {"minDuration": "5s"}},
    ]
    analysis = {"judge": "TemplatesOnly", "templates": named}
    shop.open({"steps": steps, "analysis": analysis}, source=SOURCE, extra=templates)
    shop.load(30)
    shop.push("v2")
    shop.await_verdict("Pass", 120)
    runs = json.loads(shop.kubectl("get", "analysisruns.linnet.dev", "-o", "json"))["items"]
    measured = {r["template"]: r["phase"] for r in runs[0]["status"]["templates"]["runs"]}
    assert (measured["scraped"], measured["served"]) == ("Successful", "Successful"), measured
    code, said = linnet(shop, "explain", "shop")
    assert code == 0 and "served: Successful" in said, said
    shop.push("bad-60")
    status = shop.await_verdict("Fail", 90)
    assert "template failing" in status["sentence"], status["sentence"]


@scenario
def test_what_is_only_observed_rolls_as_ever_and_is_judged_all_the_same(shop: Shop) -> None:
    """Beside the policies that hold: a bad update would have been rolled back, a good one promoted, and Linnet wrote its status alone."""
    slowly = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    analysis = {"interval": "1s", "warmUp": "2s", "metrics": [ERRORS]}
    shop.open({"mode": "Observe", "steps": HALF, "analysis": analysis}, source=SOURCE, strategy=slowly, adopted=False, replicas=3)
    shop.kubectl("patch", "deployment", "shop", "-p", '{"spec":{"minReadySeconds":10}}')
    shop.apply(canary("shop", mode="Observe", steps=HALF, analysis=analysis))
    first = shop.until(lambda s: s.get("stableRevision"), "a version serves")["stableRevision"]
    shop.load(80)
    shop.push("bad-30")
    status = shop.until(lambda s: s.get("history"), "a word on the bad update", 120)
    assert status["history"][0]["outcome"] == "WouldRollBack", status["history"]
    assert status["stableRevision"] == first
    shop.push("v1")  # its people take it back
    status = shop.until(lambda s: s.get("observedRevision") == first, "the way back is seen", 90)
    assert "Taken back by its people" in status["history"][0]["sentence"]
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=120s")
    shop.push("v2")
    status = shop.until(lambda s: len(s.get("history") or ()) == 2, "a word on the good update", 150)
    assert status["history"][0]["outcome"] == "WouldPromote", status["history"]
    assert status["stableRevision"] == status["history"][0]["revision"]
    shop.stop_load()
    code, said = linnet(shop, "status", "shop")
    assert code == 0 and "would have been promoted" in said, said
    assert {one.resource for one in shop.writes()} == {"canaries", "analysisruns"}
    assert {one.subresource for one in shop.writes().on("canaries")} == {"status"}
    annotations = shop.get("deployment", "shop")["metadata"]["annotations"]
    assert not [key for key in annotations if key.startswith("linnet.dev/")]
