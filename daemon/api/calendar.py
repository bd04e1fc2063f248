"""When releases may go on: the hours that a Canary's owner gives them, and the freezes of a namespace or of the whole cluster.

What a window opens is read off the wall clock of its time zone, so that a change to summer time needs no rule of its own: an hour that the
clock leaves out opens nothing, one that it shows twice is open twice. The reckoning is in `daemon.rollout.timetable`.
"""

from typing import Annotated, Final, Literal, get_args

import msgspec

from daemon.api.fields import Model, WallTime, Weekday, Word, doc
from daemon.api.sources import NamespacePattern

Move = Literal["Start", "Step", "Promotion"]
WEEK: Final[tuple[Weekday, ...]] = get_args(Weekday)
MOVES: Final[tuple[Move, ...]] = get_args(Move)
MIDNIGHT: Final = "00:00"
DAY_END: Final = "24:00"

Instant = Annotated[
    str,
    msgspec.Meta(
        min_length=20,
        max_length=25,
        pattern=r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](Z|[+-][0-1][0-9]:[0-5][0-9])$",
    ),
]
LabelValue = Annotated[str, msgspec.Meta(max_length=63)]


class ReleaseWindow(Model, frozen=True, kw_only=True):
    """Hours of the week in which a release may go on. Of several that speak of the same move, one that is open is enough."""

    time_zone: Annotated[Word, doc("A name such as Europe/Berlin or UTC.")]
    days: Annotated[Annotated[list[Weekday], msgspec.Meta(max_length=7)] | None, doc("Days on which it opens; left out, every day.")] = None
    opens: Annotated[WallTime | None, doc("Wall time such as 09:00. Default 00:00.")] = None
    closes: Annotated[WallTime | None, doc("Wall time; before `opens` it is meant of the next day. Default 24:00.")] = None
    moves: Annotated[
        Annotated[list[Move], msgspec.Meta(max_length=3)] | None,
        doc("What waits for it: Start of a release, a Step that exposes more, the Promotion. Left out, all three."),
    ] = None


class FreezeSelector(Model, frozen=True, kw_only=True):
    """Which releases are meant, by labels."""

    match_labels: Annotated[
        Annotated[dict[str, LabelValue], msgspec.Meta(max_length=16)],
        doc("Labels that the Canary or its Deployment has, all of them; none means every release."),
    ]


class FreezeSpec(Model, frozen=True, kw_only=True):
    """Nothing starts, no exposure grows and nothing is promoted while it lasts. Aborts and rollbacks are never held up."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=300), doc("Why, for whoever waits.")]
    since: Annotated[Instant | None, doc("Its beginning, such as 2026-12-24T18:00:00+01:00; left out, at once.")] = msgspec.field(
        default=None, name="from"
    )
    until: Annotated[Instant | None, doc("Its end; left out, it lasts until it is deleted.")] = None
    namespaces: Annotated[
        Annotated[list[NamespacePattern], msgspec.Meta(max_length=256)] | None,
        doc("Namespaces that it reaches beside its own, '*' for all; only in the catalogue namespace."),
    ] = None
    selector: Annotated[FreezeSelector | None, doc("Left out, every release of its namespaces.")] = None
    hotfixes: Annotated[
        Literal["Allowed", "Refused"] | None, doc("Whether `linnet hotfix`, which needs a reason, passes. Default Allowed.")
    ] = None
