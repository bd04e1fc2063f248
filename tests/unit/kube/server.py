"""A scripted API server on loopback: each test says what it answers, and reads what it was asked."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from daemon.kube.client import Client
from daemon.kube.config import ClusterConfig
from daemon.kube.transport import DEFAULTS, Transport, TransportOptions
from tests.serving import serving as serving_app

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers with `handler`; keeps (virtual time, method, path and query) of every request."""

    def __init__(self) -> None:
        self.handler: Handler = _nothing
        self.requests: list[tuple[float, str, str]] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def config(self, **more: Any) -> ClusterConfig:
        return ClusterConfig(server=self.url, **more)

    def times(self) -> list[float]:
        return [at for at, _, _ in self.requests]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((asyncio.get_running_loop().time(), request.method, request.path_qs))
        self.headers.append(dict(request.headers))
        body = await request.read()
        self.bodies.append(json.loads(body) if body else None)
        return await self.handler(request)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    async with serving_app(server._serve, secure=tls) as server.url:
        yield server


@asynccontextmanager
async def client_of(server: Server, options: TransportOptions = DEFAULTS, **more: Any) -> AsyncIterator[Client]:
    loop = asyncio.get_running_loop()
    async with Transport(server.config(), options, clock=loop.time, rng=lambda: 0.5, **more) as transport:
        yield Client(transport)


async def _nothing(request: web.Request) -> web.StreamResponse:
    return web.json_response({"kind": "Status", "code": 404, "reason": "NotFound", "message": "nothing here"}, status=404)


def status(code: int, reason: str, message: str = "no", **headers: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


def deployment(name: str, version: int | str, *, uid: str = "", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "resourceVersion": str(version)},
        "spec": {"replicas": 1, "template": {"spec": {"containers": []}}, **spec},
    }


def listing(version: int | str, *items: dict[str, Any], token: str = "", kind: str = "DeploymentList") -> web.Response:
    return web.json_response({"kind": kind, "metadata": {"resourceVersion": str(version), "continue": token}, "items": list(items)})


def event(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Deployment", "metadata": {"resourceVersion": str(version)}})


async def watching(request: web.Request) -> web.StreamResponse:
    """An open watch reply, to write events into."""
    reply = web.StreamResponse(headers={"Content-Type": "application/json"})
    await reply.prepare(request)
    return reply


def abort(request: web.Request) -> None:
    """Reset the connection in the middle of things."""
    transport = request.transport
    assert transport is not None
    transport.abort()


async def silence() -> None:
    """Say nothing until the client has gone away."""
    await asyncio.Event().wait()
