"""Going back to an earlier revision on a person's word: from our own store of templates, as a release of that revision.

What was proven good, or served as the control until it was replaced, goes back at once; anything else takes the way of every release. The
template is written held, so that an undo cannot roll unjudged whatever happens in between.
"""

from typing import Final

import msgspec

from daemon.api.status import UndoStatus
from daemon.rollout import memory, promotion
from daemon.rollout.clock import stamp
from daemon.rollout.model import Command, PutTemplate, RecordView, RestoreTemplate
from daemon.rollout.turn import Turn

GOOD: Final = frozenset({"Proven", "Adopted"})  # how a revision became stable, where that says that it is good
PATIENCE: Final = 60.0  # seconds in which the template must have been written


def target(turn: Turn, command: Command) -> RecordView | None:
    """The revision that is meant; without a name the stable version, or the one before it."""
    if command.to:
        return memory.record(turn, command.to)
    stable = turn.status.stable_revision
    if turn.workload.revision != stable:
        return memory.record(turn, stable or "")
    former = [r for r in turn.seen.records if r.stable_at and r.revision != stable and not r.failed_at]
    return max(former, key=lambda r: r.stable_at, default=None)


def refusal(turn: Turn, command: Command) -> str:
    """Why not, with the ways out; empty where it can be done."""
    found = target(turn, command)
    stable = turn.status.stable_revision
    if found is None:
        others = ", ".join(r.revision for r in turn.seen.records if r.revision != stable) or "none"
        return f"{command.to or 'an earlier stable version'} is not stored; stored beside {stable}: {others}"
    if found.revision == turn.workload.revision:
        return f"{found.revision} is what the Deployment asks for already"
    if found.failed_at:
        return f"{memory.evidence(turn, found.revision)}; apply it, and linnet promote --override {turn.name} --reason WHY"
    if not turn.workload.paused and turn.workload.revision != stable:
        return "the Deployment rolls"
    if turn.workload.paused and not turn.workload.held:
        return "the Deployment is paused by its owner; kubectl rollout resume"
    return ""


def begin(turn: Turn, command: Command) -> None:
    found = target(turn, command)
    if found is None:  # refused before
        return
    by, why = command.by or "a person", command.why
    leaving, stable = turn.workload.revision, turn.status.stable_revision
    said = f"{turn.name}: {by} goes back from {leaving} to {found.revision}{f' ({why})' if why else ''}{_revert(turn, found)}"
    turn.tell("Undone", said, warning=True)
    if stable is not None and found.revision == stable:
        turn.do(RestoreTemplate(revision=stable, expected=leaving))
        return
    wish = UndoStatus(revision=found.revision, leaving=leaving, by=by, why=why[:1000], at=stamp(turn.now), at_once=found.stable_by in GOOD)
    turn.set(undo=wish)
    turn.do(PutTemplate(revision=found.revision, expected=leaving, by=by))


def _revert(turn: Turn, found: RecordView) -> str:
    """What a GitOps tool would do next, and what to do about it."""
    if not turn.seen.gitops:
        return ""
    images = ", ".join(found.images) or found.revision
    return f"; {turn.seen.gitops} writes {', '.join(turn.workload.images) or 'the other'} again at its next sync: revert that in Git, to {images}"


def pending(turn: Turn) -> None:
    """A wish whose write was lost is written again; one that somebody else's template overtook is dropped."""
    wish = turn.status.undo
    if wish is None or turn.workload.revision == wish.revision:
        return
    if turn.workload.revision == wish.leaving and turn.elapsed(wish.at) < PATIENCE:
        turn.do(PutTemplate(revision=wish.revision, expected=wish.leaving, by=wish.by))
        turn.look_at(turn.now + 1)
    else:
        turn.set(undo=None)


def taken_up(turn: Turn) -> None:
    """The template that an undo asked for is at hand, and its release has just begun."""
    wish = turn.status.undo
    turn.set(undo=None)
    if wish is None or wish.revision != turn.rollout.revision:
        return
    turn.set(rollout=msgspec.structs.replace(turn.rollout, decided_by=wish.by, decided_why=wish.why))
    if wish.at_once:
        promotion.begin(turn, "Undo")
