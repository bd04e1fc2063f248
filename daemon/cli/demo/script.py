"""What is played: two releases, what each build does behind its flag, and what should become of it.

Pure values. Nothing here knows an outcome: `expected` is only compared with what the daemon decided.
"""

from typing import Final, Literal

import msgspec

Kind = Literal["good", "bad"]
Outcome = Literal["Promoted", "RolledBack", "Undecided"]

# A promoted flag stays open, so each release brings its own.
FLAGS: Final[dict[Kind, str]] = {"good": "new-checkout", "bad": "express-pay"}
NAMESPACE: Final = "shop"
CATALOGUE: Final = "linnet-system"
APP: Final = "shop"
HOST: Final = "shop.test"
FIRST_TAG: Final = "v1"
WARM_UP: Final = 3  # seconds
DRAIN: Final = 3  # seconds; the demo's gateway acts within a tenth of one
STEPS: Final = ((10, 3), (50, 5))  # weight in percent, least seconds


class UnleashPlace(msgspec.Struct, frozen=True, kw_only=True):
    """An Unleash that is there already. `run` makes the flags' names new: a promoted flag of an earlier play is taken."""

    url: str
    token: str
    client_token: str
    environment: str = "development"
    project: str = "default"
    run: str = ""

    def __repr__(self) -> str:
        return f"UnleashPlace(url={self.url!r})"  # tokens get into no message


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may change; margins and risks are not among it."""

    order: tuple[Kind, ...] = ("good", "bad")
    bad_error_percent: float = 3.0
    bad_flag: bool = True
    rate: float = 200.0  # requests a second
    patience: float = 240.0  # seconds for one release
    port: int = 0
    gateway_port: int = 0
    unleash: UnleashPlace | None = None


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One release: the build, its flag, and what should become of it."""

    kind: Kind
    tag: str
    flag: str  # the build's new feature is behind it
    announced: bool  # whether the release opens that flag
    error_percent: float = 0.0
    expected: Outcome = "Promoted"

    @property
    def image(self) -> str:
        return f"{APP}:{self.tag}"

    @property
    def story(self) -> str:
        """What is special about the build, for the audience."""
        behind = f"its feature is behind flag {self.flag}"
        if self.kind == "good":
            return f"a good build, {behind}"
        if not self.announced:
            return f"a bad build ({self.error_percent:g} % errors), but its flag {self.flag} stays off"
        return f"a bad build, {behind} and fails {self.error_percent:g} % of the time"


def releases(options: DemoOptions) -> tuple[Release, ...]:
    """The two releases in the order asked for, as v2 and v3."""
    found = []
    for number, kind in enumerate(options.order, start=2):
        bad = kind == "bad"
        found.append(
            Release(
                kind=kind,
                tag=f"v{number}",
                flag=FLAGS[kind] if options.unleash is None else f"{FLAGS[kind]}-{options.unleash.run}",
                announced=options.bad_flag or not bad,
                error_percent=options.bad_error_percent if bad else 0.0,
                expected="RolledBack" if bad else "Promoted",
            )
        )
    return tuple(found)


def hurried(options: DemoOptions) -> tuple[str, ...]:
    """All that differs from the shipped defaults, for speed alone; each line says both."""
    ladder = ", ".join(f"{weight} % for {seconds} s" for weight, seconds in STEPS)
    return (
        "metrics are read every 1 s, not every 15 s",
        f"warm-up {WARM_UP} s, not 60 s",
        f"pods outlive their share by {DRAIN} s, not 10 s",
        f"steps {ladder} (`ramp: Steps`); by default the evidence climbs to 5, 15 and 50 %, for 15 min in all at least",
        (
            "flags count as seen 1 s after a write, not 90 s: ConfigMaps are projected at once here, within that time on a cluster"
            if options.unleash is None
            else "flags count as seen 2 s after an SDK of Unleash has them, not 30 s: the shop's own asks each second, not every 15"
        ),
        f"{options.rate:g} requests/s, so that seconds bring the evidence of minutes",
    )


KEPT: Final = (
    "at most 1 % of good releases rolled back, 5 % of bad ones promoted; rolled back if worse than 1.1x + 0.02 pp, "
    "promoted if within 1.25x + 0.3 pp: the shipped defaults"
)
