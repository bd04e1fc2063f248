"""Several releases as one: who may start, who may be promoted, who goes back, and when nothing moves any more.

The group only gives leave. It starts when new versions have gathered, promotes in order once every member is ready, and takes all back in
the reverse order when one ends in any other way than being promoted. Where one is promoted already there is no common way back: the group
is frozen then, what is under way keeps its share, and people are told. A function of the status as stored and of the members as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from daemon.api.groups import DEADLINE, GATHER, GroupPhase, Leave, MemberState, MemberStatus, ReleaseGroupSpec, ReleaseGroupStatus, in_order
from daemon.api.quantities import parse_duration
from daemon.rollout.clock import since, span, stamp
from daemon.rollout.model import Fact, Permit

SOURCE: Final = "Group"
PATIENCE: Final = 20.0  # seconds in which a member's exposure ends before the next one goes back all the same
REST: Final = frozenset({"Idle", "Gathering", "Promoted", "RolledBack", "Frozen"})
GONE: Final = ("Failed", "Back")


class MemberView(Fact, frozen=True, kw_only=True):
    """A member's Canary as it is."""

    asks: str | None = None  # the revision that waits for the group's leave to start
    running: str | None = None  # the revision of its release under way
    stable: str | None = None
    ready: bool = False  # nothing but the group's leave keeps it from being promoted
    promoting: bool = False
    settled: bool = False  # its promotion is past the point from which it could go back
    returning: bool = False
    exposed: bool = False
    restarts: bool = False  # a newer version of it took the place of the one before
    waits: str = ""  # what it waits for at rest
    text: str = ""


Views = Mapping[str, MemberView]


def follow(name: str, spec: ReleaseGroupSpec, status: ReleaseGroupStatus, views: Views, now: float) -> ReleaseGroupStatus:
    """The next status of a group without faults. A member that has no view has no Canary."""
    if status.phase in REST and not (status.phase == "Frozen" and _running(status, views)):
        return _gather(name, spec, status, views, now)
    members = [_seen(m, views.get(m.name)) for m in status.members]
    status = msgspec.structs.replace(status, members=members)
    if status.phase == "Frozen":
        return _leaves(name, status, views, now)
    if status.phase != "RollingBack":
        status = _judged(name, spec, status, now)
    if status.phase == "RollingBack":
        status = _went_back(name, status, views, now)
    elif all(m.state == "Promoted" for m in status.members):
        text = f"{name} promoted: {_names(status.members)}, after {span(since(status.started_at, now))}"
        status = _enter(status, "Promoted", text, now)
    return _leaves(name, status, views, now)


def again_in(spec: ReleaseGroupSpec, status: ReleaseGroupStatus, now: float) -> float | None:
    """Seconds until time alone changes something."""
    if status.phase == "Gathering" and spec.start != "All":
        return max(0.05, _seconds(spec.gather, GATHER) - since(status.since, now))
    if status.phase in ("Progressing", "Promoting"):
        return max(0.05, _seconds(spec.deadline, DEADLINE) - since(status.started_at, now))
    return PATIENCE / 4 if status.phase == "RollingBack" else None


def _gather(name: str, spec: ReleaseGroupSpec, status: ReleaseGroupStatus, views: Views, now: float) -> ReleaseGroupStatus:
    """At rest, until a version that is new to the group asks; then for as long as others may still come."""
    asking = {m.name: view.asks for m in spec.members if (view := views.get(m.name)) is not None and view.asks}
    if not any(_is_new(status, member, revision) for member, revision in asking.items()):
        return status if status.phase != "Gathering" else _enter(status, "Idle", "", now)
    if status.phase != "Gathering":
        status = _enter(status, "Gathering", "", now)
    missing = [m.name for m in spec.members if m.name not in asking]
    due = spec.start != "All" and since(status.since, now) >= _seconds(spec.gather, GATHER)
    if missing and not due:
        text = f"{name} gathers new versions: {', '.join(asking)} ready to start, none yet of {', '.join(missing)}"
        return msgspec.structs.replace(status, sentence=text)
    meant = [
        MemberStatus(name=m.name, revision=asking[m.name], after=[a for a in m.after or () if a in asking])
        for m in in_order(spec.members)
        if m.name in asking
    ]
    status = msgspec.structs.replace(status, members=meant, started_at=stamp(now), failed=None)
    return _leaves(name, _enter(status, "Progressing", "", now), views, now)


def _is_new(status: ReleaseGroupStatus, member: str, revision: str) -> bool:
    """What went back for another's sake waits for that other one; what failed itself asks only because a person said `retry`."""
    return not any((m.name, m.revision, m.state) == (member, revision, "Back") for m in status.members)


def _seen(member: MemberStatus, view: MemberView | None) -> MemberStatus:
    if member.state == "Promoted":
        return member
    state, text = _state(member, view)
    revision = member.revision
    if state in ("Waiting", "Releasing", "Ready") and view is not None and (newer := view.running or view.asks):
        revision = newer
    started = member.started or state in ("Releasing", "Ready", "Promoting")
    if view is not None and state == "Waiting" and view.asks == revision != member.revision:
        started = False
    return msgspec.structs.replace(member, state=state, revision=revision, started=started, text=text[:1000])


def _state(member: MemberStatus, view: MemberView | None) -> tuple[MemberState, str]:
    if view is None:
        return "Failed", "its Canary was deleted"
    if view.stable == member.revision or (view.running == member.revision and view.settled):
        return "Promoted", ""
    if member.leave == "Return":
        return ("Failed" if member.state == "Failed" else "Returning" if view.running else "Back"), member.text
    if view.returning:
        return ("Waiting" if view.restarts else "Failed"), view.text
    if view.running:
        return ("Promoting" if view.promoting else "Ready" if view.ready else "Releasing"), view.text
    if view.asks and (not member.started or view.asks != member.revision):
        return "Waiting", view.text
    if view.restarts and member.state != "Failed":
        return "Waiting", view.text
    if member.started or not view.waits:
        return "Failed", (member.text if member.state == "Failed" else view.text) or "it ended without being promoted"
    return "Waiting", view.waits


def _judged(name: str, spec: ReleaseGroupSpec, status: ReleaseGroupStatus, now: float) -> ReleaseGroupStatus:
    """One that ends otherwise than promoted, or the group's time, ends it for all."""
    fallen = next((m for m in status.members if m.state in GONE), None)
    late = since(status.started_at, now) >= _seconds(spec.deadline, DEADLINE) and any(m.state != "Promoted" for m in status.members)
    cause = (
        f"{fallen.name} {fallen.revision}: {fallen.text}" if fallen else "not all of it was promoted in the group's time" if late else ""
    )
    if cause:
        return _fall(name, msgspec.structs.replace(status, failed=fallen.name if fallen else None), cause, now)
    if status.phase == "Progressing" and all(m.state in ("Ready", "Promoting", "Promoted") for m in status.members):
        return _enter(status, "Promoting", "", now)
    return status


def _fall(name: str, status: ReleaseGroupStatus, cause: str, now: float) -> ReleaseGroupStatus:
    if any(m.state == "Promoted" for m in status.members):
        return _freeze(name, status, cause, now)
    return _enter(status, "RollingBack", f"{name} goes back: {cause}"[:2000], now)


def _freeze(name: str, status: ReleaseGroupStatus, cause: str, now: float) -> ReleaseGroupStatus:
    done = _names([m for m in status.members if m.state == "Promoted"])
    left = _names([m for m in status.members if m.state not in ("Promoted", *GONE)])
    stays = f"; {left} stays where it is: linnet abort or linnet promote --override decides for each" if left else ""
    back = " and ".join(f"linnet undo {m.name}" for m in status.members if m.state == "Promoted")
    text = f"{name} is frozen: {cause}; {done} is promoted already and cannot go back by itself: {back}{stays}"
    return _enter(status, "Frozen", text[:2000], now)


def _went_back(name: str, status: ReleaseGroupStatus, views: Views, now: float) -> ReleaseGroupStatus:
    if any(m.state == "Promoted" for m in status.members):
        return _freeze(name, status, status.sentence.partition(" goes back: ")[2] or "it went back", now)
    if all(m.state in GONE for m in status.members) and not _running(status, views):
        text = status.sentence.replace(" goes back: ", " went back: ", 1)
        return _enter(status, "RolledBack", text, now)
    return status


def _leaves(name: str, status: ReleaseGroupStatus, views: Views, now: float) -> ReleaseGroupStatus:
    """What each member may do now, as the next pass of its Canary reads it."""
    members = [msgspec.structs.replace(m, leave=_leave(status, i, views, now)) for i, m in enumerate(status.members)]
    ready = sum(m.state in ("Ready", "Promoting", "Promoted") for m in members)
    done = sum(m.state == "Promoted" for m in members)
    progress = f"{done}/{len(members)} promoted" if status.phase in ("Promoting", "Promoted", "Frozen") else f"{ready}/{len(members)} ready"
    sentence = status.sentence
    if status.phase in ("Progressing", "Promoting"):
        sentence = f"{name}: {progress}; " + ", ".join(f"{m.name} {m.revision} {m.state.lower()}" for m in members)
    return msgspec.structs.replace(status, members=members, progress=progress, sentence=sentence[:2000])


def _leave(status: ReleaseGroupStatus, index: int, views: Views, now: float) -> Leave:
    members, me = status.members, status.members[index]
    if status.phase == "Frozen":
        return "Stay"
    if status.phase == "RollingBack":
        later = [v for m in members[index + 1 :] if (v := views.get(m.name)) is not None]
        over = since(status.since, now) >= PATIENCE * (len(members) - 1 - index)
        return "Return" if me.leave == "Return" or over or not any(v.exposed for v in later) else "Stay"
    if status.phase == "Promoting" and all(m.state == "Promoted" for m in members[:index]):
        return "Promote"
    before = [m for m in members if m.name in me.after]
    return "Start" if me.started or all(m.state in ("Ready", "Promoting", "Promoted") for m in before) else "Wait"


def permit(name: str, status: ReleaseGroupStatus, member: str, *, running: bool) -> Permit | None:
    """What the group's status says to one of its members; None where it has nothing to say."""
    me = next((m for m in status.members if m.name == member), None)
    resting = status.phase in REST and (status.phase != "Frozen" or me is None or me.leave != "Stay")
    if me is None or resting:
        return None if running else _withheld(name, _at_rest(status, me))
    before = ", ".join(me.after)
    words: dict[Leave, str] = {
        "Wait": f"release group {name}: {member} starts when {before} is ready",
        "Start": f"release group {name} promotes when all are ready: {status.sentence}",
        "Stay": f"release group {name}: {status.sentence}",
        "Return": f"release group {name}: {status.sentence}",
        "Promote": "",
    }
    forward = me.leave in ("Start", "Promote")
    return Permit(
        source=SOURCE,
        group=True,
        owned=True,
        start=forward,
        advance=forward or me.leave == "Wait",
        promote=me.leave == "Promote",
        must_abort=me.leave == "Return",
        why=words[me.leave],
    )


def refused(name: str, fault: str) -> Permit:
    """Of a group that is not right: its members start nothing, and what is under way is held up before it is promoted."""
    return msgspec.structs.replace(_withheld(name, f"is not right: {fault}"), promote=False)


def _withheld(name: str, why: str) -> Permit:
    return Permit(source=SOURCE, group=True, owned=True, start=False, why=f"release group {name} {why}"[:1000])


def _at_rest(status: ReleaseGroupStatus, me: MemberStatus | None) -> str:
    if me is not None and me.state == "Back":
        return f"starts this version again with a new one of {status.failed or 'any other member'}: {status.sentence}"
    if status.phase == "Gathering":
        return status.sentence
    if status.phase in REST:
        return "gathers the new versions of its members"
    return f"has a release under way, this version is of the next: {status.sentence}"


def _enter(status: ReleaseGroupStatus, phase: GroupPhase, sentence: str, now: float) -> ReleaseGroupStatus:
    return msgspec.structs.replace(status, phase=phase, sentence=sentence, since=stamp(now))


def _running(status: ReleaseGroupStatus, views: Views) -> bool:
    return any(m.state != "Promoted" and (v := views.get(m.name)) is not None and v.running for m in status.members)


def _names(members: Sequence[MemberStatus]) -> str:
    return ", ".join(f"{m.name} {m.revision}" for m in members)


def _seconds(text: str | None, default: float) -> float:
    return default if text is None else parse_duration(text)
