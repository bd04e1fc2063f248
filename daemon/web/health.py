"""`/metrics`, `/healthz` and `/readyz`, for Prometheus and the kubelet."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


def application(registry: CollectorRegistry, ready: Callable[[], str], before: Callable[[], None]) -> web.Application:
    """`ready` says what is missing, empty where nothing is; `before` brings gauges up to date."""

    async def metrics(_: web.Request) -> web.Response:
        before()
        body = await asyncio.to_thread(generate_latest, registry)  # 25 us a series would stall the loop
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = ready()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


@asynccontextmanager
async def serve(app: web.Application, address: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serves on `host:port` (port 0 takes a free one; IPv6 in brackets) and yields the URL."""
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]") or "0.0.0.0", int(port), ssl_context=tls)
        await site.start()
        bound = runner.addresses[0]
        yield f"{'https' if tls else 'http'}://{host or '127.0.0.1'}:{bound[1]}"
    finally:
        await runner.cleanup()
