"""The judges of the rollouts: what counts under which weight, what survives a restart, and what one judge's fault costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web

from analyzers.evidence import EvidenceLog, read
from analyzers.judge import Judge
from analyzers.options import JudgeConfig, MetricConfig, conversion
from analyzers.ticks import ArmCounts, MetricCounts, Tick
from daemon.api.status import CanaryStatus, ExposureStatus, RolloutStatus
from daemon.control.caches import Caches
from daemon.control.judging import JudgeBoard, Ports, view_of
from daemon.control.measuring import candidates, judge_config
from daemon.control.resolved import Resolved
from daemon.control.runs import RunStore, parameters_of
from daemon.kube import config as kube_config
from daemon.kube.client import Client
from daemon.kube.transport import Transport
from daemon.rollout.clock import stamp
from daemon.rollout.model import JudgeView
from tests.unit.control.cluster import SHOP, Cluster
from tests.unit.control.test_measuring import REVISION, Bench, Secrets
from tests.unit.control.test_measuring import bench as bench
from tests.unit.control.world import CANARIES, METRIC, RUNS, Object, canary

KEY = (SHOP, "web")
START = 1_760_000_000.96  # close before the next look, so that a look follows soon
ANALYSIS: Object = {"interval": "1s", "warmUp": "1ms", "metrics": [{**METRIC, "preset": "HTTPErrorRatio"}]}


class Runs(RunStore):
    """Keeps what is stored, by Canary; a broken one raises what no code expects."""

    def __init__(self) -> None:
        super().__init__(cast("Client", None))
        self.kept: dict[str, str] = {}
        self.broken: set[str] = set()

    async def evidence(self, resolved: Resolved, revision: str, parameters: str) -> str | None:
        if resolved.canary.name in self.broken:
            raise RuntimeError("boom")
        return self.kept.get(resolved.canary.name)

    async def save(self, resolved: Resolved, revision: str, evidence: EvidenceLog, parameters: str, *, new: bool = False) -> None:
        self.kept[resolved.canary.name] = evidence.pack()


class Court:
    """A board with its clock, its sources and its store in the test's hands."""

    def __init__(self, bench: Bench, analysis: Object = ANALYSIS, *more: Object) -> None:
        self.bench, self.runs, self.now = bench, Runs(), START
        self.woken: list[tuple[str, str]] = []
        self.caches, resolved = bench.resolve(analysis, bench.scrape(), *more)
        self.resolved = exposed(resolved)
        bench.pages.counters = self.counters
        self.errors = 0.001
        self.silent = False
        self.behind = 0  # ticks until what a source delivers is final

    def counters(self, address: str) -> tuple[int, int]:
        total = 0 if self.silent else int(self.now - START) * 1000 + 5000
        return total, int(total * (self.errors if address == "127.0.0.2" else 0.001))

    def follow(self, board: JudgeBoard, weight: int, *, settled: bool = True, foreign: str = "") -> None:
        """A pass: what is in force from now on goes on record, if it is not what was, and the board is told."""
        rollout = self.resolved.canary.status.rollout
        assert rollout is not None
        now = ExposureStatus(since=stamp(self.now), weight=weight, settled=settled, foreign=foreign)
        if msgspec.structs.replace(now, since=rollout.exposures[-1].since) != rollout.exposures[-1]:
            rollout = msgspec.structs.replace(rollout, exposures=[*rollout.exposures, now])
            status = msgspec.structs.replace(self.resolved.canary.status, rollout=rollout)
            self.resolved = msgspec.structs.replace(self.resolved, canary=msgspec.structs.replace(self.resolved.canary, status=status))
        board.follow(self.resolved)

    @asynccontextmanager
    async def sitting(self) -> AsyncIterator[JudgeBoard]:
        """A board while the block runs: leaving it is the daemon's end."""
        ports = Ports(
            caches=self.caches, http=self.bench.http, secrets=Secrets(), runs=self.runs, wake=self.woken.append, clock=lambda: self.now
        )
        board = JudgeBoard(ports)
        task = asyncio.create_task(board.run())
        await asyncio.sleep(0)
        try:
            yield board
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, ask: Callable[[], Any]) -> Any:
        async with asyncio.timeout(10):
            while not (found := ask()):
                await asyncio.sleep(0.01)
            return found

    async def pass_by(self, seconds: int, board: JudgeBoard) -> None:
        """The judge looks once in each of these seconds."""
        for _ in range(seconds):
            self.now += 1
            await self.until(lambda: last_index(board) == int(self.now) - self.behind)

    async def passes(self, board: JudgeBoard, wanted: Callable[[JudgeView], bool]) -> JudgeView:
        """Second by second, until the judge says so."""
        for _ in range(80):
            await self.pass_by(1, board)
            found = board.view(KEY, REVISION)
            if found is not None and wanted(found):
                return found
        raise AssertionError(f"the judge still says {board.view(KEY, REVISION)}")


def exposed(resolved: Resolved, weight: int = 20) -> Resolved:
    at = stamp(START)
    exposures = [ExposureStatus(since=at, weight=weight, settled=True)]
    rollout = RolloutStatus(revision=REVISION, started_at=at, exposed_at=at, judge_from=at, weight_reached=weight, exposures=exposures)
    return msgspec.structs.replace(
        resolved, canary=msgspec.structs.replace(resolved.canary, status=CanaryStatus(phase="Progressing", rollout=rollout))
    )


def evidence(board: JudgeBoard, key: tuple[str, str] = KEY) -> EvidenceLog | None:
    found = board._sessions.get(key)
    return found.evidence if found else None


def last_index(board: JudgeBoard) -> int | None:
    found = evidence(board)
    return found.last_index if found else None


def weights(log: EvidenceLog | None) -> dict[int, float]:
    """Seconds since the start -> weight that was judged under."""
    assert log is not None
    return {e.index - int(START): e.weight for e in read(log.pack()).entries}


@pytest.fixture
def court(bench: Bench) -> Court:
    return Court(bench)


ORDERS = {
    "name": "orders",
    "ratio": {"errors": "orders_bad", "total": "orders_all"},
    "sourceRef": {"name": "shop"},
    "rollbackIfWorseBy": "2pp",
}
TWO = {**ANALYSIS, "metrics": [*ANALYSIS["metrics"], ORDERS]}


class Shop:
    """A Prometheus that counts orders, until it is away."""

    def __init__(self, court: Court) -> None:
        self.court, self.away = court, False
        court.bench.pages.answer = self.answer

    def answer(self, form: dict[str, str]) -> list[Object]:
        if self.away:
            raise web.HTTPServiceUnavailable(text="compacting")
        at = [int(float(form["time"])) - k for k in range(40, -1, -1)]
        return [
            {
                "metric": {"__name__": name, "namespace": SHOP, "pod": pod},
                "values": [(t, str(int((t - START + 100) * each))) for t in at],
            }
            for pod in ("web-55555-x", "web-canary-bbbbb-55555-x")
            for name, each in (("orders_all", 50), ("orders_bad", 1))
        ]


async def test_a_source_that_is_away_holds_and_is_named_and_the_others_still_end_the_release(bench: Bench) -> None:
    """Orders come from another server than errors: both are evidence of one log; without the first, the second still rolls back."""
    court = Court(bench, TWO, bench.source("shop"))
    court.behind, shop = 2, Shop(court)
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        court.now += court.behind
        view = await court.passes(board, lambda v: {m.name for m in v.metrics if m.canary_total} == {"errors", "orders"})
        assert not view.code.startswith("Provider")
        shop.away = True
        held = await court.passes(board, lambda v: v.code == "ProviderError")
        assert held.action == "Hold"
        assert "MetricSource shop" in held.text
        assert "compacting" in held.text
        court.errors = 0.3
        ended = await court.passes(board, lambda v: v.action == "Rollback")
        assert ended.culprit == "errors"


async def test_each_tick_is_judged_under_the_weight_then_in_force(court: Court) -> None:
    """The weight rises while samples are being waited for: what was counted before keeps the old one."""
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(3, board)
        court.now += 0.5  # a reading of the second just begun will come when the weight has changed
        court.bench.pages.status = 503
        court.now += 3
        court.follow(board, 50)
        court.bench.pages.status = 200
        court.now -= 0.5
        await court.pass_by(2, board)
        found = weights(evidence(board))
    assert found[1] == found[3] == 20.0
    assert found[max(found)] == 50.0


async def test_a_look_after_a_change_counts_as_unsettled(court: Court) -> None:
    """The tick in which the weight changed is of neither weight."""
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(2, board)
        court.now += 0.01
        court.follow(board, 50)
        court.now -= 0.01
        await court.pass_by(3, board)
        log = evidence(board)
        assert log is not None
        settled = {e.index - int(START): bool(e.flags & 2) for e in read(log.pack()).entries}
    assert settled[2]
    assert not settled[3]
    assert settled[5]


async def test_a_foreign_write_is_on_the_record(court: Court) -> None:
    """What somebody else did to the route stands beside the tick, so that a replay sees it too."""
    async with court.sitting() as board:
        court.follow(board, 20, foreign="argocd set the weight to 0")
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(2, board)
        log = evidence(board)
        assert log is not None
        assert any("argocd" in p.text for e in read(log.pack()).entries for p in e.problems)


async def test_a_restart_goes_on_where_the_stored_evidence_ends(court: Court) -> None:
    """Nothing is judged twice, and nothing that was stored is lost."""
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(4, board)
        await board.store(court.resolved, force=True)
    before = weights(EvidenceLog.unpack(court.runs.kept["web"]))
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(2, board)
        after = weights(evidence(board))
    assert len(before) >= 3
    assert before.items() <= after.items()
    assert len(after) > len(before)


async def test_evidence_is_stored_at_most_once_a_minute_unless_it_must(court: Court) -> None:
    """Within a step once a minute; at a step or verdict at once; not at all while nothing is new."""
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(2, board)
        stored = []
        for force, seconds in ((True, 1), (False, 1), (True, 0), (False, 61)):
            court.runs.kept.clear()
            if seconds == 61:
                court.now += 60
                await court.pass_by(1, board)
            elif seconds:
                await court.pass_by(seconds, board)
            await board.store(court.resolved, force=force)
            stored.append("web" in court.runs.kept)
        assert stored == [True, False, True, True]


async def test_a_source_that_fails_is_a_view_and_wakes_the_pass(court: Court) -> None:
    """ProviderError with the source's own words; the judge goes on when it answers again."""
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(2, board)
        court.bench.pages.status = 503
        court.now += 1
        view = await court.until(lambda: (v := board.view(KEY, REVISION)) and v.code == "ProviderError" and v)
        assert "503" in view.text
        assert view.action == "Hold"
        assert KEY in court.woken
        court.bench.pages.status = 200
        court.now += 1
        await court.until(lambda: (v := board.view(KEY, REVISION)) and v.code != "ProviderError")


async def test_a_canary_without_requests_is_no_data(court: Court) -> None:
    """Not fine, and not an error: NoData, which the owner's rule is about."""
    court.silent = True
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        found = await court.passes(board, lambda view: view.code == "NoData")
        assert (found.code, found.action, found.canary_requests) == ("NoData", "Hold", 0)


async def test_a_bad_canary_is_rolled_back_and_a_new_revision_starts_anew(court: Court) -> None:
    """The verdict is of this revision; another one has no view and no evidence yet."""
    court.errors = 0.5
    async with court.sitting() as board:
        court.follow(board, 20)
        await court.until(lambda: evidence(board) is not None)
        await court.passes(board, lambda view: view.action == "Rollback")
        rollout = court.resolved.canary.status.rollout
        assert rollout is not None
        fresh = msgspec.structs.replace(rollout, revision="ccccc")
        status = CanaryStatus(phase="Progressing", rollout=fresh)
        canary = msgspec.structs.replace(court.resolved.canary, status=status)
        board.follow(msgspec.structs.replace(court.resolved, canary=canary))
        assert board.view(KEY, REVISION) is None
        assert board.view(KEY, "ccccc") is None


# Latency.

LATENCY = {"name": "latency", "preset": "HTTPLatency"}
SLOW = {0.1: 0.5, 0.5: 0.8, 1.0: 0.95, 5.0: 1.0}  # bound -> share of requests below it
QUICK = {0.1: 0.8, 0.5: 0.95, 1.0: 0.99, 5.0: 1.0}


def page(total: int, shares: dict[float, float]) -> str:
    lines = [f'http_requests_total{{code="200"}} {total}', 'http_requests_total{code="500"} 0']
    lines += [f'http_request_duration_seconds_bucket{{le="{edge}"}} {int(total * share)}' for edge, share in shares.items()]
    return "\n".join([*lines, *([f'http_request_duration_seconds_bucket{{le="+Inf"}} {total}'] if shares else [])]) + "\n"


def edges(board: JudgeBoard) -> tuple[float, ...]:
    log = evidence(board)
    return next((m.edges for m in read(log.pack()).config.metrics if m.name == "latency"), ()) if log is not None else ()


async def test_a_canary_that_is_only_slow_is_taken_back_for_its_latency(court: Court) -> None:
    """Not one request fails; the metric that decided is named. Without that metric in the spec it is not taken back."""
    for metrics, action in (
        ([METRIC | {"preset": "HTTPErrorRatio"}, LATENCY], "Rollback"),
        ([METRIC | {"preset": "HTTPErrorRatio"}], "Promote"),
    ):
        court.now = START
        court.bench.pages.text = lambda address: page(int(court.now - START) * 1000 + 5000, SLOW if address == "127.0.0.2" else QUICK)
        _, resolved = court.bench.resolve({**ANALYSIS, "metrics": metrics}, court.bench.scrape())
        court.runs.kept.clear()
        async with court.sitting() as board:
            board.follow(exposed(resolved, 50), fresh=True)
            await court.until(partial(evidence, board))
            view = await court.passes(board, lambda view: view.action in {"Rollback", "Promote"})
        assert view.action == action
        assert view.culprit == ("latency" if action == "Rollback" else "")


async def test_a_canary_with_other_buckets_is_compared_where_both_have_bounds(court: Court) -> None:
    """It shows its first ones only after the judging began: the comparison starts anew, at the bounds that both share."""
    canary: dict[float, float] = {}
    court.bench.pages.text = lambda address: page(int(court.now - START) * 1000 + 5000, canary if address == "127.0.0.2" else QUICK)
    _, resolved = court.bench.resolve({**ANALYSIS, "metrics": [LATENCY]}, court.bench.scrape())
    async with court.sitting() as board:
        board.follow(exposed(resolved, 50), fresh=True)
        await court.until(lambda: edges(board) == (0.1, 0.5, 1.0, 5.0))
        await court.pass_by(2, board)
        canary |= {0.1: 0.8, 0.25: 0.9, 0.5: 0.95, 1.0: 0.99}
        court.now += 1
        await court.until(lambda: edges(board) == (0.1, 0.5, 1.0))
        await court.pass_by(2, board)


def test_what_few_pods_widened_reaches_the_core_with_its_metric() -> None:
    """One pod a version: the line of the metric says it, and so does the clause for the sentence."""
    config = JudgeConfig(metrics=(MetricConfig(name="errors"), conversion("orders", lag=0.0)))
    counts = MetricCounts(ArmCounts(1500, 120), ArmCounts(1500, 120))
    answer = Judge(config).tick(Tick(index=0, at=0.0, weight=50.0, arms={"orders": counts}, units=(1, 1)))
    view = view_of(answer, "", "", config)
    assert [m.widened for m in view.metrics] == ["", "few pods: bound widened to 43 % fewer"]
    assert view.widened == "few pods: bound widened to 43 % fewer (orders)"


async def test_one_judges_fault_does_not_end_the_others(court: Court, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with the name of its Canary, and the other one goes on looking."""
    court.runs.broken = {"other"}
    metadata = msgspec.structs.replace(court.resolved.canary.metadata, name="other")
    ratio = {**METRIC, "preset": None, "ratio": {"errors": "a_total", "total": "b_total"}}  # nothing to be found out before it begins
    _, plain = court.bench.resolve({**ANALYSIS, "metrics": [ratio]}, court.bench.scrape())
    other = msgspec.structs.replace(exposed(plain), canary=msgspec.structs.replace(court.resolved.canary, metadata=metadata))
    async with court.sitting() as board:
        board.follow(other)
        court.follow(board, 20)
        await court.until(lambda: "judge of shop/other failed" in caplog.text)
        await court.until(lambda: evidence(board) is not None)
        await court.pass_by(2, board)


# What is stored.


def measured(caches: Caches, resolved: Resolved) -> tuple[JudgeConfig, str]:
    analysis = resolved.spec.analysis
    assert analysis is not None
    metrics = tuple(candidates(m, resolved)[0] for m in analysis.metrics or [])
    config = judge_config(resolved, metrics)
    return config, parameters_of(config, metrics)


CHANGES = {
    "canaryRef": {"canaryRef": {"name": "elsewhere"}},
    "revision": {"revision": "zzzzz"},
    "startedAt": {"startedAt": "2020-01-01T00:00:00Z"},
    "parameters": {"parameters": "{}"},
}


@pytest.mark.parametrize("leaf", sorted(CHANGES))
async def test_evidence_of_something_else_is_no_evidence(bench: Bench, tmp_path: Path, leaf: str) -> None:
    """What the run says it is of (Canary, revision, start, parameters), each alone, decides whether a restart goes on with it."""
    caches, resolved = bench.resolve(ANALYSIS, bench.scrape())
    resolved = exposed(resolved)
    options, parameters = measured(caches, resolved)
    cluster = Cluster(tmp_path)
    async with cluster.running(policies=False), Transport(kube_config.load(str(cluster.kubeconfig))) as transport:
        cluster.apply(canary())  # an owner that is not there would be the end of the run
        metadata = msgspec.structs.replace(resolved.canary.metadata, uid=cluster.get(CANARIES, "web")["metadata"]["uid"])
        resolved = msgspec.structs.replace(resolved, canary=msgspec.structs.replace(resolved.canary, metadata=metadata))
        runs = RunStore(Client(transport))
        await runs.save(resolved, REVISION, EvidenceLog(options), parameters)
        assert await runs.evidence(resolved, REVISION, parameters) is not None
        cluster.patch(RUNS, f"web-{REVISION}", {"spec": CHANGES[leaf]})
        assert await runs.evidence(resolved, REVISION, parameters) is None
        await runs.save(resolved, REVISION, EvidenceLog(options), parameters)
        assert await runs.evidence(resolved, REVISION, parameters) is not None


async def test_other_counters_are_other_parameters(bench: Bench) -> None:
    """The same options over other queries are told apart."""
    ratio = {"errors": "a_total", "total": "b_total"}
    found = set()
    for total in ("b_total", "c_total"):
        metric = {**METRIC, "preset": None, "ratio": {**ratio, "total": total}}
        found.add(measured(*bench.resolve({**ANALYSIS, "metrics": [metric]}, bench.scrape()))[1])
    assert len(found) == 2
