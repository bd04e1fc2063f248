"""What a stored log of evidence says of the release that it decided: asked of the log alone, tick by tick, by the judge itself."""

from __future__ import annotations

import msgspec

from analyzers.evidence import Log, walk
from analyzers.ticks import ArmCounts, MetricCounts


def clean(log: Log) -> Log:
    """As if no request of the canary's had failed."""
    entries = []
    for entry in log.entries:
        arms = {name: MetricCounts(ArmCounts(c.canary.requests, 0) if c.canary else None, c.baseline) for name, c in entry.arms.items()}
        entries.append(msgspec.structs.replace(entry, arms=arms))
    return msgspec.structs.replace(log, entries=tuple(entries))


def explained(log: Log) -> list[int]:
    """The weights under which ticks were counted; each change must be the judge's last wish before it."""
    seen, wished = [0], {1.0, log.config.start_percent}  # one percent until the judge has said where to begin
    for tick, answer, _ in walk(log):
        if tick.weight != seen[-1]:
            assert tick.weight in wished, f"{seen[-1]} -> {tick.weight} at {tick.index}: the judge wished for {wished}"
            seen.append(round(tick.weight))
            wished = {log.config.start_percent} if len(seen) == 2 else set()
        assert answer.wanted_weight is not None
        wished.add(answer.wanted_weight)
    return seen[1:]
