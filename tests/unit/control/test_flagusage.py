"""The guard against a canary that proves nothing of its flag: what it asks of the source and when, and what people are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import msgspec
import pytest
from aiohttp import web

from daemon.api.canary import CanarySpec, Flag, Step
from daemon.api.status import CanaryStatus, FlagStatus, FlagUsage, Phase, RolloutStatus
from daemon.control import flagusage
from daemon.control import objects as ours
from daemon.control.flagsources import FlagSources
from daemon.control.flagusage import UsageBoard
from daemon.control.http import Http
from daemon.control.resolved import FlagUse, Resolved
from daemon.rollout.model import FlagView
from flags.flagd import FlagdProvider
from flags.model import Evaluations, Owner
from flags.provider import FlagProvider, UsageMetrics
from flags.usage import REPORTED
from tests.unit.control.test_flagging import condition, exposed, opened
from tests.unit.control.world import World

PATH = "/api/admin/client-metrics/features/new/raw?hoursBack=2"
SEEN = FlagView(name="new", key="new", source="default", percent=100, gated=True, seen=True)


class Tokens:
    async def read(self, _namespace: str, _ref: object) -> str:
        return "token"


class Server:
    """An Unleash that says what the test wants of usage, and a board that asks it; time goes on when the test says so."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.status, self.open = 200, asyncio.Event()
        self.open.set()
        self.asked: list[str] = []
        self.now = 2_000_000_000.0
        self.board = UsageBoard(lambda: self.now)
        self.http = Http()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        await self.open.wait()
        return web.json_response({"version": 1, "data": self.rows}, status=self.status)

    def reports(self, yes: int, no: int, app: str = "shop", environment: str = "production") -> None:
        found = {"featureName": "new", "appName": app, "environment": environment, "timestamp": "t", "yes": yes, "no": no}
        self.rows = [r for r in self.rows if r["appName"] != app] + [found]

    async def look(
        self, view: FlagView = SEEN, *, phase: Phase = "Progressing", step: int = 0, weight: int = 20, **status: Any
    ) -> FlagView:
        """The next pass, a report later."""
        flag = FlagStatus(name="new", key="new", source="default", wanted=view.percent or 0, **status)
        rollout = RolloutStatus(revision="r", started_at="2026-01-01T00:00:00Z", step=step, weight_reached=weight)
        spec = {"url": self.url, "environment": "production", "tokenSecretRef": {"name": "unleash", "key": "token"}}
        body = {"metadata": {"name": "default", "namespace": "shop", "uid": "s"}, "spec": {"type": "Unleash", "unleash": spec}}
        source = msgspec.convert(body, ours.FlagSource)
        made = SimpleNamespace(
            canary=SimpleNamespace(key=("shop", "web"), status=CanaryStatus(phase=phase, rollout=rollout, flags=[flag])),
            flags=(FlagUse(name="new", key="new", source=source),),
            spec=CanarySpec(flags=[Flag(name="new")], steps=[Step(name="one", weight=weight)]),
        )
        sources = FlagSources(cast("Any", None), self.http, cast("Any", Tokens()))
        owner = Owner(cluster="c", namespace="shop", name="web", uid="u")

        async def provide(use: FlagUse) -> FlagProvider:
            return await sources.provider(use.source, owner)

        (found,) = await self.board.add(cast("Resolved", made), (view,), provide)
        self.now += REPORTED
        return found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found, app = Server(), web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await found.http.close()
        await runner.cleanup()


async def test_a_flag_that_is_met_is_asked_for_until_that_is_clear(server: Server) -> None:
    """Nothing before the reports from before the change are in, then once a report, and never again in this step; anew in the next."""
    server.reports(500, 500)  # of an earlier share
    assert (await server.look()).usage is None
    assert server.asked == []
    assert (await server.look()).usage is None
    server.reports(544, 556)
    usage = (await server.look()).usage
    assert usage is not None
    assert (usage.found, usage.yes, usage.no) == ("Confirmed", 44, 56)
    assert server.asked == [PATH] * 2
    assert [(await server.look()).usage for _ in range(3)] == [None] * 3
    assert server.asked == [PATH] * 2
    assert server.board.again_in(("shop", "web")) is None
    for _ in range(2):
        await server.look(step=1)
    assert server.asked == [PATH] * 3


async def test_within_an_interval_a_source_is_not_asked_again(server: Server) -> None:
    """However many passes there are; and the controller is told when to look again."""
    for _ in range(2):
        await server.look()
    for _ in range(3):
        server.now -= REPORTED - 1
        await server.look()
    assert server.asked == [PATH]
    server.now -= REPORTED
    assert server.board.again_in(("shop", "web")) == pytest.approx(REPORTED - 3)


@pytest.mark.parametrize(
    ("reported", "says"),
    [
        (None, "flag new at 100 % was never evaluated, as far as SDKs report it: the canary proves nothing of it"),
        (
            (0, 1200),
            "flag new at 100 % was evaluated 1 200 times by shop, and was never on: the canary proves nothing of it; perhaps the app",
        ),
    ],
)
async def test_a_flag_that_nobody_met_is_said(server: Server, reported: tuple[int, int] | None, says: str) -> None:
    """Never asked for; or asked for without the track, which is how an app shows that does not hand it on."""
    server.reports(100, 9, environment="development")
    for _ in range(2):
        await server.look()
    if reported is not None:
        server.reports(*reported)
    usage = (await server.look()).usage
    assert usage is not None
    assert usage.found == "NoExposure"
    assert usage.message.startswith(says)
    assert ("LINNET_TRACK" in usage.message) == (reported is not None)


async def test_what_was_found_stands_until_more_is_known(server: Server) -> None:
    """At the next step a few evaluations without one that is on take nothing back; one that is on does."""
    before = FlagUsage(found="NoExposure", no=1200)
    for _ in range(2):
        await server.look(step=1, usage=before)
    server.reports(0, 5)
    assert (await server.look(step=1, usage=before)).usage is None
    server.reports(1, 5)
    usage = (await server.look(step=1, usage=before)).usage
    assert usage is not None
    assert usage.found == "Confirmed"


@pytest.mark.parametrize(
    ("view", "phase", "weight"),
    [
        (SEEN, "Idle", 20),
        (SEEN, "RollingBack", 20),
        (SEEN, "Promoting", 20),
        (SEEN, "Progressing", 0),
        (msgspec.structs.replace(SEEN, percent=0), "Progressing", 20),
        (msgspec.structs.replace(SEEN, seen=False), "Progressing", 20),
        (msgspec.structs.replace(SEEN, drift="lower"), "Progressing", 20),
        (msgspec.structs.replace(SEEN, open=True), "Progressing", 20),
    ],
)
async def test_nothing_is_asked_where_nobody_should_meet_the_flag(server: Server, view: FlagView, phase: Phase, weight: int) -> None:
    """At rest, on the way back or out, at 0, before SDKs have it, or with a person's hand on it."""
    for _ in range(4):
        assert (await server.look(view, phase=phase, weight=weight)).usage is None
    assert server.asked == []


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_source_that_may_not_tell_leaves_it_unknown(server: Server, status: int) -> None:
    """It is asked once a step, and never called NoExposure."""
    server.status = status
    usages = [(await server.look()).usage for _ in range(5)]
    assert [u.found for u in usages if u is not None] == ["Unknown"]
    assert len(server.asked) == 1


async def test_a_source_without_usage_metrics_is_never_called_unmet(server: Server) -> None:
    """flagd, LaunchDarkly and HTTP count nothing: what is not known is not said."""
    assert not issubclass(FlagdProvider, UsageMetrics)
    with mock.patch.object(flagusage, "UsageMetrics", FlagdProvider):
        assert [(await server.look()).usage for _ in range(4)] == [None] * 4
    assert server.asked == []


async def test_a_source_that_hangs_keeps_a_pass_no_longer_than_its_patience(server: Server) -> None:
    """The pass goes on without an answer, and asks again a report later."""
    for _ in range(2):
        await server.look()
    server.open.clear()
    with mock.patch.object(flagusage, "PATIENCE", 0.1):
        assert (await server.look()).usage is None
    server.status = 500
    server.open.set()
    assert (await server.look()).usage is None
    server.status = 200
    server.reports(3, 5)
    found = (await server.look()).usage
    assert found is not None
    assert (found.found, found.yes, found.no) == ("Confirmed", 3, 5)


async def test_a_promotion_on_evidence_of_a_flag_that_nobody_evaluated_says_so(world: World) -> None:
    """The condition and the flag's status while it is so; and the sentence of the release for good."""
    rows: list[Evaluations] = []

    async def usage(_self: object, _flag: object) -> tuple[Evaluations, ...]:
        return tuple(rows)

    with mock.patch.object(FlagdProvider, "usage", usage, create=True), mock.patch.object(flagusage, "REPORTED", 0.1):
        await opened(world)
        world.release("app:v2")
        await exposed(world)
        await world.until(lambda: condition(world, "NoExposure"), "the condition is there")
        found = condition(world, "NoExposure") or {}
        assert (found["reason"], "was never evaluated" in found["message"]) == ("NeverOn", True)
        assert world.status()["flags"][0]["usage"]["found"] == "NoExposure"
        rows.append(Evaluations(app="shop", hour="h", yes=1, no=1))
        await world.until(lambda: condition(world, "NoExposure") is None, "the condition is gone")
        world.say("abort")
        await world.phases("Held", "Idle")
        rows.clear()
        world.release("app:v3")
        await exposed(world)
        await world.until(lambda: condition(world, "NoExposure"), "the condition is there again")
        world.say("promote")
        await world.phases("Idle")
    assert "flag new 40 % (not proven: it was never evaluated)" in json.dumps(world.status()["history"])
    assert condition(world, "NoExposure") is None
