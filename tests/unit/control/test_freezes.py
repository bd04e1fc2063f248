"""Freezes and windows as objects of a cluster, with the whole daemon: found without polling, and gone with their object."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.control.cluster import CATALOGUE
from tests.unit.control.world import World, linnet

FREEZES = "freezes.linnet.dev"
PAUSED = [{"weight": 20, "dwell": {"minDuration": "1ms"}}, {"pause": {}}]


def freeze(name: str = "sale", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    return linnet("Freeze", name, {"reason": "the sale", **spec}, namespace=namespace)


def reason(world: World) -> str:
    return str((world.status().get("waiting") or {}).get("reason", ""))


async def test_a_freeze_holds_a_release_until_it_is_deleted(world: World) -> None:
    """Nothing of a canary is made; the deletion alone lets it begin, without a poll."""
    world.open(freeze(), canary_spec={"steps": PAUSED})
    await world.adopted()
    world.release("app:v2")
    await world.until(lambda: reason(world) == "PermitFreeze", "it waits for the freeze")
    waiting = world.status()["waiting"]
    assert waiting["message"] == "frozen until it is deleted by Freeze shop/sale: the sale"
    assert "linnet hotfix web" in waiting["wayOut"]
    assert "rollout" not in world.status()
    ready = next(c for c in world.status()["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["observedRevision"]) == ("Unknown", world.status()["observedRevision"]), "nobody takes it for released"
    world.store.delete(FREEZES, "shop", "sale", user="admin")
    await world.weighs(20)


async def test_a_freeze_of_the_catalogue_reaches_the_namespaces_that_it_names(world: World) -> None:
    """One of another tenant reaches nobody; that of the cluster's admin does."""
    world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bank"}})
    world.open(freeze(namespace="bank", namespaces=["*"]), canary_spec={"steps": PAUSED})
    await world.adopted()
    world.release("app:v2")
    await world.weighs(20)
    world.say("abort")
    await world.phases("Idle", "Held")
    world.apply(freeze(namespace=CATALOGUE, namespaces=["*"]))
    world.release("app:v3")
    await world.until(lambda: reason(world) == "PermitFreeze", "it waits for the freeze")


async def test_a_closed_window_holds_a_release_and_says_when_it_opens(world: World) -> None:
    """A day that is not today; the opening is the wait's deadline."""
    day = datetime.now(UTC) + timedelta(days=3)
    window = {"timeZone": "UTC", "days": [f"{day:%a}"], "opens": "09:30", "closes": "17:00", "moves": ["Start"]}
    world.open(canary_spec={"windows": [window]})
    await world.adopted()
    world.release("app:v2")
    await world.until(lambda: reason(world) == "PermitWindow", "it waits for the window")
    waiting = world.status()["waiting"]
    assert waiting["until"] == f"{day:%Y-%m-%d}T09:30:00.000Z"
    assert f"the next opens {day:%a %Y-%m-%d} 09:30 UTC" in waiting["message"]


async def test_an_unknown_zone_is_said_and_does_not_hold_the_deployment(world: World) -> None:
    """The way out names the field and a name that is near."""
    world.open(canary_spec={"windows": [{"timeZone": "Europe/Berlim"}]})
    await world.until(lambda: reason(world) == "InvalidSpec", "it is refused")
    assert "spec.windows[0].timeZone" in world.status()["waiting"]["message"]
    assert "Europe/Berlin" in world.status()["waiting"]["message"]
