"""What people and pipelines may say to a rollout, each verb bound to a revision and carried out once.

The same annotation applied again by a GitOps tool, or left over from the last release, does nothing. A verb that sets a promise aside
(`override`, `hotfix`) counts only with a person, a reason and an expiry.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from daemon.rollout import approval, driving, killing, leave, memory, progress, promotion, ramp, rollback, undo
from daemon.rollout.clock import stamp
from daemon.rollout.model import Command, ForgetFailure, StoreTemplate
from daemon.rollout.turn import Turn

REMEMBERED: Final = 128  # characters of a carried-out command that the status has room for
REASON_LIMIT: Final = 300
ACCOUNTABLE: Final = ("override", "hotfix")  # verbs that name who, why and until when
_AT_REST: Final = ("Pending", "Idle", "Held", "Bypassed")
IN_STEPS: Final = ("Starting", "Progressing", "Paused", "Inconclusive")
STEPPING: Final = ("Progressing", "Paused")


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
    return (
        _unaccountable(turn, command) or memory.no_shortcut(turn, command.verb) or leave.refusal(turn, command) or _pointless(turn, command)
    )


def _unaccountable(turn: Turn, command: Command) -> str:
    if command.verb not in ACCOUNTABLE or (command.by and command.why and command.expires is not None):
        return ""
    spoken = "promote --override" if command.verb == "override" else command.verb
    return f"it needs a person, a reason and an expiry: linnet {spoken} {turn.name} --reason WHY writes all three"


def _impossible(phase: str, verb: str) -> str:
    """Why a verb is none for this phase, in words for whoever said it."""
    if verb == "retry":
        return f"the Canary is {phase}; only a revision that failed and is Held can be tried again"
    if verb == "undo":
        return f"the Canary is {phase}; linnet abort ends the release under way, then undo goes further back"
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
    if command.verb == "undo":
        return undo.refusal(turn, command)
    if command.verb == "approve":
        return approval.refusal(turn, command)
    if command.verb in ("skip", "step", "set-weight"):
        return driving.refusal(turn, command)
    if command.verb == "kill" and killing.refusal(turn):
        return killing.refusal(turn)
    if command.verb in ("abort", "kill") and rollout is not None and rollout.promotion in ("Returning", "Cleaning"):
        return f"stable already runs {command.revision}; when that is done, linnet undo {turn.name} goes back"
    if command.verb in ACCOUNTABLE and rollout is None:
        if workload.revision == turn.status.stable_revision:
            return f"{command.revision} is stable already"
        if turn.status.phase == "Idle" and workload.paused and not workload.held:
            return "the Deployment is paused by its owner; kubectl rollout resume"
    return ""


def _hint(turn: Turn, command: Command) -> str:
    if command.verb in ("promote", "hotfix") and turn.status.phase in ("Held", "Bypassed"):
        return f"; this revision was not judged fine: linnet promote --override {turn.name} --reason WHY"
    return ""


def _decided(turn: Turn, command: Command) -> None:
    """Whose word it is, in the status and in every sentence from now on."""
    turn.roll(decided_by=(command.by or "a person")[:128], decided_why=command.why[:REASON_LIMIT])


def _promote(turn: Turn, command: Command) -> None:
    if turn.status.phase == "Starting":
        turn.roll(step=0)
    _decided(turn, command)
    promotion.begin(turn, "Person")


def _abort(turn: Turn, command: Command) -> None:
    rollback.begin(turn, "Aborted", f"stopped by {command.by or 'a person'}{_reason(command)}")


def _kill(turn: Turn, command: Command) -> None:
    killing.kill(turn, command, _reason(command))


def _reason(command: Command) -> str:
    return f" ({command.why[:REASON_LIMIT]})" if command.why else ""


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
            turn.do(StoreTemplate(revision=command.revision, role="stable", by="Override"))
        turn.enter("Pending" if command.revision == turn.workload.revision else "Idle")
        return
    if turn.status.rollout is None:
        progress.begin(turn, overridden=True)
    turn.roll(overridden=True)
    _decided(turn, command)
    turn.do(ForgetFailure(revision=turn.workload.revision))
    promotion.begin(turn, "Override")


def _retry(turn: Turn, _: Command) -> None:
    turn.do(ForgetFailure(revision=turn.workload.revision))
    if leave.grouped(turn):  # it asks for leave like a new version, and starts with the others
        plans = [msgspec.structs.replace(p, failed=p.failed and p.revision != turn.workload.revision) for p in turn.status.flag_plans]
        turn.set(verdict=None, flag_plans=plans)
        return
    progress.begin(turn, overridden=True)


def _hotfix(turn: Turn, command: Command) -> None:
    """Nothing is awaited that only proves; pods, order and harm count as ever."""
    if turn.status.rollout is None:
        progress.begin(turn)
    turn.roll(hotfix=True)
    _decided(turn, command)
    if turn.status.phase in ("Paused", "Inconclusive"):
        progress.resume(turn)
    turn.tell("Resumed", f"{turn.name} {turn.rollout.revision}: goes on as a hotfix{f' by {command.by}'} ({command.why[:REASON_LIMIT]})")


_VERBS: Final[Mapping[str, Callable[[Turn, Command], None]]] = {
    "promote": _promote,
    "abort": _abort,
    "kill": _kill,
    "pause": _pause,
    "resume": _resume,
    "override": _override,
    "retry": _retry,
    "hotfix": _hotfix,
    "undo": undo.begin,
    "skip": driving.skip,
    "step": driving.go_to,
    "set-weight": driving.set_weight,
    "approve": approval.approve,
}

_LEGAL: Final[Mapping[str, tuple[str, ...]]] = {
    "promote": IN_STEPS,
    "abort": (*IN_STEPS, "Promoting", "Settling"),
    "kill": (*IN_STEPS, "Promoting", "Settling"),
    "pause": ("Progressing", "Inconclusive"),
    "resume": ("Paused", "Progressing"),
    "override": (*IN_STEPS, "Idle", "Held", "Bypassed"),
    "retry": ("Held",),
    "hotfix": (*IN_STEPS, "Idle"),
    "undo": ("Idle", "Held"),
    "skip": STEPPING,
    "step": STEPPING,
    "set-weight": STEPPING,
    "approve": STEPPING,
}


VERBS: Final = tuple(_VERBS)
NEED_A_REASON: Final = ("override", "hotfix", "kill")


def possible(phase: str) -> tuple[str, ...]:
    """The verbs that a Canary in this phase can be told."""
    return tuple(verb for verb, phases in _LEGAL.items() if phase in phases)


def written(
    verb: str, revision: str, *, by: str, until: float, nonce: str, step: str = "", weight: int | None = None, to: str = "", why: str = ""
) -> str:
    """`verb@REV#by=NAME;until=RFC3339;n=NONCE;...;why=WORDS`, where `status.lastAction` holds all up to the nonce."""
    given = (("step", step), ("weight", "" if weight is None else str(weight)), ("to", to))
    parts = "".join(f";{key}={_plain(value)}" for key, value in given if value)
    tail = f";until={stamp(until)};n={nonce}"
    head = f"{verb}@{revision}#by="
    name = _plain(by)[: REMEMBERED - len(head) - len(tail)]
    # The nonce before the parts: what is compared to tell one saying from another is cut at the limit.
    return f"{head}{name}{tail}{parts}" + (f";why={' '.join(why.split())[:REASON_LIMIT]}" if why else "")


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9@._:/+%-]", "_", text) if not re.fullmatch(r"[0-9]+% of pods", text) else text


def parse(annotation: str) -> Command | None:
    """`verb@revision[#by=NAME;until=TIME;step=STEP;weight=N;to=REVISION;n=NONCE;why=WORDS]` as a Command; None where it is no verb of ours.

    The reason comes last and may have any characters. What cannot be read is not guessed at: an expiry of that kind has passed.
    """
    verb, _, rest = annotation.partition("@")
    revision, _, tail = rest.partition("#")
    if verb not in _VERBS or not revision:
        return None
    head, _, why = f";{tail}".partition(";why=")
    parts = dict(p.split("=", 1) for p in head.split(";") if "=" in p)
    weight = parts.get("weight", "")
    found = {
        "verb": verb,
        "revision": revision,
        "raw": annotation,
        "by": parts.get("by", "")[:128],
        "expires": _instant(parts["until"]) if "until" in parts else None,
        "why": why.strip()[:REASON_LIMIT],
        "step": parts.get("step", ""),
        "weight": int(weight) if weight.isascii() and weight.isdecimal() and len(weight) < 4 else None,
        "to": parts.get("to", ""),
    }
    return msgspec.convert(found, Command)


def _instant(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
