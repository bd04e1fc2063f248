"""A hand on the route in mid-release is not what the route is put back to; and who switched the hold off hears of nothing that is missing."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.api import names
from tests.unit.control.cluster import ROUTES, SHOP
from tests.unit.control.world import DEPLOYMENTS, World, canary, deployment, route, service

LONG = [{"weight": 20, "dwell": {"minDuration": "1h"}}]


def rules(world: World) -> Any:
    return world.get(ROUTES, "web")["spec"]["rules"]


@pytest.mark.parametrize("by_hand", [13, 0])
async def test_a_weight_set_by_hand_is_not_what_the_route_goes_back_to(world: World, by_hand: int) -> None:
    """Resumed and taken back, the route is its owner's again: our backend is no part of it, whatever weight somebody gave it."""
    world.open(canary_spec={"steps": LONG})
    await world.adopted()
    before = rules(world)
    world.release("app:v2")
    await world.weighs(20)
    path = "/spec/rules/0/backendRefs/1/weight"
    world.store.patch(ROUTES, SHOP, "web", "json", [{"op": "replace", "path": path, "value": by_hand}], user="alice")
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "RouteTakenBack", "it is noticed")
    world.say("resume")
    await world.weighs(20)
    world.say("abort")
    await world.phases("Idle", "Held")
    assert rules(world) == before
    assert all(entry["manager"] != "linnet" for entry in world.get(ROUTES, "web")["metadata"]["managedFields"])


async def test_a_route_applied_anew_in_mid_release_is_what_it_goes_back_to(world: World) -> None:
    """Its owner changed it for good: what is put back is what they applied, not what stood there before."""
    world.open(canary_spec={"steps": LONG})
    await world.adopted()
    world.release("app:v2")
    await world.weighs(20)
    world.apply(route(rules=[{"backendRefs": [{"name": "web", "port": 80, "weight": 7}]}]), force=True)
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "RouteTakenBack", "it is noticed")
    world.say("resume")
    await world.weighs(20)
    world.say("abort")
    await world.phases("Idle", "Held")
    assert [(b["name"], b["weight"]) for b in rules(world)[0]["backendRefs"]] == [("web", 7)]


async def test_a_hold_that_its_owner_switched_off_is_not_missing(world: World) -> None:
    """Neither there nor at the next Deployment: nobody is sent to look for the chart's policies."""
    off = {"metadata": {"annotations": {names.HOLD: "off"}}}
    world.open(annotations={names.HOLD: "off"})
    await world.adopted()
    world.apply(service("shop"), route("shop", "shop"), deployment("shop"), canary("shop"))
    await world.adopted("shop")
    world.patch(DEPLOYMENTS, "web", off | {"spec": {"replicas": 2}})
    await world.until(lambda: world.get(DEPLOYMENTS, "web")["status"].get("availableReplicas") == 2, "it was looked at again")
    world.release("app:v2", "shop")
    await world.weighs(20, "shop")
    assert not world.events("HoldUnavailable")
    told = [o.get("status", {}).get("waiting") or {} for _, resource, o in world.history if resource == "canaries.linnet.dev"]
    assert "HoldUnavailable" not in [w.get("reason") for w in told]
