"""What would have changed a verdict: the same judge asked again, with counts a little better or worse than those that came.

Nothing is estimated here. A release that was stopped is replayed with a milder canary, and without the metric that stopped it; one that
was promoted is replayed with more failures and slower requests, until the verdict changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from analyzers.account import Account, duration, odds, verdict_of
from analyzers.evidence import Entry, Log
from analyzers.options import Kind, MetricConfig, Worse
from analyzers.stats.buckets import slower_weights, survival
from analyzers.stats.mixture import Array
from analyzers.ticks import ArmCounts, BucketCounts, GaugeValues, MetricCounts, MetricEvidence, Verdict

HALVINGS: Final = 7
MOST_FAILURES: Final = 4096
FACTORS: Final = (1.1, 1.25, 1.5, 2.0, 3.0)


def otherwise(log: Log, found: Account) -> tuple[str, ...]:
    """Sentences, the most telling first; asked by replaying the log with other counts, which takes a second or two."""
    if found.verdict is Verdict.FAIL:
        return (*_milder(log, found), *_without(log, found))
    if found.verdict is Verdict.PASS:
        return _harsher(log, found)
    return tuple(_missing(m, found) for m in found.metrics if not m.fine_proven)


def _missing(line: MetricEvidence, found: Account) -> str:
    sure = math.log(1.0 / found.needed_fine)
    state = f"{line.name}: {odds(line.log_e_fine)} for 'within its bound', {odds(sure)} needed"
    return f"{state}; about {duration(line.seconds_needed)} more at this pace" if line.seconds_needed else f"{state}; nothing is gained now"


def _milder(log: Log, found: Account) -> list[str]:
    """How much better the canary would have had to be in what it was stopped for."""
    metric = next(m for m in log.config.metrics if m.name == found.decided_by)
    line = next(m for m in found.metrics if m.name == metric.name)
    stopped = _until(log, found)

    def spared(part: float) -> bool:
        return verdict_of(_with(stopped, lambda e: _better(e, metric, part))) is not Verdict.FAIL

    if not spared(1.0):
        return []
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if spared(middle) else (middle, high)
    if metric.kind is Kind.GAUGE:
        ratio = (line.ratio_low or 1.0) ** (1.0 - high)
        return [
            f"with {(ratio - 1) * 100:.0f} % more instead of {((line.ratio_low or 1.0) - 1) * 100:.0f} % it would not have been stopped by then"
        ]
    if metric.kind is Kind.HISTOGRAM:
        return [f"with {high:.0%} of the difference in {metric.name} gone it would not have been stopped by then"]
    if metric.worse is Worse.LOWER:
        return [f"with {high:.0%} of the lost {metric.name} back it would not have been stopped by then"]
    failed = line.canary_errors
    if metric.kind is Kind.RESTARTS:
        return [f"with {round(failed * (1 - high))} instead of {failed} restarts it would not have been stopped by then"]
    return [f"with {round(failed * (1 - high))} instead of {failed} failed canary requests it would not have been stopped by then"]


def _without(log: Log, found: Account) -> list[str]:
    """The same release with that metric out of the spec."""
    rest = tuple(m for m in log.config.metrics if m.name != found.decided_by)
    if not rest or log.base is not None:
        return []
    verdict = verdict_of(msgspec.structs.replace(_until(log, found), config=msgspec.structs.replace(log.config, metrics=rest)))
    others = ", ".join(m.name for m in rest)
    if verdict is Verdict.FAIL:
        return [f"without {found.decided_by} it would have been stopped as well, by {others}"]
    what = "would have been promoted" if verdict is Verdict.PASS else "had nothing against it"
    return [f"without {found.decided_by} it would not have been stopped: {others} {what}"]


def _harsher(log: Log, found: Account) -> tuple[str, ...]:
    """How much worse the canary could have been in each metric and still be promoted by then."""
    told = []
    until = _until(log, found)
    for metric in log.config.metrics:
        if metric.kind is Kind.RATIO and metric.worse is Worse.HIGHER:
            told.append(_more_failures(until, metric))
        elif metric.kind in {Kind.HISTOGRAM, Kind.GAUGE}:
            told.append(_slower(until, metric))
    return tuple(t for t in told if t)


def _more_failures(log: Log, metric: MetricConfig) -> str:
    def verdict(more: int) -> Verdict:
        return verdict_of(_with(log, lambda e: _worse_by(e, metric, more)))

    held = _first(lambda n: verdict(n) is not Verdict.PASS)
    if held is None:
        return ""
    stopped = _first(lambda n: verdict(n) is Verdict.FAIL)
    more = f", {stopped} more and it would have been rolled back" if stopped is not None else ""
    return f"{held} more failed canary {'request' if held == 1 else 'requests'} and it would not have been promoted by then{more}"


def _first(holds: Callable[[int], bool]) -> int | None:
    """The smallest number from 1 on for which it holds, by doubling and halving."""
    high = 1
    while not holds(high):
        high *= 2
        if high > MOST_FAILURES:
            return None
    low = high // 2
    while high - low > max(1, high // 64):
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _slower(log: Log, metric: MetricConfig) -> str:
    word = "slower" if metric.kind is Kind.HISTOGRAM else "more"
    for factor in FACTORS:
        if verdict_of(_with(log, lambda e, f=factor: _scaled(e, metric, f))) is not Verdict.PASS:  # type: ignore[misc]
            return f"{(factor - 1) * 100:.0f} % {word} in {metric.name} and it would not have been promoted by then"
    return ""


def _until(log: Log, found: Account) -> Log:
    """The log up to the tick that decided."""
    last = len(log.entries) if found.decided_at is None else next(k for k, p in enumerate(found.points) if p.at == found.decided_at) + 1
    return msgspec.structs.replace(log, entries=log.entries[:last])


def _with(log: Log, change: Callable[[tuple[Entry, ...]], tuple[Entry, ...]]) -> Log:
    return msgspec.structs.replace(log, entries=change(log.entries))


def _better(entries: tuple[Entry, ...], metric: MetricConfig, part: float) -> tuple[Entry, ...]:
    """The canary moved by `part` of the way towards the baseline of the same ticks."""
    if metric.kind is Kind.GAUGE:
        return tuple(_gauge(e, metric.name, lambda c, b: c ** (1.0 - part) * b**part) for e in entries)
    if metric.kind is Kind.HISTOGRAM:
        return _mixed(entries, metric, part)
    carried, changed = 0.0, []
    for e in entries:
        counts = e.arms.get(metric.name)
        if counts is None or counts.canary is None or counts.baseline is None:
            changed.append(e)
            continue
        canary, baseline = counts.canary, counts.baseline
        level = baseline.errors / baseline.requests * canary.requests if baseline.requests else canary.errors
        carried += part * (level - canary.errors) if (level - canary.errors > 0) is (metric.worse is Worse.LOWER) else 0.0
        step = max(-canary.errors, min(canary.requests - canary.errors, math.trunc(carried)))
        carried -= step
        changed.append(_ratio(e, metric.name, counts, canary.errors + step))
    return tuple(changed)


def _worse_by(entries: tuple[Entry, ...], metric: MetricConfig, more: int) -> tuple[Entry, ...]:
    """So many more failures, spread over the canary's requests."""
    total = sum(c.canary.requests for e in entries if (c := e.arms.get(metric.name)) and c.canary)
    seen, given, changed = 0, 0, []
    for e in entries:
        counts = e.arms.get(metric.name)
        if counts is None or counts.canary is None or not total:
            changed.append(e)
            continue
        seen += counts.canary.requests
        step = min(round(more * seen / total) - given, counts.canary.requests - counts.canary.errors)
        given += step
        changed.append(_ratio(e, metric.name, counts, counts.canary.errors + step))
    return tuple(changed)


def _scaled(entries: tuple[Entry, ...], metric: MetricConfig, factor: float) -> tuple[Entry, ...]:
    """Every canary request so many times as slow, or as costly."""
    if metric.kind is Kind.GAUGE:
        return tuple(_gauge(e, metric.name, lambda c, _: c * factor) for e in entries)
    edges = np.array(metric.edges)
    own = [np.array(c.canary, dtype=np.float64) for e in entries if (c := e.buckets.get(metric.name)) and c.canary]
    if not own:
        return entries
    weights, _ = slower_weights(edges, survival(np.sum(own, axis=0)), factor)
    return _moved(entries, metric, lambda canary, _: weights @ canary)


def _mixed(entries: tuple[Entry, ...], metric: MetricConfig, part: float) -> tuple[Entry, ...]:
    def tails(canary: Array, baseline: Array) -> Array:
        mine, theirs = (x[::-1].cumsum()[::-1][1:] for x in (canary, baseline))
        found: Array = mine * (1.0 - part) + theirs * (part * canary.sum() / max(baseline.sum(), 1.0))
        return found

    return _moved(entries, metric, tails)


def _moved(entries: tuple[Entry, ...], metric: MetricConfig, tails: Callable[[Array, Array], Array]) -> tuple[Entry, ...]:
    """The canary's buckets made anew from tails; fractions are carried to the next tick, so that none is lost."""
    carried, changed = np.zeros(len(metric.edges)), []
    for e in entries:
        counts = e.buckets.get(metric.name)
        if counts is None or counts.canary is None or counts.baseline is None:
            changed.append(e)
            continue
        canary, baseline = (np.array(c, dtype=np.float64) for c in (counts.canary, counts.baseline))
        wanted = tails(canary, baseline) + carried
        whole = np.minimum.accumulate(np.clip(np.round(wanted), 0, canary.sum()))
        carried = np.clip(wanted - whole, -1.0, 1.0)
        bins = -np.diff(np.concatenate([[canary.sum()], whole, [0.0]]))
        moved = BucketCounts(tuple(int(x) for x in bins), counts.baseline)
        changed.append(msgspec.structs.replace(e, buckets={**e.buckets, metric.name: moved}))
    return tuple(changed)


def _ratio(entry: Entry, name: str, counts: MetricCounts, errors: int) -> Entry:
    canary = counts.canary
    if canary is None:
        return entry
    return msgspec.structs.replace(entry, arms={**entry.arms, name: MetricCounts(ArmCounts(canary.requests, errors), counts.baseline)})


def _gauge(entry: Entry, name: str, change: Callable[[float, float], float]) -> Entry:
    values = entry.gauges.get(name)
    if values is None or not values.canary or not values.baseline:
        return entry
    return msgspec.structs.replace(
        entry, gauges={**entry.gauges, name: GaugeValues(change(values.canary, values.baseline), values.baseline)}
    )
