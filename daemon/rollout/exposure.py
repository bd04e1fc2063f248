"""Bringing a step's exposure about: capacity, then weight, then flags, each seen before the next.

Every part answers whether it is as the step wants it, writes what is missing, and says what it waits for. What falls apart under
a step that stood gets its own time to come back; the weight never waits for that (promise P2).
"""

from daemon.rollout import promotion, rollback
from daemon.rollout.capacity import pods_for, ratio_pods, ratio_share
from daemon.rollout.clock import stamp
from daemon.rollout.model import EnsureCanary, FlagView, SetFlag
from daemon.rollout.turn import Turn


def pods_wanted(turn: Turn, weight: int) -> int:
    """Canary pods for `weight`: by share of pods where there is no router, else by what the share needs."""
    if turn.seen.pod_ratio:
        return ratio_pods(weight, turn.demand)
    return max(1, pods_for(weight, turn.demand))


def floor_holds(turn: Turn, weight: int) -> bool:
    """Someone let the autoscaler shrink stable again: no more weight than what its ready pods could take back (workload-traps A6)."""
    if turn.ceiling >= weight:
        return True
    message = f"the autoscaler's minimum was taken back: {turn.workload.available} stable pods could take back {turn.ceiling} % only"
    turn.wait("FloorTakenBack", message, until=turn.stage_deadline(), way_out=f"minReplicas of at least {turn.floor}, or linnet abort")
    if turn.seen.routes and promotion.taken_back(turn) is None:
        promotion.hold_weight(turn, weight)
    if turn.overdue:
        rollback.begin(turn, "FloorTakenBack", f"{message}, for too long")
    return False


def share(turn: Turn) -> int:
    canary = turn.canary
    return ratio_share(canary.available if canary else 0, turn.workload.available)


def has_capacity(turn: Turn, weight: int) -> bool:
    wanted = pods_wanted(turn, weight)
    canary = turn.canary
    if canary is None or canary.replicas < wanted:
        turn.do(EnsureCanary(revision=turn.rollout.revision, replicas=wanted))
    have = canary.available if canary else 0
    if have >= wanted:
        return True
    words = f": {canary.failing}" if canary and canary.failing else ""
    message = f"{have} of {wanted} canary pods are available{words}"
    turn.wait("Capacity", message, until=turn.stage_deadline(), way_out=f"linnet abort {turn.name}")
    # P2: never more weight than the ready pods carry, also when they die under it.
    now_at = min(turn.rollout.weight_reached, weight)
    if turn.seen.routes and promotion.taken_back(turn) is None:
        promotion.hold_weight(turn, now_at)
    if turn.overdue:
        rollback.begin(turn, "CapacityTimeout", f"{message}, for too long")
    return False


def seized(turn: Turn) -> bool:
    """A weight that we had written, and someone else changed: void, report, hold; never fight (P8)."""
    message = promotion.taken_back(turn)
    if message is None:
        return False
    fresh = turn.status.waiting is None or turn.status.waiting.reason != "RouteTakenBack"
    if fresh:
        turn.roll(stage_started_at=stamp(turn.now))
        turn.tell("TakenBack", message, warning=True)
    turn.wait(
        "RouteTakenBack",
        message,
        until=turn.stage_deadline(),
        way_out=f"keep that manager from the weights (docs: how-to/gitops), then linnet resume {turn.name}",
    )
    if not fresh and turn.overdue:
        rollback.begin(turn, "RouteTakenBack", message)
    return True


def weight_there(turn: Turn, weight: int) -> bool:
    if not turn.seen.routes:
        return True
    if promotion.hold_weight(turn, weight):
        return True
    if turn.overdue:
        problems = "; ".join(r.problem for r in turn.seen.routes if r.problem) or "no parent accepted it"
        rollback.begin(turn, "RouteTimeout", f"the route did not take {weight} %: {problems}")
    return False


def flags_there(turn: Turn) -> bool:
    wanted = dict(turn.step.flags)
    turn.see_flags(wanted)
    waiting: FlagView | None = None
    for view in turn.flags:
        target = wanted.get(view.name, 0)
        if view.drift == "higher":
            turn.wait(
                "FlagRaised",
                f"flag {view.key} was raised at its source by hand to more than {target} %",
                until=turn.stage_deadline(),
                way_out=f"lower it, or linnet abort {turn.name}",
            )
            waiting = view
        elif view.percent != target:
            turn.do(SetFlag(name=view.name, percent=target))
            turn.look_at(turn.now + 1)
            waiting = view
        elif not view.seen:
            turn.look_at(turn.now + 1)
            waiting = view
    if waiting is None:
        return True
    words = f": {waiting.error}" if waiting.error else ""
    turn.wait(
        "FlagSettling",
        f"flag {waiting.key} is not yet seen at {wanted.get(waiting.name, 0)} %{words}",
        until=turn.stage_deadline(),
        way_out=f"linnet abort {turn.name}",
    )
    if turn.overdue:
        rollback.begin(turn, "FlagTimeout", f"flag {waiting.key} did not reach {wanted.get(waiting.name, 0)} %{words}")
    return False
