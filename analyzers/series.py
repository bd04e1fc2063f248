"""Raw counter samples in, disjoint whole-number increments per arm and tick out.

The tick grid is aligned to the epoch, so every daemon and every restart cuts time at the same places. The value at a
grid point is the last sample at or before it; nothing is interpolated, so increments telescope: each request is in
exactly one tick, and what comes late falls into the next one. Labelled counters are born at their first event, and only
new pods have newborn series: dropping that first value would hide the canary's errors and nobody else's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from analyzers.errors import AnalysisError
from analyzers.ticks import ArmCounts, Problem, ProblemKind

GAP: Final = 300.0
"""Seconds without a sample after which a counter is a base again and proves nothing."""
FOUND_WITHIN: Final = 60.0
"""Seconds after its start within which a process's first sample is all its own; later it is a base, since it would lump minutes."""
LATE_TICKS: Final = 2
"""Ticks for which the other arm waits for a late one before it goes on alone."""
UNSTABLE: Final = 3
"""Scrapes in a row with other series than before, after which these are no counters that can be followed."""
IDENTITY: Final = ("namespace", "pod", "instance", "job", "container", "endpoint")


class Role(StrEnum):
    TOTAL = "total"
    ERRORS = "errors"
    BUCKETS = "buckets"
    USED = "used"
    VALUE = "value"


class Sample(NamedTuple):
    at: float
    value: float


class NativeSample(NamedTuple):
    """A native histogram at one moment: what its buckets (above, up to) hold; empty ones are not there."""

    at: float
    buckets: tuple[tuple[float, float, float], ...]


class RawSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One counter's samples in time order. `started_at`: when this counter began at zero, where that is known.

    Of a native histogram the samples are the counts of all that it holds, beside the buckets.
    """

    labels: dict[str, str]
    samples: tuple[Sample, ...]
    started_at: float | None = None
    histograms: tuple[NativeSample, ...] = ()


class AggregatedCounterError(AnalysisError):
    """A counter without pod or instance: a scale-down would read as a reset and count all requests again."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        shown = ", ".join(f"{k}={v!r}" for k, v in sorted(labels.items()) if k != "__name__") or "no labels at all"
        super().__init__(
            f"a series carries neither `pod` nor `instance` ({shown}): it is a sum over pods, whose increments cannot be told from resets; "
            "name the raw counter instead of a recording rule",
            reason="AggregatedCounter",
        )


class UnstableLabelsError(AnalysisError):
    """A target whose series are others at every scrape: each would count as newborn, with all that was ever counted in it."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        shown = ", ".join(f"{k}={v!r}" for k, v in sorted(labels.items()) if k != "__name__")
        super().__init__(
            f"at every scrape the series have other labels ({shown} is new, and those of the scrape before are gone): their increments "
            "cannot be told; drop the label that changes, or name another counter",
            reason="UnstableLabels",
        )


class _Seen(NamedTuple):
    """A sample and, where known, the moment its counter began at zero."""

    at: float
    value: float
    started_at: float | None


@dataclass(slots=True)
class _Series:
    arm: str
    role: str
    target: tuple[str, ...]
    labels: Mapping[str, str]
    last: _Seen | None = None
    left: float = -math.inf
    """When it was last seen before its arm was forgotten."""
    pending: list[_Seen] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        return self.left > -math.inf


@dataclass(slots=True)
class _Target:
    seen: float | None = None
    reset: float = -math.inf
    shown: frozenset[int] = frozenset()
    replaced: int = 0
    """How many scrapes in a row had mostly other series than the one before."""


class Increments(msgspec.Struct, frozen=True, kw_only=True):
    """One metric in one tick."""

    arms: dict[str, ArmCounts | None]
    problems: tuple[Problem, ...] = ()


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """By how much each arm's counters grew in one tick, by what they count; None for an arm that delivered nothing."""

    arms: dict[str, dict[str, float] | None]
    problems: tuple[Problem, ...] = ()


class Follower:
    """Follows every series of one metric over both arms; `freeze` gives out each tick once and never revises it.

    A metric is made of several counters of the same processes. Without the one that is the `anchor` (all requests) the
    others of a process wait, so that no tick has a part without the whole.
    """

    def __init__(self, *, metric: str, arms: Iterable[str], scrape_seconds: float, anchor: str) -> None:
        self._metric, self._arms, self._scrape, self._anchor = metric, tuple(arms), scrape_seconds, anchor
        self._series: dict[tuple[str, str, tuple[tuple[str, str], ...]], _Series] = {}
        self._targets: dict[tuple[str, ...], _Target] = {}
        self._absent: dict[str, int] = dict.fromkeys(self._arms, 0)
        self._known: set[str] = set()
        self._until: float | None = None
        self._frozen: int | None = None

    def add(self, arm: str, role: str, series: Iterable[RawSeries]) -> None:
        """Take raw samples; those already counted, or seen before, are ignored, so windows may overlap."""
        for raw in series:
            key = (arm, role, tuple(sorted(raw.labels.items())))
            known = self._series.get(key)
            if known is None:
                known = self._series[key] = _Series(arm, role, target_of(raw.labels), raw.labels)
            newest = known.pending[-1].at if known.pending else (known.last.at if known.last else -math.inf)
            for sample in raw.samples:
                if sample.at > newest and math.isfinite(sample.value) and sample.value >= 0:
                    known.pending.append(_Seen(sample.at, sample.value, raw.started_at))
                    newest = sample.at

    def freeze(self, index: int) -> Growth:
        """The increments of tick `index`, final. What lies in ticks that were passed over is dropped, never lumped together."""
        end, begin = index * self._scrape, (index - 1) * self._scrape
        if self._frozen is not None and index <= self._frozen:
            raise AnalysisError(f"tick {index} was frozen before ({self._frozen}): a tick is given out once", reason="TickFrozen")
        if self._frozen is not None and index > self._frozen + 1:
            self._consume(begin, begin)
            self._until = begin
        self._frozen = index
        present = {s.arm for s in self._series.values() if s.role == self._anchor and s.pending and s.pending[0].at <= end}
        late = [a for a in self._arms if a in self._known and a not in present]
        if not present:
            # Nobody is late when nothing came at all: the source was blind, and the next samples cover that time for both arms.
            return Growth(arms=dict.fromkeys(self._arms), problems=self._stale(late))
        for arm in self._arms:
            self._absent[arm] = self._absent[arm] + 1 if arm in late else 0
        waiting = [a for a in late if self._absent[a] <= LATE_TICKS]
        if waiting:
            return Growth(arms=dict.fromkeys(self._arms), problems=self._stale(waiting))
        for arm in late:
            self._forget(arm)
        counts = self._consume(end, begin if self._until is None else self._until)
        self._until = end
        self._known |= present
        self._prune(end)
        return Growth(arms={a: counts.get(a, {}) if a in present else None for a in self._arms}, problems=self._stale(late))

    def rebase(self) -> None:
        """Start over: every counter's next sample is a base (unless it is new-born). For a source without a past, after a pause."""
        for arm in self._arms:
            self._forget(arm)
        self._until = None

    def _stale(self, arms: Iterable[str]) -> tuple[Problem, ...]:
        text = "no sample of {} in this interval: what it counted will be in the next one"
        return tuple(Problem(kind=ProblemKind.STALE, text=text.format(a), metric=self._metric) for a in arms)

    def _forget(self, arm: str) -> None:
        """An arm that stayed away: when it comes back, its counters are a base, so that both arms cover the same time."""
        self._known.discard(arm)
        for series in self._series.values():
            if series.arm == arm and series.last is not None:
                series.left, series.last = series.last.at, None
        others = {s.target for s in self._series.values() if s.arm != arm}
        for target in {s.target for s in self._series.values() if s.arm == arm} - others:
            self._targets.pop(target, None)

    def _consume(self, end: float, since: float) -> dict[str, dict[str, float]]:
        """Walk each target's scrapes in time order. A target without a total in this tick waits as a whole."""
        ready = {(s.arm, s.target) for s in self._series.values() if s.role == self._anchor and s.pending and s.pending[0].at <= end}
        scrapes: dict[tuple[tuple[str, ...], float], list[tuple[_Series, _Seen]]] = {}
        for series in self._series.values():
            if (series.arm, series.target) not in ready:
                continue
            while series.pending and series.pending[0].at <= end:
                sample = series.pending.pop(0)
                scrapes.setdefault((series.target, sample.at), []).append((series, sample))
        sums: dict[str, dict[str, float]] = {}
        for (name, at), group in sorted(scrapes.items(), key=lambda item: item[0][1]):
            target = self._targets.setdefault(name, _Target())
            _watch_labels(target, [s for s, _ in group])
            for series, sample in group:
                own = sums.setdefault(series.arm, {})
                own[series.role] = own.get(series.role, 0.0) + self._increment(series, sample, target, since)
            target.reset = at if any(_is_reset(s, x) for s, x in group) else target.reset
            target.seen = at
            for series, sample in group:
                series.last, series.left = sample, -math.inf
        return sums

    def _increment(self, series: _Series, new: _Seen, target: _Target, since: float) -> float:
        old = series.last
        if old is None or new.at - old.at > GAP:
            # Seen without this counter a moment ago, or started after the last tick: it began at zero.
            watched = old is None and not series.lost and target.seen is not None and target.seen < new.at <= target.seen + GAP
            # With grace: a pod is found, and then scraped, only some time after it began to serve.
            fresh = new.started_at is not None and not series.lost
            young = fresh and (new.started_at or 0.0) > min(since - LATE_TICKS * self._scrape, new.at - FOUND_WITHIN)
            return new.value if watched or young else 0.0
        gone_at_reset = old.at < target.reset < new.at
        return new.value if _is_reset(series, new) or gone_at_reset else new.value - old.value

    def _prune(self, end: float) -> None:
        """Forget what ended: a rollout of days over churning pods must not grow."""
        recent = end - 2 * GAP
        seen = {name for name, t in self._targets.items() if t.seen is not None and t.seen >= recent}
        for series in self._series.values():
            series.pending = [x for x in series.pending if x.at >= recent]
        # What is lost is kept as long: as a new series its pod, if young, would count all that it ever counted once more.
        self._series = {k: s for k, s in self._series.items() if s.pending or s.target in seen or s.left >= recent}
        alive = {s.target for s in self._series.values()}
        self._targets = {k: t for k, t in self._targets.items() if k in alive}


class CounterTracker(Follower):
    """Errors of all: whole numbers of both."""

    def __init__(self, *, metric: str, arms: Iterable[str], scrape_seconds: float) -> None:
        super().__init__(metric=metric, arms=arms, scrape_seconds=scrape_seconds, anchor=Role.TOTAL)

    def counts(self, index: int) -> Increments:
        """The increments of tick `index`, final."""
        growth = self.freeze(index)
        arms = {
            arm: None if own is None else ArmCounts(round(own.get(Role.TOTAL, 0.0)), round(own.get(Role.ERRORS, 0.0)))
            for arm, own in growth.arms.items()
        }
        return Increments(arms=arms, problems=growth.problems)


def _watch_labels(target: _Target, series: list[_Series]) -> None:
    """A restart may replace a process's series once; a label that holds the time of day does it at every scrape."""
    shown = frozenset(id(s) for s in series)
    born = [s for s in series if s.last is None and id(s) not in target.shown]
    gone = len(target.shown - shown)
    replaced = 2 * gone > len(target.shown) and 2 * len(born) > len(series)
    target.replaced, target.shown = target.replaced + 1 if replaced else 0, shown
    if target.replaced >= UNSTABLE:
        raise UnstableLabelsError(born[0].labels)


def _is_reset(series: _Series, new: _Seen) -> bool:
    old = series.last
    if old is None:
        return False
    reborn = old.started_at is not None and new.started_at is not None and new.started_at > old.started_at
    return new.value < old.value or reborn


def target_of(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Which process a series belongs to; refused when that cannot be told."""
    if not labels.get("pod") and not labels.get("instance"):
        raise AggregatedCounterError(labels)
    return tuple(labels.get(name, "") for name in IDENTITY)
