"""The HTTPRoute router: the contract on the sandbox's API server, and what only an HTTPRoute has."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.api import names
from daemon.kube import config
from daemon.kube.client import Client
from daemon.kube.objects import HTTPRoute
from daemon.kube.resources import HTTP_ROUTES
from daemon.kube.store import Store
from daemon.kube.transport import Transport
from daemon.sandbox.store import Caller
from daemon.traffic.httproute import HTTPRouteRouter
from daemon.traffic.router import Router, Scope
from tests.unit.control.cluster import ROUTES, SHOP, Cluster, Object
from tests.unit.control.world import route
from tests.unit.traffic.contract import CANARY, STABLE, Bench, RouterContract, moved, view


class HTTPRouteBench:
    """One HTTPRoute; the cache sees what `look` read."""

    def __init__(self, cluster: Cluster, client: Client) -> None:
        self.cluster, self.client = cluster, client
        self.cache: Store[HTTPRoute] = Store()
        self.router: Router = HTTPRouteRouter(client, self.cache)
        self.scope = Scope(namespace=SHOP, name="web", stable=STABLE, canary=CANARY)
        self.manifest: Object = {}

    def write(self, *, both: bool = False, rules: int = 1, other: bool = False, **backend: Any) -> None:
        backends: list[Object] = [{"name": STABLE, "port": 80, **backend}]
        if both:
            backends = [{"name": STABLE, "port": 80, "weight": 100, **backend}, {"name": CANARY, "port": 80, "weight": 0}]
        made = [
            {"matches": [{"path": {"type": "PathPrefix", "value": f"/{n}"}}], "backendRefs": copy.deepcopy(backends)} for n in range(rules)
        ]
        if other:
            made.append({"matches": [{"path": {"type": "PathPrefix", "value": "/other"}}], "backendRefs": [{"name": "other", "port": 80}]})
        self.manifest = route(rules=made)
        self.apply_again()

    def apply_again(self) -> None:
        self.cluster.apply(copy.deepcopy(self.manifest))
        self.look()

    def _edit(self, change: Any, manager: str = "someone") -> None:
        found = copy.deepcopy(self.cluster.get(ROUTES, "web"))
        change(found["spec"])
        self.cluster.store.update(ROUTES, found, user=Caller(user=manager, manager=manager))

    def edit_elsewhere(self) -> Any:
        self._edit(lambda spec: spec.update(hostnames=["changed.test"]))
        self.look()
        return self.elsewhere()

    def elsewhere(self) -> Any:
        return self.cluster.get(ROUTES, "web")["spec"]["hostnames"]

    def revert(self, manager: str) -> None:
        self._edit(lambda spec: spec.update(rules=copy.deepcopy(self.manifest["spec"]["rules"])), manager)
        self.look()

    def reorder(self) -> None:
        rule = {"matches": [{"path": {"type": "PathPrefix", "value": "/new"}}], "backendRefs": [{"name": "other", "port": 80}]}
        self._edit(lambda spec: spec["rules"].insert(0, rule))

    def split(self) -> list[dict[str, int]]:
        found = []
        for rule in self.cluster.get(ROUTES, "web")["spec"]["rules"]:
            total = sum(b.get("weight", 1) for b in rule["backendRefs"])
            found.append({b["name"]: round(100 * b.get("weight", 1) / total) for b in rule["backendRefs"]})
        return found

    def state(self) -> Any:
        found = self.cluster.get(ROUTES, "web")
        owners = [e for e in found["metadata"]["managedFields"] if not e.get("subresource")]
        return copy.deepcopy((found["spec"], owners))

    def version(self) -> str:
        return str(self.cluster.get(ROUTES, "web")["metadata"]["resourceVersion"])

    def look(self) -> None:
        self.cache.put(msgspec.json.decode(msgspec.json.encode(self.cluster.get(ROUTES, "web")), type=HTTPRoute))

    def delete(self) -> None:
        self.cluster.delete(ROUTES, "web")
        self.cache.drop((SHOP, "web"))

    async def report(self, *, good: bool = True) -> None:
        self.cluster.gateway.accepts = lambda _route: good
        self.cluster.store.patch(ROUTES, SHOP, "web", "merge", {"metadata": {"labels": {"look": str(good)}}}, user="nobody")
        generation = self.cluster.get(ROUTES, "web")["metadata"]["generation"]

        def reported() -> bool:
            parents = (self.cluster.get(ROUTES, "web").get("status") or {}).get("parents") or []
            said = [c for p in parents for c in p["conditions"] if c["type"] == "Accepted"]
            return bool(said) and all(c["observedGeneration"] == generation and (c["status"] == "True") == good for c in said)

        await self.cluster.until(reported, "the gateway reports")
        self.look()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[HTTPRouteBench]:
    cluster = Cluster(tmp_path)
    async with cluster.running(policies=False):
        for name in (STABLE, CANARY, "other"):
            cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
        cluster.gateway.accepts = lambda _route: False
        async with Transport(config.load(str(cluster.kubeconfig))) as transport:
            yield HTTPRouteBench(cluster, Client(transport, field_manager=names.FIELD_MANAGER))


class TestHTTPRoute(RouterContract):
    """The contract."""


def backends(bench: HTTPRouteBench) -> list[Object]:
    found: list[Object] = bench.cluster.get(ROUTES, "web")["spec"]["rules"][0]["backendRefs"]
    return found


async def test_the_canarys_backend_is_a_copy_of_stables(bench: HTTPRouteBench) -> None:
    """Port and filters of the backend are the canary's too; a weight of the owner's own comes back."""
    header = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-From", "value": "route"}]}}
    bench.write(filters=[header], weight=3)
    before = bench.state()
    undo = await moved(bench, 0, 20)
    stable, canary = backends(bench)
    assert canary == {**stable, "name": CANARY, "weight": 20}
    assert canary["filters"] == [header]
    await bench.router.restore(bench.scope, undo)
    assert bench.state() == before


async def test_only_the_port_that_was_named_moves(bench: HTTPRouteBench) -> None:
    """A rule to another port of the same Service is another thing."""
    rules = [{"matches": [{"path": {"value": f"/{port}"}}], "backendRefs": [{"name": STABLE, "port": port}]} for port in (80, 9090)]
    bench.manifest = route(rules=rules)
    bench.apply_again()
    bench.scope = msgspec.structs.replace(bench.scope, port=9090)
    await moved(bench, 0, 20)
    assert bench.split() == [{STABLE: 100}, {STABLE: 80, CANARY: 20}]


async def test_rules_that_disagree_are_a_problem_and_not_a_weight(bench: HTTPRouteBench) -> None:
    """Half a change of hands is told, and never counts as accepted."""
    bench.write(rules=2)
    undo = await moved(bench, 0, 20)

    def take_one(spec: Object) -> None:
        spec["rules"][1]["backendRefs"] = [{"name": STABLE, "port": 80}]

    bench._edit(take_one)
    bench.look()
    await bench.report()
    found = view(bench, undo)
    assert not found.accepted
    assert "disagree" in found.problem


async def test_a_route_that_does_not_name_the_service_is_a_problem(bench: HTTPRouteBench) -> None:
    """The view says which Service is missing."""
    bench.write()
    bench.scope = msgspec.structs.replace(bench.scope, stable="elsewhere")
    assert "no rule names Service elsewhere" in view(bench).problem


def _is_a_bench(bench: HTTPRouteBench) -> Bench:
    return bench


def test_the_kind_is_the_resources() -> None:
    """The registry, the undo log and the API speak of the same kind."""
    assert HTTPRouteRouter.kind == HTTP_ROUTES.kind
