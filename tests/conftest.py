"""Fixtures that every suite may use: the real control plane, and namespaces in it.

`control_plane` is started at its first use, one for a test process (an xdist worker is one), and the process enters its network
namespace for the rest of the session; so `pytest -m cluster tests/cluster` works by hand like any other suite. Where a real part
is missing, the test is skipped with what to do about it; under `LINNET_REQUIRE_ALL=1` that is a failure (`tests/testbed/strict.py`).
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from tests.testbed import build, netns, strict
from tests.testbed.controlplane import PARTS, ControlPlane, Process
from tests.testbed.gateway import Gateway, start_gateway
from tests.testbed.kwok import start_kwok
from tests.testbed.nodes import NodeAgent, start_node_agent
from tests.testbed.prometheus import Prometheus, start_prometheus
from tests.testbed.strict import pytest_runtest_makereport as pytest_runtest_makereport

# A cluster is slow to change its mind: probes, drains and back-offs take seconds each.
TIMEOUTS = {"cluster": 600, "dataplane": 600, "unleash": 300, "browser": 180, "demo": 600}


# How long an example takes says something of the machine and nothing of the code.
hypothesis.settings.register_profile("linnet", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("linnet")


def pytest_configure(config: pytest.Config) -> None:
    strict.register(config)
    # A run in the background of a script ignores Ctrl-C, and so would every command that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        limits = [seconds for marker, seconds in TIMEOUTS.items() if item.get_closest_marker(marker)]
        if limits and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(max(limits)))


def missing_parts(*more: str) -> str | None:
    """Why the control plane (and `more` parts) cannot run here, and the way out; None if it can."""
    reason = netns.unavailable()
    if reason:
        return reason
    lacking = build.missing(PARTS | {"gateway-api"} | set(more))
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


@pytest.fixture(scope="session")
def node_agent(control_plane: ControlPlane) -> NodeAgent:
    """Nodes whose pods run as local processes."""
    return start_node_agent(control_plane)


@pytest.fixture(scope="session")
def gateway(control_plane: ControlPlane) -> Gateway:
    """Traefik with Gateway `gateways/web`."""
    return start_gateway(control_plane)


@pytest.fixture(scope="session")
def prometheus(control_plane: ControlPlane, gateway: Gateway) -> Prometheus:
    """Prometheus scraping the gateway and annotated pods each second."""
    reason = missing_parts("prometheus")
    if reason:
        pytest.skip(reason)
    return start_prometheus(control_plane, gateway=gateway.metrics)


@pytest.fixture(scope="session")
def kwok(control_plane: ControlPlane) -> Process:
    """Two kwok nodes for pods by the hundred (`tests.testbed.kwok.PLACEMENT`)."""
    reason = missing_parts("kwok", "kwok-stages")
    if reason:
        pytest.skip(reason)
    return start_kwok(control_plane)
