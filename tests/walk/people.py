"""Those who write beside Linnet: a developer, a GitOps tool, an operator at the keyboard. All by HTTP, as kubectl does it."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp

Object = dict[str, Any]
CORE, APPS = "/api/v1", "/apis/apps/v1"
GROUPS = {
    "deployments": APPS,
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "services": CORE,
    "configmaps": CORE,
    "pods": CORE,
    "canaries": "/apis/linnet.dev/v1alpha1",
    "metricsources": "/apis/linnet.dev/v1alpha1",
    "flagsources": "/apis/linnet.dev/v1alpha1",
    "freezes": "/apis/linnet.dev/v1alpha1",
}
KINDS = {
    "Deployment": "deployments",
    "HTTPRoute": "httproutes",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "Service": "services",
    "ConfigMap": "configmaps",
    "Canary": "canaries",
    "MetricSource": "metricsources",
    "FlagSource": "flagsources",
    "Freeze": "freezes",
}
MERGE, JSON_PATCH, APPLY = "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"


class Refused(Exception):
    """The API server said no; `status` and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(kw_only=True)
class People:
    """Somebody with a name in the audit log."""

    server: str
    token: str
    namespace: str
    context: ssl.SSLContext | None = None
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self.context) if self.context else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {self.token}"})
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def _send(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Object:
        assert self._session is not None, "use it as a context manager"
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self.server + path, data=data, headers={"Content-Type": content}, timeout=aiohttp.ClientTimeout(total=30)
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise Refused(answer.status, text[:1500])
            found: Object = json.loads(text)
            return found

    def _path(self, resource: str, name: str = "") -> str:
        return f"{GROUPS[resource]}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    async def apply(self, obj: Object, *, force: bool = False) -> Object:
        """Server-side apply, as `kubectl apply --server-side`."""
        resource, name = KINDS[obj["kind"]], obj["metadata"]["name"]
        query = f"?fieldManager=kubectl{'&force=true' if force else ''}"
        return await self._send("PATCH", self._path(resource, name) + query, obj, APPLY)

    async def merge(self, resource: str, name: str, body: Object) -> Object:
        return await self._send("PATCH", self._path(resource, name) + "?fieldManager=kubectl-edit", body, MERGE)

    async def patch(self, resource: str, name: str, operations: list[Object]) -> Object:
        return await self._send("PATCH", self._path(resource, name) + "?fieldManager=kubectl-patch", operations, JSON_PATCH)

    async def scale(self, name: str, replicas: int) -> Object:
        path = self._path("deployments", name) + "/scale?fieldManager=kubectl"
        return await self._send("PATCH", path, {"spec": {"replicas": replicas}}, MERGE)

    async def delete(self, resource: str, name: str) -> Object:
        return await self._send("DELETE", self._path(resource, name))

    async def list(self, resource: str, query: str = "") -> list[Object]:
        found: list[Object] = (await self._send("GET", self._path(resource) + query))["items"]
        return found

    async def get(self, resource: str, name: str) -> Object:
        return await self._send("GET", self._path(resource, name))
