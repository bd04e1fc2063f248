"""What a service's traffic is like at rest: how many requests, how many of them fail, and what share of them passes the route.

Measured by a task beside the passes (a slow source delays no release), when a Canary comes to rest and seldom after, from the metric
source alone: a Canary at rest costs the API server nothing, and is looked at again only when a figure has changed enough to be shown.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from analyzers.collector import BASELINE, ArmTargets, resolve
from analyzers.errors import AnalysisError
from analyzers.metrics import AnyMetric, RatioMetric, Selector
from analyzers.sources.protocol import Failure, MetricSource, Outcome, Partial, Query, Samples
from analyzers.usage import Looks, Usage, usage
from daemon.api.canary import Metric
from daemon.api.status import Forecast, ForecastMetric
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.http import Http
from daemon.control.measuring import baseline, candidates, interval_of, is_error_ratio
from daemon.control.resolved import Resolved, SourceUse
from daemon.control.routerarms import router_arms
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import source_of
from daemon.kube.errors import KubeError
from daemon.kube.store import Key
from daemon.rollout.outlook import figure, steady

log = logging.getLogger("linnet.prospects")

Chosen = tuple[str, AnyMetric | None]  # a metric's name, and what it was found to mean
REFRESH: Final = 600.0  # seconds between two measurements
RETRY: Final = 60.0  # the same where something is still missing
WINDOW: Final = 600.0  # seconds of the past that a rate is taken over
DEADLINE: Final = 5.0
AT_ONCE: Final = 4
REST: Final = ("Pending", "Idle")
ABOVE: Final = 1.15  # a router that counts more than so many times what the pods count counts something else
TEXT: Final = 300
TRAEFIK: Final = "traefik_service_requests_total"


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """How it reaches the world."""

    caches: Caches
    http: Http
    secrets: SecretReader
    wake: Callable[[Key], None]
    clock: Callable[[], float] = time.time


class _Entry:
    """One Canary at rest. `about`: of what its figures are; a change of that begins anew."""

    def __init__(self, about: bytes, resolved: Resolved) -> None:
        self.about = about
        self.resolved = resolved
        self.looks = Looks(2 * WINDOW)
        self.found: Forecast | None = None
        self.due = 0.0
        self.busy = False


class _Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement brought."""

    metrics: tuple[ForecastMetric, ...] = ()
    used: Usage | None = None
    own: bool = True  # counted by the pods themselves, not by a router
    worst: float = 0.0  # the largest share of errors of any metric
    routers: tuple[tuple[str, Usage], ...] = ()
    why: str = ""
    failed: bool = False  # the source did not answer


class Prospects:
    """`run` belongs into the leader's TaskGroup."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._entries: dict[Key, _Entry] = {}
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = self._ports.clock()
                for key, entry in list(self._entries.items()):
                    if not entry.busy and entry.due <= now:
                        entry.busy = True
                        group.create_task(self._measure(key, entry), name=f"traffic of {key[0]}/{key[1]}")
                waits = [e.due - now for e in self._entries.values() if not e.busy]
                try:
                    async with asyncio.timeout(max(0.1, min(waits, default=REFRESH))):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def forecast(self, resolved: Resolved) -> Forecast | None:
        """What is known, asked in each pass at rest; what was shown before, until the first measurement has ended."""
        key, about = resolved.canary.key, _about(resolved)
        entry = self._entries.get(key)
        if entry is None or entry.about != about:
            entry = self._entries[key] = _Entry(about, resolved)
            self._changed.set()
        entry.resolved = resolved
        return entry.found or resolved.canary.status.forecast

    def forget(self, key: Key) -> None:
        self._entries.pop(key, None)

    async def _measure(self, key: Key, entry: _Entry) -> None:
        """A fault in one measurement is logged and tried again: it must not end the others."""
        again = RETRY
        try:
            async with self._slots:
                live = self._ports.caches.canaries.store.get(*key)
                if live is None or self._entries.get(key) is not entry:
                    self._entries.pop(key, None) if live is None else None
                    return
                if live.status.phase not in REST:
                    return
                again = await self._remeasure(key, entry, live)
        except Exception:
            log.exception("the traffic of %s/%s cannot be measured", *key)
        finally:
            entry.busy = False
            entry.due = self._ports.clock() + again
            self._changed.set()

    async def _remeasure(self, key: Key, entry: _Entry, live: ours.Canary) -> float:
        counted = await self._counted(entry)
        shown = entry.found or live.status.forecast
        entry.found = steady(shown, _forecast(entry.resolved, counted), failed=counted.failed)
        if entry.found != shown:
            self._ports.wake(key)
        return REFRESH if counted.used is not None else RETRY

    async def _counted(self, entry: _Entry) -> _Counted:
        """Of every source; the pods' own counters say most, whoever has them."""
        found = [await self._of_source(entry, use) for use in entry.resolved.sources]
        if not found:
            return _Counted(why="there is no metric source")
        best = max(found, key=lambda c: (c.used is not None, c.own))
        by_name = {m.name: m for c in found for m in c.metrics}
        return msgspec.structs.replace(
            best,
            metrics=tuple(by_name[m.name] for m in entry.resolved.metrics if m.name in by_name),
            worst=max(c.worst for c in found),
            routers=tuple(r for c in found for r in c.routers),
            why=next((c.why for c in found if c.why), ""),
            failed=any(c.failed for c in found),
        )

    async def _of_source(self, entry: _Entry, use: SourceUse) -> _Counted:
        resolved = entry.resolved
        arm = baseline(self._ports.caches, resolved, use.item)
        if arm is None:
            return _Counted(why="there is no metric source")
        try:
            source = await source_of(use.item, self._ports.http, self._ports.secrets)
            found = await self._look(entry, source, arm, use.metrics)
            if not source.backfills and found.used is None and not found.why:
                await asyncio.sleep(interval_of(resolved))
                found = await self._look(entry, source, baseline(self._ports.caches, resolved, use.item) or arm, use.metrics)
        except (AnalysisError, SecretMissing, KubeError, ValueError) as e:
            return _Counted(why=str(e), failed=True)
        # What a business counts are no requests.
        return msgspec.structs.replace(found, used=None, own=False, worst=0.0) if use.item.spec.type == "Web" else found

    async def _look(self, entry: _Entry, source: MetricSource, arm: ArmTargets, metrics: Sequence[Metric]) -> _Counted:
        resolved = entry.resolved
        chosen: list[Chosen] = []
        failure: Failure | None = None
        for metric in metrics:
            found, failed = await self._choose(source, metric, resolved, arm)
            chosen.append((metric.name, found))
            failure = failure or failed
        pods = await self._of_the_pods(source, resolved, arm, chosen)
        queries = _queries(chosen, pods, arm)
        if source.backfills:
            queries |= {("router", name): Query(selector=selector) for name, selector in self._routers(resolved)}
        asked = list(queries.items())
        outcomes = await source.fetch([q for _, q in asked], at=self._ports.clock(), window=WINDOW, deadline=DEADLINE)
        answers = {at: outcome for (at, _), outcome in zip(asked, outcomes, strict=True)}
        return _count(entry, source, chosen, answers, failure)

    async def _choose(
        self, source: MetricSource, metric: Metric, resolved: Resolved, arm: ArmTargets
    ) -> tuple[AnyMetric | None, Failure | None]:
        """What the judge would take this metric to mean; None where the source has none of it."""
        answer = await resolve(source, candidates(metric, resolved), arm, now=self._ports.clock(), deadline=DEADLINE)
        return answer.metric, answer.failure

    async def _of_the_pods(self, source: MetricSource, resolved: Resolved, arm: ArmTargets, chosen: Sequence[Chosen]) -> RatioMetric | None:
        """A counter of the pods' own: one that is judged, or else (a router's is judged) one that the pods have besides."""
        own = next((m for _, m in chosen if isinstance(m, RatioMetric) and not m.arm_matchers), None)
        if own is not None or not any(m is not None for _, m in chosen):
            return own
        usual = [
            m
            for m in candidates(Metric(name="pods", preset="HTTPErrorRatio"), resolved)
            if isinstance(m, RatioMetric) and not m.arm_matchers
        ]
        return (await resolve(source, usual, arm, now=self._ports.clock(), deadline=DEADLINE)).metric

    def _routers(self, resolved: Resolved) -> list[tuple[str, Selector]]:
        """What counts the requests that a route sends to the Service, router by router."""
        if resolved.service is None or not resolved.scopes:
            return []
        return [("Traefik", Selector(TRAEFIK, router_arms(resolved)["Traefik"][BASELINE]))]


def _about(resolved: Resolved) -> bytes:
    """What the figures depend on besides the traffic."""
    named = (
        resolved.service.name if resolved.service else "",
        [(s.name, s.port) for s in resolved.scopes],
        [(u.item.key, u.item.metadata.resource_version) for u in resolved.sources],
        resolved.spec.analysis,
    )
    return msgspec.json.encode(named)


def _queries(chosen: Sequence[Chosen], pods: RatioMetric | None, arm: ArmTargets) -> dict[tuple[str, str], Query]:
    queries = {}
    for name, metric in chosen:
        if isinstance(metric, RatioMetric):
            queries["total", name] = _query(metric.total, metric, arm)
            queries["errors", name] = _query(metric.errors, metric, arm)
    if pods is not None:
        queries["pods", ""] = _query(pods.total, pods, arm)
    return queries


def _query(selector: Selector, metric: RatioMetric, arm: ArmTargets) -> Query:
    return Query(selector=selector.where(metric.arm_matchers.get(BASELINE, arm.matchers)), targets=arm.targets)


def _count(
    entry: _Entry,
    source: MetricSource,
    chosen: Sequence[Chosen],
    answers: dict[tuple[str, str], Outcome],
    failure: Failure | None,
) -> _Counted:
    read = {}
    for (kind, name), outcome in answers.items():
        failure = failure or (outcome if isinstance(outcome, Failure) else None)
        series = outcome.series if isinstance(outcome, Samples | Partial) else ()
        read[kind, name] = series if source.backfills else entry.looks.join(f"{kind} {name}", series)
    own = ("pods", "") in read
    found = {name: usage(read["total", name], read.get(("errors", name), ())) for kind, name in read if kind == "total"}
    usages = [u for u in found.values() if u is not None]
    missing = next((name for name, metric in chosen if metric is None), "")
    why = failure.message if failure is not None else f"metric {missing} is not found at the source" if missing and not usages else ""
    return _Counted(
        metrics=tuple(
            ForecastMetric(name=name, counter=str(next(iter(metric.selectors.values())))[:TEXT] if metric else "")
            for name, metric in chosen
        ),
        used=usage(read["pods", ""]) if own else next(iter(usages), None),
        own=own,
        worst=max((u.error_ratio for name, metric in chosen if is_error_ratio(metric) and (u := found.get(name))), default=0.0),
        routers=tuple((n, u) for (k, n), series in read.items() if k == "router" and (u := usage(series)) is not None),
        why=why,
        failed=failure is not None,
    )


def _forecast(resolved: Resolved, counted: _Counted) -> Forecast:
    metrics = list(counted.metrics)
    if counted.used is None:
        unseen = "its counters were seen once only" if metrics else "no metric of its pods is compared"
        why = (counted.why or unseen)[:TEXT]
        return Forecast(traffic_unknown=why, coverage_unknown=why if resolved.scopes else "", metrics=metrics)
    rate = figure(counted.used.per_second)
    share, by, unknown = _coverage(resolved, counted, counted.used) if resolved.scopes else (None, None, "")
    return Forecast(
        requests_per_second=rate,
        error_percent=figure(100 * counted.worst),
        coverage_percent=share,
        counted_by=by,
        coverage_unknown=unknown,
        metrics=metrics,
    )


def _coverage(resolved: Resolved, counted: _Counted, pods: Usage) -> tuple[int | None, str | None, str]:
    """(percent, by whose counters, or why it is not known): what the router sent, of what the pods counted."""
    if resolved.sources and all(u.item.spec.type != "Prometheus" for u in resolved.sources):
        named = ", ".join(u.item.name for u in resolved.sources)
        return None, None, f"MetricSource {named} reads the pods alone, and only a router's counters tell"
    if not counted.own:
        return None, None, "the pods have no counter of their own that Linnet knows"
    if not counted.routers:
        return None, None, "the source has no counters of a router that Linnet knows (Traefik)"
    if pods.requests <= 0:
        return None, None, "the pods counted no requests in the last minutes"
    by, most = max(counted.routers, key=lambda found: found[1].per_second)
    share = most.per_second / pods.per_second
    if share > ABOVE:
        return None, None, f"{by} counts {figure(most.per_second):g} requests/s to the Service, its pods only {figure(pods.per_second):g}"
    return min(100, round(100 * share)), by, ""
