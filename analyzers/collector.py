"""The driver: called once per tick, asks the source, and hands out the ticks that have become final since.

Asking (I/O) and converting (`CounterTracker`) are apart, so that the same samples always give the same ticks. A source
that answers late or not at all delays ticks, and after five minutes they are given out empty: the judge's windows are
counted in ticks, and an outage must not stop them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

import msgspec

from analyzers.channels import ARMS, BASELINE, CANARY, LEAST_EDGES, Frozen, channel, common_edges
from analyzers.errors import AnalysisError, ConfigError
from analyzers.metrics import AnyMetric, GaugeMetric, HistogramMetric, Matcher, RatioMetric, UsageMetric
from analyzers.series import GAP, LATE_TICKS, AggregatedCounterError, RawSeries, UnstableLabelsError
from analyzers.sources.protocol import Failure, MetricSource, NoData, Outcome, Partial, Query, Samples, Target
from analyzers.ticks import BucketCounts, GaugeValues, MetricCounts, Problem, ProblemKind, SplitCounts, Tick

__all__ = ["ARMS", "BASELINE", "CANARY", "ArmTargets", "Collected", "CollectedTick", "Collector", "Resolution", "resolve"]

GIVE_UP: Final = 300.0
LOOK_BACK: Final = 3600.0
"""How much of the past is read again after a restart; older ticks stay without data."""


class ArmTargets(msgspec.Struct, frozen=True, kw_only=True):
    """How an arm's series are found: by matchers in a metric server, by targets in a direct scrape.

    `started` maps pods to the epoch at which they started: a pod that started after the last tick counts from zero.
    """

    name: str
    matchers: tuple[Matcher, ...] = ()
    targets: tuple[Target, ...] = ()
    started: dict[str, float] = msgspec.field(default_factory=dict)


class CollectedTick(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen tick, before the daemon adds what only it knows."""

    index: int
    at: float
    arms: dict[str, MetricCounts]
    buckets: dict[str, BucketCounts] = msgspec.field(default_factory=dict)
    gauges: dict[str, GaugeValues] = msgspec.field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def tick(
        self,
        *,
        weight: float,
        warm: bool = True,
        settled: bool = True,
        problems: tuple[Problem, ...] = (),
        units: tuple[int, int] | None = None,
        split: SplitCounts | None = None,
    ) -> Tick:
        return Tick(
            index=self.index,
            at=self.at,
            arms=self.arms,
            buckets=self.buckets,
            gauges=self.gauges,
            weight=weight,
            warm=warm,
            settled=settled,
            problems=(*self.problems, *problems),
            units=units,
            split=split,
        )


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """`ticks` rise by index; `problems` is the source's state right now, also when no tick is final yet."""

    ticks: tuple[CollectedTick, ...] = ()
    problems: tuple[Problem, ...] = ()
    retry_after: float | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a source answered, taken in and not yet frozen: ticks `last` + 1 to `due` can be.

    `away`: none of it could be used, and the source keeps its past, so that waiting loses nothing.
    """

    last: int
    due: int
    bad: dict[str, tuple[Problem, ...]] = msgspec.field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    retry_after: float | None = None
    away: bool = False


class Collector:
    """One rollout's data of one source, for one revision: a new revision gets a new collector.

    `called` (the source's name) is put before what it says is wrong, where a release has several.
    """

    def __init__(
        self, source: MetricSource, metrics: Sequence[AnyMetric], *, scrape_seconds: float, last_index: int | None = None, called: str = ""
    ) -> None:
        if not math.isfinite(scrape_seconds) or scrape_seconds < 1:
            raise ConfigError(f"scrape interval is {scrape_seconds}: give at least 1 second, the interval at which the metrics are scraped")
        self._source, self._metrics, self._scrape = source, tuple(metrics), scrape_seconds
        self._prefix = f"{called}: " if called else ""
        self._last, self._fresh = last_index, {m.name for m in metrics}
        self._channels = {m.name: channel(m, scrape_seconds) for m in metrics}
        self._refused: dict[str, Problem] = {}

    @property
    def last_index(self) -> int | None:
        """The last tick given out: to be stored, and given to the next collector."""
        return self._last

    async def collect(self, now: float, arms: Sequence[ArmTargets], *, deadline: float = 5.0) -> Collected:
        """Read what is new at `now` (epoch seconds) and freeze the ticks that are due."""
        reading = await self.read(now, arms, due=self.due(now), deadline=deadline)
        return self.give(reading, wait=reading.away)

    def due(self, now: float) -> int:
        """The newest tick that all samples must have arrived of."""
        return math.floor((now - self._source.settle_scrapes * self._scrape - self._source.ingestion_delay) / self._scrape)

    async def read(self, now: float, arms: Sequence[ArmTargets], *, due: int, deadline: float) -> Reading:
        """Ask for what is new."""
        by_name = _both(arms)
        last = self._start(due)
        if due <= last:
            return Reading(last=last, due=last)
        at = math.floor(now / self._scrape) * self._scrape
        window = at - last * self._scrape + 2 * self._scrape + (GAP if self._fresh else 0.0)
        queries = [(m, arm, role) for m in self._metrics for arm in ARMS for role in m.selectors]
        asked = [_query(m, by_name[arm], role) for m, arm, role in queries]
        outcomes = await self._source.fetch(asked, at=at, window=window, deadline=deadline)
        answers = {(m.name, arm, role): o for (m, arm, role), o in zip(queries, outcomes, strict=True)}
        return self._take(answers, by_name, last, due)

    def give(self, reading: Reading, *, wait: bool) -> Collected:
        """Freeze what was read. `wait`: not yet, but for what is older than anyone waits for."""
        if reading.due <= reading.last:
            return Collected()
        due = reading.due - math.floor(GIVE_UP / self._scrape) if wait else reading.due
        ticks = tuple(self._freeze(k, reading.bad) for k in range(reading.last + 1, due + 1))
        self._last = max(reading.last, due)
        problems = (*reading.problems, *(p for p in self._refused.values() if p not in reading.problems))
        return Collected(ticks=ticks, problems=problems, retry_after=reading.retry_after)

    def _start(self, due: int) -> int:
        """Where to go on: after the last tick, but no further back than can be read."""
        back = math.floor(LOOK_BACK / self._scrape) if self._source.backfills else 1
        last = due - 1 if self._last is None else max(self._last, due - back)
        if not self._source.backfills and self._last is not None and due - self._last > LATE_TICKS + 1:
            for one in self._channels.values():
                one.rebase()
        self._last = last
        return last

    def _take(self, answers: dict[tuple[str, str, str], Outcome], arms: dict[str, ArmTargets], last: int, due: int) -> Reading:
        problems: list[Problem] = list(self._refused.values())
        bad: dict[str, tuple[Problem, ...]] = {}
        for metric in self._metrics:
            own = {(arm, role): answers[metric.name, arm, role] for arm in ARMS for role in metric.selectors}
            found = self._problems(metric.name, own)
            if found:
                bad[metric.name] = found
                problems.extend(found)
            else:
                self._feed(metric.name, own, arms)
        waits = [o.retry_after for o in answers.values() if isinstance(o, Failure) and o.retry_after is not None]
        # The whole source is away and keeps its past: it is waited for, and then the gap is filled tick by tick.
        away = len(bad) == len(self._metrics) and self._source.backfills
        return Reading(last=last, due=due, bad=bad, problems=tuple(problems), retry_after=max(waits, default=None), away=away)

    def _problems(self, metric: str, outcomes: dict[tuple[str, str], Outcome]) -> tuple[Problem, ...]:
        """What makes this metric's answer unusable. Pods that do not answer are an absent arm as long as the other one does."""
        failures = {key: o for key, o in outcomes.items() if isinstance(o, Failure)}
        partial = [o for o in outcomes.values() if isinstance(o, Partial)]
        if failures and not self._source.backfills and {arm for arm, _ in failures} != set(ARMS):
            failures = {}
        texts = dict.fromkeys(f"{f.kind}: {f.message}" for f in failures.values())
        found = [Problem(kind=ProblemKind.PROVIDER_ERROR, text=self._prefix + t, metric=metric) for t in texts]
        warned = dict.fromkeys(w for p in partial for w in p.warnings)
        found += [Problem(kind=ProblemKind.PARTIAL, text=self._prefix + w, metric=metric) for w in warned]
        return tuple(found)

    def _feed(self, metric: str, outcomes: dict[tuple[str, str], Outcome], arms: dict[str, ArmTargets]) -> None:
        tracker = self._channels[metric]
        for (arm, role), outcome in outcomes.items():
            if isinstance(outcome, Samples) and metric not in self._refused:
                with self._refusing(metric):
                    tracker.add(arm, role, (_with_start(s, arms[arm].started) for s in outcome.series))
        if metric in self._fresh and self._source.backfills and self._last is not None:
            # Walk through the five minutes before, so that the first tick stands on the same bases as without a restart.
            with self._refusing(metric):
                for k in range(self._last - math.ceil(GAP / self._scrape), self._last + 1):
                    tracker.freeze(k)
        self._fresh.discard(metric)

    @contextmanager
    def _refusing(self, metric: str) -> Iterator[None]:
        """Series that cannot be followed are refused for the rest of the rollout, with the reason."""
        try:
            yield
        except AggregatedCounterError as error:
            self._refused[metric] = Problem(kind=ProblemKind.AGGREGATED, text=str(error), metric=metric)
        except UnstableLabelsError as error:
            self._refused[metric] = Problem(kind=ProblemKind.MALFORMED, text=str(error), metric=metric)

    def _freeze(self, index: int, bad: dict[str, tuple[Problem, ...]]) -> CollectedTick:
        found: dict[str, Frozen] = {}
        problems: list[Problem] = []
        for metric in self._metrics:
            if metric.name in bad and metric.name not in self._refused:
                problems.extend(bad[metric.name])
                continue
            if metric.name not in self._refused:
                with self._refusing(metric.name):
                    found[metric.name] = self._channels[metric.name].freeze(index)
                    problems.extend(found[metric.name].problems)
            if metric.name in self._refused:
                problems.append(self._refused[metric.name])
        return CollectedTick(
            index=index,
            at=index * self._scrape,
            arms={name: f.counts for name, f in found.items() if f.counts is not None},
            buckets={name: f.buckets for name, f in found.items() if f.buckets is not None},
            gauges={name: f.gauges for name, f in found.items() if f.gauges is not None},
            problems=tuple(problems),
        )


M = TypeVar("M", RatioMetric, HistogramMetric, UsageMetric, GaugeMetric, AnyMetric)


class Resolution(msgspec.Struct, Generic[M], frozen=True, kw_only=True):
    """Which candidate the source has. Without one, `tried` says for each what was asked and what came back."""

    metric: M | None
    tried: tuple[str, ...]
    failure: Failure | None = None


async def resolve(
    source: MetricSource, candidates: Sequence[M], arm: ArmTargets, *, now: float, deadline: float = 5.0, other: ArmTargets | None = None
) -> Resolution[M]:
    """The first candidate that has samples in the given arm (the baseline, as the canary has none yet).

    A histogram is compared at the bounds that both arms have, as far as `other` (the canary) has shown any.
    """
    arms = [arm, *([other] if other else [])]
    queries = [_query(c, a, next(iter(c.selectors))) for c in candidates for a in arms]
    outcomes = await source.fetch(queries, at=now, window=GAP, deadline=deadline)
    tried: list[str] = []
    for i, candidate in enumerate(candidates):
        outcome, query = outcomes[i * len(arms)], queries[i * len(arms)]
        match outcome:
            case Samples() | Partial():
                seen = [s for o in outcomes[i * len(arms) : (i + 1) * len(arms)] if isinstance(o, Samples | Partial) for s in o.series]
                fitted = _with_edges(candidate, seen)
                if fitted is not None:
                    return Resolution(metric=fitted, tried=tuple(tried))
                tried.append(f"{query.selector}: fewer than {LEAST_EDGES} bucket bounds that all pods of both versions have")
            case NoData():
                tried.append(f"{query.selector}: no samples")
            case Failure():
                tried.append(f"{query.selector}: {outcome.message}")
    return Resolution(metric=None, tried=tuple(tried), failure=next((o for o in outcomes if isinstance(o, Failure)), None))


def _with_edges(metric: M, seen: Sequence[RawSeries]) -> M | None:
    if not isinstance(metric, HistogramMetric):
        return metric
    edges = common_edges(seen)
    return msgspec.structs.replace(metric, edges=edges) if len(edges) >= LEAST_EDGES else None


def _both(arms: Sequence[ArmTargets]) -> dict[str, ArmTargets]:
    by_name = {a.name: a for a in arms}
    if set(by_name) != set(ARMS):
        raise AnalysisError(f"arms are {sorted(by_name)}: exactly {' and '.join(ARMS)} are compared", reason="InvalidArms")
    return by_name


def _query(metric: AnyMetric, arm: ArmTargets, role: str) -> Query:
    return Query(selector=metric.where(role, arm.name, arm.matchers), targets=arm.targets)


def _with_start(series: RawSeries, started: dict[str, float]) -> RawSeries:
    if series.started_at is not None or not started:
        return series
    start = started.get(series.labels.get("pod", ""))
    return series if start is None else msgspec.structs.replace(series, started_at=start)
