"""Google Cloud Monitoring, held against Google's own libraries: the request of its discovery document, the claim of google-auth."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import httplib2
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.oauth2 import service_account
from googleapiclient import discovery

from analyzers.sources.google import GRANT, LIFETIME, SCOPE, GoogleOptions, Key, build, claim_of
from analyzers.sources.protocol import Failure, FailureKind, Value
from daemon.control.http import Http
from tests.unit.analyzers.sources import AT, google_key, private_key, scripted, vector
from tests.unit.analyzers.test_cloudwatch import paged

TOKEN = b'{"access_token": "ya29.secret", "expires_in": 3599, "token_type": "Bearer"}'
QUERY = 'sum(rate(loadbalancing_googleapis_com:https_request_count{response_code_class="500"}[5m]))'


async def test_google_s_discovery_document_makes_the_same_request(http: Http) -> None:
    """Method, path, and the fields of the body with their types; the token of the sign-in goes with it."""
    async with paged([TOKEN, vector([0.25, 3.0])]) as (url, asked):
        source = build(GoogleOptions(project="shop", key=google_key(f"{url}/token"), url=url), http)
        assert await source.value(QUERY, at=AT, deadline=5.0) == Value(value=[0.25, 3.0])
    _, query = asked
    body = json.loads(query.body)
    with discovery.build("monitoring", "v1", http=httplib2.Http(), static_discovery=True) as api:
        method = api.projects().location().prometheus().api().v1().query
        wanted = method(name="projects/shop", location="global", body=body)
        schema = api._rootDesc["schemas"]["QueryInstantRequest"]["properties"]
    assert query.path == wanted.uri.removeprefix("https://monitoring.googleapis.com").partition("?")[0]
    assert query.method == wanted.method
    assert body == json.loads(wanted.body)
    assert {name: schema[name]["type"] for name in body} == dict.fromkeys(body, "string")
    assert body["query"] == QUERY
    assert float(body["time"]) == AT
    assert query.headers["Authorization"] == "Bearer ya29.secret"


async def test_google_auth_claims_the_same(http: Http) -> None:
    """Every claim but the time, the key's id, and the kind of grant; the signature is the account's."""
    async with paged([TOKEN, vector([1.0])]) as (url, asked):
        key = google_key(f"{url}/token")
        await build(GoogleOptions(project="shop", key=key, url=url), http).value("up", at=AT, deadline=5.0)
    form = parse_qs(asked[0].body.decode())
    assert form["grant_type"] == [GRANT]
    (ours,) = form["assertion"]
    credentials: Any = service_account.Credentials
    made = credentials.from_service_account_info(json.loads(key), scopes=[SCOPE])
    theirs = made._make_authorization_grant_assertion().decode()
    mine, wanted = (jwt.decode(one, options={"verify_signature": False}) for one in (ours, theirs))
    times = {"iat", "exp"}
    assert {k: v for k, v in mine.items() if k not in times} == {
        **{k: v for k, v in wanted.items() if k not in times},
        "aud": f"{url}/token",
    }
    assert mine["exp"] - mine["iat"] == wanted["exp"] - wanted["iat"] == LIFETIME
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(theirs)
    public: Any = load_pem_private_key(private_key().encode(), None).public_key()
    assert jwt.decode(ours, public, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False, "verify_aud": False}) == mine


async def test_a_query_that_is_refused_after_the_sign_in(http: Http) -> None:
    """The answer to the query decides, and the token is not in the message."""
    async with paged([TOKEN, b'{"status": "error", "error": "parse error"}']) as (url, _):
        found = await build(GoogleOptions(project="shop", key=google_key(f"{url}/token"), url=url), http).value("up{", at=AT, deadline=5.0)
    assert isinstance(found, Failure)
    assert "parse error" in found.message
    assert "ya29" not in found.message


async def test_an_account_that_google_does_not_know(http: Http) -> None:
    """400 of the sign-in is a matter of the credentials."""
    async with scripted() as server:
        server.status, server.body = 400, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
        found = await build(GoogleOptions(project="shop", key=google_key(f"{server.url}/token"), url=server.url), http).value(
            "up", at=AT, deadline=5.0
        )
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.UNAUTHORIZED
    assert "invalid_grant: Invalid JWT Signature." in found.message


@pytest.mark.parametrize(
    "key", ["", "{}", "-----BEGIN PRIVATE KEY-----", '{"client_email": "a", "private_key": "b", "token_uri": "http://127.0.0.1:1"}']
)
async def test_what_is_no_key_is_told_unasked(http: Http, key: str) -> None:
    """Nothing of it is repeated."""
    found = await build(GoogleOptions(project="shop", key=key, url="http://127.0.0.1:1"), http).value("up", at=AT, deadline=5.0)
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.UNAUTHORIZED
    assert "BEGIN" not in found.message


def test_keys_are_not_shown() -> None:
    """Nor in tracebacks."""
    key = msgspec.json.decode(google_key("https://t"), type=Key)
    assert "PRIVATE" not in repr(key) + repr(GoogleOptions(project="shop", key=google_key("https://t")))
    assert claim_of(key, AT).count(".") == 2


def test_the_token_may_only_read_metrics() -> None:
    """Whatever else the account may do."""
    claim = claim_of(msgspec.json.decode(google_key("https://t"), type=Key), AT)
    assert jwt.decode(claim, options={"verify_signature": False})["scope"] == "https://www.googleapis.com/auth/monitoring.read"
