"""Runs one Pod: its containers as local processes on the Pod's own address, from first start to the object's removal.

What the native kubelet promises and a rollout depends on is kept: readiness and liveness probes with their thresholds, restarts with
a growing back-off and `CrashLoopBackOff`, preStop, SIGTERM, the grace period, then SIGKILL, and a status that changes only when
something did. Not kept: cgroups, users, image pulls, logs over the API.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tests.testbed import podspec, probes

PODEXEC = Path(__file__).with_name("podexec.py")
Object = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class World(Protocol):
    """What a pod needs from its node agent."""

    sources: podspec.Sources
    backoff: float
    logs: Path

    def argv_of(self, image: str) -> list[str] | None: ...
    async def token(self, pod: Object, source: Object) -> tuple[bytes, float]: ...
    async def write_status(self, pod: Object, status: Object) -> None: ...
    async def remove(self, pod: Object) -> None: ...


@asynccontextmanager
async def running(work: Awaitable[Any]) -> AsyncIterator[asyncio.Future[Any]]:
    """A task that does not outlive the block."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Container:
    """One container: its process, its restarts, and the entry it has in `status.containerStatuses`."""

    def __init__(self, pod: Pod, spec: Object, *, restart: str) -> None:
        self.pod = pod
        self.spec = spec
        self.restart = restart
        self.name: str = spec["name"]
        self.state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: Object = {}
        self.restarts = 0
        self.ready = False
        self.started = False
        self.exit_code: int | None = None
        self.process: asyncio.subprocess.Process | None = None

    def status(self) -> Object:
        image = self.spec.get("image", "")
        identity = {
            "name": self.name,
            "image": image,
            "imageID": image,
            "containerID": f"process://{self.process.pid}" if self.process else "",
        }
        return {
            **identity,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }

    def _set(self, **state: Object) -> None:
        self.state = state
        self.pod.changed.set()

    async def run(self) -> int:
        """Until the container has ended for good; the exit code."""
        delay = self.pod.world.backoff
        while True:
            started = time.monotonic()
            code = await self._once()
            if code is not None and (self.pod.stopping.is_set() or self.restart == "Never" or (self.restart == "OnFailure" and code == 0)):
                self.exit_code = code
                return code
            if self.pod.stopping.is_set():
                return 137
            if code is not None:
                self.restarts += 1
                self.last_state = self.state
                reason = "CrashLoopBackOff"
                self._set(waiting={"reason": reason, "message": f"back-off {delay:.0f}s restarting failed container={self.name}"})
                delay = self.pod.world.backoff if time.monotonic() - started > 600 else delay
            await self.pod.sleep(delay)
            delay = min(delay * 2, 300.0)

    async def _once(self) -> int | None:
        """One life of the process; None when it could not be started."""
        try:
            command, env = self._command()
        except podspec.NotReadyError as error:
            self._set(waiting={"reason": error.reason, "message": str(error)})
            return None
        process = self.process = await self._start(command, env)
        self._set(running={"startedAt": now()})
        code = await self._live(process)
        reason = "Completed" if code == 0 else "Error"
        self.ready = self.started = False
        begun = self.state.get("running", {}).get("startedAt", now())
        self._set(terminated={"exitCode": code, "reason": reason, "startedAt": begun, "finishedAt": now()})
        return code

    def _command(self) -> tuple[list[str], dict[str, str]]:
        pod, spec, image = self.pod, self.spec, self.spec.get("image", "")
        standard = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "HOSTNAME": pod.name,
            "LINNET_IMAGE": image,
            "LINNET_POD_IP": pod.ip,
            "LINNET_TESTBED_LOGS": str(pod.world.logs),
            "KUBERNETES_SERVICE_HOST": "10.99.0.1",
            "KUBERNETES_SERVICE_PORT": "6443",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        env = standard | podspec.environment(spec, pod.object, pod.world.sources, pod.ip)
        program = list(spec.get("command") or [])
        if not program:
            known = pod.world.argv_of(image)
            if known is None:
                raise podspec.NotReadyError("ErrImagePull", f"no program is known for image {image!r}")
            program = known
        return [podspec.expand(word, env) for word in [*program, *(spec.get("args") or [])]], env

    async def _start(self, command: list[str], env: dict[str, str]) -> asyncio.subprocess.Process:
        scratch = self.pod.folder / "scratch" / f"{self.name}-{self.restarts}"
        scratch.mkdir(parents=True, exist_ok=True)
        context = self.spec.get("securityContext") or {}
        spec = {
            "scratch": str(scratch),
            "mounts": self.pod.mounts(self.spec),
            "readOnlyRoot": bool(context.get("readOnlyRootFilesystem")),
            "cwd": self.spec.get("workingDir") or "/",
        }
        file = self.pod.folder / f"{self.name}.json"
        file.write_text(json.dumps(spec))
        with (self.pod.folder / f"{self.name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *[sys.executable, "-I", "-S", str(PODEXEC), str(file), *command],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )

    async def _live(self, process: asyncio.subprocess.Process) -> int:
        """Probes the running process until it exits, fails its liveness probe, or the Pod stops."""
        killed = asyncio.Event()
        async with (
            running(process.wait()) as exit_,
            running(self._probe(killed)),
            running(self.pod.stopping.wait()) as stop,
            running(killed.wait()) as kill,
        ):
            await asyncio.wait({exit_, stop, kill}, return_when=asyncio.FIRST_COMPLETED)
            if not exit_.done():
                grace = self.pod.grace if stop.done() else float(self.pod.object["spec"].get("terminationGracePeriodSeconds", 30))
                await self._terminate(process, exit_, grace)
        self._end_session(process, signal.SIGKILL)
        code = process.returncode if process.returncode is not None else 137
        return code if code >= 0 else 128 - code

    async def _terminate(self, process: asyncio.subprocess.Process, exit_: asyncio.Future[Any], grace: float) -> None:
        deadline = time.monotonic() + grace
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            async with running(self._hook(hook, grace)) as task:
                await asyncio.wait({task, exit_}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not exit_.done():
            process.terminate()
            await asyncio.wait({exit_}, timeout=max(deadline - time.monotonic(), 0.1))
        if not exit_.done():
            self._end_session(process, signal.SIGKILL)
            await asyncio.wait({exit_}, timeout=10)

    def _end_session(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        try:
            os.killpg(process.pid, number)  # the container's session: what the process left behind goes too
        except (ProcessLookupError, PermissionError):
            return

    async def _hook(self, hook: Mapping[str, Any], grace: float) -> None:
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
        else:
            await probes.attempt(self.spec, {**hook, "timeoutSeconds": grace}, self.pod.ip, self._exec)

    async def _exec(self, command: list[str]) -> int:
        """A command in the container's own root."""
        assert self.process is not None, "probes run only while the container does"
        inside = ["nsenter", "-t", str(self.process.pid), "-m", "-r", "--", *command]
        quiet = asyncio.subprocess.DEVNULL
        runner = await asyncio.create_subprocess_exec(*inside, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            return await runner.wait()
        finally:
            if runner.returncode is None:
                runner.kill()
                await runner.wait()

    async def _probe(self, kill: asyncio.Event) -> None:
        spec, ip = self.spec, self.pod.ip
        if "startupProbe" in spec:
            begun = asyncio.Event()

            def heard(good: bool) -> None:
                (begun if good else kill).set()

            async with running(probes.watch(spec, spec["startupProbe"], ip, self._exec, heard)):
                await begun.wait()
        self.started = True

        def ready(good: bool) -> None:
            if good != self.ready:
                self.ready = good
                self.pod.changed.set()

        def alive(good: bool) -> None:
            if not good:
                kill.set()

        if "readinessProbe" not in spec:
            ready(True)
        self.pod.changed.set()
        loops = [(spec[key], hear) for key, hear in (("readinessProbe", ready), ("livenessProbe", alive)) if key in spec]
        await asyncio.gather(*(probes.watch(spec, probe, ip, self._exec, hear) for probe, hear in loops))


class Pod:
    """One Pod object bound to a node of the agent."""

    def __init__(self, obj: Object, ip: str, folder: Path, world: World) -> None:
        self.object = obj
        self.ip = ip
        self.folder = folder
        self.world = world
        self.name: str = obj["metadata"]["name"]
        self.changed = asyncio.Event()
        self.stopping = asyncio.Event()
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
        if obj["metadata"].get("deletionTimestamp") and not self.stopping.is_set():
            self.grace = float(obj["metadata"].get("deletionGracePeriodSeconds", 30))
            self.stopping.set()
        self.changed.set()

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
            if not self.stopping.is_set():  # a Pod that completed stays until somebody deletes it
                await self.stopping.wait()
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
