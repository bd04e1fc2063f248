"""Single values for threshold templates: a PromQL instant query, or a JSON document behind HTTP.

Unlike the counters that arms are compared by, a value here may be anything a condition can look at; NaN and infinities stay what
they are, since a condition may ask for them. What the server itself calls incomplete is a failure, never a value.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import msgspec

from analyzers.sources.prometheus import PrometheusOptions, request_headers
from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply
from analyzers.sources.replies import ask, excerpt, not_metrics, refused, retry_after
from analyzers.templates import paths
from analyzers.templates.errors import PathError
from analyzers.templates.functions import Absent

MOST_VALUES: Final = 10_000
LONGEST: Final = 1 << 20  # bytes of a web answer


class Value(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was measured: a number, a list of numbers, or decoded JSON; an empty list or None where there is nothing."""

    value: Any


ValueOutcome: TypeAlias = Value | Failure


class WebRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a web check. `conditioned`: something looks at the answer, not only at its status."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: str | None = None
    json_path: str = ""
    conditioned: bool = True
    deadline: float = 10.0

    def __repr__(self) -> str:
        """Without headers and query, where secrets are."""
        return f"WebRequest(url={shown_url(self.url)!r}, method={self.method!r})"


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: Any = None


class _Answer(msgspec.Struct, rename="camel"):
    status: str = ""
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []
    is_partial: bool = False


async def prometheus_value(options: PrometheusOptions, query: str, http: HttpClient, *, at: float, deadline: float) -> ValueOutcome:
    """The values of an instant query: a list for a vector, one number for a scalar."""
    form = {"query": query, "time": f"{at:.3f}", "timeout": f"{deadline:.3f}", **options.parameters}
    url = f"{options.url.rstrip('/')}/api/v1/query"
    reply = await ask(http, "POST", url, headers=request_headers(options), data=urlencode(form).encode(), deadline=deadline)
    return reply if isinstance(reply, Failure) else read_instant(reply, query)


def read_instant(reply: HttpReply, query: str) -> ValueOutcome:
    """Pure: the reply of an instant query as a value."""
    try:
        answer = msgspec.json.decode(reply.body, type=_Answer)
    except msgspec.MsgspecError:
        answer = None
    if reply.status != 200:
        return refused(reply, said=answer.error if answer else "", asked=query)
    if answer is None:
        return not_metrics(reply)
    if answer.status != "success" or answer.data is None:
        return _unusable(f"{answer.error or 'no data'} ({query})")
    if answer.warnings or answer.is_partial:
        return Failure(
            kind=FailureKind.SERVER_ERROR, retryable=True, message=f"the answer is incomplete: {'; '.join(answer.warnings) or 'isPartial'}"
        )
    return _value_of(answer.data, query)


def _value_of(data: _Data, query: str) -> ValueOutcome:
    try:
        if data.result_type == "scalar":
            return Value(value=float(data.result[1]))
        if data.result_type != "vector":
            return _unusable(f"{query} returns a {data.result_type or 'nameless type'}: ask for one moment, not for a range")
        if len(data.result) > MOST_VALUES:
            return _unusable(f"{query} returns {len(data.result)} series, at most {MOST_VALUES} are read: aggregate them")
        values = [float(series["value"][1]) for series in data.result]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        return _unusable(f"{query}: the answer cannot be read: {type(error).__name__}: {error}")
    return Value(value=values)


def _unusable(message: str) -> Failure:
    return Failure(kind=FailureKind.BAD_QUERY, retryable=False, message=message[:1000])


async def web_value(request: WebRequest, http: HttpClient) -> ValueOutcome:
    """What a web check answers."""
    data = None if request.body is None else request.body.encode()
    reply = await ask(http, request.method, request.url, headers=request.headers, data=data, deadline=request.deadline, same_clock=False)
    if isinstance(reply, Failure):
        return msgspec.structs.replace(reply, message=reply.message.replace(request.url, shown_url(request.url)))
    return read_web(reply, request)


def read_web(reply: HttpReply, request: WebRequest) -> ValueOutcome:
    """Pure: a status other than 2xx is a failure, whatever it says; then JSON, what the path leads to, or the text as it is."""
    if not 200 <= reply.status < 300:
        return _bad_status(reply, request)
    if len(reply.body) > LONGEST:
        return Failure(
            kind=FailureKind.TOO_MUCH, retryable=False, message=f"{shown_url(request.url)} answered with more than {LONGEST} bytes"
        )
    try:
        value = msgspec.json.decode(reply.body)
    except msgspec.MsgspecError:
        return _text(reply, request)
    try:
        found = paths.follow(paths.parse(request.json_path), value)
    except Absent:
        return Value(value=None)
    except PathError as error:
        return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=str(error))
    return Value(value=found)


def _bad_status(reply: HttpReply, request: WebRequest) -> Failure:
    """A status that is none of 2xx; only the word of the server itself is repeated."""
    said = excerpt(reply.body)
    redirect = ", and redirects are not followed" if 300 <= reply.status < 400 else ""
    message = f"{shown_url(request.url)} answered with HTTP {reply.status}{redirect}{': ' + said if said else ''}"
    retryable = reply.status == 429 or reply.status >= 500
    kind = FailureKind.RATE_LIMITED if reply.status == 429 else FailureKind.SERVER_ERROR if reply.status >= 500 else FailureKind.BAD_QUERY
    return Failure(kind=kind, retryable=retryable, message=message, retry_after=retry_after(reply))


def _text(reply: HttpReply, request: WebRequest) -> ValueOutcome:
    """An answer that is no JSON: empty is nothing, a page of HTML is taken for a login form unless a condition looks at it."""
    if not reply.body.strip():
        return Value(value=None)
    if request.json_path:
        return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=f"{shown_url(request.url)} did not answer with JSON")
    if not request.conditioned and reply.body.lstrip()[:1] == b"<":
        text = f"{shown_url(request.url)} answered with an HTML page (a login form?): say in successCondition what it must contain"
        return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=text)
    return Value(value=reply.body.decode("utf-8", "replace"))


def shown_url(url: str) -> str:
    """An address without its query, which may hold what is nobody's business."""
    return url.partition("?")[0]
