"""How little is written, and what never is: no write without news, numbers once a minute, nothing out of a Secret anywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from unittest import mock

import aiohttp
import pytest

from tests.unit.control.cluster import SHOP
from tests.unit.control.test_telling import Hooks, notifier
from tests.unit.control.test_telling import hooks as hooks
from tests.unit.control.world import CANARIES, DEPLOYMENTS, World, linnet

PASSES = 'linnet_reconciles_total{controller="canary",outcome='


def passes(world: World) -> int:
    """How often a Canary was looked at."""
    found = world.daemon.metrics.reconciles.collect()
    return sum(int(s.value) for m in found for s in m.samples if s.name.endswith("_total") and s.labels["controller"] == "canary")


async def looked(world: World, times: int) -> None:
    """So many more passes."""
    wanted = passes(world) + times
    async with asyncio.timeout(20):
        while passes(world) < wanted:
            await asyncio.sleep(0.02)


async def test_at_rest_nothing_is_written(world: World) -> None:
    """Pods, ReplicaSets and labels change, the Canary is looked at each time, and not one request is sent."""
    world.open()
    await world.adopted()
    await world.until(lambda: "requestsPerSecond" in (world.status().get("forecast") or {}), "its traffic is measured")
    await looked_until_quiet(world)
    before, version = world.requests("GET", "POST", "PATCH", "PUT", "DELETE"), world.get(CANARIES, "web")["metadata"]["resourceVersion"]
    for number in range(5):
        world.patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"number": str(number)}}})
        await looked(world, 1)
    assert world.requests("GET", "POST", "PATCH", "PUT", "DELETE") == before
    assert world.get(CANARIES, "web")["metadata"]["resourceVersion"] == version


async def looked_until_quiet(world: World) -> None:
    """Until a pass brings no write any more."""
    async with asyncio.timeout(20):
        while True:
            before = world.requests()
            world.patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"quiet": str(before)}}})
            await looked(world, 1)
            await asyncio.sleep(0.2)
            if world.requests() == before:
                return


async def exposed_and_paused(world: World) -> None:
    world.open()
    await world.adopted()
    world.release("app:v2")
    await world.until(lambda: (world.status().get("rollout") or {}).get("exposedAt"), "the step is exposed")
    world.say("pause")
    await world.phases("Paused")


async def scrapes(world: World, count: int) -> None:
    wanted = len(world.pages.asked) + count
    async with asyncio.timeout(20):
        while len(world.pages.asked) < wanted:
            await asyncio.sleep(0.05)


async def test_new_numbers_alone_are_no_reason_to_write(world: World) -> None:
    """Paused and exposed, every second brings evidence, and the status is left alone."""
    await exposed_and_paused(world)
    await scrapes(world, 4)
    version, looks = world.get(CANARIES, "web")["metadata"]["resourceVersion"], passes(world)
    await scrapes(world, 12)
    assert passes(world) > looks
    assert world.get(CANARIES, "web")["metadata"]["resourceVersion"] == version


async def test_words_of_the_kubelet_are_shown_at_once(world: World) -> None:
    """A wait that stays the same but for why is written with its reason, not with the numbers once a minute."""
    world.node.ready = lambda _pod: False
    world.open(replicas=1)
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "StableNotReady", "it waits for stable")
    [pod] = world.list("pods", app="web")
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    state = {"name": "main", "image": "app:v1", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": waiting}}
    body = {"status": {"containerStatuses": [state]}}
    world.store.patch("pods", SHOP, pod["metadata"]["name"], "merge", body, user="node", subresource="status")
    await world.until(lambda: "no such image" in world.status()["waiting"]["message"], "the kubelet's words")


async def test_numbers_are_brought_up_to_date_once_a_minute(world: World) -> None:
    """The minute being shorter here."""
    with mock.patch("daemon.control.reconcile.NUMBERS_EVERY", 1.0):
        await exposed_and_paused(world)
        await world.until(lambda: world.status().get("metrics"), "first numbers")
        before = world.status()["metrics"][0]["canaryTotal"]
        await world.until(lambda: world.status()["metrics"][0]["canaryTotal"] > before, "newer numbers")


PLANTED = "planted0secret0"


async def test_what_is_in_a_secret_is_nowhere_else(world: World, hooks: Hooks, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens, passwords and webhook addresses, used and refused, good and bad: in no object, log, message or page."""
    caplog.set_level(logging.DEBUG)
    world.secret("prometheus", token=PLANTED + "bearer")
    world.secret("basic", user=PLANTED + "user", password=PLANTED + "password")
    world.secret("good", url=hooks.url(PLANTED + "path"))
    world.secret("broken", url=PLANTED + "broken")
    world.secret("refused", url=f"json://{PLANTED}user:{PLANTED}pass@127.0.0.1:1/{PLANTED}")
    world.apply(*(notifier(name, name) for name in ("good", "broken", "refused")))
    url = f"http://127.0.0.1:{world.pages.port}"
    bearer = {"bearerSecretRef": {"name": "prometheus", "key": "token"}}
    basic = {"basic": {f"{k}SecretRef": {"name": "basic", "key": v} for k, v in (("username", "user"), ("password", "password"))}}
    routes = [{"notifierRef": {"name": name}} for name in ("good", "broken", "refused")]
    world.open(canary_spec={"notify": routes})
    for auth, image in ((bearer, "app:v2"), (basic, "app:v3")):
        world.apply(linnet("MetricSource", "default", {"type": "Prometheus", "prometheus": {"url": url, "auth": auth}}))
        await world.adopted()
        world.pages.status = 401
        world.pages.asked.clear()
        world.release(image)
        await world.until(lambda: "HTTP 401" in json.dumps(world.status().get("waiting")), "the refusal is told")
        async with asyncio.timeout(20):
            while not any(headers.get("Authorization") for _, headers, _ in world.pages.asked):
                await asyncio.sleep(0.02)
        world.say("abort")
        await world.phases("Idle", "Held")
    await hooks.until(f"/{PLANTED}path")
    async with asyncio.timeout(20):
        while "refused" not in caplog.text:
            await asyncio.sleep(0.05)
    async with aiohttp.ClientSession() as http, http.get(f"{world.metrics_url}/metrics") as reply:
        page = await reply.text()
    stored = json.dumps([obj for _, resource, obj in world.history if resource != "secrets"])
    sent = json.dumps([body for _, body in hooks.got])
    for where, text in {"objects": stored, "messages": sent, "log": caplog.text, "metrics": page}.items():
        for word in (PLANTED, base64.b64encode(PLANTED.encode())[:-4].decode()):
            assert word not in text, f"found in {where}: {text[max(0, text.find(word) - 200) : text.find(word) + 60]}"
