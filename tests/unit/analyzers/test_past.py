"""The hour before a release: what is read of it is what the pods counted, and what is learnt is learnt from the baseline alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from analyzers.aa import Placebo, findings, one_version
from analyzers.channels import BASELINE
from analyzers.collector import ArmTargets
from analyzers.history import History, learn
from analyzers.metrics import AnyMetric, GaugeMetric, HistogramMetric, Matcher, MatchOp, RatioMetric, Selector, UsageMetric
from analyzers.options import JudgeConfig
from analyzers.past import Window, growth, past
from analyzers.series import RawSeries, Sample
from analyzers.sources.protocol import NoData, Outcome, Partial, Query, Samples

NOW = 1_760_000_000.0
STABLE = ArmTargets(name=BASELINE, matchers=(Matcher("pod", MatchOp.REGEX, "web-.*"),))
ERRORS = RatioMetric(name="errors", errors=Selector("errors"), total=Selector("requests"))
LATENCY = HistogramMetric(name="latency", buckets=Selector("buckets"), edges=(0.1, 0.5, 1.0))
CPU = UsageMetric(name="cpu", used=Selector("seconds"), total=Selector("requests"))
QUEUE = GaugeMetric(name="queue", value=Selector("queue"))


class Kept:
    """A source that keeps its past: per counter, series by pod."""

    settle_scrapes = 2
    backfills = True
    ingestion_delay = 0.0

    def __init__(self, series: Mapping[str, Sequence[RawSeries]], *, partial: bool = False) -> None:
        self._series, self._partial = series, partial
        self.asked: list[Query] = []

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        self.asked += queries
        found: list[Outcome] = []
        for query in queries:
            cut = [
                RawSeries(labels=s.labels, samples=tuple(x for x in s.samples if at - window < x.at <= at))
                for s in self._series.get(query.selector.name, ())
            ]
            if not cut:
                found.append(NoData())
            else:
                found.append(Partial(series=tuple(cut), warnings=("cut off",)) if self._partial else Samples(series=tuple(cut)))
        return found


def counter(pod: str, per_second: float, **labels: str) -> RawSeries:
    samples = tuple(Sample(NOW - 7200 + 15 * k, float(round(15 * k * per_second))) for k in range(481))
    return RawSeries(labels={"pod": pod, **labels}, samples=samples)


def pods(per_second: float, count: int = 12) -> list[RawSeries]:
    return [counter(f"web-{i}", per_second) for i in range(count)]


def bins(pod: str) -> list[RawSeries]:
    return [counter(pod, share * 10.0, le=le) for le, share in (("0.1", 0.5), ("0.5", 0.9), ("1.0", 0.99), ("+Inf", 1.0))]


async def test_every_kind_of_metric_is_read_tick_by_tick_and_pod_by_pod() -> None:
    """An hour of 15 s, without the two scrapes that may still be coming in; only the baseline is asked."""
    queue = [RawSeries(labels={"pod": f"web-{i}"}, samples=tuple(Sample(NOW - 15 * k, 7.0) for k in range(300, -1, -1))) for i in range(12)]
    source = Kept(
        {
            "requests": pods(10.0),
            "errors": pods(0.1),
            "buckets": [b for i in range(12) for b in bins(f"web-{i}")],
            "seconds": pods(0.2),
            "queue": queue,
        }
    )
    metrics: tuple[AnyMetric, ...] = (ERRORS, LATENCY, CPU, QUEUE)
    found = await past(source, metrics, STABLE, until=NOW, scrape_seconds=15.0)
    assert all(STABLE.matchers[0] in q.selector.matchers for q in source.asked)
    errors, latency, cpu, queued = (found[m.name] for m in metrics)
    assert errors.requests is not None
    assert errors.requests.shape == (240, 12)
    assert errors.requests.sum() == 240 * 12 * 150
    assert errors.events is not None
    assert errors.events.sum() == pytest.approx(240 * 12 * 1.5, abs=12)
    assert latency.buckets is not None
    assert latency.buckets.shape == (240, 12, 4)
    assert latency.buckets.sum(axis=(0, 1)) == pytest.approx(240 * 12 * 150 * np.array([0.5, 0.4, 0.09, 0.01]), rel=0.01)
    assert cpu.values is not None
    assert cpu.values.mean() == pytest.approx(0.02)
    assert queued.values is not None
    assert set(queued.values.ravel()) == {7.0}
    config = learn(JudgeConfig(metrics=tuple(m.config() for m in metrics)), found)
    assert config.rps == pytest.approx(120.0)
    assert config.metrics[0].usual_rate == pytest.approx(0.01, rel=0.01)


async def test_nothing_is_learnt_from_a_part_or_from_a_source_without_a_past() -> None:
    """What the server marks as incomplete teaches nothing, nor do pages that show only now."""
    series = {"requests": pods(10.0), "errors": pods(0.1)}
    assert await past(Kept(series, partial=True), (ERRORS,), STABLE, until=NOW, scrape_seconds=15.0) == {}
    forgetful = Kept(series)
    forgetful.backfills = False
    assert await past(forgetful, (ERRORS,), STABLE, until=NOW, scrape_seconds=15.0) == {}
    assert forgetful.asked == []


async def test_the_pods_of_a_router_are_none_of_those_that_are_compared() -> None:
    """What a router counts is one column: how its own pods differ says nothing of the service's."""
    routed = RatioMetric(name="errors", errors=Selector("errors"), total=Selector("requests"), arm_matchers={BASELINE: STABLE.matchers})
    found = await past(Kept({"requests": pods(10.0), "errors": pods(0.1)}), (routed,), STABLE, until=NOW, scrape_seconds=15.0)
    assert found["errors"].requests is not None
    assert found["errors"].requests.shape == (240, 1)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 500), st.booleans()), min_size=1, max_size=60))
def test_the_growth_of_a_counter_is_what_was_counted_after_its_first_sample(steps: list[tuple[int, int, bool]]) -> None:
    """Through restarts and late scrapes: each event in one tick, none negative, none twice."""
    at, value, samples, counted = 0.0, 1000.0, [Sample(0.0, 1000.0)], 0.0
    for seconds, more, restarts in steps:
        at += seconds
        fresh = restarts and more < value
        value = float(more) if fresh else value + more
        counted += more
        samples.append(Sample(at, value))
    grid = np.arange(0.0, math.ceil(at / 15) + 1) * 15.0
    found = growth(RawSeries(labels={}, samples=tuple(samples)), grid)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(counted)


def test_a_window_with_a_release_in_it_compares_nothing() -> None:
    """Pods of two versions, a pod that came late, and a single one are no control for each other."""
    steady, late = np.full(9, 100.0), np.array([0.0] * 6 + [100.0] * 3)

    def pods(**columns: NDArray[np.float64]) -> tuple[str, ...]:
        requests = np.stack(list(columns.values()), axis=1)
        return one_version(Window(units=tuple(columns), history={"errors": History(events=0 * requests, requests=requests)}))

    assert pods(**{"web-1-a": steady, "web-1-b": steady, "web-1-c": late}) == ("web-1-a", "web-1-b")
    assert pods(**{"web-1-a": steady, "web-2-b": steady}) == ()
    assert pods(**{"web-1-a": steady}) == ()


@pytest.mark.parametrize(("stopped", "trusted"), [(0, True), (1, True), (3, False)])
def test_more_mistakes_than_chance_allows_are_not_trusted(stopped: int, trusted: bool) -> None:
    """At 1 %, one of twenty windows is bad luck (18 %); three are a service unlike what the judge takes it for (0.1 %)."""
    placebos = [
        Placebo(canary_pods=1, pods=4, stopped=60.0 if k < stopped else None, blamed="errors", proven=300.0, caught=90.0) for k in range(20)
    ]
    found = findings(placebos, alpha=0.01)
    assert (found.stopped, found.trusted) == (stopped, trusted)
