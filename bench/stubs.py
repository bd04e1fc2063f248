"""What stands in for the rest of a cluster in the API bench: a gateway that reports at once, and a Prometheus that is fast.

A process of its own, so that its cost is in nobody's figures. It reads pods and routes by watches as user `bench`, which the audit
log tells from the daemon. Counters are functions of a pod's age: every window of every pod is consistent with every other one.
"""

import argparse
import asyncio
import math
import re
import time
import zlib
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import web

from analyzers.metrics import Selector, parse_selector
from daemon.kube import config as kube_config
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.informer import Informer
from daemon.kube.objects import HTTPRoute, Pod
from daemon.kube.queue import WorkQueue
from daemon.kube.resources import HTTP_ROUTES, PODS
from daemon.kube.store import by_namespace
from daemon.kube.times import now as utc_now
from daemon.kube.transport import Transport

CONTROLLER: Final = "bench.linnet.dev/gateway"
SCRAPE: Final = 15.0
# Requests a second of one pod by status code: five series a pod, one of them errors (0.1 %).
RATES: Final = {"200": 38.0, "204": 1.0, "301": 0.5, "404": 0.46, "500": 0.04}
QUERY: Final = re.compile(r"(.*)\[(\d+)s\]", re.DOTALL)
NAMES: Final = re.compile(r'\{__name__=~"([^"]*)",?(.*)\}', re.DOTALL)  # what is looked for under several names at once
COUNTER: Final = "http_requests_total"
Key = tuple[str, str]


class Gateway:
    """Reports every parent of every HTTPRoute accepted, for the generation it sees, as soon as it sees it."""

    def __init__(self, client: Client, routes: Informer[HTTPRoute]) -> None:
        self._client = client
        self._routes = routes
        self._queue: WorkQueue[Key] = WorkQueue()
        routes.store.add_handler(self._changed)

    def _changed(self, old: HTTPRoute | None, new: HTTPRoute | None) -> None:
        if new is not None and _reported(new) != new.metadata.generation:
            self._queue.add(new.key)

    async def run(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._report(key)
            except errors.KubeError:
                self._queue.add_failed(key)
            finally:
                self._queue.done(key)

    async def _report(self, key: Key) -> None:
        route = self._routes.store.get(*key)
        if route is None or _reported(route) == route.metadata.generation:
            return
        at = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
        common = {"status": "True", "observedGeneration": route.metadata.generation, "lastTransitionTime": at, "message": ""}
        conditions = [{"type": "Accepted", "reason": "Accepted", **common}, {"type": "ResolvedRefs", "reason": "ResolvedRefs", **common}]
        parents = [
            {"parentRef": msgspec.to_builtins(parent), "controllerName": CONTROLLER, "conditions": conditions}
            for parent in route.spec.parent_refs or ()
        ]
        await self._client.merge_patch(HTTP_ROUTES, *key, {"status": {"parents": parents}}, subresource="status")


def _reported(route: HTTPRoute) -> int:
    """The generation that every parent has been reported for; 0 for none."""
    parents = route.status.parents or ()
    return min((c.observed_generation for p in parents for c in p.conditions or ()), default=0)


class Metrics:
    """`POST /api/v1/query` for range selectors over one counter, as Prometheus answers them."""

    def __init__(self, pods: Informer[Pod]) -> None:
        self._pods = pods
        self.queries = 0
        self.series = 0

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        found = QUERY.fullmatch(str(form["query"]))
        if found is None:
            return _json({"status": "error", "errorType": "bad_data", "error": "only a range selector is known here"}, 400)
        selector, window, at = _selector(found.group(1)), float(found.group(2)), float(str(form["time"]))
        result = [one for pod in self._candidates(selector) for one in _series(pod, selector, at, window)] if selector else []
        self.queries += 1
        self.series += len(result)
        return _json({"status": "success", "data": {"resultType": "matrix", "result": result}})

    async def counted(self, _: web.Request) -> web.Response:
        return _json({"queries": self.queries, "series": self.series})

    def _candidates(self, selector: Selector) -> list[Pod]:
        namespace = next((m.value for m in selector.matchers if m.label == "namespace" and m.op == "="), "")
        return [p for p in self._pods.store.by("namespace", namespace) if p.status.start_time and p.status.phase == "Running"]


def _selector(text: str) -> Selector | None:
    """The selector of our one counter; None where it is not asked for."""
    several = NAMES.fullmatch(text)
    if several is None:
        return parse_selector(text)
    return parse_selector(f"{COUNTER}{{{several[2]}}}") if COUNTER in several[1].split("|") else None


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", status=status)


def _series(pod: Pod, selector: Selector, at: float, window: float) -> list[dict[str, object]]:
    if selector.name != COUNTER:
        return []
    begun = datetime.fromisoformat(pod.status.start_time or "").timestamp()
    first = zlib.crc32(pod.name.encode()) % 15000 / 1000.0  # each pod is scraped at a second of its own
    number = math.ceil((max(at - window, begun) - first) / SCRAPE)
    moments = []
    while (moment := first + number * SCRAPE) <= min(at, time.time()):
        moments.append(moment)
        number += 1
    found: list[dict[str, object]] = []
    for code, rate in RATES.items():
        labels = {"namespace": pod.namespace, "pod": pod.name, "instance": f"{pod.status.pod_ip}:8080", "job": "apps", "method": "GET"}
        labels = {"__name__": COUNTER, "container": "app", "endpoint": "http", **labels, "code": code}
        values = [(m, str(math.floor(rate * (m - begun)))) for m in moments if m > at - window]
        if values and selector.accepts(labels):
            found.append({"metric": labels, "values": values})
    return found


async def main(kubeconfig: str, port: int) -> None:
    config = kube_config.load(kubeconfig)
    async with Transport(config) as transport:
        client = Client(transport, field_manager="bench-gateway")
        routes = Informer(client, HTTP_ROUTES)
        pods = Informer(client, PODS, indexes={"namespace": by_namespace})
        gateway, metrics = Gateway(client, routes), Metrics(pods)
        app = web.Application()
        app.router.add_post("/api/v1/query", metrics.answer)
        app.router.add_get("/counted", metrics.counted)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with asyncio.TaskGroup() as group:
            for work in (routes.run(), pods.run(), *(gateway.run() for _ in range(4))):
                group.create_task(work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(main(options.kubeconfig, options.port))
