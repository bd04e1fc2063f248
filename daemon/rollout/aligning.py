"""Flags for the same users as the new pods: never for more of them than the route sends there.

The plan of `flags.plan` has the order for what is wanted. What is here is about the weight that stands: before it falls the flag falls,
because a user with the flag on old pods is what this mode rules out; but not for longer than a way back would wait, and where the weight
fell by itself (pods died, somebody took the route) the flag follows at once.
"""

from collections.abc import Sequence
from typing import Final

from daemon.rollout import lockstep, shares
from daemon.rollout.turn import Turn
from flags.plan import PATIENCE, Driven

FIRST: Final = "FlagFirst"


def given(turn: Turn) -> int:
    """The buckets that every route sends to the canary now; a share at random is not one of them."""
    return min((0 if r.picked else r.weight or 0 for r in turn.seen.routes), default=0)


def flags_first(turn: Turn, weight: int, flags: Sequence[Driven]) -> bool:
    """Whether less weight has to wait: some who would lose the new pods still have a flag that is theirs because of them."""
    late = [f for f in flags if f.now is not None and f.now.group and f.now.percent > weight and not f.failing]
    if not late:
        return False
    names = ", ".join(f.flag.key for f in late)
    turn.wait(
        FIRST,
        f"flag {names} falls to {weight} % before the weight does",
        within=PATIENCE,
        way_out="the weight falls at that time at the latest",
    )
    said = turn.waiting is not None and turn.waiting.reason == FIRST  # else its time would never begin
    return said and turn.waited(FIRST) < PATIENCE


def trail(turn: Turn) -> None:
    """Lowers what stands above the weight that stands."""
    most = given(turn)
    for flag in lockstep.driven(turn, turn.flags):
        if flag.now is not None and flag.now.group and flag.now.percent > most:
            lockstep.written(turn, lockstep.view_of(turn, flag.flag), shares.within(flag.now, most))
