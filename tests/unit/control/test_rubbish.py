"""What a metric source says that is no measurement reaches people as a condition of the judge, and is never a verdict."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest
from aiohttp import web

from daemon.rollout.model import JudgeView
from tests.unit.control.cluster import SHOP
from tests.unit.control.test_judging import ANALYSIS, KEY, ORDERS, START, Court
from tests.unit.control.test_measuring import REVISION, Bench
from tests.unit.control.test_measuring import bench as bench
from tests.unit.control.world import Object

PODS = ("web-55555-x", "web-canary-bbbbb-55555-x")
Answer = Callable[[dict[str, str]], list[Object]]


def _error(kind: str, words: str) -> str:
    return json.dumps({"status": "error", "errorType": kind, "error": words})


def _fails(_form: dict[str, str]) -> list[Object]:
    raise web.HTTPBadRequest(text=_error("bad_data", "parse error: unexpected end"))


def _slow(_form: dict[str, str]) -> list[Object]:
    raise web.HTTPServiceUnavailable(text=_error("timeout", "query timed out in expression evaluation"))


def _an_hour_off(_form: dict[str, str]) -> list[Object]:
    body = {"status": "success", "data": {"resultType": "matrix", "result": []}}
    raise web.HTTPOk(text=json.dumps(body), headers={"Date": formatdate(time.time() + 3600, usegmt=True)})


def _series(form: dict[str, str], value: Callable[[int], str], **labels: str) -> list[Object]:
    """Second by second, as sound answers are: all of the canary's orders are bad, none of the others'."""
    at = [int(float(form["time"])) - k for k in range(40, -1, -1)]
    return [
        {"metric": {"__name__": name, "namespace": SHOP, "pod": pod, **labels}, "values": [(t, value(t)) for t in at]}
        for pod in PODS
        for name in ("orders_all", "orders_bad")
        if name == "orders_all" or pod != PODS[0]
    ]


def _growing(t: int) -> str:
    return str(int(t - START + 1000) * 50)


def _strings(form: dict[str, str]) -> list[Object]:
    return _series(form, lambda _: "plenty")


def _other_labels(form: dict[str, str]) -> list[Object]:
    """The time of day is a label: each scrape has series that the one before had not."""
    whole = _series(form, _growing)
    return [{"metric": {**one["metric"], "at": str(sample[0])}, "values": [sample]} for one in whole for sample in one["values"]]


async def _view(court: Court, words: str) -> JudgeView:
    """Second by second until the judge says so; then five more looks, of which none may decide."""
    async with court.sitting() as board, asyncio.timeout(60):
        court.follow(board, 20)
        seen: JudgeView | None = None
        while seen is None or seen.code != "ProviderError" or words not in seen.text:
            await asyncio.sleep(0.12)
            court.now += 1
            seen = board.view(KEY, REVISION)
            assert seen is None or seen.action == "Hold", seen
        for _ in range(5):
            await asyncio.sleep(0.12)
            court.now += 1
            seen = board.view(KEY, REVISION)
            assert seen is not None and seen.action == "Hold", seen
        return seen


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_fails, "parse error: unexpected end"),
        (_slow, "query timed out"),
        (_an_hour_off, "the clock of"),
        (_strings, "the answer cannot be read"),
        (_other_labels, "at every scrape the series have other labels"),
    ],
)
async def test_rubbish_is_a_condition_and_no_verdict(bench: Bench, answer: Answer, words: str) -> None:
    """The query fails or is slow; strings, other labels at every scrape, a clock an hour off: held, and said."""
    court = Court(bench, {**ANALYSIS, "metrics": [ORDERS]}, bench.source("shop"))
    bench.pages.answer = answer
    view = await _view(court, words)
    assert view.canary_requests == 0
