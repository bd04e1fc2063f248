"""One tick from several sources: a release's metrics may be counted by different servers, and are judged together.

Each source has a collector of its own, with its own way to find the arms. Their ticks are the same ones, frozen when the slowest of
them must have delivered. A source that is away alone delays nobody: its metrics miss those ticks and say why, and what the others show
can still end the release. Only when all are away is there nothing to lose by waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from analyzers.collector import ArmTargets, Collected, CollectedTick, Collector
from analyzers.errors import AnalysisError

Arms = Sequence[ArmTargets]


class Joined:
    """Collectors by the name of their source."""

    def __init__(self, collectors: Mapping[str, Collector]) -> None:
        if not collectors:
            raise AnalysisError("no metric source", reason="NoSource")
        self._collectors = dict(collectors)

    @property
    def sources(self) -> tuple[str, ...]:
        """Whose arms `collect` wants."""
        return tuple(self._collectors)

    async def collect(self, now: float, arms: Mapping[str, Arms], *, deadline: float = 5.0) -> Collected:
        """What is new at `now` (epoch seconds), of all sources at once; `arms` as each of them finds them."""
        due = min(c.due(now) for c in self._collectors.values())
        asked = (c.read(now, arms[name], due=due, deadline=deadline) for name, c in self._collectors.items())
        readings = await asyncio.gather(*asked)
        wait = all(r.away for r in readings if r.due > r.last)
        found = [c.give(r, wait=wait) for c, r in zip(self._collectors.values(), readings, strict=True)]
        waits = [f.retry_after for f in found if f.retry_after is not None]
        return Collected(ticks=_joined(found), problems=tuple(p for f in found for p in f.problems), retry_after=max(waits, default=None))


def _joined(found: Sequence[Collected]) -> tuple[CollectedTick, ...]:
    """By index; a source that keeps no past has nothing of ticks that lie behind it."""
    by_index: dict[int, list[CollectedTick]] = {}
    for one in found:
        for tick in one.ticks:
            by_index.setdefault(tick.index, []).append(tick)
    return tuple(_one(ticks) for _, ticks in sorted(by_index.items()))


def _one(ticks: Sequence[CollectedTick]) -> CollectedTick:
    return CollectedTick(
        index=ticks[0].index,
        at=ticks[0].at,
        arms={name: a for t in ticks for name, a in t.arms.items()},
        buckets={name: b for t in ticks for name, b in t.buckets.items()},
        gauges={name: g for t in ticks for name, g in t.gauges.items()},
        problems=tuple(p for t in ticks for p in t.problems),
    )
