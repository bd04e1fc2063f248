"""The application of the cluster tests: a small shop that behaves like a service worth releasing carefully.

Slow to be ready (3 s; 503 until then), drains what it is serving on SIGTERM, fails in a known share of requests, counts for Prometheus, and keeps
a log of its own with one line per request, so that a test can compare what clients saw with what the app did. It imports nothing of
Linnet's. Everything is set by the environment:

    LINNET_IMAGE      `shop:v2`, `shop:bad-3` (3 % errors), `shop:slow-200` (200 ms), `shop:flagbad-3` (3 % errors where the flag is on)
                      bad in one thing only: `shop:tail-3` (slowest 5 % three times as slow), `shop:cpu-40` (40 % more CPU a request),
                      `shop:orders-30` (30 % fewer orders), `shop:new-20` (an endpoint that is new, and fails in 20 %),
                      `shop:leaky-20` (each pod ends itself twice, within 20 s of being ready, and hurts no request)
    LATENCY_MS, CPU_MS, ORDER_PERCENT   median time, CPU and orders of a request (0: none)
    ERROR_PERCENT     overrides the image's share;  STARTUP_SECONDS (3), DRAIN_SECONDS (10), PORT (8080)
    FLAG_FILE, FLAG_KEY   a flagd file and the flag that switches the new code on;  LINNET_TRACK  handed to the flag's SDK as `track`
    UNLEASH_URL, UNLEASH_TOKEN   instead of a file: an Unleash and a backend token, asked by its own SDK each second
    JOBS_PER_SECOND   a worker: that many jobs of its own making, each of another user, counted by the flag's state as Unleash's impact
                      metrics would (`jobs_total{new_checkout="enabled"}`)
    IMPACT_METRICS    with a worker's Unleash: jobs are counted as this and `.._failed` by its SDK instead, each second, under the app's name
    POD_NAME, LINNET_POD_IP, LINNET_TESTBED_LOGS   set by the node agent (the first by the manifest)

Requests: `/` and any other path answer; `?sleep=2` holds one for two seconds; `X-User` is the flag's targeting key, `X-Request-Id` is logged.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Flag:
    """One boolean flag, evaluated by flagd's own engine on the file as it is now."""

    def __init__(self, file: str, key: str, track: str) -> None:
        self.file = Path(file) if file else None
        self.key = key
        self.track = track
        self._engine = FlagdCore()
        self._seen: tuple[int, int] | None = None

    async def run(self, app: web.Application) -> AsyncIterator[None]:
        """A file needs nothing that runs."""
        yield

    def on(self, user: str) -> bool | None:
        """Is the flag on for this user? None without a flag."""
        if self.file is None:
            return None
        try:
            state = self.file.stat()
            stamp = (state.st_ino, state.st_mtime_ns)
            if stamp != self._seen:
                self._engine.set_flags(self.file.read_text())
                self._seen = stamp
            context = EvaluationContext(targeting_key=user, attributes={"track": self.track})
            return bool(self._engine.resolve_boolean_value(self.key, False, context).value)
        except (OSError, ValueError, OpenFeatureError):
            return False


class UnleashFlag:
    """The same, by Unleash's own SDK as an app uses it: polling in the background, evaluating in memory."""

    def __init__(self, url: str, token: str, key: str, track: str, counter: str = "") -> None:
        self.url, self.token, self.key, self.track, self.counter = url, token, key, track, counter
        self._client: Any = None

    async def run(self, app: web.Application) -> AsyncIterator[None]:
        from UnleashClient.cache import FileCache
        from UnleashClient.clients.async_unleash_client import AsyncUnleashClient

        with tempfile.TemporaryDirectory() as folder:
            client = AsyncUnleashClient(
                url=f"{self.url}/api",
                app_name="shop",
                refresh_interval=1,
                metrics_interval=1,
                request_timeout=2,
                custom_headers={"Authorization": self.token},
                cache=FileCache("shop", directory=folder),
            )
            for name in (self.counter, f"{self.counter}_failed") if self.counter else ():
                client.impact_metrics.define_counter(name, "jobs")
            async with client as self._client:
                yield

    def on(self, user: str) -> bool:
        return bool(self._client.is_enabled(self.key, self._context(user)))

    def count(self, user: str, *, failed: bool) -> None:
        """A job of this user, by the state that the SDK itself finds the flag in."""
        from UnleashClient.impact_metrics import MetricFlagContext

        for name in (self.counter, f"{self.counter}_failed")[: 1 + failed]:
            self._client.impact_metrics.increment_counter(name, 1, MetricFlagContext([self.key], self._context(user)))

    def _context(self, user: str) -> dict[str, Any]:
        return {"userId": user, "properties": {"track": self.track}}


class Shop:
    """State of one process of the app."""

    def __init__(self, env: dict[str, str]) -> None:
        self.image = env.get("LINNET_IMAGE", "shop:dev")
        self.version = self.image.rpartition(":")[2]
        self.track = env.get("LINNET_TRACK", "")
        self.pod = env.get("POD_NAME") or env.get("HOSTNAME", "local")
        key = env.get("FLAG_KEY", "new-checkout")
        self.flag: Flag | UnleashFlag = Flag(env.get("FLAG_FILE", ""), key, self.track)
        if "UNLEASH_URL" in env:
            self.flag = UnleashFlag(env["UNLEASH_URL"], env["UNLEASH_TOKEN"], key, self.track, env.get("IMPACT_METRICS", ""))
        found = re.match(r"(bad|slow|flagbad|tail|cpu|orders|new|leaky)-([0-9.]+)", self.version)
        kind, number = (found[1], float(found[2])) if found else ("", 0.0)
        self.median = float(env.get("LATENCY_MS", "0")) / 1000
        self.tail = number if kind == "tail" else 1.0
        self.burn = float(env.get("CPU_MS", "0")) / 1000 * (1 + number / 100 if kind == "cpu" else 1)
        self.order_percent = float(env.get("ORDER_PERCENT", "0")) * (1 - number / 100 if kind == "orders" else 1)
        self.new_percent = number if kind == "new" else None
        self.leaves_within = number if kind == "leaky" else None
        self.leaving = False
        self.error_percent = float(env.get("ERROR_PERCENT") or (number if "bad" in kind else 0.0))
        self.only_behind_flag = kind == "flagbad"
        self.delay = number / 1000 if kind == "slow" else 0.0
        self.ready_at = time.monotonic() + float(env.get("STARTUP_SECONDS", "3"))
        self.drain = float(env.get("DRAIN_SECONDS", "10"))
        self.dice = random.Random(f"{self.pod}{os.getpid()}")
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("http_requests", "requests by status", ["code"], registry=registry)
        self.latency = Histogram("http_request_duration_seconds", "time to answer", registry=registry)
        self.cpu = Counter("process_cpu_seconds", "CPU that requests took", registry=registry)
        self.orders = Counter("shop_orders", "requests that became an order", registry=registry)
        self.new = Counter("recommendations", "requests of the new endpoint by status", ["code"], registry=registry)
        self.state = re.sub("[^A-Za-z0-9_]", "_", key or "flag")
        self.jobs = Counter("jobs", "jobs by state of the flag and status", [self.state, "code"], registry=registry)
        self.rate = float(env.get("JOBS_PER_SECOND", "0"))
        for state in ("enabled", "disabled"):
            for code in ("200", "500"):
                self.jobs.labels(state, code)
        Gauge("app_info", "the version that runs", ["version", "track"], registry=registry).labels(self.version, self.track).set(1)
        for code in ("200", "500"):
            self.requests.labels(code)  # a counter that appears with its first error hides that error
        folder = env.get("LINNET_TESTBED_LOGS")
        self.started_before = len(list(Path(folder).glob(f"{self.pod}.*.jsonl"))) if folder else 0
        self.log = (Path(folder) / f"{self.pod}.{os.getpid()}.jsonl").open("a", buffering=1) if folder else None

    async def serve(self, request: web.Request) -> web.Response:
        started = time.monotonic()
        flag = self.flag.on(request.headers.get("X-User", "anonymous"))
        await asyncio.sleep(float(request.query.get("sleep", "0")) + self.delay + self._took())
        self._work()
        exposed = flag is True or not self.only_behind_flag
        status = 500 if exposed and self.dice.random() * 100 < self.error_percent else 200
        if started < self.ready_at:
            status = 503  # not ready: who sends requests to a pod without asking its probe sees it
        self.requests.labels(str(status)).inc()
        self.latency.observe(time.monotonic() - started)
        seen = {
            "user": request.headers.get("X-User", ""),
            "pod": self.pod,
            "version": self.version,
            "track": self.track,
            "flag": flag,
            "status": status,
        }
        if self.log is not None:
            line = {"time": time.time(), "id": request.headers.get("X-Request-Id", ""), "path": request.path, **seen}
            self.log.write(json.dumps(line) + "\n")
        return web.json_response(seen, status=status)

    async def work(self, app: web.Application) -> AsyncIterator[None]:
        """A worker makes its own jobs for as long as it lives; anything else has none."""
        task = asyncio.create_task(self._work_on()) if self.rate else None
        yield
        if task is not None:
            task.cancel()

    async def _work_on(self) -> None:
        for number in itertools.count():
            user = f"{self.pod}-{number % 5000}"
            on = self.flag.on(user) is True
            failed = (on or not self.only_behind_flag) and self.dice.random() * 100 < self.error_percent
            if isinstance(self.flag, UnleashFlag) and self.flag.counter:
                self.flag.count(user, failed=failed)
            else:
                self.jobs.labels("enabled" if on else "disabled", "500" if failed else "200").inc()
            if self.log is not None:
                self.log.write(json.dumps({"time": time.time(), "user": user, "pod": self.pod, "flag": on, "failed": failed}) + "\n")
            await asyncio.sleep(1 / self.rate)

    async def leave(self, app: web.Application) -> AsyncIterator[None]:
        """A version that runs out of something ends itself in good manners: not ready first, and gone when nobody asks it any more."""
        leaks = self.leaves_within is not None and self.started_before < 2
        task = asyncio.create_task(self._leave()) if leaks else None
        yield
        if task is not None:
            task.cancel()

    async def _leave(self) -> None:
        await asyncio.sleep(max(0.0, self.ready_at - time.monotonic()) + self.dice.uniform(0.5, self.leaves_within or 1.0))
        self.leaving = True
        await asyncio.sleep(6)  # as long as a careful team's preStop waits
        os._exit(1)

    def _took(self) -> float:
        """A lognormal time around the median, its slowest 5 % stretched by a version that is bad there alone."""
        z = self.dice.gauss(0, 1)
        return self.median * math.exp(0.5 * z) * (self.tail if z > 1.645 else 1.0)

    def _work(self) -> None:
        """What a request costs, sells, and asks of the endpoint that only a new version has."""
        begun = time.thread_time()
        while time.thread_time() - begun < self.burn:
            pass
        self.cpu.inc(time.thread_time() - begun)
        if self.dice.random() * 100 < self.order_percent:
            self.orders.inc()
        if self.new_percent is not None:
            self.new.labels("500" if self.dice.random() * 100 < self.new_percent else "200").inc()

    async def ready(self, request: web.Request) -> web.Response:
        good = time.monotonic() >= self.ready_at and not self.leaving
        return web.Response(status=200 if good else 503, text="ready" if good else "starting")

    async def healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def application(shop: Shop) -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(shop.flag.run)
    app.cleanup_ctx.append(shop.work)
    app.cleanup_ctx.append(shop.leave)
    app.router.add_get("/readyz", shop.ready)
    app.router.add_get("/healthz", shop.healthy)
    app.router.add_get("/metrics", shop.metrics)
    app.router.add_route("*", "/{path:.*}", shop.serve)
    return app


def main() -> None:
    env: dict[str, Any] = dict(os.environ)
    shop = Shop(env)
    host = env.get("LINNET_POD_IP", "127.0.0.1")
    # On SIGTERM: no new connections, requests being served are finished (up to `shutdown_timeout`), then the end.
    web.run_app(application(shop), host=host, port=int(env.get("PORT", "8080")), shutdown_timeout=shop.drain, access_log=None, print=None)


if __name__ == "__main__":
    main()
