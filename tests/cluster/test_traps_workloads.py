"""The twins: what happens to a side-by-side canary with a hold when one rule is left out, on the real controllers.

Each test does by plain kubectl what Linnet takes care not to do, and sees the harm; where the rule is a single write, it sees that the
rule works too. That Linnet keeps the rule is seen in the scenarios named in each docstring: a twin that no longer shows its harm
means that the rule has lost its reason.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml

from tests.testbed.controlplane import ControlPlane
from tests.testbed.gateway import Gateway, http_route
from tests.testbed.linnet import eventually
from tests.testbed.nodes import NodeAgent

pytestmark = pytest.mark.cluster

GOOD, BAD, NEXT = "pause:v1", "pause:v2", "pause:v3"


def manifest(
    name: str = "shop", *, image: str = GOOD, replicas: int = 2, labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    own = labels or {"app": name}
    template = {"metadata": {"labels": own}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": image}]}}
    body = {"replicas": replicas, "selector": {"matchLabels": own}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


class Trap:
    """A namespace and kubectl in it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    def kubectl(self, *words: str, check: bool = True, body: object = None) -> str:
        text = None if body is None else yaml.safe_dump(body)
        done = self.plane.kubectl(*words, "-n", self.namespace, check=check, input=text)
        return done.stdout + done.stderr

    def apply(self, body: object, *words: str, check: bool = True) -> str:
        return self.kubectl("apply", "--server-side", *words, "-f", "-", body=body, check=check)

    def patch(self, *operations: dict[str, Any], kind: str = "deployment", name: str = "shop", check: bool = True) -> str:
        """As a controller of that field manager does it."""
        return self.kubectl("patch", kind, name, "--type=json", "--field-manager=linnet", "-p", json.dumps(list(operations)), check=check)

    def get(self, kind: str, name: str = "shop") -> Any:
        return self.plane.json("get", kind, name, "-n", self.namespace, "--show-managed-fields")

    def start(self, **options: Any) -> None:
        self.apply(manifest(**options))
        self.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")

    def hold(self, image: str = BAD) -> None:
        """A new template, held by a pause, as the policies do it in one write."""
        self.patch({"op": "add", "path": "/spec/paused", "value": True}, {"op": "replace", "path": IMAGE, "value": image})

    def active(self) -> dict[str, int]:
        """Image -> wanted pods, of ReplicaSets that have some."""
        found: dict[str, int] = {}
        for one in self.plane.json("get", "replicasets", "-n", self.namespace)["items"]:
            if one["spec"]["replicas"]:
                image = one["spec"]["template"]["spec"]["containers"][0]["image"]
                found[image] = found.get(image, 0) + one["spec"]["replicas"]
        return found

    def await_active(self, wanted: dict[str, int]) -> None:
        eventually(lambda: self.active() == wanted, f"pods by image {wanted}, seen {self.active()}", 25)


IMAGE = "/spec/template/spec/containers/0/image"
UNPAUSE = {"op": "remove", "path": "/spec/paused"}


@pytest.fixture
def trap(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> Trap:
    return Trap(control_plane, namespace)


def test_a0_ownership_outlives_an_exact_restore(trap: Trap) -> None:
    """Kept in every scenario that asserts the owners. Twin: value restored, owner not: the user's next apply is a conflict."""
    trap.apply(manifest(replicas=0))
    recorded = trap.get("deployment")["metadata"]["managedFields"]
    trap.patch({"op": "replace", "path": IMAGE, "value": BAD})
    trap.patch({"op": "replace", "path": IMAGE, "value": GOOD})
    assert 'conflict with "linnet"' in trap.apply(manifest(replicas=0, image=NEXT), check=False)
    version = trap.get("deployment")["metadata"]["resourceVersion"]
    trap.patch(
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields", "value": [e for e in recorded if e["operation"] == "Apply"]},
    )
    trap.apply(manifest(replicas=0, image=NEXT))


def test_a1_an_unguarded_hold_falls_to_resume(trap: Trap) -> None:
    """Kept in `resuming a held deployment is refused`. Twin: without the second policy the rejected template rolls."""
    trap.start()
    trap.hold()
    trap.kubectl("rollout", "resume", "deployment/shop")
    trap.await_active({BAD: 2})


def test_a2_an_unconditional_release_ships_what_landed_meanwhile(trap: Trap) -> None:
    """Kept by the release's `test` of the template. Twin: `paused: false` by server-side apply rolls the newer template, unjudged."""
    trap.start()
    trap.hold(BAD)
    judged = trap.get("deployment")["spec"]["template"]
    trap.patch({"op": "replace", "path": IMAGE, "value": NEXT})
    refused = trap.patch({"op": "test", "path": "/spec/template", "value": judged}, UNPAUSE, check=False)
    assert "invalid" in refused
    assert trap.get("deployment")["spec"]["paused"]
    release = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"paused": False}}
    trap.apply(release, "--force-conflicts", "--field-manager=naive")
    trap.await_active({NEXT: 2})


def test_a3_a_held_deployment_scaled_to_zero_revives_the_wrong_version(trap: Trap) -> None:
    """Kept in `scaling to zero in mid-release and back`. Twin: the newest-created ReplicaSet comes up, which is not stable."""
    trap.start()
    time.sleep(1.1)  # creation times are whole seconds, and of two born in the same one the name decides
    trap.kubectl("set", "image", "deployment/shop", f"app={BAD}")
    trap.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")
    trap.kubectl("rollout", "undo", "deployment/shop")
    trap.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")
    trap.await_active({GOOD: 2})
    trap.hold(NEXT)
    trap.kubectl("scale", "deployment/shop", "--replicas=0")
    trap.await_active({})
    trap.kubectl("scale", "deployment/shop", "--replicas=2")
    trap.await_active({BAD: 2})


def test_a3_without_a_history_a_held_deployment_comes_back_empty(trap: Trap) -> None:
    """Kept by the stored template. Twin: `revisionHistoryLimit: 0` deletes stable's ReplicaSet at zero, and nothing comes back."""
    trap.start(revisionHistoryLimit=0)
    trap.hold(BAD)
    trap.kubectl("scale", "deployment/shop", "--replicas=0")

    def lost() -> bool:
        return not trap.plane.json("get", "replicasets", "-n", trap.namespace)["items"]

    eventually(lost, "stable's ReplicaSet is deleted", 25)
    trap.kubectl("scale", "deployment/shop", "--replicas=2")
    generation = trap.get("deployment")["metadata"]["generation"]
    eventually(lambda: trap.get("deployment")["status"].get("observedGeneration") == generation, "the controller saw it", 15)
    assert trap.active() == {}


def test_a4_a_newer_template_in_mid_roll_freezes_a_mix(trap: Trap) -> None:
    """Kept in `a newer version in mid-promotion`. Twin: both ReplicaSets stay; any sum but replicas + maxSurge is undone, that one is not."""
    trap.start(replicas=4, minReadySeconds=3, strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    trap.kubectl("set", "image", "deployment/shop", f"app={BAD}")
    eventually(lambda: trap.active().get(BAD, 0) >= 2, "the roll is half done", 25)
    trap.hold(NEXT)
    generation = trap.get("deployment")["metadata"]["generation"]
    eventually(lambda: trap.get("deployment")["status"].get("observedGeneration") == generation, "the controller saw it", 15)
    mixed = trap.active()
    assert set(mixed) == {GOOD, BAD}
    sets = {
        one["spec"]["template"]["spec"]["containers"][0]["image"]: one["metadata"]["name"]
        for one in trap.plane.json("get", "replicasets", "-n", trap.namespace)["items"]
        if one["spec"]["replicas"]
    }
    for image, size in ((BAD, 4), (GOOD, 1)):
        trap.kubectl("scale", f"replicaset/{sets[image]}", f"--replicas={size}")
    trap.kubectl("annotate", "deployment/shop", "look=again")
    eventually(lambda: trap.get("deployment")["status"].get("replicas") == 5, "five pods", 15)
    assert trap.active() == {BAD: 4, GOOD: 1}


def test_a5_an_owner_takes_the_canary_with_it_under_traffic(trap: Trap, gateway: Gateway) -> None:
    """Kept in `deleting the canary in mid-release`. Twin: owned pods are collected at once, and the route still sends them half."""
    trap.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}})
    uid = trap.get("configmap", "owner")["metadata"]["uid"]
    body = manifest("shop-canary", replicas=1)
    body["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]
    trap.apply(body)
    trap.apply(http_route("shop", "trap.test", {"shop": 50, "shop-canary": 50}))
    trap.kubectl("delete", "configmap", "owner")
    eventually(lambda: "NotFound" in trap.kubectl("get", "deployment", "shop-canary", check=False), "collected", 25)
    weights = {b["name"]: b["weight"] for b in trap.get("httproute")["spec"]["rules"][0]["backendRefs"]}
    assert weights["shop-canary"] == 50


def test_a6_without_a_lifted_floor_stable_stays_small(trap: Trap) -> None:
    """Kept in `the autoscalers floor is lifted`. Twin: what shrank stays so with the owner's minimum, and comes back with a lifted one."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    hpa = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 6, "metrics": [metric]}
    trap.start(replicas=3)
    trap.apply({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "shop"}, "spec": hpa})
    trap.kubectl("scale", "deployment/shop", "--replicas=1")  # what an autoscaler does as traffic leaves
    eventually(lambda: trap.get("hpa")["status"].get("conditions"), "the autoscaler looked", 40)
    assert trap.active() == {GOOD: 1}
    trap.patch({"op": "replace", "path": "/spec/minReplicas", "value": 3}, kind="hpa")
    eventually(lambda: trap.active() == {GOOD: 3}, "the floor holds", 40)


def test_a10_an_orphaned_canary_replicaset_is_adopted_by_stable(trap: Trap) -> None:
    """Kept in `by share of pods`. Twin: with shared labels and an orphaning delete, the canary's ReplicaSet becomes stable's own."""
    trap.start(replicas=3)
    trap.hold(BAD)
    trap.apply(manifest("shop-canary", image=BAD, replicas=1, labels={"app": "shop", "linnet.dev/track": "canary"}))
    trap.kubectl("rollout", "status", "deployment/shop-canary", "--timeout=40s")
    trap.kubectl("delete", "deployment", "shop-canary", "--cascade=orphan")

    def adopted() -> bool:
        sets = trap.plane.json("get", "replicasets", "-n", trap.namespace, "-l", "linnet.dev/track=canary")["items"]
        return bool(sets) and any(o["name"] == "shop" for o in sets[0]["metadata"].get("ownerReferences") or [])

    eventually(adopted, "stable owns the canary's ReplicaSet", 25)


def test_a11_an_uninstall_that_unpauses_ships_the_rejected_template(trap: Trap) -> None:
    """Kept in `uninstalling in mid-release`. Twin: taking the pause away without the stable template first rolls what was rejected."""
    trap.start()
    trap.hold(BAD)
    trap.patch(UNPAUSE)
    trap.await_active({BAD: 2})


def test_a12_a_restart_compared_with_the_last_template_ships_the_bad_image(trap: Trap) -> None:
    """Kept in `a restart of a rejected template`. Twin: against the held template only a stamp changed; released, the bad image rolls."""
    trap.start()
    trap.hold(BAD)
    held = trap.get("deployment")["spec"]["template"]
    trap.patch({"op": "add", "path": "/spec/template/metadata/annotations", "value": {"kubectl.kubernetes.io/restartedAt": "now"}})
    stamped = trap.get("deployment")["spec"]["template"]
    assert held["spec"] == stamped["spec"]  # "nothing but a restart": the naive comparison
    trap.patch(UNPAUSE)
    trap.await_active({BAD: 2})


def test_b17_one_canary_name_for_two_revisions_puts_both_behind_one_service(trap: Trap) -> None:
    """Kept in `a newer version in mid-release`. Twin: a new template in the same canary serves two versions at once."""
    trap.start(name="shop", replicas=3, minReadySeconds=3)
    trap.kubectl("set", "image", "deployment/shop", f"app={BAD}")
    eventually(lambda: set(trap.active()) == {GOOD, BAD}, "two versions", 25)

    def images() -> set[str]:
        pods = trap.plane.json("get", "pods", "-n", trap.namespace, "-l", "app=shop")["items"]
        return {p["spec"]["containers"][0]["image"] for p in pods if p["status"].get("phase") == "Running"}

    eventually(lambda: images() == {GOOD, BAD}, "pods of both match one selector", 25)


def test_b18_a_forced_apply_merges_into_a_foreign_canary(trap: Trap) -> None:
    """Kept by CREATE (`NameTaken`). Twin: the user's own `shop-canary` gets a second container."""
    trap.apply(manifest("shop-canary", replicas=0))
    ours = manifest("shop-canary", replicas=0)
    ours["spec"]["template"]["spec"]["containers"] = [{"name": "other", "image": BAD}]
    trap.apply(ours, "--force-conflicts", "--field-manager=naive")
    names = [c["name"] for c in trap.get("deployment", "shop-canary")["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["app", "other"]


def test_b22_rendering_the_canary_anew_rolls_its_pods(trap: Trap) -> None:
    """Kept in `upgrade and rollback of Linnet in mid-release`. Twin: one label more from a newer Linnet, and every canary pod is replaced."""
    trap.start()
    before = {p["metadata"]["uid"] for p in trap.plane.json("get", "pods", "-n", trap.namespace)["items"]}
    trap.patch({"op": "add", "path": "/spec/template/metadata/labels/linnet.dev~1rendered-by", "value": "newer"})
    trap.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")
    after = {p["metadata"]["uid"] for p in trap.plane.json("get", "pods", "-n", trap.namespace)["items"]}
    assert not before & after
