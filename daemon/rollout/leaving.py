"""Going away: a Canary that is deleted gives everything back before its finalizer goes (promise P10).

Exposure first, then the Deployment on its stable template, then pods, our marks last; also where the Deployment went with it.
"""

from daemon.rollout import promotion, rollback
from daemon.rollout.clock import stamp
from daemon.rollout.model import Adopt, DeleteCanary, DropFinalizer, ReleaseHold, RestoreFlags, RestoreFloor, RestoreRoutes, RestoreTemplate
from daemon.rollout.turn import Turn


def deleting(turn: Turn) -> None:
    """The Canary goes: exposure first, then the Deployment on its stable template, our marks last (P10)."""
    workload, rollout = turn.seen.workload, turn.status.rollout
    if turn.seen.namespace_deleting:
        turn.do(DropFinalizer())
        return
    if workload is None:
        _orphaned(turn)
        return
    finishing = turn.status.phase == "Promoting" and rollout is not None and rollout.promotion in ("Returning", "Cleaning")
    if rollout is not None and not finishing and turn.status.phase != "RollingBack":
        rollback.begin(turn, "Deleted", "the Canary was deleted")
    if rollout is not None:
        if finishing:
            promotion.promoting(turn)
        else:
            rollback.rolling_back(turn)
        if turn.status.rollout is not None:
            return
        turn.reset_wait()
    stable = turn.status.stable_revision
    if stable and workload.paused and workload.held:
        if workload.revision != stable:
            turn.do(RestoreTemplate(revision=stable, expected=workload.revision))
        else:
            turn.do(ReleaseHold(revision=stable))
        turn.wait(
            "HoldReleasing",
            "the Deployment goes back to its stable template",
            within=turn.plan.progress,
            way_out="linnet cleanup",
        )
        turn.look_at(turn.now + 1)
        return
    _leave(turn)


def _leave(turn: Turn) -> None:
    """The finalizer goes after the last pod and the last leaf of ours."""
    leftovers(turn)
    if turn.seen.strays or turn.seen.canary:
        turn.do(DeleteCanary())
        turn.wait("CanaryLeaving", "pods of an earlier canary end", within=turn.plan.progress, way_out="linnet cleanup")
        turn.look_at(turn.now + 1)
        return
    if turn.seen.floor_written and turn.waited("FloorRestoring") < turn.plan.progress:
        turn.wait("FloorRestoring", "the autoscaler's minimum is put back", within=turn.plan.progress, way_out="linnet cleanup")
        turn.look_at(turn.now + 1)
        return
    if turn.seen.workload is not None:
        turn.do(Adopt(adopted=False))
    turn.do(DropFinalizer())


def _orphaned(turn: Turn) -> None:
    """The Deployment went with its Canary: what is left of ours in routes and flags goes before the pods (workload-traps A5)."""
    if turn.status.rollout is None or not _giving_back(turn):
        _leave(turn)


def _giving_back(turn: Turn) -> bool:
    """Whether routes and flags are still to be put back; given up after the progress deadline."""
    written = [f for f in turn.flags if f.percent is not None]
    routed = any(r.weight is not None or r.picked for r in turn.seen.routes)
    if written or routed:
        if routed:
            turn.do(RestoreRoutes())
        if written:
            turn.do(RestoreFlags(names=tuple(f.name for f in written)))
        turn.wait("RouteRestoring", "routes and flags are put back as they were", within=turn.plan.progress, way_out="linnet cleanup")
        turn.look_at(turn.now + 1)
        return turn.waited("RouteRestoring") < turn.plan.progress
    return False


def abandoned(turn: Turn) -> bool:
    """A release whose Deployment is gone and does not come back ends: True once nobody waits for it any more.

    Until the deadline the canary is all that serves, and keeps its share: `kubectl replace --force` is back within seconds. A release that
    is on its way back waits for nothing.
    """
    gone, under_way = "WorkloadMissing", turn.status.phase != "RollingBack"
    if turn.rollout.rollback_reason != gone:
        if under_way and turn.waited(gone) < turn.plan.progress:
            return False
        if under_way:
            turn.set(verdict=None)
            told = f"{turn.name} {turn.rollout.revision} ends: its Deployment was deleted and did not come back"
            turn.tell("Superseded", told, warning=True)
        turn.roll(rollback_reason=gone, rollback_cause="its Deployment was deleted", stage_started_at=stamp(turn.now))
    if _giving_back(turn):
        return True
    if turn.seen.strays or turn.seen.canary:
        turn.do(DeleteCanary())
        turn.wait("CanaryLeaving", "pods of the canary end", within=turn.plan.progress, way_out="linnet cleanup")
        turn.look_at(turn.now + 1)
        return True
    if rollback.floor_lifted(turn):
        return True
    rollback.remember(turn, gone)
    turn.set(rollout=None, routes=[], flags=[], weight=0)
    turn.enter("Idle")
    return False


def leftovers(turn: Turn) -> None:
    """What the end of a rollout could not put back in its time is put back now."""
    if turn.seen.strays:
        turn.do(DeleteCanary())
    if turn.seen.floor_written:
        turn.do(RestoreFloor())
