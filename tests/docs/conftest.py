"""The hold policies on the real API server, for pages that show what other tools do on a held Deployment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import hold_cases
from tests.testbed.controlplane import ControlPlane
from tests.testbed.linnet import eventually

POLICIES = "mutatingadmissionpolicy,mutatingadmissionpolicybinding,validatingadmissionpolicy,validatingadmissionpolicybinding"


@pytest.fixture
def policies(control_plane: ControlPlane) -> Iterator[None]:
    """The two policies: those of the installed chart where there is one, else our own for the time of the test."""
    if control_plane.kubectl("get", "mutatingadmissionpolicy", "linnet-hold", check=False).returncode == 0:
        yield
        return
    control_plane.apply(*hold_cases.policies(["system:serviceaccount:linnet-system:linnet"]))
    yield
    control_plane.kubectl("delete", POLICIES, "linnet-hold", "linnet-release", "--ignore-not-found")


def await_hold(plane: ControlPlane, namespace: str) -> None:
    """Policies reach the API server's evaluation a moment after they were written: asks by dry runs until they act."""
    probe = '{"spec":{"template":{"metadata":{"annotations":{"probe":"1"}}}}}'
    words = ("patch", "deploy", "checkout", "-n", namespace, "--dry-run=server", "-p", probe, "-o", "jsonpath={.spec.paused}")
    eventually(lambda: plane.kubectl(*words).stdout == "true", "the policies hold", 30)
