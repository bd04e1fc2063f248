"""Whoever releases two hundred times (LINNET_ROLLOUTS=200) leaves no more behind than who released a few times."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

from tests.unit.control.world import DEPLOYMENTS, EVENTS, World, flag_file, flag_source

LIMIT = 512 * 1024
# After `FEW` every kept number is reached: 12 templates beside stable's, 10 lines of history, 5 runs, 2 old ReplicaSets.
MANY = int(os.environ.get("LINNET_ROLLOUTS", "24"))  # 200 take some minutes; what grows shows after a few more than FEW
FEW = 15 + MANY % 3  # of the last release depends whether the native controller has cleaned up one ReplicaSet more


async def release(world: World, number: int) -> None:
    """Two of three are taken back, one is promoted; every one was exposed."""
    seen = len(world.status().get("history") or [{}]) and (world.status().get("history") or [{}])[0]
    world.release(f"app:v{number}")
    await world.until(lambda: (world.status().get("rollout") or {}).get("exposedAt"), f"release {number} is exposed")
    world.say("promote" if number % 3 == 0 else "abort")
    await world.until(
        lambda: "rollout" not in world.status() and (world.status().get("history") or [{}])[0] != seen, f"release {number} is over"
    )
    await world.until(lambda: not world.get(DEPLOYMENTS, "web")["spec"].get("paused"), "the hold ended")


def objects(world: World) -> Counter[str]:
    """How many there are of each kind; Events end by themselves."""
    return Counter({kind: len(found) for kind in world.kinds() - {EVENTS} if (found := world.store.list(kind, None))})


@pytest.mark.timeout(900)
async def test_releases_leave_a_constant_number_of_objects(world: World) -> None:
    """The same numbers of each kind after a few and after many, none of them above 512 KB, and a bounded history."""
    world.open(flag_file(), flag_source(), canary_spec={"flags": [{"name": "new"}]}, replicas=1, revisionHistoryLimit=2)
    await world.adopted()
    for number in range(FEW):
        await release(world, number + 2)
    before = objects(world)
    for number in range(FEW, MANY):
        await release(world, number + 2)
    after = objects(world)
    assert after.pop("analysisruns.linnet.dev", 0) <= 5  # a release too short to be measured has none
    assert {k: v for k, v in after.items() if v > before[k]} == {}
    assert after["controllerrevisions.apps"] <= 14
    assert len(world.status()["history"]) == 10
    largest = max((len(json.dumps(obj)), kind, obj["metadata"]["name"]) for kind in world.kinds() for obj in world.store.list(kind, None))
    assert largest[0] < LIMIT, largest
