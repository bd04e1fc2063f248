"""From a verdict to one version again: the native controller rolls stable while the canary keeps its share.

FullShift (only where a native roll would empty stable) -> Releasing -> Rolling -> Returning -> Cleaning. What serves well
keeps serving: the canary goes only after stable runs the new version at full size and has the traffic back.
"""

from daemon.api.status import PromotionStage, VerdictStatus
from daemon.rollout import rollback, sentence
from daemon.rollout.capacity import pods_for, settle_sizes, weight_for
from daemon.rollout.clock import stamp
from daemon.rollout.model import (
    EnsureCanary,
    FinishFlag,
    ReleaseFlags,
    ReleaseHold,
    ResizeReplicaSets,
    RestoreFlags,
    RestoreFloor,
    SetWeight,
    StoreTemplate,
)
from daemon.rollout.turn import Turn


def begin(turn: Turn, reason: str) -> None:
    """Starts the promotion: `reason` is Proven, Person or Override."""
    direct = reason == "Override"
    turn.enter("Promoting")
    stage: PromotionStage = "Releasing" if direct or turn.workload.keeps_serving else "FullShift"
    turn.roll(promote_reason=reason, promotion=stage, stage_started_at=stamp(turn.now), told=False)
    turn.tell("Promoting", f"{sentence.subject(turn)} is promoted: {_why(turn, reason)}")


def _why(turn: Turn, reason: str) -> str:
    if reason == "Override":
        return "released by override"
    return "a person decided" if reason == "Person" else (turn.seen.judge.text if turn.seen.judge else "judged fine")


def promoting(turn: Turn) -> None:
    """Handler of phase Promoting."""
    stage = turn.rollout.promotion
    if stage in ("FullShift", "Releasing", "Rolling") and _derailed(turn):
        return
    if stage == "FullShift":
        _full_shift(turn)
    elif stage == "Releasing":
        _releasing(turn)
    elif stage == "Rolling":
        _rolling(turn)
    elif stage == "Returning":
        _returning(turn)
    else:
        _cleaning(turn)


def _derailed(turn: Turn) -> bool:
    """A newer template, a revert, or evidence that turned, before stable is the new version."""
    rollout, workload = turn.rollout, turn.workload
    judge = turn.seen.judge
    if workload.revision == turn.status.stable_revision:
        rollback.begin(turn, "Withdrawn", "the stable template was applied again")
    elif workload.revision != rollout.revision:
        if rollout.promotion == "Rolling" and len(workload.active) > 1:
            turn.enter("Settling")
            turn.roll(stage_started_at=stamp(turn.now), told=False)
        elif rollout.promotion == "Rolling":
            return False  # the roll is over: finish it, then judge what came
        else:
            rollback.begin(turn, "Superseded", f"revision {workload.revision} arrived")
    elif judge is not None and judge.action == "Rollback" and rollout.promote_reason == "Proven":
        rollback.begin(turn, "Worse", judge.text)
    elif any(p.must_abort for p in turn.seen.permits):
        why = next(p.why for p in turn.seen.permits if p.must_abort)
        rollback.begin(turn, "Aborted", why)
    else:
        return False
    return True


def _stage(turn: Turn, stage: PromotionStage) -> None:
    turn.roll(promotion=stage, stage_started_at=stamp(turn.now), told=False)


def _full_shift(turn: Turn) -> None:
    demand = turn.demand
    canary = turn.canary
    if canary is None or canary.replicas < demand:
        turn.do(EnsureCanary(revision=turn.rollout.revision, replicas=demand))
    if canary is None or canary.available < demand:
        _wait_pods(turn, demand)
        if turn.now >= turn.stage_deadline():
            rollback.begin(turn, "CapacityTimeout", f"the canary never had {demand} available pods to take all traffic")
        return
    if not hold_weight(turn, 100):
        return
    _stage(turn, "Releasing")


def _wait_pods(turn: Turn, wanted: int) -> None:
    canary = turn.canary
    have = canary.available if canary else 0
    words = f": {canary.failing}" if canary and canary.failing else ""
    turn.wait(
        "Capacity", f"{have} of {wanted} canary pods are available{words}", until=turn.stage_deadline(), way_out=f"linnet abort {turn.name}"
    )


def hold_weight(turn: Turn, weight: int) -> bool:
    """Brings every route to what `weight` and the canary's ready pods allow; True when all show `weight` and report it."""
    canary = turn.canary
    allowed = weight_for(canary.available if canary else 0, turn.demand, weight)
    turn.want_weight(allowed)
    if any((r.weight or 0) != allowed for r in turn.seen.routes):
        turn.do(SetWeight(weight=allowed))
    elif turn.seen.routes and all(r.accepted for r in turn.seen.routes):
        turn.note_weight(allowed)
        turn.roll(weight_reached=allowed)
        return allowed == weight
    if turn.seen.routes:
        turn.wait("RouteAccepting", f"the route is taken to {allowed} %", until=turn.stage_deadline(), way_out=f"linnet abort {turn.name}")
        turn.look_at(turn.now + 1)
        return False
    return True


def _releasing(turn: Turn) -> None:
    if turn.workload.paused:
        turn.do(ReleaseHold(revision=turn.rollout.revision))
        turn.wait("HoldReleasing", "the hold ends, and the native controller rolls stable", until=turn.stage_deadline())
        turn.look_at(turn.now + 1)
        return
    _stage(turn, "Rolling")


def _rolling(turn: Turn) -> None:
    rollout, workload = turn.rollout, turn.workload
    done = workload.complete and workload.available >= workload.replicas
    if workload.revision != rollout.revision:
        done = [r.revision for r in workload.active] == [rollout.revision]
    if not done:
        hold_weight(turn, rollout.weight_reached)
        words = f": {workload.failing}" if workload.failing else ""
        turn.wait(
            "StableRolling",
            f"stable rolls: {workload.available} of {workload.replicas} pods available{words}",
            until=turn.stage_deadline(),
            way_out=f"linnet abort {turn.name}; until then the canary keeps serving its share",
        )
        _tell_stuck(turn)
        return
    turn.set(stable_revision=rollout.revision)
    turn.do(StoreTemplate(revision=rollout.revision, role="stable"))
    _stage(turn, "Returning")


def _tell_stuck(turn: Turn) -> None:
    """What serves well keeps serving, and people are told, once."""
    if turn.rollout.told or turn.now < turn.stage_deadline():
        return
    turn.roll(told=True)
    turn.tell(
        "Waiting",
        f"{sentence.subject(turn)}: the roll of stable does not finish ({turn.workload.failing or 'no reason reported'}); the canary keeps serving; linnet abort {turn.name} takes it back",
        warning=True,
    )


def _returning(turn: Turn) -> None:
    if not _flags_finished(turn):
        return
    turn.want_weight(0)
    if not rollback.exposure_ended(turn):
        if turn.workload.available < turn.workload.replicas:
            turn.wait(
                "StableCapacity", f"stable has {turn.workload.available} of {turn.workload.replicas} pods", until=turn.stage_deadline()
            )
            return
        turn.do(SetWeight(weight=0))
        turn.wait("TrafficReturning", "traffic returns to stable, now the new version", until=turn.stage_deadline())
        turn.look_at(turn.now + 1)
        return
    if turn.status.routes:
        turn.note_weight(0)
    turn.roll(weight_reached=0)
    _stage(turn, "Cleaning")


def _flags_finished(turn: Turn) -> bool:
    """The gate is swapped away before the traffic returns: stable pods are the new version, and lack the track."""
    kept = {f.name: f.on_promotion for f in turn.plan.flags}
    wanted = {f.name: 100 for f in turn.seen.flags if kept.get(f.name) == "Open"}
    turn.see_flags(wanted)
    pending = [f for f in turn.seen.flags if f.percent is not None and f.gated]
    for view in pending:
        status = turn.flag_status(view.name)
        how = kept.get(view.name, "Keep")
        if how == "Remove":
            turn.do(RestoreFlags())
        else:
            turn.do(FinishFlag(name=view.name, percent=status.wanted if status else view.percent or 0))
    unseen = [f.name for f in turn.seen.flags if f.percent is not None and not f.gated and not f.seen]
    if pending or unseen:
        turn.wait(
            "FlagFinishing", "the flag opens to stable: " + ", ".join([f.name for f in pending] + unseen), until=turn.stage_deadline()
        )
        turn.look_at(turn.now + 1)
        return turn.now >= turn.stage_deadline()
    return True


def _cleaning(turn: Turn) -> None:
    if not rollback.away(turn):
        return
    if any(f.percent is not None for f in turn.seen.flags):
        turn.do(ReleaseFlags())
        turn.wait("FlagFinishing", "the flag is given back to its people", until=turn.stage_deadline())
        turn.look_at(turn.now + 1)
        if turn.now < turn.stage_deadline():
            return
    if turn.seen.floor_written:
        turn.do(RestoreFloor())
        turn.wait("FloorRestoring", "the autoscaler's minimum is put back", until=turn.stage_deadline())
        if turn.now < turn.stage_deadline():
            return
    text = sentence.promoted(turn)
    turn.set(
        sentence=text,
        verdict=VerdictStatus(
            result="Pass", revision=turn.rollout.revision, reason=turn.rollout.promote_reason or "", sentence=text, at=stamp(turn.now)
        ),
    )
    turn.tell("Promoted", text)
    rollback.remember(turn, "Promoted")
    turn.set(rollout=None, routes=[], weight=0)
    turn.enter("Idle")


def settling(turn: Turn) -> None:
    """Handler of phase Settling: a newer template froze the roll; both ReplicaSets move in lock step until one is left."""
    rollout, workload = turn.rollout, turn.workload
    fresh = next((r for r in workload.active if r.revision == rollout.revision), None)
    old = [r for r in workload.active if r.revision != rollout.revision]
    if fresh is not None and not old and fresh.available >= workload.replicas:
        turn.set(stable_revision=rollout.revision)
        turn.do(StoreTemplate(revision=rollout.revision, role="stable"))
        turn.enter("Promoting")
        _stage(turn, "Returning")
        return
    canary = turn.canary
    if canary is not None and canary.replicas < pods_for(rollout.weight_reached, turn.demand):
        turn.do(EnsureCanary(revision=rollout.revision, replicas=pods_for(rollout.weight_reached, turn.demand)))
    hold_weight(turn, rollout.weight_reached)
    turn.wait(
        "Settling",
        f"revision {workload.revision} arrived while {rollout.revision} was rolling: that roll is finished first",
        until=turn.stage_deadline(),
        way_out="annotate linnet.dev/hold=off to let the native controller finish",
    )
    if fresh is not None and len(old) == 1 and fresh.available >= fresh.replicas:
        new, rest = settle_sizes(fresh.replicas, old[0].replicas, workload.replicas, workload.max_surge)
        turn.do(ResizeReplicaSets(sizes=((fresh.name, new), (old[0].name, rest))))
    turn.look_at(turn.now + 1)
    _tell_stuck(turn)
