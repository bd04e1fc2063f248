"""The hours before a release, read from a source that keeps its past: the baseline alone, tick by tick and pod by pod.

The judge's own ticks are made sample by sample, so that a restart anywhere gives the same ones (`series`). Here nothing is resumed and
nothing decides: what is learnt is how much equal pods differ, so whole series are cut into ticks at once, and a counter's first sample is
always a base. A source without a past teaches nothing, and the judge then learns from the ticks of the release itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analyzers.channels import BASELINE, bound_of
from analyzers.collector import ArmTargets
from analyzers.history import Counts, History
from analyzers.metrics import AnyMetric, GaugeMetric, HistogramMetric, RatioMetric
from analyzers.series import GAP, RawSeries, Role
from analyzers.sources.protocol import MetricSource, Query, Samples

Array = NDArray[np.float64]
SPAN: Final = 3600.0
"""Seconds that are read; more teaches little, and costs the source."""
MOST_TICKS: Final = 480
DEADLINE: Final = 10.0


async def past(
    source: MetricSource, metrics: Sequence[AnyMetric], baseline: ArmTargets, *, until: float, scrape_seconds: float
) -> dict[str, History]:
    """By metric, what the source knows of the time up to `until` (epoch seconds); nothing of metrics it answers only in part."""
    if not source.backfills:
        return {}
    grid, series = await _read(source, metrics, baseline, until=until, ticks=_ticks(SPAN, scrape_seconds), scrape_seconds=scrape_seconds)
    found = {m.name: _history(m, series[m.name], _units(m, series[m.name]), grid) for m in metrics}
    return {name: history for name, history in found.items() if history is not None}


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of the past in which the columns of every metric are the same pods, in the order of `units`."""

    units: tuple[str, ...]
    history: Mapping[str, History]

    def only(self, units: Sequence[str]) -> Window:
        """The same stretch, of those pods alone."""
        places = [self.units.index(u) for u in units]
        return Window(units=tuple(units), history={name: _columns(h, places) for name, h in self.history.items()})


async def window(
    source: MetricSource, metrics: Sequence[AnyMetric], arm: ArmTargets, *, until: float, seconds: float, scrape_seconds: float
) -> Window:
    """The pods' own counts in the `seconds` before `until`; a metric that nothing was counted of is left out."""
    ticks = _ticks(seconds, scrape_seconds)
    grid, series = await _read(source, metrics, arm, until=until, ticks=ticks, scrape_seconds=scrape_seconds)
    units = sorted({u for m in metrics for u in _units(m, series[m.name])})
    found = {m.name: _history(m, series[m.name], units, grid) for m in metrics if series[m.name]}
    return Window(units=tuple(units), history={name: history for name, history in found.items() if history is not None})


def _ticks(seconds: float, scrape_seconds: float) -> int:
    return min(MOST_TICKS, math.floor(seconds / scrape_seconds))


def _columns(history: History, places: list[int]) -> History:
    def cut(counts: Counts | None) -> Counts | None:
        return None if counts is None else counts[:, places]

    return History(events=cut(history.events), requests=cut(history.requests), buckets=cut(history.buckets), values=cut(history.values))


async def _read(
    source: MetricSource, metrics: Sequence[AnyMetric], arm: ArmTargets, *, until: float, ticks: int, scrape_seconds: float
) -> tuple[Array, dict[str, dict[str, Sequence[RawSeries]]]]:
    """The grid, and by metric what the source had of it; nothing of a role that it answers only in part."""
    last = math.floor((until - source.ingestion_delay) / scrape_seconds) - source.settle_scrapes
    grid = np.arange(last - ticks, last + 1, dtype=np.float64) * scrape_seconds
    asked = [(m, role) for m in metrics for role in m.selectors]
    queries = [Query(selector=m.where(role, BASELINE, arm.matchers), targets=arm.targets) for m, role in asked]
    outcomes = await source.fetch(queries, at=last * scrape_seconds, window=ticks * scrape_seconds + GAP, deadline=DEADLINE)
    found: dict[str, dict[str, Sequence[RawSeries]]] = {m.name: {} for m in metrics}
    for (metric, role), outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, Samples):
            found[metric.name][role] = outcome.series
    return grid, found


def _history(metric: AnyMetric, series: Mapping[str, Sequence[RawSeries]], units: Sequence[str], grid: Array) -> History | None:
    if not units:
        return None
    match metric:
        case RatioMetric():
            requests, events = (_grown(metric, series.get(role, ()), units, grid) for role in (Role.TOTAL, Role.ERRORS))
            return History(events=np.minimum(events, requests), requests=requests)
        case HistogramMetric():
            return _buckets(metric, series[Role.BUCKETS], units, grid)
        case GaugeMetric():
            return _complete(np.maximum(metric.floor, _levels(metric, series[Role.VALUE], units, grid)))
        case _:
            total, used = (_grown(metric, series.get(role, ()), units, grid) for role in (Role.TOTAL, Role.USED))
            with np.errstate(divide="ignore", invalid="ignore"):
                return _complete(used / total)


def _unit(metric: AnyMetric, labels: Mapping[str, str]) -> str:
    """The pod; one for all where a router counts, whose own pods are not those that are compared."""
    return "" if metric.arm_matchers else labels.get("pod") or labels.get("instance", "")


def _units(metric: AnyMetric, series: Mapping[str, Sequence[RawSeries]]) -> list[str]:
    anchor = next(iter(metric.selectors))
    return sorted({_unit(metric, s.labels) for s in series.get(anchor, ())})


def _grown(metric: AnyMetric, series: Sequence[RawSeries], units: Sequence[str], grid: Array) -> Array:
    """(ticks, units): by how much the counters of each unit grew."""
    places = {name: i for i, name in enumerate(units)}
    sums = np.zeros((grid.size - 1, len(units)))
    for one in series:
        place = places.get(_unit(metric, one.labels))
        if place is not None:
            sums[:, place] += growth(one, grid)
    return sums


def growth(series: RawSeries, grid: Array) -> Array:
    """What one counter grew by between neighbours of the grid. A smaller value is a restart: all of it is new."""
    if not series.samples:
        return np.zeros(grid.size - 1)
    at, values = np.array([s.at for s in series.samples]), np.array([s.value for s in series.samples])
    steps = np.diff(values, prepend=values[0])
    steps = np.where(steps < 0, values, steps)
    steps[1:][np.diff(at) > GAP] = 0.0
    total = np.concatenate(([0.0], np.cumsum(steps)))
    grown: Array = np.diff(total[np.searchsorted(at, grid, side="right")])
    return grown


def _buckets(metric: HistogramMetric, series: Sequence[RawSeries], units: Sequence[str], grid: Array) -> History:
    bounds = (*metric.edges, math.inf)
    cumulative = np.stack(
        [_grown(metric, [s for s in series if bound_of(s.labels) == b], units, grid) for b in bounds],
        axis=2,
    )
    cumulative = np.minimum(np.maximum.accumulate(cumulative, axis=2), cumulative[:, :, -1:])
    return History(buckets=np.diff(cumulative, axis=2, prepend=0.0))


def _levels(metric: AnyMetric, series: Sequence[RawSeries], units: Sequence[str], grid: Array) -> Array:
    """(ticks, units): each unit's last value in a tick; NaN where it had none."""
    places = {name: i for i, name in enumerate(units)}
    levels = np.full((grid.size - 1, len(units)), np.nan)
    for one in series:
        place = places.get(_unit(metric, one.labels))
        for sample in one.samples if place is not None else ():
            tick = int(np.searchsorted(grid, sample.at, side="left")) - 1
            if 0 <= tick < grid.size - 1:
                levels[tick, place] = sample.value
    return levels


def _complete(values: Array) -> History | None:
    """Ticks in which every unit had a value."""
    whole = np.isfinite(values).all(axis=1)
    return History(values=values[whole]) if whole.any() else None
