"""News of a flag service become marks on Canaries: as few as tell of everything."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast
from unittest import mock

from daemon.api import names
from daemon.control.flagnews import FlagSourceNews
from daemon.control.objects import CANARIES
from daemon.kube.errors import NotFound
from tests.unit.control.world import CANARIES as WEB
from tests.unit.control.world import CONFIGMAPS, World, flag_file, flag_source

KEY = ("shop", "web")
STEPS = [{"weight": 20, "flags": [{"name": "new", "percent": 40}], "dwell": {"minDuration": "1ms"}}, {"pause": {}}]


class Slow:
    """A client whose patches end when they are let."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.go = asyncio.Event()
        self.gone = False

    async def merge_patch(self, resource: Any, namespace: str, name: str, patch: Any, *, deadline: float) -> None:
        assert (resource, (namespace, name)) == (CANARIES, KEY)
        assert 0 < deadline <= 5
        self.written.append(patch["metadata"]["annotations"][names.FLAG_NEWS])
        await self.go.wait()
        if self.gone:
            raise NotFound("gone")


async def test_all_that_arrive_while_a_mark_is_written_share_the_next() -> None:
    """A mark under way may be older than what they tell of, so it does not speak for them; one more does for all."""
    client, clock = Slow(), iter(range(100))
    news = FlagSourceNews(cast("Any", None), cast("Any", client), cast("Any", None), "linnet-system", lambda: float(next(clock)))
    tasks = [asyncio.create_task(news._mark(KEY))]
    while not client.written:
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(news._mark(KEY)) for _ in range(20)]
    await asyncio.sleep(0)
    client.go.set()
    await asyncio.gather(*tasks)
    assert len(set(client.written)) == len(client.written) == 2


async def test_a_canary_that_went_meanwhile_is_no_failure() -> None:
    """Its release went with it."""
    client = Slow()
    client.gone = True
    client.go.set()
    await FlagSourceNews(cast("Any", None), cast("Any", client), cast("Any", None), "linnet-system")._mark(KEY)
    assert len(client.written) == 1


async def test_a_mark_has_the_flags_of_a_release_read_again(world: World) -> None:
    """With the next poll an hour away a person's edit is found when the Canary is marked."""
    world.open(flag_file(), flag_source(), canary_spec={"flags": [{"name": "new"}], "steps": STEPS})
    await world.adopted()
    with mock.patch("daemon.control.flagging.FRESH", 3600.0):
        world.release("app:v2")
        await world.phases("Paused")
        body = json.loads(world.get(CONFIGMAPS, "flags")["data"]["flags.json"])
        body["flags"]["new"]["state"] = "DISABLED"
        world.patch(CONFIGMAPS, "flags", {"data": {"flags.json": json.dumps(body)}}, user="bob")
        world.patch(WEB, "web", {"metadata": {"annotations": {names.FLAG_NEWS: "2026-01-01T00:00:00.000Z"}}})
        await world.phases("Held", "Idle")
        assert "lowered" in str(world.status())
