"""The collector: which ticks come out when, across outages, restarts and both kinds of source."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from analyzers.collector import BASELINE, CANARY, ArmTargets, CollectedTick, Collector, resolve
from analyzers.errors import AnalysisError, ConfigError
from analyzers.metrics import Matcher, MatchOp, parse_selector
from analyzers.presets import preset_metrics
from analyzers.series import RawSeries, Sample
from analyzers.sources.protocol import Failure, FailureKind, Outcome, Partial, Query, Samples
from analyzers.ticks import ProblemKind
from tests.unit.analyzers.pods import METRIC, SCRAPE, Pod, PodSource, counts

ARMS = tuple(ArmTargets(name=a, matchers=(Matcher("track", MatchOp.EQUAL, a),)) for a in (CANARY, BASELINE))
AWAY = Failure(kind=FailureKind.UNREACHABLE, retryable=True, message="connection refused", retry_after=9.0)


def _pods(ticks: int) -> list[Pod]:
    """Every tick: ten canary requests, one of them failing; a hundred of the baseline."""
    canary, baseline = Pod(CANARY, "c", 1.0), Pod(BASELINE, "b", 1.0)
    for k in range(1, ticks + 1):
        canary.serve("200", "/", 9)
        canary.serve("500", "/")
        baseline.serve("200", "/", 100)
        for pod in (canary, baseline):
            pod.scrape(k * SCRAPE - 3.0)
    return [canary, baseline]


def _collector(source: PodSource, last: int | None = None) -> Collector:
    return Collector(source, [METRIC], scrape_seconds=SCRAPE, last_index=last)


async def test_a_tick_is_final_two_scrapes_after_its_end() -> None:
    """At the end of tick 32 the tick 30 is frozen, with both arms' increments; asked again, there is nothing new."""
    collector = _collector(PodSource(_pods(60)), last=29)
    collected = await collector.collect(32 * SCRAPE, ARMS)
    (tick,) = collected.ticks
    assert (tick.index, tick.at) == (30, 450.0)
    assert counts(tick.arms["errors"].canary) == (10, 1)
    assert counts(tick.arms["errors"].baseline) == (100, 0)
    assert (await collector.collect(32 * SCRAPE + 14.0, ARMS)).ticks == ()
    assert collector.last_index == 30
    assert tick.tick(weight=5.0).weight == 5.0


async def test_a_source_that_is_late_by_itself_is_waited_for_as_well() -> None:
    """Samples that are written from afar are half a minute on their way: two ticks more."""
    source = PodSource(_pods(60))
    source.ingestion_delay = 30.0
    collector = _collector(source, last=29)
    assert (await collector.collect(33 * SCRAPE, ARMS)).ticks == ()
    assert [t.index for t in (await collector.collect(34 * SCRAPE, ARMS)).ticks] == [30]


async def test_the_first_tick_ever_stands_on_the_samples_before_it() -> None:
    """Nothing was frozen before: one tick, with increments and not with lifetimes."""
    (tick,) = (await _collector(PodSource(_pods(60))).collect(40 * SCRAPE, ARMS)).ticks
    assert counts(tick.arms["errors"].canary) == (10, 1)


async def test_a_restart_fills_the_gap_tick_by_tick() -> None:
    """The daemon was away for 20 ticks: they come out one by one, as they would have."""
    source = PodSource(_pods(90))
    steady = _collector(source, last=29)
    seen: list[CollectedTick] = []
    for now in range(32, 61):
        seen += (await steady.collect(now * SCRAPE, ARMS)).ticks
    restarted = list((await _collector(source, last=38).collect(60 * SCRAPE, ARMS)).ticks)
    assert [t.index for t in restarted] == list(range(39, 59))
    assert restarted == seen[9:]


async def test_an_outage_delays_ticks_and_then_fills_them() -> None:
    """A minute without the server: problems are shown at once, and no evidence is lost."""
    source = PodSource(_pods(90))
    collector = _collector(source, last=29)
    source.fail_with = [AWAY]
    away = await collector.collect(34 * SCRAPE, ARMS)
    assert away.ticks == ()
    assert away.problems[0].kind is ProblemKind.PROVIDER_ERROR
    assert "connection refused" in away.problems[0].text
    assert away.retry_after == 9.0
    source.fail_with = []
    back = await collector.collect(36 * SCRAPE, ARMS)
    assert [counts(t.arms["errors"].canary) for t in back.ticks] == [(10, 1)] * 5


async def test_a_long_outage_gives_out_empty_ticks_with_their_reason() -> None:
    """After five minutes the judge must hear of it; nothing of that time is lumped into a later tick."""
    source = PodSource(_pods(90))
    collector = _collector(source, last=29)
    await collector.collect(32 * SCRAPE, ARMS)
    source.fail_with = [AWAY]
    away = await collector.collect(60 * SCRAPE, ARMS)
    assert [t.index for t in away.ticks] == list(range(31, 39))
    assert all(t.arms == {} and t.problems[0].kind is ProblemKind.PROVIDER_ERROR for t in away.ticks)
    source.fail_with = []
    back = await collector.collect(61 * SCRAPE, ARMS)
    assert [t.index for t in back.ticks] == list(range(39, 60))
    assert {counts(t.arms["errors"].canary) for t in back.ticks} == {(10, 1)}


async def test_a_partial_answer_is_held_and_shown() -> None:
    """Warnings of the server: not evidence, until it answers whole."""
    source = PodSource(_pods(60))
    source.fail_with = [Partial(series=(), warnings=("store eu-1 is away",))]
    held = await _collector(source, last=29).collect(33 * SCRAPE, ARMS)
    assert held.ticks == ()
    assert (held.problems[0].kind, held.problems[0].text) == (ProblemKind.PARTIAL, "store eu-1 is away")


async def test_an_aggregated_counter_is_refused_and_leaves_no_counts() -> None:
    """T11: the source's sum() rule gives the reason instead of increments."""
    source = PodSource([])
    source.fail_with = [Samples(series=(RawSeries(labels={"job": "shop"}, samples=(Sample(440.0, 4.0),)),))]
    collected = await _collector(source, last=29).collect(33 * SCRAPE, ARMS)
    assert {p.kind for p in collected.problems} == {ProblemKind.AGGREGATED}
    assert all(t.arms == {} and t.problems[0].kind is ProblemKind.AGGREGATED for t in collected.ticks)
    assert len(collected.ticks) == 2


class _LiveSource(PodSource):
    """As a direct scrape: only the present can be read, and at once."""

    settle_scrapes = 0
    backfills = False

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        return await super().fetch(queries, at=at, window=SCRAPE, deadline=deadline)


async def test_a_direct_scrape_is_final_at_once_and_has_no_past() -> None:
    """The first page is a base; a pause of many ticks makes the next page a base again, never one large tick."""
    source = _LiveSource(_pods(90))
    collector = Collector(source, [METRIC], scrape_seconds=SCRAPE)
    first = await collector.collect(30 * SCRAPE + 0.4, ARMS)
    second = await collector.collect(31 * SCRAPE + 0.4, ARMS)
    assert [(t.index, counts(t.arms["errors"].canary)) for t in (*first.ticks, *second.ticks)] == [(30, (0, 0)), (31, (10, 1))]
    later = [await collector.collect(k * SCRAPE + 0.4, ARMS) for k in (45, 46)]
    assert [(t.index, counts(t.arms["errors"].canary)) for c in later for t in c.ticks] == [(45, (0, 0)), (46, (10, 1))]


async def test_a_preset_resolves_to_what_the_service_has() -> None:
    """The candidate whose label exists wins; without any, each attempt is listed."""
    source = PodSource(_pods(60))
    candidates = [
        METRIC.__class__(
            name="errors",
            errors=parse_selector(f'requests_total{{{label}=~"5.."}}'),
            total=parse_selector(f'requests_total{{{label}!=""}}'),
        )
        for label in ("status", "code")
    ]
    found = await resolve(source, candidates, ARMS[1], now=600.0)
    assert found.metric is candidates[1]
    assert "no samples" in found.tried[0]
    nothing = await resolve(PodSource([]), preset_metrics("HTTPErrorRatio"), ARMS[1], now=600.0)
    assert nothing.metric is None
    assert len(nothing.tried) == len(preset_metrics("HTTPErrorRatio"))
    source.fail_with = [AWAY]
    assert (await resolve(source, candidates, ARMS[1], now=600.0)).failure == AWAY


async def test_arms_and_interval_are_checked() -> None:
    """Exactly two arms are compared, and a scrape interval is at least a second."""
    with pytest.raises(AnalysisError, match="exactly canary and baseline"):
        await _collector(PodSource([]), last=29).collect(600.0, ARMS[:1])
    with pytest.raises(ConfigError, match="scrape interval is 0"):
        Collector(PodSource([]), [METRIC], scrape_seconds=0)


async def test_a_label_that_changes_with_every_scrape_ends_the_metric_and_not_the_daemon() -> None:
    """From then on each tick says so, also the first one, since the minutes before it are looked at."""
    canary, baseline = Pod(CANARY, "c", 1.0), Pod(BASELINE, "b", 1.0)
    for k in range(1, 61):
        canary.counters = {("200", f"/{k}"): 1000 + k}
        baseline.serve("200", "/", 100)
        for pod in (canary, baseline):
            pod.scrape(k * SCRAPE - 3.0)
    collector = _collector(PodSource([canary, baseline]), last=29)
    seen = [t for now in (32, 33) for t in (await collector.collect(now * SCRAPE, ARMS)).ticks]
    assert [t.arms for t in seen] == [{}, {}]
    assert {p.kind for t in seen for p in t.problems} == {ProblemKind.MALFORMED}
    assert "other labels" in seen[0].problems[0].text
