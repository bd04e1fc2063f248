"""A web server of a test's own, on a free loopback port: what stands for a company's proxy, a vendor, a webhook, a metrics page."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
GRACE = 0.1  # seconds that an answer under way has when the test is over


@asynccontextmanager
async def serving(what: web.Application | Answer, *, secure: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Its address, without a slash at the end. One `Answer` answers every method and path."""
    app = what if isinstance(what, web.Application) else web.Application()
    if not isinstance(what, web.Application):
        app.router.add_route("*", "/{tail:.*}", what)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0, ssl_context=secure).start()
        yield f"{'https' if secure else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
