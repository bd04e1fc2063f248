"""The controllers on a store of their own, with or without processes: what the sandbox's tests stand on."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from daemon.sandbox.addresses import Network
from daemon.sandbox.controllers.access import DEPLOYMENTS, ENDPOINTSLICES, NODES, PODS, REPLICASETS, Access
from daemon.sandbox.controllers.manager import controllers
from daemon.sandbox.controllers.objects import controller_of, created, labels_of, meta, name_of, status_of, terminating, timestamp
from daemon.sandbox.controllers.runtime import Key, Runner
from daemon.sandbox.furnish import furnished
from daemon.sandbox.kubelet import NODE, Kubelet
from daemon.sandbox.podspec import Image
from daemon.sandbox.processes import Family
from daemon.sandbox.store import Store

Object = dict[str, Any]
T = TypeVar("T")

USER = "alice"
DEADLINE = 30.0


class Clock:
    """The server's clock, which a test can set forward."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead


class PaperNode:
    """A node that runs nothing: pods become ready when the test lets them, and end as soon as they are deleted."""

    name = "paper-node"

    def __init__(self, access: Access) -> None:
        self._api = access
        self.ready: Callable[[Object], bool] = lambda _pod: True
        self.drain: Callable[[Object], bool] = lambda _pod: True
        self._addresses = 1

    def start(self) -> Iterable[Key]:
        if self._api.get(NODES, "", NODE) is None:
            self._api.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        return []

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == PODS and event != "DELETED":
            yield meta(obj)["namespace"], name_of(obj)

    def sync(self, key: Key) -> float | None:
        pod = self._api.get(PODS, *key)
        if pod is None or not pod["spec"].get("nodeName"):
            return None
        if terminating(pod):
            if self.drain(pod):
                self._api.delete(PODS, pod, grace=0)
            return None
        status = dict(status_of(pod))
        if not status.get("podIP"):
            self._addresses += 1
            status["podIP"] = f"127.9.0.{self._addresses}"
        state = "True" if self.ready(pod) else "False"
        before = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
        if before is None or before["status"] != state:
            condition = {"type": "Ready", "status": state, "lastTransitionTime": timestamp()}
            status["conditions"] = [*(c for c in status.get("conditions") or [] if c["type"] != "Ready"), condition]
        status["phase"] = "Running"
        if status != status_of(pod):
            self._api.update(PODS, pod | {"status": status}, subresource="status")
        return None


class Bench:
    """A store with controllers at work, and words for what tests ask."""

    def __init__(
        self,
        store: Store,
        node: PaperNode | None = None,
        kubelet: Kubelet | None = None,
        family: Family | None = None,
        clock: "Clock | None" = None,
    ) -> None:
        self.store = store
        self.paper = node
        self._kubelet = kubelet
        self._family = family
        self._clock = clock

    def later(self, seconds: float) -> None:
        """Let the server's clock jump, so that what is created next is younger by whole seconds."""
        assert self._clock is not None
        self._clock.ahead += dt.timedelta(seconds=seconds)

    @property
    def kubelet(self) -> Kubelet:
        assert self._kubelet is not None
        return self._kubelet

    @property
    def family(self) -> Family:
        assert self._family is not None
        return self._family

    async def until(self, ask: Callable[[], T | None], what: str = "") -> T:
        """Wait until `ask` answers something true, looking again after every change of any object."""
        changed = asyncio.Event()
        unsubscribe = self.store.subscribe(lambda _event, _res, _obj: changed.set())
        try:
            async with asyncio.timeout(DEADLINE):
                while not (found := ask()):
                    await changed.wait()
                    changed.clear()
                return found
        except TimeoutError:
            raise AssertionError(f"still not after {DEADLINE:g} s: {what or ask}") from None
        finally:
            unsubscribe()

    async def idle(self, quiet: float = 0.15) -> None:
        """Until nothing has changed for a moment: for what must not happen."""
        revision = -1
        while revision != self.store.revision:
            revision = self.store.revision
            await asyncio.sleep(quiet)

    def apply(self, obj: Object) -> Object:
        return self.store.create(resource_of(self.store, obj), obj, user=USER)

    def change(self, res: str, name: str, edit: Callable[[Object], None], ns: str = "default") -> Object:
        obj = self.store.get(res, ns, name)
        assert obj is not None, f"{res} {ns}/{name} is not there"
        edit(obj)
        return self.store.update(res, obj, user=USER)

    def set_image(self, name: str, image: str) -> None:
        def edit(d: Object) -> None:
            d["spec"]["template"]["spec"]["containers"][0]["image"] = image

        self.change(DEPLOYMENTS, name, edit)

    def scale(self, name: str, replicas: int) -> None:
        self.change(DEPLOYMENTS, name, lambda d: d["spec"].update(replicas=replicas))

    def pause(self, name: str, paused: bool = True) -> None:
        self.change(DEPLOYMENTS, name, lambda d: d["spec"].update(paused=paused))

    def delete(self, res: str, name: str, ns: str = "default", **how: Any) -> None:
        self.store.delete(res, ns, name, user=USER, **how)

    def deployment(self, name: str = "web") -> Object:
        found = self.store.get(DEPLOYMENTS, "default", name)
        assert found is not None
        return found

    def sets(self, owner: str = "web") -> list[Object]:
        """The ReplicaSets of a Deployment, the oldest first."""
        found = [rs for rs in self.store.list(REPLICASETS, "default") if (controller_of(rs) or {}).get("name") == owner]
        return sorted(found, key=lambda rs: (int(meta(rs)["annotations"].get("deployment.kubernetes.io/revision", "0")), created(rs)))

    def sizes(self, owner: str = "web") -> dict[str, int]:
        """Replicas by image."""
        return {image_of(rs["spec"]["template"]): rs["spec"]["replicas"] for rs in self.sets(owner)}

    def pods(self, **labels: str) -> list[Object]:
        return [p for p in self.store.list(PODS, "default") if labels.items() <= labels_of(p).items()]

    def endpoints(self, service: str = "web") -> list[Object]:
        slices = [s for s in self.store.list(ENDPOINTSLICES, "default") if labels_of(s).get("kubernetes.io/service-name") == service]
        return [e for s in slices for e in s.get("endpoints") or []]

    def rolled_out(self, name: str = "web") -> bool:
        """What `kubectl rollout status` waits for."""
        d = self.deployment(name)
        status, wanted = status_of(d), d["spec"]["replicas"]
        seen = status.get("observedGeneration", 0) >= meta(d)["generation"]
        counts = [status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")]
        return seen and counts == [wanted] * 3

    def condition(self, kind: str, name: str = "web") -> Object:
        return next((c for c in status_of(self.deployment(name)).get("conditions") or [] if c["type"] == kind), {})


def image_of(template: Object) -> str:
    return str(template["spec"]["containers"][0]["image"])


def resource_of(store: Store, obj: Object) -> str:
    resource = store.registry.by_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    return resource.key


def web(
    image: str = "app:v1", replicas: int = 3, *, name: str = "web", container: Object | None = None, pod: Object | None = None, **spec: Any
) -> Object:
    """A Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image, **(container or {})}], **(pod or {})},
            },
            **spec,
        },
    }


def service(name: str = "web", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec},
    }


@contextlib.asynccontextmanager
async def on_paper() -> AsyncIterator[Bench]:
    """Controllers and a node that only pretends."""
    clock = Clock()
    store = furnished(clock=clock)
    node = PaperNode(Access(store, "paper-node"))
    runner = Runner(Access(store, "sandbox"), [*controllers(store), node])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        try:
            yield Bench(store, node, clock=clock)
        finally:
            task.cancel()


SERVER = Path(__file__).parent / "server.py"
IMAGES = (Image(name="app:*", entrypoint=("{python}", "-I", "-S", str(SERVER), "{tag}")), Image(name="sh:*", entrypoint=("/bin/sh", "-c")))


@contextlib.asynccontextmanager
async def on_processes(root: Path, *, images: tuple[Image, ...] = IMAGES, first_pause: float = 0.2) -> AsyncIterator[Bench]:
    """Controllers and pods that really run."""
    store = furnished()
    network = Network.claim()
    runner = Runner(Access(store, "sandbox"), controllers(store))
    with contextlib.closing(network), Family() as family:
        access = Access(store, "kubelet", user=f"system:node:{NODE}", manager="kubelet")
        kubelet = Kubelet(access, family=family, network=network, root=root, images=images, first_pause=first_pause)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(kubelet.run()), group.create_task(runner.run())]
            try:
                yield Bench(store, kubelet=kubelet, family=family)
            finally:
                for task in tasks:
                    task.cancel()
