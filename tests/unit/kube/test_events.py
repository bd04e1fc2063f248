"""Events: aggregated, bounded, and never in the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from daemon.kube.events import EventOptions, EventRecorder, reference
from daemon.kube.objects import Deployment, ObjectMeta, ObjectReference
from daemon.kube.resources import DEPLOYMENTS
from tests.unit.kube.server import Server, client_of, serving, silence, status
from tests.unit.kube.virtual import run

REF = ObjectReference(api_version="apps/v1", kind="Deployment", namespace="shop", name="checkout", uid="u1")


class Api:
    def __init__(self, server: Server) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.mode = ""
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.mode == "hang":
            await silence()
        if self.mode == "forbidden":
            return status(403, "Forbidden")
        body = await request.json()
        if request.method == "POST":
            self.events[body["metadata"]["name"]] = body
            return web.json_response(body)
        name = request.path.rsplit("/", 1)[1]
        if name not in self.events:
            return status(404, "NotFound")
        self.events[name] |= body
        return web.json_response(self.events[name])


@asynccontextmanager
async def recording(server: Server, **options: Any) -> AsyncIterator[EventRecorder]:
    loop = asyncio.get_running_loop()
    async with client_of(server) as client:
        recorder = EventRecorder(client, instance="pod-1", options=EventOptions(**options), clock=loop.time)
        task = asyncio.create_task(recorder.run())
        try:
            yield recorder
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_the_same_thing_said_again_is_a_series() -> None:
    """One Event with a count, another reason is another Event, and one that the server forgot is made anew."""

    async def main() -> None:
        async with serving() as server:
            api = Api(server)
            async with recording(server) as recorder:
                for _ in range(4):
                    recorder.record(REF, "Held", "checkout is held")
                recorder.record(REF, "Promoted", "checkout 7f9c promoted", action="Promote")
                assert await recorder.flush(10)
                held, promoted = api.events.values()
                assert held["series"]["count"] == 4
                assert held["reportingController"] == "linnet.dev/daemon"
                assert (held["regarding"]["uid"], held["type"], held["metadata"]["namespace"]) == ("u1", "Normal", "shop")
                assert "series" not in promoted
                assert held["eventTime"].endswith("Z")
                api.events.clear()
                recorder.record(REF, "Held", "checkout is held")
                assert await recorder.flush(10)
                assert len(api.events) == 1
                await asyncio.sleep(400)
                recorder.record(REF, "Held", "checkout is held")
                assert await recorder.flush(10)
                assert len(api.events) == 2

    run(main())


def test_a_flapping_object_is_bounded_and_does_not_silence_others() -> None:
    """A thousand notes about one object cost a burst; another object still speaks; time refills the bucket."""

    async def main() -> None:
        async with serving() as server:
            Api(server)
            async with recording(server, burst=5, per_second=0.1) as recorder:
                said = sum(recorder.record(REF, "Flap", f"number {i}") for i in range(1000))
                assert said == 5
                assert recorder.dropped == 995
                assert recorder.record(ObjectReference(kind="Deployment", namespace="shop", name="other", uid="u2"), "Fine", "ok")
                await asyncio.sleep(11)
                assert recorder.record(REF, "Flap", "later")
                assert await recorder.flush(10)
                assert len(server.requests) == 7

    run(main())


def test_a_hanging_api_server_fills_a_bounded_queue_and_blocks_nobody() -> None:
    """`record` returns at once, drops are counted, and all recovers when the server does."""

    async def main() -> None:
        async with serving() as server:
            api = Api(server)
            api.mode = "hang"
            async with recording(server, queue_size=10, burst=100) as recorder:
                loop = asyncio.get_running_loop()
                began = loop.time()
                said = [recorder.record(REF, "Hang", f"number {i}") for i in range(30)]
                assert loop.time() == began
                assert said == [True] * 10 + [False] * 20
                assert not await recorder.flush(1)
                api.mode = ""
                assert await recorder.flush(60)
                assert recorder.record(REF, "Back", "again")
                assert await recorder.flush(10)

    run(main())


def test_a_refusal_is_counted_and_not_raised() -> None:
    """Missing RBAC for Events must not stop a rollback."""

    async def main() -> None:
        async with serving() as server:
            api = Api(server)
            api.mode = "forbidden"
            async with recording(server) as recorder:
                recorder.record(REF, "Held", "x")
                assert await recorder.flush(10)
                assert (recorder.written, recorder.dropped) == (0, 1)

    run(main())


def test_long_notes_are_cut_by_bytes_and_references_name_the_kind() -> None:
    """1,024 bytes are the limit of the API, also where a character has three."""

    async def main() -> None:
        async with serving() as server:
            api = Api(server)
            async with recording(server) as recorder:
                item = Deployment(metadata=ObjectMeta(namespace="shop", name="n" * 253, uid="u"))
                recorder.record(reference(DEPLOYMENTS, item), "Long", "€" * 1000)
                assert await recorder.flush(10)
            (event,) = api.events.values()
            assert len(event["note"].encode()) <= 1024
            assert event["note"].endswith("...")
            assert event["regarding"]["kind"] == "Deployment"
            assert len(event["metadata"]["name"]) <= 253

    run(main())
