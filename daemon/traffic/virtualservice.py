"""Istio's `VirtualService`: weights of the destinations of its http, tcp and tls rules, a Service being a host.

istiod tells nobody what its proxies have: a VirtualService has no condition that speaks of a proxy (checked in the source of 1.31; the status
that once did is gone). So a write counts as taken after a stated time: istiod gathers changes for at most 10 s (`PILOT_DEBOUNCE_MAX`) while
more of them keep coming, and then pushes. What a host is beyond its pods, its `DestinationRule` says: see `destinationrules`.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from daemon.kube.client import Client
from daemon.kube.objects import untyped
from daemon.kube.patch import lookup
from daemon.kube.resources import custom
from daemon.kube.store import Store
from daemon.rollout.model import Problem
from daemon.traffic import destinationrules
from daemon.traffic.dialect import Backend, Dialect, Split, splits_of
from daemon.traffic.router import RouteObject, Scope
from daemon.traffic.weighted import WeightedRouter

API: Final = ("networking.istio.io", "v1")
VIRTUAL_SERVICES: Final = custom(*API, "virtualservices", "VirtualService", RouteObject)
DESTINATION_RULES: Final = custom(*API, "destinationrules", "DestinationRule", RouteObject)
VIRTUAL_SERVICE: Final = Dialect(
    resource=VIRTUAL_SERVICES,
    backends=("/spec/http/*/route", "/spec/tcp/*/route", "/spec/tls/*/route"),
    service="/destination/host",
    port="/destination/port/number",
    unset=0,
    hosts=True,
    own=("/destination/subset",),  # subsets are those of one host: the canary's Service has none
    settle=12.0,
)
INSTEAD: Final = {"redirect": "redirects", "directResponse": "answers itself", "delegate": "delegates"}


class VirtualServiceRouter(WeightedRouter):
    """What Istio wants beside the weights is looked at before anything is touched."""

    def __init__(
        self,
        client: Client,
        store: Store[RouteObject],
        rules: Store[RouteObject],
        unread: Callable[[], str] = lambda: "",  # why the DestinationRules cannot be looked at
        clock: Callable[[], float] = time.time,
        dialect: Dialect = VIRTUAL_SERVICE,
    ) -> None:
        super().__init__(client, store, dialect, clock)
        self._services = store
        self._rules = rules
        self._unread = unread

    def problems(self, scope: Scope) -> list[Problem]:
        route = self._services.get(scope.namespace, scope.name)
        if route is None:
            return self._elsewhere(scope) or super().problems(scope)
        splits = splits_of(VIRTUAL_SERVICE, route, scope)
        if not splits:
            return _answered_otherwise(route, scope) or super().problems(scope)
        found = super().problems(scope) or _hosts(splits, scope) or self._unbound(route, scope)
        return found or self._policies(splits, scope)

    def _elsewhere(self, scope: Scope) -> list[Problem]:
        """Beside a gateway the VirtualServices of all teams often are in one namespace, which is not the Canary's."""
        at = next((one.namespace for one in self._services if one.name == scope.name), None)
        if at is None:
            return []
        message = f"{scope.route} is in namespace {at}, and routes are moved in the Canary's own, {scope.namespace}"
        way_out = f"let a rule of it delegate to a VirtualService in {scope.namespace}, without hosts, and name that one"
        return [_problem("RouteElsewhere", message, way_out)]

    def _unbound(self, route: RouteObject, scope: Scope) -> list[Problem]:
        """Without hosts it is a delegate, which nobody reads unless another one names it."""
        if (untyped(route.spec) or {}).get("hosts"):
            return []
        if any(route.key in _delegates(other) for other in self._services):
            return []
        message = f"{scope.route} has no hosts, and no VirtualService that Linnet can see delegates to it"
        return [_problem("RouteUnbound", message, "give it hosts, or let another VirtualService delegate to it")]

    def _policies(self, splits: list[Split], scope: Scope) -> list[Problem]:
        """A DestinationRule is of a host: what yours says of the Service does not hold for the canary's."""
        unread = self._unread()
        if unread:
            return [
                _problem("RouteUnread", f"the DestinationRules of {scope.route} cannot be looked at: {unread}", "give Linnet the right")
            ]
        for split in splits:
            canary = split.canary or {}
            wanted = destinationrules.of(self._rules, scope.namespace, scope.stable, _subset(split.stable))
            given = destinationrules.of(self._rules, scope.namespace, scope.canary, _subset(canary))
            if given is None:
                message = f"{scope.route} sends to subset {_subset(canary)} of {scope.canary}, which no DestinationRule has"
                return [_problem("RouteSubsetMissing", message, "leave the subset of the canary's destination out, or write it")]
            lost = sorted(k for k in {**(wanted or {}), **given} if (wanted or {}).get(k) != given.get(k))
            if lost:
                message = f"the DestinationRule of {scope.stable} and that of {scope.canary} differ in trafficPolicy: {', '.join(lost)}"
                way_out = (
                    f"write a DestinationRule for host {scope.canary} with the trafficPolicy that {scope.stable} has"
                    f"{' in subset ' + _subset(split.stable) if _subset(split.stable) else ''}: the canary's Service keeps its name"
                )
                return [_problem("RoutePolicyDiffers", message, way_out)]
        return []


def _hosts(splits: list[Split], scope: Scope) -> list[Problem]:
    """A name with a dot is a whole domain to Istio: `web.shop` is no Service of Kubernetes."""
    for split in splits:
        for backend in (split.stable, split.canary or {}):
            host = str(lookup(backend, "/destination/host", ""))
            if host.endswith((f".{scope.namespace}", ".svc")):
                message = f"{scope.route} names the host {host}, which Istio takes for a whole domain and not for a Service"
                service = host.partition(".")[0]
                return [_problem("RouteHostUnknown", message, f"write {service}, or {service}.{scope.namespace}.svc.cluster.local")]
    return []


def _answered_otherwise(route: RouteObject, scope: Scope) -> list[Problem]:
    """No rule sends to the Service: what they do instead."""
    spec: dict[str, Any] = untyped(route.spec) or {}
    for number, rule in enumerate(spec.get("http") or ()):
        for field, does in INSTEAD.items():
            if field not in rule:
                continue
            to = "/".join(filter(None, ((rule[field] or {}).get("namespace"), (rule[field] or {}).get("name"))))
            message = (
                f"no rule of {scope.route} sends to Service {scope.stable}: http[{number}] {does}{f' to VirtualService {to}' if to else ''}"
            )
            way_out = f"name VirtualService {to} instead" if to else f"give it a rule with a route to {scope.stable}, or name another one"
            return [_problem("RouteWithoutService", message, way_out)]
    return []


def _delegates(route: RouteObject) -> set[tuple[str, str]]:
    """Whom its rules hand requests to."""
    found = set()
    for rule in (untyped(route.spec) or {}).get("http") or ():
        to = rule.get("delegate")
        if isinstance(to, dict):
            found.add((str(to.get("namespace") or route.namespace), str(to.get("name", ""))))
    return found


def _subset(backend: Backend) -> str:
    return str(lookup(backend, "/destination/subset", "") or "")


def _problem(reason: str, message: str, way_out: str) -> Problem:
    return Problem(reason=reason, message=message, way_out=way_out)
