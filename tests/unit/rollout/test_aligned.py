"""Aligned flags: never for more users than the route sends to the canary, neither on the way up nor when the weight falls."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.api.canary import CanarySpec, Dwell, Flag, FlagStep, Pause, Step, Strategy, Traffic, UserBuckets, WorkloadRef
from daemon.rollout import model as m
from daemon.rollout.steps import plan_of
from flags.plan import PATIENCE
from tests.unit.rollout.test_ramp import climbing, reached
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import DWELL, releasing

FLAG = Flag(name="new-checkout", mode="Aligned")
STEPS = [Step(weight=5, dwell=DWELL), Step(weight=50, dwell=DWELL)]


def aligned(*steps: Step, version: Version | None = None, **changes: Any) -> World:
    return releasing(version, spec={"flags": [FLAG], "steps": list(steps or STEPS)}, **changes)


def ramped(**changes: Any) -> World:
    return climbing(flags=[FLAG], steps=[Step(weight=20, dwell=Dwell(min_duration="1h")), Step(weight=50)], **changes)


def moves(w: World) -> list[str]:
    """Weights and shares in the order of their writes, each once."""
    said = [
        f"weight {a.weight}" if isinstance(a, m.SetWeight) else f"flag {a.percent}"
        for a in w.acted
        if isinstance(a, m.SetWeight | m.SetFlag)
    ]
    return [one for place, one in enumerate(said) if place == 0 or said[place - 1] != one]


def test_a_flag_without_a_share_of_its_own_has_the_weight() -> None:
    """Weight, then flag, at each step; and after the promotion the half that had it keeps it."""
    w = aligned()
    w.settle()
    assert moves(w) == ["weight 0", "weight 5", "flag 5", "weight 50", "flag 50", "weight 0"]
    assert (w.status.stable_revision, w.flags[0].people) == ("v2", 50)
    assert w.status.sentence.endswith("flag new-checkout 50 %.")


def test_a_smaller_share_is_kept_and_carries_over() -> None:
    """New pods first, the flag for fewer of the same users: the smaller of share and weight."""
    w = aligned(Step(weight=5, flags=[FlagStep(name="new-checkout", percent=0)], dwell=DWELL), Step(weight=20, dwell=DWELL), STEPS[1])
    w.run(lambda w: w.weight == 20)
    assert not w.flags[0].percent
    plan = plan_of(w.spec, gitops=False)
    assert [s.flags["new-checkout"].percent for s in plan.steps] == [0, 0, 0]


def test_the_flag_climbs_with_the_evidence() -> None:
    """Adaptive: at each weight on the way the flag has that weight, after it."""
    w = ramped()
    reached(w, 20)
    assert moves(w) == ["weight 0", "weight 1", "flag 1", "weight 5", "flag 5", "weight 20", "flag 20"]


def test_before_a_retreat_the_flag_falls() -> None:
    """The evidence leans: first the flag, then the weight, because a user with the flag on old pods is what must not be."""
    w = ramped()
    reached(w, 20)
    w.seconds(30)
    w.mood = "leaning"
    w.run(lambda w: w.weight == 1)
    assert moves(w)[-2:] == ["flag 1", "weight 1"]
    assert "FlagFirst" in w.waits


def test_a_retreat_waits_for_no_flag_beyond_its_patience() -> None:
    """A source that takes nothing and says nothing: the weight falls five seconds later, and the flag when it can."""
    w = ramped()
    reached(w, 20)
    w.seconds(30)
    w.broken = {m.SetFlag}
    w.mood, began = "leaning", w.now
    w.run(lambda w: w.weight == 1)
    assert PATIENCE <= w.now - began < PATIENCE + 3
    assert w.flags[0].percent == 20
    w.broken = set()
    w.run(lambda w: w.flags[0].percent == 1)


def test_a_retreat_waits_not_at_all_for_a_source_that_fails() -> None:
    """As on the way back: a dead flag server holds no traffic."""
    w = ramped()
    reached(w, 20)
    w.seconds(30)
    w.flags[0].error = "the flag server is gone"
    w.turn()
    w.mood = "leaning"
    w.turn()
    assert "weight 1" in moves(w)[-2:]


def test_when_pods_die_the_weight_falls_at_once_and_the_flag_after_it() -> None:
    """P2 waits for nothing; the flag is not left above what the route gives."""
    w = aligned(Step(weight=50, dwell=Dwell(min_duration="1h")))
    w.run(lambda w: w.flags[0].percent == 50)
    w.capacity = 0
    w.canaries["v2"].available = 0
    w.turn()
    assert w.weight == 0
    w.run(lambda w: not w.flags[0].percent, passes=10)
    assert w.phase == "Progressing"
    w.capacity = 1_000
    w.run(lambda w: w.flags[0].percent == 50)
    assert moves(w)[-4:] == ["weight 0", "flag 0", "weight 50", "flag 50"]


def test_a_weight_set_by_a_person_takes_the_flag_along() -> None:
    """Down and up, within the step."""
    w = aligned(Step(weight=20, dwell=Dwell(min_duration="1h")), STEPS[1])
    w.run(lambda w: w.flags[0].percent == 20)
    w.say("set-weight", weight=7)
    w.run(lambda w: w.weight == 7 and w.flags[0].percent == 7)
    w.say("set-weight", weight=30)
    w.run(lambda w: w.weight == 30 and w.flags[0].percent == 30)
    assert moves(w)[-5:] == ["flag 7", "weight 7", "weight 20", "weight 30", "flag 30"], "20: what the pods carried at once"


def test_a_route_that_somebody_took_leaves_nobody_with_the_flag() -> None:
    """Another manager's share is at random: none of it is for the flag's users."""
    w = aligned(Step(weight=20, dwell=Dwell(min_duration="1h")), Step(pause=Pause()))
    w.run(lambda w: w.flags[0].percent == 20)
    w.routes[0].weight, w.routes[0].manager = 0, "argocd"
    w.run(lambda w: not w.flags[0].percent, passes=10)
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "RouteTakenBack"
    assert [a for a in w.acted if isinstance(a, m.SetWeight)][-1].weight == 20, "it is not fought over"


def test_an_abort_takes_the_flag_before_the_traffic() -> None:
    """P3: flag first, the route after its acknowledgement."""
    w = aligned(Step(weight=20, dwell=Dwell(min_duration="1h")))
    w.run(lambda w: w.flags[0].percent == 20)
    w.say("abort")
    first = w.turn().actions
    assert any(isinstance(a, m.ZeroFlags) for a in first)
    assert not any(isinstance(a, m.SetWeight) for a in first)
    w.run(lambda w: w.weight in (0, None))
    assert not w.flags[0].percent
    w.settle()
    w.as_found()


@pytest.mark.parametrize(("given", "group"), [(None, "linnet"), (UserBuckets(group="shop"), "shop")])
def test_all_aligned_flags_have_the_routes_group(given: UserBuckets | None, group: str) -> None:
    """One bucket for a request: what the edge was given, for aligned flags alone."""
    flags = [FLAG, Flag(name="other", mode="Aligned"), Flag(name="gated")]
    spec = CanarySpec(workload_ref=WorkloadRef(name="shop"), flags=flags, steps=STEPS, traffic=Traffic(buckets=given), strategy=Strategy())
    plan = plan_of(spec, gitops=False)
    assert [f.unreached.group for f in plan.flags] == [group, group, ""]
    assert [f.unreached.gate is None for f in plan.flags] == [True, True, False]
    assert [plan.steps[0].flags[name].percent for name in ("new-checkout", "other", "gated")] == [5, 5, 100]
