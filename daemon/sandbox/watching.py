"""Why: everything that runs on Kubernetes lives on watches; they must begin, resume, bookmark, expire and end as the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON, ApiError
from daemon.sandbox.eventlog import Event
from daemon.sandbox.listing import Predicate, not_yet, predicate, revision, served
from daemon.sandbox.requests import Shape, Target
from daemon.sandbox.store import Store

_encode = msgspec.json.encode
_END = "k8s.io/initial-events-end"
_TRUE = ("1", "true", "True", "")


def flag(request: web.Request, name: str) -> bool:
    """A boolean parameter; present without a value means true."""
    return request.query.get(name, "false") in _TRUE


class Watch:
    """One watch: from which revision, of what, in which form."""

    def __init__(self, store: Store, request: web.Request, target: Target, shape: Shape, *, bookmark_every: float) -> None:
        self._store, self._target, self._shape = store, target, shape
        self._test: Predicate = predicate(request, target)
        self._initial = flag(request, "sendInitialEvents")
        self._bookmarks = flag(request, "allowWatchBookmarks")
        self._bookmark_every = bookmark_every
        self._check_options(request)
        self._from = revision(request.query.get("resourceVersion"))
        seconds = revision(request.query.get("timeoutSeconds"), "timeoutSeconds")
        self._lifetime = float(seconds or random.uniform(1800, 3600))
        self._headed = False

    def _check_options(self, request: web.Request) -> None:
        match = request.query.get("resourceVersionMatch")
        asked = "sendInitialEvents" in request.query
        if asked and match != "NotOlderThan":
            why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise err.invalid("ListOptions", "meta.k8s.io", "", [err.field_forbidden("resourceVersionMatch", why)])
        if match and not asked:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise err.invalid("ListOptions", "meta.k8s.io", "", [err.field_forbidden("resourceVersionMatch", why)])
        if self._initial and not self._bookmarks:
            why = "sendInitialEvents requires allowWatchBookmarks"
            raise err.invalid("ListOptions", "meta.k8s.io", "", [err.field_forbidden("sendInitialEvents", why)])

    def _line(self, kind: str, obj: JSON) -> bytes:
        if kind not in ("BOOKMARK", "ERROR"):
            obj = self._shape.one(self._target.resource, served(self._target.resource, obj), dt.datetime.now(dt.UTC), head=not self._headed)
            self._headed = True
        return _encode({"type": kind, "object": obj}) + b"\n"

    def _bookmark(self, *, end: bool = False) -> bytes:
        r = self._target.resource
        meta: dict[str, Any] = {"resourceVersion": str(self._store.revision), "creationTimestamp": None}
        if end:
            meta["annotations"] = {_END: "true"}
        if self._shape.form == "PartialObjectMetadata":
            return self._line("BOOKMARK", {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
        if self._shape.form == "Table":
            empty = {"cells": [], "object": {"kind": r.kind, "apiVersion": r.api_version, "metadata": meta}}
            kind = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": meta["resourceVersion"]}}
            return self._line("BOOKMARK", {**kind, "columnDefinitions": None, "rows": [empty]})
        return self._line("BOOKMARK", {"kind": r.kind, "apiVersion": r.api_version, "metadata": meta})

    def _change(self, event: Event) -> bytes | None:
        """What a commit means to this watch: an object may begin or cease to match its selectors."""
        if event.resource != self._target.resource.key:
            return None
        now = event.type != "DELETED" and self._test(event.obj)
        before = event.old is not None and self._test(event.old)
        if now:
            return self._line("MODIFIED" if before else "ADDED", event.obj)
        if not before:
            return None
        version = event.obj["metadata"]["resourceVersion"]
        last = event.obj if event.type == "DELETED" else event.old or {}
        return self._line("DELETED", {**last, "metadata": {**last["metadata"], "resourceVersion": version}})

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of the answer, until the watch's time is up."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        unsubscribe = self._store.log.subscribe(queue.put_nowait)
        try:
            for line in self._first():
                yield line
            end = asyncio.get_running_loop().time() + self._lifetime
            async for line in self._following(queue, end):
                yield line
        except ApiError as e:
            yield self._line("ERROR", e.status())
        finally:
            unsubscribe()

    def _first(self) -> list[bytes]:
        if self._from > self._store.revision:
            raise not_yet(self._from, self._store.revision)
        if self._initial or not self._from:
            state = sorted(self._store.state(self._target.resource.key).items())
            first = [self._line("ADDED", obj) for _, obj in state if self._test(obj)]
            return [*first, self._bookmark(end=True)] if self._initial else first
        return [line for e in self._store.log.since(self._from) if (line := self._change(e)) is not None]

    async def _following(self, queue: asyncio.Queue[Event], end: float) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        bookmark = loop.time() + self._bookmark_every
        while loop.time() < end:
            event: Event | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(end, bookmark)):
                    event = await queue.get()
            if event is not None:
                line = self._change(event)
                if line is not None:
                    yield line
            elif loop.time() >= bookmark:
                bookmark = loop.time() + self._bookmark_every
                if self._bookmarks:
                    yield self._bookmark()
        if self._bookmarks:
            yield self._bookmark()
