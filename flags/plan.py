"""What comes before what when flags and traffic move together. Pure: values in, ordered stages out.

Stages run one after another, the actions of one stage at the same time. The rules, and why:

- Forward, capacity before weight before flags: a flag raised first would be on for code that is not there yet. Samples count only
  when SDKs have seen the flag and the split has settled, else the first minutes measure the move.
- Back, gated: flags and weight at once, since the weight alone ends the exposure. Aligned and independent: flags first, because moving
  the traffic first would send users with the flag on to pods without the code; the weight follows the acknowledgement,
  at the latest after `PATIENCE`, and at once where the source's last call failed: a dead flag server must not hold the traffic.
- Promotion of a gated flag: the gate goes only when every pod has the new code, and before the canary goes, else the flag is dark
  in between.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from flags.model import Desired, FlagRef, OnPromotion, settled

Mode = Literal["Gated", "Aligned", "Independent"]

# Longest that traffic waits for a flag source on the way back.
PATIENCE = 5.0


class Capacity(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait until the canary has ready pods for this weight, and stable for the rest."""

    weight: int


class Weight(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Write this weight to the routes."""

    weight: int


class Flag(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Write this flag."""

    flag: FlagRef
    desired: Desired


class Zero(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Take this flag back, without looking."""

    flag: FlagRef


class Restore(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Put this flag back as it was found and give it up."""

    flag: FlagRef


class Release(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give this flag up as it is."""

    flag: FlagRef


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait until SDKs have this flag."""

    flag: FlagRef
    desired: Desired


class Settled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait until the observed split is the wanted one; only then count samples."""

    weight: int


class Rolled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait until the native roll is complete and healthy."""


class Pods(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Remove the canary's pods, after the drain."""


Action = Capacity | Weight | Flag | Zero | Restore | Release | Seen | Settled | Rolled | Pods


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Actions to do at the same time. The next stage begins when all succeeded, or after `at_most` seconds (None: no limit here)."""

    actions: tuple[Action, ...]
    at_most: float | None = None


class Driven(msgspec.Struct, frozen=True, kw_only=True):
    """A flag of the rollout: its mode, what stands, what the step wants, and whether the last call to its source failed."""

    flag: FlagRef
    mode: Mode = "Gated"
    now: Desired | None = None
    then: Desired | None = None
    failing: bool = False
    on_promotion: OnPromotion = "Keep"


def forward(*, weight_now: int, weight_then: int, flags: Sequence[Driven]) -> tuple[Stage, ...]:
    """To the next step's exposure. Flags that fall go first, as on the way back; flags that rise go last."""
    moved = [flag for flag in flags if flag.then is not None and flag.then != flag.now]
    falling = [flag for flag in moved if _percent(flag.then) < _percent(flag.now)]
    rising = [flag for flag in moved if _percent(flag.then) >= _percent(flag.now)]
    stages: list[Sequence[Action]] = [[_write(flag) for flag in falling]]
    if weight_then != weight_now:
        stages += [[Capacity(weight=weight_then)], [Weight(weight=weight_then)]]
    stages += [[_write(flag) for flag in rising], [_seen(flag) for flag in moved], [Settled(weight=weight_then)]]
    return _stages(stages)


def back(flags: Sequence[Driven]) -> tuple[Stage, ...]:
    """Everything off, within P3's bound. Pods go last, and never wait for a flag source beyond `PATIENCE`."""
    failing = [flag for flag in flags if flag.failing]
    answering = [flag for flag in flags if not flag.failing]
    before = answering if any(flag.mode != "Gated" for flag in answering) else []
    beside = failing if before else [*answering, *failing]
    stages = [Stage(actions=_zeros(before), at_most=PATIENCE)] if before else []
    stages.append(Stage(actions=(*_zeros(beside), Weight(weight=0)), at_most=PATIENCE))
    stages.append(Stage(actions=(Settled(weight=0),)))
    if flags:
        stages.append(Stage(actions=tuple(Restore(flag=flag.flag) for flag in flags), at_most=PATIENCE))
    return (*stages, Stage(actions=(Pods(),)))


def promote(flags: Sequence[Driven]) -> tuple[Stage, ...]:
    """After a passed verdict: roll, swap the gates away, let SDKs see it, return the traffic, end the canary, give the flags up."""
    finals = {flag.flag: settled(flag.now, flag.on_promotion) for flag in flags if flag.now is not None}
    kept = [(flag, final) for flag in flags if (final := finals.get(flag.flag)) is not None]
    stages: list[Sequence[Action]] = [
        [Rolled()],
        [Flag(flag=flag.flag, desired=final) for flag, final in kept if final != flag.now],
        [Seen(flag=flag.flag, desired=final) for flag, final in kept if final != flag.now],
        [Restore(flag=flag.flag) for flag in flags if flag.flag in finals and finals[flag.flag] is None],
        [Weight(weight=0)],
        [Settled(weight=0)],
        [Pods()],
        [Release(flag=flag.flag) for flag, _ in kept],
    ]
    return _stages(stages)


def exposure(*, weight: int, flags: Mapping[FlagRef, Driven]) -> dict[FlagRef, float]:
    """Percent of all requests that may get each flag: gated weight x share, the others the share alone."""
    return {ref: _percent(flag.now) * (weight / 100 if flag.mode == "Gated" else 1.0) for ref, flag in flags.items()}


def _percent(desired: Desired | None) -> int:
    return 0 if desired is None else desired.percent


def _zeros(flags: Sequence[Driven]) -> tuple[Action, ...]:
    return tuple(Zero(flag=flag.flag) for flag in flags)


def _write(flag: Driven) -> Action:
    assert flag.then is not None
    return Flag(flag=flag.flag, desired=flag.then)


def _seen(flag: Driven) -> Action:
    assert flag.then is not None
    return Seen(flag=flag.flag, desired=flag.then)


def _stages(groups: Sequence[Sequence[Action]]) -> tuple[Stage, ...]:
    return tuple(Stage(actions=tuple(group)) for group in groups if group)
