"""New Relic: NRQL through NerdGraph. For templates: what NRDB answers is aggregated over its own windows.

As users of Argo Rollouts know it: one row is a map (`result.errors`), several (FACET, TIMESERIES) are a list of maps. NerdGraph answers
200 whatever happens: errors and the database's own messages are in the body, and an answer that has them is no value.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from analyzers.sources.protocol import Failure, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, ask, incomplete, not_metrics, refused, unusable

URL: Final = "https://api.newrelic.com/graphql"
SHORTEST: Final = 5
"""Seconds; NerdGraph gives a query no less time."""
DOCUMENT: Final = (
    "query($account: Int!, $nrql: Nrql!, $timeout: Seconds) "
    "{ actor { account(id: $account) { nrql(query: $nrql, timeout: $timeout) { results metadata { messages facets } } } } }"
)
_MEANS: Final = {
    401: ("UNAUTHORIZED", "UNAUTHENTICATED", "API_KEY"),
    403: ("ACCESS_DENIED", "FORBIDDEN"),
    429: ("TOO_MANY", "RATE_LIMIT", "THROTTL"),
    503: ("TIMEOUT", "SERVER_ERROR", "INTERNAL", "UNAVAILABLE"),
}
"""What the class of an error stands for; any other is the query's."""


class NewRelicOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which account, by whose user key."""

    account_id: int
    api_key: str
    url: str = URL

    def __repr__(self) -> str:
        """Without the key: options end up in logs and tracebacks."""
        return f"NewRelicOptions(account_id={self.account_id}, url={self.url!r})"


class _Metadata(msgspec.Struct):
    messages: list[str] | None = None
    facets: list[str] | None = None


class _Found(msgspec.Struct):
    results: list[dict[str, Any]] | None = None
    metadata: _Metadata | None = None


class _Account(msgspec.Struct):
    nrql: _Found | None = None


class _Actor(msgspec.Struct):
    account: _Account | None = None


class _Data(msgspec.Struct):
    actor: _Actor | None = None


class _Error(msgspec.Struct):
    message: str = ""
    extensions: dict[str, Any] | None = None

    @property
    def word(self) -> str:
        """Its class, in whichever of the two places."""
        more = self.extensions or {}
        return str(more.get("errorClass") or more.get("code") or "")

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.word, self.message)))


class _Answer(msgspec.Struct):
    data: _Data | None = None
    errors: list[_Error] | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class NewRelicSource:
    """Asks one account; the query says its own window (`SINCE 5 minutes ago`)."""

    def __init__(self, options: NewRelicOptions, http: HttpClient) -> None:
        self._options, self._http = options, http

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        """`at` is the query's own business."""
        timeout = max(SHORTEST, math.floor(deadline))
        body = {"query": DOCUMENT, "variables": {"account": self._options.account_id, "nrql": query, "timeout": timeout}}
        headers = {"Content-Type": "application/json", "Accept": "application/json", "API-Key": self._options.api_key}
        reply = await ask(self._http, "POST", self._options.url, headers=headers, data=msgspec.json.encode(body), deadline=deadline)
        return reply if isinstance(reply, Failure) else read_nrql(reply, query)


def build(options: NewRelicOptions, http: HttpClient) -> NewRelicSource:
    return NewRelicSource(options, http)


def read_nrql(reply: HttpReply, query: str) -> ValueOutcome:
    """Pure: the rows of an answer."""
    try:
        answer = _ANSWER.decode(reply.body)
    except msgspec.MsgspecError:
        return refused(reply, asked=query) if reply.status != 200 else not_metrics(reply)
    said = "; ".join(map(str, answer.errors or ()))
    if reply.status != 200:
        return refused(reply, said=said, asked=query)
    if answer.errors:
        words = " ".join(e.word.upper() for e in answer.errors)
        means = next((status for status, marks in _MEANS.items() if any(mark in words for mark in marks)), 400)
        return refused(reply, said=said, asked=query, means=means)
    account = answer.data.actor.account if answer.data and answer.data.actor else None
    if account is None or account.nrql is None or account.nrql.results is None:
        return not_metrics(reply)
    return _value_of(account.nrql.results, account.nrql.metadata or _Metadata(), query)


def _value_of(rows: list[dict[str, Any]], metadata: _Metadata, query: str) -> ValueOutcome:
    if metadata.messages:
        return incomplete("; ".join(metadata.messages), query)
    if len(rows) > MOST_VALUES:
        return unusable(f"{query} returns {len(rows)} rows, at most {MOST_VALUES} are read: LIMIT it")
    named = {"facet", "beginTimeSeconds", "endTimeSeconds", *(metadata.facets or ())}
    if all(value is None for row in rows for name, value in row.items() if name not in named):
        return Value(value=[])
    return Value(value=rows[0] if len(rows) == 1 else rows)
