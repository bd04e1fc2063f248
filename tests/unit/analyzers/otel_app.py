"""An aiohttp app under OpenTelemetry's own instrumentation and exporter, in a process of its own: which conventions it follows is read once."""

from __future__ import annotations

import asyncio
import sys

import prometheus_client as client
from aiohttp import web
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.sdk.metrics import MeterProvider


async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]))


async def page(_: web.Request) -> web.Response:
    return web.Response(body=client.generate_latest(), headers={"Content-Type": client.CONTENT_TYPE_LATEST})


async def main() -> None:
    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    plain, app = web.Application(), None
    plain.router.add_get("/metrics", page)
    AioHttpServerInstrumentor().instrument()
    app = web.Application()
    app.router.add_get("/status/{code}", status)
    ports = []
    for one in (app, plain):
        runner = web.AppRunner(one, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(str(runner.addresses[0][1]))
    print(*ports, flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started it is gone


if __name__ == "__main__":
    asyncio.run(main())
