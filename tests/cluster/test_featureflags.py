"""FeatureFlag objects of the OpenFeature operator on a real API server: what is patched, who owns it, and that the daemon's client does it."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from daemon.control import objects as ours
from daemon.control.flagsources import FlagSources, KubeObjects
from daemon.kube.client import Client
from daemon.kube.config import load
from daemon.kube.transport import Transport
from flags.errors import Conflict, Drifted, Missing
from flags.flagd import FlagdProvider, FlagdSource
from flags.model import Cohort, Constraint, Converged, Desired, FlagRef, Gate, Owner
from flags.provider import ObjectRef
from tests.testbed.controlplane import ControlPlane, ControlPlaneError

pytestmark = pytest.mark.cluster

FLAG = FlagRef(key="new-checkout", source="flagd")
BETA = Cohort(name="beta", percent=100, constraints=(Constraint(attribute="plan", values=("beta",)),))
THEIRS = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}


def manifest(**more: Any) -> dict[str, Any]:
    flags = {"new-checkout": THEIRS, "limit": {**THEIRS, "variants": {"small": 1.5}, "defaultVariant": "small"}}
    return {
        "apiVersion": "core.openfeature.dev/v1beta1",
        "kind": "FeatureFlag",
        "metadata": {"name": "flags"},
        "spec": {"flagSpec": {"flags": flags, **more}},
    }


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    control_plane.kubectl("apply", "-f", str(Path(__file__).parent / "featureflags.yaml"))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/featureflags.core.openfeature.dev", "--timeout=30s")
    yield control_plane
    control_plane.kubectl("delete", "crd", "featureflags.core.openfeature.dev")


@pytest.fixture
async def store(plane: ControlPlane) -> AsyncIterator[KubeObjects]:
    """As the daemon reaches objects, with its own client."""
    async with Transport(load(str(plane.kubeconfig))) as transport:
        yield KubeObjects(Client(transport))


def provider(namespace: str, store: KubeObjects, uid: str = "uid-1") -> FlagdProvider:
    owner = Owner(cluster="c", namespace=namespace, name="checkout", uid=uid)
    return FlagdProvider(FlagdSource(namespace=namespace, feature_flag="flags", settle=0), owner, store)


def ref(namespace: str) -> ObjectRef:
    return ObjectRef(api_version="core.openfeature.dev/v1beta1", kind="FeatureFlag", namespace=namespace, name="flags")


def gated(percent: int, *cohorts: Cohort) -> Desired:
    return Desired(percent=percent, gate=Gate(), cohorts=cohorts)


def owners(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = copy.deepcopy(found["metadata"]["managedFields"])
    return sorted(({k: v for k, v in entry.items() if k != "time"} for entry in entries), key=str)


def on(found: Mapping[str, Any], user: str, **context: Any) -> bool:
    core = FlagdCore()
    core.set_flags(json.dumps(found["spec"]["flagSpec"]))
    return bool(core.resolve_boolean_value("new-checkout", False, EvaluationContext(user, context)).value)


PASTED = {
    "new-checkout": {**THEIRS, "targeting": {"if": [{"$ref": "linnet-new-checkout"}, "on", "off"]}},
    "limit": {**THEIRS, "variants": {"small": 1.5}, "defaultVariant": "small"},
}
SEED = {"linnet-new-checkout": {"and": [{"==": [{"fractional": [["on", 0], ["off", 100]]}, "on"]}]}}


@pytest.mark.parametrize("more", [{}, {"flags": PASTED, "$evaluators": SEED}], ids=["bare", "pasted"])
async def test_after_restore_values_and_owners_are_the_users_again(
    plane: ControlPlane, namespace: str, store: KubeObjects, more: dict[str, Any]
) -> None:
    """Whatever was there before; and the user's next server-side apply has no conflict."""
    plane.apply(manifest(**more), namespace=namespace, server_side=True)
    before = await store.get(ref(namespace))
    flagd = provider(namespace, store)
    original = (await flagd.apply(FLAG, gated(5), None)).original or ""
    await flagd.apply(FLAG, gated(0, BETA), gated(5))
    during = await store.get(ref(namespace))
    assert on(during, "u1", track="canary", plan="beta")
    assert not any(on(during, f"u{n}", track=track) for n in range(50) for track in ("canary", "stable"))
    await flagd.zero(FLAG)
    assert (await flagd.restore(FLAG, original)).exact
    after = await store.get(ref(namespace))
    assert (after["spec"], owners(after)) == (before["spec"], owners(before))
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    plane.apply(manifest(**more), namespace=namespace, server_side=True)


async def test_a_persons_edit_is_named_and_stays(plane: ControlPlane, namespace: str, store: KubeObjects) -> None:
    """The manager's name comes from the API server's own book; another flag's edit is nobody's business."""
    plane.apply(manifest(), namespace=namespace, server_side=True)
    flagd = provider(namespace, store)
    await flagd.apply(FLAG, gated(50), None)
    limit = {"spec": {"flagSpec": {"flags": {"limit": {"state": "DISABLED"}}}}}
    patch = ("patch", "featureflag", "flags", "-n", namespace, "--field-manager=ann", "--type=merge", "-p")
    plane.kubectl(*patch, json.dumps(limit))
    await flagd.apply(FLAG, gated(60), gated(50))
    plane.kubectl(*patch, json.dumps({"spec": {"flagSpec": {"flags": {"new-checkout": {"state": "DISABLED"}}}}}))
    with pytest.raises(Drifted, match="disabled by ann") as caught:
        await flagd.apply(FLAG, gated(100), gated(60))
    assert caught.value.direction == "lower"
    assert (await store.get(ref(namespace)))["spec"]["flagSpec"]["flags"]["limit"]["state"] == "DISABLED"


async def test_what_the_schema_does_not_take_is_refused_by_the_server(plane: ControlPlane, namespace: str) -> None:
    """The definition in this folder is the operator's: a flag without variants is none."""
    broken = manifest(flags={"new-checkout": {"state": "ENABLED", "defaultVariant": "off"}})
    with pytest.raises(ControlPlaneError, match="variants"):
        plane.apply(broken, namespace=namespace, server_side=True)


async def test_a_write_in_between_is_read_again(plane: ControlPlane, namespace: str, store: KubeObjects) -> None:
    """Optimistic concurrency is the API server's: a stale revision is refused, the provider looks again and succeeds."""
    plane.apply(manifest(), namespace=namespace, server_side=True)
    stale = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}, {"op": "remove", "path": "/spec/flagSpec"}]
    with pytest.raises(Conflict):
        await store.patch(ref(namespace), stale)
    patch = store.patch
    raced: list[int] = []

    async def race(ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        if not raced:
            raced.append(1)
            plane.kubectl("label", "featureflag", "flags", "-n", namespace, "touched=yes")
        return await patch(ref, operations)

    store.patch = race  # type: ignore[method-assign]
    assert (await provider(namespace, store).apply(FLAG, gated(5), None)).changed


async def test_the_daemon_s_own_client_drives_the_object_that_a_source_names(
    plane: ControlPlane, namespace: str, store: KubeObjects
) -> None:
    """From the FlagSource as people write it; another name is another object, and one that is not there is said."""
    plane.apply(manifest(), namespace=namespace, server_side=True)
    made = {"metadata": {"name": "default", "namespace": namespace, "uid": "u"}}
    sources = FlagSources(store._client, None, None)  # type: ignore[arg-type]
    owner = Owner(cluster="c", namespace=namespace, name="checkout", uid="uid-1")
    for name, there in (("flags", True), ("others", False)):
        spec = {"type": "Flagd", "flagd": {"featureFlagRef": {"name": name}, "settle": "0s"}}
        found = await sources.provider(msgspec.convert({**made, "spec": spec}, ours.FlagSource), owner)
        if there:
            written = await found.apply(FLAG, gated(100), None)
            assert isinstance(await found.verify(FLAG, gated(100), written.at), Converged)
            assert on(await store.get(ref(namespace)), "u1", track="canary")
        else:
            with pytest.raises(Missing, match=f"FeatureFlag {namespace}/others does not exist"):
                await found.read(FLAG)
