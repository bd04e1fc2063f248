"""What a Canary says about its workload, Service, routes and profile is what moves: leaf by leaf."""

from tests.unit.control.cluster import CATALOGUE, ROUTES
from tests.unit.control.world import CANARIES, DEPLOYMENTS, Object, World, canary, deployment, linnet, route, service


def pages(world: World) -> Object:
    return linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}})


def shares(world: World, name: str) -> dict[str, int]:
    """Weights of a route's first rule by Service."""
    return {b["name"]: b.get("weight", 1) for b in world.get(ROUTES, name)["spec"]["rules"][0]["backendRefs"]}


async def released(world: World, weight: int = 20, *, name: str = "web", image: str = "app:v2") -> None:
    """Adopted, a new image, and the first step's weight written."""
    await world.adopted()
    world.release(image, name)
    await world.until(lambda: world.status().get("weight") == weight, f"{weight} %")


async def test_the_workload_that_is_named_is_the_one_that_is_held(world: World) -> None:
    """Of two Deployments that one is marked; the other rolls as ever."""
    both = (service(), route(), deployment(), service("second"), route("second"), deployment("second"))
    world.apply(*both, pages(world), canary(workloadRef={"name": "second"}))
    await world.until(lambda: "linnet.dev/canary" in (world.get(DEPLOYMENTS, "second")["metadata"].get("annotations") or {}), "the mark")
    assert "linnet.dev/canary" not in (world.get(DEPLOYMENTS, "web")["metadata"].get("annotations") or {})
    world.release("app:v2", "second")
    await world.until(lambda: shares(world, "second") == {"second": 80, "second-canary": 20}, "its route moves")
    assert shares(world, "web") == {"web": 1}


async def test_the_profile_that_is_named_says_what_the_canary_does_not(world: World) -> None:
    """The first weight comes from the one named, not from the one beside it."""
    for name, weight in (("calm", 3), ("bold", 33)):
        steps = [{"weight": weight, "dwell": {"minDuration": "1ms"}}]
        world.apply(linnet("CanaryProfile", name, {"allowedNamespaces": ["*"], "steps": steps}, namespace=CATALOGUE))
    world.open(canary_spec={"profileRef": {"name": "bold"}, "steps": None})
    await released(world, 33)


async def test_the_mode_decides_what_moves(world: World) -> None:
    """By pods: canary pods behind the Service itself, and the route stays as it was."""
    world.open(canary_spec={"traffic": {"mode": "PodRatio"}})
    before = world.get(ROUTES, "web")["spec"]
    await world.adopted()
    assert "by share of pods" in world.status()["plan"]
    world.release("app:v2")
    await world.until(lambda: world.status().get("weight"), "pods are the share")
    [made] = world.list(DEPLOYMENTS, **{"linnet.dev/track": "canary"})
    assert made["spec"]["template"]["metadata"]["labels"]["app"] == "web"
    assert world.get(ROUTES, "web")["spec"] == before


async def test_routes_only_where_routes_are_asked_for(world: World) -> None:
    """Without a route `Auto` goes by pods, and `Isolated` refuses to: nothing would keep requests from canary pods."""
    world.apply(service(), pages(world), deployment(), canary())
    await world.adopted()
    assert "by share of pods" in world.status()["plan"]
    world.apply(canary(traffic={"identity": "Isolated"}))
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "NoRoute", "it is refused")
    assert "leave identity out" in world.status()["waiting"]["wayOut"]


async def test_the_service_that_is_named_is_split(world: World) -> None:
    """Two Services select the pods; the named one's route moves, and its canary Service is made."""
    world.open(service("front", app="web"), route("front", "front"), canary_spec={"traffic": {"serviceRef": {"name": "front"}}})
    await released(world)
    assert shares(world, "front") == {"front": 80, "front-canary": 20}
    assert shares(world, "web") == {"web": 1}


async def test_the_port_that_is_named_is_split(world: World) -> None:
    """A rule to another port of the Service is left alone; a port may be named by its name."""
    world.open(canary_spec={"traffic": {"serviceRef": {"name": "web", "port": "admin"}}})
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 9000, "targetPort": 9000}]
    rules = [{"matches": [{"path": {"value": f"/{port}"}}], "backendRefs": [{"name": "web", "port": port}]} for port in (80, 9000)]
    world.apply(service(ports=ports), route(rules=rules))
    await released(world)
    first, second = (rule["backendRefs"] for rule in world.get(ROUTES, "web")["spec"]["rules"])
    assert first == [b for b in first if b["name"] == "web"]
    assert {b["name"]: b["weight"] for b in second} == {"web": 80, "web-canary": 20}


async def test_a_port_that_the_service_lacks_is_said(world: World) -> None:
    """Not taken for 'any port'."""
    world.open(canary_spec={"traffic": {"serviceRef": {"name": "web", "port": "grpc"}}})
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "PortMissing", "it is refused")
    assert "http (80)" in world.status()["waiting"]["wayOut"]


async def test_the_route_that_is_named_moves(world: World) -> None:
    """Of two routes to the Service the named one; without a name it would be refused."""
    world.open(route("second", "web"), canary_spec={"traffic": {"routes": [{"name": "second"}]}})
    await released(world)
    assert shares(world, "second") == {"web": 80, "web-canary": 20}
    assert shares(world, "web") == {"web": 1}
    assert world.find(CANARIES, "web") is not None
