"""Each kind of evidence on its own, from a real Prometheus through the daemon to the verdict.

A release that is bad in exactly one thing is stopped for that thing, by name; with that one metric out of the spec the very same
revision is promoted, so it was nothing else. The releases run beside each other, each in a namespace of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from analyzers.evidence import replay
from analyzers.ticks import Verdict
from tests.cluster.scenario import API, Shop, canary
from tests.cluster.stage import scenario
from tests.testbed import build
from tests.testbed.controlplane import ControlPlane
from tests.testbed.prometheus import Prometheus, start_prometheus

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


@pytest.fixture(scope="module", autouse=True)
def prometheus(control_plane: ControlPlane) -> Iterator[Prometheus]:
    """One for all releases of this file; each second it scrapes every pod."""
    lacking = build.missing({"prometheus"})
    if lacking:
        pytest.skip("not built: prometheus: run `python -m tests.testbed.build` (needs Go, about ten minutes once)")
    server = start_prometheus(control_plane)
    yield server
    server.stop()


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
    **manifest: Any,
) -> Object:
    """The release is stopped by `metric` and named for it, and promoted without it; the status at the stop."""
    common = {"interval": "1s", "warmUp": "2s"}
    whole = {**common, "metrics": [*([metric] if metric else []), ERRORS], **(analysis or {})}
    shop.open({"steps": HALF, "analysis": whole}, source=SOURCE, extra=extra, **manifest)
    shop.load(rate)
    shop.push(image.removeprefix("shop:"))
    stopped = shop.await_verdict("Fail", patience)
    assert name in stopped["sentence"], stopped["sentence"]
    assert "rolled back" in stopped["sentence"]
    shop.assert_clean()
    run = json.loads(shop.kubectl("get", "analysisruns.linnet.dev", "-o", "json"))["items"][0]
    if metric:
        assert replay(run["status"]["evidence"]["data"]).verdict is Verdict.FAIL
    shop.apply(canary("shop", steps=HALF, analysis={**common, "metrics": [ERRORS]}))
    shop.push(image.removeprefix("shop:"))
    shop.await_phase("Held")
    shop.order("retry")
    shop.await_verdict("Pass", 90)
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
def test_a_release_whose_slowest_requests_are_slower_is_stopped_for_that(shop: Shop) -> None:
    """The slowest 5 % take three times as long; the mean hardly moves."""
    metric = {"name": "latency", "preset": "HTTPLatency"}
    stopped_for(shop, "shop:tail-3", metric, name="latency", env={"LATENCY_MS": "40"})


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
