"""Direct scrape: the pods' own metrics pages, read by us. Needs no metric server, keeps no history.

Every page read is stamped with the grid point it was read for; both arms are read at the same moment, and nothing can
come late, so a tick is final as soon as its pages are in.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from analyzers.series import RawSeries, Sample
from analyzers.sources.protocol import Failure, FailureKind, HttpClient, NoData, Outcome, Query, Samples, Target

CONCURRENT: Final = 16
PAGE_LIMIT: Final = 16 * 1024 * 1024
_LINE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABEL: Final = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


class ScrapeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Headers that the pods want (a bearer token, say)."""

    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"ScrapeOptions(headers={sorted(self.headers)})"


class Line(msgspec.Struct, frozen=True):
    name: str
    labels: dict[str, str]
    value: float


class ScrapeSource:
    """Reads each target once per fetch, however many selectors want it."""

    settle_scrapes = 0
    ingestion_delay = 0.0
    backfills = False

    def __init__(self, options: ScrapeOptions, http: HttpClient) -> None:
        self._options, self._http = options, http
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        targets = {t.url: t for q in queries for t in q.targets}
        wanted = wanted_names(q.selector.name for q in queries)
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(self._page(t, wanted, deadline)) for url, t in targets.items()}
        pages = {url: task.result() for url, task in tasks.items()}
        return [_select(q, pages, at) for q in queries]

    async def _page(self, target: Target, wanted: frozenset[str], deadline: float) -> list[Line] | Failure:
        """One page, or why not; the deadline is each target's own, a slow one delays no other."""
        async with self._slots:
            try:
                headers = {"Accept": "text/plain; version=0.0.4", **self._options.headers}
                reply = await self._http.request("GET", target.url, headers=headers, data=None, deadline=deadline)
            except TimeoutError:
                return Failure(kind=FailureKind.TIMEOUT, retryable=True, message=f"{target.url} did not answer within {deadline:g} s")
            except OSError as error:
                return Failure(kind=FailureKind.UNREACHABLE, retryable=True, message=f"{target.url} cannot be reached: {error}")
        if reply.status != 200:
            return _refused(target, reply.status)
        if reply.body.lstrip()[:1] == b"<":
            return Failure(
                kind=FailureKind.NOT_METRICS, retryable=False, message=f"{target.url} answered with an HTML page, not with metrics"
            )
        if len(reply.body) > PAGE_LIMIT:
            return Failure(
                kind=FailureKind.NOT_METRICS,
                retryable=False,
                message=f"{target.url} is {len(reply.body)} bytes long, at most {PAGE_LIMIT} are read",
            )
        return parse_page(reply.body.decode("utf-8", "replace"), wanted)


def build(options: ScrapeOptions, http: HttpClient) -> ScrapeSource:
    return ScrapeSource(options, http)


def _refused(target: Target, status: int) -> Failure:
    kinds = {401: FailureKind.UNAUTHORIZED, 403: FailureKind.FORBIDDEN, 429: FailureKind.RATE_LIMITED}
    kind = kinds.get(status, FailureKind.SERVER_ERROR if status >= 500 else FailureKind.NOT_METRICS)
    return Failure(kind=kind, retryable=status >= 500 or status == 429, message=f"{target.url} answered HTTP {status}")


def wanted_names(names: Iterable[str]) -> frozenset[str]:
    """The counters, the lines that say when they began, and the process start."""
    names = set(names)
    return frozenset(names | {_created_name(n) for n in names} | {"process_start_time_seconds"})


def _created_name(name: str) -> str:
    return re.sub(r"_(total|count|sum|bucket)$", "", name) + "_created"


def parse_page(text: str, wanted: frozenset[str]) -> list[Line]:
    """The wanted lines of a page in the Prometheus text format; comments and everything else are passed over unread."""
    lines = []
    for raw in text.splitlines():
        name = raw.partition("{")[0].partition(" ")[0].strip()
        if name not in wanted:
            continue
        found = _LINE.fullmatch(raw.partition(" # ")[0].strip())
        if found is None:
            continue
        try:
            value = float(found.group(3))
        except ValueError:
            continue
        if math.isfinite(value):
            lines.append(Line(name, dict(_labels(found.group(2) or "")), value))
    return lines


def _labels(text: str) -> Iterable[tuple[str, str]]:
    for found in _LABEL.finditer(text):
        yield found.group(1), re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m.group(1), m.group(1)), found.group(2))


def _select(query: Query, pages: dict[str, list[Line] | Failure], at: float) -> Outcome:
    """A page without the counter is an answer; an arm of which no page could be read is a failure."""
    failures = {t.pod: page for t in query.targets if isinstance(page := pages[t.url], Failure)}
    if query.targets and len(failures) == len(query.targets):
        return next(iter(failures.values()))
    series: list[RawSeries] = []
    for target in query.targets:
        page = pages[target.url]
        if not isinstance(page, Failure):
            series.extend(_target_series(query, target, page, at))
    if not series:
        return NoData(message=f"{query.selector} is on none of {len(query.targets)} metrics pages")
    return Samples(series=tuple(series), missing=tuple(sorted(failures)))


def _target_series(query: Query, target: Target, page: list[Line], at: float) -> Iterable[RawSeries]:
    created = {tuple(sorted(x.labels.items())): x.value for x in page if x.name == _created_name(query.selector.name)}
    process = next((x.value for x in page if x.name == "process_start_time_seconds"), None)
    identity = {"pod": target.pod, "instance": target.address}
    for line in page:
        if line.name == query.selector.name and query.selector.accepts({**line.labels, **identity}):
            started = created.get(tuple(sorted(line.labels.items())), process if process is not None else target.started_at)
            yield RawSeries(labels={**line.labels, **identity}, samples=(Sample(at, line.value),), started_at=started)
