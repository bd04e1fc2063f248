"""What a release splits is deleted under it: it does not turn into one by share of pods, and gives back what is still there."""

from __future__ import annotations

from typing import Any

from tests.unit.control.cluster import ROUTES
from tests.unit.control.world import DEPLOYMENTS, World, route, service

LONG = [{"weight": 20, "dwell": {"minDuration": "1h"}}]


async def at_20(world: World) -> None:
    world.open(canary_spec={"steps": LONG})
    await world.adopted()
    world.release("app:v2")
    await world.weighs(20)


def waits_for(world: World, reason: str) -> Any:
    return (world.status().get("waiting") or {}).get("reason") == reason


async def test_a_deleted_route_is_waited_for(world: World) -> None:
    """Said with the way out; the evidence stops; applied again it waits for a person's word, then goes on."""
    await at_20(world)
    world.delete(ROUTES, "web")
    await world.until(lambda: waits_for(world, "RouteMissing"), "the missing route is told")
    assert not world.status()["rollout"].get("exposedAt")
    assert "HTTPRoute web is gone" in world.status()["waiting"]["message"]
    world.apply(route())
    await world.until(lambda: waits_for(world, "RouteTakenBack"), "it waits for a word")
    world.say("resume")
    await world.weighs(20)


async def test_a_release_without_its_route_can_be_taken_back(world: World) -> None:
    """Nothing is left of it, and the Deployment has its stable template."""
    await at_20(world)
    world.delete(ROUTES, "web")
    await world.until(lambda: waits_for(world, "RouteMissing"), "the missing route is told")
    world.say("abort")
    await world.phases("Idle", "Held")
    assert [d["metadata"]["name"] for d in world.list(DEPLOYMENTS)] == ["web"]
    assert world.get(DEPLOYMENTS, "web")["spec"]["template"]["spec"]["containers"][0]["image"] == "app:v1"


async def test_a_deleted_service_does_not_leave_the_canary_in_the_route(world: World) -> None:
    """The route still sends its share to the canary: an abort takes our backend out, and the pods away once a gateway can report on it."""
    await at_20(world)
    world.delete("services", "web")
    world.say("abort")
    await world.until(lambda: world.share() is None, "our backend is out of the route")
    await world.until(lambda: waits_for(world, "RouteReporting"), "the gateway cannot report on a route to nothing")
    assert len(world.list(DEPLOYMENTS)) == 2
    world.apply(service())
    await world.phases("Idle", "Held")
    assert [d["metadata"]["name"] for d in world.list(DEPLOYMENTS)] == ["web"]
