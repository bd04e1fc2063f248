"""Real Contour with a real Envoy as a gateway of the test cluster: HTTPProxy, and the Gateway API under its GatewayClass `contour`.

Contour reads the API server and tells Envoy by xDS, as in any cluster; Envoy sends requests to the addresses of EndpointSlices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.testbed import build
from tests.testbed.controlplane import ADDRESS, ControlPlane, Process
from tests.testbed.envoy import EnvoyGateway, install

PORT = 10180
ENVOY_PORT = PORT + 8000  # where Contour has Envoy listen for it
NAMESPACE = "projectcontour"
GATEWAY = {"name": "contour", "namespace": NAMESPACE}
CONTROLLER = "projectcontour.io/gateway-controller"


class Contour(EnvoyGateway):
    """`controller` is Contour."""

    url = f"http://{ADDRESS}:{ENVOY_PORT}"
    metrics = f"{ADDRESS}:8002"

    def _controller(self) -> Process:
        config = self.plane.directory / "contour.yaml"
        config.write_text(f"gateway:\n  gatewayRef: {{name: {GATEWAY['name']}, namespace: {NAMESPACE}}}\n")
        flags = [
            "--insecure",
            "--xds-address=127.0.0.1",
            "--xds-port=8001",
            f"--kubeconfig={self.plane.kubeconfig}",
            "--disable-leader-election",
            f"--config-path={config}",
            *(f"--disable-feature={name}" for name in ("tlsroutes", "tcproutes", "backendtlspolicies")),
        ]
        return self.plane.popen([str(build.bin_dir() / "contour"), "serve", *flags], name="contour")

    def _envoy(self) -> Process:
        config, admin = self.plane.directory / "envoy.json", self.plane.directory / "envoy-admin.sock"
        command = [str(build.bin_dir() / "contour"), "bootstrap", str(config), "--xds-address=127.0.0.1", "--xds-port=8001"]
        self.plane.run_in_netns([*command, f"--admin-address={admin}"], check=True)
        return self.plane.popen(
            [str(build.envoy()), "-c", str(config), "--service-cluster", "contour", "--service-node", "envoy", "--log-level", "warn"],
            name="envoy",
        )

    def told(self, page: str) -> bool:
        """Contour gives Envoy its listener once there is a route; what can be asked before is Envoy's own page."""
        return "envoy_cluster_manager_active_clusters" in page


def versions() -> dict[str, str]:
    return {"contour": build.CONTOUR, "envoy": build.ENVOY}


def start_contour(plane: ControlPlane, timeout: float = 60.0) -> Contour:
    """Installs its CRDs, starts both, makes GatewayClass `contour` and Gateway `projectcontour/contour`."""
    plane.install_gateway_api()
    install(plane, str(crds()), "httpproxies.projectcontour.io")
    listener = {"name": "http", "protocol": "HTTP", "port": PORT, "allowedRoutes": {"namespaces": {"from": "All"}}}
    group = "gateway.networking.k8s.io/v1"
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": group, "kind": "GatewayClass", "metadata": {"name": "contour"}, "spec": {"controllerName": CONTROLLER}},
        {"apiVersion": group, "kind": "Gateway", "metadata": GATEWAY, "spec": {"gatewayClassName": "contour", "listeners": [listener]}},
    ]
    plane.apply(*objects)
    contour = Contour(plane)
    contour.await_served(timeout)
    return contour


def crds() -> Path:
    return build.share_dir() / "contour" / "crds.yaml"
