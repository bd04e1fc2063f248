"""The weekly digests: for each Notifier that asks for one, what the Canaries that name it have observed since the last.

What is told comes from the Canaries' histories, and when it was last told stands in the Notifier's status: nothing lives in this process, so
a restart repeats none. That it goes out is written before it goes out, because a digest that a crash swallows is missed by nobody for long,
and one that comes again every half minute is.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from daemon.api.sources import NotifierStatus
from daemon.api.windows import digest_faults
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.resolve import Resolver
from daemon.control.secrets import SecretMissing
from daemon.control.tell import Teller
from daemon.kube.client import Client
from daemon.kube.errors import KubeError
from daemon.kube.status import StatusWriter
from daemon.notify.errors import NotifyError
from daemon.notify.message import Message, severity_of
from daemon.rollout import digest
from daemon.rollout.clock import epoch, stamp

log = logging.getLogger("linnet.digests")

LOOK_EVERY: Final = 30.0  # seconds; a look costs no request


class Digests:
    """`run` belongs into the leader's TaskGroup."""

    def __init__(
        self, client: Client, caches: Caches, resolver: Resolver, teller: Teller, *, cluster: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._caches = caches
        self._resolver = resolver
        self._teller = teller
        self._cluster = cluster
        self._clock = clock
        self._writer = StatusWriter(client, ours.NOTIFIERS)

    async def run(self) -> None:
        while True:
            for item in list(self._caches.notifiers.store):
                try:
                    await self._look(item)
                except (KubeError, SecretMissing, NotifyError, TimeoutError) as e:
                    log.warning("%s/%s: its digest was not sent: %s", *item.key, e)
                except Exception:
                    log.exception("%s/%s: its digest failed", *item.key)  # one must not end the others
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self, item: ours.Notifier) -> None:
        """Sends what is due. Of several that were missed, one."""
        wanted, now = item.spec.digest, self._clock()
        if wanted is None or any(digest_faults(item.spec, "spec")):
            return
        last = item.status.digest_sent_at or item.metadata.creation_timestamp or stamp(now)
        due = digest.next_due(wanted, epoch(last))
        if due is None or due > now:
            return
        written = await self._writer.write(item, item.status, NotifierStatus(digest_sent_at=stamp(now)))
        if written is not None:
            self._caches.notifiers.store.put(written)
        await self._teller.offer(item, self._message(item, epoch(last)))

    def _message(self, item: ours.Notifier, since: float) -> Message:
        watched = [c for c in self._caches.canaries.store if self._hears(item, c)]
        found = [line for c in watched for line in digest.lines(f"{c.namespace}/{c.name}", c.status.history, since)]
        return Message(
            kind="Digest",
            severity=severity_of("Digest"),
            cluster=self._cluster,
            namespace=item.namespace,
            name=item.name,
            revision="",
            sentence=digest.sentence(found, len(watched)),
            facts=digest.facts(found),
            command="kubectl get canaries.linnet.dev -A",
        )

    def _hears(self, item: ours.Notifier, canary: ours.Canary) -> bool:
        """Whether the Canary only observes, and names this very Notifier for what it observes."""
        spec = self._resolver.spec(canary)
        if spec.mode != "Observe":
            return False
        named = [r.notifier_ref.name for r in spec.notify or [] if r.on is None or "Observed" in r.on]
        meant = (self._resolver.catalogue.notifier(canary.namespace, name) for name in named)
        return any(isinstance(n, ours.Notifier) and n.key == item.key for n in meant)
