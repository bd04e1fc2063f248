"""What the reflector does when the API server misbehaves: it recovers, tells the truth, and never spins."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from daemon.kube import errors
from daemon.kube.informer import Informer, InformerOptions
from daemon.kube.objects import Deployment
from daemon.kube.resources import DEPLOYMENTS
from tests.unit.kube.server import Server, abort, bookmark, client_of, deployment, event, listing, serving, silence, status, watching
from tests.unit.kube.virtual import run

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_watch(request: web.Request) -> bool:
    return request.query.get("watch") == "true"


@asynccontextmanager
async def informing(server: Server, **more: Any) -> AsyncIterator[tuple[Informer[Deployment], list[tuple[str | None, str | None]]]]:
    async with client_of(server) as client:
        informer = Informer(client, DEPLOYMENTS, rng=lambda: 0.5, **more)
        seen: list[tuple[str | None, str | None]] = []
        informer.store.add_handler(lambda old, new: seen.append((version(old), version(new))))
        task = asyncio.create_task(informer.run())
        try:
            yield informer, seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def version(item: Deployment | None) -> str | None:
    return None if item is None else f"{item.name}@{item.metadata.resource_version}"


async def reset(request: web.Request) -> web.StreamResponse:
    reply = await watching(request)
    abort(request)
    return reply


async def html(request: web.Request) -> web.StreamResponse:
    return web.Response(status=502, text="<html>\nBad gateway\n</html>", content_type="text/html")


async def html_200(request: web.Request) -> web.StreamResponse:
    return web.Response(status=200, text="<html>\nlog in\n</html>", content_type="text/html")


async def closed_at_once(request: web.Request) -> web.StreamResponse:
    return await watching(request)


async def truncated(request: web.Request) -> web.StreamResponse:
    reply = await watching(request)
    await reply.write(event("ADDED", deployment("late", 9))[:40])
    return reply


async def garbage(request: web.Request) -> web.StreamResponse:
    reply = await watching(request)
    await reply.write(b"<p>not json</p>\n")
    return reply


async def gone_as_status(request: web.Request) -> web.StreamResponse:
    return status(410, "Expired", "too old resource version")


async def gone_in_stream(request: web.Request) -> web.StreamResponse:
    reply = await watching(request)
    await reply.write(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}))
    return reply


async def one_event_then_closed(request: web.Request) -> web.StreamResponse:
    reply = await watching(request)
    await reply.write(bookmark(7))
    return reply


FAULTS = [reset, html, html_200, closed_at_once, truncated, garbage, gone_as_status, gone_in_stream, one_event_then_closed]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_broken_watch_is_retried_with_growing_pauses_and_never_spins(fault: Script) -> None:
    """Ten minutes of the same fault cost a bounded number of requests, and the cache stays what the list said."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                return await fault(request) if is_watch(request) else listing(5, deployment("a", 4))

            server.handler = handler
            async with informing(server) as (informer, seen):
                await asyncio.sleep(600)
                assert seen == [(None, "a@4")]
                assert informer.synced
            # Where events do arrive the pause stays short, else it grows to half a minute; a 410 costs a list and a watch each time.
            assert 10 <= len(server.requests) <= (300 if fault is one_event_then_closed else 100)

    run(main())


@pytest.mark.parametrize("fault", [gone_as_status, gone_in_stream], ids=lambda f: f.__name__)
def test_410_twice_lists_again_and_tells_what_vanished(fault: Script) -> None:
    """After two expiries in a row the store equals the newest list, with a delete for what is no longer in it."""

    async def main() -> None:
        async with serving() as server:
            lists = [
                listing(5, deployment("a", 4), deployment("b", 5)),
                listing(20, deployment("a", 18)),
                listing(30, deployment("a", 18), deployment("c", 29)),
            ]
            watches: list[str] = []

            async def handler(request: web.Request) -> web.StreamResponse:
                if not is_watch(request):
                    return lists.pop(0)
                watches.append(request.query["resourceVersion"])
                if len(watches) <= 2:
                    return await fault(request)
                reply = await watching(request)
                await reply.write(event("DELETED", deployment("c", 31)))
                await silence()
                return reply

            server.handler = handler
            async with informing(server) as (informer, seen):
                while ("c@29", None) not in seen:
                    await asyncio.sleep(0.1)
                assert seen == [(None, "a@4"), (None, "b@5"), ("b@5", None), ("a@4", "a@18"), (None, "c@29"), ("c@29", None)]
                assert watches == ["5", "20", "30"]
                assert informer.store.keys() == {("shop", "a")}

    run(main())


def test_a_silent_watch_is_given_up_and_taken_up_at_the_last_version() -> None:
    """A half-open socket costs the inactivity limit, and bookmarks decide where the next watch starts."""

    async def main() -> None:
        async with serving() as server:
            versions: list[str] = []

            async def handler(request: web.Request) -> web.StreamResponse:
                if not is_watch(request):
                    return listing(5)
                versions.append(request.query["resourceVersion"])
                reply = await watching(request)
                await reply.write(bookmark(5 + len(versions)))
                await silence()
                return reply

            server.handler = handler
            async with informing(server) as (informer, _):
                await asyncio.sleep(75 * 4 + 10)
                assert versions == ["5", "6", "7", "8", "9"]
                assert informer.last_error is None

    run(main())


def test_the_server_is_asked_to_end_watches_at_different_times() -> None:
    """timeoutSeconds lies between 240 and 300 and bookmarks are asked for."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                if not is_watch(request):
                    return listing(5)
                assert 240 <= int(request.query["timeoutSeconds"]) <= 300
                assert request.query["allowWatchBookmarks"] == "true"
                await silence()
                return web.Response()

            server.handler = handler
            async with informing(server) as _:
                await asyncio.sleep(5)
            assert len(server.requests) == 2

    run(main())


def test_a_page_token_that_expires_restarts_the_list_in_one_piece() -> None:
    """410 in the middle of a paged list does not lose or repeat an object."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                if is_watch(request):
                    await silence()
                if request.query.get("continue"):
                    return status(410, "Expired")
                if "limit" in request.query:
                    return listing(5, deployment("a", 4), token="next")
                return listing(6, deployment("a", 4), deployment("b", 6))

            server.handler = handler
            async with informing(server) as (informer, seen):
                await informer.wait_synced(60)
                assert seen == [(None, "a@4"), (None, "b@6")]

    run(main())


def test_pages_are_joined_before_anything_is_taken_for_deleted() -> None:
    """An object on the second page is not reported as gone after the first."""

    async def main() -> None:
        async with serving() as server:
            tokens: list[str] = []

            async def handler(request: web.Request) -> web.StreamResponse:
                if is_watch(request):
                    return status(410, "Expired")
                token = request.query.get("continue", "")
                tokens.append(token)
                return listing(5, deployment("a", 4), token="t") if not token else listing(5, deployment("b", 4))

            server.handler = handler
            async with informing(server, options=InformerOptions(page_size=1)) as (_, seen):
                await asyncio.sleep(30)
                assert seen == [(None, "a@4"), (None, "b@4")]
                assert tokens[:4] == ["", "t", "", "t"]

    run(main())


def test_a_recreated_object_is_told_as_delete_and_create() -> None:
    """Another uid under the same name is another object."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                if not is_watch(request):
                    return listing(5, deployment("a", 4))
                reply = await watching(request)
                await reply.write(event("MODIFIED", deployment("a", 8, uid="another")))
                await silence()
                return reply

            server.handler = handler
            async with informing(server) as (_, seen):
                await asyncio.sleep(5)
                assert seen == [(None, "a@4"), ("a@4", None), (None, "a@8")]

    run(main())


def test_an_object_that_cannot_be_read_keeps_its_last_good_version() -> None:
    """A wrong field makes the object rejected by name, in watch and list, and never deleted."""

    async def main() -> None:
        async with serving() as server:
            lists = [listing(5, deployment("a", 4)), listing(9, deployment("a", 8, replicas="many"))]

            async def handler(request: web.Request) -> web.StreamResponse:
                if not is_watch(request):
                    return lists.pop(0)
                reply = await watching(request)
                if lists:
                    await reply.write(event("MODIFIED", deployment("a", 7, replicas="many")))
                    await reply.write(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
                    return reply
                await silence()
                return reply

            server.handler = handler
            async with informing(server) as (informer, seen):
                await asyncio.sleep(20)
                assert seen == [(None, "a@4")]
                assert [r.name for r in informer.rejected] == ["a"]
                assert "replicas" in informer.rejected[0].message

    run(main())


def test_a_forbidden_kind_says_why_it_never_syncs() -> None:
    """wait_synced fails with the server's own words within its deadline."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                return status(403, "Forbidden", 'cannot list resource "deployments"')

            server.handler = handler
            async with informing(server) as (informer, _):
                with pytest.raises(errors.Timeout, match="cannot list resource"):
                    await informer.wait_synced(120)
            assert len(server.requests) < 20

    run(main())


def test_namespaced_reflectors_delete_only_in_their_own_namespace() -> None:
    """Two namespaces share a store; an empty list of one leaves the other's objects alone."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                if is_watch(request):
                    return status(410, "Expired")
                if "/namespaces/shop/" in request.path:
                    return listing(5, deployment("a", 4))
                return listing(5)

            server.handler = handler
            async with informing(server, namespaces=["shop", "other"]) as (_, seen):
                await asyncio.sleep(30)
                assert seen == [(None, "a@4")]

    run(main())
