"""A client with no opinion: raw requests, the status and the decoded body. It does not know which server it talks to."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

JSON = dict[str, Any]
PREFIXES = {
    "configmaps": "/api/v1",
    "secrets": "/api/v1",
    "services": "/api/v1",
    "pods": "/api/v1",
    "events": "/api/v1",
    "serviceaccounts": "/api/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "daemonsets": "/apis/apps/v1",
    "controllerrevisions": "/apis/apps/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "ingresses": "/apis/networking.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "widgets": "/apis/conformance.linnet.dev/v1",
}
PATCH = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
DEADLINE = 20.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def fields(self) -> list[str]:
        """The fields that a refusal names."""
        return [c.get("field", "") for c in (self.body.get("details") or {}).get("causes") or ()]

    def must(self, status: int) -> Any:
        """The body, where the status is the expected one."""
        assert self.status == status, f"{self.status} instead of {status}: {self.body}"
        return self.body


@dataclass(frozen=True)
class Api:
    """One server, one namespace, one user."""

    session: aiohttp.ClientSession
    url: str
    token: str
    tls: ssl.SSLContext | bool
    ns: str
    user: str = "admin"

    def path(self, resource: str, name: str = "", sub: str = "") -> str:
        parts = [PREFIXES[resource], "namespaces", self.ns, resource, *(p for p in (name, sub) if p)]
        return "/".join(parts)

    async def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: str = "application/json",
        accept: str = "application/json",
        agent: str = "conformance/1",
        **query: Any,
    ) -> Answer:
        data = body if isinstance(body, (bytes, str)) else None if body is None else json.dumps(body, separators=(",", ":"), sort_keys=True)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept, "User-Agent": agent}
        if data is not None:
            headers["Content-Type"] = content
        query = {k: str(v) for k, v in query.items()}
        async with self.session.request(
            method, self.url + path, data=data, headers=headers, params=query, ssl=self.tls, timeout=aiohttp.ClientTimeout(DEADLINE)
        ) as r:
            text = await r.text()
            try:
                decoded = json.loads(text)
            except ValueError:
                decoded = text
            return Answer(r.status, decoded, dict(r.headers), tuple(r.headers.getall("Warning", [])))

    async def create(self, resource: str, obj: JSON, **query: Any) -> Answer:
        return await self.raw("POST", self.path(resource), obj, **query)

    async def get(self, resource: str, name: str, sub: str = "", **query: Any) -> Answer:
        return await self.raw("GET", self.path(resource, name, sub), **query)

    async def list(self, resource: str, **query: Any) -> Answer:
        return await self.raw("GET", self.path(resource), **query)

    async def put(self, resource: str, obj: JSON, sub: str = "", **query: Any) -> Answer:
        return await self.raw("PUT", self.path(resource, obj["metadata"]["name"], sub), obj, **query)

    async def patch(self, resource: str, name: str, kind: str, body: Any, sub: str = "", **query: Any) -> Answer:
        return await self.raw("PATCH", self.path(resource, name, sub), body, content=PATCH[kind], **query)

    async def apply(self, resource: str, obj: JSON, manager: str, sub: str = "", **query: Any) -> Answer:
        return await self.patch(resource, obj["metadata"]["name"], "apply", obj, sub, fieldManager=manager, **query)

    async def delete(self, resource: str, name: str, options: JSON | None = None, **query: Any) -> Answer:
        return await self.raw("DELETE", self.path(resource, name), options, **query)

    @asynccontextmanager
    async def watch(self, resource: str, **query: Any) -> AsyncIterator[Watch]:
        """A watch; its events are read one by one."""
        query = {"watch": "1", "timeoutSeconds": "15", **{k: str(v) for k, v in query.items()}}
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        async with self.session.get(
            self.url + self.path(resource),
            headers=headers,
            params=query,
            ssl=self.tls,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=DEADLINE),
        ) as r:
            yield Watch(r)

    async def eventually(self, ask: Callable[[], Awaitable[Answer]], status: int) -> Any:
        """Ask until the status is the wanted one: policies and CRDs take effect a moment after they are stored."""
        async with asyncio.timeout(DEADLINE):
            while (answer := await ask()).status != status:
                await asyncio.sleep(0.05)
        return answer.body

    def elsewhere(self, ns: str) -> Api:
        return replace(self, ns=ns)


class Watch:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    @property
    def status(self) -> int:
        return self.response.status

    async def next(self) -> tuple[str, JSON]:
        """The next event."""
        async with asyncio.timeout(DEADLINE):
            line = await self.response.content.readline()
        assert line, "the watch ended"
        event = json.loads(line)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        """Type and name of the next events."""
        seen = [await self.next() for _ in range(count)]
        return [(kind, obj["metadata"].get("name", "")) for kind, obj in seen]

    async def ended(self) -> bool:
        async with asyncio.timeout(DEADLINE):
            return not await self.response.content.readline()
