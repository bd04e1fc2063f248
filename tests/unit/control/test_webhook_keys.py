"""The Secret of the webhook's certificates, between replicas that all may write it, against an API server that says who was first."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import trustme

from daemon.control.webhook import Keys, Webhook, WebhookOptions
from daemon.kube import config as kube_config
from daemon.kube.client import Client
from daemon.kube.config import ClusterConfig
from daemon.kube.transport import Transport
from daemon.web.keyring import TERM, read
from daemon.web.tls import TlsError
from tests.unit.control.cluster import CATALOGUE, Cluster

NAME = "linnet-webhook"


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@asynccontextmanager
async def replicas(cluster: Cluster, clock: Hands, number: int) -> AsyncIterator[list[Keys]]:
    config = kube_config.load(str(cluster.kubeconfig), None)
    async with Transport(config) as transport:
        made = [Keys(Client(transport), CATALOGUE, NAME, clock) for _ in range(number)]
        tasks = [asyncio.create_task(one.run()) for one in made]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.02)


def stored(cluster: Cluster) -> object:
    found = cluster.store.peek("secrets", CATALOGUE, NAME)
    assert found is not None
    return read({key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()})


async def test_replicas_agree_on_what_the_first_of_them_wrote(tmp_path: Path) -> None:
    """Four start at once on an empty Secret, and turn at once when it is due: each time one writes and all serve the same."""
    cluster, clock = Cluster(tmp_path), Hands()
    async with cluster.running():
        cluster.secret(NAME, CATALOGUE)
        async with replicas(cluster, clock, 4) as keys:
            assert {one.problem for one in keys} == {"the webhook has no certificate yet"}
            await until(lambda: all(one.ring is not None and one.ring == stored(cluster) for one in keys))
            assert {one.problem for one in keys} == {""}
            first = keys[0].ring
            assert first is not None
            clock.ahead = TERM + timedelta(hours=1)
            cluster.patch("secrets", NAME, {"metadata": {"labels": {"look": "again"}}}, namespace=CATALOGUE)
            await until(lambda: all(one.ring not in (None, first) and one.ring == stored(cluster) for one in keys))
            second = keys[0].ring
            assert second is not None
            assert second.current == first.next


async def test_without_the_secret_a_replica_says_so_and_serves_when_it_comes(tmp_path: Path) -> None:
    """The chart makes it; somebody deleted it. What serves goes on serving then."""
    cluster = Cluster(tmp_path)
    async with cluster.running(), replicas(cluster, Hands(), 1) as (keys,):
        await until(lambda: "is not there; the chart makes it" in keys.problem)
        cluster.secret(NAME, CATALOGUE)
        await until(lambda: keys.ring is not None)
        assert keys.problem == ""
        before = keys.ring
        cluster.delete("secrets", NAME, namespace=CATALOGUE)
        cluster.secret("other", CATALOGUE)
        await asyncio.sleep(0.1)
        assert (keys.ring, keys.problem) == (before, "")


async def test_a_certificate_of_somebody_else_s_is_served_from_files(tmp_path: Path) -> None:
    """As cert-manager's, mounted: no Secret is asked for, the replica is ready at once, and the leader tells nobody what to trust."""
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    roots = ssl.create_default_context()
    authority.configure_trust(roots)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = str(tmp_path / "both.pem")
    config = ClusterConfig(server="https://127.0.0.1:1")  # nobody is there
    async with Transport(config) as transport:
        webhook = Webhook(WebhookOptions(address=f"localhost:{port}", cert=both, key=both), Client(transport), CATALOGUE)
        assert webhook.problem == ""
        await webhook.publish()
        async with (
            webhook.serving(),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=roots)) as session,
            session.post(f"https://localhost:{port}/hold", data=b"{}") as answer,
        ):
            assert (answer.status, "AdmissionReview" in await answer.text()) == (400, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"service": "s", "cert": "c"}, "go together"),
        ({}, "--webhook-service"),
        ({"service": "s", "cert": "c", "key": "k"}, "not both"),
    ],
)
def test_half_an_identity_is_refused(options: dict[str, str], said: str) -> None:
    """With the way out."""
    with pytest.raises(TlsError, match=said):
        WebhookOptions(address="127.0.0.1:0", **options).certificate()


def test_without_an_address_nothing_is_asked() -> None:
    """As on Kubernetes 1.36."""
    assert WebhookOptions().certificate() is None
