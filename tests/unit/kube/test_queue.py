"""The work queue's promises, held against random histories."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.kube.backoff import Backoff
from daemon.kube.queue import QueueClosed, WorkQueue
from tests.unit.kube.virtual import VirtualLoop, run

T = TypeVar("T")
KEYS = st.sampled_from("abcd")


class QueueMachine(RuleBasedStateMachine):
    """A model of sets beside the real queue: what must be ready, what is active, and when a delay is over."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.queue: WorkQueue[str] = self.sync(self.make())
        self.ready: list[str] = []
        self.active: list[str] = []
        self.again: set[str] = set()
        self.due: dict[str, float] = {}

    async def make(self) -> WorkQueue[str]:
        return WorkQueue()

    def sync(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.queue.close()
        self.loop.close()

    def _model_add(self, key: str) -> None:
        self.due.pop(key, None)
        if key in self.active:
            self.again.add(key)
        elif key not in self.ready:
            self.ready.append(key)

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self._model_add(key)

    @rule(key=KEYS, delay=st.integers(1, 20))
    def add_after(self, key: str, delay: int) -> None:
        async def act() -> None:
            self.queue.add_after(key, delay)

        self.sync(act())
        if key not in self.ready and key not in self.again:
            self.due[key] = min(self.due.get(key, float("inf")), self.loop.time() + delay)

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        end = self.loop.time() + seconds
        self.sync(asyncio.sleep(seconds))
        for key in sorted((k for k, when in self.due.items() if when <= end), key=lambda k: self.due[k]):
            self._model_add(key)

    @precondition(lambda self: self.ready)
    @rule()
    def get(self) -> None:
        key = self.sync(self.queue.get())
        assert key in self.ready
        assert key not in self.active
        self.ready.remove(key)
        self.active.append(key)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.active))
        self.queue.done(key)
        self.active.remove(key)
        if key in self.again:
            self.again.discard(key)
            self.ready.append(key)

    @invariant()
    def same(self) -> None:
        assert len(self.queue) == len(self.ready) + len(self.again)
        assert self.queue.delayed == len(self.due)
        assert self.queue.active == len(self.active)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40)


def test_many_workers_never_share_a_key_and_lose_none() -> None:
    """Fifty keys added a thousand times over five workers: each runs alone, and once more after its last add."""

    async def main() -> None:
        queue: WorkQueue[int] = WorkQueue()
        active: set[int] = set()
        last_add = dict.fromkeys(range(50), 0)
        last_run = dict.fromkeys(range(50), -1)
        clock = 0

        async def worker() -> None:
            nonlocal clock
            while True:
                try:
                    key = await queue.get()
                except QueueClosed:
                    return
                assert key not in active
                active.add(key)
                clock += 1
                last_run[key] = clock
                await asyncio.sleep(0.01)
                active.discard(key)
                queue.done(key)

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(worker())
            for i in range(1000):
                clock += 1
                last_add[i * 7 % 50] = clock
                queue.add(i * 7 % 50)
                if i % 10 == 0:
                    await asyncio.sleep(0.01)
            assert await queue.drain(60) is True
        assert all(last_run[k] > 0 for k in last_run)

    run(main())


def test_a_cancelled_worker_does_not_swallow_a_wake_up() -> None:
    """The key that woke a worker which was cancelled in that moment goes to the next one."""

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await asyncio.wait_for(second, 5) == "a"
        with pytest.raises(asyncio.CancelledError):
            await first

    run(main())


def test_failures_wait_longer_each_time_and_success_forgets_them() -> None:
    """0.2 s doubling to the limit; after `forget` it begins anew; a server's wish is a lower bound."""

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(backoff=Backoff(first=1, limit=8, jitter=0), rng=lambda: 0)
        delays = []
        for _ in range(5):
            delays.append(queue.add_failed("a"))
            assert await queue.get() == "a"
            queue.done("a")
        assert delays == [1, 2, 4, 8, 8]
        queue.forget("a")
        assert queue.add_failed("a", at_least=3) == 3

    run(main())


def test_of_several_deadlines_the_earliest_wins() -> None:
    """A later wish for the same key neither delays nor doubles it, in whichever order they came; an immediate add takes both along."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delays in ([5, 50], [50, 5]):
            queue: WorkQueue[str] = WorkQueue()
            began = loop.time()
            for delay in delays:
                queue.add_after("a", delay)
            assert await queue.get() == "a"
            assert 5 <= loop.time() - began < 6
            queue.done("a")
            assert queue.delayed == 0
            queue.add_after("a", 5)
            queue.add("a")
            assert await queue.get() == "a"
            assert queue.delayed == 0

    run(main())


def test_ten_thousand_delays_are_one_timer() -> None:
    """A delay costs a heap entry, not a timer of the loop."""

    async def main() -> None:
        queue: WorkQueue[int] = WorkQueue()
        loop = asyncio.get_running_loop()
        for key in range(10_000):
            queue.add_after(key, 10_000 - key)
        live = [h for h in loop._scheduled if not h.cancelled()]  # type: ignore[attr-defined]
        assert len(live) == 1
        assert await queue.get() == 9_999
        queue.close()

    run(main())


def test_drain_gives_up_at_its_deadline_and_closed_queues_end_their_workers() -> None:
    """A worker that hangs is reported as not drained; a waiting one is told that nothing will come."""

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        assert await queue.get() == "a"
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert await queue.drain(5) is False
        with pytest.raises(QueueClosed):
            await waiting
        queue.add("b")
        queue.done("a")
        assert await queue.drain(5) is True
        assert len(queue) == 0

    run(main())


def test_done_without_get_is_a_bug_that_is_named() -> None:
    """A worker that returns a key it never had is told so."""
    with pytest.raises(ValueError, match="'x' is not being worked on"):
        WorkQueue[str]().done("x")
