"""How each kind of metric gets from raw samples to what the judge is given for a tick: counts, buckets, or a mean per unit.

One module for all kinds, so that the collector asks, feeds and freezes without knowing which is which.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from analyzers.errors import AnalysisError
from analyzers.metrics import AnyMetric, GaugeMetric, HistogramMetric, RatioMetric, RestartMetric, UsageMetric
from analyzers.native import LE, bounds, unfold
from analyzers.series import CounterTracker, Follower, RawSeries, Role, target_of
from analyzers.ticks import BucketCounts, GaugeValues, MetricCounts, Problem, ProblemKind

CANARY: Final = "canary"
BASELINE: Final = "baseline"
ARMS: Final = (CANARY, BASELINE)
LEAST_EDGES: Final = 3


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """One metric in one tick: one of the three."""

    counts: MetricCounts | None = None
    buckets: BucketCounts | None = None
    gauges: GaugeValues | None = None
    problems: tuple[Problem, ...] = ()


class BucketsDifferError(AnalysisError):
    """A version brought other bucket bounds than those that are compared; `edges` are those that all have."""

    def __init__(self, metric: str, missing: Iterable[float], edges: tuple[float, ...]) -> None:
        lacking = ", ".join(f"{x:g}" for x in sorted(missing))
        super().__init__(
            f"metric {metric}: one of the versions has no bucket at {lacking}; only bounds that both versions have are compared",
            reason="BucketsDiffer",
            retryable=True,
        )
        self.edges = edges


class Channel(Protocol):
    """One metric of one rollout."""

    def add(self, arm: str, role: str, series: Iterable[RawSeries]) -> None: ...

    def freeze(self, index: int) -> Frozen: ...

    def rebase(self) -> None: ...


def channel(metric: AnyMetric, scrape_seconds: float) -> Channel:
    match metric:
        case RatioMetric() | RestartMetric():
            return _Counts(metric.name, scrape_seconds)
        case HistogramMetric():
            return _Buckets(metric.name, metric.edges, scrape_seconds)
        case UsageMetric():
            return _Usage(metric.name, scrape_seconds)
        case GaugeMetric():
            return _Gauge(metric.name, scrape_seconds, metric.floor)


class _Counts:
    def __init__(self, name: str, scrape_seconds: float) -> None:
        self._tracker = CounterTracker(metric=name, arms=ARMS, scrape_seconds=scrape_seconds)

    def add(self, arm: str, role: str, series: Iterable[RawSeries]) -> None:
        self._tracker.add(arm, role, series)

    def freeze(self, index: int) -> Frozen:
        found = self._tracker.counts(index)
        return Frozen(counts=MetricCounts(found.arms[CANARY], found.arms[BASELINE]), problems=found.problems)

    def rebase(self) -> None:
        self._tracker.rebase()


class _Buckets:
    """A histogram: cumulative counters, one a bound, made into counts per bucket between the bounds that are compared."""

    def __init__(self, name: str, edges: Sequence[float], scrape_seconds: float) -> None:
        self._name, self._bounds = name, (*edges, math.inf)
        self._follower = Follower(metric=name, arms=ARMS, scrape_seconds=scrape_seconds, anchor=_slot(math.inf))

    def add(self, arm: str, role: str, series: Iterable[RawSeries]) -> None:
        """Bounds that are not compared are left out: cumulative counters lose nothing by that."""
        found = tuple(counter for one in series for counter in unfold(one, self._bounds))
        common = common_edges(found)
        missing = set(self._bounds[:-1]) - set(common)
        if found and missing:
            raise BucketsDifferError(self._name, missing, tuple(e for e in self._bounds[:-1] if e not in missing))
        for one in found:
            bound = bound_of(one.labels)
            if bound in self._bounds:
                self._follower.add(arm, _slot(bound), (one,))

    def freeze(self, index: int) -> Frozen:
        growth = self._follower.freeze(index)
        return Frozen(buckets=BucketCounts(self._bins(growth.arms[CANARY]), self._bins(growth.arms[BASELINE])), problems=growth.problems)

    def _bins(self, own: Mapping[str, float] | None) -> tuple[int, ...] | None:
        """Between neighbours. A page is not read in one instant, so that a lower bound may be a request ahead: never below zero."""
        if own is None:
            return None
        total = round(own.get(_slot(math.inf), 0.0))
        cumulative = itertools.accumulate((min(total, round(own.get(_slot(b), 0.0))) for b in self._bounds[:-1]), max)
        steps = [0, *cumulative, total]
        return tuple(after - before for before, after in itertools.pairwise(steps))

    def rebase(self) -> None:
        self._follower.rebase()


class _Usage:
    """What one request takes of something (seconds of CPU): the growth of one counter by that of another, over all pods of an arm."""

    def __init__(self, name: str, scrape_seconds: float) -> None:
        self._follower = Follower(metric=name, arms=ARMS, scrape_seconds=scrape_seconds, anchor=Role.TOTAL)

    def add(self, arm: str, role: str, series: Iterable[RawSeries]) -> None:
        self._follower.add(arm, role, series)

    def freeze(self, index: int) -> Frozen:
        growth = self._follower.freeze(index)
        return Frozen(gauges=GaugeValues(_share(growth.arms[CANARY]), _share(growth.arms[BASELINE])), problems=growth.problems)

    def rebase(self) -> None:
        self._follower.rebase()


def _share(own: Mapping[str, float] | None) -> float | None:
    """None without a request: then there is nothing to divide, and nothing to judge."""
    total = own.get(Role.TOTAL, 0.0) if own else 0.0
    return own.get(Role.USED, 0.0) / total if own and total > 0 else None


class _Gauge:
    """A value per pod. A sample counts once, in the tick of its own time: an old one repeated is no evidence."""

    def __init__(self, name: str, scrape_seconds: float, floor: float = 0.0) -> None:
        self._name, self._scrape, self._floor = name, scrape_seconds, floor
        self._samples: dict[tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]], dict[float, float]] = {}

    def add(self, arm: str, role: str, series: Iterable[RawSeries]) -> None:
        for one in series:
            key = (arm, target_of(one.labels), tuple(sorted(one.labels.items())))
            self._samples.setdefault(key, {}).update(one.samples)

    def freeze(self, index: int) -> Frozen:
        end, begin = index * self._scrape, (index - 1) * self._scrape
        pods: dict[str, dict[tuple[str, ...], float]] = {arm: {} for arm in ARMS}
        for (arm, pod, _), samples in self._samples.items():
            inside = [at for at in samples if begin < at <= end]
            if inside:
                pods[arm][pod] = pods[arm].get(pod, 0.0) + samples[max(inside)]
        self._samples = {k: left for k, s in self._samples.items() if (left := {at: v for at, v in s.items() if at > end})}
        means = {arm: max(self._floor, sum(own.values()) / len(own)) if own else None for arm, own in pods.items()}
        lacking = [arm for arm, mean in means.items() if mean is None]
        problems = tuple(
            Problem(kind=ProblemKind.STALE, text=f"no new sample of {arm} in this interval", metric=self._name) for arm in lacking
        )
        return Frozen(gauges=GaugeValues(means[CANARY], means[BASELINE]), problems=problems)

    def rebase(self) -> None:
        self._samples.clear()


def bound_of(labels: Mapping[str, str]) -> float | None:
    """A bucket's upper bound, however it is written ("1", "1.0", "+Inf"); None for a series that is no classic bucket."""
    try:
        return float(labels[LE])
    except (KeyError, ValueError):
        return None


def common_edges(series: Iterable[RawSeries]) -> tuple[float, ...]:
    """The finite bounds above zero that every histogram among these series has; () where there are none."""
    series = tuple(series)
    if any(one.histograms for one in series):
        return bounds(series)
    groups: dict[tuple[tuple[str, str], ...], set[float]] = {}
    for one in series:
        bound = bound_of(one.labels)
        if bound is not None:
            rest = tuple(sorted((k, v) for k, v in one.labels.items() if k != LE))
            groups.setdefault(rest, set()).add(bound)
    if not groups:
        return ()
    return tuple(sorted(b for b in set.intersection(*groups.values()) if 0 < b < math.inf))


def _slot(bound: float | None) -> str:
    return repr(bound)
