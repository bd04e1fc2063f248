"""The chart on a real API server, by the real Helm: what is accepted, what the ServiceAccount may do, and in what order it goes.

No kubelet runs here; where a Job has to end, the test writes its pod's status as a kubelet would.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Literal

import pytest

from tests.cluster import hold_writes
from tests.cluster.hold_writes import ADOPTED, BAD
from tests.conftest import missing_parts
from tests.testbed.controlplane import ControlPlane

pytestmark = pytest.mark.cluster

CHART = Path(__file__).parents[2] / "charts" / "linnet"
POLICIES = "mutatingadmissionpolicy,mutatingadmissionpolicybinding,validatingadmissionpolicy,validatingadmissionpolicybinding"
FAST = ("--set", "cleanup.timeoutSeconds=60")


class Release:
    """A Helm release `linnet` in a namespace of its own."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    def helm(self, *arguments: str, check: bool = True) -> CompletedProcess[str]:
        return self.plane.helm(*arguments, "-n", self.namespace, check=check)

    def install(self, *arguments: str) -> CompletedProcess[str]:
        # The CRDs of an earlier release in another namespace stayed; Helm takes them over only when told to.
        return self.helm("install", "linnet", str(CHART), "--create-namespace", "--take-ownership", *FAST, *arguments)

    def policies(self) -> list[str]:
        return self.plane.kubectl("get", POLICIES, "linnet-hold", "linnet-release", "--ignore-not-found", "-o", "name").stdout.split()

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """`kubectl auth can-i` as the chart's ServiceAccount."""
        who = f"--as=system:serviceaccount:{self.namespace}:linnet"
        return self.plane.kubectl("auth", "can-i", verb, resource, who, "-n", namespace, check=False).stdout.strip() == "yes"

    def wipe(self) -> None:
        """Everything but the CRDs away, whatever state a test left."""
        self.helm("uninstall", "linnet", "--no-hooks", "--ignore-not-found", check=False)
        self.plane.kubectl("delete", POLICIES, "linnet-hold", "linnet-release", "--ignore-not-found")
        self.plane.kubectl("delete", "clusterrole,clusterrolebinding", "linnet", "linnet-cleanup", "--ignore-not-found")
        self.plane.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane of this file's own, because a first install must find no CRD, and policies must not act on other suites."""
    reason = missing_parts("helm")
    if reason:
        pytest.skip(reason)
    with ControlPlane() as started:
        yield started


@pytest.fixture
def release(plane: ControlPlane) -> Iterator[Release]:
    made = Release(plane, f"linnet-{secrets.token_hex(3)}")
    yield made
    made.wipe()


@pytest.fixture
def shop(plane: ControlPlane) -> str:
    name = f"shop-{secrets.token_hex(3)}"
    plane.kubectl("create", "namespace", name)
    return name


class Kubelet:
    """Ends the pods of one component in one namespace, as a kubelet would report it."""

    def __init__(self, plane: ControlPlane, namespace: str, phase: Literal["Succeeded", "Failed"]) -> None:
        self.plane, self.namespace, self.phase = plane, namespace, phase
        self.stopped = threading.Event()
        self.pool = ThreadPoolExecutor(1)
        self.work: Future[None] | None = None

    def _run(self) -> None:
        pods = ("pods", "-n", self.namespace, "-l", "app.kubernetes.io/component=cleanup")
        while not self.stopped.wait(0.2):
            for pod in self.plane.json("get", *pods)["items"]:
                if pod["status"].get("phase") == "Pending":
                    body = json.dumps({"status": {"phase": self.phase}})
                    self.plane.kubectl(
                        "patch",
                        "pod",
                        pod["metadata"]["name"],
                        "-n",
                        self.namespace,
                        "--subresource=status",
                        "--type=merge",
                        "-p",
                        body,
                        check=False,
                    )

    def __enter__(self) -> None:
        self.work = self.pool.submit(self._run)

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.pool.shutdown()
        if self.work is not None:
            self.work.result()


def test_a_real_server_takes_every_object(release: Release, plane: ControlPlane) -> None:
    """Installed as it is: policies compile without a type warning, the CRDs are established, nothing is deprecated."""
    done = release.install("--set", "networkPolicy.enabled=true")
    assert "Warning" not in done.stderr
    assert len(release.policies()) == 4
    plane.kubectl("wait", "--for=condition=Established", "crd/canaries.linnet.dev", "--timeout=30s")
    plane.kubectl("wait", "validatingadmissionpolicy/linnet-release", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=30s")
    checked = plane.json("get", "validatingadmissionpolicy", "linnet-release")["status"]
    assert not checked.get("typeChecking", {}).get("expressionWarnings")
    again = release.helm("upgrade", "linnet", str(CHART), "--set", "clusterName=eu", *FAST)
    assert "helm test linnet" in again.stdout


def test_the_installed_policies_hold_and_the_chart_s_account_releases(release: Release, plane: ControlPlane, shop: str) -> None:
    """From helm install to a released version, with the token of the chart's own ServiceAccount and its Role."""
    release.install()
    plane.apply(hold_writes.manifest("checkout", annotations=ADOPTED), namespace=shop)
    deadline = time.monotonic() + 30
    while plane.json("get", "deploy", "checkout", "-n", shop)["spec"].get("paused") is not True:
        assert time.monotonic() < deadline
        plane.kubectl("set", "env", "deploy/checkout", f"AT={time.monotonic_ns()}", "-n", shop)
    plane.kubectl("set", "image", "deploy/checkout", f"app={BAD}", "-n", shop)
    resume = ("patch", "deploy", "checkout", "-n", shop, "--type=json", "-p", '[{"op":"replace","path":"/spec/paused","value":false}]')
    while "linnet promote --override" not in plane.kubectl(*resume, "--dry-run=server", check=False).stderr:
        assert time.monotonic() < deadline, "each policy takes its own moment to act on a fresh server"
    assert "linnet promote --override" in plane.kubectl(*resume, check=False).stderr
    linnet = plane.service_account_kubeconfig(release.namespace, "linnet")
    plane.kubectl(*resume, kubeconfig=linnet)
    assert not plane.json("get", "deploy", "checkout", "-n", shop)["spec"].get("paused", False)


def test_cluster_wide_rights(release: Release, shop: str) -> None:
    """The daemon's account works in any namespace, reads a Secret by name, and cannot list Secrets or grant itself more."""
    release.install()
    assert release.may("patch", "deployments.apps", shop)
    assert release.may("get", "secrets", shop)
    assert [verb for verb in ("list", "watch", "create", "patch") if release.may(verb, "secrets", shop)] == []
    assert release.may("update", "leases.coordination.k8s.io/linnet", release.namespace)
    assert not release.may("update", "leases.coordination.k8s.io/other", release.namespace)
    assert not release.may("create", "clusterrolebindings.rbac.authorization.k8s.io", "")


def test_namespaced_rights_end_at_the_namespaces(release: Release, plane: ControlPlane, shop: str) -> None:
    """With scope.namespaces nothing cluster-scoped is made, and another namespace is out of reach."""
    release.install("--set", f"scope.namespaces={{{shop}}}", "--set", "crds.install=false")
    assert release.policies() == []
    assert release.may("patch", "deployments.apps", shop)
    assert not release.may("patch", "deployments.apps", "default")
    assert not release.may("get", "secrets", "default")
    assert release.may("get", "secrets", release.namespace)
    assert plane.kubectl("get", "clusterrole", "linnet", "linnet-cleanup", "--ignore-not-found", "-o", "name").stdout == ""


def _audit(plane: ControlPlane, start: int) -> list[dict[str, Any]]:
    with plane.audit_log.open("rb") as log:
        log.seek(start)
        return [json.loads(line) for line in log if line.endswith(b"\n")]


def test_uninstall_cleans_up_first_and_removes_the_policies_after_it(release: Release, plane: ControlPlane) -> None:
    """In the audit log: the Job is made and read as done before any ordinary object goes; the policies go after the daemon."""
    release.install()
    start = plane.audit_log.stat().st_size
    with Kubelet(plane, release.namespace, "Succeeded"):
        release.helm("uninstall", "linnet")
    events = [(e["verb"], e["objectRef"]["resource"], e["objectRef"].get("name", "")) for e in _audit(plane, start) if "objectRef" in e]
    made = next(index for index, (verb, kind, _) in enumerate(events) if verb in {"create", "patch"} and kind == "jobs")
    daemon = events.index(("delete", "deployments", "linnet"))
    policies = [index for index, (verb, kind, _) in enumerate(events) if verb == "delete" and "admissionpolic" in kind]
    assert made < daemon < min(policies)
    assert len(policies) == 8
    assert release.policies() == []
    assert plane.kubectl("get", "clusterrole", "linnet", "linnet-cleanup", "--ignore-not-found", "-o", "name").stdout == ""


def test_crds_and_canaries_outlive_an_uninstall(release: Release, plane: ControlPlane) -> None:
    """What users wrote is there after uninstall and install, with the same uid, and the second install succeeds without a flag."""
    release.install()
    canary = {
        "apiVersion": "linnet.dev/v1alpha1",
        "kind": "Canary",
        "metadata": {"name": "checkout", "namespace": release.namespace},
        "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "profileRef": {"name": "web"}},
    }
    plane.apply(canary)
    before = plane.json("get", "canary.linnet.dev", "checkout", "-n", release.namespace)["metadata"]["uid"]
    release.helm("uninstall", "linnet", "--no-hooks")
    release.helm("install", "linnet", str(CHART), *FAST)
    assert plane.json("get", "canary.linnet.dev", "checkout", "-n", release.namespace)["metadata"]["uid"] == before


def test_a_cleanup_that_fails_stops_the_uninstall(release: Release, plane: ControlPlane) -> None:
    """The twin: with a Job that cannot do its work everything stays: daemon, policies and rights; --no-hooks is the way out."""
    release.install("--set", "cleanup.timeoutSeconds=30")
    with Kubelet(plane, release.namespace, "Failed"):
        done = release.helm("uninstall", "linnet", check=False)
    assert done.returncode != 0
    assert len(release.policies()) == 4
    assert plane.json("get", "deploy", "linnet", "-n", release.namespace)["spec"]["replicas"] == 2
    release.helm("uninstall", "linnet", "--no-hooks")
    assert release.policies() == []
