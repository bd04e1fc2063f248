"""The contract that every metric source keeps, against a server that misbehaves in every way servers do.

An answer is samples, nothing, not all, or a failure with a kind and an advice; never an exception, never a number made of rubbish.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator
from email.utils import format_datetime

import pytest

from analyzers.metrics import parse_selector
from analyzers.sources import SOURCES
from analyzers.sources.protocol import Failure, FailureKind, MetricSource, NoData, Outcome, Partial, Query, Samples
from daemon.control.http import Http
from tests.unit.analyzers.sources import ADAPTERS, AT, Adapter, Server, scripted

COUNTERS = {("a", "200"): 97.0, ("a", "500"): 3.0}


@pytest.fixture(params=ADAPTERS, ids=lambda a: a.name)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    found: Adapter = request.param
    return found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with scripted() as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http()
    yield client
    await client.close()


@pytest.fixture
def source(adapter: Adapter, server: Server, http: Http) -> MetricSource:
    return adapter.source(server.url, http)


async def ask(source: MetricSource, *queries: Query, at: float = AT, deadline: float = 5.0) -> list[Outcome]:
    return await source.fetch(queries, at=at, window=60.0, deadline=deadline)


def test_every_source_is_held_by_the_contract() -> None:
    """A new line of the registry needs an adapter here."""
    assert {a.name for a in ADAPTERS} == set(SOURCES)


async def test_what_was_counted_is_what_comes_out(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """Each selector its own series, once, with a pod, and no question more than one for both."""
    server.body = adapter.speak(COUNTERS)
    total, errors = await ask(source, adapter.query(server), adapter.query(server, parse_selector('requests_total{code=~"5.."}')))
    assert isinstance(total, Samples)
    assert isinstance(errors, Samples)
    assert sorted(s.samples[0].value for s in total.series) == [3.0, 97.0]
    assert [s.samples[0].value for s in errors.series] == [3.0]
    assert {s.labels["pod"] for s in total.series} == {"a"}
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "headers", "kind", "retryable", "after"),
    [
        (401, {}, FailureKind.UNAUTHORIZED, False, None),
        (403, {}, FailureKind.FORBIDDEN, False, None),
        (429, {"Retry-After": "17"}, FailureKind.RATE_LIMITED, True, 17.0),
        (429, {"Date": "Mon, 01 Jan 2024 00:00:00 GMT", "Retry-After": "Mon, 01 Jan 2024 00:00:42 GMT", "Age": "1"}, FailureKind.RATE_LIMITED, True, 42.0),
        (429, {"Retry-After": "soon"}, FailureKind.RATE_LIMITED, True, None),
        (500, {}, FailureKind.SERVER_ERROR, True, None),
        (503, {"Retry-After": "5"}, FailureKind.SERVER_ERROR, True, 5.0),
    ],
)  # fmt: skip
async def test_a_refusal_has_its_kind_and_its_patience(
    adapter: Adapter,
    server: Server,
    source: MetricSource,
    status: int,
    headers: dict[str, str],
    kind: FailureKind,
    retryable: bool,
    after: float | None,
) -> None:
    """And is not asked again within the tick."""
    server.status, server.headers, server.body = status, headers, b"no"
    (outcome,) = await ask(source, adapter.query(server))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable, outcome.retry_after) == (kind, retryable, after)
    assert str(status) in outcome.message
    assert len(server.asked) == 1


async def test_a_gateway_s_html_is_no_message(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """502 with a page of a proxy: a failure of the server that names the status and quotes no markup."""
    server.status, server.body = 502, b"<html><body>Bad Gateway</body></html>"
    (outcome,) = await ask(source, adapter.query(server))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == (FailureKind.SERVER_ERROR, True)
    assert "502" in outcome.message
    assert "<" not in outcome.message


async def test_a_redirect_is_not_followed(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """To a login form, say: credentials stay here, and the message says where it led."""
    server.status, server.headers = 302, {"Location": "https://login.example/?secret=1"}
    (outcome,) = await ask(source, adapter.query(server))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.NOT_METRICS
    assert "login.example" in outcome.message
    assert "secret" not in outcome.message


async def test_a_server_that_hangs_is_left_at_the_deadline(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """Or that is gone: two kinds, both worth another try at the next tick."""
    server.held = asyncio.Event()
    (slow,) = await ask(source, adapter.query(server), deadline=-0.9)  # the client waits a second longer than that
    assert isinstance(slow, Failure)
    assert (slow.kind, slow.retryable) == (FailureKind.TIMEOUT, True)


async def test_a_server_that_is_gone_is_named(adapter: Adapter, http: Http) -> None:
    """A refused connection says which address."""
    gone = Server(url="http://127.0.0.1:1")
    (outcome,) = await ask(adapter.source(gone.url, http), adapter.query(gone))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == (FailureKind.UNREACHABLE, True)
    assert "127.0.0.1:1" in outcome.message


async def test_nothing_is_no_data_and_nan_is_nothing(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """Neither is zero; a NaN beside a number leaves the number."""
    for counters in ({}, {("a", "200"): float("nan")}, {("a", "200"): float("inf")}):
        server.body = adapter.speak(counters)
        (outcome,) = await ask(source, adapter.query(server))
        assert isinstance(outcome, NoData), counters
    server.body = adapter.speak({("a", "200"): 5.0, ("a", "500"): float("nan")})
    (mixed,) = await ask(source, adapter.query(server))
    assert isinstance(mixed, Samples)
    assert [s.samples[0].value for s in mixed.series] == [5.0]


async def test_rubbish_is_a_failure(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """A login form, words where numbers should be, another type of result: never a sample."""
    for body in adapter.rubbish:
        server.body = body
        (outcome,) = await ask(source, adapter.query(server))
        assert isinstance(outcome, Failure), body
        assert not isinstance(outcome, Samples | Partial)
        assert outcome.message


async def test_ten_thousand_series_are_counted(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """All of them; more than twice as many are refused with what to do."""
    server.body = adapter.speak({("a", f"c{i}"): 1.0 for i in range(10_000)})
    (outcome,) = await ask(source, adapter.query(server))
    assert isinstance(outcome, Samples)
    assert sum(s.samples[0].value for s in outcome.series) == 10_000
    server.body = adapter.speak({("a", f"c{i}"): 1.0 for i in range(20_001)})
    (outcome,) = await ask(source, adapter.query(server))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == (FailureKind.TOO_MUCH, False)
    assert "narrow the selector" in outcome.message


async def test_an_answer_without_end_is_not_read(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """More than 16 MB is given up, and the message does not blame the network."""
    server.body = b"#" * (16 * 2**20 + 1)
    (outcome,) = await ask(source, adapter.query(server))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TOO_MUCH


async def test_an_answer_that_is_not_all_is_never_taken_for_all(adapter: Adapter, server: Server, source: MetricSource) -> None:
    """Where a server says so, in whatever way, the samples are shown and marked; the words reach the reader."""
    for speak in adapter.partial:
        server.body = speak(COUNTERS)
        (outcome,) = await ask(source, adapter.query(server))
        assert isinstance(outcome, Partial)
        assert outcome.warnings
        assert len(outcome.series) == 2


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_a_clock_an_hour_off_makes_no_evidence(adapter: Adapter, server: Server, http: Http, ahead: int) -> None:
    """Whoever stamps the samples must know the time; a pod's clock stamps none, and its start is read by its own clock."""
    now = time.time()
    server.headers = {"Date": format_datetime(dt.datetime.fromtimestamp(now + ahead, dt.UTC), usegmt=True)}
    server.body = adapter.speak(COUNTERS)
    if adapter.name == "Scrape":
        server.body += f"process_start_time_seconds {now + ahead - 7200}\n".encode()
    (outcome,) = await ask(adapter.source(server.url, http), adapter.query(server), at=now)
    if adapter.name == "Scrape":
        assert isinstance(outcome, Samples)
        assert outcome.series[0].started_at == pytest.approx(now - 7200, abs=3)
    else:
        assert isinstance(outcome, Failure)
        assert outcome.kind is FailureKind.CLOCK_SKEW
        assert "360" in outcome.message or "359" in outcome.message


async def test_what_the_collector_reads_is_there(source: MetricSource) -> None:
    """The properties by which ticks become final."""
    assert source.settle_scrapes >= 0
    assert source.ingestion_delay >= 0
    assert isinstance(source.backfills, bool)
