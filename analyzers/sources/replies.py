"""From an HTTP reply, or its absence, to a typed failure: the same words and the same patience for every source.

A status says whether asking again can help; an HTML page under status 200 is a login form; a server whose clock is far
from ours would give the samples of another hour for those of this tick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, ReplyTooLarge, ValueOutcome

MARGIN: Final = 1.0
"""Seconds by which the client outwaits the server, so that its own words on a timeout arrive."""
MOST_SKEW: Final = 120.0
"""Seconds between the server's clock and ours beyond which its samples are not of the time that was asked for."""
MOST_SERIES: Final = 20_000
"""More than this is a label without end; one tick of it would occupy the daemon for seconds."""
MOST_VALUES: Final = 10_000
"""More values than this of one query are no measurement that a condition looks at."""
LONGEST_WAIT: Final = 3600.0
"""A server that asks for more patience than this is asked again anyway."""


async def ask(
    http: HttpClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    data: bytes | None = None,
    deadline: float,
    same_clock: bool = True,
) -> HttpReply | Failure:
    """What the server said, or why it said nothing; one more try where a kept-alive connection turned out dead, else none.

    `same_clock`: the server's clock stamps the samples, so one that is far off is a failure.
    """
    try:
        try:
            reply = await http.request(method, url, headers=headers, data=data, deadline=deadline + MARGIN)
        except ConnectionResetError:
            reply = await http.request(method, url, headers=headers, data=data, deadline=deadline + MARGIN)
    except TimeoutError:
        return Failure(kind=FailureKind.TIMEOUT, retryable=True, message=f"{url} did not answer within {deadline:g} s")
    except ReplyTooLarge as error:
        return too_much(f"{url}: {error}")
    except OSError as error:
        return Failure(kind=FailureKind.UNREACHABLE, retryable=True, message=f"{url} cannot be reached: {error}")
    return (skewed(url, reply) if same_clock else None) or reply


async def within(deadline: float, url: str, asking: Awaitable[ValueOutcome]) -> ValueOutcome:
    """The one deadline of an answer that takes several requests: pages, a sign-in before the query, a result that is polled."""
    try:
        async with asyncio.timeout(deadline + MARGIN):
            return await asking
    except TimeoutError:
        return Failure(kind=FailureKind.TIMEOUT, retryable=True, message=f"{url} did not answer in full within {deadline:g} s")


def incomplete(said: str, asked: str) -> Failure:
    """What the server itself calls not all of it: worth another try, and no measurement."""
    return Failure(kind=FailureKind.SERVER_ERROR, retryable=True, message=f"the answer is incomplete: {said} ({asked})"[:1000])


def skewed(url: str, reply: HttpReply) -> Failure | None:
    if reply.skew is None or abs(reply.skew) <= MOST_SKEW:
        return None
    side = "ahead of" if reply.skew > 0 else "behind"
    message = (
        f"the clock of {url} is {abs(reply.skew):.0f} s {side} ours: its samples would be taken for those of another time; synchronise both"
    )
    return Failure(kind=FailureKind.CLOCK_SKEW, retryable=True, message=message)


def too_much(message: str) -> Failure:
    way_out = "narrow the selector, or drop labels that make series without end (paths, user ids)"
    return Failure(kind=FailureKind.TOO_MUCH, retryable=False, message=f"{message}; {way_out}")


def unusable(message: str) -> Failure:
    """A query that is understood and answers with nothing that a condition could look at."""
    return Failure(kind=FailureKind.BAD_QUERY, retryable=False, message=message[:1000])


def refused(reply: HttpReply, *, said: str = "", asked: str = "", means: int = 0) -> Failure:
    """Any status but 200 as a failure. `said` is the server's own word where it was understood, `asked` the query.

    `means`: the status that a server's word stands for where its API has few statuses (400 and "Throttling" is a 429).
    """
    said = said or excerpt(reply.body)
    message = f"HTTP {reply.status}: {said}" if said else f"HTTP {reply.status}"
    status = means or reply.status
    if status == 401:
        return Failure(kind=FailureKind.UNAUTHORIZED, retryable=False, message=f"{message}; check the credentials of the metric source")
    if status == 403:
        return Failure(kind=FailureKind.FORBIDDEN, retryable=False, message=f"{message}; the credentials may not query")
    if status == 429:
        return Failure(kind=FailureKind.RATE_LIMITED, retryable=True, message=message, retry_after=retry_after(reply))
    if 400 <= status < 500:
        return Failure(kind=FailureKind.BAD_QUERY, retryable=False, message=f"{message} ({asked})" if asked else message)
    if status < 400:
        return not_metrics(reply)
    return Failure(kind=FailureKind.SERVER_ERROR, retryable=True, message=message, retry_after=retry_after(reply))


def not_metrics(reply: HttpReply) -> Failure:
    if 300 <= reply.status < 400:
        where = header(reply, "location").partition("?")[0] or "elsewhere"
        what = f"a redirect to {where}, which is not followed"
    else:
        what = "an HTML page (a login form?)" if reply.body.lstrip()[:1] == b"<" else "something that is not its API"
    message = f"HTTP {reply.status}: the server answered with {what}; check url and credentials"
    return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=message)


def retry_after(reply: HttpReply) -> float | None:
    """Seconds, or a date read against the server's own Date: no clock of ours is needed."""
    value = header(reply, "retry-after").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT)
    try:
        wait = (parsedate_to_datetime(value) - parsedate_to_datetime(header(reply, "date"))).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(wait, LONGEST_WAIT) if wait >= 0 else None


def header(reply: HttpReply, name: str) -> str:
    return next((v for k, v in reply.headers.items() if k.lower() == name), "")


def excerpt(body: bytes) -> str:
    return " ".join(body[:200].decode("utf-8", "replace").split()) if not body.lstrip().startswith(b"<") else ""
