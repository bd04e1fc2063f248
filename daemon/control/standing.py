"""What stands at a flag's source beside what the status says that we wrote: ours, under way, or a person's hand. No I/O.

A write that was cut off may have moved some shares and not others, and one that was meant may not have landed: each share by itself is
ours where it is what we wrote or what we want. Anything else is somebody's.
"""

import msgspec

from daemon.api.status import CohortStatus, FlagStatus
from daemon.control.resolved import Resolved
from daemon.rollout.shares import at, shares_of
from daemon.rollout.steps import FlagPlan, plan_of
from flags.errors import Direction
from flags.model import EVERYONE, Desired, State


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a flag. `read` is what it says in our terms, `written` what we know to have written last."""

    read: Desired
    written: Desired
    ours: bool  # nothing in `read` but what we wrote or want
    plain: bool  # shares and gate are readable as such
    by: str

    def change(self, key: str) -> tuple[Direction, str]:
        """Which way it was moved, and in which words where the provider has none."""
        read, written = shares_of(self.read), shares_of(self.written)
        moved = {name: read[name] - written[name] for name in read if read[name] != written[name]}
        direction: Direction = "lower" if any(by < 0 for by in moved.values()) else "higher"
        parts = [f"{read[n]} %{'' if n == EVERYONE else f' for {n}'}, not {written[n]} %" for n in moved]
        if not moved and self.read.gate != self.written.gate:
            parts = ["its gate is another"]
        return direction, f"flag {key} is at {', '.join(parts) or 'another rule'}: changed by {self.by}"


def standing(plan: FlagPlan, state: State, before: FlagStatus | None) -> Standing:
    """`state` in the light of the status; without one, whatever carries our mark is ours."""
    known = {EVERYONE: state.percent, **{s.cohort: s.percent for s in state.cohorts}}
    read = msgspec.structs.replace(at(plan.unreached, {name: share or 0 for name, share in known.items()}), gate=state.gate)
    plain = state.enabled and all(share is not None for share in known.values())
    if before is None or before.written is None:
        return Standing(read=read, written=read, ours=True, plain=plain, by=state.written_by)
    gates = (state.gate if before.opened else plan.unreached.gate,)
    last = msgspec.structs.replace(written(plan, before), gate=gates[0])
    return Standing(
        read=read, written=last, ours=_ours(read, last, _wanted(before)) and read.gate in gates, plain=plain, by=state.written_by
    )


def written(plan: FlagPlan, before: FlagStatus) -> Desired:
    """What the status says that we wrote last."""
    shares = {EVERYONE: before.written or 0, **{c.name: c.written or 0 for c in before.cohorts}}
    return at(plan.unreached, shares, gated=not before.opened)


def taken_from_us(before: FlagStatus | None) -> bool:
    """Whether a rule of ours that is not there any more reached somebody, and was meant to: then a person removed it."""
    if before is None:
        return False
    there: tuple[FlagStatus | CohortStatus, ...] = (before, *before.cohorts)
    meant = max(_wanted(before).values())
    return meant > 0 and any(share.written for share in there)


def _wanted(before: FlagStatus) -> dict[str, int]:
    return {EVERYONE: before.wanted, **{c.name: c.wanted for c in before.cohorts}}


def _ours(read: Desired, last: Desired, wanted: dict[str, int]) -> bool:
    there, mine = shares_of(read), shares_of(last)
    return all(share in (mine[name], wanted.get(name, 0)) for name, share in there.items())


def flag_plan(resolved: Resolved, name: str) -> FlagPlan:
    """What the spec says of a flag."""
    return next(f for f in plan_of(resolved.spec, gitops=False).flags if f.name == name)
