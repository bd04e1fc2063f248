"""Splunk Observability (SignalFx): a SignalFlow program over the last minutes. For templates: it keeps rollups of each interval.

The program runs to its end at once and answers with server-sent events; what is published is read as each series' newest number. The
stream says itself that it is complete: one that breaks off, is aborted, or looked at only some of the series it matched is not all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from analyzers.sources.protocol import Failure, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, ask, excerpt, incomplete, not_metrics, refused, unusable

WINDOW: Final = 300.0
EVENTS: Final = frozenset({"control-message", "message", "metadata", "data", "error", "event", "expired-tsid"})
_LINE_ENDS: Final = re.compile(r"\r\n|\n|\r")
LIMITED: Final = "FIND_LIMITED_RESULT_SET"


class SplunkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which realm's stream, by whose token."""

    realm: str
    token: str
    url: str = ""
    window: float = WINDOW

    @property
    def endpoint(self) -> str:
        return self.url.rstrip("/") or f"https://stream.{self.realm}.signalfx.com"

    def __repr__(self) -> str:
        """Without the token: options end up in logs and tracebacks."""
        return f"SplunkOptions(realm={self.realm!r}, url={self.url!r})"


class _Datum(msgspec.Struct, rename="camel"):
    ts_id: str
    value: float | None = None


class _Batch(msgspec.Struct, rename="camel"):
    logical_timestamp_ms: float
    data: list[_Datum] = []


class _Told(msgspec.Struct):
    message: str = ""


class _Broken(Exception):
    """The stream says that it is not all."""


class _Rejected(ValueError):
    """The program cannot run."""


class SplunkSource:
    """Runs a program over a window that has ended."""

    def __init__(self, options: SplunkOptions, http: HttpClient) -> None:
        self._options, self._http = options, http

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        window = {"start": math.floor((at - self._options.window) * 1000), "stop": math.floor(at * 1000), "immediate": "True"}
        url = f"{self._options.endpoint}/v2/signalflow/execute?{urlencode(window)}"
        headers = {"Content-Type": "text/plain", "Accept": "text/event-stream", "X-SF-Token": self._options.token}
        reply = await ask(self._http, "POST", url, headers=headers, data=query.encode(), deadline=deadline)
        return reply if isinstance(reply, Failure) else read_stream(reply, query)


def build(options: SplunkOptions, http: HttpClient) -> SplunkSource:
    return SplunkSource(options, http)


def read_stream(reply: HttpReply, query: str) -> ValueOutcome:
    """Pure: the newest number of each series that a program published."""
    if reply.status != 200:
        return refused(reply, said=_said(reply), asked=query)
    events = list(events_of(reply.body.decode("utf-8", "replace")))
    if not any(name in EVENTS for name, _ in events):
        return not_metrics(reply)
    try:
        newest = _newest(events)
    except _Broken as error:
        return incomplete(str(error), query)
    except _Rejected as error:
        return unusable(f"{error} ({query})")
    except (msgspec.MsgspecError, TypeError, KeyError, AttributeError) as error:
        return unusable(f"{query}: the answer cannot be read: {error}")
    if len(newest) > MOST_VALUES:
        return unusable(f"{query} publishes {len(newest)} series, at most {MOST_VALUES} are read: aggregate them")
    return Value(value=newest)


def events_of(text: str) -> Iterator[tuple[str, str]]:
    """Name and data of each server-sent event; one ends with an empty line."""
    name, data = "", list[str]()
    for line in [*_LINE_ENDS.split(text), ""]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not line:
            if data:
                yield name, "\n".join(data)
            name, data = "", []


def _newest(events: list[tuple[str, str]]) -> list[float]:
    found: dict[str, tuple[float, float]] = {}
    ended = False
    for name, data in events:
        if name == "data":
            batch = msgspec.json.decode(data, type=_Batch)
            for one in batch.data:
                if one.value is not None and batch.logical_timestamp_ms >= found.get(one.ts_id, (0.0, 0.0))[0]:
                    found[one.ts_id] = (batch.logical_timestamp_ms, one.value)
        elif name == "error":
            raise _Rejected("; ".join(_words(error) for error in msgspec.json.decode(data).get("errors", ())) or data[:200])
        elif name == "message":
            _limits(msgspec.json.decode(data).get("message") or {})
        elif name == "control-message":
            ended = _ends(msgspec.json.decode(data)) or ended
    if not ended:
        raise _Broken("the stream broke off before its end")
    return [value for _, value in found.values()]


def _ends(message: dict[str, Any]) -> bool:
    if message.get("event") == "CHANNEL_ABORT":
        info = message.get("abortInfo") or {}
        raise _Broken(
            f"the computation was aborted: {info.get('sf_job_abortReason') or info.get('sf_job_abortState') or 'no reason given'}"
        )
    return message.get("event") == "END_OF_CHANNEL"


def _limits(message: dict[str, Any]) -> None:
    if message.get("messageCode") == LIMITED:
        size = message.get("contents") or {}
        raise _Broken(f"{LIMITED}: {size.get('matchedSize')} series match, {size.get('limitSize')} were looked at")


def _words(error: dict[str, Any]) -> str:
    context = error.get("context") or {}
    return ": ".join(filter(None, (str(error.get("code") or ""), str(context.get("message") or error.get("message") or ""))))


def _said(reply: HttpReply) -> str:
    try:
        return msgspec.json.decode(reply.body, type=_Told).message
    except msgspec.MsgspecError:
        return excerpt(reply.body)
