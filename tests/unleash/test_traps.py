"""What running the real server taught, one test for each trap, with the server's own behaviour shown first where it is the surprise.

Traps 1 and 10 of the list are not about Unleash's answers: that a real server is cheap to test on (every test here), and the name of an
MQTT library (banned by the linter).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from UnleashClient.impact_metrics import MetricFlagContext

from analyzers.sources.scrape import Line, parse_page
from daemon.api.canary import Metric
from daemon.control.measuring import _flag_labels
from flags.buckets import share
from flags.errors import Busy, Drifted, Exposed, Invalid, Retryable
from flags.model import Cohort, Constraint, Converged, Desired, FlagRef, Gate, Owner
from flags.provider import DEADLINE
from flags.unleash_witness import Witnesses
from tests.testbed import build
from tests.testbed.unleash import ADMIN, BACKEND, Unleash
from tests.unit.flags.contract import gated
from tests.unleash.world import PRODUCTION, UnleashWorld, app

pytestmark = pytest.mark.unleash

IDS = tuple(f"user-{number}" for number in range(20_000))


@pytest.fixture
async def world(unleash: Unleash) -> AsyncIterator[UnleashWorld]:
    made = UnleashWorld(unleash)
    yield made
    await made.close()


async def test_trap_2_witness_without_threads(world: UnleashWorld) -> None:
    """The SDK runs on our loop, starts no thread that stays, and counts nobody as a user."""
    witnesses = Witnesses()
    provider = world.driver_with(witnesses)
    threads = {thread.name for thread in threading.enumerate()}
    await provider.apply(world.flag, gated(10), None)
    await world.until_seen(provider, gated(10))
    started = {thread.name for thread in threading.enumerate()} - threads
    assert not [name for name in started if not name.startswith("asyncio_")]
    await witnesses.close()
    raw = world.server.admin("GET", f"/client-metrics/features/{world.flag.key}/raw?hoursBack=1")["data"]
    assert not [row for row in raw if row["yes"] or row["no"]]
    assert "linnet-witness" not in str(world.server.admin("GET", "/metrics/applications"))


@pytest.mark.parametrize("percent", [12.5, 101, -1, "10", True])
async def test_trap_3_integer_strings(world: UnleashWorld, percent: object) -> None:
    """What is no integer from 0 to 100 is refused before a call: the server would store it, and SDKs would disagree about it."""
    with pytest.raises(Invalid, match="Use an integer from 0 to 100"):
        await world.provider.apply(world.flag, Desired(percent=percent), None)  # type: ignore[arg-type]
    assert world.calls() == 0


async def test_trap_3_a_fraction_set_by_hand(world: UnleashWorld) -> None:
    """0 % in one SDK and 12 % in another: neither lower nor higher, and never taken for ours."""
    await world.provider.apply(world.flag, gated(10), None)
    world.patch(world.ours(), {"op": "replace", "path": "/parameters/rollout", "value": "12.5"})
    with pytest.raises(Drifted, match=r"'12\.5', which SDKs read differently") as caught:
        await world.provider.verify(world.flag, gated(10), 0.0)
    assert caught.value.direction == "other"


async def test_trap_4_default_strategy(world: UnleashWorld) -> None:
    """An environment that is switched on without a strategy gets one at 100 % from Unleash; ours stands at 0 % before that."""
    bare = world.server.flag()
    world.server.switch(bare, PRODUCTION, on=True)
    assert [s["parameters"]["rollout"] for s in world.server.strategies(bare, PRODUCTION)] == ["100"]
    await world.provider.apply(world.flag, gated(10), None)
    assert [s["title"] for s in world.strategies()] == ["linnet shop/checkout#all"]
    kinds = [entry.kind for entry in world.log()]
    assert kinds == ["feature-strategy-add", "feature-environment-enabled", "feature-strategy-update"]
    assert world.log().entries[0].words.endswith("- -> 0")


async def test_trap_4_disabled_strategies_are_not_woken(world: UnleashWorld) -> None:
    """Switching on must not activate what people disabled."""
    world.server.strategy(world.flag.key, PRODUCTION, title="old", disabled=True)
    await world.provider.apply(world.flag, gated(10), None)
    assert [(s["title"], s["disabled"]) for s in world.strategies()] == [("old", True), ("linnet shop/checkout#all", False)]
    assert world.on(IDS[:200], "stable") == set()


async def test_trap_5_taking_back_keeps_the_environment(world: UnleashWorld) -> None:
    """The last enabled strategy, disabled, turns the environment off, and the next on opens the flag; at 0 % it does neither."""
    bare = world.server.flag(on=(PRODUCTION,))
    only = world.server.strategies(bare, PRODUCTION)[0]["id"]
    world.server.patch(bare, PRODUCTION, only, {"op": "replace", "path": "/disabled", "value": True})
    assert not world.server.enabled(bare, PRODUCTION)
    await world.provider.apply(world.flag, gated(10), None)
    await world.provider.zero(world.flag)
    assert world.enabled()
    assert not world.ours()["disabled"]
    for state in (False, True):
        world.server.switch(world.flag.key, PRODUCTION, on=state)
    assert world.on(IDS[:500], "canary") == set()


async def test_trap_6_strategies_are_or_ed(world: UnleashWorld) -> None:
    """A strategy of people's that lets as many in makes ours meaningless: refused with the share it has, counted together."""
    world.server.strategy(world.flag.key, PRODUCTION, rollout="30", title="thirty")
    world.server.strategy(
        world.flag.key, PRODUCTION, title="fifty", parameters={"rollout": "50", "stickiness": "userId", "groupId": "another"}
    )
    world.server.switch(world.flag.key, PRODUCTION, on=True)
    reached = 100 * len(world.on(IDS, "stable")) / len(IDS)
    with pytest.raises(Exposed, match=r"reaches 65 % of everybody.*'thirty'.*'fifty'"):
        await world.provider.apply(world.flag, gated(60), None)
    assert abs(reached - 65) < 1.5
    assert [s["title"] for s in world.strategies()] == ["thirty", "fifty"]


async def test_trap_6_before_the_environment_is_on(world: UnleashWorld) -> None:
    """Switching on would open the flag for those whom a waiting strategy lets in."""
    world.server.strategy(world.flag.key, PRODUCTION, title="waiting")
    with pytest.raises(Exposed, match="as soon as the environment is on"):
        await world.provider.apply(world.flag, gated(5), None)
    assert not world.enabled()


async def test_trap_6_cohort_by_cohort(world: UnleashWorld) -> None:
    """Who has it already is weighed against whom we ask: beta has it by hand, so a share of beta proves nothing, one of others does."""
    beta = {"contextName": "plan", "operator": "IN", "values": ["beta"]}
    world.server.strategy(world.flag.key, PRODUCTION, title="beta by hand", constraints=[beta])
    world.server.switch(world.flag.key, PRODUCTION, on=True)
    cohort = Cohort(name="beta", percent=50, constraints=(Constraint(attribute="plan", values=("beta",)),))
    with pytest.raises(Exposed, match="100 % of cohort beta"):
        await world.provider.apply(world.flag, Desired(percent=5, gate=Gate(), cohorts=(cohort,)), None)
    assert (await world.provider.apply(world.flag, gated(5), None)).changed


async def test_trap_7_constraints_and_segments_stay_whole(world: UnleashWorld) -> None:
    """A PUT wipes constraints that it is not sent; each of our writes leaves them and the segments as they are wanted."""
    name = f"segment-{world.flag.key}"
    staff = {"contextName": "plan", "operator": "IN", "values": ["staff"]}
    identity = world.server.admin("POST", "/segments", {"name": name, "constraints": [staff]})["id"]
    cohort = Cohort(name="staff", percent=10, segment=name, constraints=(Constraint(attribute="country", values=("no", "se")),))
    last = None
    for percent in (1, 5, 25, 0):
        wanted = Desired(percent=percent, gate=Gate(), cohorts=(cohort,))
        await world.provider.apply(world.flag, wanted, last)
        found, last = world.ours("staff"), wanted
        assert found["segments"] == [identity]
        assert {c["contextName"]: c["values"] for c in found["constraints"]} == {"track": ["canary"], "country": ["no", "se"]}
    await world.provider.zero(world.flag)
    assert world.ours("staff")["segments"] == [identity]
    assert len(world.ours("staff")["constraints"]) == 2


async def test_trap_7_a_segment_that_is_not_there(world: UnleashWorld) -> None:
    """Named, with those that are, before anything is written."""
    cohort = Cohort(name="staff", percent=10, segment="no-such-segment")
    with pytest.raises(Invalid, match=r"no-such-segment.*no such segment"):
        await world.provider.apply(world.flag, Desired(percent=1, cohorts=(cohort,)), None)
    assert world.strategies() == []


async def test_trap_8_gated_is_on_new_pods_alone(world: UnleashWorld) -> None:
    """10 % of traffic and 10 % of a flag meet in 1 % of requests; a gate makes every user of the share one of the canary."""
    await world.provider.apply(world.flag, gated(10), None)
    expected = share(world.flag.key, IDS, 10)
    assert world.on(IDS, "canary") == expected
    assert world.on(IDS, "stable") == set()


async def test_trap_9_impact_metrics(world: UnleashWorld) -> None:
    """What an app counts leaves an open-source Unleash as text, with the flag's state as the very label by which Linnet compares."""
    await world.provider.apply(world.flag, gated(100), None)
    key, counter = world.flag.key, f"jobs_{world.flag.key.replace('-', '_')}"
    async with app(world.server) as client:
        client.impact_metrics.define_counter(counter, "jobs of the app")
        async with asyncio.timeout(40):
            while not client.is_enabled(key, {"properties": {"track": "canary"}}):
                await asyncio.sleep(0.1)
            for track in ("canary",) * 3 + ("",) * 5:
                asked = MetricFlagContext([key], {"properties": {"track": track}})
                client.impact_metrics.increment_counter(counter, 1, asked)
            while len(lines := await counted(world, counter)) < 2:
                await asyncio.sleep(0.25)
    one: Any = SimpleNamespace(spec=SimpleNamespace(flags_only=True), flags=(SimpleNamespace(key=key),), sources=())
    labels = _flag_labels(Metric(name="errors"), one)
    assert labels is not None
    shown = {f'{name}="{state}"': line.value for line in lines for name, state in line.labels.items()}
    assert (shown[labels.canary], shown[labels.stable]) == (3, 5)


async def test_trap_9_a_counter_with_a_new_label_starts_anew(world: UnleashWorld) -> None:
    """Counted first by one flag and then by two: what was counted before is gone, so a name is for one list of flags."""
    key, other = world.flag.key, world.server.flag()
    counter = f"jobs_{key.replace('-', '_')}"
    async with app(world.server) as client, asyncio.timeout(40):
        client.impact_metrics.define_counter(counter, "jobs of the app")
        client.impact_metrics.increment_counter(counter, 7, MetricFlagContext([key], {}))
        while [line.value for line in await counted(world, counter)] != [7]:
            await asyncio.sleep(0.25)
        client.impact_metrics.increment_counter(counter, 1, MetricFlagContext([key, other], {}))
        while [line.value for line in await counted(world, counter)] != [1]:
            await asyncio.sleep(0.25)


async def counted(world: UnleashWorld, counter: str) -> list[Line]:
    """As Prometheus scrapes it, without a token."""
    answer = await world.caller.request(
        "GET", f"{world.server.url}/internal-backstage/impact/metrics", headers={}, data=None, deadline=DEADLINE
    )
    return parse_page(answer.body.decode(), frozenset({counter}))


async def test_a_cohort_and_everyone_overlap_to_the_larger_share(world: UnleashWorld) -> None:
    """One group id: beta 50 and all 10 is 50 % of beta, not 55; and with beta alone nobody else of 20,000 has it."""
    beta = Cohort(name="beta", percent=50, constraints=(Constraint(attribute="plan", values=("beta",)),))
    only = Desired(percent=0, gate=Gate(), cohorts=(beta,))
    await world.provider.apply(world.flag, only, None)
    assert world.on(IDS, "canary") == set()
    assert world.on(IDS, "canary", plan="free") == set()
    await world.provider.apply(world.flag, Desired(percent=10, gate=Gate(), cohorts=(beta,)), only)
    assert world.on(IDS, "canary", plan="beta") == share(world.flag.key, IDS, 50)
    assert world.on(IDS, "canary", plan="free") == share(world.flag.key, IDS, 10)


async def test_an_unknown_stickiness_is_refused(world: UnleashWorld) -> None:
    """Unleash would take it, and the flag would be off even at 99 %."""
    with pytest.raises(Invalid, match=r"tenant.*sessionId"):
        await world.provider.apply(world.flag, Desired(percent=10, gate=Gate(), stickiness="tenant"), None)
    world.server.admin("POST", "/context", {"name": f"tenant-{world.flag.key}", "stickiness": True, "legalValues": []})
    assert (await world.provider.apply(world.flag, Desired(percent=10, gate=Gate(), stickiness=f"tenant-{world.flag.key}"), None)).changed


async def test_the_witness_waits_for_sdks_and_is_right_about_them(world: UnleashWorld) -> None:
    """Not before the SDK has the new percent; and what the SDK says then is what the bucket rule says."""
    witnesses = Witnesses()
    provider = world.driver_with(witnesses)
    last = None
    for percent in (10, 50, 100):
        await provider.apply(world.flag, gated(percent), last)
        await world.until_seen(provider, gated(percent))
        assert world.on(IDS[:2000], "canary") == share(world.flag.key, IDS[:2000], percent)
        last = gated(percent)
    await witnesses.close()


async def test_the_witness_needs_a_token_that_works(world: UnleashWorld) -> None:
    """The SDK would call itself ready with a token that nobody knows; a step must wait."""
    witnesses = Witnesses()
    provider = world.driver_with(witnesses, client_token="default:production.nobody")
    await provider.apply(world.flag, gated(10), None)
    assert not isinstance(await provider.verify(world.flag, gated(10), 0.0), Converged)
    await witnesses.close()


async def test_a_post_that_timed_out_is_adopted(world: UnleashWorld) -> None:
    """The answer was lost, the strategy was made: it is found by its mark, and there is one."""
    world.caller.lose.add("POST")
    original = (await world.provider.read(world.flag)).original or ""
    with pytest.raises(Retryable, match="no answer within 5 s"):
        await world.provider.apply(world.flag, gated(10), None)
    await world.provider.apply(world.flag, gated(10), None)
    assert [s["parameters"]["rollout"] for s in world.strategies()] == ["10"]
    assert (await world.provider.restore(world.flag, original)).exact


async def test_a_second_copy_of_our_own_is_removed(world: UnleashWorld) -> None:
    """A lost answer and a late server can make two: the older stays, and the share is what it should be."""
    await world.provider.apply(world.flag, gated(10), None)
    twin = {key: value for key, value in world.ours().items() if key not in ("id", "milestoneId")}
    world.server.strategy(world.flag.key, PRODUCTION, **{**twin, "parameters": {**twin["parameters"], "rollout": "90"}})
    await world.provider.apply(world.flag, gated(20), gated(10))
    assert [s["parameters"]["rollout"] for s in world.strategies()] == ["20"]


async def test_a_second_cluster_is_told_of_the_first(world: UnleashWorld) -> None:
    """Two daemons, one Unleash: the same names in another cluster are another Canary."""
    await world.provider.apply(world.flag, gated(10), None)
    second = world.driver(Owner(cluster="prod-eu", namespace="shop", name="checkout", uid="uid-9"))
    with pytest.raises(Busy, match=r"prod/shop/checkout/uid-1") as caught:
        await second.apply(world.flag, gated(10), None)
    assert caught.value.owner == "prod/shop/checkout/uid-1"


async def test_a_missing_environment_lists_those_there_are(world: UnleashWorld) -> None:
    """Field, value, way out."""
    provider = world.driver(world.owner, environment="staging")
    with pytest.raises(Invalid, match=r"environment is 'staging'.*development, production"):
        await provider.read(FlagRef(key=world.flag.key, source="unleash"))
    assert ADMIN not in repr(provider._source)
    assert BACKEND[PRODUCTION] not in repr(provider._source)


@pytest.mark.parametrize("percent", [1, 10, 50])
async def test_node_s_sdk_lets_in_the_same_of_20000_ids(world: UnleashWorld, percent: int, tmp_path: Path) -> None:
    """A second opinion on the bucket rule: not one id more or less than the rule says."""
    await world.provider.apply(world.flag, gated(percent), None)
    world.engine()  # the server sends what was written
    assert second_opinion(world, tmp_path, track="canary") == share(world.flag.key, IDS, percent)


async def test_node_s_sdk_lets_in_the_cohort_and_nobody_else(world: UnleashWorld, tmp_path: Path) -> None:
    """Beta only: of 20,000 ids outside beta nobody, neither by the Python SDK's engine nor by Node's."""
    beta = Cohort(name="beta", percent=50, constraints=(Constraint(attribute="plan", values=("beta",)),))
    await world.provider.apply(world.flag, Desired(percent=0, gate=Gate(), cohorts=(beta,)), None)
    for asked in ({"track": "canary", "plan": "free"}, {"track": "stable", "plan": "beta"}, {"plan": "beta"}):
        properties = {name: value for name, value in asked.items() if name != "track"}
        assert world.on(IDS, asked.get("track"), **properties) == set()
        assert second_opinion(world, tmp_path, **asked) == set()
    assert second_opinion(world, tmp_path, track="canary", plan="beta") == share(world.flag.key, IDS, 50)


def second_opinion(world: UnleashWorld, folder: Path, **properties: str) -> set[str]:
    """Asked in a process of its own, with the SDK that the server itself depends on."""
    command = [str(build.node()), str(Path(__file__).parent / "second_opinion.cjs"), str(build.unleash_server().parents[3])]
    asked = {"url": world.server.url, "token": BACKEND[PRODUCTION], "flag": world.flag.key, "ids": IDS, "properties": properties}
    given = json.dumps({**asked, "folder": str(folder)})
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads((folder / "on.json").read_text()))
