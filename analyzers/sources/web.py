"""Single values behind HTTP: a JSON document, what a path in it leads to, or plain text. What a web check of a template asks.

It names its address itself, so there is no object of a source: only the request, and what of the answer is looked at.
"""

from __future__ import annotations

from typing import Final

import msgspec

from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import ask, excerpt, retry_after
from analyzers.templates import paths
from analyzers.templates.errors import PathError
from analyzers.templates.functions import Absent

LONGEST: Final = 1 << 20  # bytes of a web answer


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
