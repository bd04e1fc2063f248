"""Values for conditions: what a query and a web page answer, and what is a failure whatever it looks like."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import aiohttp
import pytest

from analyzers.sources.graphite import form_of
from analyzers.sources.instant import read_instant
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from analyzers.sources.protocol import Failure, FailureKind, HttpReply, Value
from analyzers.sources.web import WebRequest, read_web, shown_url, web_value
from tests.unit.analyzers.sources import AT, scripted
from tests.unit.analyzers.test_sources import AioClient


def reply(body: Any, status: int = 200, **headers: str) -> HttpReply:
    return HttpReply(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def vector(*values: str, **extra: Any) -> dict[str, Any]:
    series = [{"metric": {"n": str(i)}, "value": [1.0, v]} for i, v in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}, **extra}


def test_a_vector_is_a_list_and_a_scalar_a_number() -> None:
    """NaN and infinities stay what they are: a condition may ask for them."""
    assert read_instant(reply(vector("0.5", "1")), "q") == Value(value=[0.5, 1.0])
    assert read_instant(reply(vector()), "q") == Value(value=[])
    found = read_instant(reply(vector("NaN", "+Inf")), "q")
    assert isinstance(found, Value)
    assert math.isnan(found.value[0])
    assert math.isinf(found.value[1])
    scalar = {"status": "success", "data": {"resultType": "scalar", "result": [1.0, "2.5"]}}
    assert read_instant(reply(scalar), "q") == Value(value=2.5)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (reply({"status": "success", "data": {"resultType": "matrix", "result": []}}), FailureKind.BAD_QUERY, "not for a range"),
        (reply({"status": "success", "data": {"resultType": "string", "result": [1, "x"]}}), FailureKind.BAD_QUERY, "returns a string"),
        (reply(vector("many")), FailureKind.BAD_QUERY, "cannot be read"),
        (reply({"status": "success", "data": {"resultType": "vector", "result": [{"v": 1}]}}), FailureKind.BAD_QUERY, "cannot be read"),
        (reply(vector("1", warnings=["shard 3 is down"])), FailureKind.SERVER_ERROR, "incomplete: shard 3 is down"),
        (reply({"status": "error", "error": "parse error"}, 400), FailureKind.BAD_QUERY, "parse error"),
        (reply(b"<html>login</html>"), FailureKind.NOT_METRICS, "login"),
        (reply(b"", 503), FailureKind.SERVER_ERROR, "503"),
        (reply(b"", 401), FailureKind.UNAUTHORIZED, "401"),
        (reply(vector(*["1"] * 10_001)), FailureKind.BAD_QUERY, "aggregate them"),
    ],
)
def test_an_answer_that_is_no_value_is_a_failure(answer: HttpReply, kind: FailureKind, words: str) -> None:
    """Typed, with the way out; never a number."""
    found = read_instant(answer, "q")
    assert isinstance(found, Failure)
    assert found.kind is kind
    assert words in found.message


async def test_a_query_is_asked_with_the_source_s_own_credentials() -> None:
    """As for the judge's counters."""
    async with scripted() as server:
        server.body = json.dumps(vector("1")).encode()
        options = PrometheusOptions(url=server.url, bearer_token="t", parameters={"dedup": "true"})
        async with aiohttp.ClientSession() as session:
            assert await PrometheusSource(options, AioClient(session)).value("up", at=AT, deadline=2.0) == Value(value=[1.0])
        path, body = server.asked[0].path, server.asked[0].body
        assert path == "/api/v1/query"
        assert b"query=up" in body
        assert b"dedup=true" in body


WEB = WebRequest(url="http://smoke/run?token=hidden")


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        ({"a": {"b": 1}}, "{$.a.b}", 1),
        ({"a": None}, "{$.a}", None),
        ({"a": None}, "{$.a.b}", None),
        ({"a": []}, "{$.a}", []),
        (True, "", True),
        ("text", "", "text"),
        (b"all fine", "", "all fine"),
        (b"  ", "", None),
    ],
)
def test_a_web_answer_is_what_the_path_leads_to(body: Any, path: str, expected: Any) -> None:
    """JSON where it is JSON, else the text as it is."""
    assert read_web(reply(body), WebRequest(url="http://smoke/", json_path=path)) == Value(value=expected)


@pytest.mark.parametrize(
    ("answer", "request_", "words"),
    [
        (reply({"a": 1}, 500), WEB, "HTTP 500"),
        (reply({"a": 1}, 204 + 100), WEB, "redirects are not followed"),
        (reply(b"<html>", 200), WebRequest(url="http://smoke/", conditioned=False), "login form"),
        (reply(b"not json", 200), WebRequest(url="http://smoke/", json_path="{.a}"), "did not answer with JSON"),
        (reply({"b": 1}, 200), WebRequest(url="http://smoke/", json_path="{.a}"), "the answer has no 'a'"),
        (reply(b"1" * (2 << 20), 200), WEB, "more than 1048576 bytes"),
    ],
)
def test_a_web_answer_that_is_no_value_is_a_failure(answer: HttpReply, request_: WebRequest, words: str) -> None:
    """A page of the login form is not a success, and an error page is none either."""
    found = read_web(answer, request_)
    assert isinstance(found, Failure)
    assert words in found.message
    assert "hidden" not in found.message


async def test_a_server_that_is_not_there_is_named_without_its_query() -> None:
    """The query may hold a token."""
    async with aiohttp.ClientSession() as session:
        found = await web_value(WebRequest(url="http://127.0.0.1:9/run?token=hidden", deadline=2.0), AioClient(session))
    assert isinstance(found, Failure)
    assert "cannot be reached" in found.message
    assert "hidden" not in found.message
    assert "hidden" not in repr(WEB)
    assert shown_url("http://a/b?c=d") == "http://a/b"


async def test_a_slow_page_is_a_timeout() -> None:
    """Bounded by timeoutSeconds."""
    async with scripted() as server, aiohttp.ClientSession() as session:
        server.held = asyncio.Event()
        found = await web_value(WebRequest(url=server.url, deadline=-0.95), AioClient(session))  # with the client's margin 50 ms
        server.held.set()
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.TIMEOUT


def test_a_target_is_rendered_for_the_last_minutes_unless_the_query_says_when() -> None:
    """The whole query string, as users of Argo Rollouts and Flagger write it, or the target alone."""
    assert form_of("sumSeries(a.*)", AT) == [("target", "sumSeries(a.*)"), ("from", "-5min"), ("until", "1760000010"), ("format", "json")]
    whole = "target=summarize(a.b, '1min', 'sum')&from=-2min&format=raw"
    assert form_of(whole, AT) == [
        ("target", "summarize(a.b, '1min', 'sum')"),
        ("from", "-2min"),
        ("until", "1760000010"),
        ("format", "json"),
    ]
    assert form_of("from=-2min", AT) is None
    assert form_of(" ", AT) is None
