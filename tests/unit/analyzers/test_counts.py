"""Counts in JSON over HTTP: what is asked for which version, and what of the answer is counted."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.metrics import Matcher, MatchOp, parse_selector
from analyzers.sources.counts import Counter, CountsOptions, build
from analyzers.sources.protocol import Failure, FailureKind, NoData, Outcome, Query, Samples
from daemon.control.http import Http
from tests.unit.analyzers.sources import AT, Server

ARMS = ("stable", "canary")


async def ask(server: Server, http: Http, selector: str, *, labels: dict[str, str] | None = None, **options: Any) -> list[Outcome]:
    """Of both versions, in one fetch."""
    source = build(CountsOptions(url=server.url, **options), http)
    said = [tuple(Matcher(k, MatchOp.EQUAL, f"{v}{arm}") for k, v in (labels or {"arm": ""}).items()) for arm in ARMS]
    queries = [Query(selector=parse_selector(selector).where(own)) for own in said]
    server.asked.clear()
    return await source.fetch(queries, at=AT, window=60.0, deadline=5.0)


def values(outcomes: list[Outcome]) -> list[float]:
    return [s.samples[0].value for o in outcomes if isinstance(o, Samples) for s in o.series]


async def test_a_number_of_each_version_is_found_by_its_word(server: Server, http: Http) -> None:
    """One document with both: asked once, each version its own number."""
    server.body = b'{"stable": {"orders": 70}, "canary": {"orders": 5}}'
    found = await ask(server, http, "orders", counters={"orders": Counter(path="{$.{{arm}}.orders}")})
    assert values(found) == [70.0, 5.0]
    assert [a.path for a in server.asked] == ["/"]


async def test_each_version_may_have_an_address_of_its_own(server: Server, http: Http) -> None:
    """What a person wrote into armLabels is filled in as well, quoted."""
    server.body = b"7"
    found = await ask(server, http, "orders", labels={"version": "v&"}, counters={"orders": Counter()}, path="/n?v={{version}}&of=orders")
    assert values(found) == [7.0, 7.0]
    assert sorted(a.path for a in server.asked) == ["/n?v=v%26canary&of=orders", "/n?v=v%26stable&of=orders"]


async def test_records_are_told_apart_by_their_texts(server: Server, http: Http) -> None:
    """As a grouped query answers; several counts in one record are several counters, and none is a label."""
    server.body = (
        b'[{"arm":"stable","state":"paid","n":70,"eur":1.5},{"arm":"stable","state":"lost","n":2,"eur":0},'
        b'{"arm":"canary","state":"paid","n":5,"eur":2.5},{"arm":"canary","state":"lost","n":1,"eur":0}]'
    )
    counters = {"orders": Counter(value="n"), "revenue": Counter(value="eur")}
    assert values(await ask(server, http, 'orders{state="lost"}', counters=counters)) == [2.0, 1.0]
    assert values(await ask(server, http, "orders", counters=counters)) == [70.0, 2.0, 5.0, 1.0]
    (stable, _) = await ask(server, http, "revenue", counters=counters)
    assert isinstance(stable, Samples)
    assert [set(s.labels) for s in stable.series] == [{"instance", "arm", "state"}] * 2


async def test_what_is_the_same_for_both_versions_is_no_evidence(server: Server, http: Http) -> None:
    """Neither the address nor the answer speaks of versions: nothing, and no equal counts."""
    server.body = b"7"
    found = await ask(server, http, "orders", counters={"orders": Counter()})
    assert all(isinstance(o, NoData) for o in found)


async def test_a_null_counts_nothing(server: Server, http: Http) -> None:
    """A version that nobody has ordered from yet."""
    server.body = b'{"stable": 7, "canary": null}'
    found = await ask(server, http, "orders", counters={"orders": Counter(path="{$.{{arm}}}")})
    assert isinstance(found[1], NoData)
    assert values(found) == [7.0]


@pytest.mark.parametrize(
    ("selector", "path", "says"),
    [
        ("baskets", "/n", "there are orders"),
        ("orders", "/n?v={{pod}}", "{{arm}}"),
        ("orders", "/n?v={{arm}}", "instead"),
    ],
    ids=["counter", "word", "shape"],
)
async def test_a_question_that_makes_no_sense_says_what_would(server: Server, http: Http, selector: str, path: str, says: str) -> None:
    """An unknown counter, a word that nothing fills, an answer of another shape."""
    server.body = b'{"instead": 1}'
    (found, _) = await ask(server, http, selector, counters={"orders": Counter(path="{$.orders}")}, path=path)
    assert isinstance(found, Failure)
    assert found.kind in {FailureKind.BAD_QUERY, FailureKind.NOT_METRICS}
    assert says in found.message


async def test_what_arrives_late_is_of_an_earlier_time(server: Server, http: Http) -> None:
    """What is said now is what had happened a minute ago, and is counted there."""
    server.body = b"7"
    (found, _) = await ask(server, http, "orders", counters={"orders": Counter()}, path="/{{arm}}", ingestion_delay=60.0)
    assert isinstance(found, Samples)
    assert [s.at for one in found.series for s in one.samples] == [AT - 60.0]


def test_nothing_that_signs_in_is_shown() -> None:
    """Options end up in logs and tracebacks."""
    shown = repr(CountsOptions(url="http://shop", counters={}, bearer_token="hush", password="hush"))
    assert "hush" not in shown
