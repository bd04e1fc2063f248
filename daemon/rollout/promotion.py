"""From a verdict to one version again: the native controller rolls stable while the canary keeps its share.

FullShift (only where a native roll would empty stable) -> Releasing -> Rolling -> Returning -> Cleaning. What serves well
keeps serving: the canary goes only after stable runs the new version at full size and has the traffic back. What follows the roll is in
`returning`.
"""

from typing import Final

import msgspec

from daemon.api.status import PromotionStage, RouteStatus
from daemon.rollout import aligning, checks, leave, returning, rollback, sentence
from daemon.rollout.capacity import balanced, pods_for, settle_sizes, weight_for
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import (
    EnsureCanary,
    ReleaseHold,
    ReplicaSetView,
    ResizeReplicaSets,
    RouteView,
    SetWeight,
    StoreTemplate,
)
from daemon.rollout.pick import Pick, words
from daemon.rollout.turn import Turn

SAID: Final = {
    "Override": "released by override",
    "Hotfix": "released as a hotfix",
    "Undo": "it was good before, and people went back to it",
}


def begin(turn: Turn, reason: str) -> None:
    """Starts the promotion: `reason` is Proven, Person, Override, Hotfix, Undo or Owner (a rule of the spec, for want of a proof)."""
    direct = reason == "Override"
    turn.enter("Promoting")
    stage: PromotionStage = "Warm" if turn.plan.warm and reason in ("Proven", "Owner") else _first(turn, direct=direct)
    turn.roll(promote_reason=reason, promotion=stage, stage_started_at=stamp(turn.now), told=False)
    turn.tell("Promoting", f"{sentence.subject(turn)} is promoted: {_why(turn, reason)}")


def _first(turn: Turn, *, direct: bool = False) -> PromotionStage:
    return "Releasing" if direct or turn.workload.keeps_serving else "FullShift"


def _warm(turn: Turn) -> None:
    """The old version stays as it is for a while: until then an abort is one write."""
    until = epoch(turn.rollout.stage_started_at or stamp(turn.now)) + turn.plan.warm
    canary = turn.canary
    if canary is not None and canary.fatal:
        rollback.begin(turn, "PodsFailing", canary.failing)
        return
    if turn.now >= until or not turn.workload.paused:
        _stage(turn, _first(turn))
        return
    turn.wait(
        "StableWarm", "the old version stays at full size until then", until=until, way_out=f"linnet abort {turn.name} goes back at once"
    )
    _keep_share(turn)


def _why(turn: Turn, reason: str) -> str:
    if reason in SAID:
        return f"{SAID[reason]}{sentence.person(turn)}"
    if reason == "Owner":
        return f"{turn.rollout.rollback_cause}, and the owner's answer to that is to promote"
    return (
        f"a person decided{sentence.person(turn)}" if reason == "Person" else (turn.seen.judge.text if turn.seen.judge else "judged fine")
    )


def promoting(turn: Turn) -> None:
    """Handler of phase Promoting."""
    if turn.rollout.promotion in ("Warm", "FullShift", "Releasing", "Rolling") and _derailed(turn):
        return
    stage = turn.rollout.promotion
    if stage == "Warm":
        _warm(turn)
    elif stage == "FullShift":
        _full_shift(turn)
    elif stage == "Releasing":
        _releasing(turn)
    elif stage == "Rolling":
        _rolling(turn)
    else:
        returning.giving_back(turn)


def _derailed(turn: Turn) -> bool:
    """A newer template, a revert, or evidence that turned, before stable is the new version."""
    rollout, workload = turn.rollout, turn.workload
    judge = turn.seen.judge
    if workload.revision == turn.status.stable_revision:
        rollback.begin(turn, "Withdrawn", "the stable template was applied again")
    elif workload.revision != rollout.revision:
        return _overtaken(turn)
    elif workload.replicas == 0 and workload.paused and rollout.promotion != "Rolling":
        rollback.begin(turn, "ScaledToZero", "the Deployment was scaled to zero")
    elif judge is not None and judge.action == "Rollback" and rollout.promote_reason == "Proven":
        rollback.begin(turn, checks.FAILED if judge.code == checks.FAILED else "Worse", judge.text)
    elif (ended := leave.ending(turn)) is not None:
        rollback.begin(turn, *ended)
    else:
        return False
    return True


def _overtaken(turn: Turn) -> bool:
    """A newer template landed: what becomes of this roll depends on how far the native controller has come."""
    rollout, workload = turn.rollout, turn.workload
    running = {r.revision for r in workload.active}
    if not workload.paused:
        rollback.begin(turn, "Bypassed", f"revision {workload.revision} arrived and rolls without being judged")
    elif rollout.promotion in ("Warm", "FullShift") or (running and rollout.revision not in running):
        rollback.begin(turn, "Superseded", f"revision {workload.revision} arrived")
    elif len(running) > 1:
        turn.enter("Settling")
        turn.roll(stage_started_at=stamp(turn.now), told=False)
    elif not running and turn.overdue:
        rollback.begin(turn, "Superseded", f"revision {workload.revision} arrived while no pod of stable was left")
    else:
        if rollout.promotion == "Releasing" and running:
            _stage(turn, "Rolling")
        return False  # the roll is over: finish it, then judge what came
    return True


def _stage(turn: Turn, stage: PromotionStage) -> None:
    turn.roll(promotion=stage, stage_started_at=stamp(turn.now), told=False)


def _full_shift(turn: Turn) -> None:
    demand = turn.demand
    canary = turn.canary
    if canary is None or canary.replicas < demand:
        turn.do(EnsureCanary(revision=turn.rollout.revision, replicas=demand))
    seized = taken_back(turn)
    if canary is None or canary.available < demand:
        _wait_pods(turn, demand)
        if seized is None:
            hold_weight(turn, turn.rollout.weight_reached)
        if turn.overdue:
            rollback.begin(turn, "CapacityTimeout", f"the canary never had {demand} available pods to take all traffic")
        return
    if seized is not None:
        turn.wait("RouteTakenBack", seized, until=turn.stage_deadline(), way_out=f"linnet abort {turn.name}")
    if seized is not None or not hold_weight(turn, 100):
        if turn.overdue:
            rollback.begin(turn, "RouteTimeout", seized or "the route did not take 100 %")
        return
    if rollback.drained(turn, "StableDraining", "stable", f"the hold ends then; linnet abort {turn.name}"):
        _stage(turn, "Releasing")


def _wait_pods(turn: Turn, wanted: int) -> None:
    canary = turn.canary
    have = canary.available if canary else 0
    words = f": {canary.failing}" if canary and canary.failing else ""
    turn.wait(
        "Capacity", f"{have} of {wanted} canary pods are available{words}", until=turn.stage_deadline(), way_out=f"linnet abort {turn.name}"
    )


def taken_back(turn: Turn) -> str | None:
    """What someone else made of a weight that we had written; None while it is as written, or our own write is under way (P8)."""
    for view in turn.seen.routes:
        status = turn.route_status(view.kind, view.name)
        picked = _pick_taken(view, status)
        if picked is not None:
            return picked
        if status.written is None or view.weight in (status.written, status.wanted) or (status.wanted == 0 and not view.weight):
            continue
        if status.wanted != status.written and not view.manager:
            continue
        who = view.manager or "another manager"
        now = "none (backend removed)" if view.weight is None else f"{view.weight} %"
        return f"{view.kind} {view.name}: {who} set the canary's weight to {now}, wanted {status.wanted} %"
    return None


def _pick_taken(view: RouteView, status: RouteStatus) -> str | None:
    """The same of what is picked beside the weight."""
    if status.written is None or view.picked in (status.written_pick, status.wanted_pick):
        return None
    if status.wanted_pick != status.written_pick and not view.manager:
        return None
    now = f"{view.picked} sent to the canary" if view.picked else f"no {status.written_pick or status.wanted_pick} sent to it any more"
    return f"{view.kind} {view.name}: {view.manager or 'another manager'} changed who reaches the canary: {now}"


def _keep_share(turn: Turn) -> None:
    """While stable rolls, the canary serves what it served, with pods for it; where someone took the route, it is theirs."""
    rollout = turn.rollout
    wanted = pods_for(rollout.weight_reached, turn.demand)
    if not turn.seen.pod_ratio and (turn.canary is None or turn.canary.replicas < wanted):
        turn.do(EnsureCanary(revision=rollout.revision, replicas=wanted))
    seized = taken_back(turn)
    aligning.trail(turn)
    if seized is None:
        hold_weight(turn, rollout.weight_reached)
    else:
        turn.set(routes=[msgspec.structs.replace(r, written=None) for r in turn.status.routes])
        turn.roll(weight_reached=min((r.weight or 0) for r in turn.seen.routes))
        turn.tell("TakenBack", f"{seized}; the roll of stable goes on", warning=True)


def fall_short(turn: Turn, reason: str, message: str, kept: int, *, ends: str, way_out: str) -> None:
    """What a weight needs is not there: at most `kept` stays meanwhile, unless the route is somebody else's, and overdue all goes back."""
    turn.wait(reason, message, until=turn.stage_deadline(), way_out=way_out)
    if turn.seen.routes and taken_back(turn) is None:
        hold_weight(turn, kept)
    if turn.overdue:
        rollback.begin(turn, ends, f"{message}, for too long")


def hold_weight(turn: Turn, weight: int, pick: Pick | None = None) -> bool:
    """Brings every route to what `weight` and the canary's ready pods allow; True when all show `weight`, and `pick`, and report it."""
    canary = turn.canary
    ready, stable = canary.available if canary else 0, turn.workload.available
    carried = max(weight_for(ready, turn.demand, weight), min(weight, balanced(ready, stable, turn.demand)))
    allowed = min(turn.ceiling, carried)
    picked = words(pick)
    turn.want_weight(allowed, picked)
    if not all(r.shows(allowed, picked) for r in turn.seen.routes):
        turn.do(SetWeight(weight=allowed, pick=pick))
    elif turn.seen.routes and all(r.accepted for r in turn.seen.routes):
        turn.note_weight(allowed, picked)
        turn.roll(weight_reached=allowed)
        return allowed == weight
    if turn.seen.routes:
        turn.wait(
            "RouteAccepting",
            f"the route is taken to {picked or f'{allowed} %'}",
            until=turn.stage_deadline(),
            way_out=f"linnet abort {turn.name}",
        )
        turn.look_at(turn.now + 1)
        return False
    return True


def _releasing(turn: Turn) -> None:
    if not turn.workload.paused:
        _stage(turn, "Rolling")
        _rolling(turn)
        return
    turn.do(ReleaseHold(revision=turn.rollout.revision))
    turn.wait(
        "HoldReleasing",
        "the hold ends, and the native controller rolls stable",
        until=turn.stage_deadline(),
        way_out=f"linnet abort {turn.name}",
    )
    _keep_share(turn)
    turn.look_at(turn.now + 1)
    turn.tell_stuck(f"{sentence.subject(turn)}: the hold of the Deployment cannot be released; linnet abort {turn.name} takes it back")


def _rolling(turn: Turn) -> None:
    rollout, workload = turn.rollout, turn.workload
    if workload.paused and workload.held and workload.revision == rollout.revision and not workload.complete:
        _stage(turn, "Releasing")  # the policy held a restart of the judged template
        return
    done = workload.complete and workload.available >= workload.replicas
    if workload.revision != rollout.revision or workload.paused:
        done = [r.revision for r in workload.active] == [rollout.revision] and workload.available >= workload.replicas
    if not done:
        words = f": {workload.failing}" if workload.failing else ""
        turn.wait(
            "StableRolling",
            f"stable rolls: {workload.available} of {workload.replicas} pods available{words}",
            until=turn.stage_deadline(),
            way_out=f"linnet abort {turn.name}; until then the canary keeps serving its share",
        )
        _keep_share(turn)
        _tell_stuck(turn)
        return
    turn.set(stable_revision=rollout.revision)
    turn.do(StoreTemplate(revision=rollout.revision, role="stable", by=rollout.promote_reason or ""))
    _stage(turn, "Returning")


def _tell_stuck(turn: Turn) -> None:
    """What serves well keeps serving, and people are told, once."""
    words = turn.workload.failing or "no reason reported"
    turn.tell_stuck(
        f"{sentence.subject(turn)}: the roll of stable does not finish ({words}); the canary keeps serving; "
        f"linnet abort {turn.name} takes it back"
    )


def lock_step(turn: Turn, kept: ReplicaSetView, others: list[ReplicaSetView]) -> None:
    """One move from `others` to `kept`, once the pods of the last one are available. A third ReplicaSet empties first."""
    if kept.available < kept.replicas or not others:
        return
    workload, rest = turn.workload, sum(r.replicas for r in others)
    new, old = settle_sizes(kept.replicas, rest, workload.replicas, workload.max_surge)
    sizes = [(kept.name, new)]
    for other in sorted(others, key=lambda r: r.available, reverse=True):
        sizes.append((other.name, min(other.replicas, old)))
        old -= min(other.replicas, old)
    turn.do(ResizeReplicaSets(sizes=tuple(sizes)))


def settling(turn: Turn) -> None:
    """Handler of phase Settling: a newer template froze the roll; both ReplicaSets move in lock step until one is left."""
    rollout, workload = turn.rollout, turn.workload
    if workload.revision in (turn.status.stable_revision, rollout.revision) or not workload.paused:
        turn.enter("Promoting")  # a revert, the judged template again, or a roll that someone let go: decided there
        _stage(turn, "Releasing")
        return
    fresh = next((r for r in workload.active if r.revision == rollout.revision), None)
    old = [r for r in workload.active if r.revision != rollout.revision]
    if fresh is not None and not old and fresh.available >= workload.replicas:
        turn.set(stable_revision=rollout.revision)
        turn.do(StoreTemplate(revision=rollout.revision, role="stable", by=rollout.promote_reason or ""))
        turn.enter("Promoting")
        _stage(turn, "Returning")
        return
    turn.wait(
        "Settling",
        f"revision {workload.revision} arrived while {rollout.revision} was rolling: that roll is finished first",
        until=turn.stage_deadline(),
        way_out=f"linnet abort {turn.name} puts the stable template back; then apply {workload.revision} again",
    )
    _keep_share(turn)
    if fresh is not None:
        lock_step(turn, fresh, old)
    turn.look_at(turn.now + 1)
    _tell_stuck(turn)
