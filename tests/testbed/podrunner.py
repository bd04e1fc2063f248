"""Runs one Pod: its containers as local processes on the Pod's own address, from first start to the object's removal.

What the native kubelet promises and a rollout depends on is kept: readiness and liveness probes with their thresholds, restarts with
a growing back-off and `CrashLoopBackOff`, preStop, SIGTERM, the grace period, then SIGKILL, and a status that changes only when
something did. Not kept: cgroups, users, image pulls, logs over the API (a container that
failed has its last lines in its status where it asks for that), termination messages in a file.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.testbed import podspec
from tests.testbed.container import Container, Object, World, now, running


class Pod:
    """One Pod object bound to a node of the agent."""

    def __init__(self, obj: Object, ip: str, folder: Path, world: World) -> None:
        self.object = obj
        self.ip = ip
        self.folder = folder
        self.world = world
        self.name: str = obj["metadata"]["name"]
        self.changed = asyncio.Event()
        self.stopping = asyncio.Event()  # its containers are to end: it completed with sidecars, or is on its way out
        self._leaving = asyncio.Event()  # somebody deleted it
        self.grace = 30.0
        self.finished = False
        self._tokens: dict[str, dict[str, bytes]] = {}
        self._renew_at: float | None = None
        self._written: Object = {}
        self._conditions: dict[str, tuple[str, str]] = {}
        self._started = now()
        policy = obj["spec"].get("restartPolicy", "Always")
        self.init = [
            Container(self, spec, restart=spec.get("restartPolicy", "OnFailure" if policy != "Never" else "Never"))
            for spec in obj["spec"].get("initContainers") or []
        ]
        self.main = [Container(self, spec, restart=policy) for spec in obj["spec"]["containers"]]

    # -- called by the agent ---------------------------------------------------------------------------------------------------

    def update(self, obj: Object) -> None:
        """The object changed: labels, annotations, conditions of others, or its deletion was asked for."""
        self.object = obj
        if obj["metadata"].get("deletionTimestamp") and not self._leaving.is_set():
            self.leave(float(obj["metadata"].get("deletionGracePeriodSeconds", 30)))
        self.changed.set()

    def leave(self, grace: float) -> None:
        """Ends what runs within `grace` seconds, then the object goes."""
        self.grace = grace
        self.stopping.set()
        self._leaving.set()

    async def sleep(self, seconds: float) -> None:
        """Sleeps, but not beyond the Pod's end."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def run(self) -> None:
        """From start to removal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        async with running(self._report()), running(self._lifetime()) as life:
            await life
            await self._leaving.wait()  # a Pod that completed stays until somebody deletes it
        self.changed.clear()
        await self._write()
        await self.world.remove(self.object)

    # -- life ------------------------------------------------------------------------------------------------------------------

    async def _lifetime(self) -> None:
        while not await self._volumes() and not self.stopping.is_set():
            await self.sleep(0.5)
        async with asyncio.TaskGroup() as sidecars:
            for container in self.init:
                if container.restart == "Always":
                    sidecars.create_task(container.run())
                elif await container.run() != 0 or self.stopping.is_set():
                    self.finished = True
                    return
            if not self.stopping.is_set():
                await asyncio.gather(*(container.run() for container in self.main))
            self.finished = True
            self.changed.set()
            if any(container.restart == "Always" for container in self.init):
                self.stopping.set()

    async def refresh(self) -> None:
        """Projects the volumes anew: an object changed, or a token grows old."""
        await self._volumes()

    async def _volumes(self) -> bool:
        try:
            if self._renew_at is None or time.time() > self._renew_at:
                await self._fetch_tokens()
            for volume in self.object["spec"].get("volumes") or []:
                folder = self.folder / "volumes" / volume["name"]
                files = podspec.volume_files(volume, self.object, self.world.sources, self.ip, self._tokens.get(volume["name"], {}))
                if files is None:
                    folder.mkdir(parents=True, exist_ok=True)
                else:
                    podspec.project(folder, files)
        except podspec.NotReadyError as error:
            for container in self.main:
                if container.process is None:
                    container.state = {"waiting": {"reason": "ContainerCreating", "message": str(error)}}
            self.changed.set()
            return False
        return True

    async def _fetch_tokens(self) -> None:
        renew = time.time() + 600
        for volume in self.object["spec"].get("volumes") or []:
            for source in (volume.get("projected") or {}).get("sources") or []:
                if "serviceAccountToken" in source:
                    wish = source["serviceAccountToken"]
                    token, until = await self.world.token(self.object, wish)
                    self._tokens.setdefault(volume["name"], {})[wish["path"]] = token
                    renew = min(renew, until)
        self._renew_at = renew

    def mounts(self, container: Object) -> list[Object]:
        """Where the container's volumes go."""
        volumes = {volume["name"]: volume for volume in self.object["spec"].get("volumes") or []}
        found = [{"source": str(self.world.logs), "target": str(self.world.logs), "readOnly": False}]
        for mount in container.get("volumeMounts") or []:
            volume = volumes[mount["name"]]
            source = Path(volume["hostPath"]["path"]) if "hostPath" in volume else self.folder / "volumes" / mount["name"]
            if mount.get("subPath"):
                source = source / mount["subPath"]
                source = source.resolve() if source.exists() else source
            writable = "emptyDir" in volume or "hostPath" in volume
            found.append({"source": str(source), "target": mount["mountPath"], "readOnly": bool(mount.get("readOnly")) or not writable})
        return found

    # -- status ----------------------------------------------------------------------------------------------------------------

    async def _report(self) -> None:
        while True:
            await self.changed.wait()
            self.changed.clear()
            await self._write()

    async def _write(self) -> None:
        status = self.status()
        if status != self._written:
            await self.world.write_status(self.object, status)
            self._written = status

    def _phase(self) -> str:
        if self.finished:
            codes = [container.exit_code for container in [*self.init, *self.main] if container.restart != "Always"]
            return "Succeeded" if codes and all(code == 0 for code in codes) else "Failed"
        begun = any(container.process is not None for container in self.main)
        return "Running" if begun else "Pending"

    def status(self) -> Object:
        """`status` of the object as it should be now."""
        phase = self._phase()
        contained = bool(self.main) and all(container.ready for container in self.main)
        theirs = {one["type"]: one["status"] for one in (self.object.get("status") or {}).get("conditions") or []}
        gates = all(theirs.get(gate["conditionType"]) == "True" for gate in self.object["spec"].get("readinessGates") or [])
        initialized = all(container.restart == "Always" or container.exit_code == 0 for container in self.init)
        wanted = {"PodReadyToStartContainers": True, "Initialized": initialized, "ContainersReady": contained, "Ready": contained and gates}
        conditions = []
        for kind, value in wanted.items():
            text = "True" if value else "False"
            if self._conditions.get(kind, ("", ""))[0] != text:
                self._conditions[kind] = (text, now())
            entry = {"type": kind, "status": text, "lastTransitionTime": self._conditions[kind][1], "reason": None, "message": None}
            if not value:
                entry["reason"] = "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
            conditions.append(entry)
        status: Object = {
            "phase": phase,
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "hostIP": "10.99.0.1",
            "hostIPs": [{"ip": "10.99.0.1"}],
        }
        status |= {"startTime": self._started, "conditions": conditions, "containerStatuses": [one.status() for one in self.main]}
        if self.init:
            status["initContainerStatuses"] = [one.status() for one in self.init]
        return status
