"""The node agent's own client of the API server.

Not Linnet's: a testbed that used the code under test would hide its faults. Small on purpose: JSON, list and watch, no cache
beyond what the agent keeps.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class ApiError(RuntimeError):
    """The API server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class KubeApi:
    """An async context manager on one kubeconfig (one cluster, token credentials)."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self.server = cluster["server"]
        self.token = document["users"][0]["user"]["token"]
        self.ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=self.ca), limit=0)
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "linnet-testbed-node-agent"}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=1 << 23)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Object:
        assert self._session is not None, "use it as a context manager"
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type} if body is not None else {}
        timeout = aiohttp.ClientTimeout(total=30)
        async with self._session.request(method, self.server + path, data=data, headers=headers, timeout=timeout) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ApiError(answer.status, text[:500])
            decoded: Object = json.loads(text)
            return decoded

    async def watch(self, path: str, selector: Mapping[str, str] | None = None) -> AsyncIterator[tuple[str, Any]]:
        """("SYNC", [objects]) after each list, then (ADDED | MODIFIED | DELETED, object); lists again after any fault, for ever."""
        assert self._session is not None, "use it as a context manager"
        query = dict(selector or {})
        while True:
            try:
                async with self._session.get(self.server + path, params=query, timeout=aiohttp.ClientTimeout(total=30)) as answer:
                    answer.raise_for_status()
                    listed = json.loads(await answer.text())
                yield "SYNC", listed["items"]
                watching = {**query, "watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"], "allowWatchBookmarks": "true"}
                unlimited = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
                async with self._session.get(self.server + path, params=watching, timeout=unlimited) as answer:
                    answer.raise_for_status()
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        if event["type"] != "BOOKMARK":
                            yield event["type"], event["object"]
            except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError):
                await asyncio.sleep(0.5)
