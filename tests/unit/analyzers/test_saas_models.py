"""New Relic, Dynatrace and Splunk, held against what they (or others of them) publish: the same request, the same reading."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sgqlc.types
from dynatrace import Dynatrace
from graphql import FieldNode, OperationDefinitionNode, SelectionSetNode, parse
from newrelic_sb_sdk.graphql.objects import RootQueryType
from signalfx.signalflow import SignalFlowClient, messages
from signalfx.signalflow.sse import SSETransport

from analyzers.sources import dynatrace, newrelic, splunk
from analyzers.sources.protocol import Failure, FailureKind, HttpReply, Value
from daemon.control.http import Http
from tests.unit.analyzers.sources import AT, Server, nrql, selected, stream
from tests.unit.analyzers.test_cloudwatch import paged
from tests.unit.analyzers.test_vendor_models import said

# New Relic.


def asked_of(selection: SelectionSetNode | None, kind: Any) -> Iterator[tuple[str, str]]:
    """Arguments of each field that a document asks for, with their types; AttributeError or KeyError for what the schema has not."""
    for node in selection.selections if selection else ():
        assert isinstance(node, FieldNode)
        field = kind[sgqlc.types.BaseItem._to_python_name(node.name.value)]
        assert field.graphql_name == node.name.value
        for arg in node.arguments:
            yield f"{node.name.value}.{arg.name.value}", str(field.args[arg.name.value].type)
        yield from asked_of(node.selection_set, field.type)


def test_new_relic_s_schema_has_all_that_is_asked_for() -> None:
    """Fields, arguments and the types of our variables."""
    (operation,) = parse(newrelic.DOCUMENT).definitions
    assert isinstance(operation, OperationDefinitionNode)
    found = dict(asked_of(operation.selection_set, RootQueryType))
    assert found == {"account.id": "Int!", "nrql.query": "Nrql!", "nrql.timeout": "Seconds"}


async def test_account_query_and_key_of_new_relic(server: Server, http: Http) -> None:
    """What is asked of whom, and no less time than NerdGraph gives."""
    server.body = nrql([{"count": 3}])
    source = newrelic.build(newrelic.NewRelicOptions(account_id=7, api_key="NRAK", url=f"{server.url}/graphql"), http)
    assert await source.value("SELECT count(*) FROM Transaction", at=AT, deadline=30.0) == Value(value={"count": 3})
    await source.value("SELECT 1", at=AT, deadline=1.0)
    first, second = (json.loads(a.body)["variables"] for a in server.asked)
    assert first == {"account": 7, "nrql": "SELECT count(*) FROM Transaction", "timeout": 30}
    assert second["timeout"] == 5
    assert said(server.asked[0], "api-key", "content-type") == ("POST", "/graphql", [], ["NRAK", "application/json"])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"average.duration": None}],
        [{"facet": "eu", "count": None}, {"facet": "us", "count": None}],
        [{"beginTimeSeconds": 1, "count": None}],
    ],
)
def test_rows_without_numbers_are_nothing(rows: list[dict[str, Any]]) -> None:
    """Where no event matched, NRQL answers with null, and that is no zero."""
    assert newrelic.read_nrql(HttpReply(200, {}, nrql(rows)), "q") == Value(value=[])


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("UNAUTHORIZED", FailureKind.UNAUTHORIZED),
        ("ACCESS_DENIED", FailureKind.FORBIDDEN),
        ("TOO_MANY_REQUESTS", FailureKind.RATE_LIMITED),
        ("TIMEOUT", FailureKind.SERVER_ERROR),
        ("INVALID_INPUT", FailureKind.BAD_QUERY),
    ],
)
def test_an_error_under_status_200_has_its_kind(word: str, kind: FailureKind) -> None:
    """And its words, whatever rows came beside it."""
    found = newrelic.read_nrql(
        HttpReply(200, {}, nrql([{"x": 1}], errors=[{"message": "because", "extensions": {"errorClass": word}}])), "q"
    )
    assert isinstance(found, Failure)
    assert found.kind is kind
    assert f"{word}: because" in found.message


# Dynatrace.


async def test_dynatrace_s_client_sends_the_same_and_reads_the_same(server: Server, http: Http) -> None:
    """Selector, window, resolution and token; each series' newest number."""
    selector = 'builtin:service.errors.total.count:splitBy("dt.entity.service"):sum'
    server.body = selected([0.25, 3.0])
    ours = await dynatrace.build(dynatrace.DynatraceOptions(url=server.url, token="dt0c01"), http).value(selector, at=AT, deadline=5.0)

    def ask() -> list[Any]:
        client = Dynatrace(server.url, "dt0c01", log=logging.getLogger("dynatrace-model"))
        moments = (dt.datetime.fromtimestamp(AT - 300, dt.UTC), dt.datetime.fromtimestamp(AT, dt.UTC))
        stamps = [str(int(m.timestamp() * 1000)) for m in moments]
        return list(client.metrics.query(selector, resolution="Inf", time_from=stamps[0], time_to=stamps[1]))

    theirs = await asyncio.to_thread(ask)
    mine, wanted = (said(request, "authorization") for request in server.asked)
    assert mine == wanted
    newest = [[v for v in one.values if v is not None][-1] for collection in theirs for one in collection.data]
    assert ours == Value(value=newest) == Value(value=[0.25, 3.0])


async def test_pages_of_dynatrace_are_put_together(http: Http) -> None:
    """The key of the next page alone, as Dynatrace wants it; pages without end are given up."""
    pages = [selected([0.5], nextPageKey="more"), selected([4.0])]
    async with paged(pages) as (url, asked):
        source = dynatrace.build(dynatrace.DynatraceOptions(url=url, token="t"), http)
        assert await source.value("a:b", at=AT, deadline=5.0) == Value(value=[0.5, 4.0])
        assert asked[1].path == "/api/v2/metrics/query?nextPageKey=more"
    async with paged(pages[:1]) as (url, asked):
        found = await dynatrace.build(dynatrace.DynatraceOptions(url=url, token="t"), http).value("a:b", at=AT, deadline=5.0)
    assert isinstance(found, Failure)
    assert len(asked) == dynatrace.MOST_PAGES


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("a:b", {"metricSelector": "a:b", "resolution": "Inf", "from": "1759999710000", "to": "1760000010000"}),
        ("metricSelector=a:b&resolution=1m&from=now-10m", {"metricSelector": "a:b", "resolution": "1m", "from": "now-10m"}),
        ("?resolution=1m&metricSelector=a", {"metricSelector": "a", "resolution": "1m", "from": "1759999710000", "to": "1760000010000"}),
        ("metricSelector=", None),
        ("", None),
    ],
)
def test_a_query_is_a_selector_or_a_whole_query_string(query: str, wanted: dict[str, str] | None) -> None:
    """What it says wins; without a selector it is refused unasked."""
    found = dynatrace.form_of(query, AT, 300.0)
    assert (dict(found) if found is not None else None) == wanted


def test_dynatrace_s_own_words_are_repeated() -> None:
    """Of an error that it explains."""
    body = json.dumps({"error": {"code": 400, "message": "unknown metric", "constraintViolations": []}}).encode()
    found = dynatrace.read_page(HttpReply(400, {}, body), "a:b")
    assert isinstance(found, Failure)
    assert found.message == "HTTP 400: unknown metric (a:b)"


# Splunk Observability.


async def test_splunk_s_client_sends_the_same_and_reads_the_same(server: Server, http: Http) -> None:
    """Program, window and token; the newest of what each series published."""
    program = "data('shop.errors').sum(by=['host']).publish()"
    server.body, server.headers = stream([0.25, 3.0]), {"Content-Type": "text/event-stream"}
    ours = await splunk.build(splunk.SplunkOptions(realm="eu0", token="t", url=server.url), http).value(program, at=AT, deadline=5.0)

    transport: Any = SSETransport

    def ask() -> dict[str, float]:
        newest: dict[str, float] = {}
        with SignalFlowClient("t", endpoint=server.url, transport=transport) as client:
            computation = client.execute(program, start=int((AT - 300) * 1000), stop=int(AT * 1000), immediate=True)
            for message in computation.stream():
                newest |= message.data if isinstance(message, messages.DataMessage) else {}
        return newest

    theirs = await asyncio.to_thread(ask)
    mine, wanted = server.asked
    asked_ours, asked_theirs = (dict(said(r, "x-sf-token", "content-type")[2]) for r in (mine, wanted))
    assert {name: asked_theirs[name] for name in asked_ours} == asked_ours
    assert {k: v for k, v in asked_theirs.items() if k not in asked_ours} in ({}, {"persistent": "False"})
    assert said(mine, "x-sf-token", "content-type")[3] == said(wanted, "x-sf-token", "content-type")[3]
    assert (mine.path.partition("?")[0], mine.body) == (wanted.path.partition("?")[0], wanted.body)
    assert ours == Value(value=list(theirs.values())) == Value(value=[0.25, 3.0])


def test_a_stream_is_read_however_its_lines_are_cut() -> None:
    """Data over several lines, other line ends, comments, and series that published nothing or null."""
    text = (
        ': hello\r\nevent: data\r\ndata: {"logicalTimestampMs": 2,\r\ndata:  "data": [{"tsId": "a", "value": 1}, {"tsId": "b", "value": null}]}\r\n\r\n'
        'event: data\ndata: {"logicalTimestampMs": 1, "data": [{"tsId": "a", "value": 9}]}\n\n'
        'event: control-message\ndata: {"event": "END_OF_CHANNEL"}\n'
    )
    assert splunk.read_stream(HttpReply(200, {}, text.encode()), "p") == Value(value=[1.0])


def test_a_program_that_cannot_run_is_told_with_splunk_s_words() -> None:
    """By status or within the stream; what was limited says by how much."""
    body = json.dumps({"code": 400, "message": "unknown function"}).encode()
    refused = splunk.read_stream(HttpReply(400, {}, body), "p")
    assert isinstance(refused, Failure)
    assert "unknown function" in refused.message
    error = {"errors": [{"code": "ANALYTICS_PROGRAM_NAME_ERROR", "context": {"message": "no such name"}}]}
    rejected = splunk.read_stream(HttpReply(200, {}, stream([], ("error", error))), "p")
    assert isinstance(rejected, Failure)
    assert (rejected.kind, rejected.retryable) == (FailureKind.BAD_QUERY, False)
    assert "ANALYTICS_PROGRAM_NAME_ERROR: no such name" in rejected.message
