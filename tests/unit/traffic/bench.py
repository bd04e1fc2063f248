"""A bench for every router that splits over a list of weighted backends: what differs from kind to kind is said by a `Shape`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from daemon.api.routers import CustomRouter
from daemon.kube.client import Client
from daemon.kube.store import Store
from daemon.rollout.pick import Pick
from daemon.sandbox.store import Caller
from daemon.traffic.dialect import Dialect
from daemon.traffic.router import RouteObject, Router, Scope
from daemon.traffic.weighted import WeightedRouter
from tests.unit.control.cluster import SHOP, Cluster, Object
from tests.unit.traffic.contract import CANARY, STABLE


def crd(group: str, version: str, plural: str, kind: str) -> Object:
    """A kind whose schema says nothing: its lists are atomic, as those of routes are."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }


def named(service: str, weight: int | None) -> Object:
    """A backend as most kinds write it."""
    return {"name": service, "port": 80} | ({} if weight is None else {"weight": weight})


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How objects of one kind look. `spec` makes one of several lists of backends, `lists` finds them in it."""

    dialect: Dialect
    spec: Callable[[list[list[Object]]], Object]
    lists: Callable[[Object], list[list[Object]]]
    backend: Callable[[str, int | None], Object] = named
    service: Callable[[Object], str] = lambda backend: str(backend["name"]).partition(".")[0]
    alone: int = 1  # what a backend without a weight counts
    elsewhere: tuple[str, Any] = ("hostnames", ["changed.test"])
    reorder: Callable[[Object], None] | None = None  # None: a rule of another Service is put first
    status: Callable[[bool, int], Object] | None = None
    custom: CustomRouter | None = None
    schema: Object | None = None
    picks: tuple[Pick, ...] = ()
    noise: Object = field(default_factory=dict)  # optional fields around the weight, for every backend of the owner's


class WeightedBench:
    """One route; the cache sees what `look` read."""

    def __init__(self, cluster: Cluster, client: Client, shape: Shape) -> None:
        self.cluster, self.client, self.shape = cluster, client, shape
        self.cache: Store[RouteObject] = Store()
        self.now = 0.0
        dialect = shape.dialect
        self.router: Router = WeightedRouter(client, self.cache, dialect, lambda: self.now)
        self.resource = f"{dialect.resource.plural}.{dialect.resource.group}"
        self.scope = Scope(namespace=SHOP, name="web", stable=STABLE, canary=CANARY, kind=dialect.kind, custom=shape.custom)
        self.picks = shape.picks
        self.manifest: Object = {}

    @property
    def most_rules(self) -> int:
        return 1 if self.shape.reorder is not None else 2

    def write(self, *, both: bool = False, rules: int = 1, other: bool = False, **backend: Any) -> None:
        shape = self.shape
        noise = copy.deepcopy(shape.noise) | backend
        backends = [shape.backend(STABLE, None) | noise]
        if both:
            backends = [shape.backend(STABLE, 100) | noise, shape.backend(CANARY, 0)]
        lists = [copy.deepcopy(backends) for _ in range(rules)]
        if other:
            lists.append([shape.backend("other", None)])
        self.manifest = self.body(shape.spec(lists))
        self.apply_again()

    def body(self, spec: Object) -> Object:
        resource = self.shape.dialect.resource
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "web", "namespace": SHOP}, "spec": spec}

    def apply_again(self) -> None:
        self.cluster.apply(copy.deepcopy(self.manifest))
        self.look()

    def live(self) -> Object:
        return self.cluster.get(self.resource, "web")

    def edit(self, change: Any, manager: str = "someone") -> None:
        found = copy.deepcopy(self.live())
        change(found["spec"])
        self.cluster.store.update(self.resource, found, user=Caller(user=manager, manager=manager))

    def edit_elsewhere(self) -> Any:
        key, value = self.shape.elsewhere
        self.edit(lambda spec: spec.update({key: copy.deepcopy(value)}))
        self.look()
        return self.elsewhere()

    def elsewhere(self) -> Any:
        return self.live()["spec"][self.shape.elsewhere[0]]

    def revert(self, manager: str) -> None:
        self.edit(lambda spec: spec.update(copy.deepcopy(self.manifest["spec"])), manager)
        self.look()

    def reorder(self) -> None:
        if self.shape.reorder is not None:
            self.edit(self.shape.reorder)
            return

        def put_first(spec: Object) -> None:
            again = self.shape.spec([[self.shape.backend("other", None)], *self.shape.lists(spec)])
            spec.update(again)

        self.edit(put_first)

    def split(self) -> list[dict[str, int]]:
        found = []
        for backends in self.shape.lists(self.live()["spec"]):
            weights = {self.shape.service(b): b.get(self.shape.dialect.weight, self.shape.alone) for b in backends}
            if len(weights) == 1:
                weights = dict.fromkeys(weights, 1)
            total = sum(weights.values())
            found.append({name: round(100 * w / total) for name, w in weights.items() if w or name in (STABLE, CANARY)})
        return found

    def state(self) -> Any:
        found = self.live()
        return copy.deepcopy((found["spec"], [e for e in found["metadata"]["managedFields"] if not e.get("subresource")]))

    def version(self) -> str:
        return str(self.live()["metadata"]["resourceVersion"])

    def look(self) -> None:
        self.cache.put(msgspec.json.decode(msgspec.json.encode(self.live()), type=RouteObject))

    def delete(self) -> None:
        self.cluster.delete(self.resource, "web")
        self.cache.drop((SHOP, "web"))

    async def report(self, *, good: bool = True) -> None:
        status = self.shape.status
        if status is None:
            return
        found = copy.deepcopy(self.live())
        found["status"] = status(good, found["metadata"]["generation"])
        self.cluster.store.update(self.resource, found, user=Caller(user="gateway", manager="gateway"), subresource="status")
        self.look()
