"""What `helm.md` says of `--wait`, with the real Helm on a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cluster import hold_writes
from tests.conftest import missing_parts
from tests.docs.conftest import await_hold
from tests.testbed.controlplane import ControlPlane, Process
from tests.testbed.kwok import PLACEMENT

pytestmark = pytest.mark.cluster


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A team's chart: one Deployment whose tag is a value."""
    reason = missing_parts("helm")
    if reason:
        pytest.skip(reason)
    body = hold_writes.manifest("checkout", replicas=2)
    body["spec"]["template"]["spec"] |= PLACEMENT
    body["spec"]["template"]["spec"]["containers"][0] |= {"name": "checkout", "image": "checkout:TAG"}
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: checkout, version: 1.0.0}")
    (tmp_path / "values.yaml").write_text("tag: 1.4.0")
    (tmp_path / "templates" / "deployment.yaml").write_text(yaml.safe_dump(body).replace("TAG", "{{ .Values.tag }}"))
    return tmp_path


def test_helm_takes_a_held_deployment_for_ready(
    control_plane: ControlPlane, kwok: Process, policies: None, namespace: str, chart: Path
) -> None:
    """`--wait` succeeds although no pod of the new version exists: a pipeline that trusts it reports a release that has not begun."""
    words = ("checkout", str(chart), "-n", namespace, "--wait", "--timeout=60s")
    control_plane.helm("install", *words)
    control_plane.kubectl("annotate", "deploy", "checkout", "linnet.dev/canary=checkout", "-n", namespace)
    await_hold(control_plane, namespace)
    done = control_plane.helm("upgrade", *words, "--set", "tag=1.5.0")
    assert done.returncode == 0
    found = control_plane.json("get", "deploy", "checkout", "-n", namespace)
    assert (found["spec"]["paused"], found["status"].get("updatedReplicas", 0)) == (True, 0)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "checkout:1.5.0"
    # A second upgrade meets no conflict: the hold owns no field of the chart's.
    control_plane.helm("upgrade", *words, "--set", "tag=1.6.0")
