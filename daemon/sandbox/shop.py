"""The demo's shop: two pages, one feature behind a flag, and counters.

It is what an ordinary service looks like to Linnet: it knows its track from the downward API, hands it to a flagd evaluator together
with the user, reads its flags from a mounted file, and counts its answers. A build can be bad behind the flag only: with
SHOP_ERROR_PERCENT, requests that see the new checkout fail that often, and nobody else notices.
"""

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import click
from aiohttp import web
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from daemon.sandbox.unleash_flags import UnleashFlags

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Flags:
    """The flag file, read again whenever it changed; a file that cannot be read leaves the last good state."""

    def __init__(self, path: Path | None, key: str) -> None:
        self._path = path
        self._key = key
        self._core = FlagdCore()
        self._seen: tuple[int, int] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A file needs nothing that runs."""
        yield

    def on(self, user: str, track: str) -> bool:
        self._refresh()
        context = EvaluationContext(targeting_key=user or None, attributes={"track": track})
        try:
            return bool(self._core.resolve_boolean_value(self._key, False, context).value)
        except OpenFeatureError:
            return False

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp != self._seen:
                self._core.set_flags(self._path.read_text())
                self._seen = stamp
        except (OSError, ValueError) as error:
            if self._seen is not None:
                print(json.dumps({"event": "flags_unreadable", "error": str(error)}), flush=True)  # noqa: T201
                self._seen = None


class Shop:
    """The service."""

    def __init__(self, *, version: str, track: str, flags: Flags | UnleashFlags, error_percent: float) -> None:
        self._version = version
        self._track = track
        self.flags = flags
        self._error_percent = error_percent
        self.leaving = False
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry(auto_describe=True)
        self._requests = Counter("http_requests", "Requests answered.", ["code", "track", "flag"], registry=self._registry)
        self._seconds = Histogram("http_request_duration_seconds", "Time to answer.", ["track"], buckets=BUCKETS, registry=self._registry)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._account])
        app.router.add_get("/", self._home)
        app.router.add_get("/checkout", self._checkout)
        app.router.add_post("/checkout", self._checkout)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    @web.middleware
    async def _account(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in ("/healthz", "/metrics"):
            return await handler(request)
        began = time.perf_counter()
        user = request.headers.get("X-User-Id") or request.cookies.get("user", "")
        flag = self.flags.on(user, self._track)
        request["flag"] = flag
        try:
            response = await handler(request)
        except web.HTTPException as refused:
            response = web.Response(status=refused.status, text=refused.reason)
        seconds = time.perf_counter() - began
        state = "on" if flag else "off"
        response.headers.update({"X-Shop-Version": self._version, "X-Shop-Track": self._track, "X-Shop-Flag": state})
        if self.leaving:
            response.headers["Connection"] = "close"
        self._requests.labels(str(response.status), self._track, state).inc()
        self._seconds.labels(self._track).observe(seconds)
        self._log(request, response.status, user, state, seconds)
        return response

    def _log(self, request: web.Request, status: int, user: str, state: str, seconds: float) -> None:
        line = {
            "time": round(time.time(), 3),
            "method": request.method,
            "path": request.path,
            "status": status,
            "user": user,
            "version": self._version,
            "track": self._track,
            "flag": state,
            "ms": round(seconds * 1000, 2),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    async def _home(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"page": "home", "version": self._version, "track": self._track})

    async def _checkout(self, request: web.Request) -> web.StreamResponse:
        new = bool(request["flag"])
        if new and random.random() * 100 < self._error_percent:
            return web.json_response({"error": "the new checkout lost the cart"}, status=500)
        return web.json_response({"page": "new checkout" if new else "checkout", "version": self._version})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def serve(shop: Shop, host: str, port: int, *, startup: float, drain: float) -> None:
    """Serve until SIGTERM, and then as long again as it takes every gateway to hear that this pod leaves."""
    await asyncio.sleep(startup)
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shop.flags.running())
        runner = web.AppRunner(shop.application(), access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, host, port, backlog=1024).start()
        await leave.wait()
        shop.leaving = True
        await asyncio.sleep(drain)


@click.command()
@click.option("--version", default="dev", show_default=True, help="The version that answers name; the image's tag in the sandbox.")
@click.option("--host", envvar="POD_IP", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", envvar="PORT", default=8080, show_default=True, help="The port to listen on.")
@click.option("--track", envvar="TRACK", default="", help="The pod's track, from its label by the downward API.")
@click.option(
    "--flags", "flags_file", envvar="FLAGS_FILE", type=click.Path(path_type=Path), help="A flagd file; without it the flag is off."
)
@click.option("--unleash-url", envvar="UNLEASH_URL", help="An Unleash to ask instead of a file.")
@click.option("--unleash-token", envvar="UNLEASH_TOKEN", default="", help="A backend token of it.")
@click.option(
    "--flag", envvar="SHOP_FLAG", default="new-checkout", show_default=True, help="The flag that this build's new checkout is behind."
)
@click.option(
    "--error-percent", envvar="SHOP_ERROR_PERCENT", type=click.FloatRange(0, 100), default=0.0, help="How often the new checkout fails."
)
@click.option("--startup", envvar="SHOP_STARTUP_SECONDS", type=click.FloatRange(0), default=0.0, help="Seconds before it listens.")
@click.option("--drain", envvar="SHOP_DRAIN_SECONDS", type=click.FloatRange(0), default=1.0, help="Seconds to serve on after SIGTERM.")
def main(
    *,
    host: str,
    port: int,
    flags_file: Path | None,
    unleash_url: str | None,
    unleash_token: str,
    flag: str,
    startup: float,
    drain: float,
    **build: Any,
) -> None:
    """The sandbox's demo shop."""
    flags = UnleashFlags(unleash_url, unleash_token, flag) if unleash_url else Flags(flags_file, flag)
    asyncio.run(serve(Shop(flags=flags, **build), host, port, startup=startup, drain=drain))


if __name__ == "__main__":
    main()
