"""Caps and the line, with the whole daemon: several shops in two namespaces, workers that decide at the same time, and a restart between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.api import names
from tests.unit.control.cluster import SHOP
from tests.unit.control.world import CANARIES, DEPLOYMENTS, World, canary, deployment, linnet, route, service

PAUSED = [{"weight": 20, "dwell": {"minDuration": "1ms"}}, {"pause": {}}]
BANK = "bank"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The cluster alone: each test starts the daemon itself, with its caps."""
    found = World(tmp_path)
    async with found.running():
        yield found


def opened(world: World, name: str, namespace: str = SHOP, **spec: Any) -> None:
    """One more shop, in its namespace."""
    pages = linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}})
    if world.find("namespaces", namespace, "") is None:
        world.store.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, user="admin")
    parts = (pages, service(name), route(name), deployment(name), canary(name, **{"steps": PAUSED, **spec}))
    world.apply(*({**part, "metadata": {**part["metadata"], "namespace": namespace}} for part in parts))


def status(world: World, name: str, namespace: str = SHOP) -> dict[str, Any]:
    found: dict[str, Any] = world.get(CANARIES, name, namespace).get("status") or {}
    return found


async def adopted(world: World, *keys: tuple[str, str]) -> None:
    def marked() -> bool:
        found = (world.get(DEPLOYMENTS, name, namespace)["metadata"].get("annotations") or {} for namespace, name in keys)
        return all(names.CANARY_MARK in one for one in found)

    await world.until(marked, "all are adopted")


def release(world: World, name: str, namespace: str = SHOP, image: str = "app:v2") -> None:
    body = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}
    world.store.patch(DEPLOYMENTS, namespace, name, "strategic", body, user="alice")


def place(world: World, name: str, namespace: str = SHOP) -> str:
    """Its words in the line; empty while it waits for nothing, or something else."""
    waiting = status(world, name, namespace).get("waiting") or {}
    return str(waiting["message"]) if waiting.get("reason") == "PermitQueue" else ""


async def stands(world: World, words: str, name: str, namespace: str = SHOP) -> None:
    await world.until(lambda: place(world, name, namespace).startswith(words), f"{name} is {words}")


async def at_twenty(world: World, name: str, namespace: str = SHOP) -> None:
    await world.until(lambda: status(world, name, namespace).get("weight") == 20, f"{name} at 20 %")


def say(world: World, verb: str, name: str, namespace: str = SHOP) -> None:
    found = status(world, name, namespace)
    revision = (found.get("rollout") or {}).get("revision") or found["observedRevision"]
    account = "#by=alice;until=2099-01-01T00:00:00Z;why=the till is down" if verb == "hotfix" else ""
    world.patch(CANARIES, name, {"metadata": {"annotations": {names.ACTION: f"{verb}@{revision}{account}"}}}, namespace=namespace)


def most_at_once(world: World) -> tuple[int, list[tuple[str, str]]]:
    """By the API server's record: the most releases that were under way at a time, and the order in which they began."""
    running: set[tuple[str, str]] = set()
    most, order = 0, []
    for event, resource, item in world.history:
        if resource != CANARIES:
            continue
        key = (item["metadata"]["namespace"], item["metadata"]["name"])
        under_way = event != "DELETED" and bool((item.get("status") or {}).get("rollout"))
        if under_way and key not in running:
            order.append(key)
        (running.add if under_way else running.discard)(key)
        most = max(most, len(running))
    return most, order


async def test_releases_wait_in_line_through_a_restart_and_each_namespace_has_its_turn(world: World) -> None:
    """The place is in the status; what ends lets the next one go, without a poll; a hotfix does not wait."""
    keys = [(SHOP, "web"), (SHOP, "cart"), (SHOP, "till"), (BANK, "api")]
    async with world.linnet(max_rollouts=1):
        for namespace, name in keys:
            opened(world, name, namespace)
        await adopted(world, *keys)
        release(world, "web")
        await at_twenty(world, "web")
        release(world, "cart")
        await stands(world, "1st of 1 waiting; 1 of 1 releases are under way", "cart")
        release(world, "till")
        await stands(world, "2nd of 2", "till")
        release(world, "api", BANK)
        await stands(world, "2nd of 3", "api", BANK)
        await stands(world, "3rd of 3", "till")
        waiting = status(world, "till")["waiting"]
        assert "linnet hotfix till" in waiting["wayOut"]
        ready = next(c for c in status(world, "till")["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "Unknown", "nobody takes it for released"
        told = [e["message"] for e in world.events("Waiting") if e["involvedObject"]["name"] == "till"]
        assert len({*told}) == 1, told
        assert "2nd of 2 waiting" in told[0]
    since = {name: status(world, name, namespace)["queuedSince"] for namespace, name in keys[1:]}
    async with world.linnet(max_rollouts=1):
        await stands(world, "3rd of 3", "till")
        assert {name: status(world, name, namespace)["queuedSince"] for namespace, name in keys[1:]} == since
        say(world, "abort", "web")
        await at_twenty(world, "cart")
        await stands(world, "1st of 2", "api", BANK)
        assert "queuedSince" not in status(world, "cart")
        say(world, "abort", "cart")
        await at_twenty(world, "api", BANK)
        await stands(world, "1st of 1", "till")
        assert most_at_once(world) == (1, [(SHOP, "web"), (SHOP, "cart"), (BANK, "api")])
        say(world, "hotfix", "till")
        await world.until(lambda: status(world, "till").get("rollout"), "the hotfix is under way")
        assert status(world, "api", BANK).get("rollout")


async def test_releases_that_come_all_at_once_never_pass_the_cap(world: World) -> None:
    """Several workers decide at the same time; everybody is served in the end."""
    keys = [(namespace, f"app-{n}") for n in range(3) for namespace in (SHOP, BANK)]

    async def through(namespace: str, name: str) -> None:
        """A person ends it as soon as it has begun."""
        await world.until(lambda: status(world, name, namespace).get("rollout"), f"{name} is under way")
        say(world, "abort", name, namespace)
        await world.until(lambda: status(world, name, namespace).get("history"), f"{name} has ended")

    async with world.linnet(max_rollouts=2, workers=8):
        for namespace, name in keys:
            opened(world, name, namespace)
        await adopted(world, *keys)
        for namespace, name in keys:
            release(world, name, namespace)
        await asyncio.gather(*(through(*key) for key in keys))
    most, order = most_at_once(world)
    assert most == 2
    assert sorted(order) == sorted(keys)
    assert not [c for c in world.list(CANARIES, None) if "queuedSince" in c["status"]]


async def test_a_release_that_is_frozen_takes_no_slot(world: World) -> None:
    """Others pass it, though it asked first; it keeps its place for when it may go."""
    async with world.linnet(max_rollouts=1):
        for name in ("web", "cart", "till"):
            opened(world, name)
        await adopted(world, *((SHOP, name) for name in ("web", "cart", "till")))
        world.patch(CANARIES, "cart", {"metadata": {"labels": {"team": "cart"}}})
        world.apply(linnet("Freeze", "sale", {"reason": "the sale", "selector": {"matchLabels": {"team": "cart"}}}))
        release(world, "cart")
        await world.until(lambda: (status(world, "cart").get("waiting") or {}).get("reason") == "PermitFreeze", "it is frozen")
        release(world, "web")
        await at_twenty(world, "web")
        release(world, "till")
        await stands(world, "1st of 1", "till")
        world.store.delete("freezes.linnet.dev", SHOP, "sale", user="admin")
        await stands(world, "1st of 2", "cart")
        await stands(world, "2nd of 2", "till")


async def test_a_namespace_has_the_cap_of_its_annotation(world: World) -> None:
    """It reaches nobody else; one that is no number is said with the way out; a change alone wakes those who wait."""

    def capped(text: str | None) -> None:
        world.store.patch("namespaces", "", SHOP, "merge", {"metadata": {"annotations": {names.MAX_ROLLOUTS: text}}}, user="admin")

    keys = [(SHOP, "web"), (SHOP, "cart"), (BANK, "api")]
    async with world.linnet(namespace_caps=True):
        for namespace, name in keys:
            opened(world, name, namespace)
        capped("1")
        await adopted(world, *keys)
        release(world, "web")
        await at_twenty(world, "web")
        release(world, "cart")
        await stands(world, "1st of 1 waiting in namespace shop; 1 of 1 releases of it are under way", "cart")
        release(world, "api", BANK)
        await at_twenty(world, "api", BANK)
        capped("two")
        await stands(world, "annotation linnet.dev/max-rollouts of namespace shop is 'two', and takes a whole number from 0", "cart")
        capped("2")
        await at_twenty(world, "cart")


async def test_without_caps_nothing_is_asked_and_nothing_noted(world: World) -> None:
    """The default: no Namespace is read, and no release has a place."""
    async with world.linnet() as daemon:
        for name in ("web", "cart"):
            opened(world, name)
        await adopted(world, (SHOP, "web"), (SHOP, "cart"))
        for name in ("web", "cart"):
            release(world, name)
            await at_twenty(world, name)
        assert daemon._caches is not None
        assert daemon._caches.namespaces is None
    assert not [1 for _, resource, item in world.history if resource == CANARIES and "queuedSince" in (item.get("status") or {})]
