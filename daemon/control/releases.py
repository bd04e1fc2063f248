"""One guarded task for each release under way: its judge, its templates. A fault in one must not end the others."""

import asyncio
import logging
from typing import Generic, Protocol, TypeVar

from daemon.kube.store import Key

log = logging.getLogger("linnet.releases")

AGAIN_AFTER = 15.0  # seconds


class Session(Protocol):
    """What lasts as long as one release of one revision."""

    revision: str

    async def run(self) -> None:
        """Until cancelled."""


S = TypeVar("S", bound=Session)


class Releases(Generic[S]):
    """Sessions by Canary, at most one each. `run` belongs into the leader's TaskGroup; before and after it none can be opened."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._sessions: dict[Key, tuple[S, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._sessions.clear()

    @property
    def running(self) -> bool:
        return self._group is not None

    def get(self, key: Key, revision: str | None = None) -> S | None:
        """The Canary's session; with `revision` only one of that revision."""
        session = self._sessions[key][0] if key in self._sessions else None
        return session if session is None or revision in (None, session.revision) else None

    def open(self, key: Key, session: S) -> None:
        """Starts it; there must be none of this Canary."""
        if self._group is None:
            raise RuntimeError(f"{self._what} of {'/'.join(key)}: nothing runs it")
        self._sessions[key] = (session, self._group.create_task(self._guard(key, session), name=f"{self._what} {'/'.join(key)}"))

    def close(self, key: Key) -> tuple[S, asyncio.Task[None]] | None:
        """Cancels it; what it was and its task, for whoever must wait for its end."""
        found = self._sessions.pop(key, None)
        if found is not None:
            found[1].cancel()
        return found

    async def _guard(self, key: Key, session: S) -> None:
        while True:
            try:
                await session.run()
            except Exception:
                log.exception("%s of %s failed; starting over", self._what, "/".join(key))
                await asyncio.sleep(AGAIN_AFTER)
