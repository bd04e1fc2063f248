"""Several routes of one Canary move together, or not at all; one that is gone or refuses keeps the others where they are."""

from __future__ import annotations

import copy
from typing import Any

from daemon.sandbox.errors import forbidden
from tests.unit.control.cluster import ROUTES
from tests.unit.control.world import DEPLOYMENTS, Object, World, route
from tests.unit.traffic.bench import crd

HOLES = "holes.mesh.test"
SLOW = [{"weight": 20, "dwell": {"minDuration": "1h"}}]
DESCRIBED = {"group": "mesh.test", "kind": "Hole", "version": "v1", "resource": "holes", "backends": ["spec/to"], "settle": "100ms"}


def hole(name: str = "web") -> Object:
    return {
        "apiVersion": "mesh.test/v1",
        "kind": "Hole",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"to": [{"name": "web"}]},
    }


def second(name: str = "second") -> Object:
    return route(name, "web")


def named(*names: str) -> list[Object]:
    return [{"name": name} for name in names]


def shares(world: World, *names: str) -> list[int | None]:
    return [world.share(name) for name in names]


def through(world: World) -> list[Object]:
    """The routes of the Canary's status."""
    return [{k: r.get(k) for k in ("kind", "name", "written", "accepted")} for r in world.status().get("routes") or []]


def specs(world: World) -> list[Any]:
    return [copy.deepcopy(world.get(kind, name)["spec"]) for kind, name in ((ROUTES, "web"), (HOLES, "web"))]


async def test_every_route_that_names_the_service_moves(world: World) -> None:
    """Where none is named, all are found; status tells of each, and after the release each is as it was."""
    world.open(second(), canary_spec={"steps": SLOW})
    before = [world.get(ROUTES, name)["spec"] for name in ("web", "second")]
    await world.adopted()
    assert "HTTPRoute second, HTTPRoute web" in world.status()["plan"]
    world.release("app:v2")
    await world.weighs(20)
    assert shares(world, "web", "second") == [20, 20]
    await world.until(lambda: [r["written"] for r in through(world)] == [20, 20], "both are told")
    world.say("abort")
    await world.until(lambda: shares(world, "web", "second") == [None, None], "both are put back")
    assert [world.get(ROUTES, name)["spec"] for name in ("web", "second")] == before


async def test_routes_of_different_kinds_move_together(world: World) -> None:
    """An HTTPRoute, and a kind that only the Canary describes, which is watched from then on."""
    world.load(crd("mesh.test", "v1", "holes", "Hole"))
    routes = [{"name": "web"}, {"group": "mesh.test", "kind": "Hole", "name": "web"}]
    world.open(hole(), canary_spec={"steps": SLOW, "traffic": {"routes": routes, "routers": [DESCRIBED]}})
    before = specs(world)
    await world.adopted()
    assert "HTTPRoute web, Hole web" in world.status()["plan"]
    world.release("app:v2")
    await world.weighs(20)
    moved = [{"name": "web", "weight": 80}, {"name": "web-canary", "weight": 20}]
    assert world.get(HOLES, "web")["spec"]["to"] == moved
    world.say("abort")
    await world.phases("Idle", "Held")
    assert specs(world) == before


async def test_one_that_refuses_keeps_all_where_they_are(world: World) -> None:
    """The weight is asked for everywhere before it is written anywhere, and the wait names who refused."""
    world.open(second(), canary_spec={"steps": SLOW})
    await world.adopted()
    patch = world.store.patch

    def refuse(resource: Any, namespace: str, name: str, *args: Any, **more: Any) -> Object:
        if name == "second" and "web-canary" in str(args) and "20" in str(args):
            raise forbidden("httproutes", "gateway.networking.k8s.io", name, "the shop is closed")
        return patch(resource, namespace, name, *args, **more)

    world.store.patch = refuse  # type: ignore[method-assign, assignment]
    world.release("app:v2")
    await world.until(lambda: shares(world, "web", "second") == [0, 0], "both are attached")
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "RouteAccepting", "it waits")
    written = [o for _, kind, o in world.history if kind == ROUTES and o["metadata"]["name"] == "web"]
    assert all(b.get("weight") != 20 for o in written for b in o["spec"]["rules"][0]["backendRefs"])
    world.store.patch = patch  # type: ignore[method-assign]
    await world.weighs(20)
    assert shares(world, "web", "second") == [20, 20]


async def test_one_that_is_deleted_holds_the_release(world: World) -> None:
    """It does not go on with the other alone, and goes on once it is there again and the way out was taken."""
    world.open(second(), canary_spec={"steps": [*SLOW, {"weight": 50}]})
    await world.adopted()
    world.release("app:v2")
    await world.weighs(20)
    world.delete(ROUTES, "second")
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "RouteTakenBack", "it is noticed")
    assert "second" in world.status()["waiting"]["message"]
    assert world.share("web") == 20
    world.say("abort")
    await world.until(lambda: world.share("web") is None, "the other is put back all the same")
    await world.until(lambda: len(world.list(DEPLOYMENTS)) == 1, "the canary goes")


async def test_a_kind_that_is_not_served_is_said_before_anything_starts(world: World) -> None:
    """By its name, with the way out; nothing is created."""
    routes = [{"group": "mesh.test", "kind": "Hole", "name": "web"}]
    world.open(canary_spec={"traffic": {"routes": routes, "routers": [DESCRIBED]}})
    told = await world.told_any("is not served by this cluster")
    assert told.startswith("Hole web")
    assert len(world.list(DEPLOYMENTS)) == 1
