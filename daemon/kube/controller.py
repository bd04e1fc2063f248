"""Workers between a queue and a reconcile function.

A reconcile reads caches, decides, writes, and says when it wants to be called again. Everything that can go wrong with it stays with
its key: an error, a panic, a hang beyond the deadline or a stray cancellation delays that key with a growing backoff, and the other
keys go on. The controller is owned by whoever leads; cancelling `run` cancels and awaits the reconciles in flight.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Literal, TypeVar

import msgspec

from daemon.kube.errors import KubeError
from daemon.kube.queue import QueueClosed, WorkQueue

log = logging.getLogger("linnet.kube.controller")

K = TypeVar("K", bound=Hashable)
Outcome = Literal["done", "requeued", "error", "panic", "deadline"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """When to reconcile the key again if nothing happens to it; None: only when something does."""

    requeue_after: float | None = None


class ControllerOptions(msgspec.Struct, frozen=True, kw_only=True):
    workers: int = 4
    reconcile_deadline: float = 60.0


class ReconcileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass was, for whoever counts."""

    controller: str
    outcome: Outcome
    seconds: float


DEFAULTS = ControllerOptions()


class Controller(Generic[K]):
    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[Result | None]],
        *,
        queue: WorkQueue[K] | None = None,
        options: ControllerOptions = DEFAULTS,
        observe: Callable[[ReconcileRecord], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if options.workers < 1:
            raise ValueError(f"workers is {options.workers}; a controller needs at least one")
        self.name = name
        self.queue: WorkQueue[K] = queue if queue is not None else WorkQueue()
        self._reconcile = reconcile
        self._options = options
        self._observe = observe
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled, or until the queue is closed and empty."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._options.workers):
                group.create_task(self._work(), name=f"{self.name} worker {number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self._pass(key)
            finally:
                self.queue.done(key)

    async def _pass(self, key: K) -> None:
        began = self._clock()
        outcome = await self._attempt(key)
        if self._observe is not None:
            self._observe(ReconcileRecord(controller=self.name, outcome=outcome, seconds=self._clock() - began))

    async def _attempt(self, key: K) -> Outcome:
        task = asyncio.current_task()
        limit = asyncio.timeout(self._options.reconcile_deadline)
        try:
            async with limit:
                result = await self._reconcile(key)
        except KubeError as e:
            delay = self.queue.add_failed(key, e.retry_after or 0.0)
            log.warning("%s %s: %s; again in %.1f s", self.name, key, e.message, delay)
            return "error"
        except TimeoutError as e:
            if not limit.expired():
                return self._panicked(key, e)
            delay = self.queue.add_failed(key)
            log.error("%s %s: no end within %g s; again in %.1f s", self.name, key, self._options.reconcile_deadline, delay)  # noqa: TRY400
            return "deadline"
        except asyncio.CancelledError as e:
            # A reconcile that leaks the cancellation of something of its own must not take its worker along.
            if task is None or task.cancelling():
                raise
            return self._panicked(key, e)
        except Exception as e:  # noqa: BLE001  isolation is the point
            return self._panicked(key, e)
        self.queue.forget(key)
        if result is None or result.requeue_after is None:
            return "done"
        self.queue.add_after(key, result.requeue_after)
        return "requeued"

    def _panicked(self, key: K, e: BaseException) -> Outcome:
        delay = self.queue.add_failed(key)
        log.error("%s %s: unexpected error; again in %.1f s", self.name, key, delay, exc_info=e)
        return "panic"
