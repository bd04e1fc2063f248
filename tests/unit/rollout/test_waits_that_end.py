"""Silence, deadlines and leave that is withheld: every wait ends, as its owner wrote (P6)."""

from __future__ import annotations

import pytest

from daemon.api.canary import Outcome
from daemon.rollout import model as m
from daemon.rollout.clock import epoch
from tests.unit.rollout.places import placed
from tests.unit.rollout.world import Version
from tests.unit.rollout.worlds import flagged, outcomes, releasing, world


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
    w.permits = (m.Permit(source="Group", advance=step != "advance", promote=step != "promote", why="orders is not ready"),)
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


def test_a_flag_that_is_late_in_two_stages_is_waited_for_by_the_deadline_of_each() -> None:
    """The traffic returns at the first one; what people then see is the time of the stage that begins, not one that has passed."""
    w = releasing(Version("v2"), spec=flagged())
    w.reach("Promoting", promotion="Returning")
    w.flags[0].settles = float("inf")
    w.run(lambda w: w.status.rollout is not None and w.status.rollout.promotion == "Cleaning")
    waiting = w.status.waiting
    assert waiting is None or (waiting.until is not None and epoch(waiting.until) > w.now)
    w.settle()
    w.as_found()


def test_people_are_told_once_of_a_flag_source_that_keeps_a_promotion_from_its_end() -> None:
    """The source may come back, so it is waited for beyond the deadline; nobody has to find that out by looking."""
    w = releasing(Version("v2"), spec=flagged())
    w.reach("Promoting", promotion="Cleaning")
    w.flags[0].error = "connection refused"
    w.seconds(1800, step=15)
    assert w.phase == "Promoting"
    assert len([t for t in w.told("Waiting") if "the promotion does not end" in t and "connection refused" in t]) == 1
    w.flags[0].error = ""
    w.settle()
    assert w.status.stable_revision == "v2"
    w.as_found()
