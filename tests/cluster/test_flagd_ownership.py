"""The flagd provider on a real API server: what it leaves in managedFields decides whether the user's next apply conflicts."""

import copy
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from flags.errors import Conflict, Drifted, Missing
from flags.flagd import FlagdProvider, FlagdSource
from flags.model import Desired, FlagRef, Gate, Owner
from flags.provider import ObjectRef
from tests.testbed.controlplane import ControlPlane, ControlPlaneError
from tests.testbed.kubeapi import ApiError, KubeApi

pytestmark = pytest.mark.cluster

FLAG = FlagRef(key="new-checkout", source="flagd")
FILE = """{"flags": {
  "new-checkout": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"}
}}
"""


class KubeStore:
    """The ObjectStore that the daemon will give, on the testbed's client."""

    manager = "linnet"

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        return await self._call("GET", ref)

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return await self._call("PATCH", ref, list(operations))

    async def _call(self, method: str, ref: ObjectRef, body: Any = None) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{ref.namespace}/configmaps/{ref.name}"
        try:
            return await self._api.request(
                method, f"{path}?fieldManager={self.manager}" if body else path, body, "application/json-patch+json"
            )
        except ApiError as error:
            # A failed `test` of a JSON Patch is 422 at the API server, a lost race 409.
            if error.status in (409, 422):
                raise Conflict(str(error)) from None
            if error.status == 404:
                raise Missing(str(error)) from None
            raise


@pytest.fixture
async def store(control_plane: ControlPlane) -> AsyncIterator[KubeStore]:
    async with KubeApi(control_plane.kubeconfig) as api:
        yield KubeStore(api)


def config_map() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags"}, "data": {"flags.json": FILE, "other": "x"}}


def provider(namespace: str, store: KubeStore) -> FlagdProvider:
    owner = Owner(cluster="c", namespace=namespace, name="checkout", uid="uid-1")
    return FlagdProvider(FlagdSource(namespace=namespace, config_map="flags", settle=0), owner, store)


def gated(percent: int) -> Desired:
    return Desired(percent=percent, gate=Gate())


def without_times(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = copy.deepcopy(found["metadata"]["managedFields"])
    return sorted(({k: v for k, v in entry.items() if k != "time"} for entry in entries), key=str)


@pytest.mark.parametrize("server_side", [True, False])
@pytest.mark.parametrize("alone", [True, False])
async def test_after_restore_bytes_and_owners_are_the_users_again(
    control_plane: ControlPlane, namespace: str, store: KubeStore, server_side: bool, alone: bool
) -> None:
    """The user's next server-side apply conflicts while the flag is driven, and not any more after its restore."""
    manifest = config_map()
    if alone:
        del manifest["data"]["other"]
    control_plane.apply(manifest, namespace=namespace, server_side=server_side)
    ref = ObjectRef(api_version="v1", kind="ConfigMap", namespace=namespace, name="flags")
    before = await store.get(ref)
    flagd = provider(namespace, store)
    original = (await flagd.apply(FLAG, gated(5), None)).original
    assert original is not None
    await flagd.apply(FLAG, gated(50), gated(5))
    if server_side:
        with pytest.raises(ControlPlaneError, match="conflict"):
            control_plane.apply(manifest, namespace=namespace, server_side=True)
    await flagd.zero(FLAG)
    assert (await flagd.restore(FLAG, original)).exact
    after = await store.get(ref)
    assert after["data"] == before["data"]
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    assert without_times(after) == without_times(before)
    control_plane.apply(manifest, namespace=namespace, server_side=server_side)


async def test_a_persons_edit_is_named_and_stays(control_plane: ControlPlane, namespace: str, store: KubeStore) -> None:
    """The manager's name comes from the API server's own book."""
    control_plane.apply(config_map(), namespace=namespace, server_side=True)
    flagd = provider(namespace, store)
    await flagd.apply(FLAG, gated(50), None)
    ref = ObjectRef(api_version="v1", kind="ConfigMap", namespace=namespace, name="flags")
    text = (await store.get(ref))["data"]["flags.json"].replace('["on", 50], ["off", 50]', '["on", 3], ["off", 97]')
    control_plane.kubectl(
        "patch",
        "configmap",
        "flags",
        "-n",
        namespace,
        "--field-manager=ann",
        "--type=merge",
        "-p",
        json.dumps({"data": {"flags.json": text}}),
    )
    with pytest.raises(Drifted, match="changed by ann") as caught:
        await flagd.apply(FLAG, gated(100), gated(50))
    assert (caught.value.direction, (await flagd.read(FLAG)).percent) == ("lower", 3)


async def test_a_write_in_between_is_a_conflict_and_is_read_again(control_plane: ControlPlane, namespace: str, store: KubeStore) -> None:
    """The real server refuses a stale `test`; the provider looks again and then succeeds."""
    control_plane.apply(config_map(), namespace=namespace)
    patch = store.patch
    raced: list[int] = []

    async def race(ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        if not raced:
            raced.append(1)
            control_plane.kubectl("label", "configmap", "flags", "-n", namespace, "touched=yes")
        return await patch(ref, operations)

    store.patch = race  # type: ignore[method-assign]
    assert (await provider(namespace, store).apply(FLAG, gated(5), None)).changed
    assert raced
