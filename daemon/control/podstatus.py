"""Restarts as the pods' own status tells them: a metric source without a server.

The pods are in the cache anyway, so every user has this signal, also one without kube-state-metrics, and it is a second old where a
scrape would be half a minute. What no source keeps is its past: what restarted while no daemon looked is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from analyzers.metrics import POD_RESTARTS, POD_SECONDS, Selector
from analyzers.series import RawSeries, Sample
from analyzers.sources.protocol import NoData, Outcome, Query, Samples, Target
from daemon.kube.objects import Pod

SOURCE: Final = "status of pods"
"""How the evidence names it; no object can have such a name."""
MOST_MISSED: Final = 20  # looks that are filled in where nobody looked


class PodStatusSource:
    """`pods` gives what the cache has now, by name. The time that a pod is there is known for every moment, its restarts for this one."""

    settle_scrapes = 0
    ingestion_delay = 0.0
    backfills = False

    def __init__(self, pods: Callable[[str], Pod | None], scrape_seconds: float) -> None:
        self._pods, self._scrape = pods, scrape_seconds
        self._looked: float | None = None
        self._restarts: dict[str, int] = {}

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        targets = {t.pod: t for q in queries for t in q.targets}
        moments, before = self._moments(at), self._restarts
        now = {name: pod.restarts for name in targets if (pod := self._pods(name)) is not None}
        # Where a look was missed, what restarted since the one before is of this one: late, and once.
        counted = {name: [before.get(name, count)] * (len(moments) - 1) + [count] for name, count in now.items()}
        self._looked, self._restarts = at, before | now
        return [_answer(q, moments, counted) for q in queries]

    def _moments(self, at: float) -> list[float]:
        """The points of the grid since the last look; a pass that came late must not leave an interval without its seconds."""
        missed = 0 if self._looked is None else min(MOST_MISSED, round((at - self._looked) / self._scrape) - 1)
        return [at - k * self._scrape for k in range(max(0, missed), -1, -1)]


def _answer(query: Query, moments: list[float], counted: dict[str, list[int]]) -> Outcome:
    series = [one for t in query.targets if t.pod in counted for one in _series(query.selector, t, moments, counted[t.pod])]
    return Samples(series=tuple(series)) if series else NoData(message="none of its pods is in the cache")


def _series(selector: Selector, target: Target, moments: list[float], counted: list[int]) -> list[RawSeries]:
    labels, started = {"pod": target.pod}, target.started_at
    if started is None or selector.name not in (POD_RESTARTS, POD_SECONDS):
        return []
    seen = [(at, count) for at, count in zip(moments, counted, strict=True) if at >= started]
    samples = tuple(Sample(at, at - started if selector.name == POD_SECONDS else float(count)) for at, count in seen)
    return [RawSeries(labels=labels, samples=samples, started_at=started)] if samples else []
