"""From whatever a flag was found in, a rollback leaves nothing but our own strategy at 0 %."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from flags.errors import Busy, Drifted
from flags.model import Cohort, Constraint, Desired, Gate
from tests.testbed.unleash import Unleash
from tests.unit.flags.contract import gated
from tests.unleash.world import ME, PRODUCTION, RIVAL, UnleashWorld

pytestmark = pytest.mark.unleash

STAFF = {"contextName": "plan", "operator": "IN", "values": ["staff"], "inverted": False, "caseInsensitive": False}
BETA = Cohort(name="beta", percent=80, constraints=(Constraint(attribute="plan", values=("beta",)),))


@pytest.fixture
async def world(unleash: Unleash) -> AsyncIterator[UnleashWorld]:
    made = UnleashWorld(unleash)
    yield made
    await made.close()


def add(world: UnleashWorld, *, rollout: str = "100", environment: str = PRODUCTION, **more: Any) -> str:
    return world.server.strategy(world.flag.key, environment, rollout=rollout, **more)


def on(world: UnleashWorld, environment: str = PRODUCTION) -> None:
    world.server.switch(world.flag.key, environment, on=True)


def segment(world: UnleashWorld) -> int:
    name = f"segment-{world.flag.key}"
    found: int = world.server.admin("POST", "/segments", {"name": name, "constraints": [STAFF]})["id"]
    return found


def fresh(world: UnleashWorld) -> None:
    """Off everywhere, nothing there."""


def a_disabled_strategy(world: UnleashWorld) -> None:
    add(world, disabled=True)


def on_with_a_strategy_at_zero(world: UnleashWorld) -> None:
    add(world, rollout="0", title="theirs")
    on(world)


def staff_have_it(world: UnleashWorld) -> None:
    add(world, constraints=[STAFF], title="staff")
    on(world)


def a_segment_has_it(world: UnleashWorld) -> None:
    add(world, segments=[segment(world)])
    on(world)


def variants(world: UnleashWorld) -> None:
    variant = {"name": "blue", "weight": 1000, "weightType": "variable", "stickiness": "default"}
    add(world, rollout="1", variants=[variant])
    on(world)


def another_environment_has_it(world: UnleashWorld) -> None:
    add(world, environment="development")
    on(world, "development")


def off_though_staff_would_have_it(world: UnleashWorld) -> None:
    add(world, constraints=[STAFF])


def named_users(world: UnleashWorld) -> None:
    add(world, rollout="0")
    add(world, constraints=[{"contextName": "userId", "operator": "IN", "values": ["ann", "bob"]}])
    on(world)


def several_with_an_order(world: UnleashWorld) -> None:
    for rollout in ("1", "2"):
        add(world, rollout=rollout, title=f"at {rollout}", sortOrder=9 - int(rollout))
    add(world, disabled=True, title="later")
    on(world)


def tagged_and_linked(world: UnleashWorld) -> None:
    world.server.admin("POST", f"/features/{world.flag.key}/tags", {"type": "simple", "value": "checkout"})
    on_with_a_strategy_at_zero(world)


STATES = [
    fresh,
    a_disabled_strategy,
    on_with_a_strategy_at_zero,
    staff_have_it,
    a_segment_has_it,
    variants,
    another_environment_has_it,
    off_though_staff_would_have_it,
    named_users,
    several_with_an_order,
    tagged_and_linked,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_a_rollback_leaves_the_flag_as_it_was_found(world: UnleashWorld, state: Callable[[UnleashWorld], None]) -> None:
    """Read before and after, the flag differs by nothing but our strategy at 0 %, times and ids; and twice over."""
    state(world)
    before, environment = world.snapshot(), world.enabled()
    for _ in range(2):
        taken = await world.provider.apply(world.flag, Desired(percent=5, gate=Gate(), cohorts=(BETA,)), None)
        await world.provider.apply(world.flag, gated(50), Desired(percent=5, gate=Gate(), cohorts=(BETA,)))
        await world.provider.zero(world.flag)
        result = await world.provider.restore(world.flag, taken.original or "")
        assert (world.snapshot(), world.enabled(), result.exact) == (before, environment, True)
    assert sum(1 for s in world.strategies() if (s["title"] or "").startswith("linnet ")) == 2


async def test_what_an_earlier_canary_left_is_used_again(world: UnleashWorld) -> None:
    """Strategies do not pile up, whoever comes next."""
    original = (await world.provider.apply(world.flag, gated(5), None)).original or ""
    await world.provider.restore(world.flag, original)
    await world.rival.apply(world.flag, gated(20), None)
    [strategy] = world.strategies()
    assert strategy["title"] == f"linnet {RIVAL.namespace}/{RIVAL.name}#all"
    assert strategy["parameters"]["rollout"] == "20"


async def test_an_environment_that_people_went_on_using_stays_on(world: UnleashWorld) -> None:
    """It was off when we came; a strategy that somebody added since is in use, so it is not switched off under them."""
    original = (await world.provider.apply(world.flag, gated(5), None)).original or ""
    add(world, constraints=[STAFF], title="staff")
    result = await world.provider.restore(world.flag, original)
    assert world.enabled()
    assert result.exact is False


async def test_a_cohort_that_is_dropped_goes_to_zero(world: UnleashWorld) -> None:
    """One strategy per cohort; none is left behind at its old share."""
    both = Desired(percent=5, gate=Gate(), cohorts=(BETA,))
    await world.provider.apply(world.flag, both, None)
    assert world.ours("beta")["parameters"]["rollout"] == "80"
    await world.provider.apply(world.flag, gated(5), both)
    assert world.ours("beta")["parameters"]["rollout"] == "0"


async def test_a_strategy_that_a_person_renamed_is_theirs(world: UnleashWorld) -> None:
    """By title and mark: one without the other is not ours, and taking it back says so instead of pretending."""
    await world.provider.apply(world.flag, gated(10), None)
    world.patch(world.ours(), {"op": "replace", "path": "/title", "value": "bob's now"})
    with pytest.raises(Drifted, match="renamed"):
        await world.provider.zero(world.flag)
    assert world.strategies()[0]["parameters"]["rollout"] == "10"


async def test_a_canary_made_anew_takes_over_what_the_one_before_it_left(world: UnleashWorld) -> None:
    """Same cluster, namespace and name, another uid: the object is gone, and what it left is driven on from 0; nothing of it stays open."""
    both = Desired(percent=40, gate=Gate(), cohorts=(BETA,))
    await world.provider.apply(world.flag, both, None)
    anew = world.driver(replace(ME, uid="uid-anew"))
    await anew.check(world.flag, gated(5))
    await anew.apply(world.flag, gated(5), None)
    assert sorted((s["title"], s["parameters"]["rollout"]) for s in world.strategies()) == [
        ("linnet shop/checkout#all", "5"),
        ("linnet shop/checkout#beta", "0"),
    ]
    assert [entry.words for entry in world.log() if "40 -> 5" in entry.words] == []
    with pytest.raises(Busy, match="uid-anew"):
        await world.driver(replace(ME, cluster="prod-eu")).check(world.flag, gated(5))


async def test_in_a_cluster_without_a_name_only_what_reaches_nobody_is_taken_over(world: UnleashWorld) -> None:
    """Two clusters may both be called default: what reaches people may be another one's."""
    first = world.driver(replace(ME, cluster="default"))
    second = world.driver(replace(ME, cluster="default", uid="uid-anew"))
    await first.apply(world.flag, gated(10), None)
    with pytest.raises(Busy, match="default/shop/checkout/uid-1"):
        await second.apply(world.flag, gated(5), None)
    await first.zero(world.flag)
    assert (await second.apply(world.flag, gated(5), None)).changed
