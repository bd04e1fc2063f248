"""`kubectl-on-a-held-deployment.md` on a real API server: every command is typed in order, and prints what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster import hold_writes
from tests.docs.conftest import await_hold
from tests.docs.pages import ROOT, blocks
from tests.testbed.controlplane import ControlPlane, Process
from tests.testbed.kwok import PLACEMENT

pytestmark = pytest.mark.cluster

PAGE = ROOT / "docs" / "how-to" / "kubectl-on-a-held-deployment.md"


def transcripts() -> list[tuple[str, str]]:
    """(command, what it prints) in the order of the page."""
    found = []
    for block in blocks(PAGE):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append((command, output.strip()))
    return found


def normal(text: str) -> str:
    """Without what differs from run to run: ages, hashes of pods and the widths of columns that follow them."""
    text = re.sub(r"\b\d+(?:m\d+)?s\b", "AGE", text)
    text = re.sub(r"checkout-[0-9a-f]{8,10}\b", "checkout-HASH", text)
    return "\n".join(re.sub(r" {2,}", "  ", line).strip() for line in text.strip().splitlines())


@pytest.fixture
def shell(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose current namespace is the test's."""
    kubeconfig = tmp_path / "kubeconfig"
    shutil.copy(control_plane.user_kubeconfig("alice"), kubeconfig)
    control_plane.kubectl("config", "set-context", "--current", f"--namespace={namespace}", kubeconfig=kubeconfig)
    return {"HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig), "PATH": f"{control_plane.bin}:{os.environ['PATH']}"}


def at_rest(plane: ControlPlane, namespace: str) -> None:
    """Two versions rolled as Kubernetes rolls them, then adopted; without a daemon, the mark is written by hand."""
    body = hold_writes.manifest("checkout", replicas=2)
    body["spec"]["template"]["spec"] |= PLACEMENT
    for version in ("1.3.0", "1.4.0"):
        body["spec"]["template"]["spec"]["containers"][0] |= {"name": "checkout", "image": f"checkout:{version}"}
        plane.apply(body, namespace=namespace, server_side=True)
        plane.kubectl("rollout", "status", "deploy/checkout", "-n", namespace, "--timeout=60s")
    plane.kubectl("annotate", "deploy", "checkout", "linnet.dev/canary=checkout", "-n", namespace)
    await_hold(plane, namespace)


def test_every_command_of_the_page_prints_what_the_page_says(
    control_plane: ControlPlane, kwok: Process, policies: None, namespace: str, shell: dict[str, str]
) -> None:
    """From a Deployment at rest, through each thing people type, to the release by hand."""
    at_rest(control_plane, namespace)
    printed = []
    for command, expected in transcripts():
        done = subprocess.run(["bash", "-c", command], env=shell, capture_output=True, text=True, timeout=60, check=False)
        seen = (done.stdout + done.stderr).replace(namespace, "shop")
        printed.append(f"$ {command}\n{seen}")
        assert normal(seen) == normal(expected), "".join(printed)


def test_the_page_has_transcripts() -> None:
    """A page whose blocks were renamed would be tested by nothing."""
    assert len(transcripts()) > 10
