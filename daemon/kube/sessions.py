"""The connections to one API server, on TLS material that changes under a running process.

The library reads CA and client certificates once. Here they are fingerprinted; when they change, new calls get a new session, and the
old one is closed after its last user: a watch that is open goes on, and nothing is cut.
"""

import logging
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from daemon.kube import errors
from daemon.kube.config import ClusterConfig
from daemon.kube.credentials import Credentials

log = logging.getLogger("linnet.kube.sessions")

CLOSED = "the transport is closed"


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    connect_timeout: float = 5.0
    tls_check_interval: float = 60.0
    connection_limit: int = 100
    keepalive_idle: int = 15
    keepalive_interval: int = 5
    keepalive_probes: int = 3


class Pool:
    """A session and the number of its users, so that a swap closes it only after the last one left."""

    def __init__(self, session: aiohttp.ClientSession, fingerprint: bytes) -> None:
        self.session = session
        self.fingerprint = fingerprint
        self.users = 0
        self.retired = False

    async def __aenter__(self) -> aiohttp.ClientSession:
        self.users += 1
        return self.session

    async def __aexit__(self, *exc: object) -> None:
        self.users -= 1
        if self.retired and self.users == 0:
            await self.session.close()


class Sessions:
    """`acquire` gives the session of now; nothing is opened before the first one is asked for."""

    def __init__(self, config: ClusterConfig, credentials: Credentials, options: SessionOptions, clock: Callable[[], float]) -> None:
        self._config = config
        self._credentials = credentials
        self._options = options
        self._clock = clock
        self._pool: Pool | None = None
        self._retired: list[Pool] = []
        self._checked_at = 0.0
        self._closed = False

    async def close(self) -> None:
        """Close every session; calls in flight end as Unavailable."""
        self._closed = True
        pools, self._pool, self._retired = [p for p in (self._pool, *self._retired) if p], None, []
        for pool in pools:
            await pool.session.close()

    async def acquire(self) -> Pool:
        if self._closed:
            raise errors.Unavailable(CLOSED, retryable=False)
        now = self._clock()
        if self._pool is None or now - self._checked_at >= self._options.tls_check_interval:
            self._checked_at = now
            await self._refresh()
        if self._pool is None:
            raise errors.Unavailable(CLOSED, retryable=False)
        return self._pool

    def doubt(self) -> None:
        """An unknown issuer is the moment to look at the files again, not a minute later."""
        self._checked_at = self._clock() - self._options.tls_check_interval

    async def _refresh(self) -> None:
        """Swap the session when the TLS material changed. A half-written pair is no reason to lose a session that works."""
        try:
            fingerprint = self._credentials.fingerprint()
            if self._pool is not None and fingerprint == self._pool.fingerprint:
                return
            session = self._session(self._credentials.tls())
        except (OSError, errors.ConfigError) as e:
            if self._pool is None:
                raise e if isinstance(e, errors.ConfigError) else errors.ConfigError(f"TLS material cannot be read: {e}") from e
            log.warning("new TLS material is unusable, keeping the old one: %s", e)
            return
        old, self._pool = self._pool, Pool(session, fingerprint)
        if old is not None:
            log.info("TLS material changed, new connections use it")
            await self._retire(old)

    async def _retire(self, pool: Pool) -> None:
        pool.retired = True
        self._retired = [p for p in self._retired if p.users]
        if pool.users:
            self._retired.append(pool)
        else:
            await pool.session.close()

    def _session(self, tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=tls if tls is not None else True,
            limit=self._options.connection_limit,
            keepalive_timeout=30.0,
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._options.connect_timeout),
            read_bufsize=2**18,
            proxy=self._config.proxy_url,
        )

    def _socket(self, info: Any) -> socket.socket:
        """A socket that notices a peer which vanished without a word, below the inactivity limit of a watch."""
        family, kind, proto, *_ = info
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self._options.keepalive_idle)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, self._options.keepalive_interval)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, self._options.keepalive_probes)
        return sock
