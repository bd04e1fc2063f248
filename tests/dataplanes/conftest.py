"""Gateways of the data-plane suite, each started at its first use, and the two versions behind all of them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing_parts
from tests.dataplanes.planes import ADDRESSES, SEEN
from tests.testbed.contour import Contour, start_contour
from tests.testbed.controlplane import ControlPlane
from tests.testbed.gateway import Gateway, start_own_gateway
from tests.testbed.istio import Istio, start_istio


@pytest.fixture(scope="session")
def versions(control_plane: ControlPlane) -> None:
    """The app, twice."""
    given = [f"{name}={address}:8080" for name, address in ADDRESSES.items()]
    root = Path(__file__).parents[2]
    given.append(f"log={control_plane.directory / SEEN}")
    control_plane.popen([sys.executable, "-m", "tests.testbed.backends", *given], name="versions", cwd=root)


@pytest.fixture(scope="session")
def own_gateway(control_plane: ControlPlane) -> Gateway:
    return start_own_gateway(control_plane)


@pytest.fixture(scope="session")
def contour(control_plane: ControlPlane) -> Contour:
    reason = missing_parts("contour", "contour-crds", "envoy")
    if reason:
        pytest.skip(reason)
    return start_contour(control_plane)


@pytest.fixture(scope="session")
def istio(control_plane: ControlPlane) -> Istio:
    reason = missing_parts("istiod", "istio-crds", "envoy")
    if reason:
        pytest.skip(reason)
    return start_istio(control_plane)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What a cancelled watch left to the collector is collected while the test's own filter of warnings holds, not at the session's end."""
    yield
    gc.collect()
