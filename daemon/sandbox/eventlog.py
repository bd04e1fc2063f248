"""Why: watches resume from a resourceVersion, and paged lists read a past state; both need the recent past, and no more than that."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from daemon.sandbox.errors import JSON, expired

Key = tuple[str, str]  # namespace ("" when cluster scoped) and name


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One commit: `old` is what was there before, for selectors that begin or cease to match and for reading the past."""

    type: str  # ADDED, MODIFIED or DELETED
    resource: str
    revision: int
    obj: JSON
    old: JSON | None

    @property
    def key(self) -> Key:
        meta = self.obj["metadata"]
        return meta.get("namespace", ""), meta["name"]


class EventLog:
    """The last `window` commits, and those who are told of each new one in order."""

    def __init__(self, *, start: int, window: int) -> None:
        self._events: deque[Event] = deque(maxlen=window)
        self._floor = start
        self._subscribers: list[Callable[[Event], None]] = []
        self._undelivered: deque[Event] = deque()
        self._delivering = False

    def append(self, event: Event) -> None:
        """Remember the event, and tell everybody; one that writes while being told is told of that afterwards."""
        if len(self._events) == self._events.maxlen:
            self._floor = self._events[0].revision
        self._events.append(event)
        self._undelivered.append(event)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._undelivered:
                waiting = self._undelivered.popleft()
                for subscriber in list(self._subscribers):
                    subscriber(waiting)
        finally:
            self._delivering = False

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def since(self, revision: int) -> list[Event]:
        """The events after a revision; 410 when some of them are forgotten."""
        if revision < self._floor:
            raise expired(f"too old resource version: {revision} ({self._floor})")
        return list(self._backwards(revision))[::-1]

    def _backwards(self, revision: int) -> Iterator[Event]:
        for event in reversed(self._events):
            if event.revision <= revision:
                return
            yield event

    def rewind(self, resource: str, state: dict[Key, JSON], revision: int) -> dict[Key, JSON]:
        """The objects of a resource as they were at a revision; 410 when that is forgotten."""
        if revision < self._floor:
            raise expired("The provided continue parameter is too old to display a consistent list result. Start a new list without it.")
        past = dict(state)
        for event in self._backwards(revision):
            if event.resource != resource:
                continue
            if event.old is None:
                past.pop(event.key, None)
            else:
                past[event.key] = event.old
        return past

    def compact(self) -> None:
        """Forget everything up to now, as an API server does when etcd is compacted; the next old watch gets 410."""
        if self._events:
            self._floor = self._events[-1].revision
            self._events.clear()
