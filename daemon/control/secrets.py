"""Secrets, one key at a time, by name, and for half a minute: a changed one is used within a minute without a restart."""

import time
from collections.abc import Callable
from typing import Final

from daemon.api.sources import SecretRef
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.resources import SECRETS

KEPT: Final = 30.0


class SecretMissing(Exception):
    """A Secret or its key is not there; the message names both and never a value."""


class SecretReader:
    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._kept: dict[tuple[str, str, str], tuple[float, str]] = {}

    async def read(self, namespace: str, ref: SecretRef) -> str:
        """The value of one key. SecretMissing where it is not there; KubeError where the API server does not answer."""
        key = (namespace, ref.name, ref.key)
        kept = self._kept.get(key)
        if kept is not None and self._clock() - kept[0] < KEPT:
            return kept[1]
        try:
            secret = await self._client.get(SECRETS, namespace, ref.name)
        except errors.NotFound as e:
            raise SecretMissing(f"Secret {namespace}/{ref.name} does not exist") from e
        except errors.Forbidden as e:
            raise SecretMissing(f"Secret {namespace}/{ref.name} may not be read by Linnet: grant `get` on it") from e
        value = secret.value(ref.key)
        if value is None:
            raise SecretMissing(f"Secret {namespace}/{ref.name} has no key {ref.key}")
        try:
            text = value.decode().strip()
        except UnicodeDecodeError:
            raise SecretMissing(f"key {ref.key} of Secret {namespace}/{ref.name} is not text") from None
        self._kept[key] = (self._clock(), text)
        return text

    async def values(self, namespace: str, name: str) -> list[str]:
        """Every text in a Secret, whole and by line: what must not be shown. Empty where there is no such Secret."""
        try:
            secret = await self._client.get(SECRETS, namespace, name)
        except errors.NotFound:
            return []
        except errors.Forbidden as e:
            raise SecretMissing(f"Secret {namespace}/{name} may not be read by Linnet: grant `get` on it") from e
        texts = [(secret.value(key) or b"").decode("utf-8", "replace").strip() for key in secret.data or {}]
        return [*texts, *(line.strip() for text in texts for line in text.splitlines())]
