"""What comes before what when flags and traffic move together. Pure: values in, ordered stages out.

This is the one place that says what may be written next: the decision core builds the way it is on anew in each pass, from what
stands now, and `walk`s it. Stages run one after another, the actions of one stage at the same time. The rules, and why:

- Forward, capacity before weight before flags: a flag raised first would be on for code that is not there yet. A step is reached by
  all of its flags or by none: none rises while the source of another does not answer. Samples count only when SDKs have seen the
  flags and the split has settled, else the first minutes measure the move.
- Back, gated: flags and weight at once, since the weight alone ends the exposure. Aligned and independent: flags first, because moving
  the traffic first would send users with the flag on to pods without the code; the weight follows the acknowledgement,
  at the latest after `PATIENCE` for all of them together, and at once where the source's last call failed: a dead flag server
  must not hold the traffic. What is late is tried again for as long as it takes.
- Promotion of a gated flag: the gate goes only when every pod has the new code, and before the canary goes, else the flag is dark
  in between.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from flags.model import EVERYONE, Desired, FlagRef, OnPromotion, settled

Mode = Literal["Gated", "Aligned", "Independent"]

# Longest that traffic waits for flag sources on the way back, all of them together.
PATIENCE = 5.0


class Capacity(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait until the canary has ready pods for this weight, and stable for the rest."""

    weight: int


class Weight(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Write this weight to the routes."""

    weight: int


class Answering(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait until the source of this flag answers."""

    flag: FlagRef


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


Action = Capacity | Weight | Answering | Flag | Zero | Restore | Release | Seen | Settled | Rolled | Pods


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Actions to do at the same time. The next stage begins when all are done, or `until` seconds after the way began (None: no limit)."""

    actions: tuple[Action, ...]
    until: float | None = None


class Driven(msgspec.Struct, frozen=True, kw_only=True):
    """A flag of the rollout: its mode, what stands, what the step wants, and whether the last call to its source failed."""

    flag: FlagRef
    mode: Mode = "Gated"
    now: Desired | None = None
    then: Desired | None = None
    failing: bool = False
    on_promotion: OnPromotion = "Keep"


def walk(stages: Sequence[Stage], attempt: Callable[[Action], bool], *, elapsed: float = 0.0) -> bool:
    """Attempts the actions of each stage that is reached; True when the way is at its end.

    `attempt` does what an action still lacks, and says whether nothing is lacking. Where a stage's time is over the next one
    begins all the same, and what is late is attempted again in every walk.
    """
    for stage in stages:
        done = [attempt(action) for action in stage.actions]  # a list: all of them, also after the first that is not done
        if not all(done) and (stage.until is None or elapsed < stage.until):
            return False
    return True


def forward(*, weight: int | None, flags: Sequence[Driven]) -> tuple[Stage, ...]:
    """To a step's exposure, and at it. Flags that fall go first, as on the way back; flags that rise go last.

    Without a weight (None) there are no pods and no traffic to wait for.
    """
    wanted = [flag for flag in flags if flag.then is not None]
    falling = [flag for flag in wanted if _falls(flag)]
    others = [flag for flag in wanted if not _falls(flag)]
    moves = any(flag.then != flag.now for flag in others)
    return _stages(
        [] if weight is None else [Capacity(weight=weight)],
        [_write(flag) for flag in falling],
        [] if weight is None else [Weight(weight=weight)],
        [Answering(flag=flag.flag) for flag in wanted if moves],
        [_write(flag) for flag in others],
        [_seen(flag) for flag in wanted],
        [] if weight is None else [Settled(weight=weight)],
    )


def back(flags: Sequence[Driven]) -> tuple[Stage, ...]:
    """Everything off, within P3's bound. Traffic and pods never wait for a flag source beyond `PATIENCE`; the end does."""
    failing = [flag for flag in flags if flag.failing]
    answering = [flag for flag in flags if not flag.failing]
    wide = any(flag.mode != "Gated" and any(shares(flag.now).values()) for flag in answering)
    before = answering if wide else []
    beside = failing if before else [*answering, *failing]
    stages = [Stage(actions=_zeros(before), until=PATIENCE)] if before else []
    stages.append(Stage(actions=(Weight(weight=0), *_zeros(beside)), until=PATIENCE))
    stages += [Stage(actions=(Settled(weight=0),)), Stage(actions=(Pods(),))]
    return (*stages, *_stages([Restore(flag=flag.flag) for flag in flags]))


def promote(flags: Sequence[Driven], *, patience: float | None = None) -> tuple[Stage, ...]:
    """After a passed verdict: roll, swap the gates away, let SDKs see it, return the traffic, end the canary, give the flags up.

    The traffic returns `patience` seconds after the roll at the latest: a flag source that is away must not keep two versions up.
    """
    finals = {flag.flag: settled(flag.now, flag.on_promotion) for flag in flags if flag.now is not None}
    kept = [(ref, final) for ref, final in finals.items() if final is not None]
    opened = [
        *_stages([Flag(flag=ref, desired=final) for ref, final in kept]),
        *_stages([Seen(flag=ref, desired=final) for ref, final in kept]),
        *_stages([Restore(flag=ref) for ref, final in finals.items() if final is None]),
    ]
    return (
        *_stages([Rolled()]),
        *(msgspec.structs.replace(stage, until=patience) for stage in opened),
        *_stages([Weight(weight=0)], [Settled(weight=0)], [Pods()]),
        *_stages([Release(flag=ref) if final is not None else Restore(flag=ref) for ref, final in finals.items()]),
    )


def _falls(flag: Driven) -> bool:
    """Some share is to be smaller, and none larger: where one cohort gains what another loses, the gain decides."""
    then, now = shares(flag.then), shares(flag.now)
    moved = [then.get(name, 0) - now.get(name, 0) for name in then.keys() | now.keys()]
    return any(by < 0 for by in moved) and not any(by > 0 for by in moved)


def shares(desired: Desired | None) -> dict[str, int]:
    """The share of everyone, and of each cohort by name."""
    return {} if desired is None else {EVERYONE: desired.percent, **{c.name: c.percent for c in desired.cohorts}}


def _zeros(flags: Sequence[Driven]) -> tuple[Action, ...]:
    return tuple(Zero(flag=flag.flag) for flag in flags)


def _write(flag: Driven) -> Action:
    assert flag.then is not None
    return Flag(flag=flag.flag, desired=flag.then)


def _seen(flag: Driven) -> Action:
    assert flag.then is not None
    return Seen(flag=flag.flag, desired=flag.then)


def _stages(*groups: Sequence[Action]) -> tuple[Stage, ...]:
    return tuple(Stage(actions=tuple(group)) for group in groups if group)
