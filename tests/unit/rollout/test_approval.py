"""Steps that wait for a person's yes, and steps in which nobody is exposed."""

from __future__ import annotations

from typing import Any

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


BOB, CAROL, MALLORY = "bob", "carol", "mallory"


def counted(on_timeout: str | None = None, *, authors: tuple[str, ...] = (MALLORY,), **asked: Any) -> World:
    """A release that waits for people, each of whom counts once."""
    steps = [
        Step(name="smoke", weight=5, dwell=DWELL),
        Step(name="sign-off", approval=Approval(timeout="1h", on_timeout=on_timeout, **asked)),  # type: ignore[arg-type]
        Step(name="half", weight=50, dwell=DWELL),
    ]
    w = releasing(spec={"steps": steps})
    w.authors = authors
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Approval")
    return w


def names_of(w: World) -> list[str]:
    assert w.status.rollout is not None
    return [a.by for a in w.status.rollout.approvals]


def says(w: World, by: str, n: int = 0) -> str:
    """One more yes; the refusal, if it was refused."""
    before = len(w.told("CommandRefused"))
    w.tick(7)
    w.say("approve", by=by, step="sign-off", raw=f"approve@v2#by={by};n={n}")
    w.turn()
    told = w.told("CommandRefused")
    return told[-1] if len(told) > before else ""


def test_two_people_are_two_people() -> None:
    """The same one again, and an old yes applied again, count once; the judge's time is given back once, when all is said."""
    w = counted(approvers=2)
    assert w.status.waiting is not None
    assert "waits for the approval of 2 people" in w.status.waiting.message
    deadline = w.status.rollout.deadline_at if w.status.rollout else None
    assert says(w, BOB) == ""
    assert "bob approved step sign-off already; it waits for somebody else" in says(w, BOB, 1)
    assert "(1 of 2: bob)" in w.status.waiting.message
    assert w.status.rollout is not None
    assert (w.status.step, w.status.rollout.deadline_at) == ("2/3 sign-off", deadline)
    assert says(w, CAROL) == ""
    assert "approved by carol, 2 of 2" in w.told("Approved")[-1]
    assert names_of(w) == [BOB, CAROL]
    assert w.status.rollout.deadline_at > (deadline or "")  # type: ignore[operator]
    assert "is approved already" in says(w, BOB, 2) or w.status.step == "3/3 half"
    w.settle()
    assert w.status.stable_revision == "v2"


def test_an_author_does_not_approve_their_own_work() -> None:
    """Neither does anybody else who wrote to it since; the refusal says why, and another person's yes counts."""
    w = counted(not_by_author=True, authors=(MALLORY, BOB))
    assert w.status.waiting is not None
    assert "not by its author mallory or bob" in w.status.waiting.message
    for author in (MALLORY, BOB):
        assert f"{author} wrote v2, and step sign-off asks for somebody else's yes" in says(w, author)
    assert names_of(w) == []
    assert says(w, CAROL) == ""
    w.settle()
    assert w.status.stable_revision == "v2"


def test_where_no_author_is_on_record_nobody_is_taken_for_another() -> None:
    """Said when the step begins, with the way out; a yes is refused, and a promotion on a person's word goes."""
    w = counted(not_by_author=True, authors=())
    assert "nobody can give it: who wrote this revision is not on record; linnet promote|abort checkout" in w.told("Paused")[-1]
    assert "who wrote v2 is not on record" in says(w, CAROL)
    w.say("promote", by=CAROL)
    w.settle()
    assert w.status.stable_revision == "v2"


def test_only_those_who_were_named_count() -> None:
    """And where too few of them are left beside the author, that is said at once instead of waited for."""
    w = counted(among=[BOB, CAROL])
    assert "ada is not among those whose yes counts for step sign-off: bob, carol" in says(w, "ada")
    assert says(w, BOB) == ""
    assert w.settle().status.stable_revision == "v2"
    w = counted(among=[BOB, MALLORY], approvers=2, not_by_author=True)
    assert "too few are left who can give it; linnet promote|abort checkout" in w.told("Paused")[-1]


@pytest.mark.parametrize("by", ["", "onTimeout"])
def test_a_yes_that_is_counted_has_a_name_of_its_own(by: str) -> None:
    """An unnamed one could be said twice, and the owner's rule is nobody's name."""
    assert "refused" in says(counted(approvers=2), by)


def test_too_few_in_time_end_as_the_owner_wrote() -> None:
    """With the names of those who did say yes."""
    w = counted(approvers=2)
    says(w, BOB)
    w.settle()
    assert w.status.stable_revision == "v1"
    assert "only bob approved step sign-off in time" in w.status.sentence
