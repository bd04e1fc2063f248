"""Giving back without the daemon: whatever state a release was left in, the user's objects end as they were."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from daemon.api import names
from tests.unit.cli.world import CANARIES, World, world

MARKS = (names.CANARY_MARK, names.HELD_MARK, names.HOLD)


def spec_of(w: World) -> dict[str, Any]:
    found: dict[str, Any] = w.bench.deployment()["spec"]
    return found


def leftovers(w: World) -> list[str]:
    """Objects of Linnet's own that are still there."""
    found = []
    for resource in ("deployments.apps", "services", "controllerrevisions.apps"):
        found += [
            o["metadata"]["name"] for o in w.bench.store.list(resource, "default") if names.OWNER in (o["metadata"].get("labels") or {})
        ]
    return found


def annotations(w: World) -> dict[str, str]:
    return w.bench.deployment()["metadata"].get("annotations") or {}


@pytest.mark.parametrize("held", ["restore", "release"])
async def test_a_release_under_way_is_given_back(tmp_path: Path, held: str) -> None:
    """The daemon dies at 20 %. After cleanup the route is as it was, nothing of Linnet's is left, and the Deployment rolls what was chosen."""
    async with world(tmp_path) as w:
        async with w.daemon():
            await w.releasing()
        assert {b["weight"] for b in w.route()["spec"]["rules"][0]["backendRefs"]} == {20, 80}
        done = await w.run("cleanup", "--all", "--yes", f"--held={held}")
        assert done.exit_code == 0, done.output
        assert w.route()["spec"]["rules"][0]["backendRefs"] == [{"group": "", "kind": "Service", "name": "web", "port": 80, "weight": 1}]
        assert leftovers(w) == []
        assert not set(annotations(w)) & set(MARKS)
        assert "paused" not in spec_of(w)
        image = "app:v1" if held == "restore" else "app:v2"
        assert spec_of(w)["template"]["spec"]["containers"][0]["image"] == image
        await w.bench.until(w.bench.rolled_out, "rolled out")
        assert not w.canary()["metadata"].get("finalizers")
        assert w.status().get("phase", "Pending") == "Pending"


async def test_what_is_left_held_is_listed_and_can_be_restored_later(tmp_path: Path) -> None:
    """--held=leave keeps hold and stored templates; a second cleanup still finds the stable one."""
    async with world(tmp_path) as w:
        async with w.daemon():
            await w.releasing()
        done = await w.run("cleanup", "--all", "--yes", "--held=leave")
        assert done.exit_code == 0, done.output
        assert "left held: default/web" in done.output
        assert spec_of(w)["paused"] is True
        assert spec_of(w)["template"]["spec"]["containers"][0]["image"] == "app:v2"
        assert w.bench.sizes()["app:v1"] == 3
        w.bench.delete(CANARIES, "web")
        again = await w.run("cleanup", "--all", "--yes")
        assert again.exit_code == 0, again.output
        assert spec_of(w)["template"]["spec"]["containers"][0]["image"] == "app:v1"
        assert leftovers(w) == []
        assert not set(annotations(w)) & set(MARKS)


async def test_a_canary_at_rest_is_given_back_and_adopted_again(tmp_path: Path) -> None:
    """Nothing but marks is taken off, no pod moves, and a daemon that comes back starts anew."""
    async with world(tmp_path) as w:
        async with w.daemon():
            await w.releasing()
            await w.run("abort", "web")
            await w.phase("Held")
            w.bench.set_image("web", "app:v1")
            await w.adopted()
        before = copy.deepcopy(w.bench.pods())
        done = await w.run("cleanup", "web", "--yes")
        assert done.exit_code == 0, done.output
        assert {p["metadata"]["uid"] for p in w.bench.pods()} == {p["metadata"]["uid"] for p in before}
        assert not set(annotations(w)) & set(MARKS)
        async with w.daemon():
            await w.adopted()


async def test_a_living_daemon_is_taken_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--all stops the leader, works, and keeps it away a while, as an uninstall needs; one Canary alone is refused with the way out."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        refused = await w.run("cleanup", "web", "--yes")
        assert refused.exit_code == 1
        assert "kubectl delete canary web -n default" in refused.output
        done = await w.run("cleanup", "--all", "--yes")
        assert done.exit_code == 0, done.output
        assert "is asked to stop" in done.output
        assert not set(annotations(w)) & set(MARKS)
        lease = w.bench.store.get("leases.coordination.k8s.io", "linnet-system", "linnet") or {}
        assert lease["spec"]["holderIdentity"].startswith("linnet-cleanup-")
        await w.bench.idle(1.0)
        assert names.CANARY_MARK not in annotations(w)


FLAGS = {"flags": {"new": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}}}


def flag_objects() -> tuple[dict[str, Any], dict[str, Any]]:
    """A flagd file, and the source that lets Linnet write it."""
    where = {"name": "flags", "namespace": "default"}
    flagd = {"configMapRef": {"name": "flags", "key": "flags.json"}, "settle": "0s"}
    return (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"flags.json": json.dumps(FLAGS, indent=2)}},
        {
            "apiVersion": names.API_VERSION,
            "kind": "FlagSource",
            "metadata": {"name": "default", "namespace": "default"},
            "spec": {"type": "Flagd", "flagd": flagd},
        },
    )


def autoscaler() -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 6},
    }


def given(w: World, resource: str, name: str) -> dict[str, Any]:
    """An object of the user's without what every write changes: its content, labels, annotations and owners."""
    found = w.bench.store.get(resource, "default", name)
    assert found is not None
    keep = {"labels", "annotations", "managedFields"}
    return {
        **{k: v for k, v in found.items() if k in ("spec", "data")},
        "metadata": {k: v for k, v in found["metadata"].items() if k in keep and v},
    }


@pytest.mark.parametrize("held", ["restore", "leave", "release"])
async def test_a_flag_is_put_back_with_its_owners(tmp_path: Path, held: str) -> None:
    """Raised with the weight when the daemon died: the file is byte for byte what it was, whatever becomes of the held template."""
    async with world(tmp_path) as w:
        config, source = flag_objects()
        w.apply(config)
        before = given(w, "configmaps", "flags")
        async with w.daemon():
            await w.releasing(source, flags=[{"name": "new"}])
            await w.bench.until(lambda: given(w, "configmaps", "flags")["data"] != before["data"], "the flag is raised")
        done = await w.run("cleanup", "--all", "--yes", f"--held={held}")
        assert done.exit_code == 0, done.output
        assert given(w, "configmaps", "flags") == before


@pytest.mark.parametrize("held", ["restore", "leave", "release"])
async def test_the_floor_of_an_autoscaler_is_put_back_with_its_owners(tmp_path: Path, held: str) -> None:
    """Lifted to keep stable sized when the daemon died: minReplicas is the user's again."""
    async with world(tmp_path) as w:
        w.apply(autoscaler())
        before = given(w, "horizontalpodautoscalers.autoscaling", "web")
        async with w.daemon():
            await w.releasing()
            await w.bench.until(
                lambda: given(w, "horizontalpodautoscalers.autoscaling", "web")["spec"]["minReplicas"] == 3, "the floor is lifted"
            )
        done = await w.run("cleanup", "--all", "--yes", f"--held={held}")
        assert done.exit_code == 0, done.output
        assert given(w, "horizontalpodautoscalers.autoscaling", "web") == before


async def test_a_deployment_that_is_gone_leaves_no_weight_behind(tmp_path: Path) -> None:
    """Deployment and Service were deleted under the dead daemon: the route is still put back, from the undo log alone."""
    async with world(tmp_path) as w:
        async with w.daemon():
            await w.releasing()
        w.bench.delete("deployments.apps", "web")
        w.bench.delete("services", "web")
        done = await w.run("cleanup", "--all", "--yes")
        assert done.exit_code == 0, done.output
        assert [b["name"] for b in w.route()["spec"]["rules"][0]["backendRefs"]] == ["web"]
        await w.bench.until(lambda: not leftovers(w), "leftovers")


async def test_without_a_terminal_nothing_is_done_unasked(tmp_path: Path) -> None:
    """No --yes, no terminal: one line that says so."""
    async with world(tmp_path) as w:
        done = await w.run("cleanup", "--all")
        assert done.exit_code == 1
        assert "pass --yes" in done.output
        await asyncio.sleep(0)
