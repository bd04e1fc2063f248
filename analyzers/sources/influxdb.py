"""InfluxDB 2: the values of a Flux query, as the annotated CSV that it answers with.

The values of all tables become one list in their order, numbers as numbers; an error may come after the first tables, in a table
of its own and under status 200: what came before it is then not all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, ask, not_metrics, refused, unusable

NUMBERS: Final = frozenset({"double", "long", "unsignedLong"})
VALUE: Final = "_value"


class InfluxDBOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is, and whose buckets are read."""

    url: str
    org: str
    token: str

    def __repr__(self) -> str:
        """Without the token: options end up in logs and tracebacks."""
        return f"InfluxDBOptions(url={self.url!r}, org={self.org!r})"


class _Told(msgspec.Struct):
    """What the server says of a query that it refuses."""

    message: str = ""


class _Broken(ValueError):
    """The server ended the answer with an error."""


class InfluxDBSource:
    """Asks one organisation."""

    def __init__(self, options: InfluxDBOptions, http: HttpClient) -> None:
        self._options, self._http = options, http

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        """`at` is the query's own business: Flux says `range(start: -5m)`."""
        url = f"{self._options.url.rstrip('/')}/api/v2/query?{urlencode({'org': self._options.org})}"
        dialect = {"header": True, "annotations": ["datatype", "group", "default"]}
        body = msgspec.json.encode({"query": query, "type": "flux", "dialect": dialect})
        headers = {"Authorization": f"Token {self._options.token}", "Content-Type": "application/json", "Accept": "application/csv"}
        reply = await ask(self._http, "POST", url, headers=headers, data=body, deadline=deadline)
        return reply if isinstance(reply, Failure) else read_csv(reply, query)


def build(options: InfluxDBOptions, http: HttpClient) -> InfluxDBSource:
    return InfluxDBSource(options, http)


def read_csv(reply: HttpReply, query: str) -> ValueOutcome:
    """Pure: the values of every table of an answer."""
    if reply.status != 200:
        return refused(reply, said=_said(reply), asked=query)
    text = reply.body.decode("utf-8", "replace")
    if text.strip() and not text.lstrip().startswith("#datatype"):
        return not_metrics(reply)
    try:
        values = list(_values(csv.reader(io.StringIO(text))))
    except _Broken as error:
        return Failure(kind=FailureKind.SERVER_ERROR, retryable=True, message=f"the answer is incomplete: {error} ({query})")
    except (ValueError, csv.Error) as error:
        return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=f"{query}: the answer cannot be read: {error}")
    if len(values) > MOST_VALUES:
        return unusable(f"{query} returns {len(values)} values, at most {MOST_VALUES} are read: aggregate them")
    return Value(value=values)


def _said(reply: HttpReply) -> str:
    try:
        return msgspec.json.decode(reply.body, type=_Told).message
    except msgspec.MsgspecError:
        return ""


def _values(rows: Iterable[list[str]]) -> Iterator[Any]:
    """A table is annotations, a line of names, and records; another one begins with annotations anew."""
    types: list[str] = []
    defaults: list[str] = []
    names: list[str] = []
    for row in rows:
        if not any(row):
            continue
        if row[0].startswith("#"):
            types, defaults, names = (row, [], []) if row[0] == "#datatype" else (types, row if row[0] == "#default" else defaults, names)
        elif not names:
            names = row
            if VALUE not in names and "error" not in names:
                raise ValueError(f"a table has no column {VALUE}: it has {', '.join(n for n in names if n)}")
        elif "error" in names:
            raise _Broken(row[names.index("error")])
        else:
            yield _value(names.index(VALUE), row, types, defaults)


def _value(column: int, row: list[str], types: list[str], defaults: list[str]) -> Any:
    if column >= len(row) or column >= len(types):
        raise ValueError(f"a record of {len(row)} fields in a table of {len(types)}")
    text = row[column] or (defaults[column] if column < len(defaults) else "")
    if types[column] in NUMBERS:
        return float(text) if text else None
    return text == "true" if types[column] == "boolean" else text
