"""`linnet aa` on a real Prometheus: two hours of what pods counted, told to it as OpenTelemetry does, each sample with its own time.

A service is judged against itself in its past, and nobody can wait for one here. Needs the built Prometheus and no control plane: the
Deployments are in the sandbox's API server.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray

from analyzers.channels import BASELINE
from analyzers.collector import ArmTargets
from analyzers.metrics import Matcher, MatchOp, RatioMetric, parse_selector
from analyzers.past import window
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from daemon.control.http import Http
from tests.sandbox.workbench import web
from tests.testbed import build
from tests.testbed.lone_prometheus import LonePrometheus
from tests.unit.cli.world import World, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SCRAPE = 15
TICKS = 500  # a little over two hours
SLICE = 40  # a request brings ten minutes: a server takes no sample that is much older than its newest
PODS = 4
SHARES = {"web": (0.01, 0.01, 0.01, 0.01), "odd": (0.25, 0.01, 0.01, 0.01)}
"""Of each service: the share of requests that fails at each of its pods."""
Counts = NDArray[np.int64]


class Past:
    """What the pods of a service counted in every tick: requests, and those of them that failed; one of them was restarted on the way."""

    def __init__(self, name: str, shares: tuple[float, ...], end: int) -> None:
        dice = np.random.default_rng(20261123)
        self.name, self.first = name, end // SCRAPE - TICKS
        self.requests: Counts = dice.poisson(20 * SCRAPE, (TICKS, PODS))
        self.errors: Counts = dice.binomial(self.requests, shares)

    def pod(self, place: int) -> str:
        return f"{self.name}-5d9c7-x{place}"

    def points(self, begin: int, until: int) -> list[dict[str, Any]]:
        """The samples of these ticks: each is taken in the middle of its tick."""
        return [
            {
                "attributes": [_attribute(*pair) for pair in {"namespace": "default", "pod": self.pod(i), "code": code}.items()],
                "timeUnixNano": str(((self.first + k) * SCRAPE + SCRAPE // 2) * 10**9),
                "asInt": str(value),
            }
            for i in range(PODS)
            for code, counted in (("200", self.requests[:, i] - self.errors[:, i]), ("500", self.errors[:, i]))
            for k, value in enumerate(self._shown(counted, i)[begin:until], begin)
        ]

    def _shown(self, counted: Counts, place: int) -> Counts:
        """As a page shows it: the second pod's process began anew after seven tenths of the time."""
        total = np.cumsum(counted)
        fresh = TICKS * 7 // 10
        if place == 1:
            total[fresh:] -= total[fresh - 1]
        return total


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


async def _tell(prometheus: LonePrometheus, pasts: Mapping[str, Past]) -> None:
    """All services up to one time, then up to the next: as it would have come."""
    async with aiohttp.ClientSession() as session:
        for begin in range(0, TICKS, SLICE):
            points = [point for past in pasts.values() for point in past.points(begin, min(begin + SLICE, TICKS))]
            metric = {"name": "http_requests", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points}}
            resource = {"attributes": [_attribute("service.name", "shop"), _attribute("service.instance.id", "collector")]}
            body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}
            async with session.post(f"{prometheus.url}/api/v1/otlp/v1/metrics", json=body) as answer:
                assert answer.status == 200, await answer.text()


@pytest.fixture
async def prometheus(tmp_path: Path) -> AsyncIterator[LonePrometheus]:
    if build.missing({"prometheus"}):
        pytest.skip("not built: prometheus: run `python -m tests.testbed.build`")
    made = LonePrometheus(tmp_path, options=("--web.enable-otlp-receiver",))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_a_real_services_past_is_judged_against_itself(prometheus: LonePrometheus, tmp_path: Path) -> None:
    """What is read is what was counted, to the request; pods that are alike are trusted, and one that fails far more often is not."""
    end = int(time.time())
    pasts = {name: Past(name, shares, end) for name, shares in SHARES.items()}
    await _tell(prometheus, pasts)
    await _counted(prometheus, pasts["web"])
    async with world(tmp_path) as shop:
        shop.apply(web(replicas=PODS), web(name="odd", replicas=PODS))
        alike = await _aa(shop, "web", prometheus, "30m")
        odd = await _aa(shop, "odd", prometheus, "5m")
    code, found = alike
    assert code == 0, found
    assert [(t["canary_pods"], t["pods"], t["windows"], t["trusted"]) for t in found["trials"]] == [(1, 4, 3, True), (2, 4, 3, True)]
    for trial in found["trials"]:
        assert trial["caught"] == 3 and trial["proven"] >= 2
        assert trial["caught_minutes"] < 10
    code, found = odd
    assert code == 1, found
    assert any(not t["trusted"] and t["blamed"] == ["errors"] for t in found["trials"])


async def _aa(shop: World, name: str, prometheus: LonePrometheus, length: str) -> tuple[int, Any]:
    asked = ("--prometheus", prometheus.url, "--since", "2h", "--window", length, "--worse-by", "5", "-o", "json")
    done = await shop.run("aa", f"deploy/{name}", *asked)
    assert done.exit_code in {0, 1} and done.output.startswith("{"), done.output
    return done.exit_code, json.loads(done.output)


async def _counted(prometheus: LonePrometheus, past: Past) -> None:
    """The window in which a process began anew, tick by tick and pod by pod."""
    http = Http()
    total, errors = parse_selector('http_requests_total{code!=""}'), parse_selector('http_requests_total{code=~"5.."}')
    arm = ArmTargets(name=BASELINE, matchers=(Matcher("pod", MatchOp.REGEX, "web-.*"),))
    source = PrometheusSource(PrometheusOptions(url=prometheus.url), http)
    until = (past.first + TICKS * 7 // 10 + 60) * SCRAPE
    try:
        metric = RatioMetric(name="errors", errors=errors, total=total)
        seen = await window(source, [metric], arm, until=float(until), seconds=1800.0, scrape_seconds=float(SCRAPE))
    finally:
        await http.close()
    last = until // SCRAPE - source.settle_scrapes - past.first
    assert seen.units == tuple(past.pod(i) for i in range(PODS))
    for told, counted in ((seen.history["errors"].requests, past.requests), (seen.history["errors"].events, past.errors)):
        assert told is not None
        assert np.array_equal(told, counted[last - 120 : last])
