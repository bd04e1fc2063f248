"""Release groups: each group's status from its members' as the cache has them, and what that status says to a member.

A group writes its own status and nothing else; a Canary reads it as leave given or withheld. So no Canary is ever written by another's
release, and a daemon that dies anywhere finds in the objects all that was decided.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from daemon.api.conditions import group_conditions
from daemon.api.groups import GroupPhase, ReleaseGroupStatus, group_faults
from daemon.api.status import CanaryStatus
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.resolve import Resolver
from daemon.kube.client import Client
from daemon.kube.controller import Result
from daemon.kube.events import EventRecorder, EventType, reference
from daemon.kube.status import StatusWriter
from daemon.kube.store import Key
from daemon.rollout import group
from daemon.rollout.clock import stamp
from daemon.rollout.model import Permit

log = logging.getLogger("linnet.groups")

WAITS: Final = f"Permit{group.SOURCE}"
TOLD: Final[Mapping[GroupPhase, EventType]] = {
    "Progressing": "Normal",
    "Promoting": "Normal",
    "Promoted": "Normal",
    "RollingBack": "Warning",
    "Frozen": "Warning",
}


class Groups:
    """`reconcile` is one pass over one group."""

    def __init__(
        self, client: Client, caches: Caches, resolver: Resolver, recorder: EventRecorder, clock: Callable[[], float] = time.time
    ) -> None:
        self._caches = caches
        self._resolver = resolver
        self._recorder = recorder
        self._clock = clock
        self._writer = StatusWriter(client, ours.RELEASE_GROUPS)

    async def reconcile(self, key: Key) -> Result | None:
        item = self._caches.groups.store.get(*key)
        if item is None:
            return None
        now, before = self._clock(), item.status
        wrong = fault(self._caches, item) or self._watched(item)
        resting = before.phase in group.REST and before.phase != "Frozen"
        after = before if wrong and resting else group.follow(item.name, item.spec, before, self._views(item), now)
        conditions = group_conditions(
            before.conditions, wrong[:1000], after.phase, after.sentence, generation=item.metadata.generation, now=stamp(now)
        )
        after = msgspec.structs.replace(after, observed_generation=item.metadata.generation, conditions=conditions)
        written = await self._writer.write(item, before if before.observed_generation is not None else None, after)
        if written is not None:
            self._caches.groups.store.put(written)
            self._tell(item, before, after, wrong)
        again = None if wrong and resting else group.again_in(item.spec, after, now)
        return Result(requeue_after=again) if again is not None else None

    def _views(self, item: ours.ReleaseGroup) -> dict[str, group.MemberView]:
        found = {name: self._caches.canaries.store.get(item.namespace, name) for name in item.names}
        return {name: view(c.status) for name, c in found.items() if c is not None and c.metadata.deletion_timestamp is None}

    def _watched(self, item: ours.ReleaseGroup) -> str:
        for i, member in enumerate(item.spec.members):
            canary = self._caches.canaries.store.get(item.namespace, member.name)
            if canary is not None and self._resolver.observes(canary):
                way = "a group promotes, and there is nothing to promote: take it out, or set its mode: Enforce"
                return f"spec.members[{i}].name: Canary {member.name} only observes; {way}"
        return ""

    def _tell(self, item: ours.ReleaseGroup, before: ReleaseGroupStatus, after: ReleaseGroupStatus, wrong: str) -> None:
        """Once, on the group."""
        about = reference(ours.RELEASE_GROUPS, item)
        if after.phase != before.phase:
            log.info("%s/%s %s -> %s: %s", *item.key, before.phase, after.phase, after.sentence)
        if after.phase != before.phase and after.phase in TOLD:
            self._recorder.record(about, after.phase, after.sentence, type=TOLD[after.phase], action=after.phase)
        if wrong and wrong not in [c.message for c in before.conditions]:
            self._recorder.record(about, "Refused", wrong, type="Warning", action="Refused")


def permits(caches: Caches, canary: ours.Canary) -> Iterator[Permit]:
    """What the groups of a Canary say to it."""
    running = canary.status.rollout is not None
    for item in sorted(caches.groups.store.by("member", f"{canary.namespace}/{canary.name}"), key=lambda g: g.name):
        meant = any(m.name == canary.name for m in item.spec.members)
        resting = item.status.phase in group.REST
        wrong = _refusal(caches, item) if meant and resting else ""
        if wrong:
            yield group.refused(item.name, wrong)
            continue
        found = group.permit(item.name, item.status, canary.name, running=running) if meant or not resting else None
        if found is not None:
            yield found


def fault(caches: Caches, item: ours.ReleaseGroup) -> str:
    """The first thing that is wrong with a group, with its field and the way out; empty where nothing is."""
    for found in group_faults(item.spec, "spec"):
        return f"{found.path}: {found.message}"
    for i, member in enumerate(item.spec.members):
        path = f"spec.members[{i}].name"
        if caches.canaries.store.get(item.namespace, member.name) is None:
            there = ", ".join(sorted(c.name for c in caches.canaries.store.by("namespace", item.namespace))[:8]) or "none"
            return f"{path}: there is no Canary {member.name} in {item.namespace}, there are: {there}; create it, or take it out"
        others = [
            g.name
            for g in caches.groups.store.by("member", f"{item.namespace}/{member.name}")
            if g.name != item.name and any(m.name == member.name for m in g.spec.members)
        ]
        if others:
            return f"{path}: Canary {member.name} is in release group {min(others)} too; take it out of one of the two"
    return ""


def _refusal(caches: Caches, item: ours.ReleaseGroup) -> str:
    """As the status says, or already known before that is written."""
    told = next((c.message for c in item.status.conditions if c.type == "Accepted" and c.status == "False"), "")
    return fault(caches, item) or told


def view(status: CanaryStatus) -> group.MemberView:
    """A member's status, in the group's terms."""
    rollout, waiting = status.rollout, status.waiting
    asks = rollout is None and status.phase == "Idle" and waiting is not None and waiting.reason == WAITS
    last = status.history[0] if status.history else None
    reason = rollout.rollback_reason if rollout is not None else None
    ended = reason or (last.outcome if last is not None and rollout is None else None)
    return group.MemberView(
        asks=status.observed_revision if asks else None,
        running=rollout.revision if rollout is not None else None,
        stable=status.stable_revision,
        ready=rollout is not None and waiting is not None and waiting.reason == WAITS and status.phase in ("Progressing", "Inconclusive"),
        promoting=rollout is not None and status.phase in ("Promoting", "Settling"),
        settled=rollout is not None and rollout.promotion in ("Returning", "Cleaning"),
        returning=rollout is not None and status.phase == "RollingBack",
        exposed=rollout is not None and (status.phase != "RollingBack" or rollout.rollback == "Exposure"),
        restarts=ended == "Superseded",
        waits=waiting.reason if waiting is not None else "",
        text=(rollout.rollback_cause if rollout is not None else last.sentence if last is not None else "")[:500],
    )
