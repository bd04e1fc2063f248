"""After adoption the Canary says what its next release will do, with figures of its own traffic, and writes them only when they change."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.unit.control.test_writes import looked, looked_until_quiet
from tests.unit.control.world import CANARIES, DEPLOYMENTS, Object, World, deployment, linnet, route, service
from tests.unit.control.world import canary as canary_of

PODS, TRAEFIK = "http_requests_total", "traefik_service_requests_total"


class Prometheus:
    """What the server would answer: a counter of each pod, and those of routers, over the ten minutes before now."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.counters: list[tuple[str, dict[str, str], float]] = []

    def says(self, name: str, per_second: float, **labels: str) -> None:
        self.counters.append((name, labels, per_second))
        self.now()

    def now(self) -> None:
        now = time.time()
        self.world.pages.matrix = [
            {
                "metric": {"__name__": name, "instance": "10.0.0.1:80", **labels},
                "values": [[now - 600 + 60 * i, str(round(60 * i * rate))] for i in range(11)],
            }
            for name, labels, rate in self.counters
        ]

    def pods(self, per_second: float, errors: float = 0.001) -> None:
        """As the application counts, in pods of the Deployment's ReplicaSet."""
        [found] = self.world.list("replicasets.apps")
        own = {"namespace": "shop", "pod": f"{found['metadata']['name']}-abcde"}
        self.says(PODS, per_second * (1 - errors), code="200", **own)
        self.says(PODS, per_second * errors, code="500", **own)


def prometheus(world: World) -> Object:
    return linnet("MetricSource", "default", {"type": "Prometheus", "prometheus": {"url": f"http://127.0.0.1:{world.pages.port}"}})


async def a_service(world: World, **spec: Any) -> Prometheus:
    """Adopted, with a Prometheus that knows nothing yet."""
    world.apply(service(), route(), prometheus(world), deployment())
    await world.until(lambda: world.list("replicasets.apps"), "its ReplicaSet")
    server = Prometheus(world)
    world.apply(canary_of(**spec))
    return server


async def planned(world: World, *words: str) -> str:
    """The sentence, once it has all of these words."""
    try:
        await world.until(lambda: all(w in world.status().get("plan", "") for w in words))
    except AssertionError:
        raise AssertionError(f"no plan with {words}: {world.status().get('plan')}") from None
    return str(world.status()["plan"])


async def test_the_pods_own_pages_tell_the_rate_but_not_the_share(world: World) -> None:
    """Three pods that count 4 000 requests/s each; what passes the route nobody has counted, and that is said."""
    world.open()
    await world.adopted()
    plan = await planned(world, "requests/s a verdict takes about", "errors (http_requests_total{")
    assert "passes that route is unknown: MetricSource default reads the pods alone" in plan
    forecast = world.status()["forecast"]
    assert forecast["requestsPerSecond"] == pytest.approx(12000, rel=0.5)  # two looks a second apart, on a busy machine
    assert forecast["errorPercent"] == pytest.approx(0.1, rel=0.5)
    assert next(c for c in world.status()["conditions"] if c["type"] == "Ready")["message"] == plan


async def test_the_share_that_passes_the_route_is_counted_by_the_router(world: World) -> None:
    """Traefik sent 42 of 100 requests that the pods counted; the canary's own backend is not taken for it."""
    server = await a_service(world)
    server.pods(100)
    server.says(TRAEFIK, 42, code="200", service="shop-web-0-svc-shop-web-80@kubernetesgateway")
    await planned(world, "about 42 % of the requests that its pods count pass that route (Traefik)", "at 100 requests/s")
    assert world.status()["forecast"]["coveragePercent"] == 42
    asked = [form["query"] for _, _, form in world.pages.asked if TRAEFIK in form["query"]]
    assert asked and all("-svc-shop-web-[0-9]+@kubernetesgateway" in query for query in asked)


async def test_a_router_that_counts_more_than_the_pods_is_not_believed(world: World) -> None:
    """They do not count the same: better no share than a wrong one."""
    server = await a_service(world)
    server.pods(100)
    server.says(TRAEFIK, 200, code="200", service="shop-web-0-svc-shop-web-80@kubernetesgateway")
    await planned(world, "is unknown: Traefik counts 200 requests/s to the Service, its pods only 100")


async def test_a_source_without_a_routers_counters_says_so(world: World) -> None:
    """The rate is known, the share is not."""
    server = await a_service(world)
    server.pods(100)
    plan = await planned(world, "at 100 requests/s")
    assert "is unknown: the source has no counters of a router that Linnet knows (Traefik)" in plan


async def test_what_only_a_router_counts_is_no_share_of_what_the_pods_count(world: World) -> None:
    """Judged by Traefik's counters, and the pods have none."""
    metric = {"name": "errors", "preset": "TraefikErrorRatio"}
    server = await a_service(world, analysis={"interval": "1s", "metrics": [metric]})
    server.says(TRAEFIK, 42, code="200", service="shop-web-0-svc-shop-web-80@kubernetesgateway")
    await planned(world, "at 42 requests/s", "is unknown: the pods have no counter of their own that Linnet knows")


async def test_a_counter_that_is_not_found_is_said_before_it_matters(world: World) -> None:
    """Nobody scrapes these pods: told at adoption, not in the first release."""
    await a_service(world)
    await planned(world, "errors (no counter found yet)", "how long is unknown: metric errors is not found at the source")


async def test_metrics_of_other_kinds_are_found_but_say_nothing_of_the_time(world: World) -> None:
    """A histogram is looked for like the rest; the time is that of the error ratio, and that is said."""
    metrics = [{"name": "errors", "preset": "HTTPErrorRatio"}, {"name": "slow", "histogram": "request_seconds_bucket"}]
    server = await a_service(world, analysis={"interval": "1s", "metrics": metrics})
    server.pods(100)
    plan = await planned(world, "at 100 requests/s a verdict takes about", "by the error ratios", "slow (no counter found yet)")
    assert plan.count("no counter found yet") == 1


async def test_by_share_of_pods_every_request_counts(world: World) -> None:
    """There is no route that could be passed by."""
    server = await a_service(world, traffic={"mode": "PodRatio"})
    server.pods(100)
    plan = await planned(world, "by share of pods; every request of the pods counts", "at 100 requests/s")
    assert "coveragePercent" not in world.status()["forecast"]
    assert "unknown" not in plan


async def test_traffic_that_only_breathes_is_not_written(world: World) -> None:
    """Measured again and again, ten percent up and down; then it doubles, and that is written once."""
    with mock.patch("daemon.control.prospects.REFRESH", 0.2):
        server = await a_service(world)
        server.pods(100)
        await planned(world, "at 100 requests/s")
        await looked_until_quiet(world)
        version, writes = world.get(CANARIES, "web")["metadata"]["resourceVersion"], world.requests()
        for rate in (108, 93, 110):
            server.counters.clear()
            server.pods(rate)
            await asked_again(world)
            world.patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"number": str(rate)}}})
            await looked(world, 1)
        assert world.get(CANARIES, "web")["metadata"]["resourceVersion"] == version
        assert world.requests() == writes
        server.counters.clear()
        server.pods(200)
        await planned(world, "at 200 requests/s")


async def asked_again(world: World) -> None:
    """Two more measurements, of which the second began after now."""
    wanted = len([form for _, _, form in world.pages.asked if "traefik" in form["query"]]) + 2
    async with asyncio.timeout(20):
        while len([form for _, _, form in world.pages.asked if "traefik" in form["query"]]) < wanted:
            await asyncio.sleep(0.02)


async def test_a_source_that_goes_away_takes_no_figure_with_it(world: World) -> None:
    """What was measured stands until something else is measured."""
    with mock.patch("daemon.control.prospects.REFRESH", 0.2), mock.patch("daemon.control.prospects.RETRY", 0.2):
        server = await a_service(world)
        server.pods(100)
        await planned(world, "at 100 requests/s")
        world.pages.status = 503
        await asked_again(world)
        assert "at 100 requests/s" in world.status()["plan"]


async def test_a_restarted_daemon_writes_nothing_anew(tmp_path: Path) -> None:
    """The figures are in the status: the next daemon measures, and finds them as they were."""
    world = World(tmp_path)
    async with world.running(policies=True):
        async with world.linnet():
            server = await a_service(world)
            server.pods(100)
            await planned(world, "at 100 requests/s")
            await looked_until_quiet(world)
        version = world.get(CANARIES, "web")["metadata"]["resourceVersion"]
        server.counters.clear()
        server.pods(104)
        async with world.linnet():
            await asked_again_once(world)
            await looked_until_quiet(world)
        assert world.get(CANARIES, "web")["metadata"]["resourceVersion"] == version


async def asked_again_once(world: World) -> None:
    """A measurement that began after now."""
    before = len([form for _, _, form in world.pages.asked if "traefik" in form["query"]])
    async with asyncio.timeout(20):
        while len([form for _, _, form in world.pages.asked if "traefik" in form["query"]]) <= before:
            await asyncio.sleep(0.02)
