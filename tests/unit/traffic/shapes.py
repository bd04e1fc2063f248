"""How objects of each kind look, with every optional field around the leaf that is ours filled."""

from __future__ import annotations

from typing import Any, Final

from daemon.api.routers import CustomRouter, RouteReady
from daemon.traffic.generic import dialect_of
from daemon.traffic.grpcroute import GRPC_ROUTE
from daemon.traffic.httpproxy import HTTP_PROXY
from daemon.traffic.httproute import CONTOUR, HTTP_ROUTE
from daemon.traffic.traefikservice import TRAEFIK_SERVICE
from daemon.traffic.virtualservice import VIRTUAL_SERVICE
from tests.unit.control.cluster import SHOP, Object
from tests.unit.traffic.bench import Shape, crd, named
from tests.unit.traffic.contract import ALWAYS, COOKIE, COPIES, QUERY, STABLE
from tests.unit.traffic.contract import HEADER as HEADER_PICK

HEADER: Final = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-From", "value": "route"}]}}
PROXY_API, TRAEFIK_API = (
    ("projectcontour.io", "v1", "httpproxies", "HTTPProxy"),
    ("traefik.io", "v1alpha1", "traefikservices", "TraefikService"),
)


def _condition(kind: str, good: bool, generation: int) -> Object:
    return {
        "type": kind,
        "status": "True" if good else "False",
        "reason": kind if good else "Refused",
        "message": "" if good else "the script says so",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-11-23T00:00:00Z",
    }


def _parents(good: bool, generation: int) -> Object:
    conditions = [_condition("Accepted", good, generation), _condition("ResolvedRefs", True, generation)]
    parent = {"parentRef": {"name": "web", "namespace": "gateway"}, "controllerName": CONTOUR, "conditions": conditions}
    return {"parents": [parent]}


def _http_rules(lists: list[list[Object]]) -> Object:
    rules = [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": f"/{n}"}, "headers": [{"type": "Exact", "name": "x-a", "value": "b"}]}],
            "filters": [HEADER],
            "timeouts": {"request": "10s"},
            "backendRefs": backends,
        }
        for n, backends in enumerate(lists)
    ]
    return {"parentRefs": [{"name": "web", "namespace": "gateway"}], "rules": rules}


def _grpc_rules(lists: list[list[Object]]) -> Object:
    rules = [
        {
            "matches": [{"method": {"type": "Exact", "service": "shop.Cart", "method": f"M{n}"}}],
            "filters": [HEADER],
            "backendRefs": backends,
        }
        for n, backends in enumerate(lists)
    ]
    return {"parentRefs": [{"name": "web", "namespace": "gateway"}], "rules": rules}


def _rules(spec: Object) -> list[list[Object]]:
    return [rule["backendRefs"] for rule in spec["rules"]]


def _weighted(lists: list[list[Object]]) -> Object:
    [backends] = lists
    return {"weighted": {"sticky": {"cookie": {"name": "lb", "secure": True}}, "services": backends}}


def _one_more_first(spec: Object) -> None:
    spec["weighted"]["services"].insert(0, named("other", 0))


def _proxy(lists: list[list[Object]]) -> Object:
    mirror = {"name": "shadow", "port": 80, "mirror": True, "weight": 10}
    routes = [
        {
            "conditions": [{"prefix": f"/{n}"}, {"header": {"name": "x-a", "exact": "b"}}],
            "services": [*backends, mirror],
            "timeoutPolicy": {"response": "10s", "idle": "5s"},
            "retryPolicy": {"count": 2, "perTryTimeout": "1s"},
            "loadBalancerPolicy": {"strategy": "RoundRobin"},
        }
        for n, backends in enumerate(lists)
    ]
    return {"virtualhost": {"fqdn": "web.test"}, "routes": routes}


def _services(spec: Object) -> list[list[Object]]:
    return [[s for s in route["services"] if not s.get("mirror")] for route in spec["routes"]]


def _valid(good: bool, generation: int) -> Object:
    condition = _condition("Valid", good, generation) | ({} if good else {"errors": [_condition("ServiceError", True, generation)]})
    if not good:
        condition["errors"][0] |= {"reason": "Refused", "message": "the script says so"}
    return {"currentStatus": "valid" if good else "Refused", "description": "", "conditions": [condition]}


def destination(host: str, weight: int | None) -> Object:
    """Of stable a subset, with what a VirtualService may say of one destination alone."""
    to: Object = {"host": host, "port": {"number": 80}} | ({"subset": "v1"} if host.partition(".")[0] == STABLE else {})
    return {"destination": to} | ({} if weight is None else {"weight": weight})


def _in_full(service: str, weight: int | None) -> Object:
    return destination(f"{service}.{SHOP}.svc.cluster.local", weight)


def virtual_service(lists: list[list[Object]]) -> Object:
    """Rules of all sorts around ours: one that redirects, one that answers, one that delegates."""
    rules = [
        {
            "name": f"rule-{n}",
            "match": [{"uri": {"prefix": f"/{n}"}, "headers": {"x-a": {"exact": "b"}}, "gateways": ["web"]}],
            "route": backends,
            "rewrite": {"uri": "/"},
            "timeout": "10s",
            "retries": {"attempts": 2, "perTryTimeout": "2s", "retryOn": "5xx"},
            "fault": {"delay": {"percentage": {"value": 0.1}, "fixedDelay": "1s"}},
            "mirrors": [{"destination": {"host": STABLE, "subset": "shadow"}, "percentage": {"value": 5}}],
            "corsPolicy": {"allowMethods": ["GET"]},
            "headers": {"request": {"set": {"x-from": "route"}}},
        }
        for n, backends in enumerate(lists)
    ]
    others = [
        {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new"}},
        {"match": [{"uri": {"prefix": "/health"}}], "directResponse": {"status": 200}},
        {"match": [{"uri": {"prefix": "/far"}}], "delegate": {"name": "far", "namespace": SHOP}},
    ]
    return {"hosts": ["web.test"], "gateways": ["web", "mesh"], "exportTo": ["."], "http": [*others, *rules]}


def _destinations(spec: Object) -> list[list[Object]]:
    return [rule["route"] for rule in spec["http"] if "route" in rule]


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
    settle="4s",
)

_TWIN: Final[dict[str, Any]] = {"noise": {"filters": [HEADER]}, "lists": _rules, "status": _parents}
_PROXY: Final[dict[str, Any]] = {
    "spec": _proxy,
    "lists": _services,
    "alone": 0,
    "elsewhere": ("virtualhost", {"fqdn": "changed.test"}),
    "status": _valid,
    "schema": crd(*PROXY_API),
    "noise": {"protocol": "h2c", "requestHeadersPolicy": {"set": [{"name": "X-From", "value": "route"}]}},
}
_TRAEFIK: Final[dict[str, Any]] = {
    "spec": _weighted,
    "lists": lambda spec: [spec["weighted"]["services"]],
    "elsewhere": ("mirroring", {"name": "shadow", "port": 80}),
    "reorder": _one_more_first,
    "schema": crd(*TRAEFIK_API),
    "noise": {"kind": "Service", "scheme": "http", "passHostHeader": True, "sticky": {"cookie": {"name": "inner"}}},
}
_ISTIO: Final[dict[str, Any]] = {
    "dialect": VIRTUAL_SERVICE,
    "spec": virtual_service,
    "lists": _destinations,
    "alone": 0,
    "elsewhere": ("hosts", ["changed.test"]),
    "service": lambda backend: str(backend["destination"]["host"]).partition(".")[0],
    "schema": crd("networking.istio.io", "v1", "virtualservices", "VirtualService"),
    "noise": {"headers": {"response": {"remove": ["x-inner"]}}},
}
SHAPES: Final[dict[str, Shape]] = {
    "HTTPRoute": Shape(dialect=HTTP_ROUTE, spec=_http_rules, picks=(HEADER_PICK, COOKIE, QUERY, ALWAYS, COPIES), **_TWIN),
    "GRPCRoute": Shape(
        dialect=GRPC_ROUTE, spec=_grpc_rules, schema=crd("gateway.networking.k8s.io", "v1", "grpcroutes", "GRPCRoute"), **_TWIN
    ),
    "TraefikService": Shape(dialect=TRAEFIK_SERVICE, **_TRAEFIK),
    "VirtualService": Shape(backend=destination, **_ISTIO),
    "VirtualService, hosts in full": Shape(backend=_in_full, **_ISTIO),
    "HTTPProxy": Shape(dialect=HTTP_PROXY, picks=(HEADER_PICK, COOKIE, QUERY, ALWAYS), **_PROXY),
    "HTTPProxy, described": Shape(dialect=dialect_of(AS_PROXY), custom=AS_PROXY, **_PROXY),
    "TraefikService, described": Shape(dialect=dialect_of(AS_TRAEFIK), custom=AS_TRAEFIK, **_TRAEFIK),
}
