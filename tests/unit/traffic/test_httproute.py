"""What only an HTTPRoute has; the contract is in test_routers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.unit.control.cluster import ROUTES, Object
from tests.unit.control.world import route
from tests.unit.traffic.bench import WeightedBench
from tests.unit.traffic.contract import CANARY, STABLE, moved, view
from tests.unit.traffic.shapes import SHAPES
from tests.unit.traffic.test_routers import a_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[WeightedBench]:
    async with a_bench(tmp_path, SHAPES["HTTPRoute"]) as made:
        yield made


def backends(bench: WeightedBench) -> list[Object]:
    found: list[Object] = bench.cluster.get(ROUTES, "web")["spec"]["rules"][0]["backendRefs"]
    return found


async def test_the_canarys_backend_is_a_copy_of_stables(bench: WeightedBench) -> None:
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


async def test_only_the_port_that_was_named_moves(bench: WeightedBench) -> None:
    """A rule to another port of the same Service is another thing."""
    rules = [{"matches": [{"path": {"value": f"/{port}"}}], "backendRefs": [{"name": STABLE, "port": port}]} for port in (80, 9090)]
    bench.manifest = route(rules=rules)
    bench.apply_again()
    bench.scope = msgspec.structs.replace(bench.scope, port=9090)
    await moved(bench, 0, 20)
    assert bench.split() == [{STABLE: 100}, {STABLE: 80, CANARY: 20}]


async def test_rules_that_disagree_are_a_problem_and_not_a_weight(bench: WeightedBench) -> None:
    """Half a change of hands is told, and never counts as accepted."""
    bench.write(rules=2)
    undo = await moved(bench, 0, 20)

    def take_one(spec: Object) -> None:
        spec["rules"][1]["backendRefs"] = [{"name": STABLE, "port": 80}]

    bench.edit(take_one)
    bench.look()
    await bench.report()
    found = view(bench, undo)
    assert not found.accepted
    assert "disagree" in found.problem


async def test_a_route_that_does_not_name_the_service_is_a_problem(bench: WeightedBench) -> None:
    """The view says which Service is missing."""
    bench.write()
    bench.scope = msgspec.structs.replace(bench.scope, stable="elsewhere")
    assert "no rule names Service elsewhere" in view(bench).problem
