"""An inbox on this machine that takes what would have gone to Slack, Teams or a webhook, and shows it.

It only listens; every path is an address. What came is kept as it came, so that a test can hold it against the real formats.
"""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it arrived."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body, None where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def kind(self) -> str:
        """Slack, Teams or webhook, by the shape of the body."""
        content = self.json
        if isinstance(content, dict) and any(_adaptive(a) for a in content.get("attachments") or () if isinstance(a, dict)):
            return "Teams"
        if isinstance(content, dict) and ({"blocks", "channel"} & content.keys() or _slack_attachment(content)):
            return "Slack"
        return "webhook"

    @property
    def text(self) -> str:
        """What a person would read in it, one paragraph a line."""
        content = self.json
        return "\n".join(_texts(content)) if content is not None else self.body.decode(errors="replace")


def _adaptive(attachment: dict[str, Any]) -> bool:
    return bool(attachment.get("contentType") == "application/vnd.microsoft.card.adaptive")


def _slack_attachment(content: dict[str, Any]) -> bool:
    return any(isinstance(a, dict) and {"color", "fallback", "mrkdwn_in"} & a.keys() for a in content.get("attachments") or ())


def _texts(value: Any, key: str = "") -> list[str]:
    """Texts of a message in reading order; marks and metadata are left out."""
    if isinstance(value, dict):
        order = ("title", "text", "pretext", "message", "fields", "facts")
        keys = [*(k for k in order if k in value), *(k for k in value if k not in order)]
        return [line for k in keys for line in _texts(value[k], k)]
    if isinstance(value, list):
        return [line for item in value for line in _texts(item, key)]
    return [value] if isinstance(value, str) and value and key in {"title", "text", "pretext", "message", "value", "body"} else []


class Inbox:
    """Keeps every message, newest last."""

    def __init__(self, *, limit: int = 1 << 20) -> None:
        self.posts: list[Post] = []
        self.url = ""
        self._arrived = asyncio.Condition()
        self._limit = limit

    async def wait_for(self, count: int) -> list[Post]:
        """At least so many messages; the caller sets the deadline."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.posts) >= count)
        return list(self.posts)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        post = Post(at=time.time(), path=request.path_qs, headers=dict(request.headers), body=await request.read())
        async with self._arrived:
            self.posts.append(post)
            self._arrived.notify_all()
        return web.Response(text="ok")

    @contextlib.asynccontextmanager
    async def listening(self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> AsyncIterator["Inbox"]:
        """Listen meanwhile; `url` says where."""
        app = web.Application(client_max_size=self._limit)
        app.router.add_route("*", "/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, ssl_context=tls)
            await site.start()
            bound = runner.addresses[0]
            self.url = f"{'https' if tls else 'http'}://{bound[0]}:{bound[1]}"
            yield self
        finally:
            await runner.cleanup()
