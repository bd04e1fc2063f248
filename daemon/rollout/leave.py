"""Leave from outside: what waits for it, for how long, and which verbs of people it binds.

A freeze or a closed window is the owner's own word: it is waited for as long as it lasts, the judge's deadline waits too, and a plain verb
does not step over it (a hotfix and an override do, each with a reason). So is a slot, where only so many releases may be under way at once. Other leave that never comes ends the release (promise P6). An
abort, a rollback and all that ends an exposure ask nobody.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from daemon.rollout import rollback
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import Command, Permit
from daemon.rollout.turn import EXPOSED, Turn

Move = Literal["start", "advance", "promote"]
OWNED: Final = ("PermitFreeze", "PermitWindow", "PermitQueue", "PermitGroup", "Gate", "GateOverdue")
_GIVEN: Final[Mapping[Move, Callable[[Permit], bool]]] = {
    "start": lambda p: p.start and not p.must_abort,
    "advance": lambda p: p.advance,
    "promote": lambda p: p.promote,
}
_FORWARD: Final[Mapping[str, Move]] = {
    "retry": "start",
    "promote": "promote",
    "skip": "advance",
    "step": "advance",
    "set-weight": "advance",
}


def withheld(turn: Turn, move: Move) -> Permit | None:
    """The leave that is waited for the longest, of what this move lacks. Of a group's for the promotion see `barrier`."""
    asked = [p for p in turn.seen.permits if not p.gate and not (p.group and move == "promote")]
    lacking = [p for p in asked if not _GIVEN[move](p) and not _exempt(turn, p) and not _outlived(turn, p)]
    return max(lacking, key=lambda p: (not p.queue, p.owned, not p.group, p.until or float("inf")), default=None)


def barrier(turn: Turn) -> Permit | None:
    """The group that does not yet promote. It counts those as ready that come here, so this is asked when nothing else is lacking."""
    return next((p for p in turn.seen.permits if p.group and not p.promote and not _exempt(turn, p)), None)


def barred(turn: Turn) -> bool:
    """Whether a release that could be promoted now waits for the rest of its group."""
    permit = barrier(turn)
    if permit is not None:
        wait(turn, permit)
    return permit is not None


def ending(turn: Turn) -> tuple[str, str] | None:
    """Reason and cause where something outside ends this release."""
    found = next((p for p in turn.seen.permits if p.must_abort), None)
    return None if found is None else ("GroupRolledBack" if found.group else "Aborted", found.why)


def _exempt(turn: Turn, permit: Permit) -> bool:
    """A hotfix has its reason; a person's undo is a way back, and none of those stands in a line or waits for a group."""
    rollout = turn.status.rollout
    hotfix = rollout is not None and rollout.hotfix and permit.owned and permit.hotfix
    return hotfix or ((permit.queue or permit.group) and turn.status.undo is not None)


def _outlived(turn: Turn, permit: Permit) -> bool:
    return permit.patience is not None and turn.waited(f"Permit{permit.source}") >= permit.patience


def wait(turn: Turn, permit: Permit) -> None:
    """Until its giver's time, or for as long as the judgement may last; leave that never comes ends the release (promise P6)."""
    reason, why = f"Permit{permit.source}", permit.why or "leave is withheld"
    if permit.owned:
        turn.wait(reason, why, until=permit.until, way_out=_around(turn, permit))
        return
    turn.wait(reason, why, until=permit.until, within=None if permit.until else turn.plan.deadline, way_out=f"linnet abort {turn.name}")
    late = turn.now >= permit.until + turn.plan.deadline if permit.until else turn.waited(reason) >= turn.plan.deadline
    if late:
        rollback.begin(turn, "PermitTimeout", f"{why}, for too long")


def shut(turn: Turn, move: Move) -> bool:
    """Whether the owner's own word keeps this move from being made; people are told once."""
    permit = withheld(turn, move)
    if permit is None or not permit.owned:
        return False
    before = turn.status.waiting
    if before is None or before.reason != f"Permit{permit.source}":
        turn.tell("Paused", f"{turn.name} {turn.rollout.revision}: {permit.why}; {_around(turn, permit)}")
    wait(turn, permit)
    return True


def may_start(turn: Turn) -> bool:
    """Whether a release may begin; else what it waits for, at rest."""
    permit = withheld(turn, "start")
    if permit is None:
        return True
    reason, way_out = f"Permit{permit.source}", _past(turn, permit)
    if any(p.queue for p in turn.seen.permits):  # its place counts from now, whatever holds it
        turn.set(queued_since=turn.status.queued_since or stamp(turn.now))
    turn.set(observed_revision=turn.workload.revision)  # what a hotfix or an override that is said now is bound to
    if permit.until is None and not permit.owned:
        turn.linger(reason, permit.why, way_out, within=permit.patience or turn.plan.deadline)
        return False
    before = turn.status.waiting
    if permit.owned and (before is None or before.reason != reason):
        turn.tell("Waiting", f"{turn.name} {turn.workload.revision}: {permit.why}. {way_out}")
    turn.wait(reason, permit.why, until=permit.until, way_out=way_out)
    return False


def _past(turn: Turn, permit: Permit) -> str:
    override = f"linnet promote --override {turn.name} --reason WHY"
    return f"{override}, or linnet hotfix {turn.name} --reason WHY" if permit.hotfix else override


def _around(turn: Turn, permit: Permit) -> str:
    return f"linnet abort {turn.name}, or {_past(turn, permit)}"


def refusal(turn: Turn, command: Command) -> str:
    """Why a verb that goes forward is not obeyed now; the ways back always are."""
    move = _FORWARD.get(command.verb)
    if command.verb == "hotfix":
        barred = next((p for p in turn.seen.permits if p.owned and not p.hotfix), None)
        return "" if barred is None else f"{barred.why}; it refuses hotfixes: {_past(turn, barred)}"
    if move is None or (command.verb == "set-weight" and (command.weight or 0) <= turn.step.weight):
        return ""
    if command.verb == "retry" and grouped(turn):
        return ""
    permit = withheld(turn, move) or (barrier(turn) if move == "promote" else None)
    return "" if permit is None or not permit.owned else f"{permit.why}; {_past(turn, permit)}"


def grouped(turn: Turn) -> bool:
    """Whether a release of this may only start together with others."""
    return any(p.group and not p.start for p in turn.seen.permits)


def overtime(turn: Turn) -> float:
    """Seconds of the present wait that are not the judge's."""
    return max((turn.waited(reason) for reason in OWNED), default=0.0)


def settle(turn: Turn) -> None:
    """A wait for the owner's own word is over: the judge's deadline moves by as much. Who has nothing to start leaves the line."""
    if turn.status.queued_since is not None and not _would_start(turn):
        turn.set(queued_since=None)
    rollout, over = turn.status.rollout, overtime(turn)
    still = turn.waiting is not None and turn.waiting.reason in OWNED and turn.waited(turn.waiting.reason) > 0
    if rollout is None or rollout.deadline_at is None or still or not over or turn.status.phase not in EXPOSED:
        return
    turn.roll(deadline_at=stamp(epoch(rollout.deadline_at) + over))


def _would_start(turn: Turn) -> bool:
    """A newer version that arrives meanwhile has the place of the one before: who releases often is not the last for ever."""
    workload, status = turn.seen.workload, turn.status
    at_rest = status.rollout is None and status.phase in ("Pending", "Idle")
    return at_rest and workload is not None and workload.revision != status.stable_revision
