"""Several sources in one release: the same ticks, and one that is away is named, delays nobody and hides nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from analyzers.collector import BASELINE, CANARY, CollectedTick, Collector
from analyzers.joining import Joined
from analyzers.sources.protocol import NoData, Outcome, Query
from analyzers.ticks import ProblemKind
from tests.unit.analyzers.pods import METRIC, SCRAPE, PodSource, counts
from tests.unit.analyzers.test_collector import ARMS, AWAY, _LiveSource, _pods

ORDERS = msgspec.structs.replace(METRIC, name="orders")
BOTH = {"pods": ARMS, "shop": ARMS}


def _joined(pods: PodSource, shop: PodSource, last: int = 29) -> Joined:
    made = ((name, source, metric) for name, source, metric in (("pods", pods, METRIC), ("shop", shop, ORDERS)))
    return Joined({n: Collector(s, [m], scrape_seconds=SCRAPE, last_index=last, called=f"MetricSource {n}") for n, s, m in made})


def _counts(tick: CollectedTick) -> dict[str, tuple[int, int] | None]:
    return {name: counts(found.canary) for name, found in tick.arms.items()}


async def test_a_tick_has_the_metrics_of_every_source() -> None:
    """Each asked once, joined by the tick."""
    joined = _joined(PodSource(_pods(60)), PodSource(_pods(60)))
    found = await joined.collect(33 * SCRAPE, BOTH)
    assert [t.index for t in found.ticks] == [30, 31]
    assert [_counts(t) for t in found.ticks] == [{"errors": (10, 1), "orders": (10, 1)}] * 2


async def test_a_tick_waits_for_the_source_that_delivers_last() -> None:
    """Pages are there at once, a remote write is 30 s late: the tick is frozen when both must have delivered."""
    slow = PodSource(_pods(60))
    slow.ingestion_delay = 30.0
    found = await _joined(_LiveSource(_pods(60)), slow).collect(35 * SCRAPE, BOTH)
    assert found.ticks[-1].index == 31
    assert _counts(found.ticks[-1])["orders"] == (10, 1)


async def test_a_source_that_is_away_alone_delays_nobody_and_is_named() -> None:
    """What the other one counts goes on, tick by tick; what was missed is never lumped into the tick in which the source is back."""
    pods, shop = PodSource(_pods(60)), PodSource(_pods(60))
    joined = _joined(pods, shop)
    shop.fail_with = [AWAY]
    away = await joined.collect(34 * SCRAPE, BOTH)
    assert [_counts(t) for t in away.ticks] == [{"errors": (10, 1)}] * 3
    assert {(p.kind, p.metric) for t in away.ticks for p in t.problems} == {(ProblemKind.PROVIDER_ERROR, "orders")}
    assert away.problems[0].text == "MetricSource shop: Unreachable: connection refused"
    assert away.retry_after == 9.0
    shop.fail_with = []
    back = [t for now in (35, 36) for t in (await joined.collect(now * SCRAPE, BOTH)).ticks]
    assert [_counts(t)["errors"] for t in back] == [(10, 1)] * 2
    assert [_counts(t)["orders"] for t in back] == [(10, 1)] * 2


async def test_when_all_are_away_they_are_waited_for() -> None:
    """Nobody has anything to lose by it, and the gap is filled tick by tick."""
    pods, shop = PodSource(_pods(60)), PodSource(_pods(60))
    joined = _joined(pods, shop)
    pods.fail_with = shop.fail_with = [AWAY]
    away = await joined.collect(34 * SCRAPE, BOTH)
    assert away.ticks == ()
    assert len({p.text for p in away.problems}) == 2
    pods.fail_with = shop.fail_with = []
    back = await joined.collect(36 * SCRAPE, BOTH)
    assert [_counts(t) for t in back.ticks] == [{"errors": (10, 1), "orders": (10, 1)}] * 5


class _Asked(PodSource):
    """Notes whom it is asked about."""

    def __init__(self) -> None:
        super().__init__([])
        self.queries: list[Query] = []

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        self.queries += queries
        return [NoData() for _ in queries]


async def test_each_source_finds_the_arms_in_its_own_way() -> None:
    """What tells pods apart in one server means nothing to another."""
    pods, shop = _Asked(), _Asked()
    other = [msgspec.structs.replace(a, matchers=()) for a in ARMS]
    await _joined(pods, shop).collect(33 * SCRAPE, {"pods": ARMS, "shop": other})
    assert {m.value for q in pods.queries for m in q.selector.matchers if m.label == "track"} == {CANARY, BASELINE}
    assert not [m for q in shop.queries for m in q.selector.matchers if m.label == "track"]
