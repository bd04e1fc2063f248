"""Graphite: what a target renders to, as the numbers of the last minutes. For templates: what it keeps is summed over pods.

A query is a target, or the well-known form of a whole query string, `target=...&from=-2min`. Intervals that hold nothing (null)
are left out: Graphite answers with them wherever nothing was stored, and they are no zero.
"""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from analyzers.sources.login import Login, request_headers
from analyzers.sources.protocol import Failure, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, ask, not_metrics, refused, unusable

WINDOW: Final = "-5min"
_OWN: Final = frozenset({"format", "jsonp", "maxDataPoints"})


class GraphiteOptions(Login, frozen=True, kw_only=True):
    """Where graphite-web is, and how to sign in."""


class _Series(msgspec.Struct):
    datapoints: list[tuple[float | None, float]] = []


_ANSWER: Final = msgspec.json.Decoder(list[_Series])


class GraphiteSource:
    """Renders targets, one request for a query."""

    def __init__(self, options: GraphiteOptions, http: HttpClient) -> None:
        self._options, self._http = options, http
        self._headers = request_headers(options)

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        """The numbers of the window in the order of time, series after series; none where nothing was stored."""
        form = form_of(query, at)
        if form is None:
            return unusable(f"{query!r} names no target: write sumSeries(...) or target=sumSeries(...)&from=-2min")
        url = f"{self._options.url.rstrip('/')}/render"
        reply = await ask(self._http, "POST", url, headers=self._headers, data=urlencode(form).encode(), deadline=deadline)
        return reply if isinstance(reply, Failure) else read_render(reply, query)


def build(options: GraphiteOptions, http: HttpClient) -> GraphiteSource:
    return GraphiteSource(options, http)


def form_of(query: str, at: float) -> list[tuple[str, str]] | None:
    """The fields of a render; None without a target. Where it is not said, the last five minutes until `at` are asked for."""
    text = query.strip().removeprefix("?")
    said = parse_qsl(text) if text.startswith(("target=", "from=", "until=")) else [("target", text)]
    form = [(name, value) for name, value in said if name not in _OWN]
    names = {name for name, _ in form}
    if not any(value.strip() for name, value in form if name == "target"):
        return None
    form += [] if "from" in names else [("from", WINDOW)]
    form += [] if "until" in names else [("until", str(math.floor(at)))]
    return [*form, ("format", "json")]


def read_render(reply: HttpReply, query: str) -> ValueOutcome:
    """Pure: a render as the numbers in it."""
    if reply.status != 200:
        return refused(reply, asked=query)
    try:
        series = _ANSWER.decode(reply.body)
    except msgspec.MsgspecError:
        return not_metrics(reply)
    values = [value for one in series for value, _ in one.datapoints if value is not None]
    if len(values) > MOST_VALUES:
        return unusable(f"{query} returns {len(values)} numbers, at most {MOST_VALUES} are read: summarize them")
    return Value(value=values)
