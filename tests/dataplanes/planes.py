"""Which gateways the routers are tried on, and how a route of each kind is written there by its owner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from daemon.api.routers import CustomRouter, RouteReady
from daemon.rollout.pick import SAFE, Pick
from tests.testbed.contour import GATEWAY as CONTOUR
from tests.testbed.gateway import GATEWAY_NAMESPACE
from tests.testbed.istio import GATEWAY as ISTIO

Object = dict[str, Any]
STABLE, CANARY = "web", "web-canary"
ADDRESSES: Final = {STABLE: "10.99.200.1", CANARY: "10.99.200.2"}
SEEN: Final = "versions-seen.log"  # what the two were asked for, where a test wants to know
HEADER: Final = Pick(headers=(("x-group", "staff"),))
COOKIE: Final = Pick(cookies=(("beta", "yes.1"),))
ALWAYS: Final = Pick(cookies=(("beta", "always"),))
QUERY: Final = Pick(query=(("canary", "1"),))
SEVERAL: Final = Pick(headers=(("x-group", "staff"), ("x-lab", "7")), query=(("canary", "1"),))
BUCKETS: Final = Pick(buckets=37, by="X-Linnet-Bucket")
COPIES: Final = Pick(mirror=100, methods=SAFE)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One kind of route on one gateway. `gateway` is the fixture's name; `objects` are the owner's, the route last."""

    name: str
    router: str
    gateway: str
    objects: Callable[[str, str], list[Object]]  # namespace, host
    custom: CustomRouter | None = None
    stops: bool = False  # its controller is another process than its proxy
    settle: float | None = None  # in force before the router takes it to be: a whole mesh takes longer than this one
    picks: tuple[Pick, ...] = ()  # what it is to tell apart
    apart: str = ""  # the object of ours that holds the split, where the owner's is never written


def backend(name: str) -> Object:
    return {"name": name, "port": 80}


def _made(api: str, kind: str, spec: Object, namespace: str) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "web", "namespace": namespace}, "spec": spec}


def _http_route(parent: Object) -> Callable[[str, str], list[Object]]:
    def objects(namespace: str, host: str) -> list[Object]:
        rule = {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-From", "value": "route"}]}}],
            "backendRefs": [backend(STABLE)],
        }
        spec = {"parentRefs": [parent], "hostnames": [host], "rules": [rule]}
        return [_made("gateway.networking.k8s.io/v1", "HTTPRoute", spec, namespace)]

    return objects


def _http_proxy(namespace: str, host: str) -> list[Object]:
    route = {
        "conditions": [{"prefix": "/"}],
        "services": [backend(STABLE)],
        "timeoutPolicy": {"response": "10s"},
        "loadBalancerPolicy": {"strategy": "RoundRobin"},
    }
    return [_made("projectcontour.io/v1", "HTTPProxy", {"virtualhost": {"fqdn": host}, "routes": [route]}, namespace)]


def _traefik_service(namespace: str, host: str) -> list[Object]:
    service = {"name": "web", "kind": "TraefikService"}
    route = {"kind": "Rule", "match": f"Host(`{host}`)", "services": [service]}
    return [
        _made("traefik.io/v1alpha1", "IngressRoute", {"entryPoints": ["web"], "routes": [route]}, namespace),
        _made("traefik.io/v1alpha1", "TraefikService", {"weighted": {"services": [backend(STABLE) | {"passHostHeader": True}]}}, namespace),
    ]


def _ingress(namespace: str, host: str) -> list[Object]:
    port = {"service": {"name": STABLE, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": port}
    made = _made(
        "networking.k8s.io/v1", "Ingress", {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": [path]}}]}, namespace
    )
    made["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/proxy-read-timeout": "10"}
    controller = {"metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}}
    return [{"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass"} | controller, made]


def _virtual_service(namespace: str, host: str) -> list[Object]:
    """Stable is a subset; what holds for it is said of both hosts."""
    policy = {"loadBalancer": {"simple": "RANDOM"}, "outlierDetection": {"consecutive5xxErrors": 50}}
    subset = {"name": "all", "trafficPolicy": policy}
    rules = [
        _made("networking.istio.io/v1", "DestinationRule", {"host": STABLE, "subsets": [subset]}, namespace),
        _made("networking.istio.io/v1", "DestinationRule", {"host": CANARY, "trafficPolicy": policy}, namespace),
    ]
    rules[1]["metadata"]["name"] = CANARY
    to = {"host": f"{STABLE}.{namespace}.svc.cluster.local", "subset": "all", "port": {"number": 80}}
    http = [
        {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/"}},
        {"route": [{"destination": to}], "timeout": "10s", "headers": {"request": {"set": {"x-from": "route"}}}},
    ]
    return [*rules, _made("networking.istio.io/v1", "VirtualService", {"hosts": [host], "gateways": [ISTIO], "http": http}, namespace)]


# Described under another name than the module's, these are the same objects of the same kinds.
AS_PROXY: Final = CustomRouter(
    group="projectcontour.io",
    kind="HTTPProxy",
    version="v1",
    resource="httpproxies",
    backends=["spec/routes/*/services"],
    unset=0,
    ready=RouteReady(path="status/currentStatus", value="valid", generation="status/conditions/0/observedGeneration"),
)
AS_TRAEFIK: Final = CustomRouter(
    group="traefik.io",
    kind="TraefikService",
    version="v1alpha1",
    resource="traefikservices",
    backends=["spec/weighted/services"],
    settle="1s",
)
_TRAEFIK_PARENT: Final = {"name": "web", "namespace": GATEWAY_NAMESPACE}
PLANES: Final = (
    Plane(
        name="HTTPRoute on Traefik",
        router="HTTPRoute",
        gateway="gateway",
        objects=_http_route(_TRAEFIK_PARENT),
        picks=(HEADER, COOKIE, QUERY, SEVERAL, BUCKETS),
    ),
    Plane(name="TraefikService on Traefik", router="TraefikService", gateway="own_gateway", objects=_traefik_service),
    Plane(
        name="TraefikService on Traefik, described",
        router="TraefikService",
        gateway="own_gateway",
        objects=_traefik_service,
        custom=AS_TRAEFIK,
    ),
    Plane(
        name="Ingress on Traefik", router="Ingress", gateway="own_gateway", objects=_ingress, picks=(HEADER, ALWAYS), apart=f"web-{CANARY}"
    ),
    Plane(
        name="HTTPProxy on Contour",
        router="HTTPProxy",
        gateway="contour",
        objects=_http_proxy,
        picks=(HEADER, COOKIE, QUERY, SEVERAL, BUCKETS),
        stops=True,
    ),
    Plane(name="HTTPProxy on Contour, described", router="HTTPProxy", gateway="contour", objects=_http_proxy, custom=AS_PROXY, stops=True),
    Plane(name="VirtualService on Istio", router="VirtualService", gateway="istio", objects=_virtual_service, settle=2.0),
    Plane(
        name="HTTPRoute on Contour",
        router="HTTPRoute",
        gateway="contour",
        objects=_http_route(dict(CONTOUR)),
        picks=(HEADER, COOKIE, QUERY, SEVERAL, BUCKETS, COPIES),
        stops=True,
    ),
)
