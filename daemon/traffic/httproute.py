"""Gateway API `HTTPRoute`: weights of backendRefs, by JSON Patch on the leaf.

`spec.rules` is an atomic list: server-side apply of one weight would take the whole list from its owner, so each write tests the
backend it is about and changes only its neighbourhood. A rule takes part when it names the stable Service; both backends may be
in Git already (the canary's at weight 0), then only the weights are ours.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from daemon.api.status import RestoreEntry
from daemon.kube import errors, owners
from daemon.kube.client import Client
from daemon.kube.objects import HTTPRoute, condition, untyped
from daemon.kube.patch import Operation, add, pointer, remove, replace, test
from daemon.kube.resources import HTTP_ROUTES
from daemon.kube.store import Store
from daemon.rollout.model import RouteView
from daemon.traffic.router import RouterError, Scope

REPORTED_WITHIN: Final = 0.5  # seconds in which a gateway usually reports on a route

Backend = dict[str, Any]
Rule = tuple[int, list[Backend], Backend, Backend | None]


class HTTPRouteRouter:
    """Reads from the informer's cache, writes single leaves."""

    kind = "HTTPRoute"

    def __init__(self, client: Client, store: Store[HTTPRoute]) -> None:
        self._client = client
        self._store = store

    def _get(self, scope: Scope) -> HTTPRoute:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            raise RouterError(f"HTTPRoute {scope.namespace}/{scope.name} does not exist", reason="RouteMissing")
        return route

    def view(self, scope: Scope, undo: Sequence[RestoreEntry]) -> RouteView | None:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            return None
        pairs = [(stable, canary) for _, _, stable, canary in _rules(route, scope)]
        ours = any(e.kind == self.kind and e.name == scope.name for e in undo)
        weights = {_share(stable, canary) for stable, canary in pairs if canary is not None}
        missing = any(canary is None for _, canary in pairs)
        weight: int | None = max(weights, default=0)
        if (not ours and not weight) or (missing and not weight):
            weight = None
        accepted, problem = _accepted(route)
        if not pairs:
            problem = f"no rule names Service {scope.stable}"
        elif len(weights) > 1 or (missing and weights):
            accepted, problem = False, "its rules disagree about the canary's weight"
        return RouteView(
            kind=self.kind,
            name=scope.name,
            weight=weight,
            accepted=accepted,
            problem=problem,
            manager=_last_manager(route, self._client.field_manager),
        )

    def record(self, scope: Scope) -> list[RestoreEntry]:
        route = self._get(scope)
        recorded = owners.record(route.metadata)
        return [
            RestoreEntry(
                api_version=HTTP_ROUTES.api_version,
                kind=self.kind,
                namespace=scope.namespace,
                name=scope.name,
                pointer=pointer("spec", "rules", number, "backendRefs"),
                original=msgspec.json.encode([b for b in backends if b is stable or b is canary]).decode(),
                owners=recorded,
            )
            for number, backends, stable, canary in _rules(route, scope)
        ]

    async def set_weight(self, scope: Scope, weight: int) -> None:
        route = self._get(scope)
        operations: list[Operation] = []
        for number, backends, stable, canary in _rules(route, scope):
            operations += _weigh(number, backends, stable, canary, scope, weight)
        if operations:
            await self._patch(scope, operations)

    async def restore(self, scope: Scope, undo: Sequence[RestoreEntry]) -> None:
        entries = [e for e in undo if e.kind == self.kind and e.name == scope.name]
        route = self._store.get(scope.namespace, scope.name)
        if route is None or not entries:
            return
        operations: list[Operation] = []
        rules = _rules(route, scope)
        for (number, backends, stable, canary), original in zip(rules, _originals(rules, entries), strict=True):
            operations += _unweigh(number, backends, stable, canary, original)
        written = None
        if operations:
            await self._patch(scope, operations)
            written = await self._reported(scope)
        try:
            await owners.give_back(self._client, HTTP_ROUTES, scope.namespace, scope.name, entries[0].owners or "[]", written=written)
        except (errors.PatchTestFailed, errors.Conflict, TimeoutError) as e:
            raise RouterError(f"the owners of HTTPRoute {scope.name} are not given back yet: {e}", reason="Moved", retryable=True) from e

    async def _reported(self, scope: Scope) -> HTTPRoute | None:
        """The route once its parents reported on our write: their report would make the guarded write that follows fail."""
        changed = asyncio.Event()

        def note(_: HTTPRoute | None, new: HTTPRoute | None) -> None:
            if new is not None and new.key == (scope.namespace, scope.name):
                changed.set()

        stop = self._store.add_handler(note, replay=False)
        try:
            async with asyncio.timeout(REPORTED_WITHIN):
                while not ((route := self._store.get(scope.namespace, scope.name)) and _accepted(route)[0]):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return None
        finally:
            stop()
        return route

    async def _patch(self, scope: Scope, operations: Sequence[Operation]) -> None:
        try:
            written = await self._client.json_patch(HTTP_ROUTES, scope.namespace, scope.name, operations)
        except (errors.PatchTestFailed, errors.Conflict) as e:
            raise RouterError(f"HTTPRoute {scope.namespace}/{scope.name} changed meanwhile: {e}", reason="Moved", retryable=True) from e
        self._store.put(written)


def _rules(route: HTTPRoute, scope: Scope) -> list[Rule]:
    """(rule number, its backends, stable's, the canary's) for each rule that names the stable Service."""
    found = []
    for number, rule in enumerate(untyped(route.spec.rules) or []):
        backends: list[Backend] = rule.get("backendRefs") or []
        stable = next((b for b in backends if _names(b, scope.stable, scope)), None)
        if stable is not None:
            found.append((number, backends, stable, next((b for b in backends if _names(b, scope.canary, scope)), None)))
    return found


def _originals(rules: Sequence[Rule], entries: Sequence[RestoreEntry]) -> list[list[Backend]]:
    """What was recorded for each of these rules.

    Rules have no identity. As long as as many name the Service as were recorded, they are the same in the same order, wherever
    somebody has put others between them; else their place decides, and what was at none of the places is like the first.
    """
    recorded = {e.pointer: msgspec.json.decode(e.original or "[]", type=list[Backend]) for e in entries}
    if len(recorded) == len(rules):
        return list(recorded.values())
    first = next(iter(recorded.values()))
    return [recorded.get(pointer("spec", "rules", number, "backendRefs"), first) for number, *_ in rules]


def _names(backend: Mapping[str, Any], service: str, scope: Scope) -> bool:
    if backend.get("kind", "Service") != "Service" or backend.get("namespace", scope.namespace) != scope.namespace:
        return False
    return backend.get("name") == service and (scope.port is None or backend.get("port") == scope.port)


def several_backends(route: HTTPRoute, scope: Scope) -> bool:
    """Whether a rule splits between more than stable and canary: which share is whose cannot be told."""
    return any(b is not stable and b is not canary for _, backends, stable, canary in _rules(route, scope) for b in backends)


def names_service(route: HTTPRoute, scope: Scope) -> bool:
    return bool(_rules(route, scope))


def _weight(backend: Backend) -> int:
    return int(backend.get("weight", 1))


def _share(stable: Backend, canary: Backend | None) -> int:
    if canary is None:
        return 0
    total = _weight(stable) + _weight(canary)
    return round(100 * _weight(canary) / total) if total else 0


def _weigh(number: int, backends: list[Backend], stable: Backend, canary: Backend | None, scope: Scope, weight: int) -> list[Operation]:
    if canary is not None and _weight(canary) == weight and (weight == 0 or _weight(stable) == 100 - weight):
        return []
    path = pointer("spec", "rules", number, "backendRefs")
    at = backends.index(stable)
    guard = test(f"{path}/{at}/name", scope.stable)
    operations = [guard, add(f"{path}/{at}/weight", 100 - weight)]
    if canary is None:
        copy = {k: v for k, v in stable.items() if k not in ("weight", "filters")} | {"name": scope.canary, "weight": weight}
        if stable.get("filters"):
            copy["filters"] = stable["filters"]
        return [*operations, add(f"{path}/-", copy)]
    there = backends.index(canary)
    return [*operations, test(f"{path}/{there}/name", scope.canary), add(f"{path}/{there}/weight", weight)]


def _unweigh(number: int, backends: list[Backend], stable: Backend, canary: Backend | None, original: list[Backend]) -> list[Operation]:
    path = pointer("spec", "rules", number, "backendRefs")
    before = next((b for b in original if b.get("name") == stable["name"]), {})
    kept = next((b for b in original if canary is not None and b.get("name") == canary["name"]), None)
    at = backends.index(stable)
    operations: list[Operation] = [test(f"{path}/{at}/name", stable["name"]), *_put_weight(f"{path}/{at}", stable, before)]
    if canary is not None:
        there = backends.index(canary)
        operations.append(test(f"{path}/{there}/name", canary["name"]))
        operations += [remove(f"{path}/{there}")] if kept is None else _put_weight(f"{path}/{there}", canary, kept)
    return operations if any(o.op != "test" for o in operations) else []


def _put_weight(path: str, now: Backend, before: Backend) -> list[Operation]:
    if now.get("weight") == before.get("weight"):
        return []
    return [remove(f"{path}/weight")] if "weight" not in before else [replace(f"{path}/weight", before["weight"])]


def _accepted(route: HTTPRoute) -> tuple[bool, str]:
    """Whether every parent reports this generation, accepted and with all references resolved; else what they say."""
    wanted = len(route.spec.parent_refs or ())
    parents = route.status.parents or ()
    if len(parents) < wanted or not parents:
        return False, "no gateway has reported on it yet"
    for parent in parents:
        for kind in ("Accepted", "ResolvedRefs"):
            found = condition(parent.conditions, kind)
            if found is None or found.observed_generation < route.metadata.generation:
                return False, f"parent {parent.parent_ref.name} has not reported on generation {route.metadata.generation} yet"
            if found.status != "True":
                return False, f"parent {parent.parent_ref.name}: {found.reason}: {found.message}"
    return True, ""


def _last_manager(route: HTTPRoute, own: str) -> str:
    """Who wrote the rules last, us aside."""
    entries = untyped(route.metadata.managed_fields) or []
    owning = [
        e
        for e in entries
        if e.get("manager") != own and not e.get("subresource") and "f:rules" in (e.get("fieldsV1") or {}).get("f:spec", {})
    ]
    owning.sort(key=lambda e: e.get("time") or "")
    return str(owning[-1]["manager"]) if owning else ""
