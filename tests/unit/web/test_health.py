"""What a kubelet and a Prometheus ask the daemon for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.api.crds import crd
from daemon.api.kinds import KINDS
from daemon.control.metrics import Metrics
from daemon.web.health import application, serve
from tests.unit.control.cluster import SHOP
from tests.unit.control.world import World, a_world, deployment


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def get(http: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with http.get(url) as reply:
        return reply.status, await reply.text()


async def test_alive_is_not_ready(http: aiohttp.ClientSession) -> None:
    """Health needs nothing but the loop; readiness says what is missing, and follows it."""
    missing = ["caches are not synced"]
    async with serve(application(Metrics().registry, lambda: missing[0], lambda: None), "127.0.0.1:0") as url:
        assert await get(http, f"{url}/healthz") == (200, "ok\n")
        assert await get(http, f"{url}/readyz") == (503, "caches are not synced\n")
        missing[0] = ""
        assert await get(http, f"{url}/readyz") == (200, "ok\n")


async def test_an_ipv6_address_is_written_in_brackets(http: aiohttp.ClientSession) -> None:
    """As everywhere else where a port follows; the URL is one that works."""
    async with serve(application(Metrics().registry, lambda: "", lambda: None), "[::1]:0") as url:
        assert url.startswith("http://[::1]:")
        assert await get(http, f"{url}/healthz") == (200, "ok\n")


async def test_a_daemon_is_ready_when_its_caches_are(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Without its own kinds on the API server it is alive, waits and says so; once they are there it becomes ready by itself."""
    world = World(tmp_path)
    async with world.running(kinds=False), world.linnet(wait=False):
        async with asyncio.timeout(10):
            while (await answer(http, f"{world.metrics_url}/healthz"))[0] != 200:
                await asyncio.sleep(0.02)
        status, why = await get(http, f"{world.metrics_url}/readyz")
        assert status == 503
        assert why != "ok\n"
        world.load(*(crd(kind) for kind in KINDS))
        async with asyncio.timeout(20):
            while (await get(http, f"{world.metrics_url}/readyz"))[0] != 200:
                await asyncio.sleep(0.05)


async def answer(http: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    """Like `get`, where nobody may listen yet."""
    try:
        return await get(http, url)
    except aiohttp.ClientConnectionError:
        return 0, ""


def samples(text: str) -> dict[str, float]:
    return {
        s.name + "".join(f",{k}={v}" for k, v in sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


async def test_metrics_of_a_release(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Who leads, Canaries by phase, passes, requests, messages and how releases ended; no series is by Canary."""
    async with a_world(tmp_path) as world:
        world.open()
        await world.adopted()
        at_rest = samples((await get(http, f"{world.metrics_url}/metrics"))[1])
        world.release("app:v2")
        await world.phases("Progressing")
        progressing = samples((await get(http, f"{world.metrics_url}/metrics"))[1])
        world.say("promote")
        await world.phases("Idle")
        status, text = await get(http, f"{world.metrics_url}/metrics")
        ended = samples(text)
    assert status == 200
    assert at_rest["linnet_leading"] == 1
    assert at_rest["linnet_canaries,phase=Idle"] == 1
    assert progressing["linnet_canaries,phase=Idle"] == 0
    assert progressing["linnet_canaries,phase=Progressing"] == 1
    assert ended["linnet_canaries,phase=Idle"] == 1
    assert ended["linnet_rollouts_total,outcome=Promoted"] == 1
    assert ended["linnet_reconciles_total,controller=canary,outcome=done"] > 0
    assert ended["linnet_kube_requests_total,code=200,method=PATCH"] > 0
    assert SHOP not in text
    assert deployment()["metadata"]["name"] not in {part for key in ended for part in key.replace("=", ",").split(",")}
