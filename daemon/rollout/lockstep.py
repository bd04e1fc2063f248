"""The flags of a rollout in the words of `flags.plan`: which way they are on is asked there, and decided nowhere else.

The plan says what comes before what; what is here turns what was seen into its terms, and its flag actions into writes and waits.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from daemon.api.status import CanaryStatus
from daemon.rollout.clock import since
from daemon.rollout.model import FlagView, SetFlag
from daemon.rollout.turn import Turn
from flags.model import Desired, FlagRef, Gate
from flags.plan import PATIENCE, Driven, Mode

SOON: Final = 1.0  # seconds until a source that did not say when is asked again


def ref(view: FlagView) -> FlagRef:
    return FlagRef(key=view.key, source=view.source)


def driven(turn: Turn, views: Sequence[FlagView], then: Mapping[str, int] | None = None) -> tuple[Driven, ...]:
    """These flags as the plan wants to know them; `then` are the percents that a step asks for."""
    plans = {f.name: f for f in turn.plan.flags}
    found = []
    for view in views:
        plan = plans.get(view.name)
        mode: Mode = plan.mode if plan is not None else "Gated"
        found.append(
            Driven(
                flag=ref(view),
                mode=mode,
                now=None if view.percent is None else Desired(percent=view.percent, gate=Gate() if view.gated else None),
                then=None if then is None else Desired(percent=then.get(view.name, 0), gate=Gate() if mode == "Gated" else None),
                failing=bool(view.error),
                on_promotion=plan.on_promotion if plan is not None else "Keep",
            )
        )
    return tuple(found)


def view_of(turn: Turn, flag: FlagRef) -> FlagView:
    """The flag that an action of the plan speaks of."""
    return next(v for v in turn.flags if ref(v) == flag)


def stands(view: FlagView, desired: Desired) -> bool:
    """Whether the source shows what is wanted."""
    return view.percent == desired.percent and view.gated == (desired.gate is not None)


def off(view: FlagView) -> bool:
    """Whether nobody gets the flag through us, as far as the source says; one that does not exist is off."""
    return view.missing or (not view.error and not view.percent)


def pending(status: CanaryStatus, now: float) -> str:
    """The flags that are still on after the time that traffic waits for them on the way back; empty where there are none."""
    rollout = status.rollout
    if rollout is None or status.phase != "RollingBack" or rollout.flags_zeroed_at or since(rollout.abort_at, now) < PATIENCE:
        return ""
    late = [f for f in status.flags if f.name in rollout.flags_at_abort]
    return "; ".join(f"flag {f.key} of {f.source} is not back at 0{': ' if f.message else ''}{f.message}" for f in late)


def answers(turn: Turn, view: FlagView, percent: int) -> bool:
    """A source that failed last time is not written to, and none of its step's other flags either."""
    if not view.error:
        return True
    turn.look_at(turn.now + SOON)
    return _late(turn, view, percent)


def written(turn: Turn, view: FlagView, desired: Desired) -> bool:
    """The flag at its source is as wanted; what a person raised is not taken back, and what one lowered has ended the release."""
    if view.drift == "higher":
        turn.wait(
            "FlagRaised",
            f"flag {view.key} was raised at its source by hand to more than {desired.percent} %",
            until=turn.stage_deadline(),
            way_out=f"lower it, or linnet abort {turn.name}",
        )
        return False
    turn.aim_flag(view, desired.percent)
    if stands(view, desired):
        return True
    turn.do(SetFlag(name=view.name, percent=desired.percent, gated=desired.gate is not None))
    turn.look_at(turn.now + SOON)
    return _late(turn, view, desired.percent)


def visible(turn: Turn, view: FlagView, desired: Desired) -> bool:
    """The app's pods have it."""
    if stands(view, desired) and view.seen and not view.error:
        return True
    turn.look_at(view.settles_at if view.settles_at is not None and view.settles_at > turn.now else turn.now + SOON)
    return _late(turn, view, desired.percent)


def _late(turn: Turn, view: FlagView, percent: int) -> bool:
    why = view.error or view.doubt
    words = f": {why}" if why else ""
    turn.wait(
        "FlagSettling",
        f"flag {view.key} is not yet seen at {percent} %{words}",
        until=turn.stage_deadline(),
        way_out=f"linnet abort {turn.name}",
    )
    return False
