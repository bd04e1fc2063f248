"""Taking a release back: exposure first, then pods, then the template (promise P3).

Exposure -> Draining -> Template -> Cleaning. Gated flags and weight are written in the same pass: the weight alone already
ends the exposure. Pods are never taken away under weight, whatever hangs.
"""

from functools import partial
from typing import Final, Literal

from daemon.api.status import HistoryEntry, RolloutStatus, VerdictStatus
from daemon.rollout import lockstep, sentence, shares
from daemon.rollout.capacity import weight_for
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import (
    DeleteCanary,
    EnsureCanary,
    FinishFlag,
    FlagView,
    ReleaseHold,
    RememberFailure,
    RestoreFlags,
    RestoreFloor,
    RestoreRoutes,
    RestoreTemplate,
    SetFlag,
    SetWeight,
    ZeroFlags,
)
from daemon.rollout.turn import Turn
from flags.plan import PATIENCE, Action, Pods, Restore, Settled, Weight, Zero, back, walk

SWIFT: Final = 0.25  # seconds between two looks at what traffic waits for
HISTORY: Final = 10

# Ends of a rollout that say nothing about the revision: it is not remembered as failed.
BLAMELESS: Final = frozenset({"Superseded", "Withdrawn", "ScaledToZero", "Bypassed", "Deleted", "GroupRolledBack"})
ABSENT: Final = frozenset({"NoData", "ProviderError"})


def begin(turn: Turn, reason: str, cause: str) -> None:
    """Starts the way back. `cause` completes 'rolled back after ...: '."""
    rollout = turn.rollout
    turn.recall(SetWeight, SetFlag, FinishFlag, EnsureCanary)
    turn.enter("RollingBack")
    turn.roll(
        rollback="Exposure",
        rollback_reason=reason,
        rollback_cause=cause[:1000],
        abort_at=stamp(turn.now),
        stage_started_at=stamp(turn.now),
        told=False,
        weight_at_abort=rollout.weight_reached,
        pick_at_abort=next((r.picked for r in turn.seen.routes if r.picked), ""),
        flags_at_abort=_raised(turn),
    )
    if reason not in BLAMELESS or reason == "GroupRolledBack":
        turn.tell("RollingBack", f"{sentence.subject(turn)} is rolled back: {cause}", warning=True)
    elif reason != "Withdrawn":
        turn.tell("Superseded", f"{sentence.subject(turn)} ends at {sentence.stood_at(turn)}: {cause}")


def rolling_back(turn: Turn) -> None:
    """Handler of phase RollingBack."""
    rollout = turn.rollout
    if rollout.rollback_reason not in BLAMELESS and rollout.revision not in turn.seen.failed:
        turn.do(RememberFailure(revision=rollout.revision, sentence=rollout.rollback_cause, reason=rollout.rollback_reason or ""))
    _aim_at_zero(turn)
    over = walk(back(lockstep.driven(turn, turn.taken)), partial(_attempt, turn), elapsed=turn.elapsed(turn.rollout.abort_at))
    if turn.rollout.rollback == "Cleaning" and not floor_lifted(turn) and over:
        _finish(turn)
    if turn.status.rollout is not None and turn.waiting is not None:
        turn.tell_stuck(f"{sentence.subject(turn)}: the way back does not end: {turn.waiting.message}; {turn.waiting.way_out}")


def _raised(turn: Turn) -> list[str]:
    """The flags that people may have had through us: as the source says, or, where it does not answer, as we meant it."""
    wanted = {f.name: max([f.wanted, *(c.wanted for c in f.cohorts)]) for f in turn.status.flags}
    return [v.name for v in turn.taken if lockstep.on(v) or (v.error and not v.missing and wanted.get(v.name, 0) > 0)]


def _aim_at_zero(turn: Turn) -> None:
    for view in turn.taken:
        turn.aim_flag(view, shares.at(turn.flag_plan(view.name).unreached, {}, gated=view.gated))
    if turn.rollout.flags_zeroed_at is None and turn.taken and all(lockstep.off(v) for v in turn.taken):
        turn.roll(flags_zeroed_at=stamp(turn.now))


def _attempt(turn: Turn, action: Action) -> bool:
    """One action of the way back. Once the exposure has ended, what somebody writes into a route is `away`'s to undo."""
    exposed = turn.rollout.rollback == "Exposure"
    match action:
        case Zero(flag=flag):
            return turn.rollout.rollback == "Cleaning" or _zeroed(turn, lockstep.view_of(turn, flag))
        case Weight():
            return not exposed or _weight_off(turn)
        case Settled():
            return not exposed or exposure_ended(turn)
        case Pods():
            return _pods_away(turn)
        case Restore(flag=flag):
            return _put_back(turn, lockstep.view_of(turn, flag))
        case _:
            raise ValueError(f"no way back goes by {type(action).__name__}")


def _zeroed(turn: Turn, view: FlagView) -> bool:
    """Tried in every pass until the source says so; only at first does anything wait for it."""
    if lockstep.off(view):
        return True
    turn.do_flag(ZeroFlags, view.name)
    ends = epoch(turn.rollout.abort_at or stamp(turn.now)) + PATIENCE
    if turn.now < ends:
        turn.wait(
            "FlagRollbackPending",
            f"flag {view.key} is being set to 0{': ' if view.error else ''}{view.error}",
            until=ends,
            way_out="set the flag to 0 at its source by hand",
        )
        turn.look_at(turn.now + SWIFT)
    else:
        turn.look_at(turn.now + lockstep.SOON)
    return False


def exposure_ended(turn: Turn) -> bool:
    """Whether no route sends anything to the canary."""
    return not any(r.exposes() for r in turn.seen.routes)


def _weight_off(turn: Turn) -> bool:
    if not exposure_ended(turn) and _nowhere_to_go(turn):
        return False
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
        return False
    if turn.rollout.weight_zeroed_at is None:
        turn.note_weight(0)
        turn.roll(weight_zeroed_at=stamp(turn.now))
    return True


def _pods_away(turn: Turn) -> bool:
    """From the end of the exposure to that of the canary's pods, and the template where it belongs."""
    stage = turn.rollout.rollback
    if stage == "Exposure":
        _say(turn)
        turn.roll(rollback="Draining", stage_started_at=stamp(turn.now), weight_reached=0, exposed_at=None)
    elif stage == "Draining":
        _draining(turn)
    elif stage == "Template":
        _template(turn)
    return stage == "Cleaning"


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
    text = sentence.rolled_back(turn)
    if rollout.rollback_reason == "GroupRolledBack":  # people are told, and nothing is said against the version
        turn.set(sentence=text)
        turn.tell("RolledBack", text, warning=True)
    if rollout.rollback_reason in BLAMELESS:
        return
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
    if any(r.weight is not None or r.picked for r in turn.seen.routes) or (recorded and not turn.overdue):
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
        turn.look_at(turn.now + 1)  # as at the start: time alone may be what is missing
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


def _put_back(turn: Turn, view: FlagView) -> bool:
    """The flag as it was found, or lost for good."""
    if view.percent is None and not view.error:
        return True
    turn.do_flag(RestoreFlags, view.name)
    if lockstep.off(view):
        return not still_flag(turn, view, "FlagRestoring", f"flag {view.key} is put back as it was found")
    return not still_flag(turn, view, "FlagRollbackPending", f"flag {view.key} is not back at 0")


def still_flag(turn: Turn, view: FlagView, reason: str, message: str) -> bool:
    """Whether the end waits for this flag. A source that may come back is waited for: to end without it loses the undo (P1)."""
    if view.error and not view.retryable and turn.overdue:
        return False
    turn.wait(
        reason,
        f"{message}{': ' if view.error else ''}{view.error}",
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
