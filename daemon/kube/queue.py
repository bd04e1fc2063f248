"""The work queue between informers and reconcilers.

It holds keys, never objects, and promises three things: a key that is waiting is not queued twice, a key that is being worked on is
not handed to a second worker (it waits and comes back when the first is done), and a key is never lost between the two. Delays are one
heap and one loop timer, since ten thousand timers are a cost and a thundering herd. Of several deadlines for a key the earliest wins,
and an immediate add takes a pending delay with it: whoever reconciles earlier says anew when to come back.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from daemon.kube.backoff import Backoff, Rng

K = TypeVar("K", bound=Hashable)

RETRIES = Backoff(first=0.2, limit=300.0)


class QueueClosed(Exception):
    """No key will come any more."""


class WorkQueue(Generic[K]):
    """Use on one event loop. Worker: `key = await get()`, work, `done(key)`."""

    def __init__(self, *, backoff: Backoff = RETRIES, rng: Rng = random.random) -> None:
        self._backoff = backoff
        self._rng = rng
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def __len__(self) -> int:
        """Keys that could be worked on now."""
        return len(self._ready) + len(self._again)

    @property
    def delayed(self) -> int:
        return len(self._due)

    @property
    def active(self) -> int:
        return len(self._active)

    def add(self, key: K) -> None:
        """As soon as possible."""
        if self._closed:
            return
        self._due.pop(key, None)
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._idle.clear()
            self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Not before that many seconds, unless something asks for it earlier."""
        if seconds <= 0:
            self.add(key)
            return
        if self._closed or key in self._waiting or key in self._again:
            return
        when = asyncio.get_running_loop().time() + seconds
        if self._due.get(key, float("inf")) <= when:
            return
        self._due[key] = when
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, key))
        self._arm()

    def add_failed(self, key: K, at_least: float = 0.0) -> float:
        """After a failure: with a delay that grows from one to the next, and never below what a server asked for. Returns it."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least, self._backoff.delay(self._failures[key], self._rng))
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure is a first one again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, which is then this worker's alone until `done`. QueueClosed when there will be none."""
        while not self._ready:
            if self._closed:
                raise QueueClosed
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                # A wake-up that reached a worker which is leaving belongs to the next one.
                if getter.done() and not getter.cancelled():
                    self._wake()
                raise
            finally:
                if getter in self._getters:
                    self._getters.remove(getter)
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._active.add(key)
        return key

    def done(self, key: K) -> None:
        """The worker is finished with the key; if it was asked for meanwhile, it is queued again."""
        if key not in self._active:
            raise ValueError(f"key {key!r} is not being worked on")
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._waiting.add(key)
            self._ready.append(key)
            self._wake()
        elif not self._ready and not self._active:
            self._idle.set()

    def close(self) -> None:
        """Take no more keys and drop the delayed ones; what is ready may still be worked off."""
        self._closed = True
        self._due.clear()
        self._heap.clear()
        self._again.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for getter in self._getters:
            if not getter.done():
                getter.set_result(None)

    async def drain(self, deadline: float) -> bool:
        """Close, then wait until all that was ready is done. False when the deadline came first."""
        self.close()
        try:
            async with asyncio.timeout(deadline):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _arm(self) -> None:
        """One timer, for the earliest deadline that still counts."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer.when() <= when and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        # A loop may call a timer within its clock's resolution before its time; a rest is armed again.
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                self.add(key)
        self._arm()
