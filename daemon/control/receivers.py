"""Asking a receiver of the owner's: a signed request, and what its answer means.

The signature is HMAC-SHA256 over the time and the body, so that a receiver can tell our requests from others' and from old ones that
somebody recorded. What comes back is shown, the key never.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from analyzers.sources.protocol import HttpClient, HttpReply
from analyzers.sources.replies import excerpt
from analyzers.templates.args import blot
from daemon.api.gates import Webhook
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.kube.errors import KubeError

TIMESTAMP: Final = "Linnet-Timestamp"
SIGNATURE: Final = "Linnet-Signature"
CLOSED: Final = frozenset({403, 409})
SHOWN: Final = 300  # characters of an answer


class Answer(NamedTuple):
    """`Unknown`: it did not say, and is asked again."""

    state: Literal["Open", "Closed", "Unknown"]
    text: str


def sign(key: str, timestamp: int, body: bytes) -> str:
    """The value of the signature header."""
    return f"v1={hmac.new(key.encode(), f'{timestamp}.'.encode() + body, hashlib.sha256).hexdigest()}"


class Receivers:
    """`web` refuses addresses that users must not make the daemon speak to."""

    def __init__(self, web: HttpClient, secrets: SecretReader, now: Callable[[], float] = time.time) -> None:
        self._web = web
        self._secrets = secrets
        self._now = now

    async def ask(self, hook: Webhook, namespace: str, payload: dict[str, Any]) -> Answer:
        """Never raises for what a receiver, a network or a missing Secret does."""
        host = urlsplit(hook.url).netloc
        key = ""
        try:
            key = await self._secrets.read(namespace, hook.signing_key_secret_ref)
            reply = await self._post(hook, key, payload)
        except TimeoutError:
            return Answer("Unknown", f"{host} did not answer within {hook.timeout_seconds or 10} s")
        except (OSError, SecretMissing, KubeError, ValueError) as e:
            return Answer("Unknown", blot(f"{host} cannot be asked: {e}", [key])[:SHOWN])
        said = blot(excerpt(reply.body), [key])[:SHOWN]
        clause = f": {said}" if said else ""
        if 200 <= reply.status < 300:
            return Answer("Open", f"{host} agreed{clause}")
        if reply.status in CLOSED:
            return Answer("Closed", f"{host} keeps it closed{clause}")
        return Answer("Unknown", f"{host} answered with HTTP {reply.status}{clause}")

    async def _post(self, hook: Webhook, key: str, payload: dict[str, Any]) -> HttpReply:
        body = msgspec.json.encode(payload | {"metadata": hook.metadata or {}})
        timestamp = int(self._now())
        headers = {"Content-Type": "application/json", TIMESTAMP: str(timestamp), SIGNATURE: sign(key, timestamp, body)}
        return await self._web.request("POST", hook.url, headers=headers, data=body, deadline=float(hook.timeout_seconds or 10))
