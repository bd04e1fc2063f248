"""What a flag service says reaches the replica that leads: by a mark on the Canaries that move the flag.

Any replica may be the one that hears of it, only the leading one watches flags, and the sender does not try again. So the one that hears
writes, and the watch on Canaries carries it on: to itself where it leads, to nobody where nobody does, and then the next leader reads
everything anyway. The mark is a moment and not what was said; whoever sees another one than before reads the flag.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from daemon.api import names
from daemon.control import objects as ours
from daemon.control.caches import UNDER_WAY, Caches
from daemon.control.catalogue import Catalogue
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.kube.client import Client
from daemon.kube.errors import NotFound
from daemon.kube.store import Key
from daemon.rollout.clock import stamp

DEADLINE: Final = 5.0  # seconds for one mark
AT_ONCE: Final = 16  # requests to the API server under way


class _Marking(msgspec.Struct):
    """Who writes the mark of a Canary, and when the newest write began."""

    lock: asyncio.Lock
    began: float = -1.0


class FlagSourceNews:
    """`daemon.web.flagnews.News` on the caches of this replica."""

    def __init__(
        self, caches: Caches, client: Client, secrets: SecretReader, catalogue: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._caches = caches
        self._client = client
        self._secrets = secrets
        self._catalogue = Catalogue(caches, catalogue)
        self._clock = clock
        self._marking: dict[Key, _Marking] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def secret(self, namespace: str, name: str) -> str | None:
        source = self._caches.flag_sources.store.get(namespace, name)
        ref = source.spec.unleash.webhook_secret_ref if source is not None and source.spec.unleash is not None else None
        if ref is None:
            return None
        try:
            async with self._slots:  # who asks is not known yet, and a Secret that is missing is looked for each time
                return await self._secrets.read(namespace, ref)
        except SecretMissing:
            return None

    async def changed(self, namespace: str, name: str, key: str | None) -> int:
        """Marks every Canary that moves the flag of that source now, at the same time."""
        met = [item for item in self._caches.canaries.store.by("release", UNDER_WAY) if self._moves(item, (namespace, name), key)]
        async with asyncio.TaskGroup() as group:
            for item in met:
                group.create_task(self._mark(item.key))
        self._forget(met)
        return len(met)

    def _moves(self, item: ours.Canary, source: Key, key: str | None) -> bool:
        for flag in item.status.flags:
            if flag.source != source[1] or key not in (None, flag.key):
                continue
            found = self._catalogue.flag_source(item.namespace, flag.source, flag.key)
            if isinstance(found, ours.FlagSource) and found.key == source:
                return True
        return False

    async def _mark(self, key: Key) -> None:
        """Written once for all that arrive while a write before is under way: it is later than what they tell of."""
        arrived = time.monotonic()
        marking = self._marking.setdefault(key, _Marking(lock=asyncio.Lock()))
        async with marking.lock, self._slots:
            if marking.began >= arrived:
                return
            marking.began = time.monotonic()
            body = {"metadata": {"annotations": {names.FLAG_NEWS: stamp(self._clock())}}}
            try:
                await self._client.merge_patch(ours.CANARIES, *key, body, deadline=DEADLINE)
            except NotFound:
                return  # gone meanwhile, and its release with it

    def _forget(self, met: Sequence[ours.Canary]) -> None:
        for item in met:
            if (marking := self._marking.get(item.key)) is not None and not marking.lock.locked():
                del self._marking[item.key]
