"""What people may say to a rollout: promote, abort, pause, resume, override, retry.

A verb is bound to a revision and carried out once: the same annotation applied again by a GitOps tool, or left over from the
last release, does nothing.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from daemon.rollout import progress, promotion, ramp, rollback
from daemon.rollout.clock import stamp
from daemon.rollout.model import Command, ForgetFailure, StoreTemplate
from daemon.rollout.turn import Turn

REMEMBERED: Final = 128  # characters of a carried-out command that the status has room for
_AT_REST: Final = ("Pending", "Idle", "Held", "Bypassed")
IN_STEPS: Final = ("Starting", "Progressing", "Paused", "Inconclusive")


def obey(turn: Turn) -> None:
    """Carries out a command that was not yet carried out, or says why not."""
    command = turn.seen.command
    if command is None or command.raw[:REMEMBERED] == turn.status.last_action:
        return
    turn.set(last_action=command.raw[:REMEMBERED])
    refusal = _refusal(turn, command)
    if refusal:
        turn.tell("CommandRefused", f"{command.verb} of {command.revision} refused: {refusal}", warning=True)
        return
    _VERBS[command.verb](turn, command)


def _refusal(turn: Turn, command: Command) -> str:
    rollout, workload = turn.status.rollout, turn.seen.workload
    if workload is None:
        return "the workload does not exist"
    if command.expires is not None and turn.now > command.expires:
        return "it has expired; say it again"
    spoken_of = rollout.revision if rollout else workload.revision
    if command.revision != spoken_of and not (command.verb == "override" and command.revision == _running(turn)):
        return f"the revision at hand is {spoken_of}; the verb is bound to the one it was said for"
    phases = _LEGAL[command.verb]
    if turn.status.phase not in phases:
        return _impossible(turn.status.phase, command.verb) + _hint(turn, command)
    return _pointless(turn, command)


def _impossible(phase: str, verb: str) -> str:
    """Why a verb is none for this phase, in words for whoever said it."""
    if verb == "retry":
        return f"the Canary is {phase}; only a revision that failed and is Held can be tried again"
    if phase in _AT_REST:
        return f"no release is under way, the Canary is {phase}"
    possible = [v for v, phases in _LEGAL.items() if phase in phases and v != "override"]
    return (
        f"a release that is {phase} can only be told to {' or '.join(possible)}"
        if possible
        else f"a release that is {phase} goes on by itself"
    )


def _running(turn: Turn) -> str | None:
    """The version that serves all alone without having been judged, under a newer one that is held."""
    workload = turn.workload
    alone = turn.status.phase == "Bypassed" and len(workload.active) == 1 and workload.available >= workload.replicas > 0
    return workload.active[0].revision if alone else None


def _pointless(turn: Turn, command: Command) -> str:
    """Verbs that the phase knows, and that would do harm or nothing as things are."""
    rollout, workload = turn.status.rollout, turn.workload
    if command.verb == "abort" and rollout is not None and rollout.promotion in ("Returning", "Cleaning"):
        return f"stable already runs {command.revision}; kubectl rollout undo makes the version before it a new release"
    if command.verb == "override" and rollout is None:
        if workload.revision == turn.status.stable_revision:
            return f"{command.revision} is stable already"
        if turn.status.phase == "Idle" and workload.paused and not workload.held:
            return "the Deployment is paused by its owner; kubectl rollout resume"
    return ""


def _hint(turn: Turn, command: Command) -> str:
    if command.verb == "promote" and turn.status.phase in ("Held", "Bypassed"):
        return f"; this revision was not judged fine: linnet promote --override {turn.name}"
    return ""


def _promote(turn: Turn, _: Command) -> None:
    if turn.status.phase == "Starting":
        turn.roll(step=0)
    promotion.begin(turn, "Person")


def _abort(turn: Turn, command: Command) -> None:
    rollback.begin(turn, "Aborted", f"stopped by {command.by or 'a person'}")


def _pause(turn: Turn, command: Command) -> None:
    turn.roll(paused_at=stamp(turn.now))
    ramp.hold_at_most(turn)
    turn.enter("Paused")
    turn.tell("Paused", f"{turn.name} {turn.rollout.revision}: paused by {command.by or 'a person'}; linnet resume {turn.name}")


def _resume(turn: Turn, command: Command) -> None:
    progress.resume(turn)
    turn.tell("Resumed", f"{turn.name} {turn.rollout.revision}: resumed by {command.by or 'a person'}")


def _override(turn: Turn, command: Command) -> None:
    if turn.status.phase == "Bypassed":
        turn.set(stable_revision=command.revision)
        turn.do(ForgetFailure(revision=command.revision))
        if command.revision != turn.workload.revision:
            turn.do(StoreTemplate(revision=command.revision, role="stable"))
        turn.enter("Pending" if command.revision == turn.workload.revision else "Idle")
        return
    if turn.status.rollout is None:
        progress.begin(turn, overridden=True)
    turn.roll(overridden=True)
    turn.do(ForgetFailure(revision=turn.workload.revision))
    promotion.begin(turn, "Override")


def _retry(turn: Turn, _: Command) -> None:
    turn.do(ForgetFailure(revision=turn.workload.revision))
    progress.begin(turn, overridden=True)


_VERBS: Final[Mapping[str, Callable[[Turn, Command], None]]] = {
    "promote": _promote,
    "abort": _abort,
    "pause": _pause,
    "resume": _resume,
    "override": _override,
    "retry": _retry,
}

_LEGAL: Final[Mapping[str, tuple[str, ...]]] = {
    "promote": IN_STEPS,
    "abort": (*IN_STEPS, "Promoting", "Settling"),
    "pause": ("Progressing", "Inconclusive"),
    "resume": ("Paused", "Progressing"),
    "override": (*IN_STEPS, "Idle", "Held", "Bypassed"),
    "retry": ("Held",),
}


def parse(annotation: str, *, by: str, expires: float | None) -> Command | None:
    """`verb@revision[#nonce]` as a Command; None where it is no verb of ours."""
    verb, _, rest = annotation.partition("@")
    revision = rest.partition("#")[0]
    if verb not in _VERBS or not revision:
        return None
    return msgspec.convert({"verb": verb, "revision": revision, "raw": annotation, "by": by, "expires": expires}, Command)
