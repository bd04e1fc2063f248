"""Outbound HTTP for metric sources: one session, a deadline on every call, no redirects to follow, no login from a file.

Proxies, trust and identity are decided here, for each request, so that no source has to know of them.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

import aiohttp

from analyzers.sources.protocol import HttpReply, ReplyTooLarge
from daemon import __version__
from daemon.control.proxies import proxy_for
from daemon.control.trust import Tls, TrustError, bundle, context

LIMIT: Final = 16 * 2**20  # bytes of one reply: a metrics page or a query's answer
CONTEXTS: Final = 64  # kept, so that connections made with one are used again


class Http:
    """Implements the analyzers' `HttpClient`, trusting the public CAs and the extra bundle."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._now = now
        self._contexts = lru_cache(CONTEXTS)(lambda tls: context(tls, bundle()))

    def with_tls(self, tls: Tls) -> SecureHttp:
        """The same client with a CA or a certificate of a source's own. TrustError where these cannot be used."""
        return SecureHttp(self, self._contexts(tls))

    def direct(self) -> SecureHttp:
        """The same client past every proxy: pods are in the cluster's own network, where no proxy leads."""
        return SecureHttp(self, self._contexts(Tls()), direct=True)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                trust_env=False,  # it would read logins from ~/.netrc; proxies are chosen below
                headers={"User-Agent": f"linnet/{__version__}"},
                connector=self.connector(),
            )
        return self._session

    def connector(self) -> aiohttp.TCPConnector:
        """How connections are made; a subclass may be choosier about addresses."""
        return aiohttp.TCPConnector(limit=200, limit_per_host=16, keepalive_timeout=60)

    def session(self, url: str) -> aiohttp.ClientSession:
        """One of its own for a library that asks this server alone; the library closes it. OSError where the bundle cannot be used."""
        return aiohttp.ClientSession(trust_env=False, proxy=proxy_for(url), connector=aiohttp.TCPConnector(ssl=self._usual()))

    def _usual(self) -> ssl.SSLContext:
        try:
            return self._contexts(Tls())
        except TrustError as e:
            raise OSError(str(e)) from e

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        """TimeoutError past the deadline, OSError for any failure of the transport; every status is a reply."""
        secure = self._usual()
        return await self.send(method, url, headers=headers, data=data, deadline=deadline, secure=secure, proxy=proxy_for(url))

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: bytes | None,
        deadline: float,
        secure: ssl.SSLContext,
        proxy: str | None,
    ) -> HttpReply:
        timeout = aiohttp.ClientTimeout(total=deadline)
        before = self._now()
        try:
            async with self._open().request(
                method, url, headers=headers, data=data, timeout=timeout, ssl=secure, proxy=proxy, allow_redirects=False
            ) as reply:
                skew = _skew(reply.headers, before, self._now())
                body = await reply.content.read(LIMIT + 1)
                while body and len(body) <= LIMIT and not reply.content.at_eof():
                    body += await reply.content.read(LIMIT + 1 - len(body))
        except TimeoutError:
            raise
        except aiohttp.ClientError as e:
            raise OSError(f"{type(e).__name__}: {e}") from e
        if len(body) > LIMIT:
            raise ReplyTooLarge(f"the reply is larger than {LIMIT} bytes")
        return HttpReply(reply.status, reply.headers, body, skew)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class SecureHttp:
    """An `HttpClient` on the session of another, with its own trust."""

    def __init__(self, http: Http, secure: ssl.SSLContext, *, direct: bool = False) -> None:
        self._http, self._secure, self._direct = http, secure, direct

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        proxy = None if self._direct else proxy_for(url)
        return await self._http.send(method, url, headers=headers, data=data, deadline=deadline, secure=self._secure, proxy=proxy)


def _skew(headers: Mapping[str, str], before: float, after: float) -> float | None:
    """How far the server's clock is ahead: its Date (whole seconds, and old where a cache kept it) against the time of the exchange."""
    if headers.get("Age", "0").strip() != "0":
        return None
    try:
        date = parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
    return max(date - after, 0.0) - max(before - date - 1.0, 0.0)
