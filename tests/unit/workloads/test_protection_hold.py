"""A hold ends for the template that was judged and for no other one: each write is raced by a newer template, on a real API server's rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.kube import config as kube_config
from daemon.kube.client import Client
from daemon.kube.objects import Deployment
from daemon.kube.resources import DEPLOYMENTS
from daemon.kube.transport import Transport
from daemon.sandbox.furnish import furnished
from daemon.sandbox.server import ApiServer
from daemon.sandbox.store import Caller, Store
from daemon.workloads import hold
from daemon.workloads.errors import Moved

HELD = {"linnet.dev/canary": "shop", "linnet.dev/held": "policy"}


class Bench:
    """The sandbox's API server with one held Deployment, and our client."""

    def __init__(self, store: Store, client: Client) -> None:
        self.store = store
        self.client = client

    def people(self, kind: str, body: Any) -> None:
        self.store.patch("deployments.apps", "default", "shop", kind, body, user=Caller(user="alice", manager="kubectl"))

    def image(self, image: str) -> None:
        self.people("json", [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}])

    async def read(self) -> Deployment:
        return await self.client.get(DEPLOYMENTS, "default", "shop")

    async def managers(self) -> set[str]:
        entries: list[dict[str, Any]] = msgspec.json.decode((await self.read()).metadata.managed_fields)
        return {e["manager"] for e in entries}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = furnished()
    async with ApiServer(store, users={"linnet": "linnet"}) as server:
        path = tmp_path / "kubeconfig"
        path.write_text(server.kubeconfig("linnet"))
        labels = {"app": "shop"}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "shop", "image": "shop:v2"}]}}
        spec = {"replicas": 2, "paused": True, "selector": {"matchLabels": labels}, "template": pod}
        metadata = {"name": "shop", "namespace": "default", "annotations": HELD}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
        store.load([deployment], user=Caller(user="alice", manager="kubectl"))
        async with Transport(kube_config.load(str(path))) as transport:
            yield Bench(store, Client(transport, field_manager="linnet"))


async def test_the_judged_template_is_released_with_its_mark(bench: Bench) -> None:
    """Un-paused by removing the field, in one write with the mark."""
    released = await hold.release(bench.client, await bench.read())
    assert not released.spec.paused
    assert not released.metadata.annotation("linnet.dev/held")


async def test_a_newer_template_that_lands_before_the_release_stays_held(bench: Bench) -> None:
    """The release of what was judged is refused, and nothing rolls."""
    judged = await bench.read()
    bench.image("shop:v3")
    with pytest.raises(Moved):
        await hold.release(bench.client, judged)
    after = await bench.read()
    assert after.spec.paused
    assert after.metadata.annotation("linnet.dev/held")


async def test_a_template_is_written_back_only_over_the_one_that_was_rejected(bench: Bench) -> None:
    """Somebody's fix that lands first is not overwritten with stable."""
    rejected = await bench.read()
    template = msgspec.json.decode(rejected.spec.template)
    template["spec"]["containers"][0]["image"] = "shop:v1"
    bench.image("shop:v3")
    with pytest.raises(Moved):
        await hold.restore_template(bench.client, rejected, template)
    assert b"shop:v3" in bytes((await bench.read()).spec.template)


async def test_a_template_written_back_leaves_its_owners_as_they_were(bench: Bench) -> None:
    """After the restore no field of the user's belongs to us: their next server-side apply meets no conflict."""
    rejected = await bench.read()
    template = msgspec.json.decode(rejected.spec.template)
    template["spec"]["containers"][0]["image"] = "shop:v1"
    await hold.restore_template(bench.client, rejected, template)
    assert b"shop:v1" in bytes((await bench.read()).spec.template)
    assert await bench.managers() == {"kubectl"}


async def test_a_pause_of_the_owner_is_not_ours_to_end(bench: Bench) -> None:
    """Without the mark a written-back template leaves the Deployment paused."""
    bench.people("merge", {"metadata": {"annotations": {"linnet.dev/held": None}}})
    rejected = await bench.read()
    template = msgspec.json.decode(rejected.spec.template)
    template["spec"]["containers"][0]["image"] = "shop:v1"
    await hold.restore_template(bench.client, rejected, template)
    assert (await bench.read()).spec.paused
