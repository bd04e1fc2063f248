"""Counts in a JSON document over HTTP: what a business knows of each version (orders, sign-ups), without SQL and without a Prometheus.

The document holds counts that only grow, of each version since any time: a number for each, or a list of records with a count and
whatever tells them apart, as a grouped query answers. Such a sum over pods is safe to follow, unlike one that a metric server makes: no
pod's end is taken out of it. Both versions are read at the same moment, and no past is kept, as with a direct scrape.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from analyzers.metrics import MatchOp
from analyzers.series import RawSeries, Sample
from analyzers.sources.login import Login, request_headers
from analyzers.sources.protocol import Failure, FailureKind, HttpClient, NoData, Outcome, Query, Samples
from analyzers.sources.replies import MOST_SERIES, ask, not_metrics, refused, too_much, unusable
from analyzers.templates import paths
from analyzers.templates.errors import PathError
from analyzers.templates.functions import Absent

HOLE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
VALUE: Final = "value"


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """Where a count is: a path in the answer to a number, or to records whose field `value` it is."""

    path: str = ""
    value: str = VALUE


class CountsOptions(Login, frozen=True, kw_only=True):
    """`counters` by the name that a metric uses.

    Words in double braces, in `path` and in the counters' paths, are what a metric's condition for the version says: `arm`, or a label of
    armLabels.
    """

    counters: dict[str, Counter]
    path: str = ""
    ingestion_delay: float = 0.0


class CountsSource:
    """Asks each address once per fetch, however many counters are read from what it says."""

    settle_scrapes = 0
    backfills = False

    def __init__(self, options: CountsOptions, http: HttpClient) -> None:
        self._options, self._http = options, http
        self._headers = {k: v for k, v in request_headers(options).items() if k != "Content-Type"}

    @property
    def ingestion_delay(self) -> float:
        return self._options.ingestion_delay

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        asked = [self._asked(q) for q in queries]
        urls = sorted({a for a in asked if isinstance(a, str)})
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(self._document(url, deadline)) for url in urls}
        documents = {url: task.result() for url, task in tasks.items()}
        stamp = at - self._options.ingestion_delay  # what is said now is what had happened until then
        return [a if isinstance(a, Failure) else self._select(q, documents[a], stamp) for q, a in zip(queries, asked, strict=True)]

    def _asked(self, query: Query) -> str | Failure:
        """The address for a query, or what is wrong with it."""
        if query.selector.name not in self._options.counters:
            there = ", ".join(sorted(self._options.counters))
            return unusable(f"the source has no counter {query.selector.name!r}: there are {there}; name one of its spec.web.counters")
        try:
            return self._options.url.rstrip("/") + fill(self._options.path, _said(query), quoted=True)
        except KeyError as error:
            return _unfilled(error)

    async def _document(self, url: str, deadline: float) -> Any:
        """The decoded answer, or why there is none."""
        reply = await ask(self._http, "GET", url, headers=self._headers, deadline=deadline)
        if isinstance(reply, Failure):
            return reply
        if reply.status != 200:
            return refused(reply)
        try:
            return msgspec.json.decode(reply.body)
        except msgspec.MsgspecError:
            return not_metrics(reply)

    def _select(self, query: Query, document: Any, at: float) -> Outcome:
        if isinstance(document, Failure):
            return document
        said, counter = _said(query), self._options.counters[query.selector.name]
        try:
            found = paths.follow(paths.parse(fill(counter.path, said)), document)
            records = list(_records(found, counter.value))
        except KeyError as error:
            return _unfilled(error)
        except Absent:
            return NoData(message=f"{query.selector}: null at {counter.path}")
        except (PathError, ValueError) as error:
            return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=f"{query.selector.name}: {error}"[:1000])
        if len(records) > MOST_SERIES:
            return too_much(f"{query.selector} has {len(records)} records, at most {MOST_SERIES} are read")
        own = {"instance": urlsplit(self._options.url).netloc, **{h: said[h] for h in holes(self._options.path + counter.path)}}
        series = tuple(
            RawSeries(labels={**own, **labels}, samples=(Sample(at, count),))
            for labels, count in records
            if query.selector.accepts({**own, **labels})
        )
        return Samples(series=series) if series else NoData(message=f"{query.selector} is in none of {len(records)} records")


def build(options: CountsOptions, http: HttpClient) -> CountsSource:
    return CountsSource(options, http)


def holes(text: str) -> list[str]:
    """The words in double braces."""
    return HOLE.findall(text)


def fill(text: str, said: Mapping[str, str], *, quoted: bool = False) -> str:
    """`text` with its holes filled; KeyError for one that no condition says anything of, or nothing that a path can hold."""

    def one(found: re.Match[str]) -> str:
        value = said[found[1]]
        if not quoted and PLAIN.fullmatch(value) is None:
            raise KeyError(found[1])
        return quote(value, safe="") if quoted else value

    return HOLE.sub(one, text)


def _said(query: Query) -> dict[str, str]:
    return {m.label: m.value for m in query.selector.matchers if m.op is MatchOp.EQUAL}


def _unfilled(error: KeyError) -> Failure:
    return unusable(
        f"{{{{{error.args[0]}}}}} is not said by any plain condition of the version: write {{{{arm}}}}, or give the metric armLabels"
    )


def _records(found: Any, value: str) -> Iterable[tuple[dict[str, str], float]]:
    """Labels and count of each record; a number stands for itself. ValueError for what is neither. A null counts nothing."""
    for record in found if isinstance(found, list) else [found]:
        labels: dict[str, str] = {}
        count = record
        if isinstance(record, dict):
            if value not in record:
                raise ValueError(f"a record has no {value!r}: it has {', '.join(sorted(record)) or 'nothing'}"[:300])
            count = record[value]
            # Texts alone: another count beside this one would be another label at every look.
            labels = {k: v for k, v in record.items() if k != value and isinstance(v, str)}
        if count is None:
            continue
        if isinstance(count, bool) or not isinstance(count, int | float) or not math.isfinite(count) or count < 0:
            raise ValueError(f"{count!r} is no count: a number from 0 up that only grows"[:300])
        yield labels, float(count)
