"""Steps that wait for a person's yes, and steps in which nobody is exposed."""

from __future__ import annotations

import pytest

from daemon.api.canary import Approval, Step
from daemon.rollout import model as m
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import DWELL, approved_step, releasing


def waiting(version: Version | None = None, on_timeout: str | None = None) -> World:
    w = releasing(version, spec=approved_step(on_timeout))
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Approval")
    return w


def test_nothing_goes_on_without_the_yes() -> None:
    """The share stays, people are asked once, and the status says until when."""
    w = waiting()
    w.seconds(600)
    assert w.status.rollout is not None
    assert (w.weight, w.status.step) == (5, "2/3 sign-off")
    assert w.status.waiting is not None
    assert w.status.waiting.until is not None
    asked = [t for t in w.told("Paused") if "waits for a person's approval; linnet approve|abort checkout" in t]
    assert len(asked) == 1


def test_a_yes_lets_it_go_on_and_is_on_record() -> None:
    """With the person; and the time that was waited is not the judge's."""
    w = waiting()
    before = w.status.rollout
    w.seconds(1_000)
    w.say("approve", step="sign-off", why="demo was fine")
    w.turn()
    rollout = w.status.rollout
    assert before is not None
    assert rollout is not None
    assert [(a.step, a.by, a.why) for a in rollout.approvals] == [(1, "ada", "demo was fine")]
    assert rollout.deadline_at > (before.deadline_at or "")  # type: ignore[operator]
    assert "step sign-off approved by ada (demo was fine)" in w.told("Approved")[0]
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize("again", ["approve@v2#by=ada;step=sign-off;n=1", "approve@v2#by=ada;step=sign-off;n=2"])
def test_a_yes_counts_for_its_step_alone(again: str) -> None:
    """Replayed or said of another step it does nothing."""
    w = waiting()
    w.say("approve", step="smoke")
    w.turn()
    assert "said for step smoke, and the step at hand is sign-off" in w.told("CommandRefused")[0]
    w.say("approve", step="sign-off", raw="approve@v2#by=ada;step=sign-off;n=1")
    w.turn()
    w.say("approve", step="sign-off", raw=again)
    w.turn()
    assert w.status.rollout is not None
    assert len(w.status.rollout.approvals) == 1


@pytest.mark.parametrize(("on_timeout", "stable"), [(None, "v1"), ("Rollback", "v1"), ("Promote", "v2")])
def test_when_nobody_answers_the_owner_has(on_timeout: str | None, stable: str) -> None:
    """Rolled back, or on with it, as it was written down."""
    w = waiting(on_timeout=on_timeout).settle()
    assert w.status.stable_revision == stable
    if stable == "v1":
        assert "nobody approved step sign-off in time" in w.status.sentence


def test_an_owner_may_wait_without_end() -> None:
    """And then it is said to be overdue; a yes still counts."""
    w = waiting(on_timeout="Wait")
    w.tick(10_000)
    w.turn()
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "ApprovalOverdue"
    w.say("approve")
    w.settle()
    assert w.status.stable_revision == "v2"


def test_harm_ends_an_exposure_that_waits_for_a_person() -> None:
    """A sign-off is no shield."""
    w = releasing(Version("v2"), spec=approved_step())
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Approval")
    w.versions["v2"].judge = "bad"
    w.settle()
    assert set(w.failed) == {"v2"}


def before_anybody() -> dict[str, object]:
    return {
        "steps": [
            Step(name="room", scale=50),
            Step(name="sign-off", approval=Approval(timeout="24h")),
            Step(name="half", weight=50, dwell=DWELL),
        ]
    }


def test_steps_before_the_first_exposure_wait_for_no_evidence() -> None:
    """Canary pods without traffic: nothing to judge, and no deadline runs before somebody is exposed."""
    w = releasing(spec=before_anybody())
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Approval")
    assert w.status.rollout is not None
    assert (w.weight, w.canaries["v2"].replicas, w.status.rollout.step) == (0, 2, 1)
    w.tick(7_200)
    w.turn()
    assert (w.phase, w.status.rollout.deadline_at, w.status.rollout.judge_from) == ("Progressing", None, None)
    w.say("approve")
    w.settle()
    assert w.status.stable_revision == "v2"


def test_a_scale_step_has_its_pods_before_the_next_begins() -> None:
    """Half of what stable needs, at weight 0, and never fewer afterwards."""
    w = releasing(spec=before_anybody(), replicas=8)
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Approval")
    sizes = [a.replicas for a in w.acted if isinstance(a, m.EnsureCanary)]
    assert sizes == [4]
    assert w.canaries["v2"].available == 4
