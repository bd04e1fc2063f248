"""The contract for the canary annotations of ingress-nginx, and what stands in their way."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.api import names
from daemon.kube import config
from daemon.kube.client import Client
from daemon.kube.store import Store, by_namespace
from daemon.kube.transport import Transport
from daemon.rollout.pick import Pick
from daemon.sandbox.store import Caller
from daemon.traffic.ingress import CANARY as MARK
from daemon.traffic.ingress import SETTLE, WEIGHT, IngressRouter
from daemon.traffic.router import RouteObject, Router, RouterError, Scope
from tests.unit.control.cluster import SHOP, Cluster, Object
from tests.unit.traffic.contract import ALWAYS, CANARY, HEADER, STABLE, Bench, RouterContract, moved, view

INGRESSES, TWIN = "ingresses.networking.k8s.io", f"web-{CANARY}"
PREFIX = "nginx.ingress.kubernetes.io/"


def _path(path: str, service: str) -> Object:
    return {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}


def ingress(name: str, rules: list[Object], **annotations: str) -> Object:
    """With every optional field around the rules filled."""
    marks = {f"{PREFIX}proxy-read-timeout": "30", f"{PREFIX}rewrite-target": "/"} | annotations
    tls = [{"hosts": ["web.test"], "secretName": "web-tls"}]
    resource = {"service": {"name": "not-found", "port": {"name": "http"}}}
    spec = {"ingressClassName": "nginx", "defaultBackend": resource, "rules": rules, "tls": tls}
    metadata = {"name": name, "namespace": SHOP, "labels": {"app": "web"}, "annotations": marks}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def rule(host: str, *paths: Object) -> Object:
    return {"host": host, "http": {"paths": list(paths)}}


class IngressBench:
    """The owner's Ingress and ours; the caches see what `look` read."""

    def __init__(self, cluster: Cluster, client: Client) -> None:
        self.cluster, self.client, self.now = cluster, client, 1.7e9
        self.cache: Store[RouteObject] = Store({"namespace": by_namespace})
        self.classes: Store[RouteObject] = Store()
        self.unread, self.known = "", 0
        self.router: Router = IngressRouter(client, self.cache, self.classes, lambda: self.unread, lambda: self.now)
        self.scope = Scope(namespace=SHOP, name="web", stable=STABLE, canary=CANARY, kind="Ingress")
        self.picks: tuple[Pick, ...] = (HEADER, ALWAYS)
        self.most_rules = 2
        self.manifest: Object = {}

    def write(self, *, both: bool = False, rules: int = 1, other: bool = False) -> None:
        """`both` has no meaning here: the canary's backend is in no object of the owner's."""
        hosts = [rule(f"{n}.test", _path("/", STABLE), _path("/deep", STABLE)) for n in range(rules)]
        if other:
            hosts.append(rule("other.test", _path("/", "other")))
        self.manifest = ingress("web", hosts)
        self.apply_again()

    def apply_again(self) -> None:
        self.cluster.apply(copy.deepcopy(self.manifest))
        self.look()

    def put(self, body: Object) -> None:
        self.cluster.apply(copy.deepcopy(body))
        self.look()

    def live(self, name: str = "web") -> Object:
        return self.cluster.get(INGRESSES, name)

    def there(self) -> list[str]:
        return [i["metadata"]["name"] for i in self.cluster.list(INGRESSES)]

    def edit(self, name: str, change: Any, manager: str = "someone") -> None:
        found = copy.deepcopy(self.live(name))
        change(found)
        self.cluster.store.update(INGRESSES, found, user=Caller(user=manager, manager=manager))

    def edit_elsewhere(self) -> Any:
        self.edit("web", lambda i: i["spec"].update(tls=[{"hosts": ["changed.test"]}]))
        self.look()
        return self.elsewhere()

    def elsewhere(self) -> Any:
        return self.live()["spec"]["tls"]

    def revert(self, manager: str) -> None:
        """Who heals an Ingress that is not in Git takes its mark away: a deletion would leave no name."""
        self.edit(TWIN, lambda i: i["metadata"]["annotations"].update({MARK: "false"}), manager)
        self.look()

    def reorder(self) -> None:
        self.edit("web", lambda i: i["spec"]["rules"].insert(0, rule("first.test", _path("/", "other"))))

    def split(self) -> list[dict[str, int]]:
        """By what ingress-nginx documents: the canary's share of each host and path that both have."""
        ours = self.live(TWIN) if TWIN in self.there() else {"metadata": {}, "spec": {"rules": []}}
        marks = ours["metadata"].get("annotations") or {}
        weight = int(marks.get(WEIGHT, 0)) if marks.get(MARK) == "true" else None
        claimed = {(r["host"], p["path"]): p["backend"]["service"]["name"] for r in ours["spec"]["rules"] for p in r["http"]["paths"]}
        found = []
        for one in self.live()["spec"]["rules"]:
            shares: list[dict[str, int]] = []
            for path in one["http"]["paths"]:
                stable, canary = path["backend"]["service"]["name"], claimed.get((one["host"], path["path"]))
                shares.append({stable: 100} if canary is None or weight is None else {stable: 100 - weight, canary: weight})
            assert all(s == shares[0] for s in shares), shares
            found.append(shares[0])
        return found

    def state(self) -> Any:
        return copy.deepcopy((self.live()["metadata"], self.live()["spec"], self.there()))

    def version(self) -> str:
        return " ".join(self.live(name)["metadata"]["resourceVersion"] for name in self.there())

    def look(self) -> None:
        there = [msgspec.json.decode(msgspec.json.encode(self.live(name)), type=RouteObject) for name in self.there()]
        self.cache.replace(there)

    def delete(self) -> None:
        for name in self.there():
            self.cluster.delete(INGRESSES, name)
        self.cache.replace([])

    async def report(self, *, good: bool = True) -> None:
        """An Ingress has no status that speaks of it; what is known of its gateway is its class."""
        self.class_of("k8s.io/ingress-nginx")

    def class_of(self, controller: str, name: str = "nginx") -> None:
        self.known += 1
        body = {"metadata": {"name": name, "resourceVersion": str(self.known)}, "spec": {"controller": controller}}
        self.classes.put(msgspec.json.decode(msgspec.json.encode(body), type=RouteObject))


@asynccontextmanager
async def a_bench(root: Path) -> AsyncIterator[IngressBench]:
    cluster = Cluster(root)
    async with cluster.running(policies=False, kinds=False), Transport(config.load(str(cluster.kubeconfig))) as transport:
        bench = IngressBench(cluster, Client(transport, field_manager=names.FIELD_MANAGER))
        bench.class_of("k8s.io/ingress-nginx")
        yield bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[IngressBench]:
    async with a_bench(tmp_path) as made:
        yield made


class TestIngress(RouterContract):
    """Every case; where an Ingress is different, the case says how."""

    @pytest.mark.parametrize("seen", [True, False])
    async def test_a_route_that_was_rearranged_is_never_written_blindly(self, bench: Bench, seen: bool) -> None:
        """The owner's Ingress is never written, so there is no place in it to be mistaken: the share changes, seen or not."""
        bench.write()
        undo = await moved(bench, 0, 40)
        bench.reorder()
        if seen:
            bench.look()
        before = bench.split()
        await bench.router.set_weight(bench.scope, 50)
        assert before == [{"other": 100}, {STABLE: 60, CANARY: 40}]
        assert bench.split() == [{"other": 100}, {STABLE: 50, CANARY: 50}]
        await bench.router.restore(bench.scope, undo)
        assert bench.split() == [{"other": 100}, {STABLE: 100}]

    async def test_a_route_that_was_rearranged_before_the_first_write_is_not_written_blindly(self, bench: Bench) -> None:
        """Hosts and paths are named, not counted."""
        bench.write()
        bench.reorder()
        await bench.router.set_weight(bench.scope, 0)
        assert bench.split() == [{"other": 100}, {STABLE: 100, CANARY: 0}]

    async def test_what_others_changed_meanwhile_stays(self, bench: Bench) -> None:
        """A restore deletes our object, and nothing else changes."""
        bench.write()
        undo = await moved(bench, 0, 40)
        changed = bench.edit_elsewhere()
        await bench.router.restore(bench.scope, undo)
        assert bench.elsewhere() == changed
        assert bench.split() == [{STABLE: 100}]

    async def test_accepted_only_when_every_parent_speaks_of_this_generation(self, bench: Bench) -> None:
        """An Ingress has no status that speaks of it: a stated time is waited for, after each write and after the end."""
        assert isinstance(bench, IngressBench)
        bench.write()
        assert view(bench).accepted
        undo = await moved(bench, 0)
        for weight in (10, 20):
            await bench.router.set_weight(bench.scope, weight)
            assert "5 s are waited for" in view(bench, undo).problem
            bench.now += SETTLE
            assert view(bench, undo).accepted
        await bench.router.restore(bench.scope, undo)
        assert not view(bench).accepted
        bench.now += SETTLE
        assert view(bench).accepted


async def test_the_owner_s_object_is_never_written(bench: IngressBench) -> None:
    """Not its version, not its owners: the split is an object of our own, owned by it, of the same class, without its TLS."""
    bench.write(rules=2, other=True)
    before = bench.live()
    undo = await moved(bench, 0, 30, 100)
    assert bench.live() == before
    ours = bench.live(TWIN)
    assert ours["metadata"]["ownerReferences"][0]["uid"] == before["metadata"]["uid"]
    assert set(ours["spec"]) == {"ingressClassName", "rules"}
    assert [r["host"] for r in ours["spec"]["rules"]] == ["0.test", "1.test"]
    await bench.router.restore(bench.scope, undo)
    assert (bench.live(), bench.there()) == (before, ["web"])


async def test_a_rule_that_was_added_is_followed_with_the_next_write(bench: IngressBench) -> None:
    """Until then the view says that our rules are not the owner's."""
    bench.write()
    undo = await moved(bench, 20)
    bench.edit("web", lambda i: i["spec"]["rules"].append(rule("new.test", _path("/", STABLE))))
    bench.look()
    bench.now += SETTLE
    found = view(bench, undo)
    assert not found.accepted
    assert "are not those of" in found.problem
    await bench.router.set_weight(bench.scope, 30)
    assert bench.split() == [{STABLE: 70, CANARY: 30}] * 2


async def test_a_rehearsal_stores_nothing(bench: IngressBench) -> None:
    """Neither the first write nor a later one."""
    bench.write()
    await bench.router.set_weight(bench.scope, 10, rehearse=True)
    assert bench.there() == ["web"]
    await bench.router.set_weight(bench.scope, 10)
    await bench.router.set_weight(bench.scope, 20, rehearse=True)
    assert bench.split() == [{STABLE: 90, CANARY: 10}]


async def test_a_stale_look_at_our_own_is_an_error_that_is_tried_again(bench: IngressBench) -> None:
    """Somebody changed its weight, or made an object of its name, and the cache has not seen it."""
    bench.write()
    await moved(bench, 10)
    bench.edit(TWIN, lambda i: i["metadata"]["annotations"].update({WEIGHT: "77"}))
    with pytest.raises(RouterError) as caught:
        await bench.router.set_weight(bench.scope, 20)
    assert caught.value.retryable
    bench.cache.drop((SHOP, TWIN))
    with pytest.raises(RouterError) as caught:
        await bench.router.set_weight(bench.scope, 20)
    assert caught.value.retryable
    assert bench.live(TWIN)["metadata"]["annotations"][WEIGHT] == "77"


async def test_a_foreign_object_of_the_name_is_left_alone(bench: IngressBench) -> None:
    """Refused before, refused at the write, and not deleted by a restore."""
    bench.write()
    bench.put(ingress(TWIN, [rule("mine.test", _path("/", "other"))]))
    before = bench.live(TWIN)
    assert [p.reason for p in bench.router.problems(bench.scope)] == ["RouteTaken"]
    with pytest.raises(RouterError, match="was not made by Linnet"):
        await bench.router.set_weight(bench.scope, 5)
    await bench.router.restore(bench.scope, bench.router.record(bench.scope))
    assert bench.live(TWIN) == before


ROOT = rule("web.test", _path("/", STABLE))
REFUSED: dict[str, tuple[str, list[Object]]] = {
    "itself a canary": ("RouteIsCanary", [ingress("web", [ROOT], **{MARK: "true"})]),
    "sticky": ("RouteSticky", [ingress("web", [ROOT], **{f"{PREFIX}affinity": "cookie"})]),
    "no rule": ("RouteWithoutService", [ingress("web", [rule("web.test", _path("/", "other"))])]),
    "two rules": ("RouteAmbiguous", [ingress("web", [ROOT, rule("web.test", _path("/", "other"))])]),
    "another Ingress": ("RouteAmbiguous", [ingress("web", [ROOT]), ingress("more", [rule("web.test", _path("/", "other"))])]),
    "another canary": ("RouteAmbiguous", [ingress("web", [ROOT]), ingress("other-canary", [ROOT], **{MARK: "true"})]),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_stands_in_the_way_is_refused_before_anything_is_written(bench: IngressBench, case: str) -> None:
    """With one sentence and a way out."""
    reason, objects = REFUSED[case]
    for body in objects:
        bench.put(body)
    [problem] = bench.router.problems(bench.scope)
    assert problem.reason == reason
    assert problem.message
    assert problem.way_out


async def test_nothing_stands_in_the_way_of_an_ordinary_one(bench: IngressBench) -> None:
    """Affinity in the old way, another host beside it, and our own object once it is there."""
    bench.put(ingress("web", [ROOT], **{f"{PREFIX}affinity": "cookie", f"{PREFIX}affinity-canary-behavior": "legacy"}))
    bench.put(ingress("more", [rule("more.test", _path("/", "other"))]))
    assert bench.router.names(bench.scope)
    assert bench.router.problems(bench.scope) == []
    await moved(bench, 5)
    assert bench.router.problems(bench.scope) == []


async def test_a_default_backend_is_no_rule(bench: IngressBench) -> None:
    """A canary stands beside rules alone."""
    body = ingress("web", [ROOT])
    body["spec"]["defaultBackend"]["service"]["name"] = STABLE
    bench.put(body)
    assert [p.reason for p in bench.router.problems(bench.scope)] == ["RouteDefaultBackend"]


async def test_a_class_has_to_obey_the_annotations(bench: IngressBench) -> None:
    """To any other controller the second Ingress were one like any other, and would get requests at weight 0."""
    bench.write()
    bench.class_of("nginx.org/ingress-controller")
    [problem] = bench.router.problems(bench.scope)
    assert "nginx.org/ingress-controller, which is not known to obey" in problem.message
    bench.classes.drop(("", "nginx"))
    assert "does not exist" in bench.router.problems(bench.scope)[0].message
    bench.unread = "it is forbidden"
    assert bench.router.problems(bench.scope)[0].reason == "RouteClassUnread"
    body = ingress("web", [ROOT])
    del body["spec"]["ingressClassName"]
    bench.delete()
    bench.put(body)
    assert "names no class" in bench.router.problems(bench.scope)[0].message


async def test_a_missing_ingress_is_named(bench: IngressBench) -> None:
    """As for every other kind."""
    assert [p.reason for p in bench.router.problems(bench.scope)] == ["RouteMissing"]
