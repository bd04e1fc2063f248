"""What is going to happen: releases and disturbances, drawn from a seed and written down before anything runs.

A plan is plain data, so that a failure can print it, drop parts of it and play it again.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import Any

# What a release brings -> how often.
VERSIONS = {"good": 52, "bad-30": 16, "broken": 7, "crash": 7, "failed-before": 10, "stable": 5, "restart": 3}
# Moments of a release that a disturbance waits for; each is over when the release is.
MOMENTS = ("pushed", "starting", "exposed", "half", "promoting", "rolling", "returning", "back", "held")
# What people and other programs do -> how often. Those of `SCALED` need an autoscaler, those of `ALONE` a daemon of the walk's own.
DISTURBANCES = {
    "kill": 8,
    "scale": 6,
    "scale-to-zero": 2,
    "minimum": 6,
    "maximum": 3,
    "delete-canary-deployment": 4,
    "delete-canary-pods": 5,
    "delete-pods": 4,
    "delete-route": 3,
    "delete-canary": 4,
    "delete-deployment": 2,
    "delete-service": 1,
    "route-by-hand": 5,
    "apply-route": 4,
    "apply-stable": 4,
    "push-newer": 5,
    "push-bad": 3,
    "resume-deployment": 4,
    "hold-off": 1,
    "restart-held": 4,
    "flag-by-hand": 3,
    "promote": 4,
    "abort": 5,
    "pause": 3,
    "override": 2,
    "retry": 2,
    "freeze": 2,
}
SCALED = ("minimum", "maximum")
BY_HAND = ("scale", "scale-to-zero")
ALONE = ("kill",)


@dataclass(frozen=True, kw_only=True)
class Move:
    """One disturbance: at a moment of a release, a little later."""

    what: str
    when: str
    delay: float
    number: int

    def __str__(self) -> str:
        return f"{self.what}({self.number}) {self.delay:.2f} s after {self.when}"


@dataclass(frozen=True, kw_only=True)
class Release:
    """One push, and what gets in its way."""

    brings: str
    moves: tuple[Move, ...] = ()

    def __str__(self) -> str:
        return f"push {self.brings}" + "".join(f"; {move}" for move in self.moves)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The walk of one shop."""

    number: int
    scaled: bool = False
    flags: bool = False
    replicas: int = 3
    releases: tuple[Release, ...] = ()

    def only(self, *releases: Release) -> Plan:
        return replace(self, releases=releases)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        kind = f"shop {self.number}: {self.replicas} pods{', autoscaler' if self.scaled else ''}{', flag' if self.flags else ''}"
        return "\n".join([kind, *(f"  {i + 1}. {release}" for i, release in enumerate(self.releases))])


def read(plain: dict[str, Any]) -> Plan:
    """What `Plan.plain` gave."""
    releases = tuple(Release(brings=r["brings"], moves=tuple(Move(**m) for m in r["moves"])) for r in plain["releases"])
    return Plan(**{**plain, "releases": releases})


def draw(seed: int, number: int, releases: int, *, without: tuple[str, ...] = ()) -> Plan:
    """The plan of shop `number` of a seed."""
    dice = random.Random(f"{seed}/{number}")
    scaled = dice.random() < 0.4
    left_out = {*without, *(BY_HAND if scaled else SCALED)}
    flags = dice.random() < 0.5
    if not flags:
        left_out.add("flag-by-hand")
    drawn = tuple(_release(dice, {k: v for k, v in DISTURBANCES.items() if k not in left_out}) for _ in range(releases))
    return Plan(number=number, scaled=scaled, flags=flags, replicas=dice.randrange(2, 6), releases=drawn)


def _release(dice: random.Random, disturbances: dict[str, int]) -> Release:
    [brings] = dice.choices(list(VERSIONS), list(VERSIONS.values()))
    count = dice.choices((0, 1, 2, 3), (15, 40, 30, 15))[0]
    moves = []
    for what in dice.choices(list(disturbances), list(disturbances.values()), k=count):
        when = "held" if what in ("restart-held", "retry") and dice.random() < 0.7 else dice.choice(MOMENTS)
        moves.append(
            Move(
                what=what,
                when=when,
                delay=round(dice.choice((0.0, dice.uniform(0, 0.4), dice.uniform(0, 2))), 2),
                number=dice.randrange(1, 8),
            )
        )
    return Release(brings=brings, moves=tuple(moves))
