"""Bringing a step's exposure about: capacity, then weight, then flags, each seen before the next.

The order is that of `flags.plan`. Every part answers whether it is as the step wants it, writes what is missing, and says what it
waits for. What falls apart under a step that stood gets its own time to come back; the weight never waits for that (promise P2).
"""

from functools import partial
from typing import Final

from daemon.rollout import aligning, floor, lockstep, promotion, ramp, rollback, sentence
from daemon.rollout.capacity import pods_for, ratio_pods, ratio_share
from daemon.rollout.clock import stamp
from daemon.rollout.model import EnsureCanary
from daemon.rollout.pick import words
from daemon.rollout.turn import Turn
from flags.plan import Action, Answering, Capacity, Flag, Seen, Settled, Weight, forward, walk

FLAGS: Final = frozenset({"FlagSettling", *lockstep.DRIFTED.values()})  # waits for flags, which end with the stage


def pods_wanted(turn: Turn, weight: int) -> int:
    """Canary pods for `weight`: by share of pods where there is no router, else by what the share needs, or the step asks for."""
    if turn.seen.pod_ratio:
        return ratio_pods(weight, turn.demand)
    return max(1, pods_for(max(weight, turn.step.pods), turn.demand))


def reached(turn: Turn) -> int:
    """The share that the step has now: of traffic, of pods, or of people where flags alone are released."""
    if turn.plan.flags_only:
        return turn.step.reach
    return share(turn) if turn.seen.pod_ratio else ramp.aim(turn)


def share(turn: Turn) -> int:
    canary = turn.canary
    return ratio_share(canary.available if canary else 0, turn.workload.available)


def has_capacity(turn: Turn, weight: int) -> bool:
    """Pods for `weight`. Those for all that the step may get are asked for with its beginning, and stay through a retreat."""
    wanted = pods_wanted(turn, weight)
    most = max(wanted, pods_wanted(turn, ramp.top(turn)))
    canary = turn.canary
    if canary is None or canary.replicas < most:
        turn.do(EnsureCanary(revision=turn.rollout.revision, replicas=most))
    have = canary.available if canary else 0
    if have >= wanted:
        return True
    words = f": {canary.failing}" if canary and canary.failing else ""
    message = f"{have} of {wanted} canary pods are available{words}"
    # P2: never more weight than the ready pods carry, also when they die under it.
    kept, way_out = min(turn.rollout.weight_reached, weight), f"linnet abort {turn.name}"
    promotion.fall_short(turn, "Capacity", message, kept, ends="CapacityTimeout", way_out=way_out)
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
    if turn.seen.pod_ratio:
        return True
    if not turn.seen.routes:
        return _route_back(turn)
    pick = turn.step.pick
    if promotion.hold_weight(turn, weight, pick):
        return True
    if turn.overdue:
        problems = "; ".join(r.problem for r in turn.seen.routes if r.problem) or "no parent accepted it"
        rollback.begin(turn, "RouteTimeout", f"the route did not take {pick.words if pick else f'{weight} %'}: {problems}")
    return False


def _route_back(turn: Turn) -> bool:
    """Somebody deleted the route, or its Service, under a release: nothing is split, so nothing is learnt until it is there again."""
    names = ", ".join(f"{r.kind} {r.name}" for r in turn.status.routes) or "the route"
    message = f"{names} is gone: no request reaches the canary"
    turn.wait("RouteMissing", message, until=turn.stage_deadline(), way_out=f"apply it again, or linnet abort {turn.name}")
    if turn.overdue:
        rollback.begin(turn, "RouteTimeout", f"{message}, for too long")
    return False


def reach(turn: Turn) -> bool:
    """Brings about what the plan says comes next; True once the whole exposure of the step stands and is seen."""
    weight = ramp.aim(turn)
    flags = lockstep.driven(turn, turn.flags, ramp.flags_due(turn, weight))
    falls = any((r.weight or 0) > weight for r in turn.seen.routes) and promotion.taken_back(turn) is None
    if falls and not aligning.flags_first(turn, weight, flags):
        promotion.hold_weight(turn, weight)  # less waits for nothing else
    for_step = forward(weight=None if turn.plan.flags_only else weight, flags=flags)
    if walk(for_step, partial(_attempt, turn)):
        return True
    if not falls and turn.status.phase != "RollingBack":
        aligning.trail(turn)
    if turn.overdue and turn.waiting is not None and turn.waiting.reason in FLAGS:
        rollback.begin(turn, "FlagTimeout", f"{turn.waiting.message}, for too long")
    return False


def _attempt(turn: Turn, action: Action) -> bool:
    if turn.status.phase == "RollingBack":
        return False  # what came before in this very stage was overdue
    match action:
        case Capacity(weight=weight):
            return floor.holds(turn, weight) and has_capacity(turn, weight) and not seized(turn)
        case Weight(weight=weight):
            return weight_there(turn, weight)
        case Answering(flag=flag):
            view = lockstep.view_of(turn, flag)
            return lockstep.answers(turn, view, turn.step.flags[view.name])
        case Flag(flag=flag, desired=desired):
            return lockstep.written(turn, lockstep.view_of(turn, flag), desired)
        case Seen(flag=flag, desired=desired):
            return lockstep.visible(turn, lockstep.view_of(turn, flag), desired)
        case Settled(weight=weight):
            return all(r.weight == weight and r.picked == words(turn.step.pick) and r.accepted for r in turn.seen.routes)
        case _:
            raise ValueError(f"no step goes by {type(action).__name__}")


def count_from_here(turn: Turn) -> None:
    """Weight and flags are seen. The requests of a step that evidence moves count from its first exposure on, at whatever weight."""
    at, rollout, judge = stamp(turn.now), turn.rollout, turn.seen.judge
    before = rollout.requests_before if ramp.ramped(turn) else judge.canary_requests if judge else 0
    if not turn.quiet:
        turn.roll(judge_from=rollout.judge_from or at, deadline_at=rollout.deadline_at or stamp(turn.now + turn.plan.deadline))
    if turn.step.pick is not None:
        turn.roll(picked_from=rollout.picked_from or at)
    turn.roll(
        exposed_at=at,
        requests_before=before,
        weight_reached=reached(turn),
    )


def tell_step(turn: Turn) -> None:
    step = turn.step
    flags = "".join(f", flag {f.key} at {sentence.flag_shares(f)}" for f in turn.status.flags)
    flags += "".join(f", flag {f.key} is open to everyone already" for f in turn.seen.flags if f.open)
    share = step.pick.words if step.pick is not None else f"{turn.rollout.weight_reached} % of traffic"
    told = flags.removeprefix(", ") if turn.plan.flags_only else f"{share}{flags}"
    turn.tell("Step", f"{sentence.subject(turn)}: step {step.index + 1}/{len(turn.plan.steps)} {step.name}: {told}")
