"""What each step makes of each flag: the share of everyone and of each cohort, whole in every step.

In the spec a share that is not named carries over; cohorts and their constraints are declared once, with the flag. Here the two meet, in
the words of `flags.model`, so that everything after speaks of whole flags. What a person changed and the owner lets stand bounds it.
"""

from collections.abc import Mapping, Sequence

import msgspec

from daemon.api.canary import Flag, Step
from daemon.api.status import CohortStatus, FlagStatus
from flags.model import EVERYONE, Cohort, Constraint, Desired, Gate, Share

Shares = Mapping[str, int]  # by cohort; EVERYONE is everyone's

WHOLE = 100


def unreached(flag: Flag, group: str) -> Desired:
    """The flag before any step: all of its cohorts are known, and nobody has it. `group`: of the buckets that an aligned flag shares."""
    return Desired(
        percent=0,
        gate=Gate() if flag.mode in (None, "Gated") else None,
        cohorts=tuple(
            Cohort(
                name=cohort.name,
                percent=0,
                segment=cohort.segment,
                constraints=tuple(
                    Constraint(attribute=c.attribute, values=tuple(c.values), operator=c.operator or "IN") for c in cohort.constraints or []
                ),
            )
            for cohort in flag.cohorts or []
        ),
        stickiness=flag.stickiness or "targetingKey",
        group=group if flag.mode == "Aligned" else "",
    )


def by_step(flags: Sequence[Flag], steps: Sequence[Step], group: str) -> list[dict[str, Desired]]:
    """Every flag at every step. A flag that no step names is simply on for the canary: its exposure is the weight."""
    base = {flag.name: unreached(flag, group) for flag in flags}
    mentioned = {f.name for step in steps for f in step.flags or []}
    now: dict[str, dict[str, int]] = {name: {} for name in base}
    found, weight = [], 0
    for index, step in enumerate(steps):
        named = [f for f in step.flags or [] if f.name in base]
        for one in named:
            changes = {c.name: c.percent for c in one.cohorts or []}
            now[one.name] |= changes if one.percent is None else {**changes, EVERYONE: one.percent}
        if not named and (index == 0 or step.weight is not None):
            now |= {name: {EVERYONE: WHOLE} for name in base if name not in mentioned}
        weight = weight if step.weight is None else step.weight
        found.append({name: within(at(base[name], shares), weight) for name, shares in now.items()})
    return found


def within(flag: Desired, weight: int) -> Desired:
    """An aligned flag reaches nobody whom this weight does not; any other as it is."""
    return at(flag, {EVERYONE: min(flag.percent, weight)}) if flag.group else flag


def at(flag: Desired, shares: Shares, *, gated: bool | None = None) -> Desired:
    """The flag at these shares; what they do not name is 0. `gated` False: its gate swapped away."""
    return msgspec.structs.replace(
        flag,
        percent=shares.get(EVERYONE, 0),
        gate=None if gated is False else flag.gate,
        cohorts=tuple(msgspec.structs.replace(c, percent=shares.get(c.name, 0)) for c in flag.cohorts),
    )


def shares_of(flag: Desired) -> Shares:
    return {EVERYONE: flag.percent, **{c.name: c.percent for c in flag.cohorts}}


def cohorts_of(flag: Desired) -> tuple[Share, ...]:
    """The cohorts' shares, as actions carry them."""
    return tuple(Share(cohort=c.name, percent=c.percent) for c in flag.cohorts)


def reach(flag: Desired) -> int:
    """The largest share that anybody has."""
    return max(shares_of(flag).values())


def bounded(flag: Desired, status: FlagStatus | None) -> Desired:
    """Within what a person made of it and the owner lets stand: what was lowered is not raised again in this release."""
    if status is None:
        return flag
    limits: dict[str, FlagStatus | CohortStatus] = {EVERYONE: status, **{c.name: c for c in status.cohorts}}
    return at(flag, {name: _within(limits.get(name), share) for name, share in shares_of(flag).items()})


def _within(limits: FlagStatus | CohortStatus | None, share: int) -> int:
    if limits is None:
        return share
    raised = max(share, limits.at_least or 0)
    return raised if limits.at_most is None else min(raised, limits.at_most)


def words(flag: Desired) -> str:
    """'10 %', '100 % for beta', '10 %, 100 % for beta': what people read of a flag's shares."""
    some = [f"{c.percent} % for {c.name}" for c in flag.cohorts if c.percent]
    return ", ".join(some if some and not flag.percent else [f"{flag.percent} %", *some])
