"""Release groups with the whole daemon: one release of two shops, killed and started anew in the middle; what is wrong holds and is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.cluster import SHOP
from tests.unit.control.test_line import adopted, opened, release, say, status
from tests.unit.control.world import World, linnet

GROUPS = "releasegroups.linnet.dev"
PAUSED = [{"weight": 20, "dwell": {"minDuration": "1ms"}}, {"pause": {}}]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path)
    async with found.running():
        yield found


def group(*members: dict[str, Any], name: str = "shop", **spec: Any) -> dict[str, Any]:
    return linnet("ReleaseGroup", name, {"members": list(members), **spec})


def seen(world: World, name: str = "shop") -> dict[str, Any]:
    found: dict[str, Any] = world.get(GROUPS, name, SHOP).get("status") or {}
    return found


async def phase(world: World, wanted: str) -> dict[str, Any]:
    await world.until(lambda: seen(world).get("phase") == wanted, f"the group is {wanted}")
    return seen(world)


def waits(world: World, name: str) -> str:
    waiting = status(world, name).get("waiting") or {}
    return str(waiting["message"]) if waiting.get("reason") == "PermitGroup" else ""


async def test_a_release_of_two_goes_back_as_one_through_a_restart(world: World) -> None:
    """They gather, start and go back together; what was gathered outlives the daemon, and only the member that failed is blamed."""
    async with world.linnet():
        opened(world, "web", steps=PAUSED)
        opened(world, "api", steps=PAUSED)
        world.apply(group({"name": "web"}, {"name": "api"}, gather="1h"))
        await adopted(world, (SHOP, "web"), (SHOP, "api"))
        release(world, "web")
        await world.until(lambda: "none yet of api" in waits(world, "web"), "web waits for api")
        assert seen(world)["phase"] == "Gathering"
    async with world.linnet():
        release(world, "api")
        await world.until(lambda: {status(world, n).get("weight") for n in ("web", "api")} == {20}, "both are at 20 %")
        assert seen(world)["progress"] == "0/2 ready"
    async with world.linnet():
        say(world, "abort", "web")
        found = await phase(world, "RolledBack")
    assert "stopped by a person" in found["sentence"], found["sentence"]
    assert {m["name"]: m["state"] for m in found["members"]} == {"web": "Failed", "api": "Back"}
    assert status(world, "web")["history"][0]["outcome"] == "RolledBack"
    assert status(world, "api")["history"][0]["outcome"] == "GroupRolledBack"
    assert (status(world, "api").get("verdict") or {}).get("result") != "Fail", "nothing is said against api's version"


STRANGER = ([{"name": "web"}, {"name": "cart"}], "spec.members[1].name: there is no Canary cart in shop, there are: web")
CYCLE = (
    [{"name": "web", "after": ["api"]}, {"name": "api", "after": ["web"]}],
    "spec.members[0].after: web, api wait for each other in a cycle",
)


@pytest.mark.parametrize(("members", "words"), [STRANGER, CYCLE])
async def test_a_group_that_is_wrong_starts_nothing_and_says_why(world: World, members: list[dict[str, Any]], words: str) -> None:
    """Field and way out, on the group and on the member that waits; mended, the release begins."""
    async with world.linnet():
        opened(world, "web", steps=PAUSED)
        world.apply(group(*members))
        await adopted(world, (SHOP, "web"))
        release(world, "web")
        await world.until(lambda: words in waits(world, "web"), "web waits and says why")
        accepted = next(c for c in seen(world)["conditions"] if c["type"] == "Accepted")
        assert (accepted["status"], words in accepted["message"]) == ("False", True)
        world.patch(GROUPS, "shop", {"spec": {"members": [{"name": "web"}]}})
        await world.until(lambda: status(world, "web").get("weight") == 20, "web at 20 %")
