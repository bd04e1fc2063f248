"""Flags that move with the traffic: which one, where, how far, and what people's hands on them mean."""

import json
from typing import Any

import pytest

from tests.unit.control.world import CONFIGMAPS, Object, World, flag_file, flag_source

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


@pytest.mark.parametrize("what", ["Keep", "Open", "Remove"])
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
        assert ("fractional" in text) == (what == "Keep"), "a share of everyone, or everyone"


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


async def test_an_error_of_the_source_is_said_and_waited_for(world: World) -> None:
    """A missing file is named in the wait; once it is there, the step goes on."""
    await opened(world)
    world.delete(CONFIGMAPS, "flags")
    world.release("app:v2")
    await world.until(
        lambda: "flags" in str((world.status().get("waiting") or {}).get("message")) and "not exist" in str(world.status()), "it is said"
    )
    assert world.share() == 20
    world.apply(flag_file())
    await exposed(world)
    assert rules(world) == [RULE]
