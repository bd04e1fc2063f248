"""What stands in the way of moving a VirtualService, and what its DestinationRules say of a host."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from daemon.kube import config
from daemon.kube.client import Client
from daemon.kube.store import Store, by_namespace
from daemon.kube.transport import Transport
from daemon.traffic import destinationrules
from daemon.traffic.dialect import splits_of, weigh
from daemon.traffic.router import RouteObject, Scope
from daemon.traffic.virtualservice import VIRTUAL_SERVICE, VirtualServiceRouter
from tests.unit.control.cluster import SHOP, Object
from tests.unit.traffic.contract import CANARY, STABLE
from tests.unit.traffic.shapes import destination, virtual_service

SCOPE = Scope(namespace=SHOP, name="web", stable=STABLE, canary=CANARY, kind="VirtualService")
STRICT: Object = {"tls": {"mode": "ISTIO_MUTUAL"}, "outlierDetection": {"consecutive5xxErrors": 5}}


def made(spec: Object, name: str = "web", namespace: str = SHOP, at: str = "2026-11-23T00:00:00Z") -> RouteObject:
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "creationTimestamp": at, "resourceVersion": "1"}
    return msgspec.json.decode(msgspec.json.encode({"metadata": metadata, "spec": spec}), type=RouteObject)


def rule(host: str, policy: Object | None = None, *subsets: Object, **more: Any) -> RouteObject:
    """A DestinationRule, named after its host unless told."""
    spec = {"host": host} | ({"trafficPolicy": policy} if policy else {}) | ({"subsets": list(subsets)} if subsets else {})
    return made(spec, **({"name": host} | more))


def plain(service: str, weight: int | None = None) -> Object:
    found = destination(service, weight)
    found["destination"].pop("subset", None)
    return found


async def problems(*services: RouteObject, rules: tuple[RouteObject, ...] = (), unread: str = "") -> list[str]:
    """Each as `reason: message -> way out`."""
    there: Store[RouteObject] = Store({"namespace": by_namespace})
    there.replace(list(services))
    policies: Store[RouteObject] = Store()
    policies.replace(list(rules))
    async with Transport(config.ClusterConfig(server="http://127.0.0.1:1")) as transport:
        router = VirtualServiceRouter(Client(transport, field_manager="test"), there, policies, lambda: unread)
        return [f"{p.reason}: {p.message} -> {p.way_out}" for p in router.problems(SCOPE)]


async def one(*services: RouteObject, **more: Any) -> str:
    [found] = await problems(*services, **more)
    return found


def ours(*backends: Object) -> RouteObject:
    return made(virtual_service([list(backends)]))


async def test_rules_of_all_sorts_around_ours_are_no_obstacle() -> None:
    """A redirect, an answer, a delegate and a mirror beside a rule with a route to the Service."""
    assert await problems(ours(plain(STABLE))) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hosts": ["a"], "http": [{"redirect": {"uri": "/x"}}]}, f"no rule of VirtualService web sends to Service {STABLE}: http[0] redirects ->"),
        ({"hosts": ["a"], "http": [{"directResponse": {"status": 503}}]}, "http[0] answers itself -> give it a rule with a route"),
        (
            {"hosts": ["a"], "http": [{"delegate": {"name": "far", "namespace": "edge"}}]},
            "http[0] delegates to VirtualService edge/far -> name VirtualService edge/far instead",
        ),
        ({"hosts": ["a"], "http": [{"route": [plain("other")]}]}, f"no rule of VirtualService web names Service {STABLE}"),
        ({"hosts": ["a"]}, f"no rule of VirtualService web names Service {STABLE}"),
    ],
)  # fmt: skip
async def test_a_rule_that_sends_nobody_to_the_service(spec: Object, said: str) -> None:
    """What it does instead is said, with the way out."""
    found = await one(made(spec))
    assert found.startswith("RouteWithoutService")
    assert said in found


async def test_a_split_by_subsets_of_the_service_is_somebody_elses() -> None:
    """Two subsets of one host share the requests already: which of them is stable is not ours to guess."""
    second = destination(STABLE, 50)
    second["destination"]["subset"] = "v2"
    assert (await one(ours(destination(STABLE, 50), second))).startswith("RouteSplitAlready")


@pytest.mark.parametrize("host", [f"{STABLE}.{SHOP}", f"{STABLE}.{SHOP}.svc"])
async def test_a_host_that_istio_takes_for_a_whole_domain(host: str) -> None:
    """Only a name without a dot is completed by Istio."""
    found = await one(ours(plain(host)))
    assert found.startswith("RouteHostUnknown")
    assert f"-> write {STABLE}, or {STABLE}.{SHOP}.svc.cluster.local" in found


async def test_a_virtual_service_of_another_namespace() -> None:
    """It is seen where it is, and delegation is the way out; one that is nowhere is just missing."""
    found = await one(made(virtual_service([[plain(STABLE)]]), namespace="edge"))
    assert "RouteElsewhere: VirtualService web is in namespace edge" in found
    assert f"delegate to a VirtualService in {SHOP}" in found
    assert (await one(made({"hosts": ["a"]}, name="another"))).startswith("RouteMissing")


async def test_a_delegate_needs_somebody_who_delegates_to_it() -> None:
    """Without hosts of its own nothing reads it; a rule of another VirtualService makes it count."""
    spec = virtual_service([[plain(STABLE)]])
    spec.pop("hosts")
    assert (await one(made(spec))).startswith("RouteUnbound")
    root = made({"hosts": ["a"], "http": [{"delegate": {"name": "web", "namespace": SHOP}}]}, name="root", namespace="edge")
    assert await problems(made(spec), root) == []
    beside = made({"hosts": ["a"], "http": [{"delegate": {"name": "web"}}]}, name="root")
    assert await problems(made(spec), beside) == []


async def test_a_policy_of_the_service_is_not_lost_on_the_way_to_the_canary() -> None:
    """mTLS and outlier detection hold for one host: until the canary's has the same, nothing starts."""
    route, strict = ours(plain(STABLE)), rule(STABLE, STRICT)
    found = await one(route, rules=(strict,))
    assert "RoutePolicyDiffers" in found
    assert "differ in trafficPolicy: outlierDetection, tls ->" in found
    assert f"write a DestinationRule for host {CANARY} with the trafficPolicy that {STABLE} has" in found
    softer = rule(CANARY, STRICT | {"tls": {"mode": "DISABLE"}})
    assert "trafficPolicy: tls ->" in await one(route, rules=(strict, softer))
    assert await problems(route, rules=(strict, rule(f"{CANARY}.{SHOP}.svc.cluster.local", STRICT))) == []
    assert "trafficPolicy: tls ->" in await one(route, rules=(rule(CANARY, {"tls": {"mode": "SIMPLE"}}),))


async def test_what_a_subset_says_counts_for_the_canary_as_well() -> None:
    """The subset goes, its settings must not; one that the canary's destination names has to be there."""
    subset = {"name": "v1", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}
    merged = STRICT | {"tls": {"mode": "SIMPLE"}}
    route, stable = ours(destination(STABLE, None)), rule(STABLE, STRICT, subset)
    found = await one(route, rules=(stable, rule(CANARY, STRICT)))
    assert "trafficPolicy: tls ->" in found
    assert f"that {STABLE} has in subset v1" in found
    assert await problems(route, rules=(stable, rule(CANARY, merged))) == []
    both = destination(CANARY, 0)
    both["destination"]["subset"] = "v2"
    found = await one(ours(plain(STABLE, 100), both))
    assert f"RouteSubsetMissing: VirtualService web sends to subset v2 of {CANARY}" in found


async def test_destination_rules_that_cannot_be_read_hold() -> None:
    """Not to know is not to have none."""
    assert "RouteUnread" in await one(ours(plain(STABLE)), unread="its destinationrules cannot be read: forbidden")


def test_which_rule_speaks_for_a_host() -> None:
    """The whole name before a wildcard, the longest wildcard first, the namespace's own before the root's, the oldest of several."""
    a, b, c, d = ({"connectionPool": {"tcp": {"maxConnections": n}}} for n in range(4))
    everywhere, here = rule("*.local", a, namespace="istio-system", name="root"), rule(f"*.{SHOP}.svc.cluster.local", b, name="all")
    late, early = rule(STABLE, c, name="late", at="2026-11-23T02:00:00Z"), rule(STABLE, d, name="z-early", at="2026-11-23T01:00:00Z")
    elsewhere = rule(STABLE, a, namespace="edge")

    def said(*rules: RouteObject, service: str = STABLE) -> Any:
        return destinationrules.of(rules, SHOP, service)

    assert said(everywhere) == a
    assert said(everywhere, here) == b
    assert said(everywhere, here, late) == c
    assert said(everywhere, here, late, early) == d
    assert said(everywhere, here, late, early, service=CANARY) == b
    assert said(elsewhere) == {}
    assert said(rule("*.example.com", a), rule("*", b, name="any")) == b
    assert destinationrules.of([late], SHOP, STABLE, "v9") is None
    assert destinationrules.of([], SHOP, STABLE, "v9") is None


def test_tcp_and_tls_rules_move_with_the_others() -> None:
    """One patch for all three; what is stable's alone, its subset, the canary's destination has not."""
    spec = virtual_service([[destination(STABLE, None)]])
    spec["tcp"] = [{"match": [{"port": 27017}], "route": [destination(STABLE, 100)]}]
    spec["tls"] = [{"match": [{"port": 443, "sniHosts": ["web.test"]}], "route": [destination(STABLE, None)]}]
    splits = splits_of(VIRTUAL_SERVICE, made(copy.deepcopy(spec)), SCOPE)
    assert [s.path for s in splits] == ["/spec/http/3/route", "/spec/tcp/0/route", "/spec/tls/0/route"]
    for split in splits:
        added = next(o for o in weigh(VIRTUAL_SERVICE, split, SCOPE, 5) if o.path.endswith("/-"))
        assert added.value == {"destination": {"host": CANARY, "port": {"number": 80}}, "weight": 5}


def test_a_port_that_is_named_picks_its_rules() -> None:
    """Where the Service has several, a rule for another port is left alone."""
    spec = virtual_service([[destination(STABLE, None)], [destination(STABLE, None)]])
    spec["http"][3]["route"][0]["destination"]["port"]["number"] = 9090
    found = splits_of(VIRTUAL_SERVICE, made(spec), msgspec.structs.replace(SCOPE, port=80))
    assert [s.path for s in found] == ["/spec/http/4/route"]
