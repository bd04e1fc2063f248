"""What becomes of a flag when its release is promoted, by Unleash's own event log: four flags of one release, each owner's choice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.unleash import ADMIN, BACKEND, Unleash
from tests.unit.control.world import World, a_world
from tests.unleash.test_people import PRODUCTION, QUICK, exposed, source
from tests.witness.flaglog import FlagLog

pytestmark = pytest.mark.unleash

CHOICES = ("Keep", "Open", "Remove", "HandOver")
BETA = {"name": "beta", "constraints": [{"attribute": "plan", "values": ["beta"]}]}


@pytest.fixture
async def world(tmp_path: Path, unleash: Unleash) -> AsyncIterator[World]:
    async with a_world(tmp_path) as found:
        found.secret("unleash", token=unleash.person("linnet"), backend=BACKEND[PRODUCTION])
        yield found


async def test_each_flag_becomes_what_its_owner_chose(world: World, unleash: Unleash) -> None:
    """Gates go from all but the one that is put back; shares rise for `Open` alone; only `HandOver` leaves no word of Linnet."""
    keys = {choice: unleash.flag() for choice in CHOICES}
    flags = [{"name": choice.lower(), "key": key, "onPromotion": choice, "cohorts": [BETA]} for choice, key in keys.items()]
    shares = [{"name": choice.lower(), "percent": 40, "cohorts": [{"name": "beta", "percent": 100}]} for choice in CHOICES]
    world.open(source(unleash), canary_spec={"flags": flags, "steps": [{"weight": 20, "flags": shares, "dwell": QUICK}, {"pause": {}}]})
    await world.adopted()
    world.release("app:v2")
    await exposed(world)
    world.say("promote")
    await world.phases("Idle")
    found = {choice: unleash.strategies(key, PRODUCTION) for choice, key in keys.items()}
    rollouts = {choice: sorted(int(s["parameters"]["rollout"]) for s in left) for choice, left in found.items()}
    assert rollouts == {"Keep": [40, 100], "Open": [100, 100], "Remove": [0, 0], "HandOver": [40, 100]}
    assert {choice: unleash.enabled(key, PRODUCTION) for choice, key in keys.items()} == {c: c != "Remove" for c in CHOICES}
    assert not any(_gates(s) for choice in ("Keep", "Open", "HandOver") for s in found[choice])
    assert {s["parameters"]["linnet"] for choice in ("Keep", "Open", "Remove") for s in found[choice]} == {"released"}
    assert sorted(s["title"] for s in found["HandOver"]) == ["beta", "everyone"]
    assert not any("linnet" in s["parameters"] for s in found["HandOver"])
    for choice, key in keys.items():
        _assert_written_once(choice, FlagLog.read(unleash.url, ADMIN, key).on(PRODUCTION))


def _gates(strategy: dict[str, Any]) -> list[Any]:
    return [c for c in strategy["constraints"] if c["contextName"] == "track"]


def _assert_written_once(choice: str, log: FlagLog) -> None:
    """Each rise is one write: two to the step's shares, and at the promotion two for the gates that go, with the share in the same write."""
    swapped = [e for e in log.raises() if _gates(e.before or {"constraints": []}) and not _gates(e.after or {"constraints": []})]
    assert len(swapped) == (0 if choice == "Remove" else 2), log.order()
    assert len(log.raises()) == 2 + len(swapped), log.order()
    assert len(log.zeroes()) == (2 if choice == "Remove" else 0), log.order()
