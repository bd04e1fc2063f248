"""The contract that every metric source keeps, against a server that misbehaves in every way servers do.

An answer is samples (or values), nothing, not all, or a failure with a kind and an advice; never an exception, never a number made of
rubbish. What a server may say is the same for both uses, and so is most of this.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import time
from email.utils import format_datetime

import pytest

from analyzers.metrics import parse_selector
from analyzers.sources import SERVERS, SOURCES
from analyzers.sources.protocol import Failure, FailureKind, NoData, Partial, Samples, Value
from daemon.api.analysis import QUERIED
from daemon.api.sources import METRIC_SOURCES
from daemon.control.http import Http
from tests.unit.analyzers.sources import ADAPTERS, COUNTERS, USES, VALUES, CounterUse, Server, Use, ValueUse

COUNTED = {("a", "200"): 97.0, ("a", "500"): 3.0}


def _named(use: Use) -> str:
    return f"{use.adapter.name}-{'counters' if isinstance(use, CounterUse) else 'values'}"


each_use = pytest.mark.parametrize("use", USES, ids=_named)
each_counter = pytest.mark.parametrize("use", COUNTERS, ids=_named)
each_value = pytest.mark.parametrize("use", VALUES, ids=_named)


def test_every_source_is_held_by_the_contract_in_each_of_its_uses() -> None:
    """A new line of the registry needs an adapter here, a block in the API, a provider of templates, and a row of the table."""
    assert {a.name for a in ADAPTERS} == set(SOURCES) == set(METRIC_SOURCES) == {s.type for s in SERVERS}
    assert {u.adapter.name for u in COUNTERS} == {name for name, kind in SOURCES.items() if kind.counters}
    assert {u.adapter.name for u in VALUES} == {name for name, kind in SOURCES.items() if kind.values} == set(QUERIED)


def test_a_source_that_lacks_a_use_says_why() -> None:
    """The words that its owner reads."""
    for name, kind in SOURCES.items():
        assert kind.uses
        assert bool(kind.instead) is (len(kind.uses) == 1), name


@each_counter
async def test_what_was_counted_is_what_comes_out(use: CounterUse, server: Server, http: Http) -> None:
    """Each selector its own series, once, with a pod, and no question more than one for both."""
    server.body = use.speak(COUNTED)
    queries = [use.query(server), use.query(server, parse_selector('requests_total{code=~"5.."}'))]
    total, errors = await use.source(server.url, http).fetch(queries, at=1_760_000_010.0, window=60.0, deadline=5.0)
    assert isinstance(total, Samples)
    assert isinstance(errors, Samples)
    assert sorted(s.samples[0].value for s in total.series) == [3.0, 97.0]
    assert [s.samples[0].value for s in errors.series] == [3.0]
    assert {s.labels["pod"] for s in total.series} == {"a"}
    assert len(server.asked) == 1


@each_value
async def test_what_was_measured_is_what_a_condition_sees(use: ValueUse, server: Server, http: Http) -> None:
    """The numbers in their order; none is an empty list, and no zero."""
    for values in ([0.25], [1.0, 0.5, 0.0], []):
        server.body = use.tell(values)
        assert await use.ask(server, http) == Value(value=use.adapter.shape(values))


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
@each_use
async def test_a_refusal_has_its_kind_and_its_patience(
    use: Use, server: Server, http: Http, status: int, headers: dict[str, str], kind: FailureKind, retryable: bool, after: float | None
) -> None:
    """And is not asked again within the tick."""
    server.status, server.headers, server.body = status, headers, b"no"
    outcome = await use.ask(server, http)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable, outcome.retry_after) == (kind, retryable, after)
    assert str(status) in outcome.message
    assert len(server.asked) == 1


@each_use
async def test_a_gateway_s_html_is_no_message(use: Use, server: Server, http: Http) -> None:
    """502 with a page of a proxy: a failure of the server that names the status and quotes no markup."""
    server.status, server.body = 502, b"<html><body>Bad Gateway</body></html>"
    outcome = await use.ask(server, http)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == (FailureKind.SERVER_ERROR, True)
    assert "502" in outcome.message
    assert "<" not in outcome.message


@each_use
async def test_a_redirect_is_not_followed(use: Use, server: Server, http: Http) -> None:
    """To a login form, say: credentials stay here, and the message says where it led."""
    server.status, server.headers = 302, {"Location": "https://login.example/?secret=1"}
    outcome = await use.ask(server, http)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.NOT_METRICS
    assert "login.example" in outcome.message
    assert "secret" not in outcome.message


@each_use
async def test_a_server_that_hangs_is_left_at_the_deadline(use: Use, server: Server, http: Http) -> None:
    """Or that is gone: two kinds, both worth another try at the next tick."""
    server.held = asyncio.Event()
    slow = await use.ask(server, http, deadline=-0.9)  # the client waits a second longer than that
    assert isinstance(slow, Failure)
    assert (slow.kind, slow.retryable) == (FailureKind.TIMEOUT, True)


@each_use
async def test_a_server_that_is_gone_is_named(use: Use, http: Http) -> None:
    """A refused connection says which address."""
    outcome = await use.ask(Server(url="http://127.0.0.1:1"), http)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == (FailureKind.UNREACHABLE, True)
    assert "127.0.0.1:1" in outcome.message


@each_counter
async def test_nothing_is_no_data_and_nan_is_nothing(use: CounterUse, server: Server, http: Http) -> None:
    """Neither is zero; a NaN beside a number leaves the number."""
    for counters in ({}, {("a", "200"): math.nan}, {("a", "200"): math.inf}):
        server.body = use.speak(counters)
        assert isinstance(await use.ask(server, http), NoData), counters
    server.body = use.speak({("a", "200"): 5.0, ("a", "500"): math.nan})
    mixed = await use.ask(server, http)
    assert isinstance(mixed, Samples)
    assert [s.samples[0].value for s in mixed.series] == [5.0]


@each_use
async def test_rubbish_is_a_failure(use: Use, server: Server, http: Http) -> None:
    """A login form, words where numbers should be, another type of result: never a sample, never a value."""
    bodies = use.adapter.rubbish if isinstance(use, CounterUse) else use.adapter.untold
    assert bodies
    for body in bodies:
        server.body = body
        outcome = await use.ask(server, http)
        assert isinstance(outcome, Failure), body
        assert outcome.message


@each_counter
async def test_ten_thousand_series_are_counted(use: CounterUse, server: Server, http: Http) -> None:
    """All of them; more than twice as many are refused with what to do."""
    server.body = use.speak({("a", f"c{i}"): 1.0 for i in range(10_000)})
    outcome = await use.ask(server, http)
    assert isinstance(outcome, Samples)
    assert sum(s.samples[0].value for s in outcome.series) == 10_000
    server.body = use.speak({("a", f"c{i}"): 1.0 for i in range(20_001)})
    outcome = await use.ask(server, http)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == (FailureKind.TOO_MUCH, False)
    assert "narrow the selector" in outcome.message


@each_value
async def test_ten_thousand_values_are_a_measurement(use: ValueUse, server: Server, http: Http) -> None:
    """One more is a query that was meant otherwise."""
    server.body = use.tell([1.0] * 10_000)
    assert await use.ask(server, http) == Value(value=use.adapter.shape([1.0] * 10_000))
    server.body = use.tell([1.0] * 10_001)
    outcome = await use.ask(server, http)
    assert isinstance(outcome, Failure)
    assert not outcome.retryable
    assert "10001" in outcome.message


@each_use
async def test_an_answer_without_end_is_not_read(use: Use, server: Server, http: Http) -> None:
    """More than 16 MB is given up, and the message does not blame the network."""
    server.body = b"#" * (16 * 2**20 + 1)
    outcome = await use.ask(server, http)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TOO_MUCH


@each_counter
async def test_an_answer_that_is_not_all_is_never_taken_for_all(use: CounterUse, server: Server, http: Http) -> None:
    """Where a server says so, in whatever way, the samples are shown and marked; the words reach the reader."""
    for speak in use.adapter.partial:
        server.body = speak(COUNTED)
        outcome = await use.ask(server, http)
        assert isinstance(outcome, Partial)
        assert outcome.warnings
        assert len(outcome.series) == 2


@each_value
async def test_an_unfinished_value_is_none(use: ValueUse, server: Server, http: Http) -> None:
    """What the server itself calls incomplete is worth another try, and no measurement."""
    for body in use.adapter.unfinished:
        server.body = body
        outcome = await use.ask(server, http)
        assert isinstance(outcome, Failure), body
        assert outcome.retryable


@pytest.mark.parametrize("ahead", [3600, -3600])
@each_use
async def test_a_clock_an_hour_off_makes_no_evidence(use: Use, server: Server, http: Http, ahead: int) -> None:
    """Whoever stamps the samples must know the time; a pod's clock stamps none, and its start is read by its own clock."""
    now = time.time()
    server.headers = {"Date": format_datetime(dt.datetime.fromtimestamp(now + ahead, dt.UTC), usegmt=True)}
    server.body = use.speak(COUNTED) if isinstance(use, CounterUse) else b""
    if isinstance(use, CounterUse) and use.adapter.name == "Scrape":
        server.body += f"process_start_time_seconds {now + ahead - 7200}\n".encode()
        (outcome,) = await use.source(server.url, http).fetch([use.query(server)], at=now, window=60.0, deadline=5.0)
        assert isinstance(outcome, Samples)
        assert outcome.series[0].started_at == pytest.approx(now - 7200, abs=3)
        return
    failed = await use.ask(server, http)
    assert isinstance(failed, Failure)
    assert failed.kind is FailureKind.CLOCK_SKEW
    assert "360" in failed.message or "359" in failed.message


@each_counter
async def test_what_the_collector_reads_is_there(use: CounterUse, http: Http) -> None:
    """The properties by which ticks become final."""
    source = use.source("http://127.0.0.1:1", http)
    assert source.settle_scrapes >= 0
    assert source.ingestion_delay >= 0
    assert isinstance(source.backfills, bool)
