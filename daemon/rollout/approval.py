"""Steps that wait for a person's yes: with a time, and an answer of the owner's for the case that nobody says anything.

The exposure stays and harm still ends it; only the way on is shut. A person's time is not the judge's: the deadline moves by as much.
"""

import msgspec

from daemon.api.status import SignOff
from daemon.rollout import rollback, sentence
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import Command
from daemon.rollout.turn import Turn

OWNER = "onTimeout"  # who let it go on where nobody did


def signed(turn: Turn) -> SignOff | None:
    """The yes to the present step."""
    return next((a for a in turn.rollout.approvals if a.step == turn.rollout.step), None)


def given(turn: Turn) -> bool:
    """Whether the present step asks for no approval, or has it; else people are told what is waited for."""
    plan = turn.step.approval
    if plan is None or signed(turn) is not None:
        return True
    until = epoch(turn.rollout.exposed_at or stamp(turn.now)) + plan.timeout
    late = turn.now >= until
    what = f"step {turn.step.name} waits for a person's approval"
    way_out = f"linnet approve|abort {turn.name}"
    if late and plan.on_timeout == "Rollback":
        rollback.begin(turn, "ApprovalTimeout", f"nobody approved step {turn.step.name} in time")
        return False
    if late and plan.on_timeout == "Promote":
        _sign(turn, OWNER, "")
        turn.tell(
            "Approved", f"{sentence.subject(turn)}: nobody answered step {turn.step.name} in time, and it goes on by its owner's rule"
        )
        return True
    if late:
        turn.wait("ApprovalOverdue", f"{what}, for longer than its owner meant", way_out=way_out)
        return False
    if turn.status.waiting is None or turn.status.waiting.reason != "Approval":
        turn.tell("Paused", f"{sentence.subject(turn)}: {what}; {way_out}")
    turn.wait("Approval", what, until=until, way_out=way_out)
    return False


def refusal(turn: Turn, command: Command) -> str:
    """A yes is for one step: said of another, or again, it does nothing."""
    if turn.step.approval is None:
        return f"step {turn.step.name} asks for no approval"
    if command.step and command.step not in (turn.step.name, str(turn.step.index + 1)):
        return f"it was said for step {command.step}, and the step at hand is {turn.step.name}"
    if signed(turn) is not None:
        return f"step {turn.step.name} is approved already"
    return ""


def approve(turn: Turn, command: Command) -> None:
    waited = turn.waited("Approval") + turn.waited("ApprovalOverdue")
    _sign(turn, command.by or "a person", command.why)
    deadline = turn.rollout.deadline_at
    if deadline is not None:
        turn.roll(deadline_at=stamp(epoch(deadline) + waited))
    why = f" ({command.why})" if command.why else ""
    turn.tell("Approved", f"{sentence.subject(turn)}: step {turn.step.name} approved by {command.by or 'a person'}{why}")


def _sign(turn: Turn, by: str, why: str) -> None:
    yes = SignOff(step=turn.rollout.step, by=by[:128], at=stamp(turn.now), why=why[:300])
    turn.set(rollout=msgspec.structs.replace(turn.rollout, approvals=[*turn.rollout.approvals, yes][-32:]))
