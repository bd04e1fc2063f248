"""What people and the world do to a release under way: pods die, templates change, objects are deleted."""

from __future__ import annotations

import pytest

from daemon.rollout import model as m
from tests.unit.rollout.places import PLACES, placed
from tests.unit.rollout.world import Autoscaler, Version
from tests.unit.rollout.worlds import flagged, releasing, world


@pytest.mark.parametrize("place", PLACES)
def test_a_newer_template_ends_the_release_and_is_judged_itself(place: str) -> None:
    """Whatever the phase, v3 is released after v2 ended, on its own evidence, and nothing of v2 is left."""
    w = placed(place)
    w.apply("v3")
    w.settle()
    assert w.status.stable_revision == "v3"
    assert {r for r, p in w.sets.items() if p.replicas} == {"v3"}
    assert w.exposure["v3"] > 200
    w.as_found()


@pytest.mark.parametrize("place", PLACES)
def test_the_stable_template_applied_again_withdraws_the_release(place: str) -> None:
    """A revert ends the exposure and the hold; v1 runs, without a canary of its own unless v2 had become stable."""
    w = placed(place)
    became_stable = w.status.stable_revision == "v2"
    w.apply("v1")
    w.settle()
    assert w.status.stable_revision == "v1"
    assert {r for r, p in w.sets.items() if p.replicas} == {"v1"}
    assert not w.paused
    assert ("v1" in w.exposure) == became_stable
    assert set(w.failed) == ({"v2"} if place == "RollingBack" else set())
    w.as_found()


@pytest.mark.parametrize("place", ["Starting", "Progressing", "PersonPaused", "Inconclusive"])
def test_a_hold_that_someone_ends_is_reported_as_bypassed(place: str) -> None:
    """The unjudged version is never taken as stable; the canary takes no more traffic."""
    w = placed(place)
    w.unpause()
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Bypassed", "v1")
    w.as_found()
    w.apply("v1")
    w.settle()
    assert (w.phase, w.template) == ("Idle", "v1")


@pytest.mark.parametrize("place", PLACES)
def test_a_scale_to_zero_ends_well_in_every_phase(place: str) -> None:
    """Replicas 0: the release ends or finishes; after the scale-up exactly one judged version runs."""
    w = placed(place, hpa=None)
    w.scale(0)
    w.settle()
    w.as_found()
    assert w.phase in ("Idle", "Held")
    w.versions["v2"].judge = "good"
    w.scale(4)
    w.settle()
    running = {r for r, p in w.sets.items() if p.replicas}
    assert running == {w.status.stable_revision}
    w.as_found()


@pytest.mark.parametrize("place", PLACES)
def test_deleting_the_canary_never_ships_what_was_not_judged(place: str) -> None:
    """P10: exposure ends, the Deployment is released on its stable template, our mark is gone, the finalizer last."""
    w = placed(place)
    stable = w.status.stable_revision
    assert stable is not None
    w.deleting = True
    w.run(lambda w: w.finalized)
    w.as_found()
    assert not w.adopted
    w.seconds(20)
    assert (w.template, w.paused) == (stable, False)
    assert {r for r, p in w.sets.items() if p.replicas} == {stable}


@pytest.mark.parametrize("place", ["Idle", "Held", "Bypassed", "Pending"])
def test_deleting_the_canary_at_rest_needs_no_more_than_our_marks(place: str) -> None:
    """At rest the mark goes; a held rejected template gives way to stable; what was bypassed is left to its owner."""
    w = world(Version("v2", judge="bad"), spec={"on_rollback": "Hold"}, adopted=place != "Pending")
    if place == "Held":
        w.apply("v2")
        w.settle()
    if place == "Bypassed":
        w.policy = False
        w.apply("v2")
        w.reach("Bypassed")
    w.deleting = True
    w.run(lambda w: w.finalized)
    assert not w.adopted
    assert not w.paused
    assert w.template == ("v2" if place == "Bypassed" else "v1")


@pytest.mark.parametrize("place", ["Progressing", "Rolling", "RollingBack"])
def test_deleting_canary_and_deployment_together_takes_the_route_back_first(place: str) -> None:
    """Garbage collection of the Deployment must not leave our backend, our pods or our flags behind (trap A5)."""
    w = placed(place)
    w.exists = False
    w.deleting = True
    w.run(lambda w: w.finalized, passes=200)
    w.as_found()


def test_pods_that_die_in_a_step_take_their_weight_with_them_and_get_it_back() -> None:
    """P2 on the fall; a long-lasting step does not fail at once because its progress deadline is long past."""
    w = releasing(Version("v2", judge="silent"), spec={"analysis": None, "steps": None})
    w.reach("Progressing", step=0).seconds(1200, step=10)
    assert w.phase == "Progressing"
    w.capacity = 0
    w.kill_canary_pods(9)
    w.turn()
    assert w.phase == "Progressing"
    assert w.routes[0].weight == 0
    w.capacity = 100
    w.seconds(30)
    assert w.routes[0].weight == 5


def test_half_of_the_pods_keep_half_of_the_weight() -> None:
    """The weight falls to what is left, not to nothing."""
    w = releasing(Version("v2", judge="silent"), spec={"steps": None}, replicas=8).reach("Progressing").seconds(5)
    w.say("promote")
    w = placed("Progressing", replicas=8, hpa=None)
    w.seconds(5)
    assert (w.routes[0].weight, w.canaries["v2"].available) == (50, 4)
    w.capacity = 2
    w.kill_canary_pods(2)
    w.seconds(3)
    assert w.routes[0].weight == 25


def test_pods_that_die_during_the_roll_of_stable_lose_their_weight() -> None:
    """What serves well keeps serving, what is gone does not."""
    w = placed("Rolling", hpa=None)
    w.versions["v2"].starts = False
    w.capacity = 0
    w.kill_canary_pods(9)
    w.turn()
    assert w.routes[0].weight == 0


@pytest.mark.parametrize("place", ["Progressing", "PersonPaused", "Inconclusive"])
def test_bad_evidence_ends_the_exposure_in_the_same_pass(place: str) -> None:
    """P3: the pass that sees the verdict writes weight 0 and flags 0."""
    w = placed(place)
    w.versions["v2"].judge = "bad"
    w.exposure["v2"] = 100.0
    decision = w.turn()
    assert w.phase == "RollingBack"
    assert m.SetWeight(weight=0) in decision.actions
    assert m.ZeroFlags(names=("new-checkout",)) in decision.actions


def test_an_abort_after_stable_runs_the_new_version_is_refused() -> None:
    """Nothing is left to abort: a rollback then would mark the running stable version as failed."""
    for place in ("Returning", "Cleaning"):
        w = placed(place)
        w.say("abort")
        w.settle()
        assert w.status.stable_revision == "v2"
        assert not w.failed
        assert "stable already runs" in w.told("CommandRefused")[0]


def test_an_abort_in_the_roll_of_stable_puts_the_old_template_back() -> None:
    """A half-rolled Deployment always goes back, also where rejected templates are kept held."""
    w = placed("Rolling", spec=flagged() | {"on_rollback": "Hold"})
    w.say("abort")
    w.settle()
    assert (w.template, w.status.stable_revision) == ("v1", "v1")
    assert {r for r, p in w.sets.items() if p.replicas} == {"v1"}
    w.as_found()


def test_an_abort_while_recreate_has_emptied_stable_waits_for_stable_to_serve_again() -> None:
    """P2 on the way back: with no stable pod ready, weight 0 would be an outage; the template goes back first."""
    w = world(Version("v2"), recreate=True)
    w.apply("v2")
    w.reach("Promoting", promotion="Rolling")
    w.run(lambda w: sum(p.available for p in w.sets.values()) == 0)
    w.say("abort")
    w.turn()
    assert w.phase == "RollingBack"
    while w.routes[0].weight:
        w.turn()
        w.tick()
        ready = sum(p.available for p in w.sets.values())
        assert (w.routes[0].weight or 0) + 100 * ready // 4 >= 100
    w.settle()
    assert (w.template, w.status.stable_revision) == ("v1", "v1")
    w.as_found()


def test_a_roll_of_stable_that_gets_stuck_is_told_once_and_can_be_aborted() -> None:
    """The canary keeps its share; the daemon neither hurries nor gives up; a person takes it back."""
    w = placed("Releasing", hpa=None)
    w.versions["v2"].starts = False
    w.seconds(1500, step=5)
    assert (w.phase, w.routes[0].weight) == ("Promoting", 50)
    assert len(w.told("Waiting")) == 1
    assert w.last is not None
    assert w.last.again_in is None or w.last.again_in >= 1
    w.say("abort")
    w.settle()
    assert w.template == "v1"
    w.as_found()


def test_a_newer_template_in_mid_roll_is_settled_in_lock_step() -> None:
    """Trap A4: the sum of both ReplicaSets stays replicas + maxSurge until one is left; then v3 starts."""
    w = placed("Rolling", hpa=None)
    assert len([p for p in w.sets.values() if p.replicas]) == 2
    w.apply("v3")
    w.turn()
    assert w.phase == "Settling"
    while w.phase == "Settling":
        sizes = [p.replicas for p in w.sets.values() if p.replicas]
        assert sum(sizes) in (5, 4)
        w.turn()
        w.tick()
    assert w.status.stable_revision == "v2"
    w.settle()
    assert w.status.stable_revision == "v3"


def test_a_settling_that_cannot_finish_can_be_aborted() -> None:
    """v2's pods stop starting while v3 waits: the way out is the stable template."""
    w = placed("Rolling", hpa=None)
    w.versions["v2"].starts = False
    for pods in w.sets.values():
        pods.available = min(pods.available, 2)
    w.apply("v3")
    w.seconds(700, step=2)
    assert w.phase == "Settling"
    w.say("abort")
    w.settle()
    assert (w.template, {r for r, p in w.sets.items() if p.replicas}) == ("v1", {"v1"})
    w.as_found()


def test_a_settling_that_someone_unpauses_is_bypassed() -> None:
    """The native controller rolls the unjudged v3 then: no lock step may fight it."""
    w = placed("Rolling", hpa=None)
    w.apply("v3")
    w.turn()
    assert w.phase == "Settling"
    w.unpause()
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Bypassed", "v1")
    w.as_found()


def test_a_newer_template_right_after_the_release_of_the_hold_is_no_endless_roll() -> None:
    """v3 lands before the native controller made a pod of v2: v2 is superseded, not waited for."""
    w = placed("Releasing", hpa=None)
    w.turn()
    assert not w.paused
    w.apply("v3")
    w.settle()
    assert w.status.stable_revision == "v3"


def test_a_hold_put_back_on_the_judged_template_is_released_again() -> None:
    """A restart annotation during the roll is held by the policy, but is no other version."""
    w = placed("Rolling", hpa=None)
    w.paused, w.held = True, "true"
    w.settle()
    assert w.status.stable_revision == "v2"


def test_a_floor_that_someone_takes_back_caps_the_weight() -> None:
    """Trap A6: an autoscaler that may shrink stable again limits what the canary may have."""
    w = placed("Progressing", replicas=10, hpa=Autoscaler(minimum=2, original=2))
    assert w.hpa is not None
    assert w.hpa.minimum == 10
    w.seconds(5)
    assert w.routes[0].weight == 50
    w.hpa.take(2)
    w.seconds(3)
    assert w.routes[0].weight == 50, "ten ready pods could take everything back"
    w.scale(3)
    w.seconds(3)
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "FloorTakenBack"
    assert w.routes[0].weight == 30
