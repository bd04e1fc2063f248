"""Presets against the pages of real servers and client libraries: their counts are those of whoever sent the requests.

What is marked as tried is tried here, on a real Traefik in front of two versions and on pages of prometheus-client.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
from collections import Counter as Ledger
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import prometheus_client as client
import pytest
import yaml
from aiohttp import web

from analyzers.channels import BASELINE, CANARY
from analyzers.collector import ArmTargets, Collector, resolve
from analyzers.errors import ConfigError
from analyzers.metrics import AnyMetric, HistogramMetric, Matcher, RatioMetric, UsageMetric, traefik_arms
from analyzers.presets import PRESETS, convention_of, metric_of, preset_metrics, promql
from analyzers.sources.protocol import Target
from analyzers.sources.scrape import ScrapeOptions, ScrapeSource
from analyzers.ticks import ArmCounts, BucketCounts, GaugeValues, MetricCounts
from daemon.api.analysis_faults import PRESETS as ACCEPTED
from daemon.api.rules import LATENCY_PRESETS, RELATIVE_PRESETS
from daemon.control.http import Http
from daemon.sandbox.gateway import binary
from tests.serving import serving

Page = client.CollectorRegistry


@asynccontextmanager
async def exposing(registry: Page) -> AsyncIterator[str]:
    """A metrics page as the library makes it."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=client.generate_latest(registry), headers={"Content-Type": client.CONTENT_TYPE_LATEST})

    async with serving(page) as url:
        yield url.removeprefix("http://")


@pytest.fixture
async def source() -> AsyncIterator[ScrapeSource]:
    http = Http()
    yield ScrapeSource(ScrapeOptions(), http)
    await http.close()


def _arms(canary: str, baseline: str) -> dict[str, ArmTargets]:
    pages = {CANARY: canary, BASELINE: baseline}
    return {arm: ArmTargets(name=arm, targets=(Target(pod=arm, address=address),)) for arm, address in pages.items()}


async def _found(
    source: ScrapeSource, preset: str, arms: Mapping[str, ArmTargets], router: Mapping[str, Mapping[str, tuple[Matcher, ...]]] | None = None
) -> AnyMetric:
    answer = await resolve(source, preset_metrics(preset, name=preset, router_arms=router), arms[BASELINE], now=0.0, other=arms[CANARY])
    assert answer.metric is not None, answer.tried
    return answer.metric


def test_the_names_are_those_that_the_api_accepts() -> None:
    """A preset that is not accepted is of no use, one that is not there is worse; an unknown one lists the known."""
    assert set(ACCEPTED) == set(PRESETS)
    assert {name for name, preset in PRESETS.items() if preset.kind == "histogram"} == set(LATENCY_PRESETS)
    assert {name for name, preset in PRESETS.items() if preset.kind not in {"ratio", "restarts"}} == set(RELATIVE_PRESETS)
    with pytest.raises(ConfigError, match="HTTPLatency"):
        preset_metrics("Nginx")


def test_every_convention_can_be_read_and_printed() -> None:
    """Selectors of raw counters, and PromQL that rates them for a dashboard."""
    for name, preset in PRESETS.items():
        for convention, metric in zip(preset.conventions, preset_metrics(name), strict=True):
            assert convention_of(name, metric) == convention
            assert promql(metric).startswith("avg(") or "rate(" in promql(metric) or "increase(" in promql(metric)
    native = next(c for c in PRESETS["HTTPErrorRatio"].conventions if c.native)
    shown = promql(metric_of(PRESETS["HTTPErrorRatio"], native, name="errors"), native=True)
    assert shown.startswith("histogram_count(sum(rate(http_server_request_duration_seconds{")
    latency = preset_metrics("HTTPLatency")[0]
    arm = traefik_arms({"canary": "web-canary"})["canary"]
    assert promql(latency, arm, window="1m") == (
        'histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket{service="web-canary"}[1m])))'
    )


@pytest.mark.parametrize("label", ["code", "status", "status_code"])
async def test_errors_of_a_client_library_are_what_was_served(source: ScrapeSource, label: str) -> None:
    """Whatever the label is called: the convention is found, and the increments are the requests, to the last."""
    registries = {CANARY: Page(), BASELINE: Page()}
    counters = {arm: client.Counter("http_requests", "requests", [label], registry=r) for arm, r in registries.items()}
    for counter in counters.values():
        counter.labels("200").inc(1000)
    async with exposing(registries[CANARY]) as canary, exposing(registries[BASELINE]) as baseline:
        arms = _arms(canary, baseline)
        metric = await _found(source, "HTTPErrorRatio", arms)
        found = convention_of("HTTPErrorRatio", metric)
        assert found is not None
        assert found.tried == "prometheus-client"
        collector = Collector(source, [metric], scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        for arm, (good, missing, bad) in {CANARY: (90, 7, 3), BASELINE: (990, 9, 1)}.items():
            for code, count in (("200", good), ("404", missing), ("503", bad)):
                counters[arm].labels(code).inc(count)
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
    assert tick.arms["HTTPErrorRatio"] == MetricCounts(ArmCounts(100, 3), ArmCounts(1000, 1))


@pytest.mark.parametrize("label", ["code", "status", "status_code"])
async def test_errors_are_counted_by_durations_where_nothing_else_counts(source: ScrapeSource, label: str) -> None:
    """As express-prom-bundle and others do: a histogram by status, whose count is the requests."""
    registries = {CANARY: Page(), BASELINE: Page()}
    name = "http_request_duration_seconds"
    histograms = {arm: client.Histogram(name, "time", [label], registry=r) for arm, r in registries.items()}
    for histogram in histograms.values():
        histogram.labels("200").observe(1.0)
    async with exposing(registries[CANARY]) as canary, exposing(registries[BASELINE]) as baseline:
        arms = _arms(canary, baseline)
        metric = await _found(source, "HTTPErrorRatio", arms)
        found = convention_of("HTTPErrorRatio", metric)
        assert found is not None
        assert found.tried == "prometheus-client"
        assert label in found.name
        collector = Collector(source, [metric], scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        for arm, (good, bad) in {CANARY: (17, 3), BASELINE: (99, 1)}.items():
            for code, count in (("200", good), ("500", bad)):
                for _ in range(count):
                    histograms[arm].labels(code).observe(0.2)
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
    assert tick.arms["HTTPErrorRatio"] == MetricCounts(ArmCounts(20, 3), ArmCounts(100, 1))


async def test_latency_of_a_client_library_is_what_was_observed(source: ScrapeSource) -> None:
    """Default buckets on one side, others on the other: each observation between the bounds that both have."""
    dice, registries = random.Random(7), {CANARY: Page(), BASELINE: Page()}
    observed: dict[str, list[float]] = {arm: [dice.expovariate(1.0) for _ in range(500)] for arm in registries}
    name = "http_request_duration_seconds"
    histograms = {
        CANARY: client.Histogram(name, "time", buckets=(0.1, 0.5, 1.0, 3.0), registry=registries[CANARY]),
        BASELINE: client.Histogram(name, "time", registry=registries[BASELINE]),
    }
    async with exposing(registries[CANARY]) as canary, exposing(registries[BASELINE]) as baseline:
        arms = _arms(canary, baseline)
        metric = await _found(source, "HTTPLatency", arms)
        assert isinstance(metric, HistogramMetric)
        assert metric.edges == (0.1, 0.5, 1.0)
        collector = Collector(source, [metric], scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        for arm, durations in observed.items():
            for took in durations:
                histograms[arm].observe(took)
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks

    def bins(arm: str) -> tuple[int, ...]:
        counts = Ledger(sum(took > edge for edge in metric.edges) for took in observed[arm])
        return tuple(counts[i] for i in range(4))

    assert tick.buckets["HTTPLatency"] == BucketCounts(bins(CANARY), bins(BASELINE))


async def test_cpu_by_request_is_what_the_system_says_of_the_process(source: ScrapeSource) -> None:
    """The library reads it from the kernel; so does this test."""
    registry = Page()
    client.ProcessCollector(registry=registry)
    requests = client.Counter("http_requests", "requests", ["code"], registry=registry)
    requests.labels("200")
    async with exposing(registry) as address:
        arms = _arms(address, address)
        metric = await _found(source, "CPUPerRequest", arms)
        assert isinstance(metric, UsageMetric)
        collector = Collector(source, [metric], scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        before = os.times()
        while os.times().user - before.user < 0.2:
            sum(range(10_000))
        requests.labels("200").inc(50)
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
        after = os.times()
    spent = (after.user + after.system) - (before.user + before.system)
    value = tick.gauges["CPUPerRequest"].canary
    assert value == pytest.approx(spent / 50, abs=0.05 / 50)


async def test_the_age_of_a_queue_is_what_the_workers_say(source: ScrapeSource) -> None:
    """The mean over an arm's workers; an empty queue is as old as one of a second, so that two of them are equal."""
    registries = {CANARY: Page(), BASELINE: Page()}
    ages = {arm: client.Gauge("queue_oldest_message_age_seconds", "age", registry=r) for arm, r in registries.items()}
    async with exposing(registries[CANARY]) as canary, exposing(registries[BASELINE]) as baseline:
        arms = _arms(canary, baseline)
        metric = await _found(source, "QueueAge", arms)
        collector = Collector(source, [metric], scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        ages[CANARY].set(42.5)
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
        ages[CANARY].set(0.0)
        (empty,) = (await collector.collect(45.0, list(arms.values()))).ticks
    assert tick.gauges["QueueAge"] == GaugeValues(42.5, 1.0)
    assert empty.gauges["QueueAge"] == GaugeValues(1.0, 1.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def traefik(folder: Path, backends: Mapping[str, str]) -> AsyncIterator[tuple[str, str]]:
    """A real Traefik that splits `/` in halves between the backends: its address, and that of its metrics."""
    web_port, metrics_port = _free_port(), _free_port()
    services = {name: {"loadBalancer": {"servers": [{"url": url}]}} for name, url in backends.items()}
    split = {"weighted": {"services": [{"name": name, "weight": 1} for name in backends]}}
    routers = {"web": {"rule": "PathPrefix(`/`)", "service": "split", "entryPoints": ["web"]}}
    (folder / "dynamic.yaml").write_text(yaml.safe_dump({"http": {"routers": routers, "services": {**services, "split": split}}}))
    options = [
        f"--entrypoints.web.address=127.0.0.1:{web_port}",
        f"--entrypoints.metrics.address=127.0.0.1:{metrics_port}",
        f"--providers.file.filename={folder / 'dynamic.yaml'}",
        "--metrics.prometheus=true",
        "--metrics.prometheus.entrypoint=metrics",
        "--metrics.prometheus.addserviceslabels=true",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    with (folder / "traefik.log").open("wb") as log:
        process = subprocess.Popen([str(binary()), *options], stdout=log, stderr=log)
    try:
        yield f"127.0.0.1:{web_port}", f"127.0.0.1:{metrics_port}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


async def _until_routed(session: aiohttp.ClientSession, url: str) -> None:
    """Traefik answers 404 by itself until it has read its routes."""
    async with asyncio.timeout(30):
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def _backend(name: str, sent: Ledger[tuple[str, int]]) -> web.Application:
    dice = random.Random(name)

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/warm":
            return web.Response()
        status = dice.choice((200, 200, 200, 404, 500, 503))
        sent[name, status] += 1
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    return app


@pytest.mark.parametrize("preset", ["HTTPErrorRatio", "TraefikErrorRatio"])
async def test_traefik_s_own_counts_are_those_of_the_requests(source: ScrapeSource, tmp_path: Path, preset: str) -> None:
    """Where the pods count nothing, the router does: errors and latency of each backend, to the request."""
    sent: Ledger[tuple[str, int]] = Ledger()
    router = {"Traefik": traefik_arms({CANARY: "web-canary@file", BASELINE: "web@file"})}
    async with (
        serving(_backend("web", sent)) as stable,
        serving(_backend("web-canary", sent)) as canary,
        traefik(tmp_path, {"web": stable, "web-canary": canary}) as (address, metrics),
        aiohttp.ClientSession() as session,
    ):
        for _ in range(4):
            await _until_routed(session, f"http://{address}/warm")
        arms = _arms(metrics, metrics)
        errors = await _found(source, preset, arms, router)
        latency = await _found(source, "HTTPLatency", arms, router)
        assert isinstance(errors, RatioMetric)
        assert isinstance(latency, HistogramMetric)
        collector = Collector(source, [errors, latency], scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        for _ in range(300):
            async with session.get(f"http://{address}/") as answer:
                await answer.read()
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
    served = {name: sum(n for (who, _), n in sent.items() if who == name) for name in ("web", "web-canary")}
    failed = {name: sum(n for (who, code), n in sent.items() if who == name and code >= 500) for name in served}
    assert sum(served.values()) == 300
    assert failed["web-canary"] > 0
    assert tick.arms[preset] == MetricCounts(ArmCounts(served["web-canary"], failed["web-canary"]), ArmCounts(served["web"], failed["web"]))
    assert latency.edges == (0.1, 0.3, 1.2, 5.0)
    buckets = tick.buckets["HTTPLatency"]
    assert (sum(buckets.canary or ()), sum(buckets.baseline or ())) == (served["web-canary"], served["web"])
