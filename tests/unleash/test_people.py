"""The daemon with a real Unleash and its people: cohorts as SDKs evaluate them, hands on a flag by name, aborts at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from daemon.rollout.clock import epoch
from flags.buckets import within
from flags.membership import membership
from flags.model import Cohort, Desired, Gate
from flags.unleash_admin import UnleashSource
from flags.unleash_witness import Witnesses
from tests.serving import serving
from tests.testbed.unleash import ADMIN, BACKEND, Unleash
from tests.unit.control.cluster import ROUTES
from tests.unit.control.world import CANARIES, Object, World, a_world, linnet
from tests.witness.flaglog import FlagLog

pytestmark = pytest.mark.unleash

PRODUCTION = "production"
ABORTS = int(os.environ.get("LINNET_ABORTS", "6"))
QUICK = {"minDuration": "1ms"}
BETA_FIRST = [
    {"weight": 20, "flags": [{"name": "new", "cohorts": [{"name": "beta", "percent": 100}]}], "dwell": QUICK},
    {"pause": {}},
    {"flags": [{"name": "new", "percent": 10}], "dwell": QUICK},
    {"pause": {}},
]
EVERYONE = [{"weight": 20, "flags": [{"name": "new", "percent": 40}], "dwell": QUICK}, {"pause": {}}]


@pytest.fixture
async def world(tmp_path: Path, unleash: Unleash) -> AsyncIterator[World]:
    async with a_world(tmp_path) as found:
        found.secret("unleash", token=unleash.person("linnet"), backend=BACKEND[PRODUCTION])
        yield found


def source(unleash: Unleash) -> Object:
    spec = {
        "url": unleash.url,
        "tokenSecretRef": {"name": "unleash", "key": "token"},
        "witnessTokenSecretRef": {"name": "unleash", "key": "backend"},
        "environment": PRODUCTION,
        "settle": "0s",
    }
    return linnet("FlagSource", "default", {"type": "Unleash", "unleash": spec})


async def opened(world: World, unleash: Unleash, steps: list[Any], **flag: Any) -> str:
    """Adopted with a flag of its own; its key."""
    key = unleash.flag()
    world.open(source(unleash), canary_spec={"flags": [{"name": "new", "key": key, **flag}], "steps": steps})
    await world.adopted()
    return key


async def exposed(world: World, step: int = 0) -> None:
    def there() -> bool:
        rollout = world.status().get("rollout") or {}
        return bool(rollout.get("exposedAt")) and rollout.get("step", 0) >= step

    await world.until(there, f"step {step} is exposed", 40)


def ours(unleash: Unleash, key: str) -> dict[str, Any]:
    """Our strategies by cohort."""
    return {s["title"].rpartition("#")[2]: s for s in unleash.strategies(key, PRODUCTION) if (s["title"] or "").startswith("linnet ")}


async def evaluated(unleash: Unleash, key: str, ask: Callable[[Callable[[dict[str, Any]], bool]], Any]) -> Any:
    """What Unleash's own SDK makes of the flag, asked in a thread as an app would."""
    witnesses = Witnesses()
    found = UnleashSource(url=unleash.url, token=ADMIN, client_token=BACKEND[PRODUCTION], environment=PRODUCTION)
    sdk = await witnesses._sdk(found)
    try:
        await asyncio.sleep(1.5)
        sight = sdk.sight(key)
        assert sight is not None
        return await asyncio.to_thread(ask, sight.evaluate)
    finally:
        await witnesses.close()


def context(user: str, *, track: str = "canary", plan: str = "") -> dict[str, Any]:
    return {"userId": user, "properties": {"track": track, "plan": plan}}


async def test_beta_alone_and_then_everyone_as_sdks_see_it(world: World, unleash: Unleash) -> None:
    """20,000 ids: nobody outside beta ever has it, everybody in beta does, and the later 10 % are those of the bucket rule, not a union."""
    segment = f"beta-{random.randrange(10**9)}"
    constraint = {"contextName": "plan", "operator": "IN", "values": ["beta"], "inverted": False, "caseInsensitive": False}
    unleash.admin("POST", "/segments", {"name": segment, "constraints": [constraint]})
    key = await opened(world, unleash, BETA_FIRST, stickiness="userId", cohorts=[{"name": "beta", "segment": segment}])
    world.release("app:v2")
    await exposed(world)
    assert world.status()["flagsText"] == "new=0/beta:100"
    users = [f"user-{i}" for i in range(20_000)]

    def beta_only(on: Callable[[dict[str, Any]], bool]) -> tuple[int, int, int]:
        outside = sum(on(context(u)) for u in users)
        return (
            outside,
            sum(on(context(u, plan="beta")) for u in users[:500]),
            sum(on(context(u, track="", plan="beta")) for u in users[:500]),
        )

    assert await evaluated(unleash, key, beta_only) == (0, 500, 0), "outside beta, inside, inside on stable pods"
    await world.phases("Paused")
    world.say("resume")
    await exposed(world, step=2)
    strategies = ours(unleash, key)
    assert {s["parameters"]["groupId"] for s in strategies.values()} == {key}
    assert {name: s["parameters"]["rollout"] for name, s in strategies.items()} == {"all": "10", "beta": "100"}
    desired = Desired(percent=10, gate=Gate(), cohorts=(Cohort(name="beta", percent=100, segment=segment),), stickiness="userId")

    def everyone(on: Callable[[dict[str, Any]], bool]) -> list[str]:
        return [u for u in users[:3000] if on(context(u)) != within(key, u, 10)]

    assert await evaluated(unleash, key, everyone) == []
    asked = membership(key, desired, "user-1", {})
    assert asked.reasons[0].answer == ("in" if within(key, "user-1", 10) else "out")
    world.say("abort")
    await world.phases("Held", "Idle")
    assert {s["parameters"]["rollout"] for s in ours(unleash, key).values()} == {"0"}


async def test_who_pulled_the_brake_of_one_cohort_is_named(world: World, unleash: Unleash) -> None:
    """Beta alone is lowered: the release ends, the sentence has the person's name, and nothing is raised again."""
    key = await opened(world, unleash, EVERYONE, cohorts=[{"name": "beta", "constraints": [{"attribute": "plan", "values": ["beta"]}]}])
    world.release("app:v2")
    await exposed(world)
    bob = unleash.person("bob")
    lower = {"op": "replace", "path": "/parameters/rollout", "value": "5"}
    unleash.patch(key, PRODUCTION, ours(unleash, key)["all"]["id"], lower, token=bob)
    await world.phases("Held", "Idle")
    sentence = world.status()["sentence"]
    assert "was lowered at its source by hand" in sentence and "changed by bob" in sentence, sentence
    log = FlagLog.read(unleash.url, ADMIN, key).on(PRODUCTION)
    by_bob = next(entry for entry in log if entry.user.startswith("bob"))
    assert [entry.words for entry in log.after(by_bob.id).raises()] == []


async def test_a_strategy_that_a_person_deletes_is_not_made_again(world: World, unleash: Unleash) -> None:
    """That is a brake too, the strongest there is."""
    key = await opened(world, unleash, EVERYONE)
    world.release("app:v2")
    await exposed(world)
    place = f"/projects/default/features/{key}/environments/{PRODUCTION}/strategies/{ours(unleash, key)['all']['id']}"
    unleash.admin("DELETE", place, token=unleash.person("bob"))
    await world.phases("Held", "Idle")
    assert ours(unleash, key) == {}
    assert "was lowered at its source by hand" in world.status()["sentence"]


async def test_another_group_id_is_noticed_and_the_step_waits(world: World, unleash: Unleash) -> None:
    """Other people than the bucket rule says would have the flag: no sample counts, nothing is written over."""
    key = await opened(world, unleash, EVERYONE)
    world.release("app:v2")
    await exposed(world)
    other = {"op": "replace", "path": "/parameters/groupId", "value": "somebody-elses"}
    unleash.patch(key, PRODUCTION, ours(unleash, key)["all"]["id"], other, token=unleash.person("bob"))
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagChanged", "it is said", 30)
    assert "exposedAt" not in world.status()["rollout"]
    assert "bob" in world.status()["waiting"]["message"]
    assert ours(unleash, key)["all"]["parameters"]["groupId"] == "somebody-elses"


async def test_enforce_lowers_what_a_person_raised(world: World, unleash: Unleash) -> None:
    """Back to the step's share by one write of ours, and the release goes on."""
    key = await opened(world, unleash, EVERYONE, onDrift="Enforce")
    world.release("app:v2")
    await exposed(world)
    higher = {"op": "replace", "path": "/parameters/rollout", "value": "90"}
    unleash.patch(key, PRODUCTION, ours(unleash, key)["all"]["id"], higher, token=unleash.person("bob"))
    log = FlagLog.read(unleash.url, ADMIN, key).on(PRODUCTION)
    by_bob = next(entry for entry in log if entry.user.startswith("bob"))

    def lowered() -> bool:
        after = FlagLog.read(unleash.url, ADMIN, key).on(PRODUCTION).after(by_bob.id)
        return [entry.words.rpartition("#all ")[2] for entry in after] == ["90 -> 40"]

    async with asyncio.timeout(30):
        while not await asyncio.to_thread(lowered):
            await asyncio.sleep(0.1)
    await exposed(world)
    assert world.phase() in ("Progressing", "Paused")


async def test_aborts_at_random_moments_keep_the_order(world: World, unleash: Unleash) -> None:
    """P3 by Unleash's event log and the route's own changes: no write raises the flag before the weight stands, none after the abort."""
    key = await opened(world, unleash, EVERYONE)
    weights: list[tuple[float, int]] = []
    decided: list[float] = []

    def note(_event: str, resource: str, obj: Object) -> None:
        now = time.time()
        backends = obj["spec"]["rules"][0]["backendRefs"] if resource == ROUTES else []
        weights.extend((now, b.get("weight", 1)) for b in backends if b["name"].endswith("-canary"))
        if resource == CANARIES and (obj.get("status") or {}).get("phase") == "RollingBack" and len(decided) < len(begun):
            decided.append(now)

    stop = world.store.subscribe(note)
    begun: list[float] = []
    dice = random.Random(ABORTS)
    for number in range(ABORTS):
        begun.append(time.time())
        world.release(f"app:r{number}")
        await world.until(lambda: (world.status().get("rollout") or {}).get("step") is not None or world.phase() == "Progressing", "begun")
        await asyncio.sleep(dice.uniform(0.0, 2.5))
        world.say("abort")
        await world.phases("Held", "Idle")
        assert {s["parameters"]["rollout"] for s in ours(unleash, key).values()} <= {"0"}
        assert world.share() in (None, 0)
    stop()
    log = FlagLog.read(unleash.url, ADMIN, key).on(PRODUCTION)
    raised, zeroed = [e.time for e in log.raises()], [e.time for e in log.zeroes()]
    for began, end, aborted in zip(begun, [*begun[1:], float("inf")], decided, strict=True):
        mine = [when for when in raised if began <= when < end]
        up = next((when for when, weight in weights if began <= when < end and weight == 20), float("inf"))
        assert all(up <= when + 0.005 and when <= aborted + 0.005 for when in mine), (up, mine, aborted)
        assert len(mine) <= 1 and bool(mine) == any(aborted - 0.005 <= when < end for when in zeroed)


class Stale:
    """Unleash as seen through a proxy that hands SDKs what was so `late` seconds ago; everything else passes."""

    def __init__(self, unleash: Unleash, late: float) -> None:
        self.unleash, self.late = unleash, late
        self.url = ""
        self._seen: list[tuple[float, bytes]] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Stale]:
        async with aiohttp.ClientSession() as self._session, serving(self._pass) as self.url:
            watching = asyncio.create_task(self._watch())
            try:
                yield self
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        headers = {"Authorization": BACKEND[PRODUCTION]}
        while True:
            async with self._session.get(f"{self.unleash.url}/api/client/features", headers=headers) as answer:
                self._seen.append((time.time(), await answer.read()))
            await asyncio.sleep(0.5)

    async def _pass(self, request: web.Request) -> web.Response:
        if request.path == "/api/client/features":
            old = [body for at, body in self._seen if at <= time.time() - self.late]
            return web.Response(body=old[-1] if old else self._seen[0][1], content_type="application/json")
        headers = {k: v for k, v in request.headers.items() if k in ("Authorization", "Content-Type")}
        url = f"{self.unleash.url}{request.path_qs}"
        async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


async def test_no_sample_counts_before_sdks_saw_a_change_that_is_late(world: World, unleash: Unleash) -> None:
    """Only the SDKs' endpoint is 20 s behind: the write is there at once, and the step counts from when its content has come."""
    async with Stale(unleash, 20.0).serving() as proxy:
        key = unleash.flag()
        made = source(unleash)
        made["spec"]["unleash"]["url"] = proxy.url
        world.open(made, canary_spec={"flags": [{"name": "new", "key": key}], "steps": EVERYONE})
        await world.adopted()
        world.release("app:v2")
        await exposed(world)
        [raised] = FlagLog.read(unleash.url, ADMIN, key).on(PRODUCTION).raises()
        rollout = world.status()["rollout"]
        assert epoch(rollout["exposedAt"]) >= raised.time + 19
        assert epoch(rollout["judgeFrom"]) >= raised.time + 19, "no tick of the evidence is older"
