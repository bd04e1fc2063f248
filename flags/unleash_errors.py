"""What an answer of Unleash means: the table of its errors, in our words.

Unleash says what is wrong by status and by a name in the body, and is not strict about either: a failed JSON Patch `test` is a 500 like a
lost database, an unparsable request gets HTML, a wrong kind of token gets a message alone. So little is taken for granted here.
"""

import json
from typing import Any

from flags.errors import Conflict, FlagError, Forbidden, Invalid, Missing, Retryable

_TEST_FAILED = "Test operation failed"
_CHANGE_REQUESTS = "SKIP_CHANGE_REQUEST"
_URL = "FlagSource.spec.unleash.url"


def problem(status: int, body: bytes, what: str, url: str) -> FlagError:
    """The error of an answer that is no success. `what` says what was asked, for people."""
    name, message = _said(body)
    text = f"Unleash at {url}: {what}: {status}{f' {name}' if name else ''}{f': {message}' if message else ''}"
    if message.startswith(_TEST_FAILED):
        return Conflict(f"Unleash at {url}: {what}: somebody changed the strategy meanwhile")
    match status:
        case 401:
            return Forbidden(f"{text}. The token is unknown or expired: put a valid one into the Secret that FlagSource names.")
        case 403:
            return Forbidden(f"{text}. {_forbidden(message)}")
        case 404:
            return Missing(text)
        case 409:
            return Conflict(text)
        case 429 | 503:
            return Retryable(text)
        case _ if 300 <= status < 400:
            return Invalid(field=_URL, value=url, problem=f"it redirects ({status})", way_out="Use the address that it redirects to.")
        case _ if 400 <= status < 500:
            return Invalid(field=what, value=name or status, problem=message or "Unleash refused it", way_out="See the message of Unleash.")
        case _:
            return Retryable(text)


def not_json(what: str, url: str) -> FlagError:
    """A page where JSON was expected: something else answers at this address."""
    return Invalid(
        field=_URL,
        value=url,
        problem=f"what answers there is no Unleash API ({what})",
        way_out="Give the base address, such as https://unleash.example.com.",
    )


def _said(body: bytes) -> tuple[str, str]:
    """Name and message of an error's body, each empty where there is none."""
    try:
        decoded: Any = json.loads(body)
    except ValueError:
        return "", ""
    if not isinstance(decoded, dict):
        return "", ""
    details = decoded.get("details")
    first = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    # A failed JSON Patch carries the whole strategy in its message: the first line says it.
    message = str(decoded.get("message") or first.get("message") or "")
    return str(decoded.get("name") or ""), message.splitlines()[0][:300] if message else ""


def _forbidden(message: str) -> str:
    if _CHANGE_REQUESTS in message:
        return (
            "Change requests are on for this project and environment (Unleash Enterprise): nothing can be written without an approval there. "
            "Give Linnet's account the permission SKIP_CHANGE_REQUEST, or leave the flag out of the Canary."
        )
    return (
        "Linnet needs the token of an account that may create and update strategies and switch environments "
        "(CREATE_FEATURE_STRATEGY, UPDATE_FEATURE_STRATEGY, UPDATE_FEATURE_ENVIRONMENT); a backend token is not one."
    )
