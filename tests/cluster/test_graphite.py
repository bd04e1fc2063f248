"""Templates on a real Graphite: what carbon was told is what a condition sees, and what graphite-web refuses is a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from analyzers.sources.graphite import GraphiteOptions, GraphiteSource
from analyzers.sources.protocol import Failure, FailureKind, Value
from daemon.control.http import Http
from tests.testbed import build
from tests.testbed.lone_graphite import LoneGraphite, lone_graphite

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.fixture
async def graphite(tmp_path: Path) -> AsyncIterator[LoneGraphite]:
    if build.missing({"graphite"}):
        pytest.skip("not built: graphite: run `python -m tests.testbed.build`")
    async with lone_graphite(tmp_path) as found:
        yield found


async def test_what_carbon_was_told_is_what_a_condition_sees(graphite: LoneGraphite) -> None:
    """A target, a function of several, a whole query string with its own window; nothing is no number, and a bad function no value."""
    http, now = Http(), int(time.time())
    source = GraphiteSource(GraphiteOptions(url=graphite.url), http)

    async def value(query: str) -> object:
        found = await source.value(query, at=time.time(), deadline=20.0)
        return found.value if isinstance(found, Value) else found

    try:
        pods = {"a": (1.0, 2.0, 3.5), "b": (10.0, 20.0, 30.0)}
        await graphite.store(*((f"shop.{pod}.errors", v, now - 20 + i) for pod, own in pods.items() for i, v in enumerate(own)))
        async with asyncio.timeout(30):  # carbon takes lines as they come, and graphite-web asks its cache
            while await value("sumSeries(shop.*.errors)") != [11.0, 22.0, 33.5]:
                await asyncio.sleep(0.2)
        assert await value("shop.a.errors") == [1.0, 2.0, 3.5]
        assert await value("target=shop.b.errors&from=-1min&until=now") == [10.0, 20.0, 30.0]
        assert await value(f"target=shop.b.errors&from={now - 20}&until={now - 19}") == [20.0]
        assert await value("shop.nobody.errors") == []
        refused = await value("noSuchFunction(shop.a.errors)")
        assert isinstance(refused, Failure)
        assert (refused.kind, refused.retryable) == (FailureKind.BAD_QUERY, False)
    finally:
        await http.close()
