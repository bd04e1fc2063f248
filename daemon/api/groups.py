"""`ReleaseGroup`: several Canaries of a namespace as one release: started together or one after the other, one verdict, one way back.

Each member is released by its own Canary, with its own steps and its own judge. The group only gives leave: to start, and to promote once
all are ready. Its status holds all that it must remember; nobody but the group writes there, and the group writes nowhere else.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from daemon.api.errors import Errors, fault
from daemon.api.fields import Duration, Model, Name, Text, Time, Word, doc
from daemon.api.quantities import parse_duration
from daemon.api.status import Condition

MOST: Final = 16  # members of one group
GATHER: Final = 60.0
DEADLINE: Final = 24 * 3600.0

GroupPhase = Literal["Idle", "Gathering", "Progressing", "Promoting", "RollingBack", "Promoted", "RolledBack", "Frozen"]
Leave = Literal["Wait", "Start", "Promote", "Return", "Stay"]
MemberState = Literal["Waiting", "Releasing", "Ready", "Promoting", "Promoted", "Returning", "Back", "Failed"]


class GroupMember(Model, frozen=True, kw_only=True):
    """One Canary of the group."""

    name: Annotated[Name, doc("A Canary of the group's namespace; in one group at most.")]
    after: Annotated[
        Annotated[list[Name], msgspec.Meta(max_length=MOST)] | None,
        doc("Members that are ready before this one starts, and promoted before this one is. It goes back before them."),
    ] = None


class ReleaseGroupSpec(Model, frozen=True, kw_only=True):
    """Canaries that are promoted only when all are ready, and go back when one does."""

    members: Annotated[list[GroupMember], msgspec.Meta(min_length=1, max_length=MOST), doc("Promoted in this order, `after` permitting.")]
    start: Annotated[
        Literal["Any", "All"] | None,
        doc(
            "Any: one member's new version starts a release of those that have one by the end of `gather`. All: it waits for every member's."
        ),
    ] = None
    gather: Annotated[
        Duration | None, doc("With `start: Any`, how long the first new version waits for those of other members. Default 1m.")
    ] = None
    deadline: Annotated[Duration | None, doc("From the start until all are promoted; after it, all go back. Default 24h.")] = None


class MemberStatus(Model, frozen=True, kw_only=True):
    """A member of the release under way, or of the last one."""

    name: Word
    revision: Word
    after: list[Word] = []
    state: MemberState = "Waiting"
    leave: Leave = "Wait"
    started: bool = False
    text: Text = ""


class ReleaseGroupStatus(Model, frozen=True, kw_only=True):
    observed_generation: int | None = None
    phase: GroupPhase = msgspec.field(default_factory=lambda: "Idle")  # a plain default is left out on the wire
    sentence: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    since: Time | None = None  # when this phase began
    started_at: Time | None = None
    failed: Word | None = None  # the member that took the others back, or would have
    progress: Word | None = None  # such as 1/3 ready
    members: list[MemberStatus] = []
    conditions: list[Condition] = []


def cycle(members: Sequence[GroupMember]) -> tuple[str, ...]:
    """Names of members none of which could ever be first; empty where an order exists."""
    left = {m.name: set(m.after or ()) for m in members}
    while free := [name for name, after in left.items() if not after & left.keys()]:
        for name in free:
            del left[name]
    return tuple(left)


def in_order(members: Sequence[GroupMember]) -> tuple[GroupMember, ...]:
    """Those that others come after first, else as written. Only of a group without a cycle."""
    left, found = list(members), list[GroupMember]()
    while left:
        names = {m.name for m in left}
        first = next((m for m in left if not names & set(m.after or ())), left[0])
        left.remove(first)
        found.append(first)
    return tuple(found)


def group_faults(spec: ReleaseGroupSpec, path: str) -> Errors:
    """Orders that cannot be, and times that are none."""
    names = [m.name for m in spec.members]
    unknown = False
    for i, member in enumerate(spec.members):
        if names.index(member.name) != i:
            yield fault(f"{path}.members[{i}].name", member.name, "is in the group twice; take one of the two out")
        for j, name in enumerate(member.after or ()):
            if name not in names:
                unknown = True
                text = f"is no member of this group ({', '.join(names)}); add it to members, or take it out"
                yield fault(f"{path}.members[{i}].after[{j}]", name, text)
    around = cycle(spec.members)
    if around and not unknown:
        index = names.index(around[0])
        text = f"{', '.join(around)} wait for each other in a cycle, so none could ever start; take one name out of an after"
        yield fault(f"{path}.members[{index}].after", spec.members[index].after, text)
    for name, value in (("gather", spec.gather), ("deadline", spec.deadline)):
        if value is not None and parse_duration(value) <= 0:
            yield fault(f"{path}.{name}", value, "must be more than 0; leave it out for the default")
