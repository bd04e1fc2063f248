"""Linnet as a user installs it: the chart, by Helm, with the daemon's pods run by the node agent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.testbed.controlplane import ControlPlane
from tests.testbed.nodes import ROOT

CHART = ROOT / "charts" / "linnet"
SYSTEM = "linnet-system"
METRICS_PORT = 18080


def eventually(check: Callable[[], Any], what: str, timeout: float = 60.0, every: float = 0.3) -> Any:
    """Waits for a state of the cluster that has no event of its own to wait for; returns what `check` found."""
    deadline = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not after {timeout:.0f} s")
        time.sleep(every)


class Linnet:
    """One release of the chart."""

    def __init__(self, plane: ControlPlane, *, release: str = "linnet", namespace: str = SYSTEM) -> None:
        self.plane = plane
        self.release = release
        self.namespace = namespace
        self.account = f"system:serviceaccount:{namespace}:linnet"

    def install(self, values: Mapping[str, Any] | None = None, *, wait: str = "--wait") -> None:
        """`helm install`, or `upgrade`; returns when a replica leads."""
        base = {
            "image": {"repository": "linnet", "tag": "test"},
            "replicas": 1,
            "hold": {"policies": True},
            # Namespaces are cluster-wide: a Linnet of some namespaces alone cannot read theirs.
            "caps": {"namespaceAnnotations": "scope" not in (values or {})},
            "jobs": {"enabled": True},
            "metrics": {"port": METRICS_PORT},
            # Pods share one network namespace here: each listens on its own address, so that two replicas find a free port.
            "extraEnv": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "extraArgs": [f"--metrics-address=$(POD_IP):{METRICS_PORT}"],
        }
        body = json.dumps({**base, **(values or {})})
        words = ("upgrade", "--install", self.release, str(CHART), "-n", self.namespace, "--create-namespace")
        # Other suites on the same control plane applied CRDs and policies by hand, and CRDs outlive every release.
        adopt = ("--take-ownership", "--force-conflicts")
        self.plane.helm(*words, "-f", "-", wait, *adopt, "--timeout=60s", input=body)
        # A replica of the release before may still live or be ending, with the Lease and without the rights that went with its release.
        wanted = int({**base, **(values or {})}["replicas"])
        eventually(lambda: len(self.pods()) == wanted and not self.ending(), "the replicas before are gone")
        eventually(self.leader, "a replica leads")

    def await_no_canaries(self) -> None:
        """Before rights are taken away: the replica that had them would be refused what it still has to do for other tests' Canaries."""
        found = "/apis/linnet.dev/v1alpha1/canaries"
        eventually(lambda: not json.loads(self.plane.request(found))["items"], "Canaries of other tests are gone", 180)

    def pods(self) -> list[str]:
        """Names of the daemon's pods."""
        return self._pods("{.items[*].metadata.name}")

    def ending(self) -> list[str]:
        """When each of the daemon's pods that are ending was asked to."""
        return self._pods("{.items[*].metadata.deletionTimestamp}")

    def _pods(self, path: str) -> list[str]:
        words = ("get", "pods", "-n", self.namespace, "-l", "app.kubernetes.io/component=daemon", "-o", f"jsonpath={path}")
        return self.plane.kubectl(*words).stdout.split()

    def leader(self) -> str:
        """Who holds the Lease now; empty where nobody does."""
        done = self.plane.kubectl("get", "lease", "linnet", "-n", self.namespace, "-o", "jsonpath={.spec.holderIdentity}", check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def uninstall(self) -> None:
        self.plane.helm("uninstall", self.release, "-n", self.namespace, "--wait", "--timeout=150s")

    def status(self, namespace: str, name: str) -> dict[str, Any]:
        """`status` of a Canary; empty while there is none."""
        done = self.plane.kubectl("get", "canaries.linnet.dev", name, "-n", namespace, "-o", "json", check=False)
        found: dict[str, Any] = json.loads(done.stdout).get("status", {}) if done.returncode == 0 else {}
        return found

    def await_phase(self, namespace: str, name: str, phase: str, timeout: float = 90.0) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            seen = self.status(namespace, name)
            return seen if seen.get("phase") == phase else None

        try:
            found: dict[str, Any] = eventually(reached, f"phase {phase} of {name}", timeout)
        except AssertionError as error:
            seen = self.status(namespace, name)
            raise AssertionError(f"{error}; it is {seen.get('phase')}: {seen.get('waiting')}") from None
        return found
