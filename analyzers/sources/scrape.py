"""Direct scrape: the pods' own metrics pages, read by us. Needs no metric server, keeps no history.

Every page read is stamped with the grid point it was read for; both arms are read at the same moment, and nothing can
come late, so a tick is final as soon as its pages are in.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from analyzers.metrics import MatchOp
from analyzers.series import RawSeries, Sample
from analyzers.sources.merging import plain
from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, NoData, Outcome, Query, Samples, Target
from analyzers.sources.replies import MOST_SERIES, ask, refused, too_much

CONCURRENT: Final = 16
SLACK: Final = 30.0
"""Seconds by which a pod's clock may be ahead before what it says of its start is not believed."""
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


class Page(NamedTuple):
    """The wanted lines of one pod, and by how many seconds its clock is ahead of ours."""

    lines: tuple[Line, ...]
    skew: float


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

    async def _page(self, target: Target, wanted: frozenset[str], deadline: float) -> Page | Failure:
        """One page, or why not; the deadline is each target's own, a slow one delays no other."""
        headers = {"Accept": "text/plain; version=0.0.4", **self._options.headers}
        async with self._slots:
            # The pod's clock stamps no sample: how far it is off is only needed to read when its counters began.
            reply = await ask(self._http, "GET", target.url, headers=headers, deadline=deadline, same_clock=False)
        if isinstance(reply, Failure):
            return reply
        if reply.status != 200:
            return _refused(target, reply)
        if reply.body.lstrip()[:1] == b"<":
            return _no_page(f"{target.url} answered with an HTML page, not with metrics")
        try:
            lines = parse_page(reply.body.decode("utf-8", "replace"), wanted)
        except ValueError as error:
            return _no_page(f"{target.url}: {error}")
        return Page(tuple(lines), reply.skew or 0.0)


def build(options: ScrapeOptions, http: HttpClient) -> ScrapeSource:
    return ScrapeSource(options, http)


def _refused(target: Target, reply: HttpReply) -> Failure:
    """A page that is not there is another matter than a query that is wrong."""
    failure = refused(reply)
    kind = FailureKind.NOT_METRICS if failure.kind is FailureKind.BAD_QUERY else failure.kind
    return msgspec.structs.replace(failure, kind=kind, message=f"{target.url} answered {failure.message}")


def _no_page(message: str) -> Failure:
    return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=message)


def wanted_names(names: Iterable[str]) -> frozenset[str]:
    """The counters, the lines that say when they began, and the process start."""
    names = set(names)
    return frozenset(names | {_created_name(n) for n in names} | {"process_start_time_seconds"})


def _created_name(name: str) -> str:
    return re.sub(r"_(total|count|sum|bucket)$", "", name) + "_created"


def parse_page(text: str, wanted: frozenset[str]) -> list[Line]:
    """The wanted lines of a page in the Prometheus text format; comments and everything else are passed over unread.

    ValueError for a wanted line that cannot be read: what is missing then may be the errors. A NaN is no count.
    """
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        name = raw.partition("{")[0].partition(" ")[0].strip()
        if name not in wanted:
            continue
        found = _LINE.fullmatch(raw.partition(" # ")[0].strip())
        try:
            value = float(found.group(3)) if found else None
        except ValueError:
            value = None
        if found is None or value is None:
            raise ValueError(f"line {number} is no metric: {raw[:80]!r}")
        if math.isfinite(value):
            lines.append(Line(name, dict(_labels(found.group(2) or "")), value))
    return lines


def _labels(text: str) -> Iterable[tuple[str, str]]:
    for found in _LABEL.finditer(text):
        yield found.group(1), re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m.group(1), m.group(1)), found.group(2))


def _select(query: Query, pages: Mapping[str, Page | Failure], at: float) -> Outcome:
    """A page without the counter is an answer; an arm of which no page could be read is a failure."""
    wild = next((m for m in query.selector.matchers if m.op in {MatchOp.REGEX, MatchOp.NOT_REGEX} and not plain(m.value)), None)
    if wild is not None:
        message = (
            f"{wild} is too intricate to be matched here: write letters, [sets], . * + | and groups without loops, or ask a Prometheus"
        )
        return Failure(kind=FailureKind.BAD_QUERY, retryable=False, message=message)
    failures = {t.pod: page for t in query.targets if isinstance(page := pages[t.url], Failure)}
    if query.targets and len(failures) == len(query.targets):
        return next(iter(failures.values()))
    series: list[RawSeries] = []
    for target in query.targets:
        page = pages[target.url]
        if not isinstance(page, Failure):
            series.extend(_target_series(query, target, page, at))
    if len(series) > MOST_SERIES:
        return too_much(f"{query.selector} has {len(series)} series on {len(query.targets)} metrics pages, at most {MOST_SERIES} are read")
    if not series:
        return NoData(message=f"{query.selector} is on none of {len(query.targets)} metrics pages")
    return Samples(series=tuple(series), missing=tuple(sorted(failures)))


def _target_series(query: Query, target: Target, page: Page, at: float) -> Iterable[RawSeries]:
    created = {tuple(sorted(x.labels.items())): x.value for x in page.lines if x.name == _created_name(query.selector.name)}
    process = next((x.value for x in page.lines if x.name == "process_start_time_seconds"), None)
    identity = {"pod": target.pod, "instance": target.address}
    for line in page.lines:
        if line.name == query.selector.name and query.selector.accepts({**line.labels, **identity}):
            said = (created.get(tuple(sorted(line.labels.items()))), process)
            ours = (x - page.skew for x in said if x is not None)
            # A start in the future is a clock that is off: it would make all that was ever counted new.
            started = next((x for x in ours if x <= at + SLACK), target.started_at)
            yield RawSeries(labels={**line.labels, **identity}, samples=(Sample(at, line.value),), started_at=started)
