"""Answers that an open-source Unleash does not give by itself, or not within a test: maintenance, limits of rate, odd bodies."""

import json

import pytest

from flags.errors import Conflict, FlagError, Forbidden, Invalid, Missing, Retryable
from flags.unleash_errors import problem

URL = "https://unleash.example.com"


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (400, {"name": "BadDataError", "message": "no", "details": [{"message": "no", "path": "/body/x"}]}, Invalid, "no"),
        (400, "<html>", Invalid, "it was refused"),
        (401, {"message": "You don't have access"}, Forbidden, "401: You don't have access"),
        (
            403,
            {"name": "PermissionError", "message": "x", "permissions": ["CREATE_FEATURE_STRATEGY"]},
            Forbidden,
            "CREATE_FEATURE_STRATEGY",
        ),
        (403, b"", Forbidden, "a backend token is not one"),
        (403, {"message": "needs SKIP_CHANGE_REQUEST"}, Forbidden, "Change requests are on"),
        (404, {"name": "NotFoundError", "message": "path is not available"}, Missing, "not available"),
        (409, {"name": "NameExistsError", "message": "x"}, Conflict, "NameExistsError"),
        (415, {"name": "ContentTypeError", "message": "x"}, Invalid, "ContentTypeError"),
        (429, {"message": "slow down"}, Retryable, "slow down"),
        (500, {"name": "UnknownError", "message": "Test operation failed\nname: X"}, Conflict, "somebody changed the strategy"),
        (500, {"name": "UnknownError", "message": "timeout"}, Retryable, "timeout"),
        (500, [1], Retryable, "500"),
        (502, "<html>bad gateway", Retryable, "502"),
        (503, {"message": "maintenance"}, Retryable, "maintenance"),
        (308, "", Invalid, "it redirects (308)"),
    ],
)
def test_each_answer_is_told_apart(status: int, body: object, kind: type[FlagError], says: str) -> None:
    """By status first, by name and message where they decide; anything else is no reason to crash."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    found = problem(status, raw, "read flag new", URL)
    assert type(found) is kind
    assert says in str(found)
    assert found.retryable == isinstance(found, Retryable)
