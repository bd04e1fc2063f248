"""The whole sandbox: a real gateway splits real requests as an HTTPRoute says, and nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from daemon.sandbox import nanny
from daemon.sandbox.cluster import Sandbox, SandboxError, SandboxOptions, hold_policies
from daemon.sandbox.controllers.access import DEPLOYMENTS, PODS
from daemon.sandbox.controllers.objects import condition_of, status_of
from daemon.sandbox.controllers.runtime import Runner
from daemon.sandbox.errors import ApiError
from daemon.sandbox.load import Load, LoadOptions
from tests.sandbox.workbench import IMAGES, Object, service, web

HTTPROUTES = "httproutes.gateway.networking.k8s.io"
PROBE = {"readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}}
# Routers hear of the end of a pod a moment after the pod does, later on a busy machine.
DRAIN = {"env": [{"name": "DRAIN", "value": "1"}], "lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}


def deployment(name: str, image: str, replicas: int = 1) -> Object:
    return web(image, replicas, name=name, container={**PROBE, **DRAIN})


def route(stable: int, canary: int) -> Object:
    backends = [{"name": name, "port": 80, "weight": weight} for name, weight in (("stable", stable), ("canary", canary))]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "parentRefs": [{"name": "web", "namespace": "gateway"}],
            "hostnames": ["shop.test"],
            "rules": [{"backendRefs": backends}],
        },
    }


OBJECTS: tuple[dict[str, Any], ...] = (
    service("stable"),
    service("canary"),
    deployment("stable", "app:v1", 2),
    deployment("canary", "app:v2"),
    route(90, 10),
)


async def rolled_out(sandbox: Sandbox, *names: str) -> None:
    def complete() -> bool:
        found = [sandbox.store.get(DEPLOYMENTS, "default", name) or {} for name in names]
        return all(
            [status_of(d).get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")] == [d["spec"]["replicas"]] * 3
            and status_of(d)["observedGeneration"] >= d["metadata"]["generation"]
            for d in found
        )

    async with asyncio.timeout(30):
        await sandbox.until(complete)


def accepted(sandbox: Sandbox) -> bool:
    found = sandbox.store.get(HTTPROUTES, "default", "web") or {}
    parents = status_of(found).get("parents") or []
    return bool(parents) and all(
        (condition_of(p, kind) or {}).get("status") == "True"
        and (condition_of(p, kind) or {}).get("observedGeneration") == found["metadata"]["generation"]
        for p in parents
        for kind in ("Accepted", "ResolvedRefs")
    )


async def answers(sandbox: Sandbox, count: int) -> Counter[str]:
    assert sandbox.gateway is not None
    found: Counter[str] = Counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), headers={"Host": "shop.test"}) as http:
        for _ in range(count):
            async with http.get(sandbox.gateway.url) as response:
                found[response.headers.get("X-Version", str(response.status))] += 1
    return found


async def until_served(sandbox: Sandbox, versions: set[str]) -> None:
    """Until these versions and no other answer: the gateway's configuration follows the route a moment later."""
    async with asyncio.timeout(30):
        while set(await answers(sandbox, 20)) != versions:
            await asyncio.sleep(0.05)


def weigh(sandbox: Sandbox, stable: int, canary: int) -> None:
    patch = [{"op": "replace", "path": f"/spec/rules/0/backendRefs/{i}/weight", "value": w} for i, w in enumerate((stable, canary))]
    sandbox.store.patch(HTTPROUTES, "default", "web", "json", patch, user="linnet")


async def test_traefik_splits_requests_by_the_routes_weights_and_follows_a_change() -> None:
    """900 of 1000 go to stable at 90/10, half after a patch to 50/50, and none to the canary at weight 0."""
    async with Sandbox.running(SandboxOptions(images=IMAGES, objects=OBJECTS)) as sandbox:
        await rolled_out(sandbox, "stable", "canary")
        async with asyncio.timeout(30):
            await sandbox.until(lambda: accepted(sandbox))
        await until_served(sandbox, {"v1", "v2"})
        first = await answers(sandbox, 1000)
        assert first["v1"] + first["v2"] == 1000
        assert abs(first["v2"] - 100) <= 2
        weigh(sandbox, 50, 50)
        async with asyncio.timeout(30):
            while abs((await answers(sandbox, 40))["v2"] - 20) > 2:
                await asyncio.sleep(0.05)
        assert abs((await answers(sandbox, 400))["v2"] - 200) <= 2
        weigh(sandbox, 100, 0)
        await until_served(sandbox, {"v1"})
        assert await answers(sandbox, 200) == {"v1": 200}
        assert accepted(sandbox)


async def test_no_request_fails_while_a_deployment_rolls() -> None:
    """Readiness before traffic and a drain after it: a roll under load costs nothing, over kept and over new connections."""
    async with Sandbox.running(SandboxOptions(images=IMAGES, objects=OBJECTS)) as sandbox:
        assert sandbox.gateway is not None
        await rolled_out(sandbox, "stable", "canary")
        await until_served(sandbox, {"v1", "v2"})
        load = Load(LoadOptions(url=sandbox.gateway.url, host="shop.test", rate=100))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(load.run())
            found = sandbox.store.get(DEPLOYMENTS, "default", "stable")
            assert found is not None
            found["spec"]["template"]["spec"]["containers"][0]["image"] = "app:v3"
            sandbox.store.update(DEPLOYMENTS, found, user="alice")
            await rolled_out(sandbox, "stable")
            async with asyncio.timeout(30):
                await sandbox.until(lambda: len(sandbox.store.list(PODS, "default")) == 3)
            running.cancel()
        assert load.answered > 100
        assert load.count(status=200) == load.answered, load.outcomes


async def test_a_sandbox_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    """Processes, directory and kubeconfig are gone, and the address network is free again."""
    kubeconfig = tmp_path / "kubeconfig"
    options = SandboxOptions(images=IMAGES, objects=(deployment("web", "app:v1", 2),), kubeconfig=kubeconfig)
    async with Sandbox.running(options) as sandbox:
        await rolled_out(sandbox, "web")
        mark, root = sandbox.family.mark, sandbox.root
        assert len(nanny.marked(mark)) == 3
        assert yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"] == sandbox.url
        assert kubeconfig.stat().st_mode & 0o077 == 0
    assert nanny.marked(mark) == []
    assert not root.exists()
    assert not kubeconfig.exists()


async def test_pod_logs_are_served_by_the_api() -> None:
    """`kubectl logs` shows what the process wrote."""
    async with Sandbox.running(SandboxOptions(images=IMAGES, objects=(deployment("web", "app:v1"),), gateway=False)) as sandbox:
        await rolled_out(sandbox, "web")
        (pod,) = sandbox.store.list(PODS, "default")
        url = f"{sandbox.url}/api/v1/namespaces/default/pods/{pod['metadata']['name']}/log"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http, http.get(url) as response:
            assert '"event": "started"' in await response.text()


async def test_two_sandboxes_do_not_meet() -> None:
    """Each has addresses of its own, so that the same port serves in both."""
    options = SandboxOptions(images=IMAGES, objects=(deployment("web", "app:v1"),), gateway=False)
    async with Sandbox.running(options) as one, Sandbox.running(options) as other:
        await rolled_out(one, "web")
        await rolled_out(other, "web")
        addresses = [status_of(s.store.list(PODS, "default")[0])["podIP"] for s in (one, other)]
        assert len(set(addresses)) == 2


POLICIES = Path(__file__).parents[2] / "charts" / "linnet" / "files" / "hold-policies.yaml"


async def test_the_charts_policies_hold_a_new_template_and_only_linnet_lets_it_go() -> None:
    """A new image changes no pod, `rollout resume` by a person is refused, and Linnet's own resume rolls."""
    objects = (*hold_policies(POLICIES, ["linnet"]), deployment("web", "app:v1", 2))
    async with Sandbox.running(SandboxOptions(images=IMAGES, objects=objects, gateway=False)) as sandbox:
        await rolled_out(sandbox, "web")
        before = {p["metadata"]["uid"] for p in sandbox.store.list(PODS, "default")}

        def edit(user: str, path: str, value: Any) -> None:
            sandbox.store.patch(DEPLOYMENTS, "default", "web", "json", [{"op": "add", "path": path, "value": value}], user=user)

        edit("linnet", "/metadata/annotations/linnet.dev~1canary", "web")
        edit("alice", "/spec/template/spec/containers/0/image", "app:v2")
        async with asyncio.timeout(30):
            await sandbox.until(lambda: _progress(sandbox) == "DeploymentPaused")
        assert {p["metadata"]["uid"] for p in sandbox.store.list(PODS, "default")} == before
        with pytest.raises(ApiError, match="linnet promote --override"):
            edit("alice", "/spec/paused", False)
        edit("linnet", "/spec/paused", False)
        await rolled_out(sandbox, "web")
        async with asyncio.timeout(30):
            await sandbox.until(lambda: before.isdisjoint(p["metadata"]["uid"] for p in sandbox.store.list(PODS, "default")))


def _progress(sandbox: Sandbox) -> str:
    found = sandbox.store.get(DEPLOYMENTS, "default", "web") or {}
    return str((condition_of(status_of(found), "Progressing") or {}).get("reason"))


async def test_a_controller_that_breaks_takes_the_sandbox_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that stands still would look like a release that waits; the caller hears of it instead."""

    async def broken(self: Runner) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("out of order")

    monkeypatch.setattr(Runner, "run", broken)
    with pytest.raises(SandboxError, match="out of order"):
        async with Sandbox.running(SandboxOptions(gateway=False)):
            await asyncio.Event().wait()


@pytest.mark.parametrize(("text", "reason"), [(None, "NoManifest"), ("a: [", "BadManifest")])
async def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, text: str | None, reason: str) -> None:
    """The message says which file, and nothing is left running."""
    path = tmp_path / "objects.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SandboxError, match=r"objects\.yaml") as refused:
        async with Sandbox.running(SandboxOptions(manifests=(path,), gateway=False)):
            pass
    assert refused.value.reason == reason


async def test_a_folder_of_manifests_is_applied_definitions_first(tmp_path: Path) -> None:
    """Files in any order: a custom object before its definition, lists and several documents in one file."""
    (tmp_path / "a.yaml").write_text(
        yaml.safe_dump({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x", "namespace": "default"}})
    )
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump_all([{"apiVersion": "v1", "kind": "List", "items": [crd]}, settings]))
    async with Sandbox.running(SandboxOptions(manifests=(tmp_path,), gateway=False)) as sandbox:
        assert sandbox.store.get("things.example.com", "default", "x") is not None
        assert sandbox.store.get("configmaps", "default", "settings") is not None


RUN = """
import asyncio
from daemon.sandbox.cluster import SandboxOptions, run_sandbox
from tests.sandbox.test_cluster import deployment
from tests.sandbox.workbench import IMAGES
options = SandboxOptions(images=IMAGES, objects=(deployment("web", "app:v1"),))
asyncio.run(run_sandbox(options, lambda sandbox: print(sandbox.family.mark, flush=True)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_ending_the_sandbox_process_ends_everything(number: signal.Signals) -> None:
    """Whether asked politely or killed: gateway and pods are gone within seconds."""
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert child.stdout is not None
    with child.stdout as out:
        mark = (await asyncio.to_thread(out.readline)).decode().strip()
        assert mark
        child.send_signal(number)
        await asyncio.to_thread(child.wait)
    end = time.monotonic() + 20
    while nanny.marked(mark) and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert nanny.marked(mark) == []
