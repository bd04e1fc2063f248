"""Unleash's own webhook tells Linnet of a person's hand: any replica hears it, the one that leads reads the flag, and no poll is needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import pytest

from daemon.api import names
from daemon.control.api import ApiOptions
from daemon.control.daemon import Daemon, Options
from tests.testbed.unleash import BACKEND, Unleash
from tests.unit.control.cluster import CATALOGUE, SHOP
from tests.unit.control.world import CANARIES, World, a_world, free_port, linnet

pytestmark = pytest.mark.unleash

PRODUCTION = "production"
SECRET = "a-long-secret-of-this-webhook"
STEPS = [{"weight": 20, "flags": [{"name": "new", "percent": 40}], "dwell": {"minDuration": "1ms"}}, {"pause": {}}]
EVENTS = ["feature-strategy-update", "feature-strategy-remove", "feature-environment-disabled", "segment-updated"]


@pytest.fixture(scope="module")
def port() -> int:
    """Of the second replica's API."""
    return free_port()


@pytest.fixture(scope="module")
def hook(unleash: Unleash, port: int) -> Iterator[None]:
    """Set up as the documentation says. Unleash remembers its integrations for a minute; a start makes it look."""
    parameters = {"url": f"http://127.0.0.1:{port}{place()}", "authorization": SECRET}
    made = unleash.admin("POST", "/addons", {"provider": "webhook", "enabled": True, "parameters": parameters, "events": EVENTS})
    unleash.stop_server()
    unleash.start_server()
    yield
    unleash.admin("DELETE", f"/addons/{made['id']}")


@pytest.fixture
async def world(tmp_path: Path, unleash: Unleash) -> AsyncIterator[World]:
    """Linnet leads by its Lease and finds nothing by polling."""
    async with a_world(tmp_path, leader_election=True) as found:
        await until(lambda: leads(found.daemon))
        found.secret("unleash", token=unleash.person("linnet"), backend=BACKEND[PRODUCTION], webhook=SECRET, other="other")
        with mock.patch("daemon.control.flagging.FRESH", 3600.0):
            yield found


async def until(ask: Callable[[], bool]) -> None:
    """Of what is in a daemon's memory, which tells of no change."""
    async with asyncio.timeout(30):
        while not ask():
            await asyncio.sleep(0.01)


def leads(daemon: Daemon) -> bool:
    return daemon.metrics.registry.get_sample_value("linnet_leading") == 1


def knows(daemon: Daemon, key: str) -> bool:
    """Whether the replica has seen the release at its pause, with the flag."""
    found = daemon._caches.canaries.store.get(SHOP, "web") if daemon._caches is not None else None
    if found is None or found.status.rollout is None:
        return False
    return found.status.rollout.step == 1 and any(f.key == key and f.written for f in found.status.flags)


@asynccontextmanager
async def replica(world: World, port: int) -> AsyncIterator[tuple[Daemon, str]]:
    """A second one, which serves the API and does not lead; its address."""
    address = f"127.0.0.1:{port}"
    options = Options(
        kubeconfig=str(world.kubeconfig), metrics_address="127.0.0.1:0", catalogue_namespace=CATALOGUE, api=ApiOptions(address=address)
    )
    other = Daemon(options)
    task = asyncio.create_task(other.run())
    try:
        while other.missing() and not task.done():
            await asyncio.sleep(0.005)
        yield other, f"http://{address}"
        assert not task.done(), "the replica ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def second(world: World, port: int) -> AsyncIterator[tuple[Daemon, str]]:
    async with replica(world, port) as found:
        yield found


def counted(daemon: Daemon, outcome: str) -> float:
    return daemon.metrics.registry.get_sample_value("linnet_flag_news_total", {"outcome": outcome}) or 0.0


def news(world: World) -> str | None:
    """When the Canary's flags were spoken of last."""
    found: str | None = world.get(CANARIES, "web")["metadata"].get("annotations", {}).get(names.FLAG_NEWS)
    return found


def place(name: str = "default") -> str:
    return f"/api/v1/namespaces/{SHOP}/flagsources/{name}/changed"


def source(unleash: Unleash, called: str = "default", **more: Any) -> dict[str, Any]:
    spec = {"url": unleash.url, "tokenSecretRef": {"name": "unleash", "key": "token"}, "environment": PRODUCTION, "settle": "0s"}
    return linnet("FlagSource", called, {"type": "Unleash", "unleash": {**spec, **more}})


WEBHOOK: dict[str, Any] = {"webhookSecretRef": {"name": "unleash", "key": "webhook"}}


async def exposed(world: World, unleash: Unleash) -> str:
    """A release that waits at 40 % of a flag, all of it read."""
    key = unleash.flag()
    world.open(source(unleash, **WEBHOOK), canary_spec={"flags": [{"name": "new", "key": key}], "steps": STEPS})
    await world.adopted()
    world.release("app:v2")
    await world.until(lambda: (world.status().get("rollout") or {}).get("step") == 1, "it pauses in the second step", 40)
    return key


@pytest.mark.usefixtures("hook")
async def test_a_person_s_edit_reaches_the_leader_by_way_of_another_replica(
    world: World, unleash: Unleash, second: tuple[Daemon, str]
) -> None:
    """Bob lowers the flag: rolled back in his name, although the next poll is an hour away and the replica that was told does not lead."""
    key = await exposed(world, unleash)
    await until(lambda: knows(second[0], key))
    assert not leads(second[0])
    bob = await asyncio.to_thread(unleash.person, "bob")
    [ours] = [s for s in unleash.strategies(key, PRODUCTION) if (s["title"] or "").startswith("linnet ")]
    lowered = {"op": "replace", "path": "/parameters/rollout", "value": "5"}
    await asyncio.to_thread(unleash.patch, key, PRODUCTION, ours["id"], lowered, token=bob)
    began = time.monotonic()
    await world.until(lambda: world.phase() in ("RollingBack", "Held", "Idle"), "the brake is noticed", 30)
    logging.getLogger("linnet.tests").info("noticed %.2f s after the edit was answered", time.monotonic() - began)
    await world.phases("Held", "Idle")
    assert "bob" in str(world.status()) and "lowered" in str(world.status()), world.status().get("sentence")
    assert counted(second[0], "Told") >= 1
    assert counted(world.daemon, "Told") == 0


async def told(url: str, path: str, secret: str | None, body: bytes = b"{}") -> tuple[int, dict[str, Any]]:
    headers = {} if secret is None else {"Authorization": secret}
    async with aiohttp.ClientSession() as session, session.post(url + path, data=body, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.fixture
async def unknown(world: World) -> AsyncIterator[tuple[Daemon, str]]:
    """A replica at an address that Unleash does not have."""
    async with replica(world, free_port()) as found:
        yield found


async def test_only_the_secret_that_the_source_names_is_let_in(world: World, unleash: Unleash, unknown: tuple[Daemon, str]) -> None:
    """Anything else is a 401 that is counted and marks nothing; another name or key in the source is another secret."""
    daemon, url = unknown
    key = await exposed(world, unleash)
    await until(lambda: knows(daemon, key))
    world.apply(source(unleash, "plain"))
    for path, secret in (
        (place(), None),
        (place(), ""),
        (place(), "wrong"),
        (place(), SECRET[:-1]),
        (place(), f"{SECRET}x"),
        (place(), "\u00e9"),
        (place("plain"), SECRET),
        (place("nobody"), SECRET),
    ):
        status, body = await told(url, path, secret)
        assert (status, body["reason"]) == (401, "Unauthorized"), (path, secret)
        assert SECRET not in str(body)
    assert (counted(daemon, "Refused"), news(world)) == (8, None)
    assert await told(url, place(), SECRET) == (200, {"told": 1})
    first = news(world)
    assert first is not None
    assert await told(url, place(), f"Bearer {SECRET}", b'{"featureName": "%s"}' % key.encode()) == (200, {"told": 1})
    assert news(world) != first
    assert await told(url, place(), SECRET, b'{"featureName": "another"}') == (200, {"told": 0})
    assert await told(url, place(), SECRET, b"{" + b"x" * 300_000) == (200, {"told": 1})
    for ref, value in (({"name": "unleash", "key": "other"}, "other"), ({"name": "apart", "key": "webhook"}, "apart")):
        world.secret("apart", webhook="apart")
        world.apply(source(unleash, webhookSecretRef=ref), force=True)
        await soon(lambda value=value: told(url, place(), value), 200)
        assert (await told(url, place(), SECRET))[0] == 401


async def soon(ask: Any, wanted: int) -> None:
    """The replica's cache of FlagSources is a moment behind."""
    async with asyncio.timeout(20):
        while (await ask())[0] != wanted:
            await asyncio.sleep(0.05)
