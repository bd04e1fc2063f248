"""Starts each real part once and prints the version that it gives over the wire, so that a log of CI says what was tested on."""

from __future__ import annotations

import sys

from tests.testbed import netns
from tests.testbed.controlplane import ControlPlane
from tests.testbed.gateway import start_gateway
from tests.testbed.istio import start_istio
from tests.testbed.prometheus import start_prometheus
from tests.testbed.unleash import Unleash


def _flag_service() -> dict[str, str]:
    unleash = Unleash()
    try:
        return unleash.start().versions()
    finally:
        unleash.stop()


def main() -> int:
    with ControlPlane() as plane:
        found = plane.versions()
        found["helm"] = plane.helm("version", "--template", "{{.Version}}").stdout.strip()
        gateway = start_gateway(plane)
        found["traefik"] = gateway.version
        found["prometheus"] = start_prometheus(plane, gateway=gateway.metrics).version
        found |= start_istio(plane).versions()
        found |= netns.call(plane.netns, _flag_service)
    for name, version in found.items():
        print(f"{name:16} {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
