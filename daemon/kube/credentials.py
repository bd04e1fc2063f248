"""Tokens and certificates that change under a running process.

A bound ServiceAccount token lives about an hour and a CA bundle is rotated by replacing a file; both must be picked up without a
restart. So nothing here is read once: a token file is read again each minute, TLS material is fingerprinted so that the transport
knows when to swap its session, and a plugin's token is asked for again when it expires or was refused.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from daemon.kube.config import ClusterConfig
from daemon.kube.errors import ConfigError, KubeError, Timeout

TOKEN_LIFETIME = 60.0  # seconds that a token read from a file is trusted; client-go uses the same minute


class Credentials:
    """The Authorization header and the TLS context of one cluster, fresh on each ask."""

    def __init__(self, config: ClusterConfig, *, clock: Callable[[], float] = time.monotonic, plugin_deadline: float = 30.0) -> None:
        self._config = config
        self._clock = clock
        self._token: str | None = None
        self._read_at = -TOKEN_LIFETIME
        self._plugin = _PluginToken(config, config.plugin.user, plugin_deadline, clock) if config.plugin else None

    async def authorization(self) -> str | None:
        """The value of the Authorization header, or None for clusters that authenticate by certificate or not at all."""
        c = self._config
        if c.token_file:
            return f"Bearer {self._file_token(c.token_file)}"
        if c.token:
            return f"Bearer {c.token}"
        if self._plugin:
            return await self._plugin.authorization()
        if c.username:
            return "Basic " + base64.b64encode(f"{c.username}:{c.password or ''}".encode()).decode()
        return None

    def refused(self) -> None:
        """The server said 401: whatever is remembered is read again on the next request."""
        self._read_at = self._clock() - TOKEN_LIFETIME
        if self._plugin:
            self._plugin.refused()

    def _file_token(self, path: str) -> str:
        now = self._clock()
        if self._token is None or now - self._read_at >= TOKEN_LIFETIME:
            try:
                token = Path(path).read_text().strip()
            except (OSError, UnicodeDecodeError) as e:
                token = ""
                if self._token is None:
                    raise ConfigError(f"token file {path} cannot be read: {e}") from e
            # In the instant of a rotation the file may be empty: the old token is still valid then.
            if token:
                self._token, self._read_at = token, now
            elif self._token is None:
                raise ConfigError(f"token file {path} is empty")
        return self._token or ""

    def fingerprint(self) -> bytes:
        """Changes when the CA or the client certificate on disk does. Plain http has nothing to watch."""
        c = self._config
        digest = hashlib.sha256()
        if c.server.startswith("http://"):
            return b""
        for path in (c.ca_file, c.cert_file, c.key_file):
            digest.update(b"\0" if path is None else Path(path).read_bytes())
        if self._plugin:
            digest.update("\0".join(self._plugin.certificate or ()).encode())
        return digest.digest()

    def tls(self) -> ssl.SSLContext | None:
        """A context for the material of this moment; None for plain http. Raises ConfigError when it does not fit together."""
        c = self._config
        if c.server.startswith("http://"):
            return None
        try:
            return self._build(c)
        except (OSError, ssl.SSLError, ValueError) as e:
            raise ConfigError(f"{c.source or c.server}: CA or client certificate cannot be used: {e}") from e

    def _build(self, c: ClusterConfig) -> ssl.SSLContext:
        ca = c.ca_data.decode("ascii") if c.ca_data else None
        if c.insecure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = ssl.create_default_context(cafile=None if ca else c.ca_file, cadata=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        cert, key = c.cert_file, c.key_file
        if self._plugin and self._plugin.certificate:
            cert, key = self._plugin.certificate
        with _as_file(c.cert_data, cert) as cert_path, _as_file(c.key_data, key) as key_path:
            if cert_path:
                context.load_cert_chain(cert_path, key_path)
        return context


@contextlib.contextmanager
def _as_file(data: bytes | None, path: str | None) -> Iterator[str | None]:
    """`ssl` loads client keys from files only: inline data gets one in memory, since the root may be read-only."""
    if data is None:
        yield path
        return
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("linnet-tls")
        try:
            os.write(fd, data)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.name


class _PluginToken:
    """Exec plugins and auth providers, through kubernetes-asyncio, imported on first use only."""

    def __init__(self, config: ClusterConfig, user: dict[str, Any], deadline: float, clock: Callable[[], float]) -> None:
        self._config = config
        self._user = user
        self._deadline = deadline
        self._clock = clock
        self._checked_at = 0.0
        self._lock = asyncio.Lock()
        self._library: Any = None
        self._loader: Any = None
        self._fresh = False
        self.certificate: tuple[str, str] | None = None

    def refused(self) -> None:
        self._fresh = False

    async def authorization(self) -> str | None:
        async with self._lock:
            try:
                async with asyncio.timeout(self._deadline):
                    return await self._ask()
            except TimeoutError as e:
                raise Timeout(f"{self._config.source}: the credential plugin did not answer within {self._deadline:g} s") from e
            except KubeError:
                raise
            except Exception as e:
                raise ConfigError(f"{self._config.source}: the credential plugin failed: {e}", retryable=True) from e

    async def _ask(self) -> str | None:
        from kubernetes_asyncio.client import Configuration
        from kubernetes_asyncio.config.kube_config import load_kube_config_from_dict

        if self._loader is None or not self._fresh:
            self._library = Configuration()
            self._loader = await load_kube_config_from_dict(self._as_kubeconfig(), client_configuration=self._library)
            self._fresh, self._checked_at = True, self._clock()
        elif self._may_be_stale():
            await self._loader.load_and_set(self._library)
            self._checked_at = self._clock()
        if self._library.cert_file and self._library.key_file:
            self.certificate = (self._library.cert_file, self._library.key_file)
        token = await self._library.get_api_key_with_prefix("BearerToken")
        return str(token) if token else None

    def _may_be_stale(self) -> bool:
        """Auth providers look at their own token's expiry; a program is run again only when it named an expiry that has passed."""
        if self._clock() - self._checked_at < TOKEN_LIFETIME:
            return False
        return not self._user.get("exec") or hasattr(self._loader, "exec_plugin_expiry")

    def _as_kubeconfig(self) -> dict[str, Any]:
        """Only the user is theirs to read; address and TLS stay ours."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": self._config.server}}],
            "users": [{"name": "u", "user": self._user}],
        }
