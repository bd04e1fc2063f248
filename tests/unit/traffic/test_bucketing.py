"""A weight as a share of users: a rule for their buckets beside backends at weight 0, read back as the weight that it is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.rollout.pick import ELSE
from daemon.sandbox.store import Caller
from flags.buckets import pattern
from tests.unit.control.cluster import Object
from tests.unit.traffic.bench import WeightedBench
from tests.unit.traffic.contract import CANARY, HEADER, STABLE, moved, view
from tests.unit.traffic.shapes import SHAPES
from tests.unit.traffic.test_routers import a_bench

BY = "X-Linnet-Bucket"
ABLE = [name for name, shape in SHAPES.items() if shape.dialect.rules is not None]
UNABLE = [name for name in SHAPES if name not in ABLE]


def by_bucket(bench: WeightedBench) -> None:
    bench.scope = msgspec.structs.replace(bench.scope, buckets=BY)


def told(rules: list[Object]) -> list[str]:
    """The header conditions of the last rule, as either kind writes them."""
    last = rules[-1]
    given = [h for match in last.get("matches", []) for h in match.get("headers", []) if h["name"] == BY]
    given += [c["header"] for c in last.get("conditions", []) if c.get("header", {}).get("name") == BY]
    return [h.get("value") or h.get("regex") for h in given]


def rules_of(bench: WeightedBench) -> list[Object]:
    spec = bench.live()["spec"]
    return list(spec.get("rules") or spec["routes"])


@pytest.mark.parametrize("name", ABLE)
async def test_a_weight_is_a_rule_for_as_many_buckets(tmp_path: Path, name: str) -> None:
    """Up, down and away: the backends stay at 0 until everybody is meant, each weight is read as it was written, the route ends as it was."""
    async with a_bench(tmp_path, SHAPES[name]) as bench:
        by_bucket(bench)
        bench.write(rules=2)
        before, owners = bench.state()[0], len(rules_of(bench))
        undo = await moved(bench, 0)
        assert (view(bench, undo).weight, view(bench, undo).picked) == (0, "")
        for weight in (1, 9, 10, 37, 99, 50):
            await bench.router.set_weight(bench.scope, weight)
            assert (view(bench, undo).weight, view(bench, undo).picked) == (weight, "")
            assert bench.split()[:owners] == [{STABLE: 100, CANARY: 0}] * owners
            assert told(rules_of(bench)) == [pattern(weight)]
            assert len(rules_of(bench)) == 2 * owners
        version = bench.version()
        await bench.router.set_weight(bench.scope, 50)
        assert bench.version() == version, "what is so is not written again"
        await bench.router.set_weight(bench.scope, 100)
        assert (view(bench, undo).weight, len(rules_of(bench)), bench.split()[0].get(CANARY)) == (100, owners, 100)
        await bench.router.set_weight(bench.scope, 20)
        await bench.router.restore(msgspec.structs.replace(bench.scope, buckets=""), undo)  # as `linnet cleanup` has it
        assert bench.state()[0] == before


@pytest.mark.parametrize("name", ABLE)
async def test_a_share_at_random_is_none_that_was_written(tmp_path: Path, name: str) -> None:
    """Somebody's weight in place of the rule, or beside it, or another rule: seen as something else that reaches the canary."""
    async with a_bench(tmp_path, SHAPES[name]) as bench:
        by_bucket(bench)
        bench.write()
        undo = await moved(bench, 0)
        await bench.router.set_weight(bench.scope, 10)

        def random_share(spec: Any) -> None:
            for backend in bench.shape.lists(spec)[0]:
                backend[bench.shape.dialect.weight] = 10 if bench.shape.service(backend) == CANARY else 90

        def without_rule(spec: Any) -> None:
            (spec.get("rules") or spec["routes"]).pop()

        def narrower(spec: Any) -> None:
            rule = (spec.get("rules") or spec["routes"])[-1]
            (rule.get("matches") or [{}])[0].pop("path", None)
            rule["filters" if "matches" in rule else "timeoutPolicy"] = []

        for edit, weight in ((random_share, 10), (narrower, 10), (without_rule, 10)):
            bench.edit(edit, "someone")
            bench.look()
            found = view(bench, undo)
            assert (found.weight, found.picked, found.manager) == (weight, ELSE, "someone")


@pytest.mark.parametrize("name", ABLE)
async def test_a_match_step_goes_before_the_buckets(tmp_path: Path, name: str) -> None:
    """Staff by header first, then a share of users: one set of rules takes the other's place in one write."""
    async with a_bench(tmp_path, SHAPES[name]) as bench:
        by_bucket(bench)
        bench.scope = msgspec.structs.replace(bench.scope, picks=(HEADER,))
        bench.write()
        undo = await moved(bench, 0)
        await bench.router.set_weight(bench.scope, 0, HEADER)
        assert (view(bench, undo).weight, view(bench, undo).picked) == (0, HEADER.words)
        await bench.router.set_weight(bench.scope, 5)
        assert (view(bench, undo).weight, view(bench, undo).picked, len(rules_of(bench))) == (5, "", 2)


@pytest.mark.parametrize("name", UNABLE)
async def test_a_route_that_knows_no_buckets_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """Before a pod is started, with the modes that work there."""
    async with a_bench(tmp_path, SHAPES[name]) as bench:
        bench.write()
        by_bucket(bench)
        problem, *_ = bench.router.problems(bench.scope)
        assert (problem.reason, bench.scope.route in problem.message) == ("RouteCannotPick", True)
        assert "mode to Gated or Independent" in problem.way_out


async def test_a_gateway_that_is_not_known_to_match_patterns_is_refused(tmp_path: Path) -> None:
    """An HTTPRoute is as able as the gateway behind it: Istio reports nothing of regular expressions."""
    async with a_bench(tmp_path, SHAPES["HTTPRoute"]) as bench:
        by_bucket(bench)
        bench.write()
        await bench.report()
        assert bench.router.problems(bench.scope) == []
        found = copy.deepcopy(bench.live())
        found["status"]["parents"][0]["controllerName"] = "istio.io/gateway-controller"
        bench.cluster.store.update(bench.resource, found, user=Caller(user="gateway", manager="gateway"), subresource="status")
        bench.look()
        [problem] = bench.router.problems(bench.scope)
        assert "istio.io/gateway-controller is not known to do it by buckets of users; known are projectcontour.io" in problem.message
        assert "mode to Gated or Independent" in problem.way_out
