"""Outbound HTTP for metric sources: one session, a deadline on every call, no redirects to follow."""

from collections.abc import Mapping

import aiohttp

from analyzers.sources.protocol import HttpReply
from daemon import __version__

LIMIT = 16 * 2**20  # bytes of one reply: a metrics page or a query's answer


class Http:
    """Implements the analyzers' `HttpClient`. HTTPS_PROXY and NO_PROXY apply."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                trust_env=True,
                headers={"User-Agent": f"linnet/{__version__}"},
                connector=aiohttp.TCPConnector(limit=200, limit_per_host=16, keepalive_timeout=60),
            )
        return self._session

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        """TimeoutError past the deadline, OSError for any failure of the transport; every status is a reply."""
        timeout = aiohttp.ClientTimeout(total=deadline)
        try:
            async with self._open().request(method, url, headers=headers, data=data, timeout=timeout, allow_redirects=False) as reply:
                body = await reply.content.read(LIMIT + 1)
                while body and len(body) <= LIMIT and not reply.content.at_eof():
                    body += await reply.content.read(LIMIT + 1 - len(body))
        except TimeoutError:
            raise
        except aiohttp.ClientError as e:
            raise OSError(f"{type(e).__name__}: {e}") from e
        if len(body) > LIMIT:
            raise OSError(f"the reply is larger than {LIMIT} bytes")
        return HttpReply(reply.status, reply.headers, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
