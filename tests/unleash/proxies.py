"""What stands between the daemon and Unleash: a record of requests that is neither's own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from tests.serving import serving


class Counting:
    """Passes everything on, and keeps method and address of each request."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.asked: list[tuple[str, str]] = []

    def take(self) -> list[tuple[str, str]]:
        """What was asked since the last time."""
        taken, self.asked = self.asked, []
        return taken

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Counting]:
        async with aiohttp.ClientSession() as self._session, serving(self._pass) as self.url:
            yield self

    async def _pass(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path_qs))
        headers = {k: v for k, v in request.headers.items() if k in ("Authorization", "Content-Type")}
        url = f"{self.upstream}{request.path_qs}"
        try:
            async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
        except aiohttp.ClientConnectionError:
            return web.Response(status=503)
