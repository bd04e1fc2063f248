"""The testbed proves itself before anything else is believed."""

from __future__ import annotations

import pytest

from tests.testbed.controlplane import ControlPlane

pytestmark = pytest.mark.cluster


def test_the_control_plane_answers_and_tells_its_versions(control_plane: ControlPlane) -> None:
    """Every part of the control plane answers over the wire and is the version that was built."""
    versions = control_plane.versions()
    assert versions["kube-apiserver"] == versions["kubectl"] == control_plane.version
    assert versions["etcd"].startswith("3.")
