"""Datadog: the newest point of a metrics query. For templates: what it keeps is summed over hosts and rounded to intervals.

One series is one number, a grouped query a list of them, no data is nothing (None), as users of Argo Rollouts know it.
"""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import urlencode

import msgspec

from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, ask, not_metrics, refused, unusable

SITE: Final = "https://api.datadoghq.com"
WINDOW: Final = 300.0


class DatadogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which site, and both keys that a query needs."""

    url: str = SITE
    api_key: str
    application_key: str

    def __repr__(self) -> str:
        """Without the secrets: options end up in logs and tracebacks."""
        return f"DatadogOptions(url={self.url!r})"


class _Series(msgspec.Struct):
    pointlist: list[tuple[float, float | None]] = []


class _Answer(msgspec.Struct):
    status: str
    series: list[_Series] = []
    error: str = ""


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class DatadogSource:
    """Asks the timeseries of the last five minutes."""

    def __init__(self, options: DatadogOptions, http: HttpClient) -> None:
        self._options, self._http = options, http

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        window = {"from": math.floor(at - WINDOW), "to": math.floor(at), "query": query}
        url = f"{self._options.url.rstrip('/')}/api/v1/query?{urlencode(window)}"
        headers = {"Accept": "application/json", "DD-API-KEY": self._options.api_key, "DD-APPLICATION-KEY": self._options.application_key}
        reply = await ask(self._http, "GET", url, headers=headers, deadline=deadline)
        return reply if isinstance(reply, Failure) else read_series(reply, query)


def build(options: DatadogOptions, http: HttpClient) -> DatadogSource:
    return DatadogSource(options, http)


def read_series(reply: HttpReply, query: str) -> ValueOutcome:
    """Pure: each series' newest number; a point may be null where nothing arrived yet."""
    if reply.status != 200:
        return refused(reply, asked=query)
    try:
        answer = _ANSWER.decode(reply.body)
    except msgspec.MsgspecError:
        return not_metrics(reply)
    if answer.status != "ok":
        message = f"{answer.error or answer.status} ({query})"
        return Failure(kind=FailureKind.SERVER_ERROR, retryable=True, message=message)
    if len(answer.series) > MOST_VALUES:
        return unusable(f"{query} returns {len(answer.series)} series, at most {MOST_VALUES} are read: group by less")
    newest = [numbers[-1] for s in answer.series if (numbers := [v for _, v in s.pointlist if v is not None])]
    return Value(value=(newest[0] if newest else None) if len(answer.series) < 2 else newest)
