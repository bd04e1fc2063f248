"""The flags of a rollout in the words of `flags.plan`: which way they are on is asked there, and decided nowhere else.

The plan says what comes before what; what is here turns what was seen into its terms, and its flag actions into writes and waits.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from daemon.api.status import CanaryStatus
from daemon.rollout import drift, shares
from daemon.rollout.clock import since
from daemon.rollout.model import FlagView, SetFlag
from daemon.rollout.turn import Turn
from flags.errors import Direction
from flags.model import EVERYONE, Desired, FlagRef, Gate
from flags.plan import PATIENCE, Driven

SOON: Final = 1.0  # seconds until a source that did not say when is asked again
# What a step waits for where a person's hand is on a flag.
DRIFTED: Final[Mapping[Direction, str]] = {"higher": "FlagRaised", "lower": "FlagLowered", "other": "FlagChanged"}


def ref(view: FlagView) -> FlagRef:
    return FlagRef(key=view.key, source=view.source)


def driven(turn: Turn, views: Sequence[FlagView], then: Mapping[str, Desired] | None = None) -> tuple[Driven, ...]:
    """These flags as the plan wants to know them; `then` is what a step asks for."""
    found = []
    for view in views:
        plan = turn.flag_plan(view.name)
        found.append(
            Driven(
                flag=ref(view),
                mode=plan.mode,
                now=now(turn, view),
                then=None if then is None else wanted(turn, view, then.get(view.name, plan.unreached)),
                failing=bool(view.error),
                on_promotion=plan.on_promotion,
            )
        )
    return tuple(found)


def now(turn: Turn, view: FlagView) -> Desired | None:
    """What stands at the source, in our terms; None where nothing of ours does."""
    if view.percent is None:
        return None
    there = {EVERYONE: view.percent, **{s.cohort: s.percent or 0 for s in view.cohorts}}
    standing = shares.at(turn.flag_plan(view.name).unreached, there)
    return msgspec.structs.replace(standing, gate=Gate() if view.gated else None)


def wanted(turn: Turn, view: FlagView, asked: Desired) -> Desired:
    """What a step asks for, within what people made of the flag and its owner lets stand."""
    return shares.bounded(asked, turn.flag_status(view.name))


def view_of(turn: Turn, flag: FlagRef) -> FlagView:
    """The flag that an action of the plan speaks of."""
    return next(v for v in turn.flags if ref(v) == flag)


def stands(view: FlagView, desired: Desired) -> bool:
    """Whether the source shows what is wanted."""
    there = {s.cohort: s.percent for s in view.cohorts if s.percent != 0}
    cohorts = {c.name: c.percent for c in desired.cohorts if c.percent}
    return view.percent == desired.percent and view.gated == (desired.gate is not None) and there == cohorts


def on(view: FlagView) -> bool:
    """Whether anybody gets the flag through us."""
    return bool(view.percent) or any(s.percent != 0 for s in view.cohorts)


def off(view: FlagView) -> bool:
    """Whether nobody gets the flag through us, as far as the source says; one that does not exist is off."""
    return view.missing or (not view.error and not on(view))


def pending(status: CanaryStatus, now: float) -> str:
    """The flags that are still on after the time that traffic waits for them on the way back; empty where there are none."""
    rollout = status.rollout
    if rollout is None or status.phase != "RollingBack" or rollout.flags_zeroed_at or since(rollout.abort_at, now) < PATIENCE:
        return ""
    late = [f for f in status.flags if f.name in rollout.flags_at_abort]
    return "; ".join(f"flag {f.key} of {f.source} is not back at 0{': ' if f.message else ''}{f.message}" for f in late)


def answers(turn: Turn, view: FlagView, desired: Desired) -> bool:
    """A source that failed last time is not written to, and none of its step's other flags either."""
    if not view.error:
        return True
    turn.look_at(turn.now + SOON)
    return _late(turn, view, desired)


def written(turn: Turn, view: FlagView, desired: Desired) -> bool:
    """The flag at its source is as wanted; a person's hand on it is waited for, or lowered where its owner wants that."""
    enforced = drift.enforced(turn, view)
    if view.drift is not None and not enforced:
        turn.wait(
            DRIFTED[view.drift],
            drift.told(view),
            until=turn.stage_deadline(),
            way_out=f"set it to {shares.words(desired)} again, or linnet abort {turn.name}",
        )
        return False
    turn.aim_flag(view, desired)
    if stands(view, desired) and not enforced:
        return True
    gated = desired.gate is not None
    turn.do(SetFlag(name=view.name, percent=desired.percent, cohorts=shares.cohorts_of(desired), gated=gated, enforced=enforced))
    turn.look_at(turn.now + SOON)
    return _late(turn, view, desired)


def visible(turn: Turn, view: FlagView, desired: Desired) -> bool:
    """The app's pods have it."""
    if stands(view, desired) and view.seen and not view.error:
        return True
    turn.look_at(view.settles_at if view.settles_at is not None and view.settles_at > turn.now else turn.now + SOON)
    return _late(turn, view, desired)


def _late(turn: Turn, view: FlagView, desired: Desired) -> bool:
    why = view.error or view.doubt
    words = f": {why}" if why else ""
    turn.wait(
        "FlagSettling",
        f"flag {view.key} is not yet seen at {shares.words(desired)}{words}",
        until=turn.stage_deadline(),
        way_out=f"linnet abort {turn.name}",
    )
    return False
