"""The Canaries as the HTTP API sees them: read from the API server, so that any replica can answer."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from daemon.control.objects import CANARIES, Canary
from daemon.kube.client import Client
from daemon.web.api import Api, Release
from daemon.web.flagnews import FlagNews
from daemon.web.health import serve
from daemon.web.identity import Reviewer
from daemon.web.tls import Certificate, TlsError

log = logging.getLogger("linnet.web")


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the HTTP API is served, if at all. Tokens travel on it: in clear only on the loopback."""

    address: str | None = None
    cert: str | None = None
    key: str | None = None

    def certificate(self) -> Certificate | None:
        """The certificate to serve with. Raises `TlsError` where there should be one."""
        if self.cert and self.key:
            return Certificate(self.cert, self.key)
        if self.cert or self.key:
            raise TlsError("--api-cert and --api-key go together: give both")
        if self.address and not _loopback(self.address):
            raise TlsError(
                f"--api-address {self.address} needs --api-cert and --api-key: tokens travel on it; without them 127.0.0.1 alone"
            )
        return None


def _loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextlib.asynccontextmanager
async def serving(
    options: ApiOptions, client: Client, namespaces: tuple[str, ...], flag_news: FlagNews | None = None
) -> AsyncIterator[None]:
    """Serves the API while inside; does nothing where no address is given."""
    if not options.address:
        yield
        return
    certificate = options.certificate()
    api = Api(StoredReleases(client, namespaces), Reviewer(client.transport, time.monotonic))
    app = api.application()
    if flag_news is not None:
        flag_news.add_to(app)
    async with serve(app, options.address, certificate.context if certificate else None) as url, asyncio.TaskGroup() as group:
        log.info("linnet serves its API on %s/api/v1/canaries", url)
        watching = group.create_task(certificate.watch()) if certificate else None
        try:
            yield
        finally:
            if watching is not None:
                watching.cancel()


class StoredReleases:
    """`daemon.web.api.Releases` on a client."""

    def __init__(self, client: Client, namespaces: tuple[str, ...]) -> None:
        self._client = client
        self._namespaces = namespaces

    async def list(self, namespace: str | None) -> Sequence[Release]:
        wanted: Sequence[str | None] = (namespace,) if namespace else self._namespaces or (None,)
        found = [_release(item) for one in wanted for item in (await self._client.list(CANARIES, one)).items]
        return sorted(found, key=lambda release: (release.namespace, release.name))

    async def get(self, namespace: str, name: str) -> Release:
        return _release(await self._client.get(CANARIES, namespace, name))

    async def annotate(self, namespace: str, name: str, annotations: dict[str, str]) -> None:
        await self._client.merge_patch(CANARIES, namespace, name, {"metadata": {"annotations": annotations}})


def _release(item: Canary) -> Release:
    return Release(namespace=item.namespace, name=item.name, workload=item.spec.workload, status=item.status)
