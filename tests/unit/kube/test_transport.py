"""What a caller of the transport may rely on: deadlines, retries that do no harm, one error tree, TLS and tokens that rotate."""

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from daemon.kube import errors
from daemon.kube.transport import RequestRecord, Transport, TransportOptions
from tests.unit.kube.server import Server, abort, client_of, serving, silence, status
from tests.unit.kube.virtual import run


async def call(server: Server, method: str = "GET", **more: Any) -> bytes:
    async with client_of(server) as client:
        return await client.transport.request(method, "/version", **more)


def script(server: Server, *steps: str | Callable[[], web.StreamResponse]) -> None:
    """Answer with one step after another; the last one repeats."""
    left = list(steps)

    async def handler(request: web.Request) -> web.StreamResponse:
        step = left.pop(0) if len(left) > 1 else left[0]
        if step == "reset":
            abort(request)
            return web.Response()
        if step == "hang":
            await silence()
        assert not isinstance(step, str)
        return step()

    server.handler = handler


def ok() -> web.Response:
    return web.json_response({"ok": True})


def html() -> web.Response:
    return web.Response(status=502, text="<html>bad gateway</html>", content_type="text/html")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_resets_and_5xx_are_retried_for_calls_that_may_be_repeated(method: str) -> None:
    """A reset, an HTML 502 and a 503 cost three attempts, the fourth one counts."""

    async def main() -> None:
        async with serving() as server:
            script(server, "reset", html, lambda: status(503, "ServiceUnavailable"), ok)
            assert await call(server, method) == b'{"ok": true}'
            assert len(server.requests) >= 4

    run(main())


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("step", ["reset", html, lambda: status(500, "InternalError")], ids=["reset", "html", "500"])
def test_a_write_that_may_have_happened_is_not_repeated(method: str, step: Any) -> None:
    """The caller learns that the outcome is unknown; the server sees the write once."""

    async def main() -> None:
        async with serving() as server:
            script(server, step)
            with pytest.raises(errors.Unavailable) as caught:
                await call(server, method, body=b"{}")
            assert caught.value.retryable
            assert len(server.requests) == 1

    run(main())


def test_429_is_retried_for_writes_too_and_retry_after_is_honoured() -> None:
    """The server said that it did not take the request, and when to come back."""

    async def main() -> None:
        async with serving() as server:
            script(server, lambda: status(429, "TooManyRequests", Retry_After="3"), ok)
            await call(server, "POST", body=b"{}")
            first, second = server.times()
            assert 3.0 <= second - first < 4.0

    run(main())


def test_a_retry_after_beyond_the_deadline_fails_at_once_with_the_reason() -> None:
    """Waiting for something that cannot come in time would only hide what the server said."""

    async def main() -> None:
        async with serving() as server:
            script(server, lambda: status(429, "TooManyRequests", Retry_After="60"))
            with pytest.raises(errors.TooManyRequests) as caught:
                await call(server)
            assert caught.value.retry_after == 60
            assert len(server.requests) == 1

    run(main())


def test_a_hanging_server_costs_the_deadline_and_no_more() -> None:
    """The deadline bounds all attempts together and is a TimeoutError for those who know no Kubernetes."""

    async def main() -> None:
        async with serving() as server:
            script(server, "hang")
            began = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError) as caught:
                await call(server, deadline=7)
            assert isinstance(caught.value, errors.Timeout)
            assert 7 <= asyncio.get_running_loop().time() - began < 8

    run(main())


@pytest.mark.parametrize("deadline", [0, -1, float("inf"), float("nan")])
def test_no_call_without_a_deadline(deadline: float) -> None:
    """Zero and infinity mean "for ever" elsewhere; here they are refused."""

    async def main() -> None:
        async with serving() as server:
            with pytest.raises(ValueError, match="positive number of seconds"):
                await call(server, deadline=deadline)

    run(main())


def test_a_refused_connection_is_unavailable_and_retried_within_bounds() -> None:
    """A port where nobody listens is retried a few times, for writes too, since nothing was sent."""

    async def main() -> None:
        records: list[RequestRecord] = []
        async with serving() as server:
            config = server.config()
        async with Transport(config, observe=records.append) as transport:
            with pytest.raises(errors.Unavailable) as caught:
                await transport.request("POST", "/x", body=b"{}")
        assert caught.value.reason == "Unreachable"
        assert [r.attempt for r in records] == [1, 2, 3, 4]

    run(main())


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.Invalid),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
    ],
)
def test_each_status_has_its_error(code: int, reason: str, kind: type[errors.KubeError]) -> None:
    """Class, reason, status and the server's own words survive."""

    async def main() -> None:
        async with serving() as server:
            script(server, lambda: status(code, reason, "the reason why"))
            with pytest.raises(errors.KubeError) as caught:
                await call(server)
            assert type(caught.value) is kind
            assert (caught.value.reason, caught.value.status) == (reason, code)
            assert "the reason why" in caught.value.message

    run(main())


@pytest.mark.parametrize(
    ("message", "cause", "kind"),
    [
        ("the server rejected our request due to an error in our request", "", errors.PatchTestFailed),
        ("cannot patch", "testing value /spec/paused failed", errors.PatchTestFailed),
        ('Deployment.apps "a" is invalid: spec.replicas: must be positive', "spec.replicas: must be positive", errors.Invalid),
        ("ValidatingAdmissionPolicy 'linnet-release' denied request: un-pausing is Linnet's", "", errors.Invalid),
    ],
    ids=["1.36", "library", "schema", "policy"],
)
def test_a_json_patch_that_does_not_fit_is_not_just_invalid(message: str, cause: str, kind: type[errors.KubeError]) -> None:
    """The caller can tell "the object moved on" from "the object is wrong" and from "a policy says no"."""
    body = {
        "kind": "Status",
        "code": 422,
        "reason": "Invalid",
        "message": message,
        "details": {"causes": [{"message": cause}] if cause else None},
    }
    assert type(errors.from_response(422, json.dumps(body).encode(), what="PATCH x")) is kind


def test_a_redirect_is_refused() -> None:
    """A login page behind a redirect never receives our token."""

    async def main() -> None:
        async with serving() as server:
            script(server, lambda: web.Response(status=302, headers={"Location": "/login"}))
            with pytest.raises(errors.BadResponse, match="no redirect"):
                await call(server)
            assert len(server.requests) == 1

    run(main())


def test_the_user_agent_is_ours_and_the_proxy_of_the_environment_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment must not capture API traffic."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async def main() -> None:
        async with serving() as server:
            script(server, ok)
            await call(server)
            assert server.headers[0]["User-Agent"].startswith("linnet/")

    run(main())


def test_a_rotated_token_file_is_used_within_a_minute_and_at_once_after_a_401(tmp_path: Path) -> None:
    """A bound token that changes on disk needs no restart, and an emptied file does not lose the old one."""
    file = tmp_path / "token"
    file.write_text("one\n")

    async def main() -> None:
        async with serving() as server:
            script(server, ok)
            loop = asyncio.get_running_loop()
            async with Transport(server.config(token_file=str(file)), clock=loop.time) as transport:
                await transport.request("GET", "/a")
                file.write_text("two")
                await transport.request("GET", "/a")
                await asyncio.sleep(61)
                await transport.request("GET", "/a")
                file.write_text("")
                await asyncio.sleep(61)
                await transport.request("GET", "/a")
                file.write_text("three")
                await transport.request("GET", "/a")
                file.write_text("four")
                script(server, lambda: status(401, "Unauthorized"), ok)
                with pytest.raises(errors.Unauthorized):
                    await transport.request("GET", "/a")
                await transport.request("GET", "/a")
            sent = [h["Authorization"].removeprefix("Bearer ") for h in server.headers]
            assert sent == ["one", "one", "two", "two", "three", "three", "four"]

    run(main())


def _tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_rotated_ca_is_picked_up_without_a_restart_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    """Unknown issuer, then the new bundle on disk: the next call works. Garbage on disk keeps the session that works."""
    old, new = trustme.CA(), trustme.CA()
    bundle = tmp_path / "ca.crt"
    old.cert_pem.write_to_path(bundle)

    async def main() -> None:
        async with serving(_tls(new)) as server:
            script(server, ok)
            loop = asyncio.get_running_loop()
            async with Transport(server.config(ca_file=str(bundle)), TransportOptions(attempts=1), clock=loop.time) as transport:
                with pytest.raises(errors.Unavailable, match="certificate"):
                    await transport.request("GET", "/a")
                new.cert_pem.write_to_path(bundle)
                await transport.request("GET", "/a")
                bundle.write_text("half a file")
                await asyncio.sleep(61)
                await transport.request("GET", "/a")
            assert len(server.requests) == 2

    run(main())


def test_a_client_certificate_given_as_data_needs_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inline certificates of a kubeconfig work on a read-only root."""
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    ca = trustme.CA()
    leaf = ca.issue_cert("linnet@example.org")
    server_tls = _tls(ca)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(server_tls)

    async def main() -> None:
        async with serving(server_tls) as server:
            script(server, ok)
            config = server.config(
                ca_data=ca.cert_pem.bytes(), cert_data=leaf.cert_chain_pems[0].bytes(), key_data=leaf.private_key_pem.bytes()
            )
            async with Transport(config, clock=asyncio.get_running_loop().time) as transport:
                assert await transport.request("GET", "/a")

    run(main())


def test_a_swapped_session_lets_open_streams_finish(tmp_path: Path) -> None:
    """A CA rotation does not cut a watch that is open; its session closes with it."""
    ca = trustme.CA()
    bundle = tmp_path / "ca.crt"
    ca.cert_pem.write_to_path(bundle)
    go_on = asyncio.Event()

    async def main() -> None:
        async with serving(_tls(ca)) as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                if request.path != "/watch":
                    return ok()
                reply = web.StreamResponse(headers={"Content-Type": "application/json"})
                await reply.prepare(request)
                await reply.write(b'{"n":1}\n')
                await go_on.wait()
                await reply.write(b'{"n":2}\n')
                return reply

            server.handler = handler
            async with Transport(server.config(ca_file=str(bundle)), clock=asyncio.get_running_loop().time) as transport:
                async with transport.stream("/watch") as lines:
                    assert await anext(lines) == b'{"n":1}'
                    other = trustme.CA()
                    bundle.write_bytes(ca.cert_pem.bytes() + other.cert_pem.bytes())
                    before = transport._sessions._pool
                    await asyncio.sleep(61)
                    await transport.request("GET", "/a")
                    assert transport._sessions._pool is not before
                    go_on.set()
                    assert [line async for line in lines] == [b'{"n":2}']
                assert before is not None
                assert before.session.closed

    run(main())


def test_every_attempt_is_reported_and_the_stream_too() -> None:
    """The hook sees method, path, status and reason of each attempt, so that metrics need no second count."""

    async def main() -> None:
        records: list[RequestRecord] = []
        async with serving() as server:
            script(server, html, ok)
            async with client_of(server, observe=records.append) as client:
                await client.transport.request("GET", "/a")
                async with client.transport.stream("/b") as lines:
                    with pytest.raises(errors.Unavailable, match="middle of a line"):
                        await anext(lines)
        assert [(r.path, r.status, r.reason, r.stream) for r in records] == [
            ("/a", 502, "Unavailable", False),
            ("/a", 200, "", False),
            ("/b", 200, "", True),
        ]

    run(main())


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    """A stream without a newline ends at the limit."""

    async def main() -> None:
        async with serving() as server:

            async def handler(request: web.Request) -> web.StreamResponse:
                reply = web.StreamResponse(headers={"Content-Type": "application/json"})
                await reply.prepare(request)
                while True:
                    await reply.write(b"x" * 65536)

            server.handler = handler
            async with client_of(server, TransportOptions(max_line=200_000)) as client:
                with pytest.raises(errors.BadResponse, match="longer than"):
                    async with client.transport.stream("/b") as lines:
                        async for _ in lines:
                            pass

    run(main())
