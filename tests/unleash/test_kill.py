"""The kill switch against a real Unleash: every flag of the release at 0 at once, and nothing disabled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.api import names
from daemon.rollout.clock import epoch
from tests.testbed.unleash import ADMIN, BACKEND, Unleash
from tests.unit.control.world import CANARIES, World, a_world
from tests.unleash.test_people import PRODUCTION, QUICK, exposed, source
from tests.witness.flaglog import FlagLog

pytestmark = pytest.mark.unleash

EIGHT = tuple(f"f{number}" for number in range(8))


@pytest.fixture
async def world(tmp_path: Path, unleash: Unleash) -> AsyncIterator[World]:
    async with a_world(tmp_path) as found:
        found.secret("unleash", token=unleash.person("linnet"), backend=BACKEND[PRODUCTION])
        yield found


async def test_one_flag_is_killed_and_all_eight_of_its_release_are_at_zero(world: World, unleash: Unleash) -> None:
    """By Unleash's event log: all within the 5 s budget, by rollout 0 alone, raised by nobody afterwards; person and reason are kept."""
    keys = {name: unleash.flag(on=(PRODUCTION,)) for name in EIGHT}
    shares = [{"name": name, "percent": 40} for name in EIGHT]
    flags = [{"name": name, "key": key} for name, key in keys.items()]
    world.open(source(unleash), canary_spec={"flags": flags, "steps": [{"weight": 20, "flags": shares, "dwell": QUICK}, {"pause": {}}]})
    await world.adopted()
    world.release("app:v2")
    await exposed(world)
    revision = world.status()["rollout"]["revision"]
    said = f"kill@{revision}#by=ada;n=1;why=orders are lost"
    world.patch(CANARIES, "web", {"metadata": {"annotations": {names.ACTION: said}}})
    await world.until(lambda: (world.status().get("rollout") or {}).get("abortAt"), "heard")
    begun = epoch(world.status()["rollout"]["abortAt"])
    await world.phases("Held", "Idle")
    assert "killed by ada (orders are lost)" in world.status()["sentence"]
    for key in keys.values():
        log = FlagLog.read(unleash.url, ADMIN, key).on(PRODUCTION)
        [closed] = log.zeroes().entries
        assert closed.time - begun < 5
        assert [entry.words for entry in log.after(closed.id).raises()] == []
        assert not [entry for entry in log if entry.kind == "feature-environment-disabled"]
        assert unleash.enabled(key, PRODUCTION)
        assert not any(s["disabled"] for s in unleash.strategies(key, PRODUCTION))
