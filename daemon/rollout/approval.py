"""Steps that wait for people's yes: with a time, and an answer of the owner's for the case that too few say anything.

The exposure stays and harm still ends it; only the way on is shut. People's time is not the judge's: the deadline moves by as much. A person
counts once for a step, however often and in whatever way the yes is said.
"""

import msgspec

from daemon.api.status import SignOff
from daemon.rollout import rollback, sentence
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import Command
from daemon.rollout.steps import ApprovalPlan
from daemon.rollout.turn import Turn

OWNER = "onTimeout"  # who let it go on where too few did
NAME_LIMIT = 128  # of a person in the status: two who differ only beyond it count as one


def signed(turn: Turn) -> list[str]:
    """Who said yes to the present step."""
    return list(dict.fromkeys(a.by for a in turn.rollout.approvals if a.step == turn.rollout.step))


def complete(turn: Turn, plan: ApprovalPlan) -> bool:
    """Whether enough people did, or the owner's rule stood in for them."""
    yes = signed(turn)
    return OWNER in yes or len(yes) >= plan.approvers


def given(turn: Turn) -> bool:
    """Whether the present step asks for no approval, or has it; else people are told what is waited for."""
    plan = turn.step.approval
    if plan is None or complete(turn, plan):
        return True
    until = epoch(turn.rollout.exposed_at or stamp(turn.now)) + plan.timeout
    late = turn.now >= until
    what, way_out = _what(turn, plan), f"linnet approve|abort {turn.name}"
    if late and plan.on_timeout == "Rollback":
        few = f"only {', '.join(signed(turn))} approved" if signed(turn) else "nobody approved"
        rollback.begin(turn, "ApprovalTimeout", f"{few} step {turn.step.name} in time")
        return False
    if late and plan.on_timeout == "Promote":
        _sign(turn, OWNER, "")
        turn.tell(
            "Approved", f"{sentence.subject(turn)}: too few answered step {turn.step.name} in time, and it goes on by its owner's rule"
        )
        return True
    if late:
        turn.wait("ApprovalOverdue", f"{what}, for longer than its owner meant", way_out=way_out)
        return False
    barred = impossible(turn, plan)
    if barred:
        way_out = f"linnet promote|abort {turn.name}"
    if turn.status.waiting is None or turn.status.waiting.reason != "Approval":
        turn.tell("Paused", f"{sentence.subject(turn)}: {what}{barred}; {way_out}", warning=bool(barred))
    turn.wait("Approval", what + barred, until=until, way_out=way_out)
    return False


def _what(turn: Turn, plan: ApprovalPlan) -> str:
    """What is waited for, and how far it is."""
    yes, some = signed(turn), plan.approvers > 1
    whose = f"the approval of {plan.approvers} people" if some else "a person's approval"
    what = f"step {turn.step.name} waits for {whose}"
    among = f" among {', '.join(plan.among)}" if plan.among else ""
    others = f", not by its author {' or '.join(authors(turn))}" if plan.not_by_author and authors(turn) else ""
    far = f" ({len(yes)} of {plan.approvers}: {', '.join(yes)})" if some and yes else ""
    return f"{what}{among}{others}{far}"


def authors(turn: Turn) -> list[str]:
    """Who wrote what is held, as they would be written down when they approve."""
    workload = turn.seen.workload
    return [name[:NAME_LIMIT] for name in workload.authors] if workload is not None else []


def impossible(turn: Turn, plan: ApprovalPlan) -> str:
    """Why nobody can give it, in words that follow what is waited for; empty where it can be given."""
    if not plan.not_by_author:
        return ""
    if not authors(turn):
        return ", and nobody can give it: who wrote this revision is not on record"
    left = [name for name in plan.among if name not in authors(turn)]
    return ", and too few are left who can give it" if plan.among and len(left) < plan.approvers else ""


def refusal(turn: Turn, command: Command) -> str:
    """A yes is for one step, and of one person: said of another, again, or by one who may not, it does nothing."""
    plan, by = turn.step.approval, command.by[:NAME_LIMIT]
    if plan is None:
        return f"step {turn.step.name} asks for no approval"
    if command.step and command.step not in (turn.step.name, str(turn.step.index + 1)):
        return f"it was said for step {command.step}, and the step at hand is {turn.step.name}"
    if complete(turn, plan):
        return f"step {turn.step.name} is approved already"
    if not by and (plan.approvers > 1 or plan.among or plan.not_by_author):
        return "it does not say whose it is, and this step counts people"
    if by == OWNER or by in signed(turn):
        return f"{by} approved step {turn.step.name} already; it waits for somebody else"
    if plan.among and by not in plan.among:
        return f"{by} is not among those whose yes counts for step {turn.step.name}: {', '.join(plan.among)}"
    if plan.not_by_author and not authors(turn):
        return (
            f"who wrote {turn.rollout.revision} is not on record, so nobody can be told from its author; linnet promote|abort {turn.name}"
        )
    if plan.not_by_author and by in authors(turn):
        return f"{by} wrote {turn.rollout.revision}, and step {turn.step.name} asks for somebody else's yes"
    return ""


def approve(turn: Turn, command: Command) -> None:
    plan = turn.step.approval
    if plan is None:  # refused before
        return
    waited = turn.waited("Approval") + turn.waited("ApprovalOverdue")
    _sign(turn, command.by or "a person", command.why)
    deadline = turn.rollout.deadline_at
    if deadline is not None and complete(turn, plan):
        turn.roll(deadline_at=stamp(epoch(deadline) + waited))
    why = f" ({command.why})" if command.why else ""
    count = f", {len(signed(turn))} of {plan.approvers}" if plan.approvers > 1 else ""
    turn.tell("Approved", f"{sentence.subject(turn)}: step {turn.step.name} approved by {command.by or 'a person'}{why}{count}")


def _sign(turn: Turn, by: str, why: str) -> None:
    yes = SignOff(step=turn.rollout.step, by=by[:NAME_LIMIT], at=stamp(turn.now), why=why[:300])
    turn.set(rollout=msgspec.structs.replace(turn.rollout, approvals=[*turn.rollout.approvals, yes][-32:]))
