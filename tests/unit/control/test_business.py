"""What a business counts, in JSON over HTTP from a real server: a release that sells less is stopped by that alone, and by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.serving import serving
from tests.unit.control import world as w
from tests.unit.control.cluster import Object
from tests.unit.control.test_judging import ANALYSIS, START, Court, evidence
from tests.unit.control.test_measuring import Bench
from tests.unit.control.test_measuring import bench as bench

VISITS = 400  # of each version, a second


class Orders:
    """A shop that knows which version showed a visitor the page; its rows are those of a grouped query."""

    def __init__(self) -> None:
        self.court: Court | None = None
        self.share = {"stable": 0.30, "canary": 0.30}

    async def counts(self, _: web.Request) -> web.Response:
        assert self.court is not None
        visits = int((self.court.now - START + 60) * VISITS)
        rows = [{"arm": arm, "visits": visits, "orders": int(visits * share)} for arm, share in self.share.items()]
        return web.json_response({"data": rows})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/counts", self.counts)
        async with serving(app) as url:
            yield url


def source(url: str) -> Object:
    counters = [{"name": name, "jsonPath": "{$.data}", "value": name} for name in ("visits", "orders")]
    return w.linnet("MetricSource", "shop", {"type": "Web", "web": {"url": url, "path": "/counts", "counters": counters}})


CONVERSION: Object = {
    "name": "conversion",
    "ratio": {"errors": "orders", "total": "visits"},
    "direction": "HigherIsBetter",
    "lag": "1s",
    "rollbackIfWorseBy": "1.05x",
    "promoteIfWithin": "10%",
    "sourceRef": {"name": "shop"},
}


@pytest.mark.parametrize("asked", [True, False], ids=["judged", "not judged"])
async def test_a_release_that_sells_less_is_stopped_by_its_conversion_alone(bench: Bench, asked: bool) -> None:
    """60 % fewer orders (one pod can prove no less) and not one error: rolled back naming the conversion, and proven fine where that is not asked about."""
    shop = Orders()
    shop.share["canary"] = 0.12
    async with shop.open() as url:
        metrics = [*ANALYSIS["metrics"], *([CONVERSION] if asked else [])]
        court = shop.court = Court(bench, {**ANALYSIS, "metrics": metrics}, source(url))
        async with court.sitting() as board:
            court.follow(board, 50)
            await court.until(lambda: evidence(board) is not None)
            view = await court.passes(board, lambda v: v.action in {"Rollback", "Promote"})
    assert view.action == ("Rollback" if asked else "Promote")
    if asked:
        assert view.culprit == "conversion"
        assert "conversion" in view.text


async def test_a_release_that_sells_as_much_is_proven_fine(bench: Bench) -> None:
    """Counts of versions that are the same."""
    shop = Orders()
    async with shop.open() as url:
        court = shop.court = Court(bench, {**ANALYSIS, "metrics": [*ANALYSIS["metrics"], CONVERSION]}, source(url))
        async with court.sitting() as board:
            court.follow(board, 50)
            await court.until(lambda: evidence(board) is not None)
            view = await court.passes(board, lambda v: v.action in {"Rollback", "Promote"})
    assert view.action == "Promote"
    assert {m.name for m in view.metrics if m.canary_total} == {"errors", "conversion"}
