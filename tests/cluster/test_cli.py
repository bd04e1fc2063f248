"""The command line on a real API server, as a user's process, where no daemon helps it: what must work when Linnet does not."""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import click
import pytest

from daemon.api import crds, names
from daemon.api.kinds import KINDS
from daemon.cli.main import main
from tests.cluster import hold_cases, hold_writes
from tests.cluster.hold_writes import BAD, GOOD
from tests.conftest import missing_parts
from tests.testbed.controlplane import ControlPlane, Process
from tests.testbed.kwok import PLACEMENT, start_kwok
from tests.testbed.linnet import eventually

pytestmark = pytest.mark.cluster

LINNET = str(Path(sys.executable).with_name("linnet"))
SYSTEM = "linnet-system"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:linnet"
MARKS = {names.CANARY_MARK, names.HELD_MARK, names.HOLD}


class Shell:
    """What a person types."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    def linnet(self, *arguments: str, kubeconfig: Path | None = None, timeout: float = 150.0) -> CompletedProcess[str]:
        command = [LINNET, *arguments, "--kubeconfig", str(kubeconfig or self.plane.kubeconfig), "-n", self.namespace]
        return self.plane.run_in_netns(command, timeout=timeout)

    def kubectl(self, *arguments: str, check: bool = True) -> CompletedProcess[str]:
        return self.plane.kubectl(*arguments, "-n", self.namespace, check=check)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.plane.json("get", kind, name, "-n", self.namespace)
        return found

    def deployment(self) -> dict[str, Any]:
        return self.get("deploy", "checkout")

    def image(self) -> str:
        return str(self.deployment()["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane of this file's own: its policies must not act on other suites."""
    reason = missing_parts("kwok", "kwok-stages")
    if reason:
        pytest.skip(reason)
    with ControlPlane() as started:
        start_kwok(started)
        started.install_gateway_api()
        started.kubectl("create", "namespace", SYSTEM)
        started.kubectl("create", "serviceaccount", "linnet", "-n", SYSTEM)
        started.kubectl("create", "clusterrolebinding", "linnet", "--clusterrole=cluster-admin", f"--serviceaccount={SYSTEM}:linnet")
        started.apply(*(crds.crd(kind) for kind in KINDS), server_side=True)
        started.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        started.apply(*hold_cases.policies([ACCOUNT]))
        yield started


@pytest.fixture
def shell(plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Shell]:
    name = f"cli-{secrets.token_hex(3)}"
    plane.kubectl("create", "namespace", name)
    yield Shell(plane, name)
    plane.kubectl("delete", "namespace", name, "--wait=false")


def deployment(**annotations: str) -> dict[str, Any]:
    body = hold_writes.manifest("checkout", annotations=annotations or None, replicas=3)
    body["spec"]["template"]["spec"] |= PLACEMENT
    return body


def held(shell: Shell) -> None:
    """An adopted Deployment with a new template under hold; the policies of a fresh server take a moment to act."""
    shell.plane.apply(deployment(**{names.CANARY_MARK: "checkout"}), namespace=shell.namespace)
    shell.kubectl("rollout", "status", "deploy/checkout", "--timeout=60s")

    def paused() -> bool:
        shell.kubectl("set", "image", "deploy/checkout", f"app={BAD}")
        if shell.deployment()["spec"].get("paused"):
            return True
        shell.kubectl("set", "image", "deploy/checkout", f"app={GOOD}")
        return False

    eventually(paused, "a template change is held")
    resume = ("patch", "deploy/checkout", "--type=json", "-p", '[{"op":"remove","path":"/spec/paused"}]', "--dry-run=server")
    eventually(lambda: shell.kubectl(*resume, check=False).returncode != 0, "a resume is refused")


def test_the_refusal_of_a_resume_names_a_command_that_exists(shell: Shell) -> None:
    """What the API server tells someone who resumes can be typed as it stands: a command of ours, with options that it has."""
    held(shell)
    said = shell.kubectl("rollout", "resume", "deploy/checkout", check=False).stderr
    start = said.index("linnet promote")
    words = shlex.split(said[start : said.index(". Without Linnet")])
    command = main.get_command(click.Context(main), words[1])
    assert command is not None
    context = command.make_context(words[1], words[2:])
    assert (context.params["target"], context.params["override"], context.params["namespace"]) == ("checkout", True, shell.namespace)
    by_hand = said[said.index("kubectl annotate") :].strip().split(" && ")
    for line in by_hand:
        shell.plane.kubectl(*shlex.split(line)[1:])
    assert not shell.deployment()["spec"].get("paused")


def test_release_all_needs_neither_daemon_nor_account(shell: Shell) -> None:
    """As an ordinary admin, against policies that are in force; the held template rolls to its end."""
    held(shell)
    asked = shell.linnet("release", "--all")
    assert asked.returncode == 1
    assert "pass --yes" in asked.stderr
    done = shell.linnet("release", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"released: {shell.namespace}/checkout" in done.stdout
    shell.kubectl("rollout", "status", "deploy/checkout", "--timeout=60s")
    assert names.HELD_MARK not in shell.deployment()["metadata"]["annotations"]


def test_restart_moves_good_pods_under_the_hold(shell: Shell) -> None:
    """Every pod is a new one of the old image, through the real eviction API, with a budget that allows one at a time."""
    held(shell)
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"app": "checkout"}}}
    shell.plane.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "checkout"}, "spec": budget},
        namespace=shell.namespace,
    )
    eventually(lambda: shell.get("pdb", "checkout").get("status", {}).get("disruptionsAllowed"), "the budget counts its pods")
    before = {p["metadata"]["uid"] for p in pods(shell)}
    done = shell.linnet("restart", "deploy/checkout")
    assert done.returncode == 0, done.stderr
    living = [p for p in pods(shell) if "deletionTimestamp" not in p["metadata"]]
    assert not before & {p["metadata"]["uid"] for p in living}
    assert {p["spec"]["containers"][0]["image"] for p in living} == {GOOD}
    assert shell.deployment()["spec"]["paused"] is True


def pods(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell.plane.json("get", "pods", "-n", shell.namespace)["items"]
    return found


# A release that a dead daemon left in the middle.

ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "checkout"},
    "spec": {"parentRefs": [{"name": "gate"}], "rules": [{"backendRefs": [{"name": "checkout", "port": 80}]}]},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "checkout"},
    "spec": {"selector": {"app": "checkout"}, "ports": [{"port": 80}]},
}
SOURCE = {
    "apiVersion": names.API_VERSION,
    "kind": "MetricSource",
    "metadata": {"name": "default"},
    "spec": {"type": "Scrape", "scrape": {"port": 9}},
}
CANARY = {
    "apiVersion": names.API_VERSION,
    "kind": "Canary",
    "metadata": {"name": "checkout"},
    "spec": {
        "workloadRef": {"name": "checkout"},
        "strategy": {"ramp": "Steps"},
        "steps": [{"weight": 20, "dwell": {"minDuration": "1h"}}],
        "onRollback": "Hold",
    },
}


def daemon(plane: ControlPlane) -> Process:
    kubeconfig = plane.service_account_kubeconfig(SYSTEM, "linnet")
    return plane.popen([LINNET, "run", "--kubeconfig", str(kubeconfig), "--metrics-address=127.0.0.1:0"], name="linnet")


def nod(shell: Shell) -> None:
    """The gateway's word on the route as it is now."""
    generation = shell.get("httproute", "checkout")["metadata"]["generation"]
    said = {
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    parent = {
        "parentRef": {"name": "gate"},
        "controllerName": "test.dev/gate",
        "conditions": [{"type": t, **said} for t in ("Accepted", "ResolvedRefs")],
    }
    patch = json.dumps({"status": {"parents": [parent]}})
    shell.kubectl("patch", "httproute", "checkout", "--subresource=status", "--type=merge", "-p", patch)


@contextlib.contextmanager
def nodding(shell: Shell) -> Iterator[None]:
    """A gateway that goes on reporting while the block runs."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(0.5):
            nod(shell)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            yield
        finally:
            stopped.set()
            running.result()


def releasing(shell: Shell) -> None:
    """Adopted, changed, and its canary at 20 % of the requests."""
    shell.plane.apply(deployment(), SERVICE, ROUTE, SOURCE, CANARY, namespace=shell.namespace, server_side=True)
    nod(shell)
    eventually(lambda: names.CANARY_MARK in shell.deployment()["metadata"].get("annotations", {}), "adopted")
    shell.kubectl("set", "image", "deploy/checkout", f"app={BAD}")

    def exposed() -> bool:
        return bool(shell.get("canary.linnet.dev", "checkout").get("status", {}).get("weight") == 20)

    with nodding(shell):
        eventually(exposed, "20 %")


@pytest.mark.parametrize("keep", ["restore", "leave"])
def test_cleanup_gives_back_what_a_dead_daemon_left(shell: Shell, keep: str) -> None:
    """Killed at 20 %: a plain admin's cleanup puts the route and its owners back, removes the canary, and ends or keeps the hold as asked."""
    shell.plane.apply(ROUTE, namespace=shell.namespace, server_side=True)
    before = shell.get("httproute", "checkout")["spec"]
    running = daemon(shell.plane)
    try:
        releasing(shell)
    finally:
        running.stop()
    assert shell.get("httproute", "checkout")["spec"] != before
    with nodding(shell):
        done = shell.linnet("cleanup", "--all", "--yes", f"--held={keep}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert shell.get("httproute", "checkout")["spec"] == before
    shell.plane.apply(ROUTE, namespace=shell.namespace, server_side=True)  # a conflict if we owned anything of it
    eventually(lambda: "checkout-canary" not in shell.kubectl("get", "deploy,service", "-o", "name").stdout, "the canary is gone")
    found = shell.deployment()
    marks = set(found["metadata"].get("annotations", {})) & MARKS
    if keep == "leave":
        assert (found["spec"]["paused"], shell.image(), marks) == (True, BAD, {names.CANARY_MARK, names.HELD_MARK})
        assert f"left held: {shell.namespace}/checkout" in done.stdout
    else:
        assert (found["spec"].get("paused", False), shell.image(), marks) == (False, GOOD, set())
        assert shell.kubectl("get", "controllerrevisions", "-o", "name").stdout == ""
        shell.kubectl("rollout", "status", "deploy/checkout", "--timeout=60s")
    shell.kubectl("delete", "canary.linnet.dev", "checkout", "--timeout=20s")  # no finalizer waits for a daemon


def test_cleanup_stops_a_daemon_that_lives(shell: Shell) -> None:
    """As `helm uninstall` runs it: the Lease is taken, the work done, and the daemon adopts nothing meanwhile; then it leads again."""
    running = daemon(shell.plane)
    try:
        releasing(shell)
        asked = shell.linnet("abort", "checkout", "--revision", "zzzzz")
        assert asked.returncode == 1
        assert "the verb is bound to the one it was said for" in asked.stderr
        with nodding(shell):
            done = shell.linnet("cleanup", "--all", "--yes", kubeconfig=shell.plane.service_account_kubeconfig(SYSTEM, "linnet"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert not set(shell.deployment()["metadata"].get("annotations", {})) & MARKS
        assert shell.image() == GOOD
        examined = json.loads(shell.linnet("doctor", "-o", "json").stdout)
        assert {f["what"] for f in examined if f["level"] == "FAIL"} == {f"Canary {shell.namespace}/checkout"}
    finally:
        running.stop()
