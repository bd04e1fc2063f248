"""All of a small world: every state that one mishap can bring about, and from each of them a way out.

One Deployment of two pods, three templates, a route, a flag, an autoscaler, evidence that may turn, writers that interfere, people's verbs,
a daemon that dies between its status and its writes. Every pass starts from what is stored alone, as after a restart. `LINNET_STATES=N`
visits up to N states of each world with two mishaps instead of one (`-s` shows how many there were).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from daemon.api.canary import CanarySpec, Outcome, Step
from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from tests.unit.rollout import invariants as promises
from tests.unit.rollout.searching import BOUND, Check, Fault, Search
from tests.unit.rollout.small_world import SmallWorld, State
from tests.unit.rollout.world import Autoscaler, Flag
from tests.unit.rollout.worlds import DWELL, approved_step, blue_green, flagged, outcomes, paused_step, spec_of

ENOUGH = 50_000
ASKED = os.environ.get("LINNET_STATES", "")
CHECKS: tuple[Check, ...] = (
    promises.p1,
    promises.p2_forward,
    promises.p2_fall,
    promises.p2_floor,
    promises.p2_back,
    promises.p3,
    promises.p3_forward,
    promises.p3_back,
    promises.p3_pods,
    promises.whole_steps,
    promises.ceilings,
    promises.p4,
    promises.p4_ships,
    promises.p6,
    promises.p6_at_rest,
    promises.p9,
)


@dataclass(frozen=True)
class Owner:
    """What an owner wrote, what stands beside it, and which verbs people know beside `abort`."""

    spec: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    verbs: tuple[str, ...] = ()
    states: int = 0  # visited in every run
    whole: bool = False  # that is all there are


OWNERS = {
    "plain": Owner(verbs=("pause", "resume", "promote"), states=20_000, whole=True),
    "held": Owner(
        spec={"on_rollback": "Hold"},
        facts={"hpa": lambda: Autoscaler(minimum=1, original=1)},
        verbs=("retry", "override"),
        states=20_000,
        whole=True,
    ),
    "blue-green": Owner(
        spec=blue_green("10m", asked=False) | {"steps": [Step(name="switch", weight=100, dwell=DWELL)]},
        verbs=("promote", "hotfix"),
        states=3_000,
    ),
    "flag": Owner(spec=flagged(), facts={"flags": lambda: [Flag("new-checkout", "new-checkout")]}, states=3_000),
    "recreate": Owner(
        spec={"steps": [Step(name="half", weight=50, dwell=DWELL)]},
        facts={"recreate": lambda: True},
        verbs=("promote",),
        states=3_000,
    ),
    "approved": Owner(spec=approved_step("Wait", "10m"), verbs=("approve", "skip"), states=3_000),
    "paused": Owner(spec=paused_step(), verbs=("resume",), states=3_000),
    "pods": Owner(facts={"routed": lambda: False}, verbs=("pause", "resume"), states=4_000, whole=True),
}


def begun(owner: Owner) -> tuple[SmallWorld, State]:
    """A world at rest to which the second version was just applied."""
    rules = outcomes(
        inconclusive=Outcome(action="Wait", then_after="10m", then="Rollback"),
        no_data=Outcome(action="Wait", then_after="5m", then="Rollback"),
    )
    spec: CanarySpec = msgspec.structs.replace(spec_of(**owner.spec), **rules)
    world = SmallWorld(spec, **{name: made() for name, made in owner.facts.items()})
    for _ in range(3):
        world.turn()
    assert world.phase == "Idle"
    world.apply("v2")
    return world, world.store()


def searched(owner: Owner, *, mishaps: int, states: int) -> Search:
    world, state = begun(owner)
    search = Search(world, CHECKS, owner.verbs)
    search.run(state, mishaps_at_most=mishaps, states=states)
    return search


@pytest.mark.timeout(900 if ASKED else 180)
@pytest.mark.parametrize("name", OWNERS)
def test_every_state_keeps_the_promises_and_has_a_way_out(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An abort, and the end of the wait at hand, end the release or leave it to its owner's word within twenty transitions."""
    owner = OWNERS[name]
    limit = int(ASKED) if ASKED else 1_000_000 if owner.whole else owner.states
    search = searched(owner, mishaps=2 if ASKED else 1, states=limit)
    visited = sum(search.phases.values())
    with capsys.disabled():
        phases = ", ".join(f"{phase} {count:,}" for phase, count in search.phases.most_common())
        whole = "all there are" if search.closed else "not all"
        print(f"\n{name}: {visited:,} distinct states ({whole}), at most {search.farthest} transitions to an end; {phases}")
        if search.lasting:
            print(f"  told, and waited for beyond the deadline while it lasts: {', '.join(sorted(search.lasting))}")
    assert search.closed or not owner.whole or ASKED
    assert visited >= min(limit, owner.states)
    assert 0 < search.farthest <= BOUND
    assert {"Idle", "Starting", "Progressing", "RollingBack", "Inconclusive", "Bypassed"} <= set(search.phases)


def test_the_states_of_every_run_are_enough() -> None:
    """At least fifty thousand, all of them distinct."""
    assert sum(owner.states for owner in OWNERS.values()) >= ENOUGH


def test_a_broken_promise_is_told_with_the_way_there() -> None:
    """A fault names the promise and each move from the start on, so that a test of its own can be written of it."""

    def never_half(world: SmallWorld, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
        assert decision.status.rollout is None or decision.status.rollout.step == 0, "the second step"

    world, state = begun(OWNERS["plain"])
    search = Search(world, (never_half,), ())
    with pytest.raises(Fault, match="the second step") as fault:
        search.run(state, mishaps_at_most=0, states=1_000)
    words = [line.partition(" ")[0] for line in str(fault.value).splitlines()]
    assert {"start", "pass", "gateway"} <= set(words)
