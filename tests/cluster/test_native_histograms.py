"""Native histograms in a real Prometheus, sent to it as OpenTelemetry does: what was observed is what the judge is given, exactly."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter as Ledger
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from analyzers.channels import BASELINE, CANARY
from analyzers.collector import ArmTargets, CollectedTick, Collector, resolve
from analyzers.metrics import AnyMetric, HistogramMetric, Matcher, MatchOp, RatioMetric
from analyzers.presets import convention_of, preset_metrics
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from daemon.control.http import Http
from tests.testbed import build
from tests.testbed.lone_prometheus import LonePrometheus

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SCALES = {CANARY: 1, BASELINE: 3}  # the canary's SDK keeps coarser buckets


class Sdk:
    """One pod's OpenTelemetry SDK: a cumulative exponential histogram of request durations for each status."""

    def __init__(self, arm: str) -> None:
        self.arm, self.started, self.observed = arm, time.time(), Ledger[tuple[int, float]]()

    def serve(self, status: int, seconds: float) -> None:
        self.observed[status, seconds] += 1

    def export(self) -> dict[str, Any]:
        statuses = sorted({status for status, _ in self.observed})
        resource = {"attributes": [_attribute("service.name", "web"), _attribute("service.instance.id", self.arm)]}
        metric = {
            "name": "http.server.request.duration",
            "unit": "s",
            "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [self._point(s) for s in statuses]},
        }
        return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}

    def _point(self, status: int) -> dict[str, Any]:
        own = {seconds: n for (code, seconds), n in self.observed.items() if code == status}
        held: Ledger[int] = Ledger()
        for seconds, n in own.items():
            held[math.ceil(math.log2(seconds) * 2 ** SCALES[self.arm]) - 1] += n
        first = min(held)
        return {
            "attributes": [{"key": "http.response.status_code", "value": {"intValue": str(status)}}],
            "startTimeUnixNano": str(round(self.started * 1e9)),
            "timeUnixNano": str(time.time_ns()),
            "count": str(sum(own.values())),
            "sum": sum(seconds * n for seconds, n in own.items()),
            "scale": SCALES[self.arm],
            "positive": {"offset": first, "bucketCounts": [str(held[i]) for i in range(first, max(held) + 1)]},
        }


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def _arms() -> dict[str, ArmTargets]:
    return {a: ArmTargets(name=a, matchers=(Matcher("instance", MatchOp.EQUAL, a),)) for a in (CANARY, BASELINE)}


async def _resolve(source: PrometheusSource, preset: str) -> AnyMetric:
    arms = _arms()
    found = await resolve(source, preset_metrics(preset, name=preset), arms[BASELINE], now=time.time(), other=arms[CANARY])
    assert found.metric is not None, found.tried
    convention = convention_of(preset, found.metric)
    assert convention is not None
    assert convention.name == "OpenTelemetry, native histogram"
    return found.metric


def _total(ticks: Sequence[CollectedTick], arm: str) -> tuple[int, int, tuple[int, ...]]:
    counts = [c for t in ticks if "HTTPErrorRatio" in t.arms and (c := getattr(t.arms["HTTPErrorRatio"], arm)) is not None]
    bins = [b for t in ticks if "HTTPLatency" in t.buckets and (b := getattr(t.buckets["HTTPLatency"], arm)) is not None]
    return sum(c.requests for c in counts), sum(c.errors for c in counts), tuple(sum(b) for b in zip(*bins, strict=True))


def _served(sdk: Sdk, before: Ledger[tuple[int, float]], edges: tuple[float, ...]) -> tuple[int, int, tuple[int, ...]]:
    new = sdk.observed - before
    bins = Ledger[int]()
    for (_, seconds), n in new.items():
        bins[sum(seconds > edge for edge in edges)] += n
    return new.total(), sum(n for (status, _), n in new.items() if status >= 500), tuple(bins[i] for i in range(len(edges) + 1))


async def test_native_histograms_of_two_resolutions_are_counted_exactly(tmp_path: Path) -> None:
    """Errors by the histograms' counts, latency by their buckets, at bounds that both resolutions can tell."""
    if build.missing({"prometheus"}):
        pytest.skip("not built: prometheus: run `python -m tests.testbed.build`")
    dice, http = random.Random(20261123), Http()
    prometheus = LonePrometheus(tmp_path, options=("--web.enable-otlp-receiver",))
    sdks = {arm: Sdk(arm) for arm in SCALES}
    await prometheus.start()
    try:
        async with aiohttp.ClientSession() as session:

            async def export() -> None:
                for sdk in sdks.values():
                    for _ in range(dice.randrange(1, 40)):
                        sdk.serve(dice.choice((200, 200, 200, 404, 500)), dice.lognormvariate(-2.0, 1.0))
                    async with session.post(f"{prometheus.url}/api/v1/otlp/v1/metrics", json=sdk.export()) as answer:
                        assert answer.status == 200, await answer.text()

            for sdk in sdks.values():
                for status in (200, 404, 500):
                    sdk.serve(status, 0.1)
            for _ in range(2):
                await export()
            await _judge(PrometheusSource(PrometheusOptions(url=prometheus.url), http), sdks, export)
    finally:
        await prometheus.stop()
        await http.close()


async def _judge(source: PrometheusSource, sdks: dict[str, Sdk], export: Any) -> None:
    errors, latency = await _resolve(source, "HTTPErrorRatio"), await _resolve(source, "HTTPLatency")
    assert isinstance(errors, RatioMetric)
    assert isinstance(latency, HistogramMetric)
    collector, ticks = Collector(source, [errors, latency], scrape_seconds=1.0), list[CollectedTick]()

    async def collect_past(moment: float) -> None:
        while collector.last_index is None or collector.last_index <= moment:
            ticks.extend((await collector.collect(time.time(), list(_arms().values()))).ticks)
            await asyncio.sleep(0.2)

    await collect_past(time.time())
    ticks.clear()
    before = {arm: sdk.observed.copy() for arm, sdk in sdks.items()}
    for _ in range(3):
        await export()
        await collect_past(time.time())
    for arm, sdk in sdks.items():
        assert _total(ticks, arm) == _served(sdk, before[arm], latency.edges)
    assert all(_total(ticks, arm)[0] > 20 for arm in sdks)
