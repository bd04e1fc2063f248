"""What the world does to a rollout under way: pods die, templates change, people write, sources fall silent."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from daemon.api.canary import Outcome
from daemon.rollout import model as m
from tests.unit.rollout.world import Autoscaler, Version, World
from tests.unit.rollout.worlds import flagged, outcomes, paused_step, releasing, two_flags, world

Reach = Callable[[World], World]
SIGN_OFF = paused_step()


def _inconclusive(w: World) -> World:
    w.versions["v2"].judge = "silent"
    return w.reach("Inconclusive")


PLACES: dict[str, Reach] = {
    "Starting": lambda w: w.reach("Starting"),
    "Progressing": lambda w: w.reach("Progressing", step=1).seconds(5),
    "PersonPaused": lambda w: (w.reach("Progressing").seconds(5), w.say("pause"), w.reach("Paused"))[-1],
    "Inconclusive": _inconclusive,
    "Releasing": lambda w: w.reach("Promoting", promotion="Releasing"),
    "Rolling": lambda w: w.reach("Promoting", promotion="Rolling").seconds(1),
    "Returning": lambda w: w.reach("Promoting", promotion="Returning"),
    "Cleaning": lambda w: w.reach("Promoting", promotion="Cleaning"),
    "RollingBack": lambda w: (w.reach("Progressing", step=1).seconds(5), w.say("abort"), w.reach("RollingBack"))[-1],
}


def placed(place: str, **changes: object) -> World:
    return PLACES[place](releasing(**({"spec": flagged() | outcomes(), "hpa": Autoscaler()} | changes)))  # type: ignore[arg-type]


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
    assert w.failed == ({"v2"} if place == "RollingBack" else set())
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


def test_a_route_taken_back_is_reported_and_not_fought_over() -> None:
    """P8: one event with the manager's name, no write, then a person resumes or the deadline ends it."""
    w = placed("Progressing")
    w.routes[0].weight, w.routes[0].manager = None, "argocd"
    before = len(w.acted)
    w.seconds(60)
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetWeight)]
    assert len(w.told("TakenBack")) == 1
    assert "argocd" in w.told("TakenBack")[0]
    assert w.status.rollout is not None
    assert w.status.rollout.exposed_at is None
    w.say("resume")
    w.seconds(3)
    assert w.weight == 50
    w.taken(0, "argocd")
    w.settle()
    assert w.status.history[0].outcome == "RolledBack"


def test_a_route_taken_back_while_our_write_is_not_yet_accepted_is_noticed_too() -> None:
    """A manager that reverts faster than the gateway accepts is not fought for ten minutes."""
    w = releasing().reach("Progressing", step=0)
    w.routes[0].accepts = False
    w.seconds(2)
    w.routes[0].weight, w.routes[0].manager = None, "flux"
    before = len(w.acted)
    w.seconds(30)
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetWeight)]
    assert w.told("TakenBack")


def test_a_route_taken_back_during_promotion_is_left_alone() -> None:
    """Stable is sized for everything: the roll goes on without our share."""
    w = placed("Rolling", hpa=None)
    w.routes[0].weight, w.routes[0].manager = 0, "argocd"
    before = len(w.acted)
    w.turn()
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetWeight) and a.weight]
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize("kind", ["lower", "higher"])
def test_a_flag_moved_by_hand_stops_the_release(kind: str) -> None:
    """Lower: a person pulled the brake, at once. Higher: hold, say so, and end at the deadline."""
    w = placed("Progressing")
    w.flags[0].drift, w.flags[0].seen = kind, True
    w.turn()
    if kind == "lower":
        assert w.phase == "RollingBack"
    else:
        assert w.status.waiting is not None
        assert w.status.waiting.reason == "FlagRaised"
    w.settle()
    assert w.status.history[0].outcome == "RolledBack"
    w.as_found()


def test_a_flag_that_is_seen_late_delays_the_step_and_its_samples() -> None:
    """The dwell of a step begins when the pods have the flag."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].settles = 90.0
    w.apply("v2")
    w.reach("Progressing")
    began = w.now
    w.run(lambda w: w.status.rollout is not None and w.status.rollout.exposed_at is not None)
    assert w.now - began >= 90
    w.settle()
    assert w.status.stable_revision == "v2"


def test_a_flag_that_is_never_seen_ends_at_the_progress_deadline() -> None:
    """Nothing is judged by an exposure that never was."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].settles = inf
    w.apply("v2")
    w.run(lambda w: w.phase == "RollingBack")
    assert w.status.rollout is not None
    assert w.status.rollout.rollback_reason == "FlagTimeout"
    w.settle()
    w.as_found()


def test_a_flag_that_is_open_to_everyone_is_left_alone() -> None:
    """Nothing to gate: it is not written, not waited for, not restored, and the start says so."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].open, w.flags[0].settles = True, inf
    w.apply("v2")
    w.settle()
    assert w.status.stable_revision == "v2"
    touched = m.SetFlag | m.FinishFlag | m.ZeroFlags | m.RestoreFlags | m.ReleaseFlags
    assert not [a for a in w.acted if isinstance(a, touched)]
    assert "flag new-checkout is open to everyone already" in " ".join(w.told("Started") + w.told("Step"))


def test_a_flag_that_turns_out_to_be_open_is_not_said_to_be_moved() -> None:
    """Found at the first write, or by a daemon that forgot it: no message and no column claims a share of ours."""
    w = world(Version("v2"), spec=flagged())
    w.broken = {m.SetFlag}  # refused by the source
    w.apply("v2")
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "FlagSettling")
    w.flags[0].open = True
    w.settle()
    assert w.status.stable_revision == "v2"
    assert "at 100 %" not in " ".join(w.told("Step"))
    assert "new-checkout" not in w.status.sentence


def test_an_abort_does_not_wait_for_a_flag_source_that_is_down() -> None:
    """The weight goes at once; after five seconds the rest goes on; the flag is tried until it is back."""
    w = placed("Progressing")
    w.flags[0].error = "connection refused"
    w.say("abort")
    decision = w.turn()
    assert {m.SetWeight(weight=0), m.ZeroFlags(names=("new-checkout",))} <= set(decision.actions)
    w.run(lambda w: not w.canaries)
    assert w.flags[0].percent == 100
    assert "Flag new-checkout is not back at 0 yet: connection refused." in w.status.sentence
    w.flags[0].error = ""
    w.settle()
    assert w.flags[0].percent is None


def test_a_flag_that_was_never_written_has_no_way_back() -> None:
    """Its source did not answer, so nothing was written: the abort does not wait for it, and does not speak of it."""
    w = world(Version("v2"), spec=flagged())
    w.flags[0].error = "connection refused"
    w.apply("v2")
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "FlagSettling")
    w.say("abort")
    w.run(lambda w: w.status.rollout is None)
    assert not [a for a in w.acted if isinstance(a, m.SetFlag | m.ZeroFlags | m.RestoreFlags)]
    assert "new-checkout" not in w.status.sentence
    assert not [wait for wait in w.waits if wait.startswith("FlagRoll")]


def test_a_flag_that_may_have_been_written_is_taken_back_all_the_same() -> None:
    """The daemon dies after the write and before it saw it, and the source is away: what was meant is what is undone."""
    w = world(Version("v2"), spec=flagged())
    w.apply("v2")
    w.run(lambda w: w.flags[0].percent == 100)
    w.flags[0].error = "connection refused"
    w.say("abort")
    w.seconds(30)
    assert w.status.rollout is not None, "it ended without the flag"
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "FlagRollbackPending"
    w.flags[0].error = ""
    w.settle()
    w.as_found()


def test_no_flag_of_a_step_rises_while_the_source_of_another_is_away() -> None:
    """All or nothing: the step waits with both at 0, says for which, and goes back at its deadline."""
    w = world(Version("v2"), spec=two_flags())
    w.flags[1].error = "connection refused"
    w.apply("v2")
    w.run(lambda w: w.phase == "RollingBack")
    assert not [a for a in w.acted if isinstance(a, m.SetFlag)]
    assert w.status.rollout is not None
    assert w.status.rollout.rollback_reason == "FlagTimeout"
    assert "flag other" in w.status.rollout.rollback_cause
    assert "connection refused" in w.status.rollout.rollback_cause
    w.settle()
    w.as_found()


@pytest.mark.parametrize("mode", ["Aligned", "Independent"])
def test_a_flag_of_everybody_goes_before_the_traffic(mode: str) -> None:
    """Back by five seconds at the latest: users with the flag on must not meet pods without the code."""
    w = world(Version("v2", judge="silent"), spec=two_flags(mode))
    w.apply("v2")
    w.reach("Progressing", step=0)
    w.run(lambda w: w.flags[1].percent == 50)
    assert not w.flags[1].gated
    w.broken = {m.ZeroFlags}
    w.say("abort")
    began = w.now
    w.run(lambda w: w.weight in (0, None))
    assert 5 <= w.now - began < 8
    assert [f.percent for f in w.flags] == [10, 50]
    w.broken = set()
    w.settle()
    w.as_found()


def test_each_flag_becomes_what_its_owner_chose_at_promotion() -> None:
    """One is kept where it is, the other one put back: neither choice touches the other flag."""
    w = world(Version("v2"), spec=two_flags())
    w.apply("v2")
    columns = []
    w.checks.append(lambda w, seen, before, decision: columns.append(decision.status.flags_text))
    w.settle()
    assert w.status.stable_revision == "v2"
    assert [(f.people, f.percent) for f in w.flags] == [(60, None), (0, None)]
    assert w.status.sentence.endswith("flag new-checkout 60 %, flag other as it was found.")
    shown = [c for c in dict.fromkeys(columns) if c]
    assert shown == [
        "new-checkout=0, other=0",
        "new-checkout=10, other=50",
        "new-checkout=10, other=20",
        "new-checkout=60, other=20",
        "new-checkout=60, other=0",
    ]
    assert w.status.flags_text is None


def test_what_a_person_raised_is_not_written_over() -> None:
    """The drift is still a drift at the second look: it holds, and at the deadline the flag only ever falls."""
    w = placed("Progressing")
    ours = w.status.flags[0].written
    w.flags[0].percent, w.flags[0].drift = 77, "higher"
    before = len(w.acted)
    w.seconds(60)
    assert not [a for a in w.acted[before:] if isinstance(a, m.SetFlag)]
    assert w.status.flags[0].written == ours, "the status tells our write, so the next look still sees the difference"
    assert w.flags[0].drift == "higher"


def test_a_flag_source_that_stays_down_keeps_the_undo() -> None:
    """P1: the flag's original is not forgotten because ten minutes have passed; people are told, once."""
    w = placed("Progressing")
    w.flags[0].error = "connection refused"
    w.say("abort")
    w.seconds(1500, step=5)
    assert w.phase == "RollingBack"
    assert len(w.told("Waiting")) == 1
    w.flags[0].error = ""
    w.settle()
    w.as_found()


@pytest.mark.parametrize(
    ("kind", "field"), [("nodata", "no_data"), ("provider", "provider_error")], ids=["no data", "source does not answer"]
)
@pytest.mark.parametrize(("then", "end"), [("Rollback", "v1"), ("Promote", "v2")])
def test_the_absence_of_data_ends_as_its_owner_wrote(kind: str, field: str, then: str, end: str) -> None:
    """After `thenAfter` the owner's rule is carried out; a promotion by it is never called proven."""
    rule = Outcome(action="Wait", then_after="5m", then=then)  # type: ignore[arg-type]
    w = releasing(Version("v2", judge=kind), spec=outcomes(**{field: rule}))
    began = w.now
    w.settle()
    assert 300 <= w.now - began < 600
    assert w.status.stable_revision == end
    assert w.status.verdict_text == ("NoData" if end == "v1" else "Released (Owner)")
    assert "person" not in w.status.sentence


@pytest.mark.parametrize(("action", "end"), [("Rollback", "v1"), ("Promote", "v2")])
def test_an_absence_that_may_not_wait_is_decided_at_once(action: str, end: str) -> None:
    """`action: Rollback` does not wait for the dwell of the step."""
    w = releasing(Version("v2", judge="nodata"), spec=outcomes(no_data=Outcome(action=action)))  # type: ignore[arg-type]
    w.settle()
    assert w.status.stable_revision == end


@pytest.mark.parametrize(("then", "end"), [("Rollback", "v1"), ("Promote", "v2")])
def test_a_deadline_without_a_proof_is_inconclusive_and_ends_by_the_rule(then: str, end: str) -> None:
    """Inconclusive keeps the exposure, tells how to decide, and after `thenAfter` does what was written."""
    rule = Outcome(action="Wait", then_after="1h", then=then)  # type: ignore[arg-type]
    w = releasing(Version("v2", judge="silent"), spec=outcomes(inconclusive=rule)).reach("Inconclusive")
    assert w.routes[0].weight == 5
    assert "linnet promote|abort checkout" in w.status.sentence
    w.run(lambda w: w.phase != "Inconclusive")
    w.settle()
    assert w.status.stable_revision == end
    assert w.status.verdict_text == ("Inconclusive" if end == "v1" else "Released (Owner)")
    assert len(w.told("Inconclusive")) == 1


def test_dying_pods_do_not_restart_the_clock_of_an_inconclusive_release() -> None:
    """The owner's `thenAfter` counts from the verdict."""
    rule = Outcome(action="Wait", then_after="1h", then="Rollback")
    w = releasing(Version("v2", judge="silent"), spec=outcomes(inconclusive=rule)).reach("Inconclusive")
    began = w.now
    while w.phase == "Inconclusive":
        if int(w.now) % 600 < 5:
            w.kill_canary_pods(1)
        w.turn()
        w.tick(5)
    assert 3600 <= w.now - began < 3700


def test_permits_withhold_the_start_the_next_step_and_the_promotion() -> None:
    """A freeze stops each of the three, says why, and its end lets it go on."""
    w = world(Version("v2"))
    w.permits = (m.Permit(source="Freeze", start=False, why="frozen until Monday", until=w.now + 500),)
    w.apply("v2")
    w.seconds(20)
    assert (w.phase, w.status.waiting.message if w.status.waiting else "") == ("Idle", "frozen until Monday")
    w.permits = (m.Permit(source="Freeze", advance=False, why="frozen until Monday"),)
    w.seconds(200)
    assert w.status.rollout is not None
    assert w.status.rollout.step == 0
    w.permits = (m.Permit(source="Freeze", promote=False, why="frozen until Monday"),)
    w.seconds(800, step=5)
    assert w.phase in ("Progressing", "Inconclusive")
    w.permits = ()
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize("then", [None, "Promote"])
def test_a_freeze_holds_an_inconclusive_release_too(then: str | None) -> None:
    """Neither a late proof nor the owner's rule promotes against a freeze."""
    rule = Outcome(action="Wait", then_after="10m", then=then or "Rollback")  # type: ignore[arg-type]
    w = releasing(Version("v2", judge="silent"), spec=outcomes(inconclusive=rule)).reach("Progressing").seconds(40)
    w.exposure["v2"] = 0.0
    w.reach("Inconclusive")
    w.permits = (m.Permit(source="Freeze", promote=False, why="frozen"),)
    if then is None:
        w.versions["v2"].judge = "good"
        w.exposure["v2"] = 1000.0
        w.seconds(60)
    else:
        w.seconds(900, step=5)
    assert w.phase == "Inconclusive"


@pytest.mark.parametrize("place", ["Starting", "Progressing", "PersonPaused", "Inconclusive", "Releasing", "Rolling"])
def test_a_permit_that_must_abort_aborts(place: str) -> None:
    """A group that fails takes its members with it."""
    w = placed(place)
    w.permits = (m.Permit(source="Group", must_abort=True, why="orders failed"),)
    w.turn()
    assert w.phase == "RollingBack"
    w.permits = ()
    w.settle()
    assert w.status.stable_revision == "v1"


def test_a_full_shift_whose_route_is_never_accepted_ends() -> None:
    """No wait without an end: at the progress deadline the release is taken back, stable never rolled."""
    w = world(Version("v2"), recreate=True)
    w.apply("v2")
    w.reach("Promoting", promotion="FullShift")
    w.routes[0].accepts = False
    w.run(lambda w: w.phase == "RollingBack")
    w.routes[0].accepts = True
    w.settle()
    assert w.template == "v1"


def test_a_floor_that_someone_takes_back_caps_the_weight() -> None:
    """Trap A6: an autoscaler that may shrink stable again limits what the canary may have."""
    w = placed("Progressing", replicas=10, hpa=Autoscaler(minimum=2, original=2))
    assert w.hpa is not None
    assert w.hpa.minimum == 10
    w.seconds(5)
    assert w.routes[0].weight == 50
    w.hpa.minimum = 2
    w.seconds(3)
    assert w.routes[0].weight == 50, "ten ready pods could take everything back"
    w.scale(3)
    w.seconds(3)
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "FloorTakenBack"
    assert w.routes[0].weight == 30


def test_after_a_scale_to_zero_the_wrong_replicaset_is_corrected() -> None:
    """Trap A3: the native controller revives the newest-created ReplicaSet; the stored stable template goes back."""
    w = world(Version("v2", judge="bad"), Version("v0"), spec={"on_rollback": "Hold"})
    w.apply("v2")
    w.settle()
    w.scale(0)
    w.seconds(5)
    w.sets["v0"] = w.sets["v1"].__class__(0, 0)
    w.scale(4)
    w.settle()
    assert {r for r, p in w.sets.items() if p.replicas} == {"v1"}
    assert w.template == "v1"
    assert w.told("StableLost")


def test_stable_lost_without_a_stored_template_ends_by_its_owners_word() -> None:
    """The way out that the sentence names does work."""
    w = world(Version("v2", judge="bad"), spec={"on_rollback": "Hold"})
    w.apply("v2")
    w.settle()
    w.stored.pop("v1")
    w.sets = {"v0": w.sets["v1"]}
    w.versions["v0"] = Version("v0")
    w.seconds(20)
    assert w.phase == "StableLost"
    w.hold_off = True
    w.apply("v3")
    w.unpause()
    w.settle()
    assert w.status.stable_revision == "v3"


def test_the_wait_for_a_missing_replicaset_ends_although_nothing_changes() -> None:
    """The grace of the native controller counts from when it was first missed."""
    w = world(Version("v2"), spec={"on_rollback": "Hold"})
    w.scale(0)
    w.apply("v2")
    w.seconds(5)
    w.sets.clear()
    w.replicas = 4
    seen = w.observe()
    assert seen.workload is not None
    for _ in range(30):
        w.turn()
        w.now += 1
        if w.phase == "StableLost":
            return
    raise AssertionError(w.status.waiting)


def test_a_deployment_paused_by_its_owner_is_left_alone() -> None:
    """Neither their pause nor their template is touched, and no override takes the pause away."""
    w = world(Version("v2"))
    w.paused = True
    w.apply("v2")
    before = len(w.acted)
    w.seconds(30)
    w.say("override")
    w.seconds(5)
    assert not w.acted[before:]
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "PausedByOwner"
    assert w.told("CommandRefused")


def test_a_deployment_without_replicas_is_not_adopted() -> None:
    """There is nothing to compare with."""
    w = world(adopted=False, replicas=0)
    w.sets["v1"].replicas = w.sets["v1"].available = 0
    w.seconds(10)
    assert (w.phase, w.adopted) == ("Pending", False)


def test_adoption_in_mid_roll_waits_and_holds_nothing() -> None:
    """Stable is recorded once the roll is complete."""
    w = world(Version("v2"), adopted=False)
    w.template = "v2"
    w.tick()
    w.turn()
    assert (w.phase, w.paused) == ("Pending", False)
    w.reach("Idle")
    assert w.status.stable_revision == "v2"


def test_a_template_held_before_stable_was_recorded_is_not_held_for_good() -> None:
    """Opt-in and a new image in one write: held by the policy although nothing is known to be stable yet."""
    w = world(Version("v2"), adopted=False)
    w.adopted = True
    w.apply("v2")
    assert w.held
    w.settle()
    assert not w.paused
    assert {r for r, p in w.sets.items() if p.replicas} == {w.status.stable_revision}


def test_a_bypassed_version_is_accepted_by_a_person() -> None:
    """`linnet promote --override` takes what runs as stable."""
    w = world(Version("v2"), policy=False)
    w.apply("v2")
    w.reach("Bypassed").seconds(20)
    assert w.status.stable_revision == "v1"
    w.say("override")
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Idle", "v2")


def test_a_route_that_is_deleted_stops_the_release_until_it_is_back() -> None:
    """No step counts and nothing is promoted while no request can reach the canary; applied again, it waits for a person's word."""
    w = releasing(Version("v2"))
    w.reach("Progressing", step=1).run(lambda w: w.status.rollout is not None and w.status.rollout.exposed_at is not None)
    routes, w.routes = w.routes, []
    w.seconds(300)
    assert w.status.waiting is not None
    assert (w.phase, w.status.waiting.reason) == ("Progressing", "RouteMissing")
    assert w.status.rollout is not None
    assert w.status.rollout.exposed_at is None
    w.routes = routes
    w.taken(None, "kubectl")
    w.seconds(5)
    assert w.status.waiting.reason == "RouteTakenBack"
    w.say("resume")
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()


def test_a_route_that_stays_deleted_ends_the_release() -> None:
    """After the progress deadline: rolled back, said why, and the Deployment is as it was."""
    w = releasing(Version("v2"))
    w.reach("Progressing")
    w.routes = []
    w.settle()
    assert w.status.verdict is not None
    assert w.status.verdict.reason == "RouteTimeout"
    assert "is gone" in w.status.sentence
    assert w.template == "v1"


def bypassed() -> World:
    """`v2` rolled without being judged and serves alone; `v3` landed on top of it and is held."""
    w = world(Version("v2", judge="bad"), Version("v3"), policy=False)
    w.apply("v2")
    w.reach("Bypassed").seconds(20)
    w.policy = True
    w.apply("v3")
    w.settle()
    return w


def test_a_version_on_top_of_one_that_was_never_judged_waits_for_a_word() -> None:
    """Nothing rolls: neither the old stable version over what a person let go, nor the new one unjudged. It is told once."""
    w = bypassed()
    assert (w.phase, w.template, w.paused) == ("Bypassed", "v3", True)
    assert {r: p.available for r, p in w.sets.items() if p.replicas} == {"v2": w.replicas}
    assert w.status.waiting is not None
    assert "v2 serves was never judged" in w.status.waiting.message
    assert "linnet promote --override checkout --revision v2" in w.status.waiting.way_out
    told = len(w.told("Bypassed"))
    w.seconds(60)
    assert len(w.told("Bypassed")) == told
    assert not [a for a in w.acted if isinstance(a, m.RestoreTemplate | m.ReleaseHold)]


def test_what_serves_unjudged_can_be_accepted_and_the_new_version_is_judged_against_it() -> None:
    """An override of the running revision makes it stable by a person's word; the held one then goes through the steps."""
    w = bypassed()
    w.say("override", "v2")
    w.reach("Progressing")
    assert (w.status.stable_revision, w.stored["v2"]) == ("v2", "stable")
    w.settle()
    assert w.status.stable_revision == "v3"
    assert w.exposure["v3"] > 0
    w.as_found()


def test_a_held_version_on_top_of_an_unjudged_one_can_be_released_as_it_is() -> None:
    """An override of the revision at hand ships it, said as such; the old stable template is never written."""
    w = bypassed()
    w.say("override")
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Idle", "v3")
    assert {r for r, p in w.sets.items() if p.replicas} == {"v3"}
    assert not [a for a in w.acted if isinstance(a, m.RestoreTemplate)]


def test_stable_applied_again_under_an_unjudged_version_needs_no_word() -> None:
    """v1 on top of v2 and v3 is the way back: the hold ends and v1 rolls."""
    w = bypassed()
    w.apply("v1")
    w.settle()
    assert (w.phase, w.template, w.paused) == ("Idle", "v1", False)


def test_a_version_held_in_the_middle_of_an_unjudged_roll_waits_for_stable_to_be_whole() -> None:
    """While pods of stable still run there is something to compare with: they are filled up, and the new version is judged."""
    w = world(Version("v2"), Version("v3"), policy=False)
    w.apply("v2")
    w.reach("Bypassed").tick()
    w.policy = True
    w.apply("v3")
    assert len([p for p in w.sets.values() if p.replicas]) == 2
    w.settle()
    assert w.status.stable_revision == "v3"
    assert w.status.history[0].outcome == "Promoted"


def test_a_scale_to_zero_of_an_unjudged_version_rolls_nothing_back() -> None:
    """What comes back with the pods is what served before: still nobody's word, still nothing written."""
    w = bypassed()
    replicas = w.replicas
    w.scale(0)
    w.seconds(30)
    assert (w.phase, w.template) == ("Bypassed", "v3")
    w.scale(replicas)
    w.settle()
    assert (w.phase, w.template) == ("Bypassed", "v3")
    assert {r for r, p in w.sets.items() if p.replicas} == {"v2"}


def test_break_glass_rolls_without_a_judgement_and_becomes_stable_when_complete() -> None:
    """`linnet.dev/hold: off` is the owner's word."""
    w = world(Version("v2"))
    w.hold_off = True
    w.apply("v2")
    w.settle()
    assert (w.phase, w.status.stable_revision) == ("Idle", "v2")


@pytest.mark.parametrize("broken", [m.RememberFailure, m.StoreTemplate, m.ForgetFailure, m.RestoreFloor, m.Adopt])
def test_a_write_that_was_lost_is_made_up_for(broken: type[m.Action]) -> None:
    """Every write follows from the status: what a crash swallowed is written later (P5, P9)."""
    w = world(Version("v2", judge="bad"), spec={"on_rollback": "Hold"}, hpa=Autoscaler(), adopted=False)
    w.broken = {broken} if broken in (m.StoreTemplate, m.Adopt) else set()
    w.reach("Idle").seconds(3)
    w.broken = set()
    w.seconds(3)
    assert w.stored == {"v1": "stable"}
    assert w.adopted
    w.broken = {broken}
    w.apply("v2")
    w.reach("RollingBack")
    w.seconds(2)
    w.broken = set()
    w.settle()
    assert w.failed == {"v2"}
    w.broken = {broken}
    w.say("override")
    w.seconds(3)
    w.broken = set()
    w.settle()
    assert w.status.stable_revision == "v2"
    assert not w.failed
    w.as_found()


def test_a_failure_is_remembered_although_its_template_could_not_be_stored_before() -> None:
    """Held by the verdict alone at first; the memory follows as soon as it can be written."""
    w = releasing(Version("v2", judge="bad"), spec={"on_rollback": "Hold"})
    w.broken = {m.StoreTemplate}
    w.reach("Held")
    assert not w.failed
    w.broken = set()
    w.settle()
    assert w.failed == {"v2"}


def test_a_floor_that_could_not_be_restored_in_time_is_restored_at_rest() -> None:
    """P1 does not end with the rollout's deadline."""
    w = placed("Returning")
    w.broken = {m.RestoreFloor}
    w.checks.clear()
    w.seconds(1500, step=5)
    w.broken = set()
    w.settle()
    w.as_found()


def test_a_template_that_cannot_be_written_back_stays_held() -> None:
    """A stored template that is missing ends as Held with the reason, not in an endless wait."""
    w = placed("Progressing")
    w.stored.pop("v1")
    w.broken = {m.StoreTemplate}
    w.say("abort")
    w.settle()
    assert (w.phase, w.template, w.paused) == ("Held", "v2", True)


def test_a_canary_deployment_that_someone_deletes_is_made_again() -> None:
    """Weight goes first, then the pods are back, then the weight."""
    w = placed("Progressing")
    w.canaries.clear()
    w.turn()
    assert w.routes[0].weight == 0
    w.seconds(10)
    assert w.routes[0].weight == 50


def test_a_stable_that_grows_in_mid_roll_grows_the_canary() -> None:
    """The canary's size follows the live load, in promotion too."""
    w = placed("Rolling", hpa=None)
    w.scale(8)
    w.versions["v2"].starts = True
    w.turn()
    assert w.canaries["v2"].replicas >= 4


def test_a_dwell_longer_than_the_rule_for_no_data_does_not_delay_the_rule() -> None:
    """No data for five minutes is no data for five minutes, whatever the dwell."""
    from daemon.api.canary import Dwell, Step

    rule = Outcome(action="Wait", then_after="5m", then="Rollback")
    spec = outcomes(no_data=rule) | {"steps": [Step(weight=5, dwell=Dwell(min_duration="3h"))]}
    w = releasing(Version("v2", judge="nodata"), spec=spec)
    began = w.now
    w.settle()
    assert w.now - began < 600


def test_leave_that_is_withheld_for_a_while_only_runs_out() -> None:
    """What should be over in a moment holds a release for its time, with a deadline that stays where it is, and not for ever."""
    w = world(Version("v2"))
    w.permits = (m.Permit(source="Annotations", start=False, why="the Canary is about to follow", patience=60.0),)
    w.apply("v2")
    began = w.now
    w.turn()
    assert w.status.waiting is not None
    until = w.status.waiting.until
    w.seconds(30)
    assert w.phase == "Idle"
    assert w.status.waiting.until == until
    w.run(lambda w: w.phase == "Starting")
    assert 60 <= w.now - began < 63


@pytest.mark.parametrize("step", ["advance", "promote"])
def test_leave_that_never_comes_ends_the_release(step: str) -> None:
    """Withheld without a time, it is waited for as long as the judgement may last; then everything goes back, with the reason."""
    w = releasing(Version("v2"))
    w.permits = (m.Permit(source="Group", **{step: False}, why="orders is not ready"),)
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "PermitGroup")
    assert w.status.waiting is not None and w.status.waiting.until is not None
    w.settle()
    assert w.status.verdict is not None and w.status.verdict.reason == "PermitTimeout"
    assert w.status.stable_revision == "v1"
    w.as_found()


def test_a_wait_at_rest_that_lasts_too_long_is_told_once() -> None:
    """Nothing is exposed, so nothing is taken back: people hear of it, and of its end nothing more."""
    w = releasing(Version("v2"))
    w.permits = (m.Permit(source="Group", start=False, why="orders is not ready"),)
    w.seconds(3 * 3600, step=60)
    assert w.status.rollout is None
    assert [t for t in w.told("Waiting") if "orders is not ready" in t] == w.told("Waiting")
    assert len(w.told("Waiting")) == 1
    w.permits = ()
    w.settle()
    assert w.status.stable_revision == "v2"
