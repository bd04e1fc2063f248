"""Linnet on a server that holds by the daemon's webhook: as the chart installs it, with two replicas and certificates of their own.

The rules themselves are tried in test_hold_policies.py, word for word the same as the policies'. Here the rest: what a release looks
like, what slips through while no replica answers, a rotation of the certificates under load, and the end. On Kubernetes 1.36, where
CI runs it, the chart is told to; `make test-kubernetes VERSION=1.35.4` runs it where nothing else could hold.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from daemon.web.keyring import CURRENT, TERM, TRUSTED, Ring, turned
from tests.cluster.scenario import Shop
from tests.cluster.stage import Scenario, Stage
from tests.conftest import missing_parts
from tests.testbed.controlplane import ControlPlane
from tests.testbed.gateway import start_gateway
from tests.testbed.linnet import Linnet, eventually
from tests.testbed.nodes import start_node_agent
from tests.testbed.webhook import knows_mutating_policies
from tests.witness.audit import Audit

pytestmark = pytest.mark.cluster

PORT = 19443
NAMES = [f"linnet-webhook.linnet-system.{tail}" for tail in ("svc", "svc.cluster.local")]
DUE_IN = 20.0  # seconds from the installation: while releases are under way
SECRET = ("secret", "linnet-webhook", "-n", "linnet-system")
SLOW = [{"weight": 20, "dwell": {"minDuration": "5m"}}]
QUICK = [{"weight": 20, "dwell": {"minDuration": "2s"}}]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A control plane of this file's own: a Linnet that is installed otherwise. Where the server needs it the chart finds out by itself."""
    reason = missing_parts("helm")
    if reason:
        pytest.skip(reason)
    with ControlPlane() as plane, plane.entered():
        agent, gateway = start_node_agent(plane), start_gateway(plane)
        linnet = Linnet(plane)
        linnet.install(
            {
                "replicas": 2,
                "hold": {"webhook": {"enabled": True if knows_mutating_policies(plane) else "auto", "port": PORT}},
                "extraArgs": ["--metrics-address=$(POD_IP):18080", f"--webhook-address=$(POD_IP):{PORT}"],
            }
        )
        made = Stage(linnet, agent, gateway)
        yield made
        made.close()


@pytest.fixture(scope="module")
def ring(stage: Stage) -> Ring:
    """Certificates as if Linnet had made them a term ago: both replicas serve the first now, and are to turn to the next in a moment."""
    linnet = stage.front().linnet
    old = turned(None, NAMES, datetime.now(UTC) - TERM + timedelta(seconds=DUE_IN))
    data = {key: base64.b64encode(value).decode() for key, value in old.data().items()}
    linnet.plane.kubectl("patch", *SECRET, "--type=merge", "-p", json.dumps({"data": data}))
    eventually(lambda: trusted(linnet.plane) == old.trusted, "the leader tells what to trust", DUE_IN)
    for pod in addresses(linnet):
        eventually(partial(_greets_with, pod, old), f"{pod} serves the first", DUE_IN)
    return old


def trusted(plane: ControlPlane) -> str:
    """The certificates that the API server was told to trust, by each of the two webhooks; empty until the leader said so."""
    hooks = plane.json("get", "mutatingwebhookconfiguration", "linnet-hold")["webhooks"]
    assert [hook["name"] for hook in hooks] == ["hold.linnet.dev", "author.linnet.dev"]
    assert {hook["failurePolicy"] for hook in hooks} == {"Ignore"}
    [bundle] = {hook["clientConfig"].get("caBundle", "") for hook in hooks}
    return base64.b64decode(bundle).decode()


def kept(plane: ControlPlane) -> dict[str, str]:
    data = plane.json("get", *SECRET).get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def greeted(address: str, roots: str) -> str:
    """A handshake as the API server makes it; the certificate that served."""
    context = ssl.create_default_context(cadata=roots)
    with (
        socket.create_connection((address, PORT), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="linnet-webhook.linnet-system.svc") as secure,
    ):
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")


def _greets_with(address: str, ring: Ring) -> bool:
    try:
        return greeted(address, ring.trusted) == certificate(ring.current.pem)
    except ssl.SSLError:
        return False  # it serves what it made itself, a moment longer


def addresses(linnet: Linnet) -> list[str]:
    return linnet._pods("{.items[*].status.podIP}")


def held(shop: Shop, tag: str) -> None:
    """A push was held in the very write that brought it, and by the webhook: so the API server's answer to it says."""
    since = time.time()
    shop.push(tag)
    pushes = Audit.read(shop.plane.audit_log, since=since).by("admin").writes().on("deployments", namespace=shop.namespace)
    answer = [one for one in pushes if "dryRun" not in one.uri][-1].response
    assert answer["spec"].get("paused") is True, answer["spec"]
    assert answer["metadata"]["annotations"]["linnet.dev/held"] == "webhook"


def released_and_settled(shop: Shop) -> None:
    """A version is held, judged, released; the next lands in mid-roll, is held, waits until stable is one version, and is aborted."""
    shop.open({"steps": QUICK}, replicas=3, startup_seconds=2)
    shop.load()
    held(shop, "v2")
    resumed = shop.kubectl("rollout", "resume", "deployment/shop", check=False)
    assert "linnet promote --override shop" in resumed, resumed
    rolling = shop.until(lambda s: s.get("phase") == "Promoting" and _rolling(shop), "stable rolls", 90)
    held(shop, "v3")
    shop.await_phase("Settling", 30)
    judged = rolling["rollout"]["revision"]
    shop.until(lambda s: s.get("stableRevision") == judged and s.get("phase") in ("Starting", "Progressing"), "v3 starts", 90)
    shop.order("abort")
    shop.until(lambda s: shop.image() == "shop:v2" and s.get("phase") == "Idle" and not s.get("rollout"), "v2 is restored", 60)
    shop.assert_no_switch_hurt(shop.stop_load())
    shop.assert_clean()
    shop.assert_as_before("shop:v2")


def _rolling(shop: Shop) -> bool:
    own = [one for one in shop.items("replicasets") if not one["metadata"]["name"].startswith("shop-canary")]
    return len([one for one in own if one["spec"]["replicas"]]) == 2


def scaled_to_zero(shop: Shop) -> None:
    """What is held stays held, and what comes back with the pods is stable."""
    shop.open({"steps": SLOW})
    held(shop, "v2")
    shop.await_weight(20)
    shop.kubectl("scale", "deployment/shop", "--replicas=0")
    shop.until(lambda s: s.get("phase") == "Idle" and (s.get("waiting") or {}).get("reason") == "ScaledToZero", "scaled to zero")
    shop.kubectl("scale", "deployment/shop", "--replicas=2")
    shop.await_phase("Progressing", 60)
    own = [p for p in shop.items("pods") if p["metadata"]["labels"]["app"] == "shop"]
    assert {p["spec"]["containers"][0]["image"] for p in own} == {"shop:v1"}


def verbs_stamped(shop: Shop) -> None:
    """The writer's name is the API server's, whatever the text says; a false stamp and a verb without the right are refused."""
    shop.open(replicas=1, startup_seconds=0)
    shop.kubectl("annotate", "canaries.linnet.dev", "shop", "linnet.dev/action=pause@abc12#by=mallory")
    assert shop.get("canary", "shop")["metadata"]["annotations"]["linnet.dev/action-by"] == "admin pause@abc12#by=mallory"
    forged = shop.kubectl("annotate", "canaries.linnet.dev", "shop", "--overwrite", "linnet.dev/action-by=bob x", check=False)
    assert "is stamped by the API server" in forged, forged
    for role, verbs in (("patcher", ["get", "patch"]), ("pauser", ["get", "patch", "pause"])):
        shop.kubectl("create", "serviceaccount", role)
        shop.kubectl("create", "role", role, "--resource=canaries.linnet.dev", *(f"--verb={verb}" for verb in verbs))
        shop.kubectl("create", "rolebinding", role, f"--role={role}", f"--serviceaccount={shop.namespace}:{role}")
    say = ("annotate", "canaries.linnet.dev", "shop", "-n", shop.namespace, "--overwrite")
    patcher, pauser = (shop.plane.service_account_kubeconfig(shop.namespace, role) for role in ("patcher", "pauser"))
    refused = shop.plane.kubectl(*say, "linnet.dev/action=pause@abc12#n=2", kubeconfig=patcher, check=False).stderr
    assert "may not pause the release" in refused, refused
    shop.plane.kubectl(*say, "linnet.dev/action=pause@abc12#n=3", kubeconfig=pauser)
    stamp = shop.get("canary", "shop")["metadata"]["annotations"]["linnet.dev/action-by"]
    assert stamp.startswith(f"system:serviceaccount:{shop.namespace}:pauser ")


def certificates_turned(shop: Shop, ring: Ring) -> None:
    """While the ring is turned, every handshake with either replica succeeds and every write is held; then both serve the next."""
    plane, pods = shop.plane, addresses(shop.linnet)
    assert len(pods) == 2
    shop.open(replicas=1, startup_seconds=0)
    eventually(lambda: _dry_run_holds(shop), "writes are held", 30)
    first, following = certificate(ring.current.pem), certificate(ring.next.pem)
    served: dict[str, str] = {}
    deadline = time.monotonic() + 120
    while set(served.values()) != {following} or kept(plane)[TRUSTED] != trusted(plane):
        roots = trusted(plane)  # as the API server has it: what a replica serves now must be in it
        served = {pod: greeted(pod, roots) for pod in pods}
        assert set(served.values()) <= {first, following}
        assert _dry_run_holds(shop)
        assert time.monotonic() < deadline, served
    assert certificate(kept(plane)[CURRENT]) == following


def certificate(pem: str) -> str:
    return pem.partition("-----BEGIN PRIVATE")[0]


def _dry_run_holds(shop: Shop) -> bool:
    body = json.dumps({"spec": {"template": {"metadata": {"annotations": {"probe": secrets.token_hex(4)}}}}})
    found: dict[str, Any] = json.loads(
        shop.kubectl("patch", "deployment", "shop", "--dry-run=server", "--type=merge", "-p", body, "-o", "json")
    )
    return found["spec"].get("paused") is True


def doctored(shop: Shop) -> None:
    """As the chart's own account, in its pod, which says what holds."""
    shop.open(replicas=1, startup_seconds=0)
    linnet = shop.linnet
    linnet.plane.helm("test", linnet.release, "-n", linnet.namespace, "--timeout=90s", check=False)
    said = shop.agent.logs(linnet.namespace, "linnet-doctor")
    assert "is held by the daemon's webhook" in said, said


BESIDE = (released_and_settled, scaled_to_zero, verbs_stamped, doctored)


@pytest.fixture(scope="module")
def plays(stage: Stage, ring: Ring) -> dict[str, Scenario]:
    return {"certificates_turned": lambda shop: certificates_turned(shop, ring), **{body.__name__: body for body in BESIDE}}


@pytest.mark.parametrize("name", ["certificates_turned", *(body.__name__ for body in BESIDE)])
def test_while_certificates_are_turned(stage: Stage, plays: dict[str, Scenario], name: str) -> None:
    """All at once: releases are held, refused to be resumed, settled, scaled to zero and back as with the policies, and verbs stamped."""
    for play in plays.values():
        stage.begin(play)
    stage.await_end(plays[name])


def test_what_lands_while_no_replica_answers_is_bypassed_and_an_uninstall_leaves_nothing(stage: Stage) -> None:
    """Nothing is refused meanwhile; back again, Linnet says so and takes it not for stable; a hold from before was never open.

    Before that: what a hand took out of the webhook's registration, or a chart applied anew, the leader writes again.
    """
    rolled, kept_held = stage.front(), stage.front()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda shop: shop.open({"steps": SLOW}, replicas=1, startup_seconds=0), (rolled, kept_held)))
    linnet = rolled.linnet
    before = trusted(linnet.plane)
    gone = [{"op": "remove", "path": f"/webhooks/{index}/clientConfig/caBundle"} for index in (0, 1)]
    linnet.plane.kubectl("patch", "mutatingwebhookconfiguration", "linnet-hold", "--type=json", "-p", json.dumps(gone))
    eventually(lambda: trusted(linnet.plane) == before, "the leader tells again what to trust", 20)
    eventually(lambda: _dry_run_holds(kept_held), "writes are held again", 20)
    held(kept_held, "v2")
    kept_held.await_weight(20)
    stable = rolled.status()["stableRevision"]
    linnet.plane.kubectl("scale", "deployment/linnet", "-n", linnet.namespace, "--replicas=0")
    eventually(lambda: not linnet.pods(), "no replica is left", 60)
    rolled.push("v2")
    rolled.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    resumed = kept_held.kubectl("rollout", "resume", "deployment/shop", check=False)
    assert "linnet promote --override shop" in resumed, resumed
    linnet.plane.kubectl("scale", "deployment/linnet", "-n", linnet.namespace, "--replicas=2")
    rolled.await_phase("Bypassed", 60)
    assert rolled.status()["stableRevision"] == stable
    assert "without being judged" in rolled.await_event("Bypassed", "Canary")
    eventually(lambda: _dry_run_holds(rolled), "writes are held again", 60)
    held(rolled, "v3")
    linnet.uninstall()
    for shop, image in ((kept_held, "shop:v1"), (rolled, "shop:v3")):
        found = shop.get("deployment", "shop")
        assert "linnet.dev/held" not in (found["metadata"].get("annotations") or {}), image
    left = linnet.plane.kubectl("get", "mutatingwebhookconfigurations,validatingadmissionpolicies", "-o", "name").stdout
    assert "linnet" not in left
