"""Workers: an error stays with its key."""

import asyncio
import itertools

import pytest

from daemon.kube import errors
from daemon.kube.backoff import Backoff
from daemon.kube.controller import Controller, ControllerOptions, ReconcileRecord, Result
from daemon.kube.queue import WorkQueue
from tests.unit.kube.virtual import run


def quick() -> WorkQueue[str]:
    return WorkQueue(backoff=Backoff(first=1, limit=8, jitter=0))


def test_errors_panics_hangs_and_stray_cancellations_delay_only_their_key(caplog: pytest.LogCaptureFixture) -> None:
    """Each bad key is tried again later and counted by kind; the good ones run on time with one worker."""

    async def main() -> None:
        calls: list[str] = []
        records: list[ReconcileRecord] = []
        loop = asyncio.get_running_loop()

        async def reconcile(key: str) -> Result | None:
            calls.append(key)
            first = calls.count(key) == 1
            if key == "kube" and first:
                raise errors.Conflict("somebody wrote first")
            if key == "panic" and first:
                raise ZeroDivisionError
            if key == "timeout" and first:
                raise TimeoutError("of its own")
            if key == "hang" and first:
                await asyncio.sleep(1000)
            if key == "cancelled" and first:
                raise asyncio.CancelledError
            return None

        controller = Controller(
            "test",
            reconcile,
            queue=quick(),
            options=ControllerOptions(workers=1, reconcile_deadline=5),
            observe=records.append,
            clock=loop.time,
        )
        for key in ("kube", "panic", "timeout", "cancelled", "good", "hang"):
            controller.queue.add(key)
        task = asyncio.create_task(controller.run())
        await asyncio.sleep(30)
        assert not task.done()
        assert {k: calls.count(k) for k in calls} == {"kube": 2, "panic": 2, "timeout": 2, "cancelled": 2, "hang": 2, "good": 1}
        assert [r.outcome for r in records[:6]] == ["error", "panic", "panic", "panic", "done", "deadline"]
        assert all(r.outcome == "done" for r in records[6:])
        assert "somebody wrote first" in caplog.text
        assert await controller.queue.drain(5)
        await task

    run(main())


def test_requeue_after_is_kept_and_retry_after_is_a_lower_bound() -> None:
    """A result names the next pass; a server's Retry-After is not undercut."""

    async def main() -> None:
        at: list[float] = []
        loop = asyncio.get_running_loop()

        async def reconcile(key: str) -> Result | None:
            at.append(loop.time())
            if len(at) == 2:
                raise errors.TooManyRequests("slow down", retry_after=20)
            return Result(requeue_after=7) if len(at) < 4 else None

        controller = Controller("test", reconcile, queue=quick())
        controller.queue.add("a")
        task = asyncio.create_task(controller.run())
        await asyncio.sleep(100)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [round(b - a) for a, b in itertools.pairwise(at)] == [7, 20, 7]

    run(main())


def test_cancelling_run_awaits_the_reconciles_in_flight() -> None:
    """Nothing is left running when `run` has ended."""

    async def main() -> None:
        ended: list[str] = []

        async def reconcile(key: str) -> None:
            try:
                await asyncio.sleep(50)
            finally:
                await asyncio.sleep(1)
                ended.append(key)

        controller = Controller("test", reconcile, options=ControllerOptions(workers=3))
        for key in "abc":
            controller.queue.add(key)
        task = asyncio.create_task(controller.run())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert sorted(ended) == ["a", "b", "c"]

    run(main())


def test_a_controller_without_workers_is_refused() -> None:
    """It would look alive and do nothing."""

    async def reconcile(key: str) -> None: ...

    with pytest.raises(ValueError, match="at least one"):
        Controller("test", reconcile, options=ControllerOptions(workers=0))
