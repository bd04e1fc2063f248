"""Taking a release back: exposure first, then pods, then the template (promise P3).

Exposure -> Draining -> Template -> Cleaning. Gated flags and weight are written in the same pass: the weight alone already
ends the exposure. Pods are never taken away under weight, whatever hangs.
"""

from typing import Final

from daemon.api.status import HistoryEntry, RolloutStatus, VerdictStatus
from daemon.rollout import sentence
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import (
    DeleteCanary,
    ReleaseHold,
    RememberFailure,
    RestoreFlags,
    RestoreFloor,
    RestoreRoutes,
    RestoreTemplate,
    SetWeight,
    ZeroFlags,
)
from daemon.rollout.turn import Turn

FLAG_BUDGET: Final = 5.0  # seconds that the rest waits for a flag source
DRAIN: Final = 3.0  # seconds between the last route report and the end of the pods
HISTORY: Final = 10

# Ends of a rollout that say nothing about the revision: it is not remembered as failed.
BLAMELESS: Final = frozenset({"Superseded", "Withdrawn", "ScaledToZero", "Bypassed", "Deleted"})


def begin(turn: Turn, reason: str, cause: str) -> None:
    """Starts the way back. `cause` completes 'rolled back after ...: '."""
    rollout = turn.rollout
    turn.enter("RollingBack")
    turn.roll(
        rollback="Exposure",
        rollback_reason=reason,
        rollback_cause=cause[:1000],
        abort_at=stamp(turn.now),
        stage_started_at=stamp(turn.now),
        told=False,
        weight_at_abort=rollout.weight_reached,
    )
    if reason not in BLAMELESS:
        turn.do(RememberFailure(revision=rollout.revision, sentence=cause[:1000]))
        turn.tell("RollingBack", f"{sentence.subject(turn)} is rolled back: {cause}", warning=True)
    elif reason != "Withdrawn":
        turn.tell("Superseded", f"{sentence.subject(turn)} ends at {rollout.weight_reached} %: {cause}")


def rolling_back(turn: Turn) -> None:
    """Handler of phase RollingBack."""
    _zero_flags(turn)
    stage = turn.rollout.rollback
    if stage == "Exposure":
        _exposure(turn)
    elif stage == "Draining":
        _draining(turn)
    elif stage == "Template":
        _template(turn)
    else:
        _cleaning(turn)


def _zero_flags(turn: Turn) -> None:
    """In every stage: a flag that could not be zeroed is tried again until it is."""
    flags = turn.seen.flags
    turn.see_flags({f.name: 0 for f in flags})
    if turn.rollout.rollback == "Cleaning":
        return
    if any((f.percent or 0) > 0 for f in flags):
        turn.do(ZeroFlags())
    elif turn.rollout.flags_zeroed_at is None:
        turn.roll(flags_zeroed_at=stamp(turn.now))


def exposure_ended(turn: Turn) -> bool:
    """Whether no route sends anything to the canary."""
    return all((r.weight or 0) == 0 for r in turn.seen.routes)


def _exposure(turn: Turn) -> None:
    turn.want_weight(0)
    if not exposure_ended(turn):
        turn.do(SetWeight(weight=0))
        turn.wait(
            "TrafficReturning",
            "weight 0 is being written: " + "; ".join(r.problem for r in turn.seen.routes if r.problem),
            until=turn.stage_deadline(),
            way_out="set the canary backend's weight to 0 in the route by hand",
        )
        turn.look_at(turn.now + 1)
        return
    if turn.rollout.weight_zeroed_at is None:
        turn.note_weight(0)
        turn.roll(weight_zeroed_at=stamp(turn.now))
    waited = turn.elapsed(turn.rollout.abort_at)
    if turn.rollout.flags_zeroed_at is None and waited < FLAG_BUDGET:
        turn.wait("FlagRollbackPending", "flags are being set to 0", until=epoch(turn.rollout.abort_at or stamp(turn.now)) + FLAG_BUDGET)
        return
    _say(turn)
    turn.roll(rollback="Draining", stage_started_at=stamp(turn.now), weight_reached=0, exposed_at=None)


def _say(turn: Turn) -> None:
    """The verdict is told as soon as nobody is exposed; the cleaning up is nobody's news."""
    rollout = turn.rollout
    if rollout.rollback_reason in BLAMELESS:
        return
    text = sentence.rolled_back(turn)
    turn.set(
        sentence=text,
        verdict=VerdictStatus(
            result="Fail" if rollout.rollback_reason != "Inconclusive" else "Inconclusive",
            revision=rollout.revision,
            reason=rollout.rollback_reason or "",
            sentence=text,
            at=stamp(turn.now),
        ),
    )
    turn.tell("RolledBack", text, warning=True)


def _draining(turn: Turn) -> None:
    if not away(turn):
        return
    turn.roll(rollback="Template", stage_started_at=stamp(turn.now))


def away(turn: Turn) -> bool:
    """Backend out of every route -> reported by the parents -> a moment for open requests -> pods. True when all are gone."""
    if any(r.weight is not None for r in turn.seen.routes):
        turn.do(RestoreRoutes())
        turn.wait(
            "RouteRestoring", "the route is put back as it was", until=turn.stage_deadline(), way_out="remove the canary backend by hand"
        )
        turn.look_at(turn.now + 1)
        turn.roll(stage_started_at=stamp(turn.now))
        return False
    drained = epoch(turn.rollout.stage_started_at or stamp(turn.now)) + DRAIN
    if turn.seen.routes and turn.now < drained and (turn.seen.canary or turn.seen.strays):
        turn.wait("Draining", "open requests of the canary are given time", until=drained)
        return False
    if turn.seen.canary is not None or turn.seen.strays:
        turn.do(DeleteCanary())
        turn.wait("CanaryLeaving", "the canary's pods end", until=turn.stage_deadline(), way_out="delete the canary Deployment by hand")
        return False
    return True


def _template(turn: Turn) -> None:
    rollout, workload = turn.rollout, turn.workload
    stable = turn.status.stable_revision or ""
    if workload.revision == stable:
        if workload.paused and workload.held and not turn.plan.hold_always:
            turn.do(ReleaseHold(revision=stable))
            turn.wait("HoldReleasing", "the Deployment runs its stable template; the hold ends", until=turn.stage_deadline())
            return
        if not (workload.complete or workload.replicas == 0 or turn.plan.hold_always):
            turn.wait("StableReturning", f"stable has {workload.available} of {workload.replicas} pods", until=turn.stage_deadline())
            if turn.now < turn.stage_deadline():
                return
    elif _restores(turn, rollout):
        turn.do(RestoreTemplate(revision=stable, expected=rollout.revision))
        turn.wait("TemplateRestoring", "the stable template is written back", until=turn.stage_deadline())
        turn.look_at(turn.now + 1)
        return
    turn.roll(rollback="Cleaning", stage_started_at=stamp(turn.now))


def _restores(turn: Turn, rollout: RolloutStatus) -> bool:
    """A half-rolled Deployment always goes back; a held one where the owner wants it."""
    if turn.workload.revision != rollout.revision:
        return False
    if rollout.rollback_reason in ("Bypassed", "Superseded", "ScaledToZero"):
        return False
    if rollout.rollback_reason == "Deleted":
        return True
    released = rollout.promotion in ("Rolling", "Returning", "Cleaning") or not turn.workload.paused
    return released or turn.plan.restore


def _cleaning(turn: Turn) -> None:
    if any(f.percent is not None for f in turn.seen.flags):
        turn.do(RestoreFlags())
        if turn.now < turn.stage_deadline():
            turn.wait("FlagRestoring", "flags are put back as they were found", until=turn.stage_deadline())
            turn.look_at(turn.now + 1)
            return
    if turn.seen.floor_written:
        turn.do(RestoreFloor())
        turn.wait("FloorRestoring", "the autoscaler's minimum is put back", until=turn.stage_deadline())
        if turn.now < turn.stage_deadline():
            return
    _finish(turn)


def _finish(turn: Turn) -> None:
    rollout = turn.rollout
    reason = rollout.rollback_reason or ""
    ended = "RolledBack" if reason not in BLAMELESS else reason
    remember(turn, ended)
    rejected = turn.workload.revision == rollout.revision and turn.workload.paused
    turn.set(rollout=None, routes=[], flags=[], weight=0)
    if reason == "Bypassed":
        turn.enter("Bypassed")
    elif rejected and reason not in BLAMELESS:
        turn.enter("Held")
    else:
        turn.enter("Idle")


def remember(turn: Turn, outcome: str) -> None:
    """One line of history, newest first, bounded."""
    rollout = turn.rollout
    entry = HistoryEntry(
        revision=rollout.revision,
        outcome=outcome,
        sentence=turn.status.sentence if turn.status.verdict else "",
        started_at=rollout.started_at,
        ended_at=stamp(turn.now),
    )
    turn.set(history=[entry, *turn.status.history][:HISTORY])
