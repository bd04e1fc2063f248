"""A short walk in every run of the suite, and what the checker must see when somebody breaks a promise on purpose."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.walk.paper import PaperGround
from tests.walk.plan import Move, Plan, Release, draw, read
from tests.walk.run import Failure, shortest, walk

SEED = int(os.environ.get("LINNET_WALK_SEED", "1"))


async def walked(root: Path, *plans: Plan) -> list[Failure]:
    async with PaperGround(root).ready() as ground:
        return await walk(ground, plans, Counter(), "t")


# Each shop breaks in its own way where the daemon has the fault that `tests/mutants/walk.py` plants.
TRAPS = {
    "no floor": Plan(number=1, scaled=True, replicas=4, releases=(Release(brings="good"),)),
    "release race": Plan(number=2, replicas=3, releases=(Release(brings="good"),)),
    "comparison": Plan(
        number=3,  # keeps what it rejected held
        releases=(Release(brings="bad-30", moves=(Move(what="restart-held", when="held", delay=0.0, number=1),)),),
    ),
    "pods before weight": Plan(number=4, releases=(Release(brings="bad-30"),)),
    "memory": Plan(
        number=6,
        releases=(
            Release(brings="crash"),
            Release(brings="broken", moves=(Move(what="kill", when="back", delay=0.0, number=1),)),
            Release(brings="failed-before"),
        ),
    ),
}


@pytest.mark.timeout(480)
async def test_a_short_walk_breaks_no_promise(tmp_path: Path) -> None:
    """Releases with everybody in their way, a daemon that is killed, and the traps; the seed is in the message. More by `make walk`."""
    plans = [*TRAPS.values(), *(draw(SEED, number, 1) for number in range(10, 14))]
    found = await walked(tmp_path, *plans)
    assert not found, f"seed {SEED}:\n{found[0]}"


def test_a_plan_is_drawn_from_its_seed_alone_and_can_be_read_again() -> None:
    """What a failure prints is what is played again."""
    plan = draw(7, 3, 20)
    assert plan == draw(7, 3, 20) == read(plan.plain())
    assert plan != draw(8, 3, 20)
    assert {r.brings for r in draw(7, 3, 200).releases} >= {"good", "bad-30", "broken", "crash", "failed-before"}


async def test_the_shortest_plan_that_still_fails_is_found() -> None:
    """Releases before the last go first, then disturbances that have nothing to do with it."""
    guilty = Move(what="kill", when="back", delay=0.0, number=1)
    plan = draw(1, 1, 9).only(*draw(1, 1, 9).releases, Release(brings="good", moves=(*draw(2, 1, 3).releases[0].moves, guilty)))

    async def again(tried: Plan) -> Failure | None:
        return Failure(plan=tried, broken="P2", trace=()) if guilty in tried.releases[-1].moves else None

    found, tries = await shortest(Failure(plan=plan, broken="P2", trace=()), again, 20)
    assert found.plan.releases == (Release(brings="good", moves=(guilty,)),)
    assert tries <= 20
