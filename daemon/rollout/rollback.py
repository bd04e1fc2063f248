"""Taking a release back: exposure first, then pods, then the template (promise P3).

Exposure -> Draining -> Template -> Cleaning. Gated flags and weight are written in the same pass: the weight alone already
ends the exposure. Pods are never taken away under weight, whatever hangs.
"""

from typing import Final, Literal

from daemon.api.status import HistoryEntry, RolloutStatus, VerdictStatus
from daemon.rollout import sentence
from daemon.rollout.capacity import weight_for
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
from flags.plan import PATIENCE

FLAG_BUDGET: Final = PATIENCE  # seconds that the rest waits for a flag source
HISTORY: Final = 10

# Ends of a rollout that say nothing about the revision: it is not remembered as failed.
BLAMELESS: Final = frozenset({"Superseded", "Withdrawn", "ScaledToZero", "Bypassed", "Deleted"})
ABSENT: Final = frozenset({"NoData", "ProviderError"})


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
        turn.tell("RollingBack", f"{sentence.subject(turn)} is rolled back: {cause}", warning=True)
    elif reason != "Withdrawn":
        turn.tell("Superseded", f"{sentence.subject(turn)} ends at {rollout.weight_reached} %: {cause}")


def rolling_back(turn: Turn) -> None:
    """Handler of phase RollingBack."""
    rollout = turn.rollout
    if rollout.rollback_reason not in BLAMELESS and rollout.revision not in turn.seen.failed:
        turn.do(RememberFailure(revision=rollout.revision, sentence=rollout.rollback_cause))
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
    if turn.status.rollout is not None and turn.waiting is not None:
        turn.tell_stuck(f"{sentence.subject(turn)}: the way back does not end: {turn.waiting.message}; {turn.waiting.way_out}")


def _zero_flags(turn: Turn) -> None:
    """In every stage: a flag that could not be zeroed is tried again until it is."""
    flags = turn.flags
    turn.see_flags({f.name: 0 for f in flags})
    if turn.rollout.rollback == "Cleaning":
        return
    if any((f.percent or 0) > 0 or f.error for f in flags):
        turn.do(ZeroFlags())
    elif turn.rollout.flags_zeroed_at is None:
        turn.roll(flags_zeroed_at=stamp(turn.now))


def exposure_ended(turn: Turn) -> bool:
    """Whether no route sends anything to the canary."""
    return all((r.weight or 0) == 0 for r in turn.seen.routes)


def _exposure(turn: Turn) -> None:
    if not exposure_ended(turn) and _nowhere_to_go(turn):
        return
    turn.want_weight(0)
    if not exposure_ended(turn):
        turn.do(SetWeight(weight=0))
        problems = "; ".join(r.problem for r in turn.seen.routes if r.problem)
        turn.wait(
            "TrafficReturning",
            f"weight 0 is being written{': ' if problems else ''}{problems}",
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
        turn.wait(
            "FlagRollbackPending",
            "flags are being set to 0",
            until=epoch(turn.rollout.abort_at or stamp(turn.now)) + FLAG_BUDGET,
            way_out="set the flag to 0 at its source by hand",
        )
        return
    _say(turn)
    turn.roll(rollback="Draining", stage_started_at=stamp(turn.now), weight_reached=0, exposed_at=None)


def _nowhere_to_go(turn: Turn) -> bool:
    """Where a native roll has emptied stable, weight 0 would be an outage: the template goes back first (P2).

    Only after a shift of all traffic, which is what such strategies get. The weight then falls in steps of ready capacity.
    """
    rollout, workload = turn.rollout, turn.workload
    staying = _staying(turn)
    if rollout.promotion not in ("Releasing", "Rolling") or workload.keeps_serving or staying >= workload.replicas:
        return False
    kept = 100 - 100 * staying // workload.replicas
    if kept < min((r.weight or 0) for r in turn.seen.routes) and turn.canary is not None:
        kept = weight_for(turn.canary.available, turn.demand, kept)
        turn.want_weight(kept)
        turn.do(SetWeight(weight=kept))
    stable = turn.status.stable_revision or ""
    if workload.revision == stable and workload.paused and workload.held:
        turn.do(ReleaseHold(revision=stable))
    elif workload.revision == rollout.revision and stable in turn.seen.stored and not turn.overdue:
        turn.do(RestoreTemplate(revision=stable, expected=workload.revision))
    turn.wait(
        "StableCapacity",
        f"stable has {staying} of {workload.replicas} pods: the canary serves until they are back",
        until=turn.stage_deadline(),
        way_out="set the canary backend's weight to 0 in the route by hand",
    )
    turn.look_at(turn.now + 1)
    return True


def _staying(turn: Turn) -> int:
    """Available pods of the Deployment's own that the way back does not take away again."""
    workload, stable = turn.workload, turn.status.stable_revision
    if workload.revision == turn.rollout.revision and not workload.paused and stable in turn.seen.stored:
        return 0  # a native roll will replace them all by stable's
    if workload.paused and workload.revision != stable:
        return workload.available
    return sum(r.available for r in workload.active if r.revision in (workload.revision, None))


def _say(turn: Turn) -> None:
    """The verdict is told as soon as nobody is exposed; the cleaning up is nobody's news."""
    rollout = turn.rollout
    if rollout.rollback_reason in BLAMELESS:
        return
    text = sentence.rolled_back(turn)
    turn.set(
        sentence=text,
        verdict=VerdictStatus(
            result=_result(rollout.rollback_reason or ""),
            revision=rollout.revision,
            reason=rollout.rollback_reason or "",
            sentence=text,
            at=stamp(turn.now),
        ),
    )
    turn.tell("RolledBack", text, warning=True)


def _result(reason: str) -> Literal["Fail", "Inconclusive", "NoData"]:
    return "Inconclusive" if reason == "Inconclusive" else "NoData" if reason in ABSENT else "Fail"


def _draining(turn: Turn) -> None:
    if not away(turn):
        return
    turn.roll(rollback="Template", stage_started_at=stamp(turn.now))


def away(turn: Turn) -> bool:
    """Backend out of every route -> reported by the parents -> drained -> pods. True when all are gone."""
    routes = {(r.kind, r.name) for r in turn.seen.routes}
    recorded = any((e.kind, e.name) in routes for e in turn.seen.restore)  # a daemon may have died before the owners were given back
    if any(r.weight is not None for r in turn.seen.routes) or (recorded and not turn.overdue):
        turn.do(RestoreRoutes())
        turn.wait(
            "RouteRestoring", "the route is put back as it was", until=turn.stage_deadline(), way_out="remove the canary backend by hand"
        )
        turn.look_at(turn.now + 1)
        return False
    leaving = turn.seen.canary is not None or turn.seen.strays
    if leaving and not all(r.accepted for r in turn.seen.routes) and not turn.overdue:
        turn.wait(
            "RouteReporting",
            "the gateway has yet to report the route without the canary",
            until=turn.stage_deadline(),
            way_out="the canary's pods end at that time at the latest",
        )
        return False
    if leaving and turn.waited("CanaryLeaving") == 0 and not drained(turn, "Draining", "canary", "the canary's pods end then"):
        return False
    if turn.seen.canary is not None or turn.seen.strays:
        turn.do(DeleteCanary())
        turn.wait("CanaryLeaving", "the canary's pods end", until=turn.stage_deadline(), way_out="delete the canary Deployment by hand")
        return False
    return True


def drained(turn: Turn, reason: str, pods: str, way_out: str) -> bool:
    """Whether pods that have no share any more may end.

    A gateway reports a route before it acts on it (Traefik up to twice its throttle of 2 s), and requests that it sent have to end.
    """
    drain = turn.plan.drain
    if not turn.seen.routes or turn.waited(reason) >= drain or turn.now >= turn.stage_deadline() + drain:
        return True
    message = f"the gateway is given time to act on its report, and open requests of {pods} pods to end"
    turn.wait(reason, message, within=drain, way_out=way_out)
    return False


def _template(turn: Turn) -> None:
    rollout, workload = turn.rollout, turn.workload
    stable = turn.status.stable_revision or ""
    if workload.revision == stable:
        if workload.paused and workload.held and not turn.plan.hold_always:
            turn.do(ReleaseHold(revision=stable))
            turn.wait(
                "HoldReleasing",
                "the Deployment runs its stable template; the hold ends",
                until=turn.stage_deadline(),
                way_out="kubectl rollout resume, after annotating linnet.dev/hold=off",
            )
            return
        if not (workload.complete or workload.replicas == 0 or turn.plan.hold_always or turn.overdue):
            turn.wait(
                "StableReturning",
                f"stable has {workload.available} of {workload.replicas} pods",
                until=turn.stage_deadline(),
                way_out="see why the pods of stable are not ready; the rollback is over at that time at the latest",
            )
            return
    elif _restores(turn, rollout):
        turn.do(RestoreTemplate(revision=stable, expected=workload.revision))
        turn.wait(
            "TemplateRestoring",
            "the stable template is written back",
            until=turn.stage_deadline(),
            way_out="apply the stable manifest by hand",
        )
        turn.look_at(turn.now + 1)
        return
    turn.roll(rollback="Cleaning", stage_started_at=stamp(turn.now))


def _restores(turn: Turn, rollout: RolloutStatus) -> bool:
    """A half-rolled Deployment always goes back; a held one where the owner wants it."""
    workload = turn.workload
    if turn.status.stable_revision not in turn.seen.stored:
        return False
    mixed = workload.paused and len(workload.active) > 1
    if workload.revision != rollout.revision:
        return mixed and rollout.promotion == "Rolling" and rollout.rollback_reason not in BLAMELESS
    if rollout.rollback_reason in ("Bypassed", "Superseded", "ScaledToZero"):
        return False
    if rollout.rollback_reason == "Deleted":
        return True
    released = rollout.promotion == "Rolling" or not workload.paused
    return (released or turn.plan.restore) and not (workload.paused and turn.overdue)  # what is held may stay held


def _cleaning(turn: Turn) -> None:
    waits = False
    if any(f.percent is not None for f in turn.flags):
        turn.do(RestoreFlags())
        waits = still_flags(turn, "FlagRestoring", "flags are put back as they were found")
    if not floor_lifted(turn) and not waits:
        _finish(turn)


def still_flags(turn: Turn, reason: str, message: str) -> bool:
    """Whether the end waits for the flags. A source that may come back is waited for: to end without it loses the undo (P1)."""
    lost = all(f.error and not f.retryable for f in turn.flags if f.percent is not None)
    if lost and turn.overdue:
        return False
    words = "; ".join(f.error for f in turn.flags if f.error)
    turn.wait(
        reason,
        f"{message}{': ' if words else ''}{words}",
        until=turn.stage_deadline(),
        way_out="put the flag right at its source by hand; Linnet goes on when the source answers",
    )
    turn.look_at(turn.now + (15 if turn.overdue else 1))
    return True


def floor_lifted(turn: Turn) -> bool:
    """Whether the end waits for the autoscaler's minimum; what takes longer than the stage is put back at rest."""
    if not turn.seen.floor_written:
        return False
    turn.do(RestoreFloor())
    if turn.overdue:
        return False
    turn.wait(
        "FloorRestoring",
        "the autoscaler's minimum is put back",
        until=turn.stage_deadline(),
        way_out="set minReplicas of the autoscaler by hand",
    )
    return True


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
        sentence=turn.status.sentence or rollout.rollback_cause,
        started_at=rollout.started_at,
        ended_at=stamp(turn.now),
    )
    turn.set(history=[entry, *turn.status.history][:HISTORY])
