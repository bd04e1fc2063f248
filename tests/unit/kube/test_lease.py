"""Leader election: never two at work, whatever the API server, the clock or the work does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from daemon.kube import times
from daemon.kube.lease import LeaderElector, LeaseOptions
from tests.unit.kube.server import Server, abort, client_of, serving, silence, status
from tests.unit.kube.virtual import run


class LeaseServer:
    """One Lease with optimistic locking, and a fault that can be set for each candidate (known by its user agent)."""

    def __init__(self, server: Server) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.fault: dict[str, str] = {}
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        match self.fault.get(request.headers["User-Agent"], ""):
            case "hang":
                await silence()
            case "reset":
                abort(request)
                return web.Response()
            case "html":
                return web.Response(status=503, text="<html>", content_type="text/html")
            case "slow":
                reply = await self.answer(request)
                await asyncio.sleep(1.5)
                return reply
            case "late":  # the write takes effect, but the reply never comes
                await self.answer(request)
                await silence()
            case _:
                pass
        return await self.answer(request)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response(self.lease) if self.lease else status(404, "NotFound")
        body = await request.json()
        if request.method == "POST":
            if self.lease is not None:
                return status(409, "AlreadyExists")
        elif self.lease is None:
            return status(404, "NotFound")
        elif body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            return status(409, "Conflict")
        self.version += 1
        body["metadata"] |= {"resourceVersion": str(self.version), "uid": "u"}
        self.lease = body
        return web.json_response(body)


class Work:
    """Leading work that notes who is at it, and fails the test when two are."""

    active: set[str] = set()

    def __init__(self, name: str, *, stop_takes: float = 0.0) -> None:
        self.name = name
        self.stop_takes = stop_takes
        self.spans: list[list[float]] = []

    async def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        assert not Work.active, f"{self.name} starts while {Work.active} still works"
        Work.active.add(self.name)
        self.spans.append([loop.time(), float("inf")])
        try:
            await asyncio.Event().wait()
        finally:
            if self.stop_takes:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(self.stop_takes)
            self.spans[-1][1] = loop.time()
            Work.active.discard(self.name)


@pytest.fixture(autouse=True)
def nobody_works() -> None:
    Work.active = set()


@asynccontextmanager
async def candidate(
    server: Server, name: str, work: Callable[[], Any], **more: Any
) -> AsyncIterator[tuple[LeaderElector, "asyncio.Task[None]"]]:
    from daemon.kube.transport import TransportOptions

    loop = asyncio.get_running_loop()
    more.setdefault("clock", loop.time)
    more.setdefault("on_overrun", lambda: pytest.fail("the work outlived the Lease"))
    async with client_of(server, TransportOptions(user_agent=name)) as client:
        elector = LeaderElector(client, "linnet", "daemon", name, rng=lambda: 0.5, **more)
        task = asyncio.create_task(elector.run(work))
        try:
            yield elector, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], limit: float = 120) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < limit, "the condition never came true"
        await asyncio.sleep(0.05)
    return loop.time() - began


def test_the_first_candidate_leads_and_the_second_waits() -> None:
    """Two candidates, five minutes: one works the whole time, with about one request each two seconds and candidate."""

    async def main() -> None:
        async with serving() as server:
            LeaseServer(server)
            a, b = Work("a"), Work("b")
            async with candidate(server, "a", a) as (first, _):
                await until(lambda: first.leading)
                async with candidate(server, "b", b):
                    await asyncio.sleep(300)
                    assert first.leading
                    assert len(a.spans) == 1
                    assert b.spans == []
                    assert len(server.requests) < 300

    run(main())


def test_an_orderly_exit_hands_over_at_once_and_only_after_the_work_ended() -> None:
    """The Lease is released, not left to expire; the successor counts a transition and writes UTC with six digits."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            a, b = Work("a", stop_takes=2), Work("b")
            async with candidate(server, "a", a) as (first, task), candidate(server, "b", b) as (second, _):
                await until(lambda: first.leading)
                task.cancel()
                took = await until(lambda: second.leading)
                assert 2 <= took < 6
                assert a.spans[0][1] <= b.spans[0][0]
                assert api.lease is not None
                spec = api.lease["spec"]
                assert spec["holderIdentity"] == "b"
                assert spec["leaseTransitions"] == 2 or spec["leaseTransitions"] == 1
                assert len(spec["renewTime"]) == len("2026-01-01T00:00:00.000000Z")
                assert abs((times.now() - times.parse(spec["renewTime"])).total_seconds()) < 60

    run(main())


@pytest.mark.parametrize("fault", ["hang", "reset", "html", "late"])
def test_a_leader_that_cannot_renew_stops_before_another_may_start(fault: str) -> None:
    """The API server fails the leader alone: its work ends within the renew deadline, and only then does the other one work."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            a, b = Work("a", stop_takes=3), Work("b")
            async with candidate(server, "a", a) as (first, _), candidate(server, "b", b) as (second, _):
                await until(lambda: first.leading or second.leading)
                leader, other = ("a", second) if first.leading else ("b", first)
                api.fault[leader] = fault
                spans = a.spans if leader == "a" else b.spans
                if fault == "late":
                    # Its writes arrive and only the replies are lost, so the Lease stays fresh; the work must stop all the same.
                    await until(lambda: spans[0][1] < float("inf"), 30)
                    api.fault.clear()
                    await until(lambda: first.leading or second.leading, 60)
                else:
                    await until(lambda: other.leading, 40)
                assert spans[0][1] < float("inf")
                before = len(server.requests)
                await asyncio.sleep(60)
                assert len(server.requests) - before < 120

    run(main())


def test_both_failing_for_a_while_ends_with_one_leader() -> None:
    """A hung API server stops the leader; when it comes back exactly one works again."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            a, b = Work("a"), Work("b")
            async with candidate(server, "a", a) as (first, _), candidate(server, "b", b) as (second, _):
                await until(lambda: first.leading or second.leading)
                api.fault = {"a": "hang", "b": "hang"}
                await until(lambda: not Work.active, 11)
                assert not first.leading
                assert not second.leading
                api.fault.clear()
                await until(lambda: bool(Work.active), 30)

    run(main())


def test_a_clock_that_jumped_over_a_suspend_stops_the_work_without_asking() -> None:
    """After a suspend longer than the Lease the fence is down at once, and the work stops before any request is answered."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            loop = asyncio.get_running_loop()
            jump = [0.0]
            a = Work("a")
            async with candidate(server, "a", a, clock=lambda: loop.time() + jump[0]) as (elector, _):
                await until(lambda: elector.leading)
                assert elector.confirmed_within(5)
                api.fault["a"] = "hang"
                jump[0] = 30.0
                assert not elector.leading
                assert not elector.confirmed_within(5)
                with contextlib.suppress(BaseException):
                    await until(lambda: not Work.active, 1)
                assert a.spans[0][1] < float("inf")

    run(main())


def test_work_that_will_not_end_is_reported_before_anybody_else_may_start() -> None:
    """The last resort is called when the Lease runs out, not later."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            loop = asyncio.get_running_loop()
            overruns: list[float] = []
            a = Work("a", stop_takes=60)
            async with candidate(server, "a", a, on_overrun=lambda: overruns.append(loop.time())) as (elector, _):
                await until(lambda: elector.leading)
                began = loop.time()
                api.fault["a"] = "hang"
                await until(lambda: bool(overruns), 20)
                assert overruns[0] - began <= 15.1

    run(main())


def test_a_lease_deleted_under_a_living_leader_goes_to_nobody_else() -> None:
    """An administrator's `kubectl delete lease` neither ends the work nor starts a second one."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            a, b = Work("a"), Work("b")
            async with candidate(server, "a", a) as (first, _):
                await until(lambda: first.leading)
                async with candidate(server, "b", b):
                    await asyncio.sleep(10)
                    api.lease = None
                    await asyncio.sleep(30)
                    assert first.leading
                    assert b.spans == []

    run(main())


def test_a_deleted_lease_of_a_leader_that_cannot_write_waits_for_its_time_to_pass() -> None:
    """The other candidate saw the leader alive, so a missing Lease is no invitation before the old one would have expired."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            a, b = Work("a", stop_takes=2), Work("b")
            async with candidate(server, "a", a) as (first, _):
                await until(lambda: first.leading)
                async with candidate(server, "b", b) as (second, _):
                    await asyncio.sleep(10)
                    api.lease, api.fault["a"] = None, "hang"
                    await until(lambda: second.leading, 30)
                    assert a.spans[0][1] <= b.spans[0][0]

    run(main())


def test_a_renewal_counts_from_before_its_request_was_sent() -> None:
    """With slow replies the Lease is as old as the question, not as young as the answer."""

    async def main() -> None:
        async with serving() as server:
            LeaseServer(server).fault["a"] = "slow"
            async with candidate(server, "a", Work("a")) as (elector, _):
                await until(lambda: elector.leading)
                assert elector.confirmed_within(4)
                assert not elector.confirmed_within(2.9)

    run(main())


def test_a_lease_taken_by_force_stops_the_work_at_the_next_renewal() -> None:
    """Somebody writes another holder: the leader yields although its own time is not over."""

    async def main() -> None:
        async with serving() as server:
            api = LeaseServer(server)
            a = Work("a")
            async with candidate(server, "a", a) as (first, _):
                await until(lambda: first.leading)
                assert api.lease is not None
                api.version += 1
                api.lease["metadata"]["resourceVersion"] = str(api.version)
                api.lease["spec"]["holderIdentity"] = "somebody"
                await until(lambda: not Work.active, 3)
                assert first.holder == "somebody"
                await until(lambda: first.leading, 30)
                assert api.lease["spec"]["leaseTransitions"] == 1

    run(main())


def test_a_restarted_elector_waits_for_a_stranger_whatever_its_clock_says() -> None:
    """A Lease with a renewTime years ago or ahead is judged by how long it was seen unchanged, not by what it says."""

    async def main() -> None:
        for renewed in ("2001-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"):
            async with serving() as server:
                api = LeaseServer(server)
                spec = {"holderIdentity": "ghost", "leaseDurationSeconds": 15, "renewTime": renewed, "leaseTransitions": 4}
                api.lease = {"metadata": {"name": "daemon", "namespace": "linnet", "resourceVersion": "0"}, "spec": spec}
                a = Work("a")
                async with candidate(server, "a", a) as (first, _):
                    assert 15 <= await until(lambda: first.leading) < 20
                    assert api.lease["spec"]["leaseTransitions"] == 5

    run(main())


def test_the_end_of_the_work_ends_the_run_and_its_error_is_passed_on() -> None:
    """Work that returns or raises releases the Lease and ends `run` in the same way."""

    async def main() -> None:
        async def returns() -> None:
            await asyncio.sleep(1)

        async def raises() -> None:
            raise LookupError("broken")

        async with serving() as server:
            api = LeaseServer(server)
            async with candidate(server, "a", returns) as (_, task):
                await task
                assert api.lease is not None
                assert api.lease["spec"].get("holderIdentity", "") == ""
            async with candidate(server, "b", raises) as (_, task):
                with pytest.raises(LookupError):
                    await task

    run(main())


@pytest.mark.parametrize(
    "wrong",
    [{"renew_deadline": 15.0}, {"renew_deadline": 1.0}, {"call_deadline": 10.0}, {"retry_period": 0.0}],
    ids=lambda w: next(iter(w)),
)
def test_times_that_cannot_be_safe_are_refused(wrong: dict[str, float]) -> None:
    """The order of the periods is what keeps two from working; a wrong one is named."""
    with pytest.raises(ValueError, match="must"):
        LeaseOptions(**wrong)  # type: ignore[arg-type]
