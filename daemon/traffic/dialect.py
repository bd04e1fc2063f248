"""How a kind of route spells a split: where its lists of backends are, and what a backend calls its Service and its weight.

Nearly every gateway divides requests over a list of weighted backends; they differ in the path of the list and the names in it. So a
router is mostly such a description, and what is common (find the split, change the leaf, put it back) is written once, here and in
`weighted`. Pure: objects in, operations of a JSON Patch out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from daemon.api.status import RestoreEntry
from daemon.kube.objects import untyped
from daemon.kube.patch import Operation, add, lookup, parts_of, pointer, remove, replace, test
from daemon.kube.resources import Resource
from daemon.rollout.pick import Pick
from daemon.traffic.router import RouteObject, Scope

Backend = dict[str, Any]
Rule = dict[str, Any]
Accepted = Callable[[RouteObject], tuple[bool, str]]
CLUSTER_LOCAL: Final = (".svc", ".svc.")


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """A match as gateways compare two of them that fit the same request: the path first, then method, headers, query."""

    path: str
    method: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()

    @property
    def weight(self) -> tuple[bool, int, int]:
        return bool(self.method), len(self.headers), len(self.query)

    def meets(self, other: Rank) -> bool:
        """Whether one request can fit both."""
        if self.path != other.path or (self.method and other.method and self.method != other.method):
            return False
        return all(
            dict(b).get(name, value) == value for a, b in ((self.headers, other.headers), (self.query, other.query)) for name, value in a
        )


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules around the lists of backends: a copy of one that names the stable Service speaks for some of its requests alone."""

    path: str  # of the list of rules
    backends: str  # the field of a rule that lists its backends
    narrow: Callable[
        [Rule, Pick, Backend, Backend], Rule | None
    ]  # the copy for these; stable's and the canary's backend. None: none of its requests
    ranks: Callable[[Rule], Sequence[Rank]]  # what its matches weigh against others
    copies: Callable[[Rule], Sequence[str]]  # Services that get copies by it
    cannot: Callable[[RouteObject, Pick], str]  # why not, on this route
    hosts: Callable[[RouteObject], frozenset[str]]  # whose requests it is about; empty: everybody's
    limit: int = 0  # how many rules a route may have; 0: any number


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One kind's way to write a split. Paths are JSON pointers; `*` in `backends` is each entry of a list."""

    resource: Resource[RouteObject]
    backends: tuple[str, ...]
    service: str = "/name"
    weight: str = "weight"
    port: str = "/port"
    unset: int = 1  # what a backend without a weight counts, beside others
    even: bool = False  # where all weights are 0, everyone gets the same
    aside: str = ""  # a field that marks a backend without a share of its own (a mirror)
    hosts: bool = False  # a Service may be written as a host: web.shop.svc.cluster.local
    own: tuple[str, ...] = ()  # fields of a backend that are its Service's alone: the canary's, made after it, has none of them
    rules: Rules | None = None  # how it says which requests reach the canary beside its weight; None where it cannot
    accepted: Accepted | None = None  # what its status says; None where it has none, then `settle` is waited for
    settle: float = 0.0

    @property
    def kind(self) -> str:
        return self.resource.kind


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """One list that requests to the stable Service are divided over."""

    path: str
    backends: list[Backend]
    stable: Backend
    canary: Backend | None = None

    def others(self, dialect: Dialect) -> list[Backend]:
        """Backends that are neither, and take a share all the same."""
        return [b for b in self.backends if b is not self.stable and b is not self.canary and not (dialect.aside and b.get(dialect.aside))]


def splits_of(dialect: Dialect, route: RouteObject, scope: Scope) -> list[Split]:
    """Every list that names the stable Service, in the order of the object."""
    document = {"spec": untyped(route.spec) or {}}
    found = []
    for pattern in dialect.backends:
        for path, backends in _lists(document, parts_of(pattern)):
            stable = _find(dialect, backends, scope.stable, scope)
            if stable is not None:
                found.append(Split(path=path, backends=backends, stable=stable, canary=_find(dialect, backends, scope.canary, scope)))
    return found


def _lists(here: Any, parts: Sequence[str], at: tuple[str | int, ...] = ()) -> Iterator[tuple[str, list[Backend]]]:
    if not parts:
        if isinstance(here, list) and all(isinstance(b, dict) for b in here):
            yield pointer(*at), here
    elif parts[0] == "*":
        for number, entry in enumerate(here if isinstance(here, list) else ()):
            yield from _lists(entry, parts[1:], (*at, number))
    elif isinstance(here, Mapping) and parts[0] in here:
        yield from _lists(here[parts[0]], parts[1:], (*at, parts[0]))


def _find(dialect: Dialect, backends: list[Backend], service: str, scope: Scope) -> Backend | None:
    return next((b for b in backends if not (dialect.aside and b.get(dialect.aside)) and names_service(dialect, b, service, scope)), None)


def names_service(dialect: Dialect, backend: Backend, service: str, scope: Scope) -> bool:
    """Whether a backend is this Service, at the port that is split."""
    if backend.get("kind", "Service") != "Service" or backend.get("namespace", scope.namespace) != scope.namespace:
        return False
    if scope.port is not None and lookup(backend, dialect.port, None) != scope.port:
        return False
    written = lookup(backend, dialect.service, None)
    return written == service or (dialect.hosts and isinstance(written, str) and _is_host_of(written, service, scope.namespace))


def _is_host_of(host: str, service: str, namespace: str) -> bool:
    head = f"{service}.{namespace}"
    tail = host.removeprefix(head)
    return host.startswith(head) and (not tail or tail == CLUSTER_LOCAL[0] or tail.startswith(CLUSTER_LOCAL[1]))


def share(dialect: Dialect, split: Split) -> int:
    """Percent of the split that goes to the canary."""
    if split.canary is None:
        return 0
    stable, canary = _weight(dialect, split.stable), _weight(dialect, split.canary)
    if not stable + canary:
        return 50 if dialect.even else 0
    return round(100 * canary / (stable + canary))


def _weight(dialect: Dialect, backend: Backend) -> int:
    return int(backend.get(dialect.weight, dialect.unset))


def weigh(dialect: Dialect, split: Split, scope: Scope, weight: int) -> list[Operation]:
    """What makes the canary's share `weight`; nothing where it is so."""
    stable, canary = split.stable, split.canary
    if canary is not None and _weight(dialect, canary) == weight and _weight(dialect, stable) == 100 - weight:
        return []
    if canary is not None and weight == 0 == _weight(dialect, canary) and _weight(dialect, stable):
        return []
    at = _place(split, stable)
    operations = [_guard(dialect, at, stable), add(f"{at}/{dialect.weight}", 100 - weight)]
    if canary is None:
        twin = twin_of(dialect, stable, scope)
        twin[dialect.weight] = weight
        return [*operations, add(f"{split.path}/-", twin)]
    there = _place(split, canary)
    return [*operations, _guard(dialect, there, canary), add(f"{there}/{dialect.weight}", weight)]


def twin_of(dialect: Dialect, stable: Backend, scope: Scope) -> Backend:
    """The canary's backend, made after stable's."""
    twin = copy.deepcopy(stable)
    _rename(dialect, twin, scope)
    for field in dialect.own:
        _drop(twin, parts_of(field))
    return twin


def _rename(dialect: Dialect, backend: Backend, scope: Scope) -> None:
    """The stable Service's name gives way to the canary's; what follows it (a domain) stays."""
    *way, last = parts_of(dialect.service)
    here = backend
    for part in way:
        here = here[part]
    here[last] = scope.canary + str(here[last]).removeprefix(scope.stable)


def _drop(here: Backend, parts: Sequence[str]) -> None:
    *way, last = parts
    for part in way:
        here = here.get(part, {})
    here.pop(last, None)


def _place(split: Split, backend: Backend) -> str:
    return f"{split.path}/{next(n for n, b in enumerate(split.backends) if b is backend)}"


def _guard(dialect: Dialect, at: str, backend: Backend) -> Operation:
    """Refuse the patch unless the backend is still at its place."""
    return test(f"{at}{dialect.service}", lookup(backend, dialect.service))


def recorded(split: Split) -> str:
    """What a restore of this split needs to know."""
    return msgspec.json.encode([b for b in split.backends if b is split.stable or b is split.canary]).decode()


def service_of(dialect: Dialect, entry: RestoreEntry) -> str:
    """The stable Service of a recorded split: the shorter name, since the canary's is made of it."""
    backends = msgspec.json.decode(entry.original or "[]", type=list[Backend])
    hosts = [str(lookup(b, dialect.service, "")) for b in backends]
    written = min(hosts, key=len, default="unknown")
    return written.partition(".")[0] if dialect.hosts else written


def unweigh(dialect: Dialect, splits: Sequence[Split], entries: Sequence[RestoreEntry]) -> list[Operation]:
    """Every leaf of ours as it was recorded."""
    operations: list[Operation] = []
    for split, original in zip(splits, _originals(splits, entries), strict=True):
        operations += _put_back(dialect, split, original)
    return operations


def _originals(splits: Sequence[Split], entries: Sequence[RestoreEntry]) -> list[list[Backend]]:
    """What was recorded for each of these splits.

    Rules have no identity. As long as as many name the Service as were recorded, they are the same in the same order, wherever
    somebody has put others between them; else their place decides, and what was at none of the places is like the first.
    """
    known = {e.pointer: msgspec.json.decode(e.original or "[]", type=list[Backend]) for e in entries}
    if len(known) == len(splits):
        return list(known.values())
    first = next(iter(known.values()))
    return [known.get(split.path, first) for split in splits]


def _put_back(dialect: Dialect, split: Split, original: list[Backend]) -> list[Operation]:
    def name(backend: Backend) -> Any:
        return lookup(backend, dialect.service, None)

    stable, canary = split.stable, split.canary
    before = next((b for b in original if name(b) == name(stable)), {})
    kept = next((b for b in original if canary is not None and name(b) == name(canary)), None)
    at = _place(split, stable)
    operations = [_guard(dialect, at, stable), *_put_weight(dialect, at, stable, before)]
    if canary is not None:
        there = _place(split, canary)
        operations.append(_guard(dialect, there, canary))
        operations += [remove(there)] if kept is None else _put_weight(dialect, there, canary, kept)
    return operations if any(o.op != "test" for o in operations) else []


def _put_weight(dialect: Dialect, at: str, now: Backend, before: Backend) -> list[Operation]:
    field = dialect.weight
    if now.get(field) == before.get(field):
        return []
    return [remove(f"{at}/{field}")] if field not in before else [replace(f"{at}/{field}", before[field])]
