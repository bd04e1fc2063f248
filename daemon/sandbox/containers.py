"""One container of a pod as a local process: started, probed, restarted with growing pauses, and ended with grace."""

import asyncio
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from daemon.sandbox import probes
from daemon.sandbox.controllers.objects import Object, name_of, namespace_of, timestamp, uid_of
from daemon.sandbox.podspec import ConfigError, Image, Lookup, command, environment, find_image, grace_of, repoint
from daemon.sandbox.podstatus import ContainerView
from daemon.sandbox.processes import Family, LogRing, Process

_RESET_AFTER = 600.0  # a container that ran this long starts again with the shortest pause


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What all containers of a node share."""

    family: Family
    http: aiohttp.ClientSession
    images: tuple[Image, ...]
    base_env: Mapping[str, str]
    first_pause: float = 10.0
    longest_pause: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the containers of one pod share."""

    pod: Callable[[], Object]
    address: str
    cwd: Path
    mounts: Callable[[Object], Mapping[str, str]]
    lookup: Lookup
    publish: Callable[[], None]
    event: Callable[[str, str, str], None]
    reconfigured: asyncio.Event


class Container:
    """Runs until it ends for good, or until `stop`."""

    def __init__(self, spec: Object, machine: Machine, place: Place, *, restart: str) -> None:
        self.spec = spec
        self.view = ContainerView(name=spec["name"], image=spec["image"])
        self.log = LogRing()
        self._machine = machine
        self._place = place
        self._restart = restart
        self._process: Process | None = None
        self._around: probes.Surroundings | None = None
        self._stopping, self._condemned, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._crashes = 0

    async def run(self) -> int:
        """Run, and run again as the restart policy says; the last exit code."""
        while True:
            began = time.monotonic()
            code = await self._once()
            if self._stopping.is_set() or self._restart == "Never" or (self._restart == "OnFailure" and code == 0):
                return code
            self._crashes = 0 if time.monotonic() - began >= _RESET_AFTER else self._crashes
            await self._back_off()
            self._crashes += 1
            self.view.restarts += 1
            if self._stopping.is_set():
                return code

    async def _once(self) -> int:
        image = await self._pulled()
        env, argv = await self._configured(image)
        try:
            async with self._machine.family.running(argv, env=env, cwd=self._place.cwd, log=self.log) as process:
                self._process = process
                self._idle.clear()
                self._around = self._surroundings(env)
                self._began(argv)
                return await self._watch(process)
        except OSError as error:
            self.log.append(f"failed to start {argv[0]!r}: {error}")
            self._place.event("Warning", "Failed", f"Error: failed to start container {self.view.name!r}: {error}")
            self._ended(128, None, "StartError", str(error))
            return 128
        finally:
            self._process = None
            self._idle.set()

    async def _pulled(self) -> Image:
        """The image's entry in the table; there is nothing to pull, so an unknown one waits for ever, as a misspelt one does."""
        name = self.view.image
        image = find_image(self._machine.images, name)
        if image is not None:
            return image
        known = ", ".join(i.name for i in self._machine.images)
        message = f'Failed to pull image "{name}": the sandbox runs local processes, not images; it knows {known}'
        self._place.event("Normal", "Pulling", f'Pulling image "{name}"')
        self._place.event("Warning", "Failed", message)
        self._wait("ErrImagePull", message)
        await asyncio.sleep(self._machine.first_pause)
        self._place.event("Normal", "BackOff", f'Back-off pulling image "{name}"')
        self._wait("ImagePullBackOff", f'Back-off pulling image "{name}": {message}')
        await asyncio.Event().wait()
        raise AssertionError("an event nobody sets was set")

    async def _configured(self, image: Image) -> tuple[dict[str, str], list[str]]:
        while True:
            try:
                base = {**self._machine.base_env, **image.env, "POD_IP": self._place.address, "HOSTNAME": name_of(self._place.pod())}
                env = environment(self._place.pod(), self.spec, base, self._place.lookup)
                mounts = self._place.mounts(self.spec)
                env = {k: repoint(v, mounts) for k, v in env.items()}
                return env, command(image, self.spec, env, mounts, sys.executable)
            except ConfigError as error:
                self._place.event("Warning", "Failed", f"Error: {error}")
                self._wait(error.reason, str(error))
            self._place.reconfigured.clear()
            await self._place.reconfigured.wait()

    def _surroundings(self, env: Mapping[str, str]) -> probes.Surroundings:
        return probes.Surroundings(
            address=self._place.address,
            container=self.spec,
            env=env,
            cwd=self._place.cwd,
            family=self._machine.family,
            http=self._machine.http,
        )

    # States.

    def _wait(self, reason: str, message: str) -> None:
        self.view.state = {"waiting": {"reason": reason, "message": message}}
        self.view.ready = self.view.started = False
        self._place.publish()

    def _began(self, argv: list[str]) -> None:
        self.view.container_id = f"sandbox://{uuid.uuid4().hex}"
        self.view.state = {"running": {"startedAt": timestamp()}}
        self.view.started = not self.spec.get("startupProbe")
        self.view.ready = self.view.started and not self.spec.get("readinessProbe")
        self._place.event("Normal", "Started", f"Container started: {self.view.name}")
        self._place.publish()

    def _ended(self, code: int, number: int | None, reason: str, message: str = "") -> None:
        began = (self.view.state.get("running") or {}).get("startedAt") or timestamp()
        ended: Object = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": timestamp()}
        ended |= {"containerID": self.view.container_id} if self.view.container_id else {}
        ended |= {"signal": number} if number is not None else {}
        ended |= {"message": message} if message else {}
        self.view.state = {"terminated": ended}
        self.view.ready = self.view.started = False
        self._place.publish()

    async def _back_off(self) -> None:
        """The first restart is at once, the next ones after 10 s, 20 s, 40 s and so on up to five minutes."""
        self.view.last_state = self.view.state
        if self._crashes == 0:
            return
        pause = min(self._machine.first_pause * 2 ** (self._crashes - 1), self._machine.longest_pause)
        pod = self._place.pod()
        who = f"container={self.view.name} pod={name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"
        self._place.event("Warning", "BackOff", f"Back-off restarting failed container {self.view.name} in pod {name_of(pod)}")
        self._wait("CrashLoopBackOff", f"back-off {_duration(pause)} restarting failed {who}")
        try:
            async with asyncio.timeout(pause):
                await self._stopping.wait()
        except TimeoutError:
            return

    # While it runs.

    async def _watch(self, process: Process) -> int:
        async with asyncio.TaskGroup() as group:
            self._condemned.clear()
            meanwhile = [group.create_task(self._probe()), group.create_task(self._execute(process))]
            code = await process.wait()
            for task in meanwhile:
                task.cancel()
        self._ended(code, process.ended_by, "Completed" if code == 0 else "Error")
        return code

    async def _probe(self) -> None:
        startup = self.spec.get("startupProbe")
        if startup:
            await self._until_started(startup)
        async with asyncio.TaskGroup() as group:
            for kind, report in (("readinessProbe", self._readiness), ("livenessProbe", self._liveness)):
                if self.spec.get(kind):
                    group.create_task(self._ask_for_ever(self.spec[kind], report))

    async def _ask_for_ever(self, probe: Object, report: Callable[[bool, str, bool], None]) -> None:
        around = self._around
        assert around is not None
        await probes.repeat(probe, lambda limit: probes.ask(probe, around, limit), report)

    async def _until_started(self, probe: Object) -> None:
        done = asyncio.Event()

        def report(ok: bool, message: str, settled: bool) -> None:
            if ok and settled:
                self.view.started = True
                self.view.ready = not self.spec.get("readinessProbe")
                self._place.publish()
                done.set()
            elif not ok:
                self._unhealthy("Startup", message, kill=settled)

        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask_for_ever({"successThreshold": 1, **probe}, report))
            await done.wait()
            asking.cancel()

    def _readiness(self, ok: bool, message: str, settled: bool) -> None:
        if not ok:
            self._unhealthy("Readiness", message, kill=False)
        if settled and ok is not self.view.ready:
            self.view.ready = ok
            self._place.publish()

    def _liveness(self, ok: bool, message: str, settled: bool) -> None:
        if not ok and not self._stopping.is_set():
            self._unhealthy("Liveness", message, kill=settled)

    def _unhealthy(self, kind: str, message: str, *, kill: bool) -> None:
        self._place.event("Warning", "Unhealthy", f"{kind} probe failed: {message}")
        if kill and self._process is not None and self._process.returncode is None:
            self._place.event("Normal", "Killing", f"Container {self.view.name} failed {kind.lower()} probe, will be restarted")
            self._condemned.set()

    async def _execute(self, process: Process) -> None:
        """End a process that a probe condemned; it has the pod's grace, as for a deletion."""
        await self._condemned.wait()
        process.terminate(probes.stop_signal(self.spec))
        await asyncio.sleep(grace_of(self._place.pod()))
        process.send(signal.SIGKILL)

    # The end.

    async def stop(self, grace: float) -> None:
        """preStop, SIGTERM, and SIGKILL when the grace is over."""
        self._stopping.set()
        process, around = self._process, self._around
        if process is None or around is None or process.returncode is not None:
            return
        self._place.event("Normal", "Killing", f"Stopping container {self.view.name}")
        deadline = time.monotonic() + grace
        ok, message = await probes.pre_stop(self.spec, around, grace)
        if not ok:
            self._place.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {message}")
        if grace > 0:
            process.terminate(probes.stop_signal(self.spec))
        try:
            # A hook that used the grace up leaves two seconds, as in the kubelet.
            async with asyncio.timeout(max(deadline - time.monotonic(), 2.0) if grace > 0 else 0):
                await process.wait()
        except TimeoutError:
            process.send(signal.SIGKILL)
        await self._idle.wait()


def _duration(seconds: float) -> str:
    """As Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
