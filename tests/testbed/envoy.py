"""What every gateway made of a controller and an Envoy has in common: either is stopped and started without the other, and Envoy counts.

A controller tells Envoy by xDS what to do; while it is away, Envoy goes on with what it was told last.
"""

from __future__ import annotations

import time
import urllib.request

from tests.testbed import netns
from tests.testbed.controlplane import ControlPlane, ControlPlaneError, Process

COUNTERS = "/stats/prometheus"


class EnvoyGateway:
    """`url` takes requests, `metrics` is where Envoy shows its counters, at the path `COUNTERS`."""

    url: str
    metrics: str

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.controller = self._controller()
        self.envoy = self._envoy()

    def _controller(self) -> Process:
        raise NotImplementedError

    def _envoy(self) -> Process:
        raise NotImplementedError

    @property
    def process(self) -> Process:
        """Who takes requests."""
        return self.envoy

    def stop_controller(self) -> None:
        self.controller.stop()

    def start_controller(self) -> None:
        self.controller = self._controller()

    def restart_proxy(self) -> None:
        """Another Envoy in this one's place, whose counters begin at zero; requests meanwhile are refused."""
        self.envoy.stop()
        self.envoy = self._envoy()

    def page(self) -> str:
        """Envoy's counters, as Prometheus reads them."""
        return self.get(f"http://{self.metrics}{COUNTERS}")

    def get(self, url: str) -> str:
        """From inside the cluster's network."""

        def fetch() -> str:
            with urllib.request.urlopen(url, timeout=10) as answer:
                body: bytes = answer.read()
            return body.decode()

        return netns.call(self.plane.netns, fetch)

    def serves(self) -> bool:
        """Whether Envoy is there, as far as it can be asked before there is any route."""
        try:
            return self.told(self.page())
        except OSError:
            return False

    def told(self, page: str) -> bool:
        """By its counters: whether Envoy has what it needs."""
        raise NotImplementedError

    def await_served(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self.serves():
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"Envoy is not ready:\n{self.controller.tail()}\n{self.envoy.tail()}")
            time.sleep(0.2)


def install(plane: ControlPlane, manifest: str, *crds: str) -> None:
    """The controller's CRDs, until they are served."""
    plane.kubectl("apply", "--server-side", "-f", manifest, timeout=120)
    for condition in ("jsonpath={.status.conditions}", "condition=Established"):  # kubectl fails on a CRD without conditions yet
        plane.kubectl("wait", f"--for={condition}", *(f"crd/{name}" for name in crds), "--timeout=60s", timeout=90)
