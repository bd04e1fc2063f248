"""The adaptive ramp: the evidence moves the weight, the steps say how far, and falling back is not the end of a release."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from analyzers.options import RampConfig
from daemon.api.canary import Analysis, Dwell, Flag, FlagStep, Pause, Step, Strategy
from daemon.rollout import model as m
from daemon.rollout.clock import epoch
from daemon.rollout.steps import GRID, plan_of, rungs
from tests.unit.rollout.world import Autoscaler, Version, World
from tests.unit.rollout.worlds import releasing, spec_of

STEPS = [Step(name="some", weight=20), Step(name="half", weight=50)]


def climbing(version: Version | None = None, *, world: dict[str, Any] | None = None, **spec: Any) -> World:
    given = {"strategy": Strategy(ramp="Adaptive"), "steps": STEPS, "analysis": Analysis(bake="1s"), **spec}
    return releasing(version, spec=given, **(world or {}))


def written(world: World) -> list[int]:
    """The weights that were written, in their order."""
    return [a.weight for a in world.acted if isinstance(a, m.SetWeight)]


def reached(world: World, weight: int) -> World:
    return world.run(lambda w: w.status.rollout is not None and w.status.rollout.exposed_at is not None and w.weight == weight)


def test_evidence_climbs_and_the_steps_say_how_far() -> None:
    """From one percent, by the ramp's own weights, to each step's and no further; each is written once."""
    world = climbing()
    world.run(lambda w: w.phase == "Promoting")
    assert written(world) == [0, 1, 5, 20, 50]
    assert [t.rpartition(": ")[2] for t in world.told("Step")] == ["20 % of traffic", "50 % of traffic"]
    world.settle()
    assert world.stable == "v1"
    assert world.status.stable_revision == "v2"


def test_steps_are_walked_as_they_are_written_where_they_are_asked_for() -> None:
    """`ramp: Steps`: each weight at once, whatever the evidence would allow."""
    world = climbing(strategy=Strategy(ramp="Steps"))
    world.run(lambda w: w.phase == "Promoting")
    assert written(world) == [0, 20, 50]


@pytest.mark.parametrize("changes", [{"world": {"routed": False}}, {"analysis": Analysis(judge="TemplatesOnly", bake="1s")}])
def test_without_a_router_or_a_judge_there_is_no_ramp(changes: dict[str, Any]) -> None:
    """Pods cannot be split finely, and templates have no wish: the first step is there at once."""
    world = climbing(**changes)
    world.run(lambda w: bool(w.told("Step")))
    rollout = world.status.rollout
    assert rollout is not None
    assert rollout.weight_wanted is None
    assert rollout.weight_reached in (20, 25)  # 25: one pod beside three, where pods are the share


def test_a_release_that_leans_bad_falls_back_and_climbs_again() -> None:
    """No abort: the weight falls in the pass that hears of it, with the reason, its pods stay, and its dwell begins anew."""
    world = climbing(steps=[Step(name="some", weight=20, dwell=Dwell(min_duration="60s")), Step(weight=50)])
    reached(world, 20)
    world.seconds(30)
    pods = world.canaries["v2"].replicas
    world.mood = "leaning"
    world.turn()
    assert written(world)[-1] == 1
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.moved, world.phase) == ("from 20 % to 1 %: the evidence leans", "Progressing")
    assert world.told("Weight")[-1] == "checkout v2 goes from 20 % to 1 %: the evidence leans"
    world.seconds(10)
    assert world.status.waiting is not None
    assert (world.status.waiting.reason, world.status.waiting.message) == ("LeaningBad", "1 % of at most 20 %: the evidence leans")
    world.mood = "calm"
    reached(world, 20)
    again = world.now
    assert world.canaries["v2"].replicas == pods
    world.run(lambda w: w.status.rollout is not None and w.status.rollout.step == 1)
    assert world.now - again >= 60
    world.run(lambda w: w.phase == "Promoting")
    assert written(world) == [0, 1, 5, 20, 1, 5, 20, 50]


def test_when_both_sicken_nobody_is_exposed_and_it_tries_again() -> None:
    """Weight 0 without blame; once they are calm it begins at the least weight, not where it was."""
    world = climbing()
    reached(world, 20)
    world.mood = "incident"
    world.run(lambda w: w.weight == 0)
    world.seconds(20)
    assert (world.phase, world.failed) == ("Progressing", {})
    world.mood = "calm"
    world.run(lambda w: w.phase == "Promoting")
    assert written(world) == [0, 1, 5, 20, 0, 1, 5, 20, 50]


def test_a_second_coincidence_ends_without_blame_at_weight_0() -> None:
    """Inconclusive at once: more time would bring the same again, and nobody waits for the deadline under no weight."""
    world = climbing()
    reached(world, 20)
    world.mood = "hopeless"
    world.run(lambda w: w.phase == "Inconclusive")
    world.seconds(20)
    assert world.weight == 0
    assert world.status.verdict is not None
    assert (world.status.verdict.result, world.status.verdict.reason) == ("Inconclusive", "BothWorsened")
    assert "both sickened" in world.status.sentence
    world.mood = "calm"
    world.seconds(60)
    assert world.weight == 0


def test_a_person_who_pauses_stops_the_climb_and_not_the_fall() -> None:
    """Paused at 5 %: no more than that, less if it must be, back to it, and on after the resume."""
    world = climbing()
    reached(world, 5)
    world.say("pause")
    world.seconds(60)
    assert (world.phase, world.weight) == ("Paused", 5)
    world.mood = "leaning"
    world.seconds(10)
    assert world.weight == 1
    world.mood = "calm"
    world.seconds(60)
    assert (world.phase, world.weight) == ("Paused", 5)
    world.say("resume")
    world.run(lambda w: w.phase == "Promoting")


@pytest.mark.parametrize("withheld", [{"permits": (m.Permit(source="Freeze", advance=False, why="frozen"),)}])
def test_a_freeze_stops_the_climb_and_not_the_fall(withheld: dict[str, Any]) -> None:
    """To climb within a step is to go forward; to fall back is not."""
    world = climbing()
    reached(world, 5)
    world.permits = withheld["permits"]
    world.seconds(60)
    assert world.weight == 5
    assert world.status.waiting is not None
    assert world.status.waiting.reason == "PermitFreeze"
    world.mood = "leaning"
    world.seconds(10)
    assert world.weight == 1
    world.permits, world.mood = (), "calm"
    world.run(lambda w: w.phase == "Promoting")


def test_a_wish_that_follows_from_another_weight_raises_nothing() -> None:
    """The judge is some ticks behind: what it wished for at 20 % is no leave to go there from 1 %."""
    world = climbing()
    reached(world, 20)
    world.mood = "leaning"
    world.turn()
    world.tick(1)
    world.mood, world.lag = "calm", 1_000_000
    seen = world.observe()
    assert seen.judge is not None
    old = m.JudgeView(action="Advance", text="fine at 20", wanted_weight=50, weight=20)
    for _ in range(20):
        decision = decided(world, old)
        assert not [a for a in decision.actions if isinstance(a, m.SetWeight) and a.weight > 1]
        world.tick(1)


def decided(world: World, view: m.JudgeView) -> m.Decision:
    import msgspec

    from daemon.rollout.decide import decide

    seen = msgspec.structs.replace(world.observe(), judge=view)
    decision = decide(world.spec_in_force(), world.status, seen, world.now, name="checkout")
    world.status = decision.status
    for action in decision.actions:
        world.act(action)
    return decision


def test_a_wish_for_less_counts_whatever_weight_it_follows_from() -> None:
    """Bad news of an older weight are bad news."""
    world = climbing()
    reached(world, 20)
    decision = decided(world, m.JudgeView(action="Hold", text="leans", wanted_weight=1, weight=5))
    assert m.SetWeight(weight=1) in decision.actions


def test_templates_that_hold_a_release_hold_its_weight() -> None:
    """A judge that would climb is not heard while a template has yet to say something good."""
    world = climbing()
    reached(world, 5)
    for _ in range(20):
        decided(world, m.JudgeView(action="Hold", code="Checking", text="template smoke", wanted_weight=20, weight=5, climbs=False))
        world.tick(1)
    assert world.weight == 5


def test_a_proven_release_serves_for_its_bake_before_it_is_promoted() -> None:
    """From the first exposure on, by either ramp, whatever was proven before."""
    for ramp in ("Adaptive", "Steps"):
        world = climbing(strategy=Strategy(ramp=ramp), analysis=Analysis(bake="20m"))
        world.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Baking")
        rollout = world.status.rollout
        assert rollout is not None
        assert rollout.judge_from is not None
        begun = epoch(rollout.judge_from)
        world.run(lambda w: w.phase == "Promoting")
        assert 1200 <= world.now - begun < 1230


def test_pauses_keep_their_meaning() -> None:
    """A step that pauses has its weight reached already, and its time counts from there."""
    world = climbing(steps=[Step(name="some", weight=20), Step(name="look", pause=Pause(duration="5m")), Step(weight=50)])
    world.run(lambda w: w.status.rollout is not None and w.status.rollout.step == 1)
    begun = world.now
    world.run(lambda w: w.status.rollout is not None and w.status.rollout.step == 2)
    assert world.now - begun >= 300
    assert world.weight == 20


def test_a_flag_that_only_the_canary_shows_climbs_with_it() -> None:
    """It is there before the step's weight is: half of the requests never meet it at once."""
    steps = [Step(weight=5), Step(weight=50, flags=[FlagStep(name="new", percent=100)])]
    world = climbing(flags=[Flag(name="new")], steps=steps)
    world.run(lambda w: bool(w.flags[0].percent))
    assert world.weight == 5
    world.run(lambda w: w.phase == "Promoting")
    assert written(world) == [0, 1, 5, 15, 50]


def test_a_flag_that_reaches_others_waits_for_the_steps_weight() -> None:
    """Independent flags are not limited to the canary's requests."""
    steps = [Step(weight=5), Step(weight=50, flags=[FlagStep(name="new", percent=30)])]
    world = climbing(flags=[Flag(name="new", mode="Independent")], steps=steps)
    world.run(lambda w: bool(w.flags[0].percent))
    assert world.weight == 50


def test_the_weight_stays_within_what_stable_could_take_back() -> None:
    """A floor that somebody took back caps the climb; the release waits and says so."""
    world = climbing(world={"hpa": Autoscaler()})
    reached(world, 20)
    assert world.hpa is not None
    world.hpa.take(1)
    world.scale(1)
    world.sets["v1"].replicas = world.sets["v1"].available = 1
    world.seconds(40)
    assert world.weight is not None
    assert world.weight <= 25
    assert not [w for w in written(world) if w > 25]


@pytest.mark.parametrize(
    ("ceilings", "wanted"),
    [
        ((5, 15, 50), (5, 15, 50)),
        ((5, 25, 50), (5, 25, 50)),
        ((50,), (5, 15, 50)),
        ((20, 50), (5, 20, 50)),
        ((1, 5, 25, 50, 100), (1, 5, 25, 50)),
        ((100,), (5, 15, 50)),
        ((3,), (3,)),
        ((80,), (5, 15, 80)),
        ((50, 10), (10,)),
        ((0,), ()),
    ],
)
def test_the_ramps_own_weights_fill_what_the_steps_leave_open(ceilings: Iterable[int], wanted: tuple[int, ...]) -> None:
    """Each step's weight is one, and between two that lie more than a doubling apart the ramp has its own; at 100 % nothing is compared."""
    assert rungs(ceilings) == wanted


def test_the_grid_is_the_judges() -> None:
    """What is benched is what the daemon does."""
    assert tuple(float(w) for w in GRID) == RampConfig().rungs
    assert plan_of(spec_of(strategy=None, steps=None), gitops=False).ramp == GRID


def test_a_step_of_100_percent_is_reached_at_the_top_of_the_ramp() -> None:
    """There is nothing to compare with beyond it."""
    world = climbing(steps=[Step(weight=50), Step(weight=100)])
    world.run(lambda w: w.phase == "Promoting")
    assert max(written(world)) == 50


def test_the_dwell_of_a_step_is_at_its_weight() -> None:
    """A retreat in its midst begins it anew: what was seen at one percent is no time at twenty."""
    world = climbing(steps=[Step(name="some", weight=20, dwell=Dwell(min_duration="60s")), Step(weight=50)])
    reached(world, 20)
    world.seconds(50)
    decided(world, m.JudgeView(action="Hold", text="leans", wanted_weight=1, weight=20))
    assert world.status.rollout is not None
    assert world.status.rollout.reached_at is None
    reached(world, 20)
    again = world.now
    world.run(lambda w: w.status.rollout is not None and w.status.rollout.step == 1)
    assert world.now - again >= 58


def test_where_it_begins_may_be_said_after_the_first_request() -> None:
    """One percent until the judge knows the traffic; what it says then counts before anything was counted, but never from 0."""
    world = climbing()
    reached(world, 1)
    decided(world, m.JudgeView(action="Hold", wanted_weight=4))
    assert world.weight == 4
    world.mood = "incident"
    world.run(lambda w: w.weight == 0)
    for _ in range(5):
        decided(world, m.JudgeView(action="Hold", wanted_weight=4))
        world.tick(1)
    assert world.weight == 0
