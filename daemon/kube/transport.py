"""HTTP to one API server, with a deadline on every call.

The library's transport has no default timeout, no retries, and pins the last reply. This one is small because it does only what the
parts above need:

- `request` returns bytes or raises one of `errors`; the deadline covers all attempts together. A call that may be repeated without
  harm is repeated after resets, 429 and 5xx, honouring Retry-After. A write that is not idempotent is repeated only when the server
  said that it did not take it (429) or was never reached.
- `stream` yields the lines of a watch and gives up when the line goes silent, so a half-open socket is found.
- the connections themselves, and TLS material that changes, are the business of `sessions`.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from daemon import __version__
from daemon.kube import errors
from daemon.kube.backoff import Backoff, Rng
from daemon.kube.config import ClusterConfig
from daemon.kube.credentials import Credentials
from daemon.kube.sessions import SessionOptions, Sessions

_IDEMPOTENT = frozenset({"GET", "HEAD", "DELETE"})
Params = Mapping[str, str | int | bool | None]


class TransportOptions(SessionOptions, frozen=True, kw_only=True):
    """All times in seconds."""

    deadline: float = 15.0
    attempts: int = 4
    backoff: Backoff = Backoff(first=0.2, limit=5.0)
    max_line: int = 8 * 2**20
    user_agent: str = f"linnet/{__version__}"


DEFAULTS = TransportOptions()


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt was, for whoever counts. `status` is 0 when no reply came; `stream` marks watches (seconds: until the headers)."""

    method: str
    path: str
    status: int
    reason: str
    seconds: float
    attempt: int
    stream: bool = False


Observer = Callable[[RequestRecord], None]


class Transport:
    """An async context manager; nothing is opened before the first request."""

    def __init__(
        self,
        config: ClusterConfig,
        options: TransportOptions = DEFAULTS,
        *,
        observe: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: Rng = random.random,
    ) -> None:
        self.config = config
        self.options = options
        self._observe = observe
        self._clock = clock
        self._rng = rng
        self._credentials = Credentials(config, clock=clock)
        self._sessions = Sessions(config, self._credentials, options, clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every session; calls in flight end as Unavailable."""
        await self._sessions.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        deadline: float | None = None,
        idempotent: bool | None = None,
        attempts: int | None = None,
    ) -> bytes:
        """One call, retried where that is harmless. The deadline (default: of the options) bounds all attempts and pauses together."""
        limit = self.options.deadline if deadline is None else deadline
        if not 0 < limit < float("inf"):
            raise ValueError(f"deadline is {limit!r}; it must be a positive number of seconds")
        repeatable = method in _IDEMPOTENT if idempotent is None else idempotent
        call = _Call(method, path, _query(params), body, content_type, accept)
        return await self._retrying(call, repeatable, attempts or self.options.attempts, limit)

    async def _retrying(self, call: "_Call", repeatable: bool, attempts: int, limit: float) -> bytes:  # noqa: FBT001
        last: errors.KubeError | None = None
        loop = asyncio.get_running_loop()
        ends = loop.time() + limit
        try:
            async with asyncio.timeout_at(ends):
                for attempt in range(1, attempts + 1):
                    try:
                        return await self._once(call, attempt)
                    except errors.KubeError as e:
                        last = e
                        pause = self._pause(e, attempt)
                        # A pause that the deadline would cut short only hides the reason behind a Timeout.
                        if attempt == attempts or not _may_repeat(e, repeatable) or loop.time() + pause >= ends:
                            raise
                    await asyncio.sleep(pause)
        except TimeoutError as e:
            if isinstance(e, errors.Timeout):
                raise
            after = f"; the last attempt said: {last.message}" if last else ""
            raise errors.Timeout(f"{call}: no answer within {limit:g} s{after}") from e
        raise AssertionError("attempts is at least 1")

    def _pause(self, e: errors.KubeError, attempt: int) -> float:
        own = self.options.backoff.delay(attempt, self._rng)
        return own if e.retry_after is None else max(own, e.retry_after)

    async def _once(self, call: "_Call", attempt: int) -> bytes:
        began = self._clock()
        status, reason = 0, "Cancelled"
        try:
            headers = await self._headers(call)
            with _translated(str(call)):
                async with await self._sessions.acquire() as session, self._open(session, call, headers) as reply:
                    status = reply.status
                    content: bytes = await reply.read()
            if status >= 400:
                raise errors.from_response(status, content, what=str(call), retry_after=_retry_after(reply))
            if status >= 300:
                raise errors.BadResponse(
                    f"{call}: HTTP {status}: an API server sends no redirect; is {self.config.server} a proxy?", status=status
                )
            reason = ""
            return content
        except errors.KubeError as e:
            reason = e.reason
            self._learn(e)
            raise
        finally:
            self._report(call, status, reason, began, attempt)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        inactivity: float = 75.0,
        deadline: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a long reply. `deadline` bounds the time to the headers, `inactivity` the silence between two chunks."""
        call = _Call("GET", path, _query(params), None, "", "application/json")
        limit = self.options.deadline if deadline is None else deadline
        async with contextlib.AsyncExitStack() as stack:
            reply = await self._open_stream(stack, call, limit, inactivity)
            yield self._lines(reply, call, inactivity)

    async def _open_stream(
        self, stack: contextlib.AsyncExitStack, call: "_Call", limit: float, inactivity: float
    ) -> aiohttp.ClientResponse:
        began = self._clock()
        status, reason = 0, "Cancelled"
        try:
            async with asyncio.timeout(limit):
                headers = await self._headers(call)
                with _translated(str(call)):
                    session = await stack.enter_async_context(await self._sessions.acquire())
                    timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.options.connect_timeout, sock_read=inactivity)
                    reply: aiohttp.ClientResponse = await stack.enter_async_context(self._open(session, call, headers, timeout=timeout))
                    status = reply.status
                    if status >= 400:
                        raise errors.from_response(status, await reply.read(), what=str(call), retry_after=_retry_after(reply))
            if status >= 300 or not reply.content_type.startswith("application/json"):
                raise errors.BadResponse(f"{call}: HTTP {status} with {reply.content_type} instead of a watch", status=status)
            reason = ""
            return reply
        except errors.KubeError as e:
            reason = e.reason
            self._learn(e)
            raise
        except TimeoutError as e:
            reason = "Timeout"
            raise errors.Timeout(f"{call}: no headers within {limit:g} s") from e
        finally:
            self._report(call, status, reason, began, 1, stream=True)

    async def _lines(self, reply: aiohttp.ClientResponse, call: "_Call", inactivity: float) -> AsyncIterator[bytes]:
        rest = bytearray()
        while True:
            with _translated(str(call), silence=inactivity):
                chunk = await reply.content.readany()
            if not chunk:
                break
            rest += chunk
            *lines, tail = rest.split(b"\n") if b"\n" in chunk else (rest,)
            for line in lines:
                if line.strip():
                    yield bytes(line)
            rest = bytearray(tail)
            if len(rest) > self.options.max_line:
                raise errors.BadResponse(f"{call}: a line is longer than {self.options.max_line} bytes")
        if rest.strip():
            raise errors.Unavailable(f"{call}: the stream ended in the middle of a line")

    def _open(self, session: aiohttp.ClientSession, call: "_Call", headers: dict[str, str], **more: Any) -> Any:
        if self.config.tls_server_name:
            more["server_hostname"] = self.config.tls_server_name
        return session.request(
            call.method, self.config.server + call.path, params=call.query, data=call.body, headers=headers, allow_redirects=False, **more
        )

    async def _headers(self, call: "_Call") -> dict[str, str]:
        headers = {"Accept": call.accept, "User-Agent": self.options.user_agent}
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        authorization = await self._credentials.authorization()
        if authorization:
            headers["Authorization"] = authorization
        return headers

    def _learn(self, e: errors.KubeError) -> None:
        """A refused token or an unknown issuer is the moment to look at the files again, not a minute later."""
        if isinstance(e, errors.Unauthorized):
            self._credentials.refused()
        if isinstance(e.__cause__, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
            self._sessions.doubt()

    def _report(self, call: "_Call", status: int, reason: str, began: float, attempt: int, *, stream: bool = False) -> None:
        if self._observe is not None:
            seconds = self._clock() - began
            self._observe(
                RequestRecord(
                    method=call.method, path=call.path, status=status, reason=reason, seconds=seconds, attempt=attempt, stream=stream
                )
            )


class _Call(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: dict[str, str]
    body: bytes | None
    content_type: str
    accept: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@contextlib.contextmanager
def _translated(what: str, silence: float | None = None) -> Iterator[None]:
    """The many exceptions of aiohttp as our few, the original kept as the cause."""
    try:
        yield
    except errors.KubeError:
        raise
    except aiohttp.ServerTimeoutError as e:
        text = f"nothing was heard for {silence:g} s" if silence is not None else "the server did not accept the connection in time"
        raise errors.Timeout(f"{what}: {text}") from e
    except aiohttp.ClientConnectorError as e:
        raise errors.Unavailable(f"{what}: cannot connect: {e}", reason="Unreachable") from e
    except (aiohttp.ClientError, OSError) as e:
        if isinstance(e, TimeoutError):
            raise
        raise errors.Unavailable(f"{what}: {type(e).__name__}: {e}") from e


def _may_repeat(e: errors.KubeError, repeatable: bool) -> bool:  # noqa: FBT001
    if isinstance(e, errors.TooManyRequests) or e.reason == "Unreachable":
        return True  # the server did not take the request, or never saw it
    if isinstance(e, errors.Unauthorized):
        return False
    return repeatable and isinstance(e, errors.Unavailable | errors.Timeout)


def _query(params: Params | None) -> dict[str, str]:
    return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in (params or {}).items() if v is not None}


def _retry_after(reply: aiohttp.ClientResponse) -> float | None:
    value = reply.headers.get("Retry-After", "")
    # The API server sends whole seconds; a date is a proxy's word, and our own backoff serves as well.
    return float(value) if value.isdigit() and len(value) < 6 else None
