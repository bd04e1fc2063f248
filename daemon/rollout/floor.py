"""The stable floor: an autoscaler must not shrink what has to take all traffic back (promise P2, workload-traps A6).

The minimum is lifted before the first weight to what ran then. Where the load grows under way, the autoscaler wants more pods for
the share that stable has left than the floor asks for; all traffic then needs more than those, and the minimum follows. It is
never lifted over the owner's maximum, never lowered before the end, and never over the word of somebody who set it meanwhile (P8).
"""

from math import ceil

from daemon.rollout import promotion
from daemon.rollout.model import LiftFloor
from daemon.rollout.turn import Turn


def needed(turn: Turn) -> int:
    """Stable pods for all of today's traffic: those that run, and what the share away would need beside them."""
    scaler, replicas = turn.seen.autoscaler, turn.workload.replicas
    away = max((r.weight or 0 for r in turn.seen.routes), default=0)
    if turn.floor and replicas > turn.floor and away < 100:
        replicas = ceil(100 * replicas / (100 - away))
    most = scaler.maximum if scaler is not None and scaler.maximum else replicas
    return max(turn.floor, min(replicas, most))


def lift(turn: Turn) -> None:
    """Asks for the minimum that the release needs now, if the autoscaler has a smaller one and nobody else has set that."""
    scaler = turn.seen.autoscaler
    if scaler is None or scaler.touched or not turn.workload.replicas:
        return
    if scaler.minimum < (wanted := needed(turn)):
        turn.do(LiftFloor(minimum=wanted))


def holds(turn: Turn, weight: int) -> bool:
    """Whether stable could take `weight` back: no more of it while the autoscaler has not followed, or was told otherwise."""
    lift(turn)
    if turn.ceiling < weight:
        _taken_back(turn, weight)
        return False
    if weight > turn.rollout.weight_reached and turn.workload.replicas < turn.floor:
        _growing(turn)
        return False
    return True


def _taken_back(turn: Turn, weight: int) -> None:
    message = f"the autoscaler's minimum was taken back: {turn.workload.available} stable pods could take back {turn.ceiling} % only"
    way_out = f"minReplicas of at least {turn.floor}, or linnet abort"
    promotion.fall_short(turn, "FloorTakenBack", message, weight, ends="FloorTakenBack", way_out=way_out)


def _growing(turn: Turn) -> None:
    message = f"stable has {turn.workload.replicas} of the {turn.floor} pods that could take all of today's traffic back"
    kept, way_out = turn.rollout.weight_reached, f"linnet abort {turn.name}"
    promotion.fall_short(turn, "Capacity", message, kept, ends="CapacityTimeout", way_out=way_out)
