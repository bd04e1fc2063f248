"""The admission webhook as a part of the daemon: served by every replica, its certificates kept in one Secret, its trust by the leader.

The Secret and the webhook configuration are objects of the chart, empty of certificates at first. Any replica fills the Secret, or turns
it when it is due, by a patch that only the first of several can make; all watch it and serve what it says. The leader alone writes the
certificates to be trusted into the configuration, and writes them again where somebody took them away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from daemon.api import names
from daemon.control.trust import in_memory
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.informer import Informer
from daemon.kube.objects import MutatingWebhookConfiguration, Secret
from daemon.kube.patch import Operation, add, at_version, pointer, test
from daemon.kube.resources import MUTATING_WEBHOOKS, SECRETS
from daemon.web.health import serve
from daemon.web.keyring import Ring, due, read, turned
from daemon.web.tls import Certificate, TlsError
from daemon.web.webhook import application

log = logging.getLogger("linnet.webhook")

SYNC: Final = 60.0  # seconds
AGAIN: Final = 5.0  # after a write that failed or lost a race, whose winner the watch will bring
LOOK_EVERY: Final = 6 * 3600.0  # a clock may be set meanwhile: no timer is longer
DATA: Final = pointer("data")


def utc_now() -> datetime:
    return datetime.now(UTC)


class WebhookOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the webhook is served, if at all: with certificates of our own for a Service, or with those of two files."""

    address: str | None = None
    service: str | None = None
    cert: str | None = None
    key: str | None = None

    def certificate(self) -> Certificate | None:
        """That of the files, where they are named. Raises `TlsError` where what is given does not fit together."""
        if not self.address:
            return None
        if bool(self.cert) != bool(self.key):
            raise TlsError("--webhook-cert and --webhook-key go together: give both")
        if bool(self.cert) == bool(self.service):
            raise TlsError(
                "--webhook-address needs --webhook-service, for certificates of Linnet's own, or --webhook-cert and --webhook-key; not both"
            )
        return Certificate(self.cert, self.key) if self.cert and self.key else None


class Webhook:
    """Serves; `problem` says why it cannot yet, which keeps the replica out of the Service."""

    def __init__(self, options: WebhookOptions, client: Client, namespace: str, now: Callable[[], datetime] = utc_now) -> None:
        self._options = options
        self._files = options.certificate()
        self._keys = Keys(client, namespace, options.service, now) if options.address and options.service else None

    @property
    def problem(self) -> str:
        return self._keys.problem if self._keys is not None else ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Until the block ends; does nothing where no address is given."""
        if not self._options.address:
            yield
            return
        context = self._files.context if self._files is not None else self._keys.context if self._keys is not None else None
        async with serve(application(), self._options.address, context) as url, asyncio.TaskGroup() as group:
            log.info("linnet serves its admission webhook on %s", url)
            keeping = group.create_task(self._keep(), name="certificates of the webhook")
            try:
                yield
            finally:
                keeping.cancel()

    async def _keep(self) -> None:
        if self._keys is not None:
            await self._keys.run()
        elif self._files is not None:
            await self._files.watch()

    async def publish(self) -> None:
        """While leading, until cancelled: the API server trusts what the replicas serve."""
        if self._keys is not None:
            await Trust(self._keys).run()


class Keys:
    """The ring in the Secret, and a context that serves with it."""

    def __init__(self, client: Client, namespace: str, service: str, now: Callable[[], datetime]) -> None:
        self.client = client
        self.namespace = namespace
        self.service = service
        self.ring: Ring | None = None
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.problem = "the webhook has no certificate yet"
        self._now = now
        self._informer: Informer[Secret] = Informer(client, SECRETS, namespaces=(namespace,), field_selector=f"metadata.name={service}")
        self._heard: list[Callable[[], None]] = []

    def subscribe(self, handler: Callable[[], None]) -> Callable[[], None]:
        """Called after each change of the ring. Returns the way to stop."""
        self._heard.append(handler)
        return lambda: self._heard.remove(handler)

    async def run(self) -> None:
        """Until cancelled."""
        await _on_change(self._informer, asyncio.Event(), self._turn, "informer of the webhook's Secret")

    async def _turn(self) -> float:
        """Looks once; the seconds until the next look."""
        secret = self._informer.store.get(self.namespace, self.service)
        if secret is None:
            return self._complain(f"Secret {self.namespace}/{self.service} of the webhook is not there; the chart makes it")
        found = read(secret.data)
        wanted = turned(found, self._names, self._now())
        if wanted is not found:
            try:
                await self._write(secret, wanted)
            except (errors.PatchTestFailed, errors.Conflict):
                return AGAIN  # another replica was faster: the watch brings what it wrote
            except errors.KubeError as e:
                return self._complain(f"Secret {self.namespace}/{self.service} of the webhook cannot be written: {e}")
        self._use(wanted)
        return min(max((due(wanted) - self._now()).total_seconds(), 0.0), LOOK_EVERY)

    def _complain(self, problem: str) -> float:
        """What served goes on serving."""
        log.warning("%s", problem)
        if self.ring is None:
            self.problem = problem
        return AGAIN

    @property
    def _names(self) -> tuple[str, ...]:
        return (f"{self.service}.{self.namespace}.svc", f"{self.service}.{self.namespace}.svc.cluster.local")

    async def _write(self, secret: Secret, ring: Ring) -> None:
        version = at_version(secret.metadata.resource_version)
        written = await self.client.json_patch(SECRETS, self.namespace, self.service, [version, add(DATA, ring.data())])
        self._informer.store.put(written)
        log.info("the webhook's certificates were made anew, or turned")

    def _use(self, ring: Ring) -> None:
        if ring == self.ring:
            return
        with in_memory(ring.current.pem) as path:
            self.context.load_cert_chain(path)
        self.ring, self.problem = ring, ""
        for handler in tuple(self._heard):
            handler()


class Trust:
    """The leader's part: `caBundle` of our webhooks is what the ring says, whoever wrote it last."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._informer: Informer[MutatingWebhookConfiguration] = Informer(
            keys.client, MUTATING_WEBHOOKS, field_selector=f"metadata.name={names.HOLD_POLICY}"
        )

    async def run(self) -> None:
        """Until cancelled."""
        changed = asyncio.Event()
        stop = self._keys.subscribe(changed.set)
        try:
            await _on_change(self._informer, changed, self._once, "informer of the webhook configuration")
        finally:
            stop()

    async def _once(self) -> float:
        found = self._informer.store.get("", names.HOLD_POLICY)
        operations = self._missing(found) if found is not None else []
        if found is None or not operations:
            return LOOK_EVERY
        try:
            written = await self._keys.client.json_patch(
                MUTATING_WEBHOOKS, None, names.HOLD_POLICY, [at_version(found.metadata.resource_version), *operations]
            )
        except errors.KubeError as e:
            log.warning("the API server could not be told which certificates of the webhook to trust: %s", e)
            return AGAIN
        self._informer.store.put(written)
        log.info("the API server was told which certificates of the webhook to trust")
        return LOOK_EVERY

    def _missing(self, found: MutatingWebhookConfiguration) -> list[Operation]:
        """Patches for each webhook that leads to our Service and does not trust just what we serve."""
        if self._keys.ring is None:
            return []
        trusted, operations = self._keys.ring.trusted.encode(), []
        for index, webhook in enumerate(found.webhooks or ()):
            config, at = webhook.client_config, ("webhooks", index)
            ours = config.service is not None and (config.service.namespace, config.service.name) == (
                self._keys.namespace,
                self._keys.service,
            )
            if ours and config.ca_bundle != trusted:
                operations += [test(pointer(*at, "name"), webhook.name), add(pointer(*at, "clientConfig", "caBundle"), trusted)]
        return operations


async def _on_change(informer: Informer[Any], changed: asyncio.Event, look: Callable[[], Awaitable[float]], name: str) -> None:
    """Runs the informer; looks at the start, after each change, and after the seconds that the last look gave. Until cancelled."""
    stop = informer.store.add_handler(lambda _old, _new: changed.set())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run(), name=name)
            await informer.reflectors[0].synced.wait()
            while True:
                changed.clear()
                wait = await look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await changed.wait()
    finally:
        stop()
