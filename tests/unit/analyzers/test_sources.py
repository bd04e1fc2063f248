"""Metric sources against a real local server that is told what to answer: every answer has one typed outcome."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from analyzers.metrics import parse_selector
from analyzers.series import Sample
from analyzers.sources.prometheus import PrometheusOptions, PrometheusSource
from analyzers.sources.protocol import Failure, FailureKind, HttpReply, NoData, Outcome, Partial, Query, Samples, Target
from analyzers.sources.scrape import ScrapeOptions, ScrapeSource, parse_page, wanted_names
from tests.serving import serving

SECRET = "s3cr3t-planted"
SELECTOR = parse_selector('requests_total{code=~"5..",pod="a\\"b"}')


class AioClient:
    """The HTTP client that the daemon would pass in, as small as its contract."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        try:
            async with asyncio.timeout(deadline), self._session.request(method, url, headers=headers, data=data) as reply:
                return HttpReply(reply.status, dict(reply.headers), await reply.read())
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error


class Server:
    """Answers every request with what the test set, and remembers what was asked."""

    def __init__(self) -> None:
        self.reply: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        self.hang = asyncio.Event()
        self.hangs = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        form = {k: str(v) for k, v in (await request.post()).items()}
        self.asked.append((request.method, request.path_qs, dict(request.headers), form))
        if self.hangs:
            await self.hang.wait()
        if request.path in self.pages:
            status, body = self.pages[request.path]
            return web.Response(status=status, body=body)
        status, headers, body = self.reply
        return web.Response(status=status, headers=headers, body=body)

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    scripted = Server()
    async with serving(scripted.handle) as scripted.url:
        yield scripted
        scripted.hang.set()


@pytest.fixture
async def http() -> AsyncIterator[AioClient]:
    async with aiohttp.ClientSession() as session:
        yield AioClient(session)


def _matrix(*values: tuple[float, str], **more: Any) -> bytes:
    result = [{"metric": {"__name__": "requests_total", "pod": "a"}, "values": list(values)}] if values else []
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


async def _ask(server: Server, http: AioClient, deadline: float = 5.0, **options: Any) -> Outcome:
    source = PrometheusSource(PrometheusOptions(url=server.url, **options), http)
    (outcome,) = await source.fetch([Query(selector=SELECTOR)], at=1500.0, window=300.0, deadline=deadline)
    return outcome


async def test_raw_samples_are_asked_by_an_instant_query_in_a_form(server: Server, http: AioClient) -> None:
    """The range selector at the grid time goes in the body, with the server told our deadline."""
    server.reply = (200, {}, _matrix((1485, "7"), (1500, "9")))
    outcome = await _ask(server, http, parameters={"max_source_resolution": "0s"})
    assert isinstance(outcome, Samples)
    assert outcome.series[0].samples == (Sample(1485, 7), Sample(1500, 9))
    method, path, _, form = server.asked[0]
    assert (method, path) == ("POST", "/api/v1/query")
    assert form == {
        "query": 'requests_total{code=~"5..",pod="a\\"b"}[300s]',
        "time": "1500.000",
        "timeout": "5.000",
        "max_source_resolution": "0s",
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bearer_token": SECRET}, f"Bearer {SECRET}"),
        ({"username": "ann", "password": SECRET}, "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode()),
        ({"headers": {"Authorization": "Custom x", "X-Scope-OrgID": "t1"}}, "Custom x"),
    ],
)
async def test_credentials_go_in_headers_and_nowhere_else(server: Server, http: AioClient, options: Any, expected: Any) -> None:
    """Bearer, basic and free headers arrive; the options' text shows no secret."""
    server.reply = (200, {}, _matrix())
    await _ask(server, http, **options)
    assert server.asked[0][2]["Authorization"] == expected
    assert SECRET not in repr(PrometheusOptions(url="http://x", **options))
    assert SECRET not in server.asked[0][1]


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "retryable", "says"),
    [
        (401, {}, b"", FailureKind.UNAUTHORIZED, False, "credentials"),
        (403, {}, b"no", FailureKind.FORBIDDEN, False, "may not query"),
        (429, {"Retry-After": "17"}, b"slow down", FailureKind.RATE_LIMITED, True, "slow down"),
        (
            400,
            {},
            b'{"status":"error","errorType":"bad_data","error":"parse error at 3"}',
            FailureKind.BAD_QUERY,
            False,
            "parse error at 3",
        ),
        (
            422,
            {},
            b'{"status":"error","errorType":"execution","error":"too many samples"}',
            FailureKind.BAD_QUERY,
            False,
            "too many samples",
        ),
        (404, {}, b"not here", FailureKind.BAD_QUERY, False, "404"),
        (503, {}, b'{"status":"error","errorType":"timeout","error":"query timed out"}', FailureKind.TIMEOUT, True, "query timed out"),
        (502, {}, b"<html>bad gateway</html>", FailureKind.SERVER_ERROR, True, "502"),
        (200, {}, b"<!doctype html><form>login</form>", FailureKind.NOT_METRICS, False, "login"),
        (200, {}, b"hello", FailureKind.NOT_METRICS, False, "not its API"),
        (200, {}, b'{"status":"error","errorType":"timeout","error":"late"}', FailureKind.TIMEOUT, True, "late"),
        (200, {}, b'{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}', FailureKind.NOT_METRICS, False, "scalar"),
        (200, {}, b'{"status":"success","data":{"resultType":"matrix","result":[3]}}', FailureKind.NOT_METRICS, False, "cannot be read"),
    ],
)
async def test_what_a_server_refuses_has_one_outcome_and_one_try(
    server: Server, http: AioClient, status: Any, headers: Any, body: Any, kind: Any, retryable: Any, says: Any
) -> None:
    """The outcome table; nothing that the server said is asked again within the tick."""
    server.reply = (status, headers, body)
    outcome = await _ask(server, http)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == (kind, retryable)
    assert says in outcome.message
    assert outcome.retry_after == (17.0 if headers else None)
    assert len(server.asked) == 1


async def test_an_empty_result_is_no_data_and_a_nan_is_no_number(server: Server, http: AioClient) -> None:
    """Neither is zero."""
    server.reply = (200, {}, _matrix())
    assert isinstance(await _ask(server, http), NoData)
    server.reply = (200, {}, _matrix((1485, "NaN"), (1500, "+Inf")))
    assert isinstance(await _ask(server, http), NoData)
    server.reply = (200, {}, _matrix((1485, "NaN"), (1500, "4")))
    mixed = await _ask(server, http)
    assert isinstance(mixed, Samples)
    assert mixed.series[0].samples == (Sample(1500, 4),)


async def test_warnings_make_an_answer_partial(server: Server, http: AioClient) -> None:
    """A store that did not answer behind Thanos: shown, with its words."""
    server.reply = (200, {}, _matrix((1500, "4"), warnings=["store eu-1 is away"]))
    outcome = await _ask(server, http)
    assert isinstance(outcome, Partial)
    assert outcome.warnings == ("store eu-1 is away",)


async def test_a_server_that_hangs_or_is_gone_is_a_failure(server: Server, http: AioClient) -> None:
    """The deadline ends it; a refused connection says where."""
    server.hangs = True
    source = PrometheusSource(PrometheusOptions(url=server.url), _Impatient(http))
    (slow,) = await source.fetch([Query(selector=SELECTOR)], at=0.0, window=60.0, deadline=5.0)
    assert isinstance(slow, Failure)
    assert (slow.kind, slow.retryable) == (FailureKind.TIMEOUT, True)
    gone = PrometheusSource(PrometheusOptions(url="http://127.0.0.1:1"), http)
    (refused,) = await gone.fetch([Query(selector=SELECTOR)], at=0.0, window=60.0, deadline=5.0)
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.retryable) == (FailureKind.UNREACHABLE, True)
    assert "127.0.0.1:1" in refused.message


class _Impatient:
    """The same client with every deadline cut short, so that a test of a hang does not hang."""

    def __init__(self, client: AioClient) -> None:
        self._client = client

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        assert deadline > 0
        return await self._client.request(method, url, headers=headers, data=data, deadline=0.05)


PAGE = b"""# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code="200",path="/a,b}\\"x"} 120 1700000000000
requests_total{code="500",path="/"} 3.0 # {trace_id="abc"} 1.0
requests_created{code="500",path="/"} 1.7e9
other_total 5
requests_total{code="503"} NaN
process_start_time_seconds 1.6e+09
"""


async def test_a_metrics_page_is_read_per_pod(server: Server, http: AioClient) -> None:
    """Counters with their pod, their creation where stated, else the process start; the rest of the page is passed over."""
    server.pages["/metrics"] = (200, PAGE)
    source = ScrapeSource(ScrapeOptions(), http)
    at = 1.8e9
    target = Target(pod="web-1", address=server.address, started_at=1.0)
    both = [Query(selector=parse_selector(s), targets=(target,)) for s in ("requests_total", 'requests_total{code=~"5.."}')]
    total, errors = await source.fetch(both, at=at, window=60.0, deadline=5.0)
    assert isinstance(total, Samples)
    assert isinstance(errors, Samples)
    assert [s.samples for s in total.series] == [(Sample(at, 120),), (Sample(at, 3),)]
    assert total.series[0].labels == {"code": "200", "path": '/a,b}"x', "pod": "web-1", "instance": server.address}
    assert [s.started_at for s in total.series] == [1.6e9, 1.7e9]
    assert len(errors.series) == 1
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", FailureKind.UNAUTHORIZED),
        (403, b"", FailureKind.FORBIDDEN),
        (404, b"", FailureKind.NOT_METRICS),
        (429, b"", FailureKind.RATE_LIMITED),
        (500, b"", FailureKind.SERVER_ERROR),
        (200, b"<html>hello</html>", FailureKind.NOT_METRICS),
    ],
)
async def test_a_page_that_cannot_be_read_is_a_failure(server: Server, http: AioClient, status: Any, body: Any, kind: Any) -> None:
    """The same outcome table for pods."""
    server.pages["/metrics"] = (status, body)
    source = ScrapeSource(ScrapeOptions(headers={"Authorization": SECRET}), http)
    query = Query(selector=parse_selector("requests_total"), targets=(Target(pod="a", address=server.address),))
    (outcome,) = await source.fetch([query], at=0.0, window=60.0, deadline=5.0)
    assert isinstance(outcome, Failure)
    assert outcome.kind is kind
    assert SECRET not in repr(ScrapeOptions(headers={"Authorization": SECRET}))


async def test_one_silent_pod_of_two_is_named_and_the_other_counts(server: Server, http: AioClient) -> None:
    """A page without the counter is an answer; a pod that does not answer is missing; no pod at all is no data."""
    server.pages["/metrics"] = (200, PAGE)
    server.pages["/gone"] = (500, b"")
    server.pages["/empty"] = (200, b"up 1\n")
    source = ScrapeSource(ScrapeOptions(), http)
    targets = tuple(Target(pod=p, address=server.address, path=path) for p, path in (("a", "/metrics"), ("b", "/gone"), ("c", "/empty")))
    outcomes = await source.fetch(
        [Query(selector=parse_selector("requests_total"), targets=t) for t in (targets, targets[2:], ())], at=0.0, window=60.0, deadline=5.0
    )
    assert isinstance(outcomes[0], Samples)
    assert outcomes[0].missing == ("b",)
    assert {s.labels["pod"] for s in outcomes[0].series} == {"a"}
    assert isinstance(outcomes[1], NoData)
    assert isinstance(outcomes[2], NoData)


async def test_a_wanted_line_that_cannot_be_read_spoils_the_page(server: Server, http: AioClient) -> None:
    """It may have been the errors: the pod is missing rather than without errors."""
    server.pages["/metrics"] = (200, PAGE + b'requests_total{code="500" 7\n')
    query = Query(selector=parse_selector("requests_total"), targets=(Target(pod="a", address=server.address),))
    (outcome,) = await ScrapeSource(ScrapeOptions(), http).fetch([query], at=0.0, window=60.0, deadline=5.0)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.NOT_METRICS
    assert "line 9" in outcome.message


def test_only_wanted_lines_are_read() -> None:
    """A page may have a hundred thousand lines of others."""
    lines = parse_page(PAGE.decode(), wanted_names(["other_total"]))
    assert [(x.name, x.value) for x in lines] == [("other_total", 5.0), ("process_start_time_seconds", 1.6e9)]
