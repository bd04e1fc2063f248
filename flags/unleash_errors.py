"""What an answer of Unleash means: the table of its errors, in our words.

Unleash says what is wrong by status and by a name in the body, and is not strict about either: a failed JSON Patch `test` is a 500 like a
lost database, an unparsable request gets HTML, a wrong kind of token gets a message alone. So little is taken for granted here.
"""

import json
from typing import Any

from flags.calls import refusal
from flags.errors import Conflict, FlagError

_TEST_FAILED = "Test operation failed"
_CHANGE_REQUESTS = "SKIP_CHANGE_REQUEST"
URL = "FlagSource.spec.unleash.url"


def problem(status: int, body: bytes, what: str, url: str) -> FlagError:
    """The error of an answer that is no success. `what` says what was asked, for people."""
    name, message = _said(body)
    who = f"Unleash at {url}"
    if message.startswith(_TEST_FAILED):
        return Conflict(f"{who}: {what}: somebody changed the strategy meanwhile")
    said = ": ".join(part for part in (name, message) if part)
    return refusal(status, said, who=who, what=what, url_field=URL, url=url, rights=_forbidden(message))


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
