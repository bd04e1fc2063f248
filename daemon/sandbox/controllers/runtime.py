"""One queue and one task for all the sandbox's controllers.

Every controller is level triggered: a change of any object names the keys to look at again, and `sync` brings one key closer to what
is wanted. The store lives in the same process and answers at once, so a `sync` always sees its own last write; none of the
native controllers' caches and expectations are needed, and one task in one loop keeps the order of writes the same from run to run.
"""

import asyncio
import heapq
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from daemon.sandbox.controllers.access import Access
from daemon.sandbox.controllers.objects import Object
from daemon.sandbox.errors import ApiError

log = structlog.get_logger("linnet.sandbox")

Key = tuple[str, str]  # namespace ("" for cluster-wide kinds), name

_FIRST_RETRY, _LAST_RETRY = 0.005, 5.0


class Controller(Protocol):
    """What the runner asks of a controller."""

    name: str

    def start(self) -> Iterable[Key]:
        """The keys to look at first, for objects that were there before the controller."""
        ...

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        """The keys that a change of this object concerns."""
        ...

    def sync(self, key: Key) -> float | None:
        """Bring one key closer to what is wanted; a number asks to be called again after so many seconds."""
        ...


class Runner:
    """Feeds controllers with keys: each key once however often it was named, failures with growing pauses."""

    def __init__(self, access: Access, controllers: Sequence[Controller]) -> None:
        self._access = access
        self._controllers = controllers
        self._ready: dict[tuple[int, Key], None] = {}
        self._later: list[tuple[float, int, Key]] = []
        self._due: dict[tuple[int, Key], float] = {}
        self._failures: dict[tuple[int, Key], int] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        unsubscribe = self._access.subscribe(self._changed)
        try:
            for index, controller in enumerate(self._controllers):
                for key in controller.start():
                    self._add(index, key)
            while True:
                await self._next()
        finally:
            unsubscribe()

    def _changed(self, event: str, resource: str, obj: Object) -> None:
        for index, controller in enumerate(self._controllers):
            for key in controller.keys(event, resource, obj):
                self._add(index, key)

    def _add(self, index: int, key: Key) -> None:
        self._ready[index, key] = None
        self._wake.set()

    def _add_after(self, index: int, key: Key, delay: float) -> None:
        due = time.monotonic() + delay
        if self._due.get((index, key), due + 1) > due:
            self._due[index, key] = due
            heapq.heappush(self._later, (due, index, key))

    async def _next(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            due, index, key = heapq.heappop(self._later)
            if self._due.get((index, key)) == due:
                del self._due[index, key]
                self._ready[index, key] = None
        if not self._ready:
            await self._sleep()
            return
        item = next(iter(self._ready))
        del self._ready[item]
        self._sync(*item)
        await asyncio.sleep(0)

    async def _sleep(self) -> None:
        self._wake.clear()
        pause = self._later[0][0] - time.monotonic() if self._later else None
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return

    def _sync(self, index: int, key: Key) -> None:
        controller = self._controllers[index]
        try:
            again = controller.sync(key)
        except Exception as error:  # noqa: BLE001 - one bad object must not stop the controllers of all others
            count = self._failures[index, key] = self._failures.get((index, key), 0) + 1
            if not (isinstance(error, ApiError) and error.reason == "Conflict"):
                log.warning("sandbox.sync_failed", controller=controller.name, namespace=key[0], name=key[1], error=repr(error))
            self._add_after(index, key, min(_LAST_RETRY, _FIRST_RETRY * 2 ** min(count, 12)))
            return
        self._failures.pop((index, key), None)
        if again is not None:
            self._add_after(index, key, again)
