"""The daemon's webhook alone, for tests of admission rules: served from a thread, registered as the chart registers it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from daemon.control.trust import in_memory
from daemon.web.health import serve
from daemon.web.keyring import Ring, turned
from daemon.web.webhook import application
from tests.testbed.controlplane import ControlPlane

Object = dict[str, Any]


def knows_mutating_policies(plane: ControlPlane) -> bool:
    """Kubernetes 1.36 or newer."""
    return "mutatingadmissionpolicies" in plane.request("/apis/admissionregistration.k8s.io/v1").decode()


KINDS = ("mutatingadmissionpolicy", "mutatingadmissionpolicybinding", "validatingadmissionpolicy", "validatingadmissionpolicybinding")


def forget(plane: ControlPlane, *names: str) -> None:
    """Policies, bindings and webhooks of these names are deleted, of the kinds that the server has."""
    kinds = KINDS if knows_mutating_policies(plane) else ("mutatingwebhookconfiguration", *KINDS[2:])
    plane.kubectl("delete", ",".join(kinds), *names, "--ignore-not-found")


def server_context(ring: Ring) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with in_memory(ring.current.pem) as path:
        context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def serving(ring: Ring) -> Iterator[str]:
    """The webhook on the loopback of the caller's network namespace, until the block ends; yields its URL."""
    started: list[str] = []
    up, down = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with serve(application(), "localhost:0", server_context(ring)) as url:
            started.append(url)
            up.set()
            await down.wait()
        await asyncio.sleep(1)  # connections over TLS say goodbye

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="webhook")
    thread.start()
    try:
        assert up.wait(30), "the webhook does not start"
        yield started[0]
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(30)
        loop.close()


def registration(policies: Sequence[Mapping[str, Any]], url: str, ring: Ring) -> Object:
    """A webhook for each mutating policy, with its resources and conditions; the chart's is compared with this in its unit tests."""
    hooks = [
        {
            "name": f"{policy['metadata']['name'].removeprefix('linnet-')}.linnet.dev",
            "clientConfig": {
                "url": f"{url}/{policy['metadata']['name'].removeprefix('linnet-')}",
                "caBundle": base64.b64encode(ring.trusted.encode()).decode(),
            },
            "failurePolicy": "Ignore",
            "timeoutSeconds": 3,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "reinvocationPolicy": policy["spec"]["reinvocationPolicy"],
            "rules": policy["spec"]["matchConstraints"]["resourceRules"],
            "matchConditions": policy["spec"]["matchConditions"],
        }
        for policy in policies
        if policy["kind"] == "MutatingAdmissionPolicy"
    ]
    meta = {"name": "linnet-hold"}
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": meta, "webhooks": hooks}


@contextlib.contextmanager
def standing_in(plane: ControlPlane, policies: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Instead of the mutating policies: the webhook, registered and served; beside it the policies that refuse."""
    ring = turned(None, ["localhost"], datetime.now(UTC))
    with serving(ring) as url:
        plane.apply(*(one for one in policies if one["kind"].startswith("Validating")), registration(policies, url, ring))
        try:
            yield
        finally:
            plane.kubectl("delete", "mutatingwebhookconfiguration", "linnet-hold", "--ignore-not-found")


@contextlib.contextmanager
def in_force(plane: ControlPlane, policies: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """The policies while inside, as the chart installs them on this server; deleted afterwards."""
    with contextlib.ExitStack() as stack:
        if knows_mutating_policies(plane):
            plane.apply(*policies)
        else:
            stack.enter_context(standing_in(plane, policies))
        yield
    forget(plane, *{one["metadata"]["name"] for one in policies})
