"""The canary's Service is there from adoption on, so that a route in Git can name it; it reaches nobody until a release, and goes with the Canary."""

from __future__ import annotations

from tests.unit.control.cluster import ROUTES
from tests.unit.control.world import CANARIES, DEPLOYMENTS, Object, World, canary, linnet, route, service

SERVICES = "services"


async def made(world: World, name: str = "web-canary") -> Object:
    return await world.until(lambda: world.find(SERVICES, name), f"Service {name}")


def pods_of(world: World, found: Object) -> list[str]:
    return [p["metadata"]["name"] for p in world.list("pods", **found["spec"]["selector"])]


async def test_it_is_made_at_adoption_and_reaches_nobody(world: World) -> None:
    """Its ports are those of the user's Service; a route that names it at weight 0 resolves; no pod is selected."""
    backends = [{"name": "web", "port": 80, "weight": 100}, {"name": "web-canary", "port": 80, "weight": 0}]
    world.open()
    world.apply(route(rules=[{"backendRefs": backends}]))
    await world.adopted()
    found = await made(world)
    assert [(p["name"], p["port"], p["targetPort"]) for p in found["spec"]["ports"]] == [("http", 80, 8080)]
    assert pods_of(world, found) == []

    def resolved() -> bool:
        parents = (world.get(ROUTES, "web").get("status") or {}).get("parents") or []
        return any(c["type"] == "ResolvedRefs" and c["status"] == "True" for p in parents for c in p["conditions"])

    await world.until(resolved, "the gateway finds both backends")
    assert world.get(ROUTES, "web")["spec"]["rules"][0]["backendRefs"] == [{"group": "", "kind": "Service", **b} for b in backends]
    assert len(world.list("replicasets.apps")) == 1


async def test_it_selects_one_revision_from_the_first_release_on(world: World) -> None:
    """The same Service, not a new one."""
    world.open()
    await world.adopted()
    before = (await made(world))["metadata"]["uid"]
    world.release("app:v2")
    await world.weighs(20)
    found = world.get(SERVICES, "web-canary")
    assert found["metadata"]["uid"] == before
    assert pods_of(world, found)


async def test_it_goes_with_the_canary(world: World) -> None:
    """Deleted at rest, before any release: only what was there before is left."""
    world.open()
    await world.adopted()
    await made(world)
    world.delete(CANARIES, "web")
    await world.until(lambda: world.find(CANARIES, "web") is None, "the Canary is gone")
    assert [s["metadata"]["name"] for s in world.list(SERVICES)] == ["web"]
    assert world.list("controllerrevisions.apps") == []


async def test_it_goes_with_the_canary_also_when_the_users_service_went_first(world: World) -> None:
    """Nothing resolves any more, and still nothing is left behind."""
    world.open()
    await world.adopted()
    await made(world)
    world.delete(SERVICES, "web")
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "NoService", "it is said")
    world.delete(CANARIES, "web")
    await world.until(lambda: world.find(CANARIES, "web") is None, "the Canary is gone")
    assert world.list(SERVICES) == []


async def test_it_comes_back(world: World) -> None:
    """Somebody deletes it at rest: it is made again."""
    world.open()
    await world.adopted()
    before = (await made(world))["metadata"]["uid"]
    world.delete(SERVICES, "web-canary")
    await world.until(
        lambda: (world.find(SERVICES, "web-canary") or {"metadata": {"uid": before}})["metadata"]["uid"] != before, "a new one"
    )


async def test_it_follows_the_ports_of_the_users_service(world: World) -> None:
    """It outlives releases: a port that is added or moved must not be missing in the next one."""
    world.open()
    await world.adopted()
    await made(world)
    ports = [{"name": "http", "port": 80, "targetPort": 9090}, {"name": "admin", "port": 9000, "targetPort": 9000}]
    world.apply(service(ports=ports))

    def same() -> bool:
        return [(p["name"], p["targetPort"]) for p in world.get(SERVICES, "web-canary")["spec"]["ports"]] == [
            ("http", 9090),
            ("admin", 9000),
        ]

    await world.until(same, "the ports of the canary Service")


async def test_another_service_gets_another_and_the_old_one_goes(world: World) -> None:
    """One name for good, as long as the Service it stands beside has one."""
    world.open(service("front", app="web"), route("front", "front"), canary_spec={"traffic": {"serviceRef": {"name": "web"}}})
    await world.adopted()
    await made(world)
    world.apply(canary(traffic={"serviceRef": {"name": "front"}}))
    await made(world, "front-canary")
    await world.until(lambda: world.find(SERVICES, "web-canary") is None, "the former one is gone")


async def test_none_is_made_where_pods_are_the_split(world: World) -> None:
    """By share of pods nothing would point at it."""
    pages = linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}})
    world.open(pages, canary_spec={"traffic": {"mode": "PodRatio"}})
    await world.adopted()
    world.release("app:v2")
    await world.until(lambda: world.status().get("weight"), "pods are the share")
    assert [s["metadata"]["name"] for s in world.list(SERVICES)] == ["web"]
    assert len(world.list(DEPLOYMENTS)) == 2
