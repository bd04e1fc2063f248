"""What usage metrics say of a flag: whether anybody met it, and whether about as often as was set. Pure.

SDKs count how often they answered yes and no, and report it once a minute. These are evaluations, not people: one user may make fifty of
them, and every app that asks for the flag is among them. So this is a guard against what is plainly wrong, and no test of a share.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from flags.model import Evaluations
from flags.plan import Mode

Found = Literal["Counting", "Confirmed", "NoExposure", "ExposureMismatch"]

REPORTED: Final = 70.0  # seconds until what an SDK evaluates now can be read: 60 until it reports, some jitter, 7 until it is shown
ENOUGH: Final = 1000  # evaluations from which on a share means something
EXPECTED: Final = 100  # of which this many are on
MET: Final = 20  # evaluations that should be on, and none is
FAR: Final = 0.3  # relative distance from what was set


class Count(msgspec.Struct, frozen=True):
    """Evaluations of one app."""

    yes: int = 0
    no: int = 0

    @property
    def all(self) -> int:
        return self.yes + self.no

    def plus(self, other: "Count") -> "Count":
        return Count(self.yes + other.yes, self.no + other.no)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Which share of the evaluations should be on: `low` at the least, if all who ask are counted, `high` at the most.

    `mixed`: apps and pods that never get the flag are among them, in a proportion that nobody knows.
    """

    low: float
    high: float
    mixed: bool = False


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the evaluations since the flag was seen amount to. `apps` are those that the finding is about."""

    found: Found
    yes: int = 0
    no: int = 0
    apps: tuple[str, ...] = ()


def bounds(mode: Mode, everyone: int, most: int, weight: int) -> Bounds:
    """Of a flag at `everyone` percent, `most` for its largest cohort. Old code may ask for it or not, so that a gate may be in all or in few."""
    low, high = everyone / 100, max(everyone, most) / 100
    if mode == "Gated":
        return Bounds(low=low * weight / 100, high=high, mixed=True)
    return Bounds(low=low, high=1.0 if mode == "Aligned" else high)


def grown(before: Sequence[Evaluations], after: Sequence[Evaluations]) -> dict[str, Count]:
    """What was counted between two readings, app by app. Counts are by the hour; hours that have left the answer have no more to add."""
    known = {(e.app, e.hour): e for e in before}
    found: dict[str, Count] = {}
    for e in after:
        old = known.get((e.app, e.hour))
        more = Count(max(0, e.yes - old.yes), max(0, e.no - old.no)) if old else Count(e.yes, e.no)
        if more.all:
            found[e.app] = found.get(e.app, Count()).plus(more)
    return found


def together(one: Mapping[str, Count], other: Mapping[str, Count]) -> dict[str, Count]:
    return {app: one.get(app, Count()).plus(other.get(app, Count())) for app in {**one, **other}}


def judged(counts: Mapping[str, Count], expected: Bounds) -> Finding:
    """At least one whole report after the flag was seen."""
    total = Count()
    for count in counts.values():
        total = total.plus(count)
    if not total.yes:
        return _unmet(counts, total, expected)
    far = tuple(sorted(app for app, count in counts.items() if _far(count, expected)))
    found: Found = "ExposureMismatch" if far else "Confirmed" if any(_near(c, expected) for c in counts.values()) else "Counting"
    about = far or tuple(sorted(app for app, count in counts.items() if count.yes))
    named = Count()
    for app in about if far else counts:
        named = named.plus(counts[app])
    return Finding(found=found, yes=named.yes, no=named.no, apps=about)


def _unmet(counts: Mapping[str, Count], total: Count, expected: Bounds) -> Finding:
    """Nobody got it: by chance, where few are to get it, or few asked."""
    chance = total.no and total.no * expected.low < MET and (expected.low or total.no < ENOUGH)
    return Finding(found="Counting" if chance else "NoExposure", no=total.no, apps=tuple(sorted(counts)))


def _far(count: Count, expected: Bounds) -> bool:
    if count.all < ENOUGH:
        return False
    share = count.yes / count.all
    above = count.yes >= EXPECTED and share > expected.high * (1 + FAR)
    below = not expected.mixed and expected.low * count.all >= EXPECTED and share < expected.low * (1 - FAR)
    return above or below


def _near(count: Count, expected: Bounds) -> bool:
    """Whether there is nothing left to learn: of who is not far, once there are enough; of a gate at 100 %, with the first."""
    if expected.mixed and expected.high >= 1:
        return count.yes > 0
    return count.yes > 0 and count.all >= ENOUGH and max(count.yes, expected.low * count.all) >= EXPECTED
