"""One HTTP call to a flag service, and what each way of failing means: the same for every service behind HTTP.

Services differ in what they put into the body of an error, not in what 401, 409 or silence mean to a release.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from flags.errors import Conflict, FlagError, Forbidden, Invalid, Missing, Retryable
from flags.provider import DEADLINE, HttpClient, HttpReply


async def ask(
    http: HttpClient, method: str, url: str, *, who: str, what: str, headers: Mapping[str, str], data: bytes | None = None
) -> HttpReply:
    """The answer, whatever its status. Retryable where there is none within `DEADLINE`."""
    try:
        return await http.request(method, url, headers=headers, data=data, deadline=DEADLINE)
    except TimeoutError:
        raise Retryable(f"{who}: {what}: no answer within {DEADLINE:g} s") from None
    except OSError as error:
        raise Retryable(f"{who}: {what}: {error}") from None


@asynccontextmanager
async def within(deadline: float, verb: str, key: str, who: str) -> AsyncIterator[None]:
    """The whole of a provider's method within so many seconds, however slowly the service trickles its answers."""
    try:
        async with asyncio.timeout(deadline):
            yield
    except TimeoutError:
        raise Retryable(f"{verb} of flag {key}: {who} took longer than {deadline:g} s") from None


_RIGHTS = "The account of the token may not do that: give it the right, or put another token into the Secret."


def refusal(status: int, said: str, *, who: str, what: str, url_field: str, url: str, rights: str = _RIGHTS) -> FlagError:
    """The error of an answer that is no success; `said` is what the service gave as the reason, `rights` the way out of a 403."""
    text = f"{who}: {what}: {status}{f': {said}' if said else ''}"
    match status:
        case 401:
            return Forbidden(f"{text}. The token is unknown or expired: put a valid one into the Secret that FlagSource names.")
        case 403:
            return Forbidden(f"{text}. {rights}")
        case 404:
            return Missing(text)
        case 409 | 412:
            return Conflict(text)
        case 429 | 503:
            return Retryable(text)
        case _ if 300 <= status < 400:
            return Invalid(field=url_field, value=url, problem=f"it redirects ({status})", way_out="Use the address that it redirects to.")
        case _ if 400 <= status < 500:
            return Invalid(field=what, value=status, problem=said or "it was refused", way_out="See what the service says.")
        case _:
            return Retryable(text)


def decoded(reply: HttpReply, *, who: str, what: str, url_field: str, url: str) -> Any:
    """The JSON of an answer. Invalid for a page where JSON was expected: something else answers at this address."""
    try:
        return json.loads(reply.body) if reply.body else None
    except ValueError:
        way_out = "Give the address of the API, such as https://flags.example.com."
        raise Invalid(field=url_field, value=url, problem=f"what answers there is no API of {who} ({what})", way_out=way_out) from None


def first_line(body: bytes, *keys: str) -> str:
    """What an error's body says, short: one of its members, or nothing."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return ""
    said = next((str(found[key]) for key in keys if found.get(key)), "") if isinstance(found, dict) else ""
    return said.splitlines()[0][:300] if said else ""
