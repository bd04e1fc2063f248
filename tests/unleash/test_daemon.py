"""The whole daemon with a real Unleash: the cluster is on paper, the flags and what SDKs make of them are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.traffic.httproute import TRAEFIK
from flags.buckets import pattern
from tests.testbed.unleash import ADMIN, BACKEND, PROJECT, Unleash
from tests.unit.control.cluster import ROUTES
from tests.unit.control.world import Object, World, a_world, linnet
from tests.witness.flaglog import FlagLog

pytestmark = pytest.mark.unleash

STEPS = [{"weight": 20, "flags": [{"name": "new", "percent": 40}], "dwell": {"minDuration": "1ms"}}, {"pause": {}}]


@pytest.fixture
async def world(tmp_path: Path, unleash: Unleash) -> AsyncIterator[World]:
    async with a_world(tmp_path) as found:
        found.secret("unleash", token=ADMIN, backend=BACKEND["production"], other=BACKEND["development"], wrong="*:*.unknown")
        yield found


@pytest.fixture
def flag(unleash: Unleash) -> Iterator[str]:
    yield unleash.flag()


def source(unleash: Unleash, *, witness: bool = False, **more: Any) -> Object:
    spec: Object = {
        "url": unleash.url,
        "tokenSecretRef": {"name": "unleash", "key": "token"},
        "environment": "production",
        "settle": "0s",
    }
    if witness:
        spec["witnessTokenSecretRef"] = {"name": "unleash", "key": "backend"}
    return linnet("FlagSource", "default", {"type": "Unleash", "unleash": {**spec, **more}})


async def opened(world: World, flag: str, made: Object) -> None:
    """Adopted, with a flag of Unleash that moves along and is at 40 % in the first step."""
    world.open(made, canary_spec={"flags": [{"name": "new", "key": flag}], "steps": STEPS})
    await world.adopted()


async def soon(ask: Callable[[], Any], what: str, within: float = 25.0) -> None:
    """Unleash's side is no object of the cluster, so nothing tells of its changes."""
    try:
        async with asyncio.timeout(within):
            while not await asyncio.to_thread(ask):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None


async def exposed(world: World) -> None:
    await world.until(lambda: (world.status().get("rollout") or {}).get("exposedAt"), "the step is exposed", 30)


def rollouts(unleash: Unleash, flag: str, environment: str = "production", project: str = PROJECT) -> list[str]:
    """What our strategies are at."""
    place = f"/projects/{project}/features/{flag}/environments/{environment}/strategies"
    found = unleash.admin("GET", place)
    return [s["parameters"]["rollout"] for s in found if (s["title"] or "").startswith("linnet ")]


async def released(world: World, flag: str, made: Object) -> None:
    await opened(world, flag, made)
    world.release("app:v2")


async def test_a_flag_of_unleash_moves_with_the_release_and_back(world: World, unleash: Unleash, flag: str) -> None:
    """Created at 0 %, the environment on, then up; after the abort at 0 %, the environment off again as it was found."""
    await released(world, flag, source(unleash, witness=True))
    await exposed(world)
    assert rollouts(unleash, flag) == ["40"]
    world.say("abort")
    await world.phases("Held", "Idle")
    await soon(lambda: not unleash.enabled(flag, "production"), "the environment is off again")
    log = FlagLog.read(unleash.url, ADMIN, flag).on("production")
    shown = [words.replace("linnet shop/web#all ", "") for words in log.order()]
    assert shown[:5] == [
        "strategy-add - -> 0",
        "environment-enabled",
        "strategy-update 0 -> 40",
        "strategy-update 40 -> 0",
        "environment-disabled",
    ]
    assert len(log.raises()) == 1


async def test_the_source_s_url_is_where_the_flag_is_moved(world: World, unleash: Unleash, flag: str) -> None:
    """At an address where nobody answers nothing is exposed; the wait names it."""
    await released(world, flag, source(unleash, url="http://127.0.0.1:9"))
    await world.until(lambda: "127.0.0.1:9" in str(world.status().get("waiting")), "the address is in the wait")
    assert rollouts(unleash, flag) == []
    world.apply(source(unleash), force=True)
    await exposed(world)
    assert rollouts(unleash, flag) == ["40"]


async def test_the_environment_that_the_source_names_is_moved(world: World, unleash: Unleash, flag: str) -> None:
    """The other one stays as it was."""
    await released(world, flag, source(unleash, environment="development"))
    await exposed(world)
    assert (rollouts(unleash, flag, "development"), rollouts(unleash, flag)) == (["40"], [])


async def refused(world: World, flag: str, made: Object, words: str) -> None:
    """Said before any release starts; and once the source is mended, it is adopted."""
    world.open(made, canary_spec={"flags": [{"name": "new", "key": flag}], "steps": STEPS})
    await world.until(lambda: words in str(world.status()), f"{words!r} is said")
    assert ADMIN not in str(world.status())


async def test_the_project_that_the_source_names_is_searched(world: World, unleash: Unleash, flag: str) -> None:
    """A flag that is in another project is not found, and the refusal says where it was looked for."""
    await refused(world, flag, source(unleash, project="elsewhere"), 'in project "elsewhere"')
    world.apply(source(unleash), force=True)
    await world.adopted()


@pytest.mark.parametrize(("wrong", "words"), [({"name": "unleash", "key": "wrong"}, "401"), ({"name": "nobody", "key": "token"}, "nobody")])
async def test_the_token_comes_from_the_secret_that_is_named(
    world: World, unleash: Unleash, flag: str, wrong: dict[str, str], words: str
) -> None:
    """Another key or another Secret is another token: refused by Unleash, or not there, and said without naming a token."""
    await refused(world, flag, source(unleash, tokenSecretRef=wrong), words)
    world.apply(source(unleash), force=True)
    await world.adopted()


@pytest.mark.parametrize("wrong", [{"key": "other"}, {"name": "apart"}])
async def test_the_witness_asks_with_the_token_that_is_named(world: World, unleash: Unleash, flag: str, wrong: dict[str, str]) -> None:
    """An SDK of another environment never has the change, so the step waits; with the right one it goes on."""
    world.secret("apart", backend=BACKEND["development"])
    ref = {"name": "unleash", "key": "backend", **wrong}
    await released(world, flag, source(unleash, witnessTokenSecretRef=ref))
    await soon(lambda: rollouts(unleash, flag) == ["40"], "it is written")
    await world.until(lambda: "the SDK" in (world.status().get("waiting") or {}).get("message", ""), "the wait says what the SDK has")
    assert "exposedAt" not in world.status()["rollout"]
    world.apply(source(unleash, witness=True), force=True)
    await exposed(world)


async def test_a_write_to_unleash_counts_once_it_has_settled(world: World, unleash: Unleash, flag: str) -> None:
    """With an hour to settle the step waits, although the strategy is written."""
    await released(world, flag, source(unleash, settle="1h"))
    await soon(lambda: rollouts(unleash, flag) == ["40"], "it is written")
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagSettling", "it waits")
    assert "exposedAt" not in world.status()["rollout"]


async def test_the_header_and_group_of_the_spec_reach_route_and_flag(world: World, unleash: Unleash, flag: str) -> None:
    """Aligned: a rule for the buckets 1 to 20 of that header, and a strategy for 20 % of that group, without a gate; then neither."""
    buckets = {"header": "X-Edge-Bucket", "group": "shop-users"}
    steps = [{"weight": 20, "dwell": {"minDuration": "1ms"}}, {"pause": {}}]
    world.gateway.controller = TRAEFIK  # which is known to match patterns
    spec = {"flags": [{"name": "new", "key": flag, "mode": "Aligned"}], "steps": steps, "traffic": {"buckets": buckets}}
    world.open(source(unleash, witness=True), canary_spec=spec)
    await world.adopted()
    before = world.get(ROUTES, "web")["spec"]
    world.release("app:v2")
    await exposed(world)
    first, rule = world.get(ROUTES, "web")["spec"]["rules"]
    assert [(b["name"], b["weight"]) for b in first["backendRefs"]] == [("web", 100), ("web-canary", 0)]
    [told] = rule["matches"][0]["headers"]
    assert told == {"type": "RegularExpression", "name": "X-Edge-Bucket", "value": pattern(20)}
    assert [b["name"] for b in rule["backendRefs"]] == ["web-canary"]
    [ours] = unleash.strategies(flag, "production")
    shown = {key: ours["parameters"][key] for key in ("rollout", "stickiness", "groupId")}
    assert (shown, ours["constraints"]) == ({"rollout": "20", "stickiness": "userId", "groupId": "shop-users"}, [])
    assert world.status()["weight"] == 20
    world.say("abort")
    await world.phases("Held", "Idle")
    assert world.get(ROUTES, "web")["spec"] == before
    assert rollouts(unleash, flag) == ["0"]
