"""Before the first step of a release with a gated flag a live canary pod is looked at: without its track the flag would stay dark."""

from __future__ import annotations

from typing import Any

from tests.unit.control.world import (
    CANARIES,
    DEPLOYMENTS,
    Object,
    World,
    canary,
    deployment,
    flag_file,
    flag_source,
    linnet,
    route,
    service,
)

FLAGS = [{"name": "new"}]
ADMISSION = "admissionregistration.k8s.io/v1"


def webhook() -> list[Object]:
    """Stands for an admission webhook that takes the environment out of canary pods."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    condition = "'linnet.dev/track' in object.metadata.labels"
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "canary", "expression": condition}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/spec/containers/0/env'}]"}}],
    }
    policy = {"apiVersion": ADMISSION, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "strip"}, "spec": spec}
    binding = {
        "apiVersion": ADMISSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "strip"},
        "spec": {"policyName": "strip"},
    }
    return [policy, binding]


def gate(world: World) -> Object:
    return next((c for c in world.status().get("conditions") or [] if c["type"] == "GateNotWired"), {})


async def flagged(world: World, **spec: Any) -> None:
    world.open(flag_file(), flag_source(), canary_spec={"flags": FLAGS, **spec})
    await world.adopted()


async def test_pods_that_get_their_track_are_released(world: World) -> None:
    """The condition says what was seen, and one pod was read for it."""
    await flagged(world)
    assert gate(world)["status"] == "Unknown"
    world.release("app:v2")
    await world.weighs(20)
    await world.until(lambda: gate(world).get("status") == "False", "it was seen")
    assert gate(world)["reason"] == "TrackSeen"


async def test_pods_that_lost_their_track_are_not_released(world: World) -> None:
    """Waits before the first step with the container's name, and is taken back at the deadline; neither weight nor flag was raised."""
    world.load(*webhook())
    await flagged(world, progressDeadline="4s")
    world.release("app:v2")
    waiting = await world.until(
        lambda: found if (found := world.status().get("waiting") or {}).get("reason") == "GateNotWired" else None, "it waits"
    )
    assert "container main of pod" in waiting["message"] and waiting["until"]
    await world.until(lambda: gate(world).get("status") == "True", "the condition")
    assert world.share() == 0
    await world.until(lambda: (world.status().get("verdict") or {}).get("reason") == "GateNotWired", "it is taken back")
    files = [obj["data"]["flags.json"] for _, resource, obj in world.history if resource == "configmaps"]
    assert not any('"fractional"' in text and "canary" in text for text in files)


async def test_without_a_gated_flag_nobody_looks(world: World) -> None:
    """No flag, no condition, no wait."""
    world.load(*webhook())
    world.open()
    await world.adopted()
    world.release("app:v2")
    await world.weighs(20)
    assert gate(world) == {}


async def test_a_template_that_claims_the_track_is_refused_before_any_release(world: World) -> None:
    """Its stable pods would see the flag; nothing is held until it is put right."""
    pages = linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}})
    claiming = deployment()
    claiming["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "LINNET_TRACK", "value": "canary"}]
    world.apply(pages, flag_file(), flag_source(), service(), route(), claiming, canary(flags=FLAGS))
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "GateNotWired", "it is refused")
    assert gate(world)["status"] == "True"
    assert "linnet.dev/canary" not in (world.get(DEPLOYMENTS, "web")["metadata"].get("annotations") or {})
    world.patch(CANARIES, "web", {"spec": {"flags": None}})
    await world.adopted()
