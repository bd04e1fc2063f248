"""Fixtures that every suite may use: the real control plane, and namespaces in it.

`control_plane` is started at its first use, one for a test process (an xdist worker is one), and the process enters its network
namespace for the rest of the session; so `pytest -m cluster tests/cluster` works by hand like any other suite. Where a real part
is missing, the test is skipped with what to do about it; under `LINNET_REQUIRE_ALL=1` that is a failure (`tests/testbed/strict.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.testbed import build, netns, strict
from tests.testbed.controlplane import PARTS, ControlPlane
from tests.testbed.strict import pytest_runtest_makereport as pytest_runtest_makereport


def pytest_configure(config: pytest.Config) -> None:
    strict.register(config)


def missing_parts(*more: str) -> str | None:
    """Why the control plane (and `more` parts) cannot run here, and the way out; None if it can."""
    reason = netns.unavailable()
    if reason:
        return reason
    lacking = build.missing(PARTS | set(more))
    return f"not built: {', '.join(lacking)}: run `python -m tests.testbed.build` (needs Go, about ten minutes once)" if lacking else None


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real, empty Kubernetes; the test process is inside its network namespace."""
    reason = missing_parts()
    if reason:
        pytest.skip(reason)
    with ControlPlane() as plane, plane.entered():
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own, deleted (without waiting) at its end."""
    name = f"t-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "namespace", name)
    # The token controller adds the default ServiceAccount a moment later; without it pods are refused.
    control_plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")
