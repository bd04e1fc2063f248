"""The adaptive ramp: the evidence says how much of the traffic, the step how much at the most.

The judge's wish follows from ticks that lie some scrapes back, under the weight that was in force then. So a wish for less counts at
once, whatever has happened since; a wish for more counts only when the evidence has seen the weight that stands. What falls within a
step climbs again by the same evidence, and nobody's release is ended by it. Without a router (pods / pods) and without a judge (templates
alone) there is nothing to move so finely: the steps are walked as they are written.
"""

from collections.abc import Mapping
from typing import Final

from daemon.rollout import leave, lockstep, sentence, shares
from daemon.rollout.clock import stamp
from daemon.rollout.turn import Turn
from flags.model import Desired

START: Final = 1  # percent, before the judge has said what the traffic calls for


def ramped(turn: Turn) -> bool:
    """Whether evidence moves the weight in this release."""
    return bool(turn.plan.ramp) and not turn.seen.pod_ratio and not turn.rollout.hotfix


def top(turn: Turn) -> int:
    """The weight at which the present step is reached: its own, as far as the ramp goes."""
    return min(turn.step.weight, turn.plan.ramp[-1]) if ramped(turn) else turn.step.weight


def aim(turn: Turn) -> int:
    """The weight to bring about in this pass; a change of it is put on record with its reason, before anything is written."""
    if not ramped(turn):
        return turn.step.weight
    rollout = turn.rollout
    before = rollout.weight_wanted
    if before is None and rollout.judge_from is not None:
        before = rollout.weight_reached  # begun by a version that had no ramp
    wanted = _wanted(turn, before)
    if wanted != before:
        turn.roll(weight_wanted=wanted)
        if before is not None:
            _say(turn, before, wanted)
    return wanted


def _wanted(turn: Turn, before: int | None) -> int:
    judge = turn.seen.judge
    ceiling = turn.step.weight if turn.rollout.weight_cap is None else min(turn.step.weight, turn.rollout.weight_cap)
    wish = judge.wanted_weight if judge is not None else None
    if before is None:
        return min(ceiling, START if wish is None else wish)
    if judge is None or wish is None or wish == judge.weight:
        return min(before, ceiling)
    if judge.weight is None:  # it has said where to begin, perhaps only after the first request
        begins = 0 < before < wish and _may_climb(turn, turn.rollout.weight_reached)
        return min(wish if begins else before, ceiling)
    if wish < judge.weight:
        return min(before, ceiling, wish)
    return min(max(before, wish), ceiling) if _may_climb(turn, judge.weight) else min(before, ceiling)


def _may_climb(turn: Turn, seen_at: int) -> bool:
    """The evidence is of the exposure that stands, and nothing beside it withholds leave."""
    judge, rollout = turn.seen.judge, turn.rollout
    stands = rollout.exposed_at is not None and rollout.weight_reached == seen_at
    return stands and judge is not None and judge.climbs and leave.withheld(turn, "advance") is None


def reached(turn: Turn) -> bool:
    """Whether the exposure that stands is the step's whole one; always, where each step's weight is simply set."""
    return not ramped(turn) or (turn.rollout.weight_wanted or 0) >= top(turn)


def note_reached(turn: Turn) -> bool:
    """The dwell of a step counts from when its weight was reached, anew after a retreat. True where it was reached just now."""
    before, now = turn.rollout.reached_at, ramped(turn) and reached(turn)
    if now != (before is not None):
        turn.roll(reached_at=stamp(turn.now) if now else None)
    return now and before is None


def hold_at_most(turn: Turn) -> None:
    """From now on no more weight than there is: a person paused the release, or its time is over."""
    if ramped(turn):
        rollout = turn.rollout
        least = min(w for w in (rollout.weight_wanted, rollout.weight_cap, turn.step.weight) if w is not None)
        turn.roll(weight_cap=least)


def flags_due(turn: Turn, weight: int) -> Mapping[str, Desired]:
    """The shares of the step at this weight.

    What only the canary's users can see climbs with them, so that no flag meets half of the traffic at once; what reaches others too
    waits for the step's whole weight. Less is due at once.
    """
    due = {name: shares.within(asked, weight) for name, asked in turn.step.flags.items()}
    if not ramped(turn) or weight >= top(turn):
        return due
    return {name: asked if asked.gate is not None or asked.group else _lowered(turn, name, asked) for name, asked in due.items()}


def _lowered(turn: Turn, name: str, asked: Desired) -> Desired:
    """No share of it above what stands."""
    view = next((v for v in turn.flags if v.name == name), None)
    now = lockstep.now(turn, view) if view is not None else None
    there = shares.shares_of(now) if now is not None else {}
    return shares.at(asked, {cohort: min(share, there.get(cohort, 0)) for cohort, share in shares.shares_of(asked).items()})


def _say(turn: Turn, before: int, wanted: int) -> None:
    judge = turn.seen.judge
    why = judge.text if judge is not None and judge.text else "the step allows no more"
    text = f"from {before} % to {wanted} %: {why}"[:1000]
    turn.roll(moved=text)
    if not reached(turn):
        turn.tell("Weight", f"{sentence.subject(turn)} goes {text}", warning=wanted < before)


def words(turn: Turn) -> str:
    """Where the weight stands below its step, for waits."""
    rollout = turn.rollout
    return f"{rollout.weight_wanted or 0} % of at most {top(turn)} %: " if ramped(turn) and not reached(turn) else ""
