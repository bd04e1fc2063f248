"""The end of a promotion: stable runs the new version, and everything that a release had put up is taken down again.

Returning -> Cleaning. Gates, traffic, pods and flags go in the order of `flags.plan`, each seen before the next.
"""

from functools import partial
from math import inf

from daemon.api.status import VerdictStatus
from daemon.rollout import lockstep, reminders, rollback, sentence, shares
from daemon.rollout.clock import stamp
from daemon.rollout.model import FinishFlag, FlagView, ReleaseFlags, RestoreFlags, SetWeight
from daemon.rollout.turn import Turn
from flags.model import Desired
from flags.plan import Action, Flag, Pods, Release, Restore, Rolled, Seen, Settled, Weight, promote, walk


def giving_back(turn: Turn) -> None:
    """Returning and Cleaning: gates, traffic, pods, flags in the plan's order, then the end."""
    returning = turn.rollout.promotion == "Returning"
    # Pods that have no traffic any more wait for no flag source.
    elapsed = turn.elapsed(turn.rollout.stage_started_at) if returning else inf
    stages = promote(lockstep.driven(turn, turn.taken), patience=turn.plan.progress)
    over = walk(stages, partial(_attempt, turn), elapsed=elapsed)
    if returning or rollback.floor_lifted(turn) or not over:
        if turn.waiting is not None:
            turn.tell_stuck(f"{sentence.subject(turn)}: the promotion does not end: {turn.waiting.message}; {turn.waiting.way_out}")
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
    reminders.promoted(turn)
    turn.set(rollout=None, routes=[], weight=0)
    turn.enter("Idle")


def _attempt(turn: Turn, action: Action) -> bool:
    """One action of the plan after the roll of stable is complete."""
    returning = turn.rollout.promotion == "Returning"
    match action:
        case Rolled():
            return True
        case Flag(flag=flag, desired=desired):
            return _opened(turn, lockstep.view_of(turn, flag), desired)
        case Seen(flag=flag, desired=desired):
            view = lockstep.view_of(turn, flag)
            return (lockstep.stands(view, desired) and view.seen) or _flag_late(turn, view, "the pods of stable are given time to see it")
        case Restore(flag=flag):
            view = lockstep.view_of(turn, flag)
            turn.do_flag(RestoreFlags, view.name)
            return not rollback.still_flag(turn, view, "FlagFinishing", f"flag {view.key} is put back as it was found")
        case Weight():
            return not returning or _traffic_returned(turn)
        case Settled():
            return not returning or rollback.exposure_ended(turn)
        case Pods():
            return _canary_gone(turn)
        case Release(flag=flag):
            return _given_up(turn, lockstep.view_of(turn, flag))
        case _:
            raise ValueError(f"no promotion goes by {type(action).__name__}")


def _opened(turn: Turn, view: FlagView, desired: Desired) -> bool:
    """The gate is swapped away before the traffic returns: stable pods are the new version, and lack the track."""
    turn.aim_flag(view, desired)
    if lockstep.stands(view, desired):
        return True
    turn.do(FinishFlag(name=view.name, percent=desired.percent, cohorts=shares.cohorts_of(desired)))
    return _flag_late(turn, view, f"it opens to stable at {shares.words(desired)}")


def _flag_late(turn: Turn, view: FlagView, what: str) -> bool:
    turn.wait(
        "FlagFinishing",
        f"flag {view.key}: {view.error or view.changed or what}",
        until=turn.stage_deadline(),
        way_out="the traffic returns at that time at the latest",
    )
    turn.look_at(turn.now + (15 if turn.overdue else 1))
    return False


def _traffic_returned(turn: Turn) -> bool:
    turn.want_weight(0)
    if rollback.exposure_ended(turn):
        return True
    if turn.workload.available < turn.workload.replicas:
        turn.wait(
            "StableCapacity",
            f"stable has {turn.workload.available} of {turn.workload.replicas} pods",
            until=turn.stage_deadline(),
            way_out="the traffic returns when stable is complete; see why its pods are not ready",
        )
        return False
    turn.do(SetWeight(weight=0))
    turn.wait(
        "TrafficReturning",
        "traffic returns to stable, now the new version",
        until=turn.stage_deadline(),
        way_out="set the canary backend's weight to 0 in the route by hand",
    )
    turn.look_at(turn.now + 1)
    return False


def _canary_gone(turn: Turn) -> bool:
    if turn.rollout.promotion == "Cleaning":
        return rollback.away(turn)
    if turn.status.routes:
        turn.note_weight(0)
    turn.roll(weight_reached=0)
    turn.roll(promotion="Cleaning", stage_started_at=stamp(turn.now), told=False)
    turn.reset_wait()  # its deadline was that of the stage before
    return False


def _given_up(turn: Turn, view: FlagView) -> bool:
    """The flag belongs to its people again; one whose gate is still there is opened first, unless a person's hand is on it."""
    if view.gated and not view.drift:
        return not rollback.still_flag(turn, view, "FlagFinishing", f"flag {view.key} is not open to stable")
    turn.do_flag(ReleaseFlags, view.name)
    return not rollback.still_flag(turn, view, "FlagFinishing", f"flag {view.key} is given back to its people")
