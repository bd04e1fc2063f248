"""A second `Ingress` of ours with the canary annotations of ingress-nginx, beside the owner's, which is never written.

Unlike other routes an Ingress has no weights: a controller that obeys these annotations sends a share of what meets a host and path of
the owner's Ingress to the backend that another one, marked as its canary, has for the same host and path. So the split is an object of
our own, to be made and deleted; and because to a controller that does not know the marks it would be an Ingress like any other, the
class has to be of one that does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from daemon.api import names
from daemon.api.status import RestoreEntry
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.objects import untyped
from daemon.kube.patch import Operation, add, pointer, replace, test
from daemon.kube.resources import custom
from daemon.kube.store import Store
from daemon.rollout.model import Problem, RouteView
from daemon.rollout.pick import ELSE, Pick
from daemon.traffic.bucketing import INSTEAD, widest
from daemon.traffic.ingressrules import Path, clashes, paths_of, rules_for
from daemon.traffic.router import RouteObject, RouterError, Scope
from daemon.traffic.settling import Settling, last_manager

INGRESSES: Final = custom("networking.k8s.io", "v1", "ingresses", "Ingress", RouteObject)
INGRESS_CLASSES: Final = custom("networking.k8s.io", "v1", "ingressclasses", "IngressClass", RouteObject, namespaced=False)
OBEYING: Final = ("k8s.io/ingress-nginx", "higress.io/higress-controller")  # Traefik's provider answers for the first
PREFIX: Final = "nginx.ingress.kubernetes.io/"
CANARY, WEIGHT = f"{PREFIX}canary", f"{PREFIX}canary-weight"
HEADER, VALUE, COOKIE = f"{PREFIX}canary-by-header", f"{PREFIX}canary-by-header-value", f"{PREFIX}canary-by-cookie"
AFFINITY, BEHAVIOUR = f"{PREFIX}affinity", f"{PREFIX}affinity-canary-behavior"
ROLE: Final = "canary-ingress"
ALWAYS: Final = "always"
SETTLE: Final = 5.0  # ingress-nginx reads at most every 3.3 s, Traefik every 2 s, where nobody says another
NAME_LIMIT: Final = 253


class IngressRouter:
    """Reads both objects from the informer's cache; writes only its own."""

    kind = INGRESSES.kind

    def __init__(
        self,
        client: Client,
        store: Store[RouteObject],
        classes: Store[RouteObject],
        unread: Callable[[], str] = lambda: "",  # why the classes cannot be looked at
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._store = store
        self._classes = classes
        self._unread = unread
        self._settling = Settling(SETTLE, clock)

    def names(self, scope: Scope) -> bool:
        route = self._store.get(scope.namespace, scope.name)
        return route is not None and bool(paths_of(route, scope.stable, scope.port))

    def problems(self, scope: Scope) -> list[Problem]:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            return [_problem("RouteMissing", f"{scope.route} does not exist", "create it, or correct spec.traffic.routes")]
        found = _marked(route, scope) or self._class(route, scope) or _backends(route, scope)
        if found is None:
            found = self._taken(route, scope) or next((p for p in map(_unpickable, (*scope.picks, *widest(scope))) if p is not None), None)
        return [] if found is None else [found]

    def _class(self, route: RouteObject, scope: Scope) -> Problem | None:
        name = (untyped(route.spec) or {}).get("ingressClassName")
        way_out = "set spec.ingressClassName to a class whose controller knows them, or name a route of another kind"
        if not name:
            return _problem("RouteClassUnknown", f"{scope.route} names no class: who obeys its canary annotations is not known", way_out)
        unread = self._unread()
        if unread:
            return _problem("RouteClassUnread", f"IngressClass {name} cannot be looked at: {unread}", "give Linnet the right to read it")
        found = self._classes.get("", name)
        controller = "" if found is None else (untyped(found.spec) or {}).get("controller", "")
        if controller in OBEYING:
            return None
        what = f"is of {controller}, which is not known to obey canary annotations" if found is not None else "does not exist"
        return _problem("RouteClassUnknown", f"IngressClass {name} of {scope.route} {what}", way_out)

    def _taken(self, route: RouteObject, scope: Scope) -> Problem | None:
        """Whether another Ingress is in the way: of our name, or for the same host and path."""
        twin = self._store.get(scope.namespace, twin_name(scope))
        if twin is not None and not _is_ours(twin):
            message = f"Ingress {twin.name} exists and was not made by Linnet, which needs the name for the canary's"
            return _problem("RouteTaken", message, "rename it")
        if len(twin_name(scope)) > NAME_LIMIT:
            return _problem("RouteTaken", f"the name {twin_name(scope)} is too long for an Ingress", "give the Ingress a shorter name")
        ours = paths_of(route, scope.stable, scope.port)
        others = [o for o in self._store.by("namespace", scope.namespace) if o.key != route.key and not _is_ours(o)]
        clash = clashes(route, ours, others)
        if clash:
            return _problem("RouteAmbiguous", f"{scope.route}: {clash}", "let one rule of one Ingress speak for each host and path")
        return None

    def view(self, scope: Scope, undo: Sequence[RestoreEntry]) -> RouteView | None:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            return None
        twin = self._twin(scope)
        weight = None if twin is None else _weight(twin)
        marks = {} if twin is None else _picking(twin)
        said = None if twin is None else (twin.metadata.uid, weight, marks, bytes(twin.spec))
        taken, problem = self._settling.of((scope.namespace, twin_name(scope)), said, twin)
        paths = paths_of(route, scope.stable, scope.port)
        if not paths:
            problem = f"no rule names Service {scope.stable}"
        elif twin is not None and (untyped(twin.spec) or {}).get("rules") != rules_for(paths, scope.canary):
            taken, problem = False, f"the rules of Ingress {twin.name} are not those of {scope.route}"
        own = self._client.field_manager
        return RouteView(
            kind=self.kind,
            name=scope.name,
            weight=weight,
            accepted=taken,
            problem=problem,
            manager="" if twin is None else last_manager(twin, own, [["metadata", "annotations"], ["spec", "rules"]]),
            picked="" if not marks else next((p.words for p in scope.picks if _marks(p) == marks), ELSE),
        )

    def record(self, scope: Scope) -> list[RestoreEntry]:
        """Nothing of the owner's is written; the line says that there is an Ingress of ours, and for which Service."""
        if self._store.get(scope.namespace, scope.name) is None:
            raise RouterError(f"{scope.route} does not exist", reason="RouteMissing")
        original = msgspec.json.encode(scope.stable).decode()
        made = {"api_version": INGRESSES.api_version, "kind": self.kind, "namespace": scope.namespace, "name": scope.name}
        return [RestoreEntry(**made, pointer="/spec/rules", original=original)]

    def stable_of(self, entry: RestoreEntry) -> str:
        return msgspec.json.decode(entry.original or '""', type=str)

    async def set_weight(self, scope: Scope, weight: int, pick: Pick | None = None, *, rehearse: bool = False) -> None:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            raise RouterError(f"{self.kind} {scope.namespace}/{scope.name} does not exist", reason="RouteMissing")
        paths = paths_of(route, scope.stable, scope.port)
        if not paths:
            raise RouterError(f"no rule of {scope.route} names Service {scope.stable}", reason="RouteWithoutService")
        twin = self._store.get(scope.namespace, twin_name(scope))
        if twin is None:
            await self._create(scope, _render(route, scope, paths, weight, pick), rehearse=rehearse)
        elif not _is_ours(twin):
            raise RouterError(f"Ingress {twin.name} exists and was not made by Linnet", reason="RouteTaken")
        else:
            wanted = {CANARY: "true", WEIGHT: str(weight)} | _marks(pick)
            await self._change(scope, twin, wanted, rules_for(paths, scope.canary), rehearse=rehearse)

    async def _create(self, scope: Scope, body: Mapping[str, Any], *, rehearse: bool) -> None:
        try:
            made = await self._client.create(INGRESSES, scope.namespace, body, dry_run=rehearse or None)
        except errors.AlreadyExists as e:
            raise RouterError(f"Ingress {twin_name(scope)} was made meanwhile", reason="Moved", retryable=True) from e
        if not rehearse:
            self._store.put(made)

    async def _change(
        self, scope: Scope, twin: RouteObject, own: Mapping[str, str], rules: list[dict[str, Any]], *, rehearse: bool
    ) -> None:
        operations: list[Operation] = []
        marks, at = twin.metadata.annotations or {}, pointer("metadata", "annotations")
        wanted = {key: value for key, value in marks.items() if key not in (HEADER, VALUE, COOKIE)} | dict(own)
        if marks != wanted:
            operations = [test(at, marks), replace(at, wanted)] if marks else [add(at, wanted)]
        spec = untyped(twin.spec) or {}
        if spec.get("rules") != rules:
            operations += [test("/spec/rules", spec.get("rules")), replace("/spec/rules", rules)]
        if not operations:
            return
        try:
            written = await self._client.json_patch(INGRESSES, scope.namespace, twin.name, operations, dry_run=rehearse or None)
        except (errors.PatchTestFailed, errors.Conflict, errors.NotFound) as e:
            raise RouterError(f"Ingress {twin.name} changed meanwhile: {e}", reason="Moved", retryable=True) from e
        if not rehearse:
            self._store.put(written)

    async def restore(self, scope: Scope, undo: Sequence[RestoreEntry]) -> None:
        """Our Ingress is deleted; the owner's was never touched."""
        twin = self._twin(scope)
        if twin is None:
            return
        try:
            await self._client.delete(INGRESSES, scope.namespace, twin.name, uid=twin.metadata.uid)
        except errors.Conflict as e:
            raise RouterError(f"Ingress {twin.name} is another one by now: {e}", reason="Moved", retryable=True) from e
        self._store.drop(twin.key)

    def _twin(self, scope: Scope) -> RouteObject | None:
        found = self._store.get(scope.namespace, twin_name(scope))
        return found if found is not None and _is_ours(found) else None


def twin_name(scope: Scope) -> str:
    """One for each Ingress and Service: two Canaries may have paths in one Ingress."""
    return f"{scope.name}-{scope.canary}"


def _is_ours(item: RouteObject) -> bool:
    return item.metadata.label(names.ROLE) == ROLE


def _weight(twin: RouteObject) -> int | None:
    written = twin.metadata.annotation(WEIGHT)
    return int(written) if written.isdecimal() and twin.metadata.annotation(CANARY) == "true" else None


def _picking(twin: RouteObject) -> dict[str, str]:
    """The marks by which requests are told apart."""
    marks = twin.metadata.annotations or {}
    return {key: value for key, value in marks.items() if key in (HEADER, VALUE, COOKIE)} if marks.get(CANARY) == "true" else {}


def _marks(pick: Pick | None) -> dict[str, str]:
    if pick is None:
        return {}
    found: dict[str, str] = {}
    for name, value in pick.headers:
        found |= {HEADER: name, VALUE: value}
    for name, _ in pick.cookies:
        found |= {COOKIE: name}
    return found


def _unpickable(pick: Pick) -> Problem | None:
    """The dialect knows one header with its value, or one cookie that says `always`; both together would be either."""
    if pick.buckets:
        return _problem("RouteCannotPick", f"the canary annotations of an Ingress know no {pick.words}", INSTEAD)
    if pick.mirror or pick.query:
        message = f"the canary annotations of an Ingress know no {pick.words}"
    elif len(pick.headers) + len(pick.cookies) > 1:
        message = f"the canary annotations of an Ingress know one header or one cookie, not {pick.words}"
    elif any(value != ALWAYS for _, value in pick.cookies):
        message = f"canary-by-cookie of an Ingress knows a cookie by the value {ALWAYS} alone, not {pick.words}"
    else:
        return None
    return _problem("RouteCannotPick", message, "match by one header, or name a route of another kind")


def _render(route: RouteObject, scope: Scope, paths: Sequence[Path], weight: int, pick: Pick | None) -> dict[str, Any]:
    """Owned by the owner's Ingress, without which a canary's means nothing: deleted with it."""
    owner = {"apiVersion": INGRESSES.api_version, "kind": INGRESSES.kind, "name": route.name, "uid": route.metadata.uid}
    metadata = {
        "name": twin_name(scope),
        "labels": {names.ROLE: ROLE},
        "annotations": {CANARY: "true", WEIGHT: str(weight)} | _marks(pick),
        "ownerReferences": [owner],
    }
    spec: dict[str, Any] = {"rules": rules_for(paths, scope.canary)}
    name = (untyped(route.spec) or {}).get("ingressClassName")
    return {"metadata": metadata, "spec": spec | ({"ingressClassName": name} if name else {})}


def _marked(route: RouteObject, scope: Scope) -> Problem | None:
    """What its annotations say against a canary beside it."""
    if route.metadata.annotation(CANARY) == "true":
        return _problem("RouteIsCanary", f"{scope.route} is itself the canary of another Ingress", "name that other one")
    if route.metadata.annotation(AFFINITY) and route.metadata.annotation(BEHAVIOUR, "sticky") != "legacy":
        message = f"{scope.route} has session affinity: users who met the canary would stay with it at weight 0"
        return _problem("RouteSticky", message, f"set its annotation {BEHAVIOUR} to legacy")
    return None


def _backends(route: RouteObject, scope: Scope) -> Problem | None:
    spec = untyped(route.spec) or {}
    default = ((spec.get("defaultBackend") or {}).get("service") or {}).get("name")
    if default == scope.stable:
        message = f"the default backend of {scope.route} is Service {scope.stable}, and a canary stands beside rules alone"
        return _problem("RouteDefaultBackend", message, "write it as a rule with the path /")
    if not paths_of(route, scope.stable, scope.port):
        message = f"no rule of {scope.route} names Service {scope.stable}"
        return _problem("RouteWithoutService", message, "add it as a backend, or name the right route")
    return None


def _problem(reason: str, message: str, way_out: str) -> Problem:
    return Problem(reason=reason, message=message, way_out=way_out)
