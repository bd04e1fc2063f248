"""TLS of the HTTP API from mounted files, read again when they change: certificates are rotated under a running daemon."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

log = logging.getLogger("linnet.web")

LOOK_EVERY: Final = 30.0


class TlsError(Exception):
    """The certificate or the key cannot be used."""

    reason = "BadCertificate"
    retryable = False


class Certificate:
    """A context that new connections use; `watch` keeps it up to date."""

    def __init__(self, cert: str, key: str) -> None:
        self._cert, self._key = Path(cert), Path(key)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = b""
        self.load()

    def load(self) -> bool:
        """Reads the files; False where they are what was read before. Raises `TlsError`."""
        try:
            content = self._cert.read_bytes() + self._key.read_bytes()
            if content == self._seen:
                return False
            self.context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as problem:
            raise TlsError(f"{self._cert} and {self._key} are no certificate with its key in PEM: {problem}") from problem
        self._seen = content
        return True

    async def watch(self, every: float = LOOK_EVERY) -> None:
        """Until cancelled. Files that cannot be used, as in the middle of a rotation, leave the old certificate in use."""
        while True:
            await asyncio.sleep(every)
            try:
                if await asyncio.to_thread(self.load):
                    log.info("the certificate of the HTTP API was read anew")
            except TlsError as problem:
                log.warning("the HTTP API keeps its old certificate: %s", problem)
