"""A node agent: gives a control plane nodes whose pods really run, as local processes with addresses of their own.

A controller that moves traffic is only believed with pods that start slowly, drain, crash and serve; no container engine is needed
for that. One process serves several Node objects. It watches the Pods bound to them, and ConfigMaps and Secrets for their volumes;
a changed ConfigMap is in the pod's files after `--projection-delay` (a kubelet takes up to a minute or more).

    python -m tests.testbed.nodeagent --kubeconfig K --state DIR --nodes node-1,node-2 --images images.json
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import itertools
import json
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import aiohttp

from tests.testbed import podspec
from tests.testbed.container import now
from tests.testbed.kubeapi import STRATEGIC, ApiError, KubeApi
from tests.testbed.podrunner import Pod

Object = dict[str, Any]
CAPACITY = {"cpu": "512", "memory": "1Ti", "pods": "2000", "ephemeral-storage": "1Ti"}


class Agent:
    """The nodes, their pods, and what the pods need to know of the cluster."""

    def __init__(self, api: KubeApi, state: Path, nodes: list[str], images: dict[str, list[str]], *, backoff: float, delay: float) -> None:
        self.api = api
        self.state = state
        self.nodes = nodes
        self.images = images
        self.backoff = backoff
        self.delay = delay
        self.logs = state / "logs"
        self.sources = podspec.Sources()
        self.pods: dict[str, Pod] = {}
        self._addresses = (f"10.99.{high}.{low}" for high, low in itertools.product(range(1, 251), range(1, 255)))
        self._dirty = asyncio.Event()
        self._synced = {"configmaps": asyncio.Event(), "secrets": asyncio.Event()}

    # -- what a pod may ask ----------------------------------------------------------------------------------------------------

    def argv_of(self, image: str) -> list[str] | None:
        for pattern, argv in self.images.items():
            if fnmatch.fnmatchcase(image, pattern):
                return list(argv)
        return None

    async def token(self, pod: Object, source: Object) -> tuple[bytes, float]:
        """A ServiceAccount token bound to the pod, and when to ask for the next."""
        meta, account = pod["metadata"], pod["spec"].get("serviceAccountName") or "default"
        seconds = int(source.get("expirationSeconds") or 3600)
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec = {"expirationSeconds": seconds, "boundObjectRef": bound, "audiences": [source["audience"]] if source.get("audience") else []}
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        try:
            answer = await self.api.request("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            raise podspec.NotReadyError("ContainerCreating", f"no token for ServiceAccount {account}: {error}") from error
        return answer["status"]["token"].encode(), time.time() + 0.8 * seconds

    async def write_status(self, pod: Object, status: Object) -> None:
        await self._until_done(
            "PATCH", self._path(pod) + "/status", {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}, STRATEGIC
        )

    async def remove(self, pod: Object) -> None:
        precondition = {"uid": pod["metadata"]["uid"]}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": precondition}
        await self._until_done("DELETE", self._path(pod), body, "application/json")

    def _path(self, pod: Object) -> str:
        return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"

    async def _until_done(self, method: str, path: str, body: Object, kind: str) -> None:
        """Writes through outages of the API server; a Pod that is gone (or replaced) needs no write."""
        while True:
            try:
                await self.api.request(method, path, body, kind)
            except ApiError as error:
                if error.status in (404, 409):
                    return
                print(f"{method} {path}: {error}", file=sys.stderr)
                if error.status in (400, 403, 422):
                    return
            except (aiohttp.ClientError, TimeoutError) as error:
                print(f"{method} {path}: {error}", file=sys.stderr)
            else:
                return
            await asyncio.sleep(0.5)

    # -- work ------------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        self.logs.mkdir(parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow("configmaps", self.sources.configmaps))
            tasks.create_task(self._follow("secrets", self.sources.secrets))
            tasks.create_task(self._renew())
            tasks.create_task(self._refresh())
            await asyncio.gather(*(event.wait() for event in self._synced.values()))
            for node in self.nodes:
                await self._register(node)
                tasks.create_task(self._watch_pods(node, tasks))

    async def _register(self, name: str) -> None:
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "linnet.dev/testbed": "node-agent"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        try:
            await self.api.request("POST", "/api/v1/nodes", node)
        except ApiError as error:
            if error.status != 409:
                raise
        ready = {"type": "Ready", "status": "True", "reason": "NodeAgentReady", "lastTransitionTime": now(), "lastHeartbeatTime": now()}
        addresses = [{"type": "InternalIP", "address": "10.99.0.1"}, {"type": "Hostname", "address": name}]
        status = {"capacity": CAPACITY, "allocatable": CAPACITY, "conditions": [ready], "addresses": addresses}
        await self.api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, STRATEGIC)
        # New nodes are tainted until somebody says that they are ready; the controller that would is not run here.
        await self.api.request("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, "application/merge-patch+json")

    async def _follow(self, resource: str, known: dict[tuple[str, str], Any]) -> None:
        async for kind, payload in self.api.watch(f"/api/v1/{resource}"):
            if kind == "SYNC":
                known.clear()
                known.update({(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in payload})
                self._synced[resource].set()
            elif kind == "DELETED":
                known.pop((payload["metadata"]["namespace"], payload["metadata"]["name"]), None)
            else:
                known[payload["metadata"]["namespace"], payload["metadata"]["name"]] = payload
            self._dirty.set()

    async def _refresh(self) -> None:
        """Brings changed objects into the files of the pods that mount them, a burst of changes at once."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self.delay)
            self._dirty.clear()
            for pod in list(self.pods.values()):
                await pod.refresh()

    async def _renew(self) -> None:
        """Tokens grow old without any event."""
        while True:
            await asyncio.sleep(30)
            self._dirty.set()

    async def _watch_pods(self, node: str, tasks: asyncio.TaskGroup) -> None:
        async for kind, payload in self.api.watch("/api/v1/pods", {"fieldSelector": f"spec.nodeName={node}"}):
            if kind == "SYNC":
                present = {one["metadata"]["uid"] for one in payload}
                for uid, pod in list(self.pods.items()):
                    if pod.object["spec"]["nodeName"] == node and uid not in present:
                        self._gone(pod)
                for one in payload:
                    self._seen(one, tasks)
            elif kind == "DELETED":
                known = self.pods.get(payload["metadata"]["uid"])
                if known is not None:
                    self._gone(known)
            else:
                self._seen(payload, tasks)

    def _seen(self, obj: Object, tasks: asyncio.TaskGroup) -> None:
        uid = obj["metadata"]["uid"]
        known = self.pods.get(uid)
        if known is not None:
            known.update(obj)
            return
        meta = obj["metadata"]
        folder = self.state / "pods" / f"{meta['namespace']}_{meta['name']}_{uid}"
        pod = self.pods[uid] = Pod(obj, next(self._addresses), folder, self)
        pod.update(obj)
        tasks.create_task(self._run_pod(uid, pod))

    def _gone(self, pod: Pod) -> None:
        """The object vanished (a forced deletion): the processes follow at once."""
        pod.leave(grace=0.0)

    async def _run_pod(self, uid: str, pod: Pod) -> None:
        try:
            await pod.run()
        except Exception:  # one broken Pod must not take the node down
            traceback.print_exc()
        finally:
            self.pods.pop(uid, None)
            shutil.rmtree(pod.folder / "scratch", ignore_errors=True)


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    images = json.loads(options.images.read_text())
    async with KubeApi(options.kubeconfig) as api:
        agent = Agent(api, options.state, options.nodes.split(","), images, backoff=options.backoff, delay=options.projection_delay)
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(agent.run())
            await stop.wait()
            work.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="run Pods as local processes")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True, help="folder of logs, volumes and scratch space")
    parser.add_argument("--nodes", default="node-1,node-2", help="names of the nodes to register, comma-separated")
    parser.add_argument("--images", type=Path, required=True, help="JSON: image pattern -> argv")
    parser.add_argument("--backoff", type=float, default=1.0, help="first back-off of a crashing container in seconds (a kubelet: 10)")
    parser.add_argument("--projection-delay", type=float, default=0.5, help="seconds from a changed ConfigMap to its files")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
