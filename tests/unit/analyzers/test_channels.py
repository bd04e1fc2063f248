"""Histograms, usage and gauges on their way to the judge: every observation in one bucket, and nothing made of old samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.channels import BASELINE, CANARY, BucketsDifferError, Channel, channel, common_edges
from analyzers.collector import ArmTargets, resolve
from analyzers.metrics import GaugeMetric, HistogramMetric, UsageMetric, parse_selector
from analyzers.series import RawSeries, Role, Sample
from analyzers.sources.protocol import NoData, Outcome, Query, Samples
from analyzers.ticks import BucketCounts, GaugeValues, ProblemKind

SCRAPE = 15.0
EDGES = (0.1, 0.5, 1.0)
LATENCY = HistogramMetric(name="latency", buckets=parse_selector("latency_seconds_bucket"), edges=EDGES)
CPU = UsageMetric(name="cpu", used=parse_selector("cpu_seconds_total"), total=parse_selector("requests_total"))
QUEUE = GaugeMetric(name="queue", value=parse_selector("queue_length"))


def _series(*samples: tuple[float, float], pod: str = "a", **labels: str) -> RawSeries:
    return RawSeries(labels={"pod": pod, **labels}, samples=tuple(Sample(*s) for s in samples))


def _histogram(seen: Sequence[tuple[float, Sequence[float]]], edges: Sequence[float] = EDGES, pod: str = "a") -> list[RawSeries]:
    """What a page shows at each time, when these durations had been observed by then (all of them, since the start)."""
    return [
        _series(*((at, float(sum(x <= edge for x in durations))) for at, durations in seen), pod=pod, le="+Inf" if edge == math.inf else f"{edge:g}")
        for edge in (*edges, math.inf)
    ]  # fmt: skip


def _baseline(one: Channel) -> None:
    one.add(BASELINE, Role.BUCKETS, _histogram([(k * SCRAPE, [0.05] * k) for k in range(1, 9)], pod="b"))


def _frozen(one: Channel, *ticks: int) -> list[BucketCounts | None]:
    return [one.freeze(k).buckets for k in ticks]


def test_each_observation_is_in_one_bucket() -> None:
    """Cumulative on the page, apart for the judge, the open one last."""
    one = channel(LATENCY, SCRAPE)
    _baseline(one)
    one.add(CANARY, Role.BUCKETS, _histogram([(15, [0.3]), (30, [0.3, 0.05, 0.4, 0.7, 2.0, 9.0])]))
    assert _frozen(one, 1, 2) == [BucketCounts((0, 0, 0, 0), (0, 0, 0, 0)), BucketCounts((1, 1, 1, 2), (1, 0, 0, 0))]


def test_bounds_are_numbers_however_they_are_written() -> None:
    """A new client library writes 1.0 where the old one wrote 1."""
    one = channel(LATENCY, SCRAPE)
    _baseline(one)
    rows = [("0.10", 1, 2), ("5e-1", 1, 3), ("1.0", 1, 4), ("inf", 1, 5)]
    one.add(CANARY, Role.BUCKETS, [_series((15, a), (30, b), le=le) for le, a, b in rows])
    assert _frozen(one, 1, 2)[1] == BucketCounts((1, 1, 1, 1), (1, 0, 0, 0))


def test_bounds_that_are_not_compared_lose_no_observation() -> None:
    """Finer buckets of one version fall into the wider ones of both."""
    one = channel(LATENCY, SCRAPE)
    _baseline(one)
    fine = (0.05, 0.1, 0.2, 0.5, 0.7, 1.0, 5.0)
    one.add(CANARY, Role.BUCKETS, _histogram([(15, []), (30, [0.02, 0.15, 0.3, 0.6, 3.0, 9.0])], fine))
    assert _frozen(one, 1, 2)[1] == BucketCounts((1, 2, 1, 2), (1, 0, 0, 0))


def test_a_version_without_one_of_the_bounds_is_not_guessed_at() -> None:
    """The error says which bound is missing, and which ones all have."""
    with pytest.raises(BucketsDifferError, match=r"no bucket at 0\.5") as caught:
        channel(LATENCY, SCRAPE).add(CANARY, Role.BUCKETS, _histogram([(15, [0.3])], (0.1, 1.0)))
    assert caught.value.edges == (0.1, 1.0)
    assert caught.value.retryable


def test_a_page_that_was_read_in_mid_observation_gives_no_negative_count() -> None:
    """A lower bound may be ahead of a higher one by the request that is being counted."""
    one = channel(LATENCY, SCRAPE)
    _baseline(one)
    one.add(CANARY, Role.BUCKETS, [_series((15, 0), (30, b), le=le) for le, b in (("0.1", 3), ("0.5", 2), ("1", 2), ("+Inf", 2))])
    assert _frozen(one, 1, 2)[1] == BucketCounts((2, 0, 0, 0), (1, 0, 0, 0))


@given(st.lists(st.lists(st.floats(0, 3), max_size=5), min_size=6, max_size=6), st.integers(0, 5))
def test_the_buckets_of_all_ticks_are_all_observations(ticks: list[list[float]], restart: int) -> None:
    """Whatever is observed when, and over a restart of the process."""
    one = channel(LATENCY, SCRAPE)
    _baseline(one)
    pages: list[tuple[float, list[float]]] = [(SCRAPE, [])]
    for k, observed in enumerate(ticks):
        before = [] if k == restart and pages[-1][1] else pages[-1][1]
        if before is not pages[-1][1] and len(observed) >= len(pages[-1][1]):
            before = pages[-1][1]  # a reset that cannot be seen is no reset
        pages.append(((k + 2) * SCRAPE, [*before, *observed]))
    series = _histogram(pages)
    one.add(CANARY, Role.BUCKETS, series)
    found = [b.canary for b in _frozen(one, *range(1, 8)) if b is not None and b.canary is not None]
    grown = [len(o) for o in ticks]
    assert sum(sum(b) for b in found) == sum(grown)
    assert all(x >= 0 for b in found for x in b)


class _Fixed:
    """A source that has these series, by arm."""

    settle_scrapes, ingestion_delay, backfills = 2, 0.0, True

    def __init__(self, **arms: list[RawSeries]) -> None:
        self._arms = arms

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        found = [self._arms.get("canary" if "canary" in str(q.selector) else "baseline", []) for q in queries]
        return [Samples(series=tuple(s)) if s else NoData() for s in found]


def _arm(name: str) -> ArmTargets:
    return ArmTargets(name=name, matchers=parse_selector(f'x{{track="{name}"}}').matchers)


async def test_the_bounds_that_both_versions_have_are_compared() -> None:
    """As far as the canary has shown any; with fewer than three there is no latency to speak of."""
    seen = [(15.0, [0.3])]
    stable = _histogram(seen, (0.1, 0.25, 0.5, 1.0))
    other, none = _histogram(seen, (0.1, 0.5, 1.0, 5.0), pod="c"), _histogram(seen, (2.0, 5.0, 1.0), pod="c")
    found = await resolve(_Fixed(baseline=stable, canary=other), [LATENCY], _arm("baseline"), now=30.0, other=_arm("canary"))
    assert found.metric is not None
    assert found.metric.edges == (0.1, 0.5, 1.0)
    alone = await resolve(_Fixed(baseline=stable), [LATENCY], _arm("baseline"), now=30.0, other=_arm("canary"))
    assert alone.metric is not None
    assert alone.metric.edges == (0.1, 0.25, 0.5, 1.0)
    nothing = await resolve(_Fixed(baseline=stable, canary=none), [LATENCY], _arm("baseline"), now=30.0, other=_arm("canary"))
    assert nothing.metric is None
    assert "fewer than 3" in nothing.tried[0]


def test_common_bounds_are_those_of_every_pod() -> None:
    """Old and new pods of one version may differ, too; a sum without `le` is no histogram."""
    both = [*_histogram([(15.0, [0.3])], (0.1, 0.5)), *_histogram([(15.0, [0.3])], (0.5, 1.0), pod="b"), _series((15, 1), pod="c")]
    assert common_edges(both) == (0.5,)
    assert common_edges([]) == ()


def test_usage_is_what_a_request_takes() -> None:
    """Seconds of CPU by requests over all pods of an arm, as fractions; without a request there is nothing to divide."""
    one = channel(CPU, SCRAPE)
    for arm, cpu in ((CANARY, 0.25), (BASELINE, 0.125)):
        one.add(arm, Role.TOTAL, [_series((15, 0), (30, 8), (45, 8), pod=arm)])
        one.add(arm, Role.USED, [_series((15, 1), (30, 1 + 8 * cpu), (45, 9.0), pod=arm)])
    assert [one.freeze(k).gauges for k in (1, 2, 3)] == [GaugeValues(None, None), GaugeValues(0.25, 0.125), GaugeValues(None, None)]


def test_a_gauge_counts_each_sample_once() -> None:
    """The mean over pods of the newest sample of the tick; an old one again is no evidence, and says so."""
    one = channel(QUEUE, SCRAPE)
    one.add(CANARY, Role.VALUE, [_series((14, 90), (20, 1), (29, 4), pod="a"), _series((29, 8), pod="c"), _series((28, 2), pod="c", q="2")])
    one.add(BASELINE, Role.VALUE, [_series((29, 3), (44, 5), pod="b")])
    second, third = one.freeze(2), one.freeze(3)
    one.add(CANARY, Role.VALUE, [_series((29, 4), pod="a")])
    assert second.gauges == GaugeValues(7.0, 3.0)
    assert third.gauges == GaugeValues(None, 5.0)
    assert third.problems[0].kind is ProblemKind.STALE
    assert one.freeze(4).gauges == GaugeValues(None, None)
