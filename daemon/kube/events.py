"""Events: what `kubectl describe` shows a person.

Telling must never hold up acting. `record` only puts a note into a bounded queue; one task writes them. The same thing said again
about the same object becomes a series (one PATCH of a count) instead of a second Event, and a token bucket for each object keeps a
flapping one from flooding etcd. What is dropped is counted, and an API server that refuses Events is logged, not raised.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec

from daemon.kube import errors, times
from daemon.kube.client import Client
from daemon.kube.objects import Event, KubeObject, ObjectMeta, ObjectReference
from daemon.kube.resources import EVENTS, Resource

log = logging.getLogger("linnet.kube.events")

EventType = Literal["Normal", "Warning"]


class EventOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds. A repetition within `series_window` of the last one joins its series."""

    queue_size: int = 1000
    burst: int = 25
    per_second: float = 1.0 / 20.0
    series_window: float = 360.0
    remembered: int = 4096
    deadline: float = 10.0
    note_limit: int = 1024


DEFAULTS = EventOptions()


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    regarding: ObjectReference
    related: ObjectReference | None
    type: EventType
    reason: str
    action: str
    note: str
    moment: datetime

    @property
    def same(self) -> tuple[str, ...]:
        """What makes a second one a repetition of the first."""
        r = self.regarding
        return (r.kind, r.namespace, r.name, r.uid, self.type, self.reason, self.action, self.note)


class _Series:
    def __init__(self, namespace: str, name: str, at: float) -> None:
        self.namespace = namespace
        self.name = name
        self.count = 1
        self.at = at


class _Bucket:
    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


def reference(resource: Resource[Any], item: KubeObject) -> ObjectReference:
    """What an Event points at. Objects out of a list carry no kind, so the resource says it."""
    meta = item.metadata
    return ObjectReference(
        api_version=resource.api_version,
        kind=resource.kind,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


class EventRecorder:
    """`record` from anywhere on the loop; `run` belongs into the owner's TaskGroup, `flush` into its shutdown."""

    def __init__(
        self,
        client: Client,
        *,
        controller: str = "linnet.dev/daemon",
        instance: str,
        options: EventOptions = DEFAULTS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = times.now,
    ) -> None:
        self._client = client
        self._controller = controller
        self._instance = instance[:128]
        self._options = options
        self._clock = clock
        self._now = now
        self._notes: deque[_Note] = deque()
        self._some = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._serial = 0
        self.dropped = 0
        self.written = 0

    def record(
        self,
        regarding: ObjectReference,
        reason: str,
        note: str,
        *,
        action: str = "",
        type: EventType = "Normal",  # noqa: A002  the field's name
        related: ObjectReference | None = None,
    ) -> bool:
        """Say something about an object. False when it was dropped because too much is being said."""
        if len(self._notes) >= self._options.queue_size or not self._may_speak(regarding):
            self.dropped += 1
            return False
        self._notes.append(
            _Note(
                regarding=regarding,
                related=related,
                type=type,
                reason=reason[:128] or "Unknown",
                action=action[:128] or reason[:128] or "Unknown",
                note=_clip(note, self._options.note_limit),
                moment=self._now(),
            )
        )
        self._some.set()
        self._empty.clear()
        return True

    def _may_speak(self, regarding: ObjectReference) -> bool:
        o, now = self._options, self._clock()
        key = regarding.uid or f"{regarding.kind}/{regarding.namespace}/{regarding.name}"
        bucket = self._buckets.pop(key, None) or _Bucket(float(o.burst), now)
        self._buckets[key] = bucket
        if len(self._buckets) > o.remembered:
            self._buckets.popitem(last=False)
        bucket.tokens = min(float(o.burst), bucket.tokens + (now - bucket.at) * o.per_second)
        bucket.at = now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True

    async def run(self) -> None:
        """Write notes until cancelled."""
        while True:
            await self._some.wait()
            while self._notes:
                await self._write(self._notes[0])
                self._notes.popleft()
            self._some.clear()
            self._empty.set()

    async def flush(self, deadline: float) -> bool:
        """Wait until all is written, while `run` still runs. False when the deadline came first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await self._empty.wait()
        return self._empty.is_set()

    async def _write(self, note: _Note) -> None:
        try:
            if not await self._extend(note):
                await self._create(note)
            self.written += 1
        except errors.KubeError as e:
            self.dropped += 1
            log.warning("an Event on %s %s was not written: %s", note.regarding.kind, note.regarding.name, e.message)
        except Exception:
            self.dropped += 1
            log.exception("an Event on %s %s was not written", note.regarding.kind, note.regarding.name)

    async def _extend(self, note: _Note) -> bool:
        """Count a repetition up. False when there is no Event to extend (any more)."""
        series = self._series.get(note.same)
        if series is None or self._clock() - series.at > self._options.series_window:
            return False
        patch = {"series": {"count": series.count + 1, "lastObservedTime": times.micro_time(note.moment)}}
        try:
            await self._client.merge_patch(EVENTS, series.namespace, series.name, patch, deadline=self._options.deadline)
        except errors.NotFound:
            del self._series[note.same]
            return False
        series.count += 1
        series.at = self._clock()
        self._series.move_to_end(note.same)
        return True

    async def _create(self, note: _Note) -> None:
        namespace = note.regarding.namespace or "default"
        name = self._event_name(note)
        event = Event(
            metadata=ObjectMeta(name=name, namespace=namespace),
            event_time=times.micro_time(note.moment),
            type=note.type,
            reason=note.reason,
            action=note.action,
            note=note.note,
            reporting_controller=self._controller,
            reporting_instance=self._instance,
            regarding=note.regarding,
            related=note.related,
        )
        try:
            await self._client.create(EVENTS, namespace, event, deadline=self._options.deadline)
        except errors.AlreadyExists:
            log.debug("Event %s/%s was written by an attempt whose reply was lost", namespace, name)
        self._series[note.same] = _Series(namespace, name, self._clock())
        self._series.move_to_end(note.same)
        if len(self._series) > self._options.remembered:
            self._series.popitem(last=False)

    def _event_name(self, note: _Note) -> str:
        """The object's name and 16 hex digits, within the 253 characters of a name."""
        self._serial += 1
        text = "\0".join((*note.same, self._instance, note.moment.isoformat(), str(self._serial)))
        return f"{note.regarding.name[:200].rstrip('.-')}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _clip(note: str, limit: int) -> str:
    """The API server counts bytes; the end of a sentence is worth less than its beginning."""
    body = note.encode()
    if len(body) <= limit:
        return note
    return body[: limit - 3].decode("utf-8", "ignore") + "..."
