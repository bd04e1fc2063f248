"""What becomes of a release that the evidence does not decide: no data, a deadline, leave that never comes.

Each of them ends as its owner wrote, and none waits for ever (promise P6).
"""

from typing import Final

from daemon.api.status import VerdictStatus
from daemon.rollout import leave, promotion, ramp, rollback, sentence
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.steps import ALL, OutcomePlan
from daemon.rollout.turn import Turn

ABSENT: Final = ("NoData", "ProviderError")
"""What the judge says where there is nothing to judge by."""


def proven_before_switch(turn: Turn) -> bool:
    """All requests are on the canary, and were given to it after a proof: the judge can compare nothing any more, and need not."""
    return turn.step.weight == ALL and turn.rollout.proven_at is not None


def deadline(turn: Turn) -> float | None:
    """When the judge's time ends; a wait for the owner's own word is not of it."""
    text = turn.rollout.deadline_at
    return None if text is None else epoch(text) + leave.overtime(turn)


def _note_no_data(turn: Turn) -> str | None:
    """Since when there is nothing to judge by; returns the kind of absence."""
    judge = turn.seen.judge
    code = judge.code if judge is not None else "NoData"
    absent = code if code in ABSENT else None
    if absent and turn.rollout.no_data_since is None:
        turn.roll(no_data_since=stamp(turn.now))
    if absent is None and turn.rollout.no_data_since is not None:
        turn.roll(no_data_since=None)
    return absent


def absence_due(turn: Turn) -> bool:
    """Whether there has been nothing to judge by for as long as the owner would wait."""
    absent = _note_no_data(turn)
    if absent is None:
        return False
    outcome = turn.plan.no_data if absent == "NoData" else turn.plan.provider_error
    words = turn.seen.judge.text if turn.seen.judge and turn.seen.judge.text else "no samples of the canary"
    return carry_out(turn, outcome, turn.elapsed(turn.rollout.no_data_since), absent, words)


def outcome_due(turn: Turn) -> bool:
    """Whether absence of data or the deadline decided this pass."""
    if absence_due(turn):
        return True
    ends = deadline(turn)
    decided = proven_before_switch(turn) or (turn.seen.judge is not None and turn.seen.judge.action == "Promote")
    if ends is not None and turn.now >= ends and not decided:
        give_up(turn, "Deadline")
        return True
    return False


def give_up(turn: Turn, reason: str) -> None:
    """No proof either way: the owner's rule, later evidence or a person decides."""
    turn.enter("Inconclusive")
    text = sentence.inconclusive(turn)
    revision = turn.rollout.revision
    turn.set(
        sentence=text, verdict=VerdictStatus(result="Inconclusive", revision=revision, reason=reason, sentence=text, at=stamp(turn.now))
    )
    turn.roll(stage_started_at=stamp(turn.now))
    ramp.hold_at_most(turn)
    turn.tell("Inconclusive", text, warning=True)


def carry_out(turn: Turn, outcome: OutcomePlan, waited: float, reason: str, words: str) -> bool:
    """What the owner wrote for this absence of a decision; True when it was done."""
    due = outcome.action if outcome.action != "Wait" else None
    if outcome.action == "Wait" and outcome.then is not None and outcome.then_after is not None:
        if waited >= outcome.then_after:
            due = outcome.then
        else:
            turn.look_at(turn.now + outcome.then_after - waited)
    if due == "Rollback":
        rollback.begin(turn, reason, f"{words}, and the owner's answer to that is to roll back")
    elif due == "Promote":
        withheld = leave.withheld(turn, "promote")
        if withheld is not None:
            leave.wait(turn, withheld)
            return False
        if leave.barred(turn):
            return True
        turn.roll(rollback_cause=words[:1000])
        promotion.begin(turn, "Owner")
    return due is not None
