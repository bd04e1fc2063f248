"""Signed requests: Amazon's own signer, given what arrived at the server, comes to the same signature."""

from __future__ import annotations

import datetime as dt
import re
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest

from analyzers.sources.prometheus import PrometheusOptions, build
from analyzers.sources.protocol import Value
from analyzers.sources.sigv4 import SigV4
from daemon.control.http import Http
from tests.unit.analyzers.sources import AT, Asked, Server, vector

KEY, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-west-1"


async def asked(server: Server, **more: Any) -> Asked:
    """What arrives of one query."""
    login = SigV4(**{"region": REGION, "access_key": KEY, "secret_key": SECRET, **more})
    server.asked.clear()
    server.body = vector([1.0])
    http = Http()
    try:
        options = PrometheusOptions(url=f"{server.url}/workspaces/ws-1", headers={"X-Team": "shop"}, sigv4=login)
        answer = await build(options, http).value('sum(rate(http_requests_total{code=~"5.."}[1m]))', at=AT, deadline=5.0)
    finally:
        await http.close()
    assert answer == Value(value=[1.0])
    (request,) = server.asked
    return request


def signature(
    request: Asked, server: Server, *, secret: str = SECRET, region: str = REGION, service: str = "aps", token: str | None = None
) -> str:
    """What the Common Runtime of AWS signs this request with, at the time and over the headers that it says."""
    when = dt.datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    named = re.findall(r"SignedHeaders=([^,]+)", request.headers["Authorization"])[0].split(";")
    arrived = {name.lower(): value for name, value in request.headers.items()}
    own = {"x-amz-date", "x-amz-security-token", "x-amz-content-sha256"}  # the signer puts them in itself
    headers = HttpHeaders([(name, arrived[name]) for name in named if name not in own])
    headers.set("Host", urlsplit(server.url).netloc)
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4,
        signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=AwsCredentialsProvider.new_static(KEY, secret, token),
        region=region,
        service=service,
        date=when,
        signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )
    signed = aws_sign_request(HttpRequest("POST", request.path, headers, BytesIO(request.body)), config).result(10)
    found = signed.headers.get("Authorization")
    assert found is not None
    return str(found).rpartition("Signature=")[2]


def theirs(request: Asked) -> str:
    return request.headers["Authorization"].rpartition("Signature=")[2]


async def test_amazon_s_own_signer_agrees(server: Server) -> None:
    """Over path, body, host and time; a free header goes along unsigned."""
    request = await asked(server)
    assert theirs(request) == signature(request, server)
    assert request.headers["X-Team"] == "shop"
    assert f"Credential={KEY}/" in request.headers["Authorization"]


@pytest.mark.parametrize("more", [{"region": "us-east-1"}, {"service": "monitoring"}, {"secret_key": "other"}, {"session_token": "t"}])
async def test_each_part_of_the_login_is_in_the_signature(server: Server, more: dict[str, str]) -> None:
    """Another region, service, secret or token: another signature, and the one that Amazon's signer gives for it."""
    request = await asked(server, **more)
    names = {"secret_key": "secret", "session_token": "token"}
    assert theirs(request) == signature(request, server, **{names.get(k, k): v for k, v in more.items()})
    assert theirs(request) != signature(request, server)


def test_no_secret_is_shown() -> None:
    """Options end up in logs."""
    options = PrometheusOptions(url="http://x", sigv4=SigV4(region=REGION, access_key=KEY, secret_key=SECRET, session_token="planted"))
    assert SECRET not in repr(options)
    assert SECRET not in repr(options.sigv4)
    assert "planted" not in repr(options.sigv4)
