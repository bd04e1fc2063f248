"""What a real Envoy counts of each version is what clients met, to the request: the judge needs no metric of the app."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from analyzers.channels import BASELINE as STABLE_ARM
from analyzers.channels import CANARY as CANARY_ARM
from analyzers.collector import ArmTargets, Collector, resolve
from analyzers.metrics import AnyMetric, HistogramMetric, RatioMetric
from analyzers.presets import preset_metrics
from analyzers.sources.protocol import Target
from analyzers.sources.scrape import ScrapeOptions, ScrapeSource
from analyzers.ticks import ArmCounts, MetricCounts
from daemon.control.http import Http
from daemon.control.routerarms import LABELS
from tests.dataplanes.meter import Client, Seen
from tests.dataplanes.planes import CANARY, PLANES, STABLE
from tests.dataplanes.test_planes import a_stand
from tests.testbed.controlplane import ControlPlane

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.dataplane,
    # As in test_planes: a watch that is cancelled while it connects leaves its socket to the collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning"),
]

REQUESTS = 400
COUNTED = [p for p in PLANES if p.name in ("HTTPProxy on Contour", "VirtualService on Istio")]


@pytest.mark.parametrize("plane", COUNTED, ids=lambda plane: plane.name)
async def test_envoy_counts_what_clients_met(
    plane: Any, request: pytest.FixtureRequest, versions: None, control_plane: ControlPlane, namespace: str
) -> None:
    """Requests and 5xx of each arm, and as many times as requests; with a third of them failing, and with what came before left out."""
    gateway = request.getfixturevalue(plane.gateway)
    http = Http()
    source = ScrapeSource(ScrapeOptions(), http)
    arms = {
        arm: ArmTargets(name=arm, targets=(Target(pod=arm, address=gateway.metrics, path="/stats/prometheus"),))
        for arm in (STABLE_ARM, CANARY_ARM)
    }
    labels = {router: {STABLE_ARM: of(namespace, STABLE), CANARY_ARM: of(namespace, CANARY)} for router, of in LABELS.items()}

    async def found(preset: str) -> AnyMetric:
        candidates = preset_metrics(preset, name=preset, router_arms=labels)
        answer = await resolve(source, candidates, arms[STABLE_ARM], now=0.0, other=arms[CANARY_ARM])
        assert answer.metric is not None, answer.tried
        return answer.metric

    try:
        async with a_stand(plane, control_plane, gateway.url, namespace) as stand:
            stand.undo = stand.router.record(stand.scope)
            await stand.weigh(50)
            await _ask(stand.url, stand.host, 40)
            errors, latency = await found("EnvoyErrorRatio"), await found("EnvoyLatency")
            assert isinstance(errors, RatioMetric)
            assert isinstance(latency, HistogramMetric)
            collector = Collector(source, [errors, latency], scrape_seconds=15.0)
            await _flushed(gateway, namespace)
            await collector.collect(15.0, list(arms.values()))
            met = await _ask(stand.url, stand.host, REQUESTS)
            await _flushed(gateway, namespace)
            (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
            await stand.router.restore(stand.scope, stand.undo)
    finally:
        await http.close()
    sent = {name: met[name, 200] + met[name, 503] for name in (STABLE, CANARY)}
    assert sum(sent.values()) == REQUESTS
    assert min(met.values()) > 20
    assert tick.arms["EnvoyErrorRatio"] == MetricCounts(
        ArmCounts(sent[CANARY], met[CANARY, 503]), ArmCounts(sent[STABLE], met[STABLE, 503])
    )
    buckets = tick.buckets["EnvoyLatency"]
    assert (sum(buckets.canary or ()), sum(buckets.baseline or ())) == (sent[CANARY], sent[STABLE])


async def _flushed(gateway: Any, namespace: str) -> None:
    """Envoy shows a histogram as it was at its last flush, up to five seconds ago; counters are of now."""

    def total(name: str) -> float:
        lines = (line for line in gateway.page().splitlines() if line.startswith(name + "{") and namespace in line)
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async with asyncio.timeout(60):
        while not total("envoy_cluster_upstream_rq_time_count") == total("envoy_cluster_upstream_rq_completed") > 0:
            await asyncio.sleep(0.2)


async def _ask(url: str, host: str, requests: int) -> Counter[tuple[str, int]]:
    """Which version answered with which status."""
    seen, client = Seen(), Client(url, host)
    for number in range(requests):
        await client.ask(f"/{number}{'?status=503' if number % 3 == 0 else ''}", seen)
    client.close()
    met = Counter({(version, 200): count for version, count in seen.versions.items()})
    for failure in seen.failures:
        _, status, version = failure.rsplit(": ", 2)
        met[version, int(status)] += 1
    return met
