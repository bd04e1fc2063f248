"""Whether an app meets its flag, by what its own SDK reports to a real Unleash."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from daemon.api.canary import CanarySpec, Flag, Step
from daemon.api.status import CanaryStatus, FlagStatus, FlagUsage, RolloutStatus
from daemon.control import objects as ours
from daemon.control.flagusage import UsageBoard
from daemon.control.resolved import FlagUse, Resolved
from daemon.rollout.model import FlagView
from flags.model import Desired, Gate
from flags.provider import FlagProvider
from flags.usage import REPORTED
from tests.testbed.unleash import BACKEND, Unleash
from tests.unleash.world import PRODUCTION, UnleashWorld, app

pytestmark = pytest.mark.unleash

USERS = 60


class Watch:
    """A release at 20 % of traffic whose flag stands at 100 % behind the gate; a report later with each look."""

    def __init__(self, world: UnleashWorld) -> None:
        self.world, self.now, self.usage = world, 2_000_000_000.0, cast("FlagUsage | None", None)
        self.board = UsageBoard(lambda: self.now)

    async def look(self, provider: FlagProvider | None = None) -> FlagUsage | None:
        key = self.world.flag.key
        source = msgspec.convert(
            {"metadata": {"name": "unleash", "namespace": "shop", "uid": "s"}, "spec": {"type": "Unleash"}}, ours.FlagSource
        )
        status = CanaryStatus(
            phase="Progressing",
            rollout=RolloutStatus(revision="r", started_at="2026-01-01T00:00:00Z", weight_reached=20),
            flags=[FlagStatus(name=key, key=key, source="unleash", wanted=100, usage=self.usage)],
        )
        made: Any = SimpleNamespace(
            canary=SimpleNamespace(key=("shop", "web"), status=status),
            flags=(FlagUse(name=key, key=key, source=source),),
            spec=CanarySpec(flags=[Flag(name=key)], steps=[Step(name="one", weight=20)]),
        )

        async def provide(_use: FlagUse) -> FlagProvider:
            return provider or self.world.provider

        view = FlagView(name=key, key=key, source="unleash", percent=100, gated=True, seen=True)
        (found,) = await self.board.add(cast("Resolved", made), (view,), provide)
        self.now += REPORTED
        self.usage = found.usage or self.usage
        return found.usage


async def reported(world: UnleashWorld, total: int) -> None:
    """The SDK has flushed and the server shows it."""
    async with asyncio.timeout(40):
        while sum(e.yes + e.no for e in await world.provider.usage(world.flag)) < total:
            await asyncio.sleep(0.25)


async def test_an_app_that_does_not_hand_on_its_track_is_found_by_what_its_sdk_reports(unleash: Unleash) -> None:
    """Never asked for: said. Asked for without the track: said, with the app's name. With it: met, and nothing more is asked."""
    world = UnleashWorld(unleash)
    try:
        await world.provider.apply(world.flag, Desired(percent=100, gate=Gate(), stickiness="default"), None)
        blind, watch = Watch(world), Watch(world)
        for _ in range(2):
            assert await watch.look() is None
        never = await watch.look()
        assert never is not None
        assert (never.found, "was never evaluated" in never.message) == ("NoExposure", True)
        async with app(unleash) as client:
            async with asyncio.timeout(20):
                while not client.is_enabled(world.flag.key, {"properties": {"track": "canary"}}):
                    await asyncio.sleep(0.1)
            await reported(world, 1)
            without = Watch(world)
            for _ in range(2):
                assert await without.look() is None  # what was reported before is nobody's of this share
            before = sum(e.yes + e.no for e in await world.provider.usage(world.flag))
            on = [client.is_enabled(world.flag.key, {"userId": f"u{n}"}) for n in range(5 * USERS)]
            assert not any(on)
            await reported(world, before + 5 * USERS)
            unmet = await without.look()
            assert unmet is not None
            assert (unmet.found, unmet.no) == ("NoExposure", 5 * USERS)
            assert f"evaluated {5 * USERS} times by shop, and was never on" in unmet.message
            assert "LINNET_TRACK" in unmet.message
            for n in range(USERS):
                client.is_enabled(world.flag.key, {"userId": f"u{n}", "properties": {"track": "canary" if n % 2 else ""}})
            await reported(world, before + 6 * USERS)
            met = await without.look()
            assert met is not None
            assert (met.found, met.yes, met.no) == ("Confirmed", USERS // 2, 5 * USERS + USERS // 2)
        calls = world.calls()
        assert await without.look() is None
        assert world.calls() == calls, "what is clear is not asked again"
        reader = world.driver(world.owner, token=BACKEND[PRODUCTION])
        assert [u.found for u in [await blind.look(reader) for _ in range(3)] if u is not None] == ["Unknown"]
    finally:
        await world.close()
