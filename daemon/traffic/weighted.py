"""The router of every kind that splits requests over a list of weighted backends, whatever its dialect.

Such a list is atomic in nearly every schema: server-side apply of one weight would take the whole list from its owner. So each write is
a JSON Patch that tests the backend it is about and changes only its leaf. Both backends may be in Git already (the canary's at weight
0), then only the weights are ours.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from daemon.api.status import RestoreEntry
from daemon.kube import errors, owners
from daemon.kube.client import Client
from daemon.kube.patch import Operation, parts_of
from daemon.kube.store import Store
from daemon.rollout.model import Problem, RouteView
from daemon.rollout.pick import Pick
from daemon.traffic import bucketing, picking
from daemon.traffic.dialect import Dialect, Split, recorded, service_of, share, splits_of, unweigh, weigh
from daemon.traffic.router import RouteObject, RouterError, Scope
from daemon.traffic.settling import Settling, last_manager

REPORTED_WITHIN: Final = 0.5  # seconds in which a gateway usually reports on a route


class WeightedRouter:
    """Reads from the informer's cache, writes single leaves."""

    def __init__(self, client: Client, store: Store[RouteObject], dialect: Dialect, clock: Callable[[], float] = time.time) -> None:
        self.kind = dialect.kind
        self._client = client
        self._store = store
        self._dialect = dialect
        self._settling = Settling(dialect.settle, clock)

    def _get(self, scope: Scope) -> RouteObject:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            raise RouterError(f"{self.kind} {scope.namespace}/{scope.name} does not exist", reason="RouteMissing")
        return route

    def names(self, scope: Scope) -> bool:
        route = self._store.get(scope.namespace, scope.name)
        return route is not None and bool(splits_of(self._dialect, route, scope))

    def problems(self, scope: Scope) -> list[Problem]:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            way_out = "create it, or correct spec.traffic.routes"
            return [Problem(reason="RouteMissing", message=f"{scope.route} does not exist", way_out=way_out)]
        splits = splits_of(self._dialect, route, scope)
        if not splits:
            message = f"no rule of {scope.route} names Service {scope.stable}"
            return [Problem(reason="RouteWithoutService", message=message, way_out="add it as a backend, or name the right route")]
        for picks, way_out in ((scope.picks, ""), (bucketing.widest(scope), bucketing.INSTEAD)):
            found = picking.fault(self._dialect, splits, route, self._store, scope, picks) if picks else None
            if found is not None:
                return [Problem(reason="RouteCannotPick", message=found[0], way_out=way_out or found[1])]
        if any(split.others(self._dialect) for split in splits):
            more = f"splits a rule between more than {scope.stable} and {scope.canary}: such a split is not in this version"
            return [Problem(reason="RouteSplitAlready", message=f"{scope.route} {more}", way_out="give the Service a rule of its own")]
        return []

    def view(self, scope: Scope, undo: Sequence[RestoreEntry]) -> RouteView | None:
        route = self._store.get(scope.namespace, scope.name)
        if route is None:
            return None
        picks = picking.picks_here(self._dialect, scope, _entries(undo, scope))
        splits = self._splits(route, scope, picks=picks)
        ours = bool(_entries(undo, scope))
        weights = {share(self._dialect, split) for split in splits if split.canary is not None}
        missing = any(split.canary is None for split in splits)
        weight: int | None = max(weights, default=0)
        if (not ours and not weight) or (missing and not weight):
            weight = None
        picked = picking.picked(self._dialect, splits, route, scope) if picks else ""
        if scope.buckets:
            weight, picked = bucketing.seen(self._dialect, splits, route, scope, weight, picked)
        accepted, problem = self._accepted(route)
        if not splits:
            problem = f"no rule names Service {scope.stable}"
        elif len(weights) > 1 or (missing and weights):
            accepted, problem = False, "its rules disagree about the canary's weight"
        return RouteView(
            kind=self.kind,
            name=scope.name,
            weight=weight,
            accepted=accepted,
            problem=problem,
            manager=self._last_manager(route),
            picked=picked,
        )

    def _splits(self, route: RouteObject, scope: Scope, *, picks: bool) -> list[Split]:
        """The owner's own: a rule of ours that copies names the stable Service as well."""
        found = splits_of(self._dialect, route, scope)
        mine = (
            {f"{self._dialect.rules.path}/{n}/" for n, _ in picking.ours(self._dialect, route, scope)}
            if picks and self._dialect.rules
            else ()
        )
        return [s for s in found if not s.path.startswith(tuple(mine))] if mine else found

    def record(self, scope: Scope) -> list[RestoreEntry]:
        route = self._get(scope)
        picks = picking.picks_here(self._dialect, scope)
        leaves: list[tuple[str, str | None]] = [(s.path, recorded(s)) for s in self._splits(route, scope, picks=picks)]
        if picks and self._dialect.rules is not None and leaves:
            leaves.append((self._dialect.rules.path, None))  # there may be rules of ours in it, and none was there before
        return [
            RestoreEntry(
                api_version=self._dialect.resource.api_version,
                kind=self.kind,
                namespace=scope.namespace,
                name=scope.name,
                pointer=path,
                original=original,
                owners=owners.record(route.metadata),
            )
            for path, original in leaves
        ]

    def stable_of(self, entry: RestoreEntry) -> str:
        return service_of(self._dialect, entry)

    async def set_weight(self, scope: Scope, weight: int, pick: Pick | None = None, *, rehearse: bool = False) -> None:
        route = self._get(scope)
        picks = picking.picks_here(self._dialect, scope)
        splits = self._splits(route, scope, picks=picks)
        weight, pick = bucketing.spelled(scope, weight, pick)
        operations = [o for split in splits for o in weigh(self._dialect, split, scope, weight)]
        if picks:
            operations += picking.write(self._dialect, splits, route, scope, pick)
        if operations:
            await self._patch(scope, operations, rehearse=rehearse)

    async def restore(self, scope: Scope, undo: Sequence[RestoreEntry]) -> None:
        entries = _entries(undo, scope)
        route = self._store.get(scope.namespace, scope.name)
        if route is None or not entries:
            return
        picks = picking.picks_here(self._dialect, scope, entries)
        splits = self._splits(route, scope, picks=picks)
        operations = unweigh(self._dialect, splits, [e for e in entries if e.original is not None])
        if picks:
            operations += picking.write(self._dialect, splits, route, scope, None)
        written = None
        if operations:
            await self._patch(scope, operations)
            written = await self._reported(scope)
        resource = self._dialect.resource
        try:
            await owners.give_back(self._client, resource, scope.namespace, scope.name, entries[0].owners or "[]", written=written)
        except (errors.PatchTestFailed, errors.Conflict, TimeoutError) as e:
            raise RouterError(f"the owners of {scope.route} are not given back yet: {e}", reason="Moved", retryable=True) from e

    async def _reported(self, scope: Scope) -> RouteObject | None:
        """The route once its parents reported on our write: their report would make the guarded write that follows fail."""
        says = self._dialect.accepted
        if says is None:
            return self._store.get(scope.namespace, scope.name)
        changed = asyncio.Event()

        def note(_: RouteObject | None, new: RouteObject | None) -> None:
            if new is not None and new.key == (scope.namespace, scope.name):
                changed.set()

        stop = self._store.add_handler(note, replay=False)
        try:
            async with asyncio.timeout(REPORTED_WITHIN):
                while not ((route := self._store.get(scope.namespace, scope.name)) and says(route)[0]):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return None
        finally:
            stop()
        return route

    async def _patch(self, scope: Scope, operations: Sequence[Operation], *, rehearse: bool = False) -> None:
        try:
            written = await self._client.json_patch(
                self._dialect.resource, scope.namespace, scope.name, operations, dry_run=rehearse or None
            )
        except (errors.PatchTestFailed, errors.Conflict) as e:
            what = f"{self.kind} {scope.namespace}/{scope.name}"
            raise RouterError(f"{what} changed meanwhile: {e}", reason="Moved", retryable=True) from e
        if not rehearse:
            self._store.put(written)

    def _accepted(self, route: RouteObject) -> tuple[bool, str]:
        """What its status says of this generation; without a status, whether the time has passed that its gateway needs."""
        if self._dialect.accepted is not None:
            return self._dialect.accepted(route)
        return self._settling.of(route.key, route.metadata.generation, route)

    def _last_manager(self, route: RouteObject) -> str:
        """Who wrote the backends last, us aside."""
        prefixes = [_until_list(parts_of(pattern)) for pattern in self._dialect.backends]
        return last_manager(route, self._client.field_manager, prefixes)


def _entries(undo: Sequence[RestoreEntry], scope: Scope) -> list[RestoreEntry]:
    return [e for e in undo if e.kind == scope.kind and e.name == scope.name]


def _until_list(parts: Sequence[str]) -> list[str]:
    """The part of a pattern before its first list: lists are owned whole."""
    return list(parts[: parts.index("*")] if "*" in parts else parts)
