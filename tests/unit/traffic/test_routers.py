"""The contract, for every router that splits over weighted backends; and the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daemon.api import names
from daemon.api.routers import KNOWN
from daemon.kube import config
from daemon.kube.client import Client
from daemon.kube.transport import Transport
from daemon.traffic.registry import DISCOVERED, ROUTERS
from tests.unit.control.cluster import Cluster
from tests.unit.traffic.bench import Shape, WeightedBench
from tests.unit.traffic.contract import CANARY, STABLE, Bench, RouterContract, moved, view
from tests.unit.traffic.shapes import SHAPES

SEVERAL_RULES = [name for name, shape in SHAPES.items() if shape.dialect.kind != "TraefikService"]  # which is one list
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


def test_the_registry_is_what_the_api_knows() -> None:
    """Lint and admission refuse by this list; each kind is of its group, and is watched as what it is called."""
    assert {kind: entry.resource.group for kind, entry in ROUTERS.items()} == KNOWN
    assert {kind: entry.resource.kind for kind, entry in ROUTERS.items()} == {kind: kind for kind in KNOWN}
    assert set(DISCOVERED) <= set(ROUTERS)


def _is_a_bench(bench: WeightedBench) -> Bench:
    return bench
