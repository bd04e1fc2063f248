"""Pods as local processes: the sandbox's node.

Each pod gets an address of its own on the loopback network and its containers run as processes that must listen on it (POD_IP in
their environment). There is no isolation whatsoever: a container's command is a process of the user who started the sandbox.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import structlog

from daemon.sandbox.addresses import Network
from daemon.sandbox.containers import Container, Machine, Place
from daemon.sandbox.controllers.access import CONFIGMAPS, NODES, PODS, SECRETS, Access
from daemon.sandbox.controllers.objects import Object, name_of, namespace_of, status_of, terminating, timestamp, uid_of
from daemon.sandbox.errors import ApiError
from daemon.sandbox.podspec import ConfigError, Image, grace_of, needs, volume_files
from daemon.sandbox.podstatus import build
from daemon.sandbox.processes import Family
from daemon.sandbox.volumes import Volume

log = structlog.get_logger("linnet.sandbox")

NODE = "sandbox"
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


class Pod:
    """One pod on this node, from its binding to its removal."""

    def __init__(self, kubelet: "Kubelet", pod: Object, address: str) -> None:
        self._kubelet = kubelet
        self._pod = pod
        self._address = address
        self._root = kubelet.root / uid_of(pod)
        self._volumes: dict[str, Volume] = {}
        self._leaving, self._gone, self._reconfigured = asyncio.Event(), asyncio.Event(), asyncio.Event()
        (self._root / "work").mkdir(parents=True)
        place = self._place()
        policy = pod["spec"].get("restartPolicy") or "Always"
        initial = "Never" if policy == "Never" else "OnFailure"
        self.init = [Container(c, kubelet.machine, place, restart=initial) for c in pod["spec"].get("initContainers") or ()]
        self.containers = [Container(c, kubelet.machine, place, restart=policy) for c in pod["spec"]["containers"]]

    def _place(self) -> Place:
        return Place(
            pod=lambda: self._pod,
            address=self._address,
            cwd=self._root / "work",
            mounts=self._mounts,
            lookup=self._lookup,
            publish=self.publish,
            event=lambda kind, reason, message: self._kubelet.api.event(self._pod, kind, reason, message),
            reconfigured=self._reconfigured,
        )

    def _lookup(self, resource: str, name: str) -> Object | None:
        return self._kubelet.api.get(resource, namespace_of(self._pod), name)

    def _mounts(self, container: Object) -> Mapping[str, str]:
        found = {}
        for mount in container.get("volumeMounts") or ():
            if mount["name"] in self._volumes:
                directory = self._volumes[mount["name"]].directory / (mount.get("subPath") or "")
                found[mount["mountPath"]] = str(directory)
        return found

    @property
    def object(self) -> Object:
        return self._pod

    # What the world tells it.

    def changed(self, event: str, pod: Object) -> None:
        self._pod = pod
        if event == "DELETED":
            self._gone.set()
        if event == "DELETED" or terminating(pod):
            self._leaving.set()
            return
        if pod["spec"].get("readinessGates"):
            self.publish()
        if any("downwardAPI" in str(v) for v in pod["spec"].get("volumes") or ()):
            self.reconfigure()

    def uses(self, resource: str, name: str) -> bool:
        """Does a ConfigMap or Secret of this name concern the pod."""
        return (resource, name) in needs(self._pod) or not all(c.view.started for c in self.containers)

    def reconfigure(self) -> None:
        """Bring projected files up to date and wake containers that wait for their configuration."""
        with contextlib.suppress(ConfigError):
            self._mount()
        self._reconfigured.set()

    def publish(self) -> None:
        """Write the status as it is now, where it differs from what is stored."""
        pod = self._kubelet.api.get(PODS, namespace_of(self._pod), name_of(self._pod))
        if pod is None or uid_of(pod) != uid_of(self._pod):
            return
        init, containers = [c.view for c in self.init], [c.view for c in self.containers]
        status = build(pod, init, containers, pod_ip=self._address, host_ip=self._kubelet.network.node)
        if status != status_of(pod):
            self._pod = pod | {"status": status}
            self._pod = self._kubelet.api.update(PODS, self._pod, subresource="status")

    # Its life.

    async def run(self) -> None:
        try:
            if terminating(self._pod):
                self._leaving.set()
            async with asyncio.TaskGroup() as group:
                living = group.create_task(self._live())
                await self._leaving.wait()
                await self._leave()
                living.cancel()
        finally:
            shutil.rmtree(self._root, ignore_errors=True)

    async def _live(self) -> None:
        if self._leaving.is_set():
            return
        self.publish()
        await self._mounted()
        for container in self.init:
            if await container.run() != 0:
                return
        async with asyncio.TaskGroup() as group:
            for container in self.containers:
                group.create_task(container.run())

    async def _mounted(self) -> None:
        while True:
            try:
                self._mount()
            except ConfigError as error:
                self._kubelet.api.event(self._pod, "Warning", "FailedMount", f"MountVolume.SetUp failed: {error}")
            else:
                return
            self._reconfigured.clear()
            await self._reconfigured.wait()

    def _mount(self) -> None:
        for volume in self._pod["spec"].get("volumes") or ():
            files = volume_files(self._pod, volume, self._lookup)
            kept = self._volumes.setdefault(volume["name"], Volume(self._root / "volumes" / volume["name"]))
            if files is not None:
                kept.project(files)

    async def _leave(self) -> None:
        """End all containers with the pod's grace, then let the object go; one removed by force is ended at once."""
        ending = asyncio.create_task(self._stop(0.0 if self._gone.is_set() else grace_of(self._pod)))
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait([ending, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Whoever is still running now was removed by force; leaving the container's block kills it.
            for task in (ending, gone):
                task.cancel()
            await asyncio.wait([ending, gone])
        if not self._gone.is_set():
            self.publish()
            self._kubelet.remove(self._pod)

    async def _stop(self, grace: float) -> None:
        async with asyncio.TaskGroup() as group:
            for container in (*self.init, *self.containers):
                group.create_task(container.stop(grace))


class Kubelet:
    """Runs every pod that is bound to the node."""

    def __init__(
        self, api: Access, *, family: Family, network: Network, root: Path, images: tuple[Image, ...], first_pause: float = 10.0
    ) -> None:
        self.api = api
        self.network = network
        self.root = root
        self._family = family
        self._images = images
        self._first_pause = first_pause
        self._pods: dict[str, Pod] = {}
        self._machine: Machine | None = None
        self._group: asyncio.TaskGroup | None = None

    @property
    def machine(self) -> Machine:
        assert self._machine is not None
        return self._machine

    def logs(self, namespace: str, name: str, container: str | None = None, *, tail: int | None = None) -> list[str] | None:
        """The last lines of a container, None where there is no such pod or container on the node."""
        for pod in self._pods.values():
            if (namespace_of(pod.object), name_of(pod.object)) != (namespace, name):
                continue
            found = next((c for c in (*pod.containers, *pod.init) if container in (None, c.view.name)), None)
            return None if found is None else found.log.tail(tail)
        return None

    async def run(self) -> None:
        """Serve until cancelled; leaving kills every process at once."""
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
            base = {k: os.environ[k] for k in _INHERITED if k in os.environ}
            self._machine = Machine(family=self._family, http=http, images=self._images, base_env=base, first_pause=self._first_pause)
            self._group = group
            self._register()
            unsubscribe = self.api.subscribe(self._changed)
            try:
                for pod in self.api.list(PODS):
                    self._changed("ADDED", PODS, pod)
                await asyncio.Event().wait()
            finally:
                unsubscribe()
                self._group = None

    def _register(self) -> None:
        if self.api.get(NODES, "", NODE) is not None:
            return
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}},
            "spec": {},
        }
        stored = self.api.create(NODES, node)
        room = {"cpu": str(os.cpu_count() or 1), "memory": "8Gi", "pods": "110"}
        stored["status"] = {
            "capacity": room,
            "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": self.network.node}, {"type": "Hostname", "address": NODE}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "pods run as local processes",
                    "lastHeartbeatTime": timestamp(),
                    "lastTransitionTime": timestamp(),
                }
            ],
            "nodeInfo": {"operatingSystem": "linux", "containerRuntimeVersion": "process://1", "kubeletVersion": "v1.36.0-sandbox"},
        }
        self.api.update(NODES, stored, subresource="status")

    def _changed(self, event: str, resource: str, obj: Object) -> None:
        if resource == PODS:
            self._pod_changed(event, obj)
        elif resource in (CONFIGMAPS, SECRETS):
            for pod in tuple(self._pods.values()):
                if namespace_of(pod.object) == namespace_of(obj) and pod.uses(resource, name_of(obj)):
                    pod.reconfigure()

    def _pod_changed(self, event: str, obj: Object) -> None:
        known = self._pods.get(uid_of(obj))
        if known is not None:
            known.changed(event, obj)
            return
        ended = status_of(obj).get("phase") in {"Succeeded", "Failed"} and not terminating(obj)
        if event == "DELETED" or obj["spec"].get("nodeName") != NODE or ended or self._group is None:
            return
        address = self.network.take()
        pod = self._pods[uid_of(obj)] = Pod(self, obj, address)
        self._group.create_task(self._run(uid_of(obj), pod, address))

    async def _run(self, uid: str, pod: Pod, address: str) -> None:
        try:
            await pod.run()
        except Exception as error:
            log.exception("sandbox.pod_failed", uid=uid, error=repr(error))
        finally:
            self._pods.pop(uid, None)
            self.network.give_back(address)

    def remove(self, pod: Object) -> None:
        """Take the object out of the store once its processes have ended."""
        try:
            self.api.delete(PODS, pod, grace=0)
        except ApiError as error:
            log.warning("sandbox.pod_not_removed", pod=name_of(pod), error=error.message)
