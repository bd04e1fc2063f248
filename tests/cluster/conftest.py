"""What the scenarios share: one release of the chart for the session, and one stage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.scenario import Shop
from tests.cluster.stage import Stage, in_one_row
from tests.conftest import missing_parts
from tests.testbed.controlplane import ControlPlane
from tests.testbed.gateway import Gateway
from tests.testbed.linnet import Linnet
from tests.testbed.nodes import NodeAgent
from tests.testbed.unleash import Unleash, missing


@pytest.fixture(scope="session")
def linnet(control_plane: ControlPlane, node_agent: NodeAgent, gateway: Gateway) -> Linnet:
    """The chart with one replica, for all namespaces, which may have caps of their own; it ends with the control plane."""
    reason = missing_parts("helm")
    if reason:
        pytest.skip(reason)
    installed = Linnet(control_plane)
    installed.install()
    return installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    in_one_row(items)


@pytest.fixture(scope="session")
def stage(linnet: Linnet, node_agent: NodeAgent, gateway: Gateway) -> Iterator[Stage]:
    """Where the scenarios run, several at a time."""
    made = Stage(linnet, node_agent, gateway)
    yield made
    made.close()


@pytest.fixture
def front(stage: Stage) -> Iterator[Shop]:
    """A shop for a test that must be alone with the daemon."""
    shop = stage.front()
    yield shop
    shop.close()
    shop.plane.kubectl("delete", "namespace", shop.namespace, "--wait=false")


@pytest.fixture(scope="module")
def unleash(control_plane: ControlPlane) -> Iterator[Unleash]:
    """A real Unleash in the cluster's network, where daemon and pods reach it."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    server = Unleash()
    try:
        yield server.start()
    finally:
        server.stop()
