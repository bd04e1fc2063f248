"""From what processes count to what the judge is given, by way of a real server: every request once, whatever happens.

Pods are born, restart, are scaled down and are scraped late; labelled counters appear with their first event; the server is
away for a while. The increments of all ticks together are what the processes counted, to the request. A Prometheus, and a
VictoriaMetrics, which finds what it scraped some seconds later. Needs these two, built, and no cluster.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter as Ledger
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import prometheus_client as client
import pytest
from aiohttp import web

from analyzers.collector import BASELINE, CANARY, ArmTargets, CollectedTick, Collector, resolve
from analyzers.metrics import HistogramMetric, Matcher, MatchOp, RatioMetric, Selector, parse_selector
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from analyzers.sources.protocol import HttpReply, Partial, Query
from analyzers.ticks import ProblemKind
from daemon.control.http import Http
from tests.testbed import build
from tests.testbed.lone_prometheus import LonePrometheus, LoneServer, LoneVictoria

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

METRIC = RatioMetric(
    name="errors", errors=parse_selector('http_requests_total{code=~"5.."}'), total=parse_selector('http_requests_total{code!=""}')
)
LATENCY = HistogramMetric(name="latency", buckets=parse_selector("http_request_duration_seconds_bucket"))
# A VictoriaMetrics finds samples of a new series seconds after those that stood in the same scrape: two scrapes of these are too few.
DELAYS: dict[type[LoneServer], float] = {LonePrometheus: 0.0, LoneVictoria: 5.0}
EDGES = (0.1, 0.5, 1.0)
CODES = ("200", "200", "200", "404", "500", "503")


class Pod:
    """A process with a metrics page; `ledger` is what it counted, by code, over all its lives."""

    def __init__(self, arm: str, name: str, ledger: Ledger[str]) -> None:
        self.arm, self.name, self.ledger = arm, name, ledger
        self.started = time.time()
        self._dice = random.Random(name)
        self.scrapes = 0
        self._scraped = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.address = ""
        self.restart()

    def restart(self) -> None:
        """The container's process anew: its counters are gone, the pod and its address stay."""
        self.registry = client.CollectorRegistry()
        self._requests = client.Counter("http_requests", "requests", ["code"], registry=self.registry)
        self._requests.labels("200")
        # Buckets of a version's own: what both have is compared.
        own = (0.1, 0.25, 0.5, 1.0) if self.arm == CANARY else (0.05, 0.1, 0.5, 1.0, 5.0)
        self._seconds = client.Histogram("http_request_duration_seconds", "time to answer", buckets=own, registry=self.registry)

    def serve(self, code: str, count: int = 1) -> None:
        self._requests.labels(code).inc(count)
        self.ledger[code] += count
        for _ in range(count):
            took = self._dice.expovariate(3.0)
            self._seconds.observe(took)
            self.ledger[f"bucket {sum(took > edge for edge in EDGES)}"] += 1

    async def page(self, _: web.Request) -> web.Response:
        body = client.generate_latest(self.registry)
        async with self._scraped:
            self.scrapes += 1
            self._scraped.notify_all()
        return web.Response(body=body, headers={"Content-Type": client.CONTENT_TYPE_LATEST})

    async def seen(self) -> None:
        """Until all that is counted now is stored: scrapes come one after the other, so a second one ends the first."""
        wanted = self.scrapes + 2
        async with self._scraped:
            await self._scraped.wait_for(lambda: self.scrapes >= wanted)

    async def up(self) -> None:
        app = web.Application()
        app.router.add_get("/metrics", self.page)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def down(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


class CountingHttp(Http):
    """The daemon's client; how often it was asked."""

    requests = 0

    async def request(self, method: str, url: str, **options: object) -> HttpReply:
        self.requests += 1
        return await super().request(method, url, **options)  # type: ignore[arg-type]


class Scene:
    """Pods of both arms, the server over them, and the collector that reads it."""

    def __init__(self, server: LoneServer, http: CountingHttp) -> None:
        self.server, self.http = server, http
        self.ledgers: dict[str, Ledger[str]] = {CANARY: Ledger(), BASELINE: Ledger()}
        self.pods: dict[str, Pod] = {}
        self.started: dict[str, dict[str, float]] = {CANARY: {}, BASELINE: {}}
        self.ticks: list[CollectedTick] = []
        self.problems: Ledger[ProblemKind] = Ledger()
        self.collections = 0
        self.source = PrometheusSource(PrometheusOptions(url=server.url, ingestion_delay=DELAYS[type(server)]), http)
        latency = msgspec.structs.replace(LATENCY, edges=EDGES)
        self.collector = Collector(self.source, [METRIC, latency], scrape_seconds=1.0)

    async def scale(self, arm: str, *names: str) -> None:
        for name in names:
            pod = self.pods[name] = Pod(arm, name, self.ledgers[arm])
            self.started[arm][name] = pod.started
            await pod.up()
        self._tell()

    async def remove(self, name: str) -> None:
        """Drained, seen a last time, gone."""
        pod = self.pods[name]
        await pod.seen()
        del self.pods[name]
        self._tell()
        await pod.down()

    def _tell(self) -> None:
        self.server.targets({name: (pod.address, {"track": pod.arm}) for name, pod in self.pods.items()})

    async def collect(self) -> None:
        arms = [ArmTargets(name=a, matchers=(Matcher("track", MatchOp.EQUAL, a),), started=self.started[a]) for a in (CANARY, BASELINE)]
        collected = await self.collector.collect(time.time(), arms)
        self.ticks += collected.ticks
        self.problems.update(p.kind for p in collected.problems)
        self.collections += 1

    async def collect_until(self, done: Callable[[], bool]) -> None:
        while not done():
            await self.collect()
            await asyncio.sleep(0.3)

    def counted(self, arm: str) -> tuple[int, int, tuple[int, ...]]:
        """Requests, errors and latency buckets of all ticks."""
        counts = [c for t in self.ticks if "errors" in t.arms and (c := getattr(t.arms["errors"], arm)) is not None]
        bins = [b for t in self.ticks if "latency" in t.buckets and (b := getattr(t.buckets["latency"], arm)) is not None]
        return sum(c.requests for c in counts), sum(c.errors for c in counts), tuple(sum(b) for b in zip(*bins, strict=True))

    def served(self, arm: str) -> tuple[int, int, tuple[int, ...]]:
        ledger = self.ledgers[arm]
        codes = {code: n for code, n in ledger.items() if code.isdigit()}
        bins = tuple(ledger[f"bucket {i}"] for i in range(len(EDGES) + 1))
        return sum(codes.values()), sum(n for code, n in codes.items() if code.startswith("5")), bins


@asynccontextmanager
async def _scene(folder: Path, kind: type[LoneServer]) -> AsyncIterator[Scene]:
    if build.missing({kind.name}):
        pytest.skip(f"not built: {kind.name}: run `python -m tests.testbed.build` (needs Go, about ten minutes once)")
    folder.mkdir()
    server, http = kind(folder), CountingHttp()
    made = Scene(server, http)
    await server.start()
    try:
        yield made
    finally:
        await server.stop()
        for pod in made.pods.values():
            await pod.down()
        await http.close()


@pytest.fixture
async def scenes(tmp_path: Path) -> AsyncIterator[list[Scene]]:
    """One for each kind of server; what waits for scrapes can wait beside each other."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_scene(tmp_path / kind.name, kind)) for kind in DELAYS]


async def test_increments_are_what_the_processes_counted_to_the_request(scenes: list[Scene]) -> None:
    """Through births of pods and of labels, resets, scale-downs and an outage of the server; one query a tick for each of the two metrics."""
    await asyncio.gather(*(_through_everything(scene) for scene in scenes))
    for scene in scenes:
        name = scene.server.name
        assert {arm: scene.counted(arm) for arm in (CANARY, BASELINE)} == {arm: scene.served(arm) for arm in (CANARY, BASELINE)}, name
        assert scene.served(CANARY)[1] > 11
        assert scene.problems[ProblemKind.PROVIDER_ERROR] > 0
        assert [t.index for t in scene.ticks] == list(range(scene.ticks[0].index, scene.ticks[-1].index + 1)), name
        assert scene.http.requests <= 2 * scene.collections, name


async def _through_everything(scene: Scene) -> None:
    dice = random.Random(20261123)
    await scene.scale(BASELINE, "b-1", "b-2", "b-3")
    await scene.scale(CANARY, "c-1")
    await asyncio.gather(*(p.seen() for p in scene.pods.values()))
    # What was counted before the first tick is not evidence: nothing is.
    await scene.collect_until(lambda: any(t.arms["errors"].canary and t.arms["errors"].baseline for t in scene.ticks))
    await _edges_are_those_of_both(scene)
    scene.http.requests = scene.collections = 0

    async def play() -> None:
        for turn in range(9):
            for pod in scene.pods.values():
                for _ in range(dice.randrange(20)):
                    pod.serve(dice.choice(CODES))
            await asyncio.gather(*(p.seen() for p in scene.pods.values()))
            if turn == 1:
                await scene.scale(CANARY, "c-2")
                scene.pods["c-2"].serve("500", 7)  # before its first scrape
            if turn == 3:
                scene.pods["b-1"].restart()
                scene.pods["c-1"].restart()
                scene.pods["c-1"].serve("503", 4)  # its first words in the new life
            if turn == 4:
                await scene.remove("b-3")
            if turn == 5:
                await _outage(scene)
            if turn == 7:
                await scene.remove("c-1")

    playing = asyncio.ensure_future(play())
    await scene.collect_until(playing.done)
    await playing
    end = time.time()
    await scene.collect_until(lambda: scene.ticks[-1].at > end)


async def _edges_are_those_of_both(scene: Scene) -> None:
    """Bounds that one version alone has are left out, and what fell between them is not."""
    arms = {a: ArmTargets(name=a, matchers=(Matcher("track", MatchOp.EQUAL, a),)) for a in (CANARY, BASELINE)}
    found = await resolve(scene.source, [LATENCY], arms[BASELINE], now=time.time(), other=arms[CANARY])
    assert found.metric is not None
    assert found.metric.edges == EDGES


async def _outage(scene: Scene) -> None:
    """The server stops; pods go on counting, one in a label that it never saw; then it is back."""
    await scene.server.stop()
    before = scene.problems[ProblemKind.PROVIDER_ERROR]
    scene.pods["b-2"].serve("502", 5)
    for pod in scene.pods.values():
        pod.serve("200", 30)
    while scene.problems[ProblemKind.PROVIDER_ERROR] < before + 3:
        await asyncio.sleep(0.1)
    await scene.server.start()


async def test_a_truncated_answer_of_a_real_prometheus_holds(tmp_path: Path) -> None:
    """Its own words for it arrive, and the samples are marked as not all."""
    async with _scene(tmp_path / "alone", LonePrometheus) as scene:
        await scene.scale(CANARY, "c-1")
        pod = scene.pods["c-1"]
        for code in ("200", "404", "500"):
            pod.serve(code)
        await pod.seen()
        source = PrometheusSource(PrometheusOptions(url=scene.server.url, parameters={"limit": "1"}), scene.http)
        (outcome,) = await source.fetch([Query(selector=Selector("http_requests_total"))], at=time.time(), window=60.0, deadline=5.0)
    assert isinstance(outcome, Partial)
    assert len(outcome.series) == 1
    assert "truncated" in outcome.warnings[0]
