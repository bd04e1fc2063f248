"""Pods with counters, scraped on a grid that is never quite kept: the raw samples behind the series tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from analyzers.collector import BASELINE, CANARY
from analyzers.metrics import RatioMetric, parse_selector
from analyzers.series import CounterTracker, RawSeries, Role, Sample
from analyzers.sources.protocol import NoData, Outcome, Query, Samples
from analyzers.ticks import ArmCounts

SCRAPE = 15.0
METRIC = RatioMetric(name="errors", errors=parse_selector('requests_total{code=~"5.."}'), total=parse_selector("requests_total"))


@dataclass
class Pod:
    """One process: counts per (code, route), reset by a restart; a labelled counter appears with its first event."""

    arm: str
    name: str
    started_at: float
    counters: dict[tuple[str, str], int] = field(default_factory=dict)
    scraped: dict[tuple[str, str, float], list[Sample]] = field(default_factory=dict)

    def serve(self, code: str, route: str, count: int = 1) -> None:
        if count:
            self.counters[code, route] = self.counters.get((code, route), 0) + count

    def restart(self, at: float) -> None:
        self.counters, self.started_at = {}, at

    def scrape(self, at: float) -> None:
        for (code, route), value in self.counters.items():
            self.scraped.setdefault((code, route, self.started_at), []).append(Sample(at, float(value)))

    def series(self, role: Role, begin: float, end: float, *, with_start: bool) -> list[RawSeries]:
        """What a source shows of (begin, end]."""
        found = []
        for (code, route, started), samples in self.scraped.items():
            shown = tuple(s for s in samples if begin < s.at <= end)
            if shown and (role is Role.TOTAL or code.startswith("5")):
                labels = {"pod": self.name, "instance": f"{self.name}:8080", "code": code, "route": route}
                found.append(RawSeries(labels=labels, samples=shown, started_at=started if with_start else None))
        return found


def feed(tracker: CounterTracker, pods: Sequence[Pod], begin: float, end: float, *, with_start: bool = True) -> None:
    for pod in pods:
        for role in Role:
            tracker.add(pod.arm, role, pod.series(role, begin, end, with_start=with_start))


def tracker() -> CounterTracker:
    return CounterTracker(metric="errors", arms=(CANARY, BASELINE), scrape_seconds=SCRAPE)


class PodSource:
    """A metric source over such pods, as Prometheus would show them: it can be asked about the past."""

    settle_scrapes = 2
    ingestion_delay = 0.0
    backfills = True

    def __init__(self, pods: Sequence[Pod]) -> None:
        self.pods = pods
        self.fail_with: Sequence[Outcome] = ()

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        if self.fail_with:
            return [self.fail_with[0] for _ in queries]
        return [self._one(q, at - window, at) for q in queries]

    def _one(self, query: Query, begin: float, end: float) -> Outcome:
        found = []
        for pod in self.pods:
            for series in pod.series(Role.TOTAL, begin, end, with_start=False):
                if query.selector.accepts({**series.labels, "track": pod.arm}):
                    found.append(series)
        return Samples(series=tuple(found)) if found else NoData()


def counts(arm: ArmCounts | None) -> tuple[int, int] | None:
    return None if arm is None else (arm.requests, arm.errors)
