"""Dynatrace: a metric selector through the Metrics API v2. For templates: it keeps aggregates of each minute.

A query is a selector, asked for one value of the whole window (`resolution=Inf`), or the well-known form of a whole query string,
`metricSelector=...&resolution=1m&from=now-10m`; either way the answer is each series' newest number. Intervals that hold nothing are
null there, and no zero; an answer with warnings (a limit that was reached, say) is not all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from analyzers.sources.protocol import Failure, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, ask, incomplete, not_metrics, refused, unusable, within

WINDOW: Final = 300.0
MOST_PAGES: Final = 20
SELECTOR: Final = "metricSelector"


class DynatraceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which environment, by whose token."""

    url: str
    token: str
    window: float = WINDOW

    def __repr__(self) -> str:
        """Without the token: options end up in logs and tracebacks."""
        return f"DynatraceOptions(url={self.url!r})"


class _Series(msgspec.Struct):
    values: list[float | None]


class _Collection(msgspec.Struct, rename="camel"):
    metric_id: str = ""
    data: list[_Series] = []
    warnings: list[str] | None = None


class _Page(msgspec.Struct, rename="camel"):
    result: list[_Collection]
    next_page_key: str | None = None
    warnings: list[str] | None = None


class _Error(msgspec.Struct):
    message: str = ""


class _Told(msgspec.Struct):
    error: _Error | None = None


_PAGE: Final = msgspec.json.Decoder(_Page)


class DynatraceSource:
    """Asks one environment; each page is a request of its own."""

    def __init__(self, options: DynatraceOptions, http: HttpClient) -> None:
        self._options, self._http = options, http

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        form = form_of(query, at, self._options.window)
        if form is None:
            return unusable(f"{query!r} names no metric: write builtin:service.errors.total.count:splitBy():sum or {SELECTOR}=...")
        return await within(deadline, self._options.url, self._pages(query, form, deadline))

    async def _pages(self, query: str, form: list[tuple[str, str]], deadline: float) -> ValueOutcome:
        headers = {"Authorization": f"Api-Token {self._options.token}", "Accept": "application/json"}
        read: list[_Page] = []
        while len(read) < MOST_PAGES:
            url = f"{self._options.url.rstrip('/')}/api/v2/metrics/query?{urlencode(form)}"
            reply = await ask(self._http, "GET", url, headers=headers, deadline=deadline)
            page = reply if isinstance(reply, Failure) else read_page(reply, query)
            if isinstance(page, Failure):
                return page
            read.append(page)
            if not page.next_page_key:
                return value_of(read, query)
            form = [("nextPageKey", page.next_page_key)]
        return unusable(f"{query} has more than {MOST_PAGES} pages: split it by fewer dimensions")


def build(options: DynatraceOptions, http: HttpClient) -> DynatraceSource:
    return DynatraceSource(options, http)


def form_of(query: str, at: float, window: float) -> list[tuple[str, str]] | None:
    """The parameters of a query; None without a selector."""
    text = query.strip().removeprefix("?")
    whole = text.startswith((f"{SELECTOR}=", "resolution=", "from=", "to=", "entitySelector=", "mzSelector="))
    form = parse_qsl(text) if whole else [(SELECTOR, text)]
    names = dict(form)
    if not names.get(SELECTOR, "").strip():
        return None
    usual = {"resolution": "Inf"}
    if "from" not in names and "to" not in names:
        usual |= {"from": str(math.floor((at - window) * 1000)), "to": str(math.floor(at * 1000))}
    return [*form, *((name, value) for name, value in usual.items() if name not in names)]


def read_page(reply: HttpReply, query: str) -> _Page | Failure:
    """Pure: one page, or why it is none."""
    if reply.status != 200:
        try:
            told = msgspec.json.decode(reply.body, type=_Told).error
        except msgspec.MsgspecError:
            told = None
        return refused(reply, said=told.message if told else "", asked=query)
    try:
        return _PAGE.decode(reply.body)
    except msgspec.MsgspecError:
        return not_metrics(reply)


def value_of(pages: Iterable[_Page], query: str) -> ValueOutcome:
    """Pure: the pages as one answer."""
    found = [collection for page in pages for collection in page.result]
    said = [text for page in pages for text in page.warnings or ()] + [text for one in found for text in one.warnings or ()]
    if said:
        return incomplete("; ".join(said), query)
    series = [one for collection in found for one in collection.data]
    if len(series) > MOST_VALUES:
        return unusable(f"{query} returns {len(series)} series, at most {MOST_VALUES} are read: split it by fewer dimensions")
    return Value(value=[numbers[-1] for one in series if (numbers := [v for v in one.values if v is not None])])
