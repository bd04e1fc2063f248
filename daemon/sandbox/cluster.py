"""A whole small cluster in one process: API server, controllers, a node, and a real gateway where wanted.

`Sandbox.running` is what the demo and the fast tests stand on, `run_sandbox` what `linnet sandbox` calls. What is simulated: the API
server, the native controllers of Deployments, ReplicaSets, EndpointSlices, garbage and namespaces, one node whose pods are local
processes. What is not there: isolation, cluster addresses (only the gateway reaches pods, by EndpointSlice), Jobs, StatefulSets,
DaemonSets, autoscaling, volumes that outlive a pod, and any check of who may do what.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from daemon.sandbox import gateway as gateways
from daemon.sandbox.addresses import Network
from daemon.sandbox.controllers.access import Access
from daemon.sandbox.controllers.manager import controllers
from daemon.sandbox.controllers.objects import Object
from daemon.sandbox.controllers.runtime import Runner
from daemon.sandbox.furnish import furnished
from daemon.sandbox.gateway import Gateway, GatewayOptions
from daemon.sandbox.kubelet import NODE, Kubelet
from daemon.sandbox.podspec import Image
from daemon.sandbox.processes import Family
from daemon.sandbox.server import ApiServer
from daemon.sandbox.store import Caller, Store

SHOP = Image(name="shop:*", entrypoint=("{python}", "-m", "daemon.sandbox.shop", "--version", "{tag}"))
T = TypeVar("T")

INSTALLER = Caller(user="admin", manager="linnet-sandbox")

# What others refer to comes first; a policy before the objects it speaks of is as on a cluster.
_ORDER = ("CustomResourceDefinition", "Namespace", "GatewayClass", "ServiceAccount", "ConfigMap", "Secret")


class SandboxError(Exception):
    """The sandbox could not be started as asked."""

    def __init__(self, message: str, *, reason: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class SandboxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the sandbox should be. `manifests` are YAML files or folders of them, `objects` whole objects; both are applied at the start.

    `images` says which local command stands for an image; the shop of the demo is always known. `first_pause` is the first pause
    before a crashed container is started again, ten seconds on a cluster.
    """

    port: int = 0
    gateway: bool = True
    gateway_port: int = 0
    manifests: tuple[Path, ...] = ()
    objects: tuple[dict[str, Any], ...] = ()
    images: tuple[Image, ...] = ()
    kubeconfig: Path | None = None
    first_pause: float = 10.0


class Sandbox:
    """A running sandbox."""

    def __init__(self, options: SandboxOptions, *, store: Store, family: Family, network: Network, root: Path) -> None:
        self.options = options
        self.store = store
        self.family = family
        self.network = network
        self.root = root
        self.gateway: Gateway | None = None
        self.kubelet = Kubelet(
            Access(store, "kubelet", user=f"system:node:{NODE}", manager="kubelet"),
            family=family,
            network=network,
            root=root / "pods",
            images=(*options.images, SHOP),
            first_pause=options.first_pause,
        )
        self.server = ApiServer(store, port=options.port, logs=self._logs)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def kubeconfig(self) -> Path:
        return self.options.kubeconfig or self.root / "kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        """What a process that the sandbox's owner starts must carry to be ended with the sandbox, also when that is killed."""
        return {**self.family.environment, "KUBECONFIG": str(self.kubeconfig)}

    def apply(self, *objects: Object) -> None:
        """Server-side apply, definitions first."""
        self.store.load(sorted(objects, key=_rank), user=INSTALLER)

    async def until(self, ask: Callable[[], T | None]) -> T:
        """Wait until `ask` answers something true, asking again after every change of any object; the caller sets the deadline."""
        changed = asyncio.Event()
        unsubscribe = self.store.subscribe(lambda _event, _resource, _obj: changed.set())
        try:
            while not (found := ask()):
                await changed.wait()
                changed.clear()
            return found
        finally:
            unsubscribe()

    def _logs(self, namespace: str, pod: str, container: str) -> bytes:
        lines = self.kubelet.logs(namespace, pod, container or None) or []
        return "".join(f"{line}\n" for line in lines).encode()

    # Starting and ending.

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, options: SandboxOptions | None = None) -> AsyncIterator["Sandbox"]:
        """The sandbox while the block runs; leaving it ends every process at once and removes every file."""
        chosen = options or SandboxOptions()
        async with contextlib.AsyncExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linnet-sandbox-")))
            network = stack.enter_context(contextlib.closing(Network.claim()))
            family = stack.enter_context(Family())
            sandbox = cls(chosen, store=furnished(), family=family, network=network, root=root)
            await stack.enter_async_context(sandbox.server)
            sandbox._write_kubeconfig()
            stack.callback(sandbox._forget_kubeconfig)
            await stack.enter_async_context(sandbox._working())
            sandbox.apply(*(gateways.crds() if chosen.gateway else ()), *read(chosen.manifests), *chosen.objects)
            if chosen.gateway:
                sandbox.gateway = await stack.enter_async_context(sandbox._gateway())
            yield sandbox

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """Controllers and node; one that fails takes the block down instead of leaving a cluster that stands still."""
        runner = Runner(Access(self.store, "sandbox"), controllers(self.store))
        body = asyncio.current_task()
        assert body is not None
        # Not a TaskGroup: an error of the block should reach its caller as it is, not wrapped in a group.
        tasks = [asyncio.create_task(self.kubelet.run()), asyncio.create_task(runner.run())]

        def failed(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                body.cancel()

        for task in tasks:
            task.add_done_callback(failed)
        try:
            yield
        finally:
            for task in tasks:
                task.remove_done_callback(failed)
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            broken = next((e for e in ends if isinstance(e, Exception)), None)
            if broken is not None:
                body.uncancel()
                raise SandboxError(f"the sandbox stopped working: {broken!r}", reason="Broken", retryable=True) from broken

    def _gateway(self) -> contextlib.AbstractAsyncContextManager[Gateway]:
        token = self.server.token("system:serviceaccount:gateway:traefik")
        options = GatewayOptions(api=self.url, token=token, address=self.network.node, port=self.options.gateway_port)
        return gateways.running(options, access=Access(self.store, "gateway"), load=lambda found: self.apply(*found), family=self.family)

    def kubeconfig_for(self, user: str) -> Path:
        """A kubeconfig file for another user than the admin, gone with the sandbox."""
        path = self.root / f"{user.rpartition(':')[2]}.kubeconfig"
        _write_private(path, self.server.kubeconfig(user))
        return path

    def _write_kubeconfig(self) -> None:
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        _write_private(self.kubeconfig, self.server.kubeconfig())

    def _forget_kubeconfig(self) -> None:
        self.kubeconfig.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _rank(obj: Object) -> int:
    kind = obj.get("kind", "")
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def read(paths: Iterable[Path]) -> Iterator[Object]:
    """The objects of YAML files, and of all `.yaml` and `.yml` files of folders."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in paths:
        if not path.exists():
            raise SandboxError(f"manifest {path} is not there; name a YAML file or a folder of them", reason="NoManifest")
        files = sorted(f for f in path.rglob("*") if f.suffix in {".yaml", ".yml"}) if path.is_dir() else [path]
        for file in files:
            try:
                yield from _objects(yaml.load_all(file.read_text(), loader))
            except yaml.YAMLError as error:
                raise SandboxError(f"manifest {file} is not YAML: {error}", reason="BadManifest") from error


def _objects(documents: Iterable[Any]) -> Iterator[Object]:
    for document in documents:
        if isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document:
            yield from document["items"]
        elif document:
            yield document


def hold_policies(file: Path, usernames: Iterable[str]) -> list[Object]:
    """The chart's hold policies for a daemon that goes by these user names, as the chart would render them."""
    names = ", ".join(f"'{name}'" for name in usernames)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(_objects(yaml.load_all(file.read_text().replace("LINNET_USERNAMES", f"[{names}]"), loader)))


async def run_sandbox(options: SandboxOptions, ready: Callable[[Sandbox], None]) -> None:
    """Run a sandbox until SIGINT or SIGTERM; `ready` is called once it serves."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with Sandbox.running(options) as sandbox:
        ready(sandbox)
        await ended.wait()
