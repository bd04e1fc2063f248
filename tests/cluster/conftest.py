"""What the scenarios share: one release of the chart for the session, and a shop for each scenario."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.scenario import Shop
from tests.conftest import missing_parts
from tests.testbed.controlplane import ControlPlane
from tests.testbed.gateway import Gateway
from tests.testbed.linnet import Linnet
from tests.testbed.nodes import NodeAgent


@pytest.fixture(scope="session")
def linnet(control_plane: ControlPlane, node_agent: NodeAgent, gateway: Gateway) -> Linnet:
    """The chart as `helm install` leaves it, with one replica, for all namespaces; it ends with the control plane."""
    reason = missing_parts("helm")
    if reason:
        pytest.skip(reason)
    installed = Linnet(control_plane)
    installed.install({"replicas": 1})
    return installed


@pytest.fixture
def front(linnet: Linnet, node_agent: NodeAgent, gateway: Gateway) -> Iterator[Shop]:
    """An empty namespace to open a shop in; deleted (without waiting) at the end."""
    name = f"s-{secrets.token_hex(4)}"
    linnet.plane.kubectl("create", "namespace", name)
    linnet.plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
    shop = Shop(linnet, node_agent, gateway, name)
    yield shop
    shop.close()
    linnet.plane.kubectl("delete", "namespace", name, "--wait=false")
