"""Real istiod with a plain Envoy as its gateway: VirtualService and DestinationRule as a mesh takes them.

istiod reads the API server and tells Envoy by xDS. Istio's own proxy is Envoy with filters of its own and certificates from an agent; a plain
one has neither, so istiod is told to send no such filters and no mutual TLS. Weights, hosts, subsets and counters are the same.
"""

from __future__ import annotations

import json
from typing import Any

from tests.testbed import build
from tests.testbed.controlplane import ADDRESS, ControlPlane, Process
from tests.testbed.envoy import EnvoyGateway, install

PORT = 11080
NAMESPACE = "istio-system"
GATEWAY = f"{NAMESPACE}/web"
LABELS = {"istio": "gateway"}
_XDS, _HTTP, _MONITORING, _ADMIN = 15010, 15080, 15014, 15099
_ENVIRONMENT = {
    "POD_NAMESPACE": NAMESPACE,
    "POD_NAME": "istiod",
    "ENABLE_CA_SERVER": "false",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_GATEWAY_API": "false",
}
# What of a counter's name becomes which label, as Istio's own bootstrap says it.
_TAGS = {
    "cluster_name": r"^cluster(\.(.+);)",
    "response_code": r"_rq(_(\d{3}))$",
    "response_code_class": r"_rq(_(\dxx))$",
}
_MESH = 'enableTracing: false\nenableAutoMtls: false\naccessLogFile: ""\n'


class Istio(EnvoyGateway):
    """`controller` is istiod."""

    url = f"http://{ADDRESS}:{PORT}"
    metrics = f"{ADDRESS}:{_ADMIN}"

    def _controller(self) -> Process:
        flags = [
            f"--kubeconfig={self.plane.kubeconfig}",
            f"--httpAddr=127.0.0.1:{_HTTP}",
            f"--grpcAddr=127.0.0.1:{_XDS}",
            f"--monitoringAddr=127.0.0.1:{_MONITORING}",
            "--secureGRPCAddr=",
            "--httpsAddr=",
            "--ctrlz_port=0",
        ]
        return self.plane.popen([str(build.istiod()), "discovery", *flags], name="istiod", env=_ENVIRONMENT)

    def _envoy(self) -> Process:
        config = self.plane.directory / "istio-envoy.json"
        config.write_text(json.dumps(_bootstrap()))
        return self.plane.popen([str(build.envoy()), "-c", str(config), "--base-id", "7", "--log-level", "warn"], name="istio-envoy")

    def told(self, page: str) -> bool:
        """istiod has told Envoy of its listeners."""
        return "envoy_listener_manager_lds_update_success{} 0" not in page and "lds_update_success" in page

    def versions(self) -> dict[str, str]:
        """As both say over the wire."""
        info = json.loads(self.get(f"http://{self.metrics}/server_info"))
        return {"istiod": self.get(f"http://127.0.0.1:{_MONITORING}/version").strip(), "envoy": info["version"].split("/")[1]}


def _bootstrap() -> dict[str, Any]:
    """An Envoy that asks istiod for everything, as a gateway with the label that Gateways select."""
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    to = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": _XDS}}}
    xds = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            http2: {"@type": f"type.googleapis.com/{http2}", "explicit_http_config": {"http2_protocol_options": {}}}
        },
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": to}]}]},
    }
    metadata = {"NAMESPACE": NAMESPACE, "NAME": "gateway", "LABELS": LABELS, "CLUSTER_ID": "Kubernetes", "INSTANCE_IPS": ADDRESS}
    ads = {"ads": {}, "resource_api_version": "V3"}
    grpc = [{"envoy_grpc": {"cluster_name": "xds"}}]
    return {
        "node": {
            "id": f"router~{ADDRESS}~gateway.{NAMESPACE}~{NAMESPACE}.svc.cluster.local",
            "cluster": f"gateway.{NAMESPACE}",
            "metadata": metadata | {"ISTIO_VERSION": "1.31.0", "SERVICE_ACCOUNT": "gateway"},
        },
        "dynamic_resources": {
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": grpc},
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [xds]},
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in _TAGS.items()],
        },
        "admin": {"address": {"socket_address": {"address": ADDRESS, "port_value": _ADMIN}}},
    }


def start_istio(plane: ControlPlane, timeout: float = 60.0) -> Istio:
    """Installs its CRDs, starts both, makes Gateway `istio-system/web` for every host."""
    install(
        plane, str(build.istio_crds()), *(f"{plural}.networking.istio.io" for plural in ("gateways", "virtualservices", "destinationrules"))
    )
    server = {"port": {"number": PORT, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": NAMESPACE},
            "data": {"mesh": _MESH, "meshNetworks": "networks: {}"},
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {"selector": LABELS, "servers": [server]},
        },
    )
    istio = Istio(plane)
    istio.await_served(timeout)
    return istio
