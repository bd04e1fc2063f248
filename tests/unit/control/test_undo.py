"""At rest nothing of the user's is changed: what a release writes into their objects is recorded first and given back exactly."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from daemon.api import names
from tests.unit.control.cluster import ROUTES
from tests.unit.control.world import (
    CANARIES,
    CONFIGMAPS,
    DEPLOYMENTS,
    HPAS,
    Object,
    World,
    a_world,
    autoscaler,
    deployment,
    flag_file,
    flag_source,
    route,
    service,
)

MINE = ((DEPLOYMENTS, "web"), (ROUTES, "web"), (HPAS, "web"), (CONFIGMAPS, "flags"), ("services", "web"))
OURS = (names.CANARY_MARK, names.HELD_MARK)


def at_rest(found: Object) -> Object:
    """Spec or data, annotations and owners, less what is Linnet's by right, the controllers' and the clock's."""
    found = copy.deepcopy(found)
    metadata = found["metadata"]
    annotations = {
        k: v for k, v in (metadata.get("annotations") or {}).items() if not k.startswith((f"{names.GROUP}/", "deployment.kubernetes.io/"))
    }
    return {"spec": found.get("spec"), "data": found.get("data"), "annotations": annotations, "owners": owners(metadata["managedFields"])}


def owners(entries: list[Object]) -> list[str]:
    kept = []
    for entry in entries:
        fields = entry["fieldsV1"]
        marks = fields.get("f:metadata", {}).get("f:annotations", {})
        for key in [k for k in marks if k.startswith(f"f:{names.GROUP}/")]:
            del marks[key]
        if set(marks) <= {"."}:
            fields.get("f:metadata", {}).pop("f:annotations", None)
        if not fields.get("f:metadata", True):
            del fields["f:metadata"]
        if fields and not entry.get("subresource") and entry["manager"] != "kube-controller-manager":
            kept.append(json.dumps([entry["manager"], entry["operation"], fields], sort_keys=True))
    return sorted(kept)


def manifests(image: str) -> list[Object]:
    return [service(), route(), flag_file(), autoscaler(low=1), deployment(image=image, replicas=4)]


async def opened(world: World, **spec: Any) -> dict[tuple[str, str], Object]:
    world.open(flag_file(), flag_source(), autoscaler(low=1), canary_spec={"flags": [{"name": "new"}], **spec}, replicas=4)
    await world.adopted()
    return {at: at_rest(world.get(*at)) for at in MINE}


async def released(world: World) -> None:
    """A new version by the team's own apply, up to its first exposure."""
    world.apply(deployment(image="app:v2", replicas=4))
    await world.until(lambda: (world.status().get("rollout") or {}).get("exposedAt"), "the step is exposed")
    assert world.share() == 20
    assert world.get(HPAS, "web")["spec"]["minReplicas"] == 4
    assert "linnet-new" in world.get(CONFIGMAPS, "flags")["data"]["flags.json"]


async def test_what_is_written_is_recorded_before(world: World) -> None:
    """Of every write into a user's object the status has the original at an earlier moment."""
    await opened(world)
    await released(world)
    firsts: dict[str, int] = {}
    for moment, (_, resource, obj) in enumerate(world.history):
        if resource == CANARIES and obj["metadata"]["name"] == "web":
            for entry in (obj.get("status") or {}).get("restore") or []:
                firsts.setdefault(f"recorded {entry['kind']}", moment)
            for flag in (obj.get("status") or {}).get("flags") or []:
                if flag.get("original"):
                    firsts.setdefault("recorded ConfigMap", moment)
        elif any(e["manager"] == names.FIELD_MANAGER and not e.get("subresource") for e in obj["metadata"].get("managedFields") or []):
            firsts.setdefault(f"wrote {obj['kind']}", moment)
    for kind in ("HTTPRoute", "HorizontalPodAutoscaler", "ConfigMap"):
        assert firsts[f"recorded {kind}"] < firsts[f"wrote {kind}"], kind


async def test_after_a_rollback_everything_is_as_it_was(world: World) -> None:
    """Specs and owners of Deployment, route, autoscaler, flag file and Service; the team's next apply conflicts with nobody."""
    before = await opened(world)
    await released(world)
    world.say("abort")
    await world.phases("Idle", "Held")
    await world.until(lambda: not world.get(DEPLOYMENTS, "web")["spec"].get("paused"), "the hold ends")
    after = {at: at_rest(world.get(*at)) for at in MINE}
    for at in MINE:
        if at[0] != DEPLOYMENTS:
            assert after[at] == before[at], at
    assert after[DEPLOYMENTS, "web"]["spec"] == before[DEPLOYMENTS, "web"]["spec"]
    world.apply(*manifests("app:v1"))
    assert at_rest(world.get(DEPLOYMENTS, "web")) == before[DEPLOYMENTS, "web"]
    assert world.status()["restore"] == [] if "restore" in world.status() else True


async def test_after_a_promotion_only_the_new_image_is_new(world: World) -> None:
    """And the flag as far as it was meant to stay; owners included, so that the next apply conflicts with nobody."""
    before = await opened(world)
    await released(world)
    world.say("promote")
    await world.phases("Idle")
    for at in ((ROUTES, "web"), (HPAS, "web"), ("services", "web")):
        assert at_rest(world.get(*at)) == before[at], at
    wanted = copy.deepcopy(before[DEPLOYMENTS, "web"])
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "app:v2"
    found = at_rest(world.get(DEPLOYMENTS, "web"))
    assert found["spec"] == wanted["spec"]
    assert found["owners"] == wanted["owners"]
    world.apply(*[m for m in manifests("app:v2") if m["kind"] != "ConfigMap"])
    assert world.list(DEPLOYMENTS, **{names.TRACK: names.TRACK_CANARY}) == []


@pytest.mark.parametrize("verb", ["abort", "promote"])
async def test_a_rule_that_somebody_puts_before_ours_takes_no_part_in_the_undo(world: World, verb: str) -> None:
    """The list of rules is its writer's then, our backend in it included; what was recorded before our first write goes back all the same."""
    await opened(world)
    before = world.get(ROUTES, "web")["spec"]["rules"]
    await released(world)
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "new.test", "statusCode": 302}}
    other = {"matches": [{"path": {"type": "PathPrefix", "value": "/old"}}], "filters": [redirect]}
    world.patch(ROUTES, "web", {"spec": {"rules": [other, *world.get(ROUTES, "web")["spec"]["rules"]]}})
    world.say(verb)
    await world.phases(*(("Idle", "Held") if verb == "abort" else ("Idle",)))
    assert world.get(ROUTES, "web")["spec"]["rules"] == [other, *before]


async def test_a_minimum_that_someone_raised_meanwhile_stays(world: World) -> None:
    """What others changed while we held it is theirs."""
    await opened(world)
    await released(world)
    world.patch(HPAS, "web", {"spec": {"minReplicas": 7}})
    world.say("abort")
    await world.phases("Idle", "Held")
    assert world.get(HPAS, "web")["spec"]["minReplicas"] == 7


@pytest.mark.parametrize("verb", ["abort", "promote"])
async def test_a_daemon_that_dies_in_between_changes_nothing_of_it(tmp_path: Path, verb: str) -> None:
    """Killed while exposed and again on the way back: the next one finds everything in status and objects."""
    world = World(tmp_path)
    async with world.running():
        async with world.linnet():
            before = await opened(world)
            await released(world)
        world.say(verb)
        async with world.linnet():
            await world.phases("RollingBack", "Promoting")
        async with world.linnet():
            await world.phases("Idle", "Held")
            await world.until(lambda: not world.get(DEPLOYMENTS, "web")["spec"].get("paused"), "the hold ends")
    for at in ((ROUTES, "web"), (HPAS, "web"), ("services", "web")):
        assert at_rest(world.get(*at)) == before[at], at


async def test_without_the_policies_adoption_is_refused_and_always_works(tmp_path: Path) -> None:
    """An API server that holds nothing is said before the first release; `hold: Always` is the way out, and keeps the pause."""
    async with a_world(tmp_path, policies=False) as world:
        world.open()
        await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "HoldUnavailable", "it is refused")
        assert "hold: Always" in world.status()["waiting"]["wayOut"]
        world.patch(CANARIES, "web", {"spec": {"hold": "Always"}})
        await world.until(lambda: world.get(DEPLOYMENTS, "web")["spec"].get("paused"), "it is kept paused")
        world.release("app:v2")
        await world.phases("Progressing")
