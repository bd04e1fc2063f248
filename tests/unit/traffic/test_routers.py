"""The contract, for every router that splits over weighted backends; and the registry."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from daemon.api import names
from daemon.api.routers import KNOWN
from daemon.kube import config
from daemon.kube.client import Client
from daemon.kube.patch import parts_of
from daemon.kube.transport import Transport
from daemon.rollout.pick import Pick
from daemon.sandbox.store import Caller
from daemon.traffic.registry import DISCOVERED, ROUTERS
from daemon.traffic.router import RouterError
from tests.unit.control.cluster import Cluster, Object
from tests.unit.traffic.bench import Shape, WeightedBench
from tests.unit.traffic.contract import CANARY, COOKIE, COPIES, HEADER, QUERY, STABLE, Bench, RouterContract, moved, view
from tests.unit.traffic.shapes import SHAPES

SEVERAL_RULES = [name for name, shape in SHAPES.items() if shape.dialect.kind != "TraefikService"]  # which is one list
PICKING = [name for name, shape in SHAPES.items() if shape.picks]
REPORTING = [name for name, shape in SHAPES.items() if shape.status is not None]
SILENT = [name for name, shape in SHAPES.items() if shape.status is None]


@asynccontextmanager
async def a_bench(root: Path, shape: Shape) -> AsyncIterator[WeightedBench]:
    cluster = Cluster(root)
    async with cluster.running(policies=False, kinds=False):
        for name in (STABLE, CANARY, "other"):
            cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
        if shape.schema is not None:
            cluster.load(shape.schema)
        async with Transport(config.load(str(cluster.kubeconfig))) as transport:
            yield WeightedBench(cluster, Client(transport, field_manager=names.FIELD_MANAGER), shape)


class TestRouters(RouterContract):
    """Every case for every kind."""

    @pytest.fixture(params=SHAPES, ids=lambda name: name)
    async def bench(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[WeightedBench]:
        async with a_bench(tmp_path, SHAPES[request.param]) as made:
            yield made

    @pytest.mark.parametrize("bench", SEVERAL_RULES, indirect=True)
    async def test_every_rule_of_the_service_moves_and_no_other(self, bench: Bench) -> None:
        """Two rules name the Service, a third does not."""
        await super().test_every_rule_of_the_service_moves_and_no_other(bench)

    @pytest.mark.parametrize("bench", REPORTING, indirect=True)
    async def test_accepted_only_when_every_parent_speaks_of_this_generation(self, bench: Bench) -> None:
        """A report on an older generation, or a bad one, is no acceptance; kinds without a status have a test of their own."""
        await super().test_accepted_only_when_every_parent_speaks_of_this_generation(bench)


@pytest.mark.parametrize("name", SILENT)
async def test_a_route_without_a_status_is_taken_after_its_settle_time(tmp_path: Path, name: str) -> None:
    """The time runs from each write, and until it is over the view says what is waited for."""
    async with a_bench(tmp_path, SHAPES[name]) as bench:
        bench.now = 1e10  # the server's clock is far behind: only what was seen here counts
        bench.write()
        bench.now -= 1e10 - 1.7e9
        undo = await moved(bench, 0)
        for weight in (10, 20):
            await bench.router.set_weight(bench.scope, weight)
            found = view(bench, undo)
            assert not found.accepted
            settle = bench.shape.dialect.settle
            assert f"{settle:g} s are waited for" in found.problem
            bench.now += settle - 0.1
            assert not view(bench, undo).accepted
            bench.now += 0.1
            assert view(bench, undo).accepted


async def test_a_write_of_long_ago_needs_no_settle_time(tmp_path: Path) -> None:
    """After a restart nothing is waited for anew."""
    async with a_bench(tmp_path, SHAPES["TraefikService"]) as bench:
        bench.write()
        bench.now = 4e9
        assert view(bench).accepted


@pytest.mark.parametrize("name", PICKING)
async def test_rules_of_ours_are_put_away_where_they_are_now(tmp_path: Path, name: str) -> None:
    """Somebody's rules before and after: an unseen change is a retryable error, a seen one is worked around, by the undo log alone."""
    async with a_bench(tmp_path, SHAPES[name]) as bench:
        rules = bench.shape.dialect.rules
        assert rules is not None
        [field] = parts_of(rules.path)[1:]
        pick = bench.picks[0]
        bench.scope = scope = msgspec.structs.replace(bench.scope, picks=(pick,))
        bench.write(rules=2)
        undo = await moved(bench, 0)
        await bench.router.set_weight(scope, 0, pick)

        def around(spec: Object) -> None:
            first, last = (copy.deepcopy(bench.shape.spec([[bench.shape.backend("other", None)]])[field][0]) for _ in range(2))
            spec[field] = [first, *spec[field], last]

        bench.edit(around)
        before = bench.state()
        for write in (bench.router.restore(scope, undo), bench.router.set_weight(scope, 0)):
            with pytest.raises(RouterError) as caught:
                await write
            assert caught.value.retryable
        assert bench.state() == before
        bench.look()
        assert view(bench, undo).picked == pick.words
        await bench.router.restore(msgspec.structs.replace(scope, picks=()), undo)  # as `linnet cleanup` has it
        assert bench.split() == [{"other": 100}, {STABLE: 100}, {STABLE: 100}, {"other": 100}]


@pytest.mark.parametrize(
    ("pick", "other", "taken"),
    [
        (HEADER, {"headers": [{"type": "Exact", "name": "x-mobile", "value": "1"}]}, False),  # as much as ours says: the earlier one has it
        (QUERY, {"queryParams": [{"type": "Exact", "name": "q", "value": "1"}]}, False),
        (HEADER, {"queryParams": [{"type": "Exact", "name": "q", "value": "1"}]}, True),
        (COPIES, {"headers": [{"type": "Exact", "name": "x-mobile", "value": "1"}]}, True),
        (COPIES, {"method": "POST"}, False),  # no request is both
        (COPIES, {"path": {"type": "PathPrefix", "value": "/deep"}}, False),  # a longer path always has it
    ],
)
async def test_no_request_is_taken_from_another_rule(tmp_path: Path, pick: Pick, other: Object, taken: bool) -> None:
    """A rule that says more than stable's keeps its requests: where ours would say more than it, the step is refused before a pod starts."""
    async with a_bench(tmp_path, SHAPES["HTTPRoute"]) as bench:
        bench.write(other=True)
        await bench.report()
        scope = msgspec.structs.replace(bench.scope, picks=(pick,))
        plain = {"path": {"type": "PathPrefix", "value": "/"}}

        def change(spec: Object) -> None:
            spec["rules"][0]["matches"], spec["rules"][1]["matches"] = [plain], [plain | other]

        bench.edit(change)
        bench.look()
        found = [p.message for p in bench.router.problems(scope)]
        assert found == ([f"HTTPRoute web: {pick.words} would be taken from its rule 2"] if taken else [])


async def test_a_full_route_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """An HTTPRoute has 16 rules at the most, and a step brings one for each that names the Service."""
    async with a_bench(tmp_path, SHAPES["HTTPRoute"]) as bench:
        scope = msgspec.structs.replace(bench.scope, picks=(HEADER,))
        bench.write(rules=8)
        assert bench.router.problems(scope) == []
        bench.write(rules=8, other=True)
        [problem] = bench.router.problems(scope)
        assert "has 9 rules and may have 16: 8 more" in problem.message


async def test_a_rule_of_the_owners_for_the_canary_is_not_made_ours(tmp_path: Path) -> None:
    """Without a step that picks it is left alone; with one, the release is refused before it could be mistaken for ours."""
    async with a_bench(tmp_path, SHAPES["HTTPRoute"]) as bench:
        bench.write()
        own = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [bench.shape.backend(CANARY, 1)]}
        bench.manifest["spec"]["rules"].append(own)
        bench.apply_again()
        before = bench.state()
        undo = await moved(bench, 0, 30)
        assert view(bench, undo).picked == ""
        await bench.router.restore(bench.scope, undo)
        assert bench.state() == before
        [problem] = bench.router.problems(msgspec.structs.replace(bench.scope, picks=(HEADER,)))
        assert "has a rule of its own for Service web-canary" in problem.message


@pytest.mark.parametrize("pick", [COOKIE, QUERY, COPIES])
async def test_what_a_gateway_is_not_known_to_do_is_refused(tmp_path: Path, pick: Pick) -> None:
    """By the controller's name in the status; a header is core of the API, and every one does it."""
    async with a_bench(tmp_path, SHAPES["HTTPRoute"]) as bench:
        bench.write()
        await bench.report()
        found = copy.deepcopy(bench.live())
        found["status"]["parents"][0]["controllerName"] = "paper.test/gateway"
        bench.cluster.store.update(bench.resource, found, user=Caller(user="gateway", manager="gateway"), subresource="status")
        bench.look()
        assert bench.router.problems(msgspec.structs.replace(bench.scope, picks=(HEADER,))) == []
        [problem] = bench.router.problems(msgspec.structs.replace(bench.scope, picks=(pick,)))
        assert "paper.test/gateway is not known to do it by" in problem.message


def test_the_registry_is_what_the_api_knows() -> None:
    """Lint and admission refuse by this list; each kind is of its group, and is watched as what it is called."""
    assert {kind: entry.resource.group for kind, entry in ROUTERS.items()} == KNOWN
    assert {kind: entry.resource.kind for kind, entry in ROUTERS.items()} == {kind: kind for kind in KNOWN}
    assert set(DISCOVERED) <= set(ROUTERS)


def _is_a_bench(bench: WeightedBench) -> Bench:
    return bench
