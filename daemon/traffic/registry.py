"""Which routers there are: a new one is a module, a line here and a run of the contract test."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from daemon.api import names
from daemon.api.routers import KNOWN, CustomRouter
from daemon.api.status import RestoreEntry
from daemon.kube.client import Client
from daemon.rollout.model import Problem
from daemon.traffic import generic
from daemon.traffic.dialect import Dialect
from daemon.traffic.grpcroute import GRPC_ROUTE
from daemon.traffic.httpproxy import HTTP_PROXY
from daemon.traffic.httproute import HTTP_ROUTE
from daemon.traffic.informers import RouteInformers, Routes
from daemon.traffic.ingress import INGRESS_CLASSES, INGRESSES, IngressRouter
from daemon.traffic.router import Router, RouterError, Scope
from daemon.traffic.traefikservice import TRAEFIK_SERVICE
from daemon.traffic.virtualservice import DESTINATION_RULES, VIRTUAL_SERVICES, VirtualServiceRouter
from daemon.traffic.weighted import WeightedRouter

Build = Callable[[Client, RouteInformers], Router]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One kind: which objects it reads, and what makes its router."""

    resource: Routes
    build: Build


def weighted(dialect: Dialect) -> Entry:
    return Entry(resource=dialect.resource, build=lambda client, routes: WeightedRouter(client, routes.store(dialect.resource), dialect))


def _ingress(client: Client, routes: RouteInformers) -> Router:
    classes = routes.store(INGRESS_CLASSES)
    return IngressRouter(client, routes.store(INGRESSES), classes, lambda: routes.trouble(INGRESS_CLASSES))


def _virtual_service(client: Client, routes: RouteInformers) -> Router:
    rules = routes.store(DESTINATION_RULES)
    return VirtualServiceRouter(client, routes.store(VIRTUAL_SERVICES), rules, lambda: routes.trouble(DESTINATION_RULES))


ROUTERS: Final[Mapping[str, Entry]] = {
    "HTTPRoute": weighted(HTTP_ROUTE),
    "GRPCRoute": weighted(GRPC_ROUTE),
    "TraefikService": weighted(TRAEFIK_SERVICE),
    "HTTPProxy": weighted(HTTP_PROXY),
    "VirtualService": Entry(resource=VIRTUAL_SERVICES, build=_virtual_service),
    "Ingress": Entry(resource=INGRESSES, build=_ingress),
}
DISCOVERED: Final = ("HTTPRoute", "GRPCRoute")  # a Canary that names no route is given those of these kinds that name its Service


class Routers:
    """The router of each route: of a kind that Linnet brings, or of one that the Canary describes."""

    def __init__(self, client: Client, informers: RouteInformers) -> None:
        self._client = client
        self._informers = informers
        self._made: dict[Routes, tuple[CustomRouter | None, Router]] = {}

    def of(self, scope: Scope) -> Router:
        entry = _entry(scope)
        custom, router = self._made.get(entry.resource, (None, None))
        if router is None or custom != scope.custom:
            router = entry.build(self._client, self._informers)
            self._made[entry.resource] = (scope.custom, router)
        return router

    def scope_of(self, entry: RestoreEntry, described: Iterable[CustomRouter] = ()) -> Scope:
        """A route's scope from the undo log alone: the backends as they were name the stable Service."""
        custom = next((r for r in described if r.kind == entry.kind), None)
        bare = Scope(namespace=entry.namespace, name=entry.name, stable="", canary="", kind=entry.kind, custom=custom)
        stable = self.of(bare).stable_of(entry)
        return msgspec.structs.replace(bare, stable=stable, canary=names.canary_service(stable))

    def resource(self, scope: Scope) -> Routes:
        return _entry(scope).resource

    def discover(self, scope: Scope) -> tuple[Scope, ...]:
        """Every route of the discovered kinds that names the stable Service, with `scope`'s backends."""
        found = []
        for kind in DISCOVERED:
            for route in self._informers.store(ROUTERS[kind].resource).by("namespace", scope.namespace):
                candidate = msgspec.structs.replace(scope, kind=kind, name=route.name, custom=None)
                if self.of(candidate).names(candidate):
                    found.append(candidate)
        return tuple(found)

    def problems(self, scope: Scope) -> list[Problem]:
        """Why this route cannot be moved; empty where it can."""
        trouble = self._informers.trouble(self.resource(scope))
        if trouble:
            way_out = "install what brings this kind, give Linnet the right to read it, or correct spec.traffic.routes"
            return [Problem(reason="RouteUnread", message=f"{scope.route} cannot be looked at: {trouble}", way_out=way_out)]
        return self.of(scope).problems(scope)


def _entry(scope: Scope) -> Entry:
    if scope.custom is not None:
        return weighted(generic.dialect_of(scope.custom))
    found = ROUTERS.get(scope.kind)
    if found is None:
        raise RouterError(f"{scope.kind} is no kind of route that this version moves: {', '.join(KNOWN)}", reason="RouteUnknown")
    return found


def discovered() -> tuple[Routes, ...]:
    return tuple(ROUTERS[kind].resource for kind in DISCOVERED)
