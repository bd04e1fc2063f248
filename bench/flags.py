"""How fast flags come back, and what watching and computing them costs: `python -m bench.flags [--json] [--aborts 60]`.

Aborts go through the daemon's own flag board and HTTP client, ten flags of one source at a time: to a service on loopback that takes 20 ms for
each answer, which is what a real Unleash took, and to one that accepts connections and never answers. Times of computing are those of one core
(CPU, the best of five), so that a busy machine does not change them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec
from aiohttp import web

from bench.figures import percentile
from daemon.api.canary import CanarySpec, Flag, Step
from daemon.control import objects as ours
from daemon.control.flagging import FRESH, FlagBoard
from daemon.control.flagsources import FlagSources
from daemon.control.http import Http
from daemon.control.resolved import FlagUse, Resolved
from flags.buckets import share
from flags.errors import FlagError
from flags.model import Owner

FLAGS: Final = 10
WATCHED: Final = 500
MOST: Final = 8  # flags of one Canary
POLLS: Final = 20
IDS: Final = tuple(f"user-{number}" for number in range(20_000))
LATENCY: Final = 0.02
GOALS: Final = {"abort_p99_s": 1.0, "dead_abort_max_s": 5.5, "buckets_ms": 50.0, "import_ms": 60.0, "requests_a_poll_of_500_flags": 1.0}


class Service:
    """Flags with a share and an owner; answers late, or never."""

    def __init__(self) -> None:
        self.flags: dict[str, dict[str, Any]] = {}
        self.dead = False
        self.asked = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{key:.+}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(3600 if self.dead else LATENCY)
        key = request.match_info["key"]
        if request.method == "PUT":
            self.flags[key] = await request.json()
        return web.json_response(self.flags[key])


def source(url: str) -> ours.FlagSource:
    body = '{"percent": "{{percent}}", "owner": "{{owner}}", "gate": "{{gate}}"}'
    read = {"path": "/{{flag}}", "percent": "/percent", "owner": "/owner", "gate": "/gate"}
    spec = {"type": "HTTP", "http": {"url": url, "read": read, "set": {"path": "/{{flag}}", "body": body}, "settle": "0s"}}
    return msgspec.convert({"metadata": {"name": "default", "namespace": "shop", "uid": "s"}, "spec": spec}, ours.FlagSource)


def release(made: ours.FlagSource, count: int) -> Resolved:
    """A release that has driven these flags, as the board looks at it."""
    uses = tuple(FlagUse(name=f"flag-{number}", key=f"flag-{number}", source=made) for number in range(count))
    status = SimpleNamespace(flags=[SimpleNamespace(name=use.name, original=None, written=5) for use in uses])
    metadata = SimpleNamespace(uid="uid")
    canary = SimpleNamespace(key=("shop", "web"), namespace="shop", name="web", metadata=metadata, status=status)
    return cast("Resolved", SimpleNamespace(canary=canary, flags=uses))


async def aborts(count: int) -> dict[str, float]:
    """Seconds until all flags are written, and until the board gives up on a service that is dead."""
    service, http = Service(), Http()
    made = source(await service.start())
    resolved = release(made, FLAGS)
    mark = Owner(cluster="bench", namespace="shop", name="web", uid="uid").mark()
    healthy: list[float] = []
    dead: list[float] = []
    try:
        for _ in range(count):
            service.flags = {use.key: {"percent": 5, "owner": mark, "gate": "canary"} for use in resolved.flags}
            healthy.append(await _timed(lambda: _board(http).zero(resolved)))
            assert all(flag["percent"] == 0 for flag in service.flags.values())
        service.dead = True
        dead = [await _timed(lambda: _board(http).zero(resolved)) for _ in range(2)]
    finally:
        await http.close()
        await service.stop()
    return {"abort_p99_s": percentile(healthy, 0.99), "abort_median_s": percentile(healthy, 0.5), "dead_abort_max_s": max(dead)}


def _board(http: Http) -> FlagBoard:
    return FlagBoard(FlagSources(cast("Any", None), http, cast("Any", None)), "bench")


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    with contextlib.suppress(FlagError):
        await call()
    return time.perf_counter() - began


class EventLog(Service):
    """What a poll asks of Unleash: its event log, and a flag."""

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if request.path.endswith("/search/events"):
            return web.json_response({"events": [{"id": 1, "type": "feature-created", "featureName": "other", "project": "default"}]})
        environment = {"name": "production", "enabled": True, "strategies": []}
        return web.json_response({"name": request.path.rpartition("/")[2], "project": "default", "environments": [environment]})


class Tokens:
    """Every Secret that is asked for."""

    async def read(self, _namespace: str, _ref: object) -> str:
        return "token"


async def watching() -> dict[str, float]:
    """Requests of the daemon's board for one look at many flags of one source: the first, and each poll after it."""
    service, http, clock = EventLog(), Http(), [1000.0]
    spec = {"url": await service.start(), "environment": "production", "tokenSecretRef": {"name": "unleash", "key": "token"}}
    unleash = {"metadata": {"name": "default", "namespace": "shop", "uid": "s"}, "spec": {"type": "Unleash", "unleash": spec}}
    made = msgspec.convert(unleash, ours.FlagSource)
    board = FlagBoard(FlagSources(cast("Any", None), http, cast("Any", Tokens())), "bench", lambda: clock[0])
    canaries = [watched(made, range(first, min(first + MOST, WATCHED))) for first in range(0, WATCHED, MOST)]
    try:
        for resolved in canaries:
            await board.views(resolved)
        first = service.asked
        for _ in range(POLLS):
            clock[0] += FRESH + 0.1
            for resolved in canaries:
                await board.views(resolved)
        return {"requests_a_first_look_at_500_flags": float(first), "requests_a_poll_of_500_flags": (service.asked - first) / POLLS}
    finally:
        await http.close()
        await service.stop()


def watched(made: ours.FlagSource, numbers: range) -> Resolved:
    """A release under way that has not come to its flags' steps yet."""
    keys = [f"flag-{number}" for number in numbers]
    name = f"web-{numbers.start}"
    spec = CanarySpec(flags=[Flag(name=key) for key in keys], steps=[Step(name="one", weight=5)])
    uses = tuple(FlagUse(name=key, key=key, source=made) for key in keys)
    metadata = SimpleNamespace(uid="uid", annotation=lambda _key: None)
    canary = SimpleNamespace(key=("shop", name), namespace="shop", name=name, metadata=metadata, status=SimpleNamespace(flags=[]))
    return cast("Resolved", SimpleNamespace(canary=canary, flags=uses, spec=spec))


def computing() -> dict[str, float]:
    return {"buckets_ms": min(_buckets() for _ in range(5)), "import_ms": min(_import() for _ in range(5))}


def _buckets() -> float:
    began = time.process_time()
    share("new-checkout", IDS, 50)
    return 1000 * (time.process_time() - began)


def _import() -> float:
    """Of `flags`, beside what every asyncio program has loaded anyway."""
    code = "import time, asyncio, msgspec; b = time.process_time(); import flags.registry; print(time.process_time() - b)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return 1000 * float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.flags", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--aborts", type=int, default=60, help="how many aborts of ten flags")
    options = parser.parse_args()
    found = {**computing(), **asyncio.run(aborts(options.aborts)), **asyncio.run(watching())}
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            goal = f"   (goal {GOALS[name]:g})" if name in GOALS else ""
            print(f"{name:<32}{value:>10.3f}{goal}")
    return 0 if all(found[name] <= goal for name, goal in GOALS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
