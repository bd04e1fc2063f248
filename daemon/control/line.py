"""The line of releases that wait for a slot, as the cache has it: who is under way, who waits since when, and what the caps are.

All of it is read from the Canaries' status, so that a daemon that starts anew finds every one in its place. What is in memory is only
which releases are being written as begun right now: several workers decide at the same time, and the cache hears of a start a moment late.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from daemon.api import names
from daemon.control import objects as ours
from daemon.control.caches import QUEUED, UNDER_WAY, Caches
from daemon.control.resolved import Resolved
from daemon.kube.store import Key
from daemon.rollout import line
from daemon.rollout.clock import epoch
from daemon.rollout.leave import OWNED
from daemon.rollout.line import Asker, Caps
from daemon.rollout.model import Permit

WAITS: Final = f"Permit{line.SOURCE}"


class Line:
    def __init__(self, caches: Caches, caps: Caps) -> None:
        self._caches = caches
        self._caps = caps
        self._beginning: set[Key] = set()

    def begins(self, key: Key) -> None:
        """Its start was decided and is about to be written: from now on it has a slot."""
        self._beginning.add(key)

    def begun(self, key: Key) -> None:
        """The cache has its start."""
        self._beginning.discard(key)

    def permit(self, resolved: Resolved, now: float) -> Permit | None:
        """Of a release that is about to start; None where no cap reaches it."""
        canary = resolved.canary
        self._beginning.discard(canary.key)  # what could not be written is decided anew
        if not _asks(resolved):
            return None
        own = self._own(canary.namespace)
        if isinstance(own, str):
            return line.withheld(own)
        if not self._caps.cluster and not (self._caps.namespace if own is None else own):
            return None
        me = Asker(namespace=canary.namespace, name=canary.name, since=_since(canary, now))
        others = [a for a in self._askers(now) if a.key != me.key]
        spaces = {a.namespace for a in (me, *others)}
        caps = msgspec.structs.replace(self._caps, own={n: cap for n in spaces if isinstance(cap := self._own(n), int)})
        order = line.in_order([me, *others], {n: self._served(n, now) for n in spaces})
        return line.permit(me, order, self._running(), caps)

    def _running(self) -> Counter[str]:
        """Releases under way, by namespace."""
        found = {c.key for c in self._caches.canaries.store.by("release", UNDER_WAY)}
        found |= {key for key in self._beginning if self._caches.canaries.store.get(*key) is not None}
        return Counter(namespace for namespace, _ in found)

    def _askers(self, now: float) -> Iterator[Asker]:
        """Those who wait for a slot and for nothing else; one that is frozen, refused or leaving takes none."""
        for canary in self._caches.canaries.store.by("release", QUEUED):
            if canary.key not in self._beginning and _in_line(canary, now) and not isinstance(self._own(canary.namespace), str):
                yield Asker(namespace=canary.namespace, name=canary.name, since=_since(canary, now))

    def _served(self, namespace: str, now: float) -> float:
        """When a release of the namespace last began."""
        if any(key[0] == namespace for key in self._beginning):
            return now
        found = self._caches.canaries.store.by("namespace", namespace)
        started = [c.status.rollout.started_at for c in found if c.status.rollout is not None]
        started += [h.started_at for c in found for h in c.status.history if h.started_at]
        return max((epoch(at) for at in started), default=0.0)

    def _own(self, namespace: str) -> int | str | None:
        """The namespace's own cap, or what is wrong with it; None where it has none."""
        store = self._caches.namespaces
        item = store.store.get("", namespace) if store is not None else None
        text = (item.metadata.annotations or {}).get(names.MAX_ROLLOUTS) if item is not None else None
        if text is None:
            return None
        if re.fullmatch(r"[0-9]{1,4}", text) and int(text) <= line.MOST:
            return int(text)
        return (
            f"annotation {names.MAX_ROLLOUTS} of namespace {namespace} is {text[:64]!r}, and takes a whole number from 0 (no cap) to "
            f"{line.MOST}: kubectl annotate --overwrite namespace {namespace} {names.MAX_ROLLOUTS}=2"
        )


def _since(canary: ours.Canary, now: float) -> float:
    first = canary.status.queued_since
    return epoch(first) if first else now


def _asks(resolved: Resolved) -> bool:
    """Whether a release might begin: a template is held, or flags alone are released."""
    canary, item = resolved.canary, resolved.deployment
    if canary.status.rollout is not None or canary.metadata.deletion_timestamp is not None:
        return False
    return resolved.spec.flags_only or (item is not None and item.spec.paused and bool(item.metadata.annotation(names.HELD_MARK)))


def _in_line(canary: ours.Canary, now: float) -> bool:
    """By what it was last seen to wait for; a freeze or a closed window whose end has come counts no more."""
    waiting = canary.status.waiting
    if waiting is None or canary.metadata.deletion_timestamp is not None:
        return False
    over = waiting.reason in OWNED and waiting.until is not None and epoch(waiting.until) <= now
    return waiting.reason == WAITS or over
