"""Native histograms as the counters that a latency test follows: cumulative counts at the bounds that all of them can tell.

A native histogram has its bounds by itself, shows only buckets that hold something, and halves its resolution when it grows too fine.
Cumulative counts at a bound lose nothing by that as long as no bucket lies across it: so two versions of different resolution are
compared at the bounds of the coarser one, and one with fixed bounds (a classic histogram stored as native) like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from analyzers.series import NativeSample, RawSeries, Sample

LE: Final = "le"
QUANTILES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
"""Where the distribution is cut: finest in its tail, where a bad release shows first."""


def bounds(series: Iterable[RawSeries]) -> tuple[float, ...]:
    """At most a dozen bounds above zero that every native histogram among these can tell, spread over what they hold."""
    newest = [one.histograms[-1] for one in series if one.histograms]
    held: dict[float, float] = {}
    for sample in newest:
        for left, right, count in sample.buckets:
            # The bucket around zero is as wide as the client likes: its end is no bound of the others.
            bound = 0.0 if -math.inf < left < 0 < right else right
            held[bound] = held.get(bound, 0.0) + count
    told = sorted(b for b in held if 0 < b < math.inf and not any(_across(sample, b) for sample in newest))
    return tuple(dict.fromkeys(_cuts(told, held))) if told else ()


def _cuts(told: Sequence[float], held: Mapping[float, float]) -> Iterable[float]:
    """For each quantile the lowest of these bounds below which that share lies."""
    steps = (sum(n for bound, n in held.items() if low < bound <= high) for low, high in pairwise((-math.inf, *told)))
    reached = list(accumulate(steps))
    for share in QUANTILES:
        wanted = share * reached[-1] * (1.0 - 1e-12)
        yield next(bound for bound, below in zip(told, reached, strict=True) if below >= wanted)


def unfold(series: RawSeries, at_bounds: Sequence[float]) -> tuple[RawSeries, ...]:
    """A native histogram as a cumulative counter for each bound that it can tell, and one for all; any other series as it is."""
    if not series.histograms:
        return (series,)
    told = [b for b in at_bounds if math.isfinite(b) and not any(_across(sample, b) for sample in series.histograms)]
    found = [
        _counter(series, repr(b), [Sample(s.at, sum(n for _, right, n in s.buckets if right <= b)) for s in series.histograms])
        for b in told
    ]
    return (*found, _counter(series, "+Inf", series.samples))


def _counter(series: RawSeries, bound: str, samples: Sequence[Sample]) -> RawSeries:
    return msgspec.structs.replace(series, labels={**series.labels, LE: bound}, samples=tuple(samples), histograms=())


def _across(sample: NativeSample, bound: float) -> bool:
    """Whether a bucket lies across the bound, so that it cannot be told how much of it is below."""
    return any(left < bound < right for left, right, _ in sample.buckets)
