"""The walk's ground in one process: the sandbox's API server and controllers, pods on paper, and the daemon as a process that is killed.

Pods behave as their image says: they answer, fail, cannot be pulled or crash. The autoscaler follows the share of the requests that the
Deployment has, at once and without mercy: what a native one would do in five minutes must not be what saves a release.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path
from typing import Any

from daemon.sandbox.controllers.access import DEPLOYMENTS, PODS, Access
from daemon.sandbox.controllers.objects import meta, name_of, status_of, terminating
from daemon.sandbox.controllers.runtime import Key, Runner
from daemon.sandbox.store import Caller, Store
from tests.unit.control.cluster import CATALOGUE, ROUTES, Cluster, Node
from tests.walk.people import People
from tests.witness.audit import Event

Object = dict[str, Any]
HPAS = "horizontalpodautoscalers.autoscaling"


class Recorder:
    """The store's audit log: who wrote what, and what the store answered."""

    def __init__(self, store: Store) -> None:
        self.takers: dict[str, list[Callable[[Event], None]]] = defaultdict(list)
        self._now: tuple[str, str, str, Any] | None = None
        for verb in ("create", "update", "patch", "delete"):
            setattr(store, verb, self._noted(verb, getattr(store, verb)))
        store.subscribe(self._committed)

    def _noted(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **words: Any) -> Any:
            if self._now is not None:
                return call(*arguments, **words)
            user = words["user"]
            request = arguments[-1] if verb != "delete" else None
            self._now = (verb, user.user if isinstance(user, Caller) else user, words.get("subresource") or "", request)
            try:
                return call(*arguments, **words)
            finally:
                self._now = None

        return noted

    def _committed(self, kind: str, resource: str, obj: Object) -> None:
        metadata = obj["metadata"]
        takers = self.takers.get(metadata.get("namespace", ""))
        if not takers:
            return
        verb, user, sub, request = self._now or ("", "", "", None)
        plural, _, group = resource.partition(".")
        if kind == "DELETED" and verb not in ("patch", "update"):  # a finalizer that goes is a patch
            verb, obj = "delete", {"kind": "Status", "status": "Success"}
        moment = time.time()
        event = Event(
            time=moment,
            finished=moment,
            user=user,
            verb=verb,
            group=group,
            resource=plural,
            subresource=sub,
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            code=200,
            stage="ResponseComplete",
            agent="",
            uri="",
            request=request,
            response=obj,
        )
        for take in takers:
            take(event)


class WalkNode(Node):
    """Pods that are what their image says."""

    def sync(self, key: Key) -> float | None:
        pod = self._api.get(PODS, *key)
        if pod is None or not pod["spec"].get("nodeName") or terminating(pod):
            return super().sync(key)
        container = pod["spec"]["containers"][0]
        crash = any(e["name"] == "PORT" and e.get("value") == "none" for e in container.get("env") or [])
        broken = container["image"].startswith("nowhere")
        self.ready = lambda _pod: not (crash or broken)
        super().sync(key)
        if crash or broken:
            self._fails(key, container, crash=crash)
        return None

    def _fails(self, key: Key, container: Object, *, crash: bool) -> None:
        pod = self._api.get(PODS, *key)
        if pod is None or status_of(pod).get("containerStatuses"):
            return
        reason = "CrashLoopBackOff" if crash else "ErrImagePull"
        waiting = {"reason": reason, "message": "back-off restarting failed container" if crash else "no such image"}
        told = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 3 if crash else 0}
        status = {**status_of(pod), "containerStatuses": [{**told, "state": {"waiting": waiting}}]}
        self._api.update(PODS, pod | {"status": status}, subresource="status")


class Autoscaler:
    """As many pods as the Deployment's share of the load asks for, within its bounds."""

    name = "horizontal-pod-autoscaler"

    def __init__(self, access: Access) -> None:
        self._api = access

    def start(self) -> Iterable[Key]:
        return []

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource in (HPAS, ROUTES) or (resource == DEPLOYMENTS and name_of(obj) == "shop"):
            yield meta(obj).get("namespace", ""), "shop"

    def sync(self, key: Key) -> float | None:
        scaler, found, route = (self._api.get(kind, *key) for kind in (HPAS, DEPLOYMENTS, ROUTES))
        if scaler is None or found is None or not found["spec"].get("replicas"):
            return None
        load = scaler["spec"]["maxReplicas"] - 3  # what serves everything
        backends = route["spec"]["rules"][0].get("backendRefs") or [] if route else []
        away = sum(int(b.get("weight", 1)) for b in backends if b["name"].endswith("-canary")) if len(backends) > 1 else 0
        wanted = max(scaler["spec"].get("minReplicas", 1), min(ceil(load * (100 - away) / 100), scaler["spec"]["maxReplicas"]))
        if wanted != found["spec"]["replicas"]:
            found["spec"]["replicas"] = wanted
            self._api.update(DEPLOYMENTS, found)
        return None


class PaperGround(Cluster):
    """A cluster on paper with the daemon as a process of its own."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.recorder = Recorder(self.store)
        self.node = WalkNode(Access(self.store, "paper-node"))
        self.pages.errors = lambda pod: 0.3 if "bad-" in pod["spec"]["containers"][0]["image"] else 0.001
        self.alive_since = 0.0
        self._log = root / "daemon.log"
        self._process: asyncio.subprocess.Process | None = None
        self._dying = asyncio.Lock()

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[PaperGround]:
        async with self.running():
            scaler = Runner(Access(self.store, "autoscaler"), [Autoscaler(Access(self.store, "horizontal-pod-autoscaler"))])
            task = asyncio.create_task(scaler.run())
            await self._start()
            try:
                yield self
            finally:
                await self._end(signal.SIGTERM)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _start(self) -> None:
        words = ["run", "--kubeconfig", str(self.kubeconfig), "--no-leader-election", "--metrics-address", "127.0.0.1:0"]
        with self._log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "daemon.cli.main", *words, "--catalogue-namespace", CATALOGUE, stdout=log, stderr=log, env=os.environ
            )
        self.alive_since = time.time()

    async def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.returncode is not None:
            raise AssertionError(f"the daemon ended by itself:\n{self._log.read_text()[-3000:]}")
        self._process.send_signal(number)
        await self._process.wait()

    async def kill(self) -> None:
        async with self._dying:
            await self._end(signal.SIGKILL)
            await self._start()

    def tracebacks(self) -> list[str]:
        """What the daemon did not expect: the last line of each traceback in its log."""
        blocks = self._log.read_text().split("Traceback (most recent call last)")[1:]
        return [
            next((line for line in block.splitlines()[1:] if line and not line.startswith((" ", "|", "+"))), block[-200:])
            for block in blocks
        ]

    # As `Ground`.

    def people(self, namespace: str) -> People:
        return People(server=self.server.url, token=self.server.token("alice"), namespace=namespace)

    def source(self) -> Object:
        return {"type": "Scrape", "scrape": {"port": self.pages.port, "interval": "1s"}}

    def watch(self, namespace: str, take: Callable[[Event], None]) -> None:
        self.recorder.takers[namespace].append(take)

    async def open(self, namespace: str) -> None:
        self.load({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    async def close(self, namespace: str) -> None:
        self.recorder.takers.pop(namespace, None)

    async def tick(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
