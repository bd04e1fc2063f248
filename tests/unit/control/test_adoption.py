"""Whose Deployment is taken on, and whose is left alone: by annotation, by Canary, and by everything that is wrong with either."""

from typing import Any

import pytest

from daemon.api import names
from daemon.sandbox.resources import Resource
from daemon.sandbox.schema import Node
from tests.unit.control.cluster import CATALOGUE, ROUTES, SHOP
from tests.unit.control.world import (
    CANARIES,
    CONFIGMAPS,
    DEPLOYMENTS,
    HPAS,
    Object,
    World,
    autoscaler,
    canary,
    deployment,
    flag_file,
    flag_source,
    linnet,
    route,
    service,
)

PROFILE = linnet(
    "CanaryProfile",
    "web",
    {"allowedNamespaces": ["*"], "strategy": {"ramp": "Steps"}, "steps": [{"weight": 7, "dwell": {"minDuration": "1ms"}}]},
    namespace=CATALOGUE,
)


def pages(world: World) -> Object:
    return linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}})


def mark(world: World, name: str = "web") -> str | None:
    return (world.get(DEPLOYMENTS, name)["metadata"].get("annotations") or {}).get(names.CANARY_MARK)


async def refused(world: World, name: str = "web") -> tuple[str, str]:
    """(reason, sentence with the way out) of a Canary that cannot work, as its conditions say; the Deployment is untouched."""

    def stalled() -> Object | None:
        conditions = world.status(name).get("conditions") or []
        return next((c for c in conditions if c["type"] == "Stalled" and c["status"] == "True"), None)

    found = await world.until(stalled, f"{name} is stalled")
    return found["reason"], found["message"]


async def test_an_annotation_is_enough(world: World) -> None:
    """A Deployment that names a profile gets a Canary of its own, is marked, and no pod moves."""
    world.apply(service(), route(), pages(world), PROFILE, deployment(annotations={names.PROFILE: "web"}))
    await world.adopted()
    made = world.get(CANARIES, "web")
    assert made["metadata"]["ownerReferences"][0]["name"] == "web"
    assert mark(world) == "web"
    assert "7 %" in world.status()["plan"]
    assert len(world.list("replicasets.apps")) == 1
    world.release("app:v2")
    await world.weighs(7)


async def test_what_the_annotations_say_now_is_what_the_canary_says(world: World) -> None:
    """A changed annotation changes the Canary; without the opt-in it goes, and with it mark and finalizer."""
    world.apply(service(), route(), pages(world), PROFILE, deployment(annotations={names.PROFILE: "web"}))
    await world.adopted()
    world.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {names.STEPS: "3,60"}}})
    await world.until(lambda: [s["weight"] for s in world.get(CANARIES, "web")["spec"].get("steps") or []] == [3, 60], "the steps follow")
    world.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {names.STEPS: None, names.PROFILE: None}}})
    await world.until(lambda: world.find(CANARIES, "web") is None, "the Canary goes")
    await world.until(lambda: mark(world) is None, "the mark goes")
    world.release("app:v2")
    assert not world.get(DEPLOYMENTS, "web")["spec"].get("paused")


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        ({"linnet.dev/profil": "web"}, "linnet.dev/profile"),
        ({names.PROFILE: "web", "linnet.dev/stepz": "1,5"}, "linnet.dev/steps"),
        ({names.PROFILE: "web", names.STEPS: "5%"}, "5%"),
    ],
)
async def test_a_misspelt_annotation_is_named_and_holds_nothing(world: World, annotations: dict[str, str], says: str) -> None:
    """The Event on the Deployment names the nearest right word; there is no Canary, no mark and no hold."""
    world.apply(service(), route(), deployment(annotations=annotations))
    assert says in await world.told("InvalidAnnotation", "Deployment")
    assert world.find(CANARIES, "web") is None
    world.release("app:v2")
    found = world.get(DEPLOYMENTS, "web")
    assert mark(world) is None
    assert not found["spec"].get("paused")


async def test_a_canary_adopts_and_says_what_the_next_release_will_do(world: World) -> None:
    """One sentence names Service, route, steps, source and kind of hold, before any release."""
    world.open()
    await world.adopted()
    plan = world.status()["plan"]
    for word in ("Service web", "HTTPRoute web", "20 %, 50 %", "Scrape default", "held by the API server's policy"):
        assert word in plan
    ready = next(c for c in world.status()["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "True"


async def test_adoption_waits_for_pods_that_serve(world: World) -> None:
    """A broken Deployment is not stable: nothing is marked until it is complete and Available."""
    world.node.ready = lambda _pod: False
    world.open()
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "StableNotReady", "it says what it waits for")
    assert mark(world) is None
    world.node.ready = lambda _pod: True
    for pod in world.list("pods"):
        world.patch("pods", pod["metadata"]["name"], {"metadata": {"labels": {"look": "again"}}})
    await world.adopted()


async def test_a_release_under_way_at_adoption_is_not_held(world: World) -> None:
    """What rolls when the Canary is written is the owner's: stable is what it ends with."""
    world.apply(service(), route(), pages(world), deployment())
    world.release("app:v2")
    world.apply(canary())
    await world.adopted()
    template = world.get(DEPLOYMENTS, "web")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "app:v2"
    assert not world.get(DEPLOYMENTS, "web")["spec"].get("paused")


async def test_deleting_the_canary_gives_the_deployment_back(world: World) -> None:
    """No finalizer, mark, Service, template of ours is left, and the next template rolls as ever."""
    world.open()
    await world.adopted()
    world.delete(CANARIES, "web")
    await world.until(lambda: world.find(CANARIES, "web") is None, "the Canary goes")
    assert mark(world) is None
    assert world.list("controllerrevisions.apps") == []
    world.release("app:v2")
    await world.until(lambda: world.get(DEPLOYMENTS, "web")["status"].get("updatedReplicas") == 3, "it rolls")


async def test_two_canaries_of_one_deployment(world: World) -> None:
    """The older one goes on, the younger says who has it."""
    world.open()
    await world.adopted()
    world.apply(linnet("Canary", "zweite", {"workloadRef": {"name": "web"}}))
    reason, sentence = await refused(world, "zweite")
    assert reason == "WorkloadTaken"
    assert "delete one of web and zweite" in sentence
    assert world.phase() == "Idle"
    assert mark(world) == "web"


def without_service(world: World) -> list[Object]:
    return [route(), pages(world), deployment(), canary()]


def stateful(world: World) -> list[Object]:
    return [pages(world), linnet("Canary", "web", {"workloadRef": {"name": "db", "kind": "StatefulSet"}})]


def with_spec(**spec: Any) -> Any:
    return lambda world: [service(), route(), pages(world), deployment(), canary(**spec)]


def with_more(*more: Object, **spec: Any) -> Any:
    return lambda world: [service(), route(), pages(world), *more, deployment(), canary(**spec)]


def policy(label: str) -> Object:
    spec = {"podSelector": {"matchLabels": {"app": label}}, "policyTypes": ["Ingress"]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "guard"}, "spec": spec}


LONG = "w" * 53
WRONG: list[tuple[str, Any, str, str]] = [
    ("no Deployment", lambda world: [canary()], "WorkloadMissing", "create it, or delete this Canary"),
    ("StatefulSet", stateful, "WorkloadUnsupported", "StatefulSet db"),
    ("no Service", without_service, "NoService", "PodRatio"),
    ("two Services", with_more(service("also", app="web")), "SeveralServices", "spec.traffic.serviceRef"),
    ("missing Service", with_spec(traffic={"serviceRef": {"name": "gone"}}), "ServiceMissing", "correct spec.traffic.serviceRef"),
    ("no route", lambda world: [service(), pages(world), deployment(), canary(traffic={"mode": "Routes"})], "NoRoute", "PodRatio"),
    ("missing route", with_spec(traffic={"routes": [{"name": "gone"}]}), "RouteMissing", "correct spec.traffic.routes"),
    (
        "route of another",
        with_more(route("other", "elsewhere"), traffic={"routes": [{"name": "other"}]}),
        "RouteWithoutService",
        "add it as a backend",
    ),
    (
        "a split of three",
        lambda world: [service(), route("web", "web", "older"), pages(world), deployment(), canary()],
        "RouteSplitAlready",
        "a rule of its own",
    ),
    ("unknown profile", with_more(PROFILE, profileRef={"name": "wep"}), "CanaryProfileMissing", "did you mean web?"),
    ("no metric source", lambda world: [service(), route(), deployment(), canary()], "MetricSourceMissing", "MetricSource default"),
    (
        "a source of one metric is missing",
        with_spec(
            analysis={
                "metrics": [
                    {"name": "a", "preset": "HTTPErrorRatio"},
                    {"name": "b", "preset": "HTTPErrorRatio", "sourceRef": {"name": "x"}},
                ]
            }
        ),
        "MetricSourceMissing",
        "MetricSource x",
    ),
    ("no flag source", with_spec(flags=[{"name": "new"}]), "FlagSourceMissing", "FlagSource default"),
    ("policy", with_more(policy("web")), "IdentityUnsafe", "NetworkPolicy guard"),
    ("HPA with pod ratio", with_more(autoscaler(), traffic={"mode": "PodRatio"}), "AutoscalerSeesCanary", "traffic.mode: Routes"),
    (
        "scaled to zero",
        lambda world: [service(), route(), pages(world), deployment(replicas=0), canary()],
        "ScaledToZero",
        "scale the Deployment up",
    ),
    (
        "paused by its owner",
        lambda world: [service(), route(), pages(world), deployment(paused=True), canary()],
        "PausedByOwner",
        "kubectl rollout resume",
    ),
    ("volume of one node", lambda world: with_volume(world, "ReadWriteOnce"), "VolumeNotShared", "a claim that is ReadWriteMany"),
    ("volume of one pod", lambda world: with_volume(world, "ReadWriteOncePod"), "VolumeNotShared", "no Canary for Deployment web"),
    ("host port", lambda world: [service(), route(), pages(world), host_port(), canary()], "HostPort", "serve through a Service"),
]


def host_port() -> Object:
    found = deployment()
    found["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "hostPort": 8080}]
    return found


def with_volume(world: World, mode: str) -> list[Object]:
    """A Deployment whose pods share one claim. The sandbox serves no claims, so this one's cluster is taught to."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names_and_spec = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": anything}
    schema = Node({"type": "object", "properties": names_and_spec})
    plural, kind = "persistentvolumeclaims", "PersistentVolumeClaim"
    world.store.registry.add(Resource(group="", version="v1", plural=plural, kind=kind, schema=schema, custom=True))
    claim = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "data"}, "spec": {"accessModes": [mode]}}
    found = deployment()
    found["spec"]["template"]["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    return [claim, pages(world), service(), route(), found, canary()]


async def test_a_volume_that_versions_can_share_is_no_obstacle(world: World) -> None:
    """Mounted by many: adopted like any other."""
    world.apply(*with_volume(world, "ReadWriteMany"))
    await world.adopted()


@pytest.mark.parametrize(("objects", "reason", "way_out"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_what_cannot_work_is_said_with_the_way_out_and_touches_nothing(world: World, objects: Any, reason: str, way_out: str) -> None:
    """A condition, an Event and a sentence each; Deployment, route and autoscaler stay as they were."""
    applied = objects(world)
    world.apply(*applied)
    kinds = {"Deployment": DEPLOYMENTS, "HTTPRoute": ROUTES, "HorizontalPodAutoscaler": HPAS, "Service": "services"}
    mine = [(kinds[o["kind"]], o["metadata"]["name"]) for o in applied if o["kind"] in kinds]
    before = [world.get(*at)["spec"] for at in mine]
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == reason, reason)
    waiting = world.status()["waiting"]
    assert way_out in f"{waiting['message']}. {waiting['wayOut']}"
    found = next(c for c in world.status()["conditions"] if c["type"] == "Ready")
    assert found["status"] == "False"
    assert waiting["message"][:60] in await world.told_any(waiting["message"][:60])
    assert [world.get(*at)["spec"] for at in mine] == before
    assert world.find(DEPLOYMENTS, "web") is None or mark(world) is None
    assert [o for o in world.list("services") if o["metadata"]["name"].endswith("-canary")] == []


async def test_a_canary_that_waits_from_its_first_moment_has_a_phase(world: World) -> None:
    """kubectl's column is never empty: `Pending` is written, although it is where every Canary begins."""
    world.apply(canary())
    await world.until(lambda: world.status().get("waiting"), "it waits for its Deployment")
    assert world.status()["phase"] == "Pending"


async def test_a_name_that_leaves_no_room_for_ours(world: World) -> None:
    """At the 63-character limit the sentence says how long a name may be."""
    world.apply(service(LONG), route(LONG), pages(world), deployment(LONG), linnet("Canary", "web", {"workloadRef": {"name": LONG}}))
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "NameTooLong", "it is said")
    assert "a name of at most 50 characters" in world.status()["waiting"]["wayOut"]


async def test_a_broken_canary_lets_go_of_the_deployment(world: World) -> None:
    """A profile that vanishes takes the mark off: what comes next rolls as if Linnet were not there, and is not called stable."""
    world.apply(linnet("CanaryProfile", "own", {}))
    world.open(canary_spec={"profileRef": {"name": "own"}})
    await world.adopted()
    world.delete("canaryprofiles.linnet.dev", "own")
    await world.until(lambda: mark(world) is None, "the mark goes")
    world.release("app:v2")
    assert not world.get(DEPLOYMENTS, "web")["spec"].get("paused")
    world.apply(linnet("CanaryProfile", "own", {}))
    assert "linnet promote --override web" in (await world.phases("Bypassed"))["waiting"]["wayOut"]
    world.say("override")
    await world.adopted()


# The catalogue.


async def test_the_catalogue_serves_only_whom_it_admits(world: World) -> None:
    """A profile of the catalogue that does not admit the namespace is as good as none, and the message says whose word is missing."""
    world.apply(service(), route(), pages(world), deployment(), canary(profileRef={"name": "web"}))
    closed = linnet("CanaryProfile", "web", {"allowedNamespaces": ["payments"], "progressDeadline": "9m"}, namespace=CATALOGUE)
    world.apply(closed)
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "CanaryProfileNotAdmitted", "it is refused")
    assert "spec.allowedNamespaces" in world.status()["waiting"]["wayOut"]
    world.apply(closed | {"spec": {"allowedNamespaces": ["payments", SHOP]}})
    await world.adopted()


async def test_a_flag_source_moves_only_the_flags_it_allows(world: World) -> None:
    """The flag is named, and so is the list it is missing from."""
    source = flag_source()
    source["spec"]["allowedFlags"] = ["old-*"]
    world.open(flag_file(), source, canary_spec={"flags": [{"name": "new"}]})
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagNotAllowed", "it is refused")
    source["spec"]["allowedFlags"] = ["ne*"]
    world.apply(source)
    await world.adopted()
    assert json_unchanged(world)


def json_unchanged(world: World) -> bool:
    return bool(world.get(CONFIGMAPS, "flags")["data"] == flag_file()["data"])


async def test_a_tenants_source_does_not_write_elsewhere(world: World) -> None:
    """A FlagSource outside the catalogue that names another namespace's ConfigMap is refused."""
    world.open(flag_source(namespace=CATALOGUE), canary_spec={"flags": [{"name": "new"}]})
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagSourceForeign", "it is refused")


async def test_the_nearest_word_wins(world: World) -> None:
    """Canary over profile over built-in, field by field: what the rollout keeps as its spec."""
    world.apply(linnet("CanaryProfile", "own", {"progressDeadline": "9m", "onRollback": "Hold", "analysis": {"deadline": "33m"}}))
    world.open(canary_spec={"profileRef": {"name": "own"}, "onRollback": "Restore"})
    await world.adopted()
    world.release("app:v2")
    await world.phases("Progressing")
    kept = world.status()["rollout"]["spec"]
    assert (kept["progressDeadline"], kept["onRollback"], kept["analysis"]["deadline"], kept["analysis"]["warmUp"]) == (
        "9m",
        "Restore",
        "33m",
        "1ms",
    )
