"""Runs one container as a local process: start, probes, restarts with a growing back-off, preStop, SIGTERM, grace, SIGKILL."""

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


class Owner(Protocol):
    """What a container needs from its Pod."""

    object: Object
    world: World
    ip: str
    name: str
    folder: Path
    grace: float
    changed: asyncio.Event
    stopping: asyncio.Event

    def mounts(self, container: Object) -> list[Object]: ...
    async def sleep(self, seconds: float) -> None: ...


class Container:
    """One container: its process, its restarts, and the entry it has in `status.containerStatuses`."""

    def __init__(self, pod: Owner, spec: Object, *, restart: str) -> None:
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
        self._log_from = 0

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
        last = {"message": words} if (words := self._last_words(code)) else {}
        self._set(terminated={"exitCode": code, "reason": reason, "startedAt": begun, "finishedAt": now(), **last})
        return code

    def _last_words(self, code: int) -> str:
        """What a kubelet keeps of the log of a container that failed, where the container asks for it."""
        if code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return ""
        with (self.pod.folder / f"{self.name}.log").open("rb") as log:
            log.seek(self._log_from)
            lines = log.read()[-2048:].decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-80:])

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
            self._log_from = log.tell()
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
