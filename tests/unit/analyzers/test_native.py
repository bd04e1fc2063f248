"""Native histograms: what was observed is what is compared, whatever the resolution, and a bound that one cannot tell is left out."""

from __future__ import annotations

import json
import math
from collections import Counter as Ledger
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.channels import BASELINE, CANARY, BucketsDifferError, bound_of, channel, common_edges
from analyzers.metrics import HistogramMetric, Selector
from analyzers.native import QUANTILES, bounds, unfold
from analyzers.series import NativeSample, RawSeries, Role, Sample
from analyzers.sources.prometheus import read_reply
from analyzers.sources.protocol import Failure, HttpReply, Samples
from analyzers.ticks import BucketCounts

ZERO = 1e-128


def bucket(value: float, schema: int) -> tuple[float, float]:
    """The bucket of an exponential histogram that a value falls into, as its specification says."""
    if value <= ZERO:
        return -ZERO, ZERO
    base = 2.0 ** (2.0**-schema)
    index = math.ceil(math.log2(value) * 2.0**schema - 1e-9)
    return base ** (index - 1), base**index


def edge(index: int, schema: int) -> float:
    return float(2.0 ** (index * 2.0**-schema))


def native(pod: str, observed: Sequence[tuple[float, Iterable[float]]], schema: int) -> RawSeries:
    """One pod's histogram: at each time what it holds by then."""
    held: Ledger[tuple[float, float]] = Ledger()
    samples, histograms = [], []
    for at, values in observed:
        held.update(bucket(v, schema) for v in values)
        samples.append(Sample(at, float(held.total())))
        histograms.append(NativeSample(at, tuple((left, right, float(n)) for (left, right), n in sorted(held.items()))))
    return RawSeries(labels={"__name__": "latency", "pod": pod}, samples=tuple(samples), histograms=tuple(histograms))


indices = st.lists(st.integers(-40, 40), min_size=1, max_size=60)


@given(fine=indices, coarse=indices, schemas=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_counts_at_every_bound_are_those_of_the_observations(fine: list[int], coarse: list[int], schemas: tuple[int, int]) -> None:
    """Of two histograms of any resolutions: each bound is told by both, and below it lies what was observed below it."""
    pods = {name: [edge(i, s) for i in own] for name, own, s in zip("ab", (fine, coarse), schemas, strict=True)}
    series = [native(name, [(1.0, pods[name])], s) for name, s in zip("ab", schemas, strict=True)]
    found = bounds(series)
    assert len(found) <= len(QUANTILES)
    assert list(found) == sorted(found)
    for one in series:
        counters = {bound_of(c.labels): c.samples[0].value for c in unfold(one, (*found, math.inf))}
        assert set(counters) == {*found, math.inf}
        values = pods[one.labels["pod"]]
        assert counters == {b: sum(v <= b * (1 + 1e-12) for v in values) for b in counters if b is not None}


def test_the_tail_is_cut_finer_than_the_rest() -> None:
    """A thousand observations at schema 3: bounds near the quantiles that the test looks at, the last above all of them."""
    values = [0.01 * 1.005**k for k in range(1000)]
    found = bounds([native("a", [(1.0, values)], 3)])
    assert len(found) >= 8
    assert found[-1] >= max(values)
    assert sum(b > values[899] for b in found) >= 3


def test_a_bucket_around_zero_is_below_every_bound() -> None:
    """Its end is the client's affair and no bound to compare at."""
    values = [0.0, 0.0, 0.3, 1.0, 3.0]
    found = bounds([native("a", [(1.0, values)], 2)])
    assert min(found) > 0.1
    (first, *_) = unfold(native("a", [(1.0, values)], 2), found)
    assert first.samples[0].value >= 2


def test_bins_are_the_increments_between_the_bounds() -> None:
    """Through the channel: both arms, of different resolution, tick by tick."""
    before, stable, canary = [0.1, 0.2, 0.4, 0.8], [0.1, 0.4, 0.4, 3.0], [0.2, 0.9, 0.9]
    arms = {BASELINE: native("b", [(14.0, before), (29.0, stable)], 3), CANARY: native("c", [(14.0, before), (29.0, canary)], 0)}
    edges = common_edges(arms.values())
    assert edges
    latency = channel(HistogramMetric(name="latency", buckets=Selector("latency"), edges=edges), 15.0)
    for arm, series in arms.items():
        latency.add(arm, Role.BUCKETS, [series])
    latency.freeze(1)

    def bins(values: list[float]) -> tuple[int, ...]:
        counts = Ledger(sum(v > e * (1 + 1e-12) for e in edges) for v in values)
        return tuple(counts[i] for i in range(len(edges) + 1))

    assert latency.freeze(2).buckets == BucketCounts(bins(canary), bins(stable))


def test_a_resolution_that_halves_asks_for_other_bounds() -> None:
    """A bound that lies within a bucket from now on is not guessed: both are compared anew at what is left."""
    fine = native("b", [(14.0, [0.1, 0.2, 0.21, 0.4, 0.8])], 3)
    edges = common_edges([fine])
    latency = channel(HistogramMetric(name="latency", buckets=Selector("latency"), edges=edges), 15.0)
    latency.add(BASELINE, Role.BUCKETS, [fine])
    with pytest.raises(BucketsDifferError) as refused:
        latency.add(BASELINE, Role.BUCKETS, [native("b", [(29.0, [0.1, 0.2, 0.21, 0.4, 0.8])], 0)])
    assert set(refused.value.edges) < set(edges)


def test_fixed_bounds_stored_as_native_are_bounds_too() -> None:
    """The first of them begins at minus infinity."""
    custom = NativeSample(1.0, ((-math.inf, 0.1, 4.0), (0.1, 0.5, 3.0), (1.0, math.inf, 2.0)))
    one = RawSeries(labels={"pod": "a"}, samples=(Sample(1.0, 9.0),), histograms=(custom,))
    assert bounds([one]) == (0.1, 0.5)
    assert [c.samples[0].value for c in unfold(one, (0.1, 0.5))] == [4.0, 7.0, 9.0]


def reply(histogram: object) -> HttpReply:
    series = {"metric": {"__name__": "latency", "pod": "a"}, "histograms": [[10.0, histogram]]}
    return HttpReply(200, {}, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}).encode())


def test_histogram_samples_of_a_range_are_read() -> None:
    """Count and buckets; the count alone is a counter for a ratio."""
    found = read_reply(reply({"count": "9", "sum": "1", "buckets": [[3, "-1e-128", "1e-128", "1"], [0, "0.25", "0.5", "8"]]}), "q")
    assert isinstance(found, Samples)
    (series,) = found.series
    assert series.samples == (Sample(10.0, 9.0),)
    assert series.histograms == (NativeSample(10.0, ((-ZERO, ZERO, 1.0), (0.25, 0.5, 8.0))),)


@pytest.mark.parametrize(
    "histogram",
    [{"count": "many"}, {"count": "NaN"}, {}, {"count": "1", "buckets": [[0, "a", "b", "c"]]}, {"count": "1", "buckets": [["0.5", "1"]]}],
)
def test_rubbish_for_a_histogram_is_a_failure(histogram: object) -> None:
    """Never a count of something else."""
    assert isinstance(read_reply(reply(histogram), "q"), Failure)
