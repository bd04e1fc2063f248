"""CloudWatch, held against botocore's service model of it; and what its answers say that a status does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import botocore.session
import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import OperationModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from analyzers.sources.cloudwatch import MOST_PAGES, CloudWatchOptions, build
from analyzers.sources.protocol import Failure, FailureKind, Value
from daemon.control.http import Http
from tests.serving import serving
from tests.unit.analyzers.sources import AT, AWS, Asked, metric_data, scripted

LISTED = json.dumps([
    {"id": "rate", "expression": "errors / requests", "label": "rate"},
    {
        "id": "errors",
        "returnData": False,
        "metricStat": {
            "metric": {"namespace": "Shop", "metricName": "Errors", "dimensions": [{"name": "service", "value": "checkout"}]},
            "period": 60,
            "stat": "Sum",
            "unit": "Count",
        },
    },
    {"Id": "requests", "ReturnData": False, "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": "Requests"}, "Period": 60, "Stat": "Sum"}},
])  # fmt: skip
QUERIES = ['SELECT SUM(Errors) FROM "Shop" GROUP BY Service', LISTED]


@pytest.fixture(scope="module")
def model() -> OperationModel:
    return botocore.session.get_session().get_service_model("cloudwatch").operation_model("GetMetricData")


@asynccontextmanager
async def paged(pages: Sequence[bytes]) -> AsyncIterator[tuple[str, list[Asked]]]:
    """Answers one page after another, then the last one for ever."""
    asked: list[Asked] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(Asked(request.method, request.path_qs, dict(request.headers), await request.read()))
        return web.Response(body=pages[min(len(asked), len(pages)) - 1])

    async with serving(answer) as url:
        yield url, asked


async def measured(pages: Sequence[bytes], http: Http, query: str = QUERIES[0], window: float = 300.0) -> tuple[Any, list[Asked]]:
    async with paged(pages) as (url, asked):
        return await build(CloudWatchOptions(url=url, login=AWS, window=window), http).value(query, at=AT, deadline=5.0), asked


@pytest.mark.parametrize("query", QUERIES)
async def test_botocore_s_model_takes_the_request_and_writes_the_same(query: str, model: OperationModel, http: Http) -> None:
    """Every name, type and bound of what is asked; header and body are those that its own serializer makes of it."""
    _, (asked,) = await measured([metric_data({"a": [1.0]})], http, query)
    body = json.loads(asked.body)
    report = ParamValidator().validate(body, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    wanted = create_serializer("json").serialize_to_request(body, model)
    assert asked.headers["X-Amz-Target"] == wanted["headers"]["X-Amz-Target"]
    assert asked.headers["Content-Type"] == wanted["headers"]["Content-Type"]
    assert (asked.method, asked.path) == (wanted["method"], wanted["url_path"])
    assert body == json.loads(wanted["body"])


async def test_botocore_signs_the_same(model: OperationModel, http: Http) -> None:
    """For the service that CloudWatch is called in signatures, over the headers that were sent."""
    _, (asked,) = await measured([metric_data({"a": [1.0]})], http)
    assert model.service_model.signing_name == AWS.service
    arrived = {name.lower(): value for name, value in asked.headers.items()}
    signed = arrived["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest("POST", f"http://{arrived['host']}/", headers={n: arrived[n] for n in signed}, data=asked.body)
    request.context["timestamp"] = arrived["x-amz-date"]
    signer = SigV4Auth(Credentials(AWS.access_key, AWS.secret_key), AWS.service, AWS.region)
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert arrived["authorization"].endswith(f"Signature={signature}")


async def test_botocore_reads_the_same(model: OperationModel, http: Http) -> None:
    """Values of each result in their order, numbers that are none too."""
    body = metric_data({"eu": [0.25, 3.0], "us": [], "ap": ["NaN", 1.0], "sa": ["Infinity"]})
    ours, _ = await measured([body], http, LISTED)
    theirs = create_parser("json").parse({"status_code": 200, "headers": {}, "body": body}, model.output_shape)
    wanted = [{"Id": r["Id"], "Label": r["Label"], "Values": [float(v) for v in r["Values"]]} for r in theirs["MetricDataResults"]]
    assert isinstance(ours, Value)
    assert str(ours.value) == str(wanted)


async def test_only_whole_minutes_of_the_window_are_asked_for(http: Http) -> None:
    """The minute that has not ended is left out; a window is widened to whole minutes."""
    for window, wanted in ((300.0, 300), (90.0, 120)):
        _, (asked,) = await measured([metric_data({"a": [1.0]})], http, window=window)
        body = json.loads(asked.body)
        assert body["EndTime"] == AT // 60 * 60
        assert body["EndTime"] - body["StartTime"] == wanted


async def test_pages_are_put_together(http: Http) -> None:
    """A result that goes on is partial until its last page; tokens are handed back."""
    first = metric_data({"eu": [0.5], "us": [4.0]}, NextToken="more").replace(b"Complete", b"PartialData")
    second = metric_data({"eu": [0.25], "us": [3.0]})
    found, asked = await measured([first, second], http, LISTED)
    assert found == Value(value=[{"Id": "q1", "Label": "eu", "Values": [0.5, 0.25]}, {"Id": "q1", "Label": "us", "Values": [4.0, 3.0]}])
    assert [json.loads(a.body).get("NextToken") for a in asked] == [None, "more"]
    found, _ = await measured([first, second], http)
    assert found == Value(value=[0.5, 4.0])


async def test_a_result_that_stays_partial_is_no_value(http: Http) -> None:
    """Where one page said so and no later one spoke of it."""
    first = metric_data({"eu": [0.5]}, NextToken="more").replace(b"Complete", b"PartialData")
    found, _ = await measured([first, metric_data({"us": [1.0]})], http)
    assert isinstance(found, Failure)
    assert "eu is PartialData" in found.message


async def test_pages_without_end_are_given_up(http: Http) -> None:
    """With what to do."""
    found, asked = await measured([metric_data({"eu": [0.5]}, NextToken="more")], http)
    assert isinstance(found, Failure)
    assert "longer period" in found.message
    assert len(asked) == MOST_PAGES


async def test_results_without_values_are_nothing(http: Http) -> None:
    """No zero, in either form."""
    for query in QUERIES:
        found, _ = await measured([metric_data({"eu": [], "us": []})], http, query)
        assert found == Value(value=[])


@pytest.mark.parametrize(
    ("word", "kind", "retryable"),
    [
        ("com.amazonaws.cloudwatch#ThrottlingException", FailureKind.RATE_LIMITED, True),
        ("Throttling", FailureKind.RATE_LIMITED, True),
        ("UnrecognizedClientException", FailureKind.UNAUTHORIZED, False),
        ("ExpiredTokenException", FailureKind.UNAUTHORIZED, False),
        ("AccessDeniedException", FailureKind.FORBIDDEN, False),
        ("com.amazonaws.cloudwatch#InvalidParameterValueException", FailureKind.BAD_QUERY, False),
    ],
)
async def test_a_400_means_what_its_word_says(http: Http, word: str, kind: FailureKind, retryable: bool) -> None:
    """And the word reaches the reader."""
    async with scripted() as server:
        server.status, server.body = 400, json.dumps({"__type": word, "message": "because"}).encode()
        found = await build(CloudWatchOptions(url=server.url, login=AWS), http).value("SUM(METRICS())", at=AT, deadline=5.0)
    assert isinstance(found, Failure)
    assert (found.kind, found.retryable) == (kind, retryable)
    assert f"{word.rpartition('#')[2]}: because" in found.message


@pytest.mark.parametrize(
    "query", ["[", "[]", "{}", '[{"id": "a"}]', '[{"expression": "a"}]', '[{"id": "a", "expression": "b", "metricStat": {}}]', "[1]"]
)
async def test_a_query_that_says_nothing_is_refused_unasked(http: Http, query: str) -> None:
    """With what it needs."""
    async with scripted() as server:
        found = await build(CloudWatchOptions(url=server.url, login=AWS), http).value(query, at=AT, deadline=5.0)
        assert not server.asked
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.BAD_QUERY
    assert "MetricDataQueries" in found.message or "metricDataQueries" in found.message


def test_the_region_s_own_endpoint_is_asked() -> None:
    """Of China too; keys are not shown."""
    options = CloudWatchOptions(login=AWS)
    assert options.endpoint == "https://monitoring.eu-west-1.amazonaws.com/"
    china = CloudWatchOptions(login=AWS.__class__(region="cn-north-1", access_key="a", secret_key="hidden"))
    assert china.endpoint == "https://monitoring.cn-north-1.amazonaws.com.cn/"
    assert "hidden" not in repr(china)
