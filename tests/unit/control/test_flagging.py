"""Flags that move with the traffic: which one, where, how far, and what people's hands on them mean."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from daemon.control.flagsources import KubeObjects
from daemon.rollout.clock import epoch
from flags.errors import Retryable
from flags.flagd_rules import Variants, rule_for
from flags.model import Desired
from tests.unit.control.world import CANARIES, CONFIGMAPS, DEPLOYMENTS, Object, World, flag_file, flag_source

RULE = "linnet-new"


def file(world: World, name: str = "flags", key: str = "flags.json") -> Object:
    found: Object = json.loads(world.get(CONFIGMAPS, name)["data"][key])
    return found


def rules(world: World, name: str = "flags", key: str = "flags.json") -> list[str]:
    """Names of the evaluators in a flag file: ours are called after the flag."""
    return sorted(file(world, name, key).get("$evaluators") or {})


def edit(world: World, change: Any) -> None:
    """A person edits the flag file."""
    body = file(world)
    change(body)
    world.patch(CONFIGMAPS, "flags", {"data": {"flags.json": json.dumps(body)}}, user="bob")


def raise_share(body: Object, percent: int) -> None:
    rule = json.dumps(body["$evaluators"][RULE])
    body["$evaluators"][RULE] = json.loads(rule.replace(", 40]", f", {percent}]").replace(", 60]", f", {100 - percent}]"))


class Source:
    """The way to a flag source, which may be cut."""

    def __init__(self) -> None:
        self.away = False
        self.read_only = False
        self.hangs = ""  # name of a file that is never answered for
        self.wrote: list[str] = []


@contextmanager
def unreachable(world: World) -> Iterator[Source]:
    source, real = Source(), KubeObjects._guarded

    async def guarded(self: KubeObjects, verb: str, ref: Any, operations: Any) -> Any:
        if source.hangs == ref.name:
            await asyncio.Event().wait()
        if source.away or (source.read_only and verb == "PATCH"):
            raise Retryable("connection refused")
        if verb == "PATCH":
            source.wrote.append(ref.name)
        return await real(self, verb, ref, operations)

    with mock.patch.object(KubeObjects, "_guarded", guarded):
        yield source


async def opened(world: World, *more: Object, settle: str = "0s", **flag: Any) -> None:
    """Adopted, with a flag that moves along and is at 40 % in the first step."""
    name = flag.get("name", "new")
    steps = [{"weight": 20, "flags": [{"name": name, "percent": 40}], "dwell": {"minDuration": "1ms"}}, {"pause": {}}]
    world.open(flag_file(), flag_source(settle=settle), *more, canary_spec={"flags": [{"name": "new", **flag}], "steps": steps})
    await world.adopted()


async def exposed(world: World) -> None:
    """The first step's exposure is complete, flags included."""
    await world.until(lambda: (world.status().get("rollout") or {}).get("exposedAt"), "the step is exposed")


async def test_the_alias_is_what_steps_and_status_call_it(world: World) -> None:
    """Another alias of the same key: the file is the same, the status speaks of the alias."""
    await opened(world, name="checkout", key="new")
    world.release("app:v2")
    await exposed(world)
    assert rules(world) == [RULE]
    assert [(f["name"], f["key"]) for f in world.status()["flags"]] == [("checkout", "new")]


async def test_the_key_is_what_is_written_at_the_source(world: World) -> None:
    """The alias stays, another flag of the file moves."""
    await opened(world, key="other")
    world.release("app:v2")
    await exposed(world)
    assert rules(world) == ["linnet-other"]


async def test_the_source_that_is_named_is_written(world: World) -> None:
    """Of two sources the named one; the default's file stays as it was."""
    await opened(world, flag_file("second"), flag_source("second", name="second"), sourceRef={"name": "second"})
    world.release("app:v2")
    await exposed(world)
    assert rules(world, "second") == [RULE]
    assert rules(world) == []


@pytest.mark.parametrize(("ref", "where"), [({"name": "moved"}, ("moved", "flags.json")), ({"key": "more.json"}, ("flags", "more.json"))])
async def test_the_file_that_the_source_names_is_written(world: World, ref: dict[str, str], where: tuple[str, str]) -> None:
    """ConfigMap and key, each alone."""
    body = flag_file()["data"]["flags.json"]
    both = flag_file() | {"data": {"flags.json": body, "more.json": body}}
    world.open(both, flag_file("moved"), flag_source(**ref), canary_spec={"flags": [{"name": "new"}]})
    await world.adopted()
    world.release("app:v2")
    await exposed(world)
    written = {(n, k) for n, k in (("flags", "flags.json"), ("flags", "more.json"), ("moved", "flags.json")) if rules(world, n, k)}
    assert written == {where}


async def test_a_write_counts_once_it_has_settled(world: World) -> None:
    """With an hour to settle the step waits for the flag, and says so; without, it goes on."""
    await opened(world, settle="1h")
    world.release("app:v2")
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagSettling", "it waits")
    await world.until(lambda: rules(world) == [RULE], "it is written")
    assert "exposedAt" not in world.status()["rollout"]
    world.say("abort")
    await world.phases("Held", "Idle")
    world.apply(flag_source(settle="0s"))
    world.release("app:v3")
    await exposed(world)


@pytest.mark.parametrize("what", ["Keep", "Open", "Remove", "HandOver"])
async def test_what_a_flag_becomes_at_promotion(world: World, what: str) -> None:
    """Kept as far as it got, open to everyone, or as it was found; the gate and our mark are gone in any case."""
    await opened(world, onPromotion=what)
    before = world.get(CONFIGMAPS, "flags")["data"]
    world.release("app:v2")
    await exposed(world)
    world.say("promote")
    await world.phases("Idle")
    found = world.get(CONFIGMAPS, "flags")
    assert not [a for a in found["metadata"].get("annotations") or {} if a.startswith("linnet.dev/")]
    if what == "Remove":
        assert found["data"] == before
    else:
        text = json.dumps(file(world)["$evaluators"][RULE])
        assert "track" not in text
        assert ("fractional" in text) == (what in ("Keep", "HandOver")), "a share of everyone, or everyone"


async def test_people_are_reminded_of_a_flag_that_outlives_its_release(world: World) -> None:
    """A condition and news, once it is due; both end when the flag leaves the spec. Without `removeAfter` there is neither."""
    await opened(world, removeAfter="1s")
    world.release("app:v2")
    await exposed(world)
    assert condition(world, "FlagRemovalDue") is None
    world.say("promote")
    assert "take it out of the code, then out of spec.flags" in await world.told("FlagDue")
    await world.until(lambda: condition(world, "FlagRemovalDue"), "the condition is there")
    world.patch(CANARIES, "web", {"spec": {"flags": [], "steps": [{"weight": 20}]}})
    await world.until(lambda: condition(world, "FlagRemovalDue") is None, "the condition is gone")
    assert len(world.events("FlagDue")) == 1


async def test_a_flag_and_its_file_are_as_before_after_a_rollback(world: World) -> None:
    """Byte for byte, owners included; the team's next apply conflicts with nobody."""
    await opened(world)
    before = world.get(CONFIGMAPS, "flags")
    world.release("app:v2")
    await exposed(world)
    assert rules(world) == [RULE]
    world.say("abort")
    await world.phases("Held", "Idle")
    after = world.get(CONFIGMAPS, "flags")
    assert after["data"] == before["data"]
    assert after["metadata"]["managedFields"] == before["metadata"]["managedFields"]
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    world.apply(flag_file())


async def test_a_flag_that_is_turned_off_by_hand_ends_the_release(world: World) -> None:
    """Lower than we set is a person pulling the brake, also by the flag's own switch."""
    await opened(world)
    world.release("app:v2")
    await exposed(world)
    edit(world, lambda body: body["flags"]["new"].update(state="DISABLED"))
    await world.until(
        lambda: "lowered" in str(world.status().get("history")) or "lowered" in str(world.status().get("sentence")), "it ends", 30
    )
    assert file(world)["flags"]["new"]["state"] == "DISABLED"


async def test_a_flag_that_everybody_has_is_left_alone_with_a_note(world: World) -> None:
    """Nothing of ours is written, the release goes on without it, and people are told."""
    await opened(world)
    edit(world, lambda body: body["flags"]["new"].update(defaultVariant="on"))
    before = world.get(CONFIGMAPS, "flags")["data"]
    world.release("app:v2")
    await exposed(world)
    assert "open to everyone already" in await world.told_any("open to everyone already")
    assert world.get(CONFIGMAPS, "flags")["data"] == before


@pytest.mark.parametrize(
    ("fault", "reason", "says"),
    [
        ("no file", "FlagNotFound", "ConfigMap shop/flags does not exist"),
        ("no flag", "FlagNotFound", "has no flag 'new'"),
        ("disabled", "FlagInvalid", "Set it to ENABLED"),
        ("foreign rule", "FlagInvalid", "it is not Linnet's to change"),
        ("another's", "FlagBusy", "is driven by Canary"),
    ],
)
async def test_a_flag_that_cannot_be_moved_is_refused_before_anything_is_written(world: World, fault: str, reason: str, says: str) -> None:
    """Condition, Event and the way out, with no canary, no share and nothing at the source; repaired, the release starts by itself."""
    await opened(world)
    before = world.get(CONFIGMAPS, "flags")
    spoil(world, fault)
    spoilt = world.find(CONFIGMAPS, "flags")
    world.release("app:v2")
    message = await world.told("Refused", "Deployment")
    assert says in message
    assert "leave flag new out" in message
    await world.until(lambda: stalled(world) == reason, "the condition says so")
    assert "rollout" not in world.status()
    assert world.share() is None
    assert len(world.list(DEPLOYMENTS)) == 1
    assert (world.find(CONFIGMAPS, "flags") or {}).get("data") == (spoilt or {}).get("data")
    if spoilt is None:
        world.apply(flag_file())
    else:
        world.patch(CONFIGMAPS, "flags", {"data": before["data"], "metadata": {"annotations": {"linnet.dev/flag.new": None}}}, user="bob")
    await exposed(world)
    assert rules(world) == [RULE]


def spoil(world: World, fault: str) -> None:
    """Somebody makes the flag one that cannot be moved."""
    match fault:
        case "no file":
            world.delete(CONFIGMAPS, "flags")
        case "no flag":
            edit(world, lambda body: body["flags"].pop("new"))
        case "disabled":
            edit(world, lambda body: body["flags"]["new"].update(state="DISABLED"))
        case "foreign rule":
            edit(world, lambda body: body["flags"]["new"].update(targeting={"if": [{"in": [{"var": "plan"}, ["beta"]]}, "on", "off"]}))
        case _:
            mark = {"annotations": {"linnet.dev/flag.new": "here/shop/rival/uid-1"}}
            world.patch(CONFIGMAPS, "flags", {"metadata": mark}, user="bob")


def condition(world: World, kind: str) -> Object | None:
    found = world.status().get("conditions") or []
    return next((c for c in found if c["type"] == kind and c["status"] == "True"), None)


def stalled(world: World) -> str | None:
    found = condition(world, "Stalled")
    return found["reason"] if found else None


async def test_a_source_that_does_not_answer_holds_the_step_and_then_the_release_goes_back(world: World) -> None:
    """Nobody refuses what may answer in a second: the weight is there, the flag is waited for, the deadline ends it."""
    with unreachable(world) as source:
        await opened(world)
        source.away = True
        world.release("app:v2")
        await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagSettling", "it waits for the flag")
        assert world.share() == 20
        assert "connection refused" in world.status()["waiting"]["message"]
        world.say("abort")
        await world.phases("Held", "Idle")
        assert source.wrote == []
        assert "Flag" not in world.status()["sentence"], "what was never on did not come back"


async def test_a_flag_that_vanishes_under_a_release_is_said_and_not_written_anew(world: World) -> None:
    """A file that is deleted is waited for; back without our rule it is what a person made of it, and that ends the release."""
    await opened(world)
    world.release("app:v2")
    await exposed(world)
    world.delete(CONFIGMAPS, "flags")
    await world.until(
        lambda: "not exist" in str((world.status().get("waiting") or {}).get("message")) and "exposedAt" not in world.status()["rollout"],
        "it is said",
    )
    assert world.share() == 20
    world.apply(flag_file())
    await world.phases("Held", "Idle")
    assert "was lowered at its source by hand" in world.status()["sentence"]
    assert rules(world) == []


async def test_a_gate_that_a_person_removes_is_noticed(world: World) -> None:
    """The share is as it was, but stable pods have it too: raised, and never written over."""
    await opened(world)
    world.release("app:v2")
    await exposed(world)
    opened_rule = rule_for(Desired(percent=40), Variants(on="on", off="off"))
    edit(world, lambda body: body["$evaluators"].update({RULE: opened_rule}))
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagRaised", "it is said")
    assert "changed by edit" in world.status()["waiting"]["message"], "the manager whose name the object keeps"
    assert "exposedAt" not in world.status()["rollout"]


async def test_cohorts_are_written_with_their_constraints(world: World) -> None:
    """Beta alone has the flag at this step, by the attribute that the spec names, and people read it so."""
    cohorts = [{"name": "beta", "constraints": [{"attribute": "plan", "values": ["beta"]}]}]
    steps = [{"weight": 20, "flags": [{"name": "new", "cohorts": [{"name": "beta", "percent": 100}]}], "dwell": {"minDuration": "1ms"}}]
    world.open(
        flag_file(),
        flag_source(settle="0s"),
        canary_spec={"flags": [{"name": "new", "cohorts": cohorts}], "steps": [*steps, {"pause": {}}]},
    )
    await world.adopted()
    world.release("app:v2")
    await exposed(world)
    assert '["beta"]' in json.dumps(file(world)["$evaluators"][RULE])
    assert world.status()["flagsText"] == "new=0/beta:100"
    world.say("abort")
    await world.phases("Held", "Idle")
    assert rules(world) == []
    assert "Flag new back at 0" in world.status()["sentence"]


async def test_a_flag_raised_by_hand_is_left_as_it_is(world: World) -> None:
    """It holds and says so, look after look, and writes nothing over the person's share."""
    await opened(world)
    world.release("app:v2")
    await exposed(world)
    edit(world, lambda body: raise_share(body, 90))
    await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagRaised", "it is said")
    seen = world.get(CONFIGMAPS, "flags")["metadata"]["resourceVersion"]
    for _ in range(5):
        await asyncio.sleep(0.3)  # five readings
    assert world.get(CONFIGMAPS, "flags")["metadata"]["resourceVersion"] == seen
    assert world.status()["waiting"]["reason"] == "FlagRaised"


async def test_each_of_two_sources_is_written_and_put_back(world: World) -> None:
    """One step moves flags of both, one abort takes both back, and each file is what it was."""
    flags = [{"name": "new"}, {"name": "other", "sourceRef": {"name": "second"}}]
    steps = [{"weight": 20, "dwell": {"minDuration": "1ms"}}, {"pause": {}}]
    world.open(
        flag_file(), flag_source(), flag_file("second"), flag_source("second", name="second"), canary_spec={"flags": flags, "steps": steps}
    )
    await world.adopted()
    before = [world.get(CONFIGMAPS, name)["data"] for name in ("flags", "second")]
    world.release("app:v2")
    await exposed(world)
    assert (rules(world), rules(world, "second")) == ([RULE], ["linnet-other"])
    assert world.status()["flagsText"] == "new=100, other=100"
    world.say("abort")
    await world.phases("Held", "Idle")
    assert [world.get(CONFIGMAPS, name)["data"] for name in ("flags", "second")] == before
    assert "Flags new, other back at 0 after" in world.status()["sentence"]
    assert not world.status().get("flagsText")


async def test_a_settle_counts_from_the_write_and_not_from_the_wish(world: World) -> None:
    """The source took no write for longer than its own settle: what was written a moment ago is not taken to be seen."""
    with unreachable(world) as source:
        await opened(world, settle="2s")
        world.release("app:v2")
        source.read_only = True
        await world.until(lambda: (world.status().get("waiting") or {}).get("reason") == "FlagSettling", "it waits for the flag")
        await asyncio.sleep(2.5)  # the settle would be over, had the wish been a write
        source.read_only = False
        await world.until(lambda: rules(world) == [RULE], "it is written")
        written = time.time()
        await exposed(world)
        assert epoch(world.status()["rollout"]["exposedAt"]) >= written + 1.5


async def test_a_source_that_hangs_holds_up_neither_the_traffic_nor_another_source(world: World) -> None:
    """The abort takes the share back and the other flag down while one source says nothing; its flag follows when it does."""
    flags = [{"name": "new"}, {"name": "other", "sourceRef": {"name": "second"}}]
    steps = [{"weight": 20, "dwell": {"minDuration": "1ms"}}, {"pause": {}}]
    with unreachable(world) as source:
        world.open(
            flag_file(),
            flag_source(),
            flag_file("second"),
            flag_source("second", name="second"),
            canary_spec={"flags": flags, "steps": steps},
        )
        await world.adopted()
        before = world.get(CONFIGMAPS, "second")["data"]
        world.release("app:v2")
        await exposed(world)
        source.hangs = "second"
        world.say("abort")
        await world.until(lambda: not world.share(), "the traffic is back")
        await world.until(lambda: '["on", 0]' in json.dumps(file(world)["$evaluators"][RULE]), "the other flag is down")
        assert '["on", 0]' not in json.dumps(file(world, "second")), "nobody could have written it"
        await world.until(
            lambda: "Flag other is not back at 0 yet" in world.status().get("sentence", ""), "people are told of the one that is not"
        )
        pending = condition(world, "FlagRollbackPending")
        assert pending is not None
        assert "flag other of second" in pending["message"]
        source.hangs = ""
        await world.until(lambda: world.phase() in ("Held", "Idle"), "it ends", 60)
        assert world.get(CONFIGMAPS, "second")["data"] == before
        assert condition(world, "FlagRollbackPending") is None
