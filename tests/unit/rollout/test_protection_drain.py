"""A gateway reports a route before it acts on it, and open requests outlive the weight: pods end only a while after the report."""

from __future__ import annotations

import pytest

from daemon.api.canary import Traffic
from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from tests.unit.rollout.world import Pods, Version, World
from tests.unit.rollout.worlds import releasing


@pytest.mark.parametrize(("drain", "least"), [(None, 10.0), ("45s", 45.0)])
def test_canary_pods_outlive_the_report_of_the_route_without_them(drain: str | None, least: float) -> None:
    """So long, and ten seconds where nothing is said, lies between the first pass that sees the route as it was and the end of the canary."""
    clear: list[float] = []
    ended: list[float] = []

    def note(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
        if before.phase == "RollingBack" and all(r.weight is None and r.accepted for r in seen.routes):
            clear.append(world.now)
        if any(isinstance(a, m.DeleteCanary) for a in decision.actions):
            ended.append(world.now)

    w = releasing(Version("v2", judge="bad"), spec={"traffic": Traffic(drain=drain)})
    w.checks.append(note)
    w.settle()
    assert least <= ended[0] - clear[0] <= least + 5


def test_stable_pods_outlive_the_report_that_all_traffic_left_them() -> None:
    """Where the native roll will empty stable, the hold ends only after the gateway had time to act on 100 %."""
    full: list[float] = []
    released: list[float] = []

    def note(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
        if all(r.weight == 100 and r.accepted for r in seen.routes):
            full.append(world.now)
        if any(isinstance(a, m.ReleaseHold) for a in decision.actions):
            released.append(world.now)

    w = releasing(Version("v2"), recreate=True)
    w.checks.append(note)
    w.settle()
    assert w.status.stable_revision == "v2"
    assert released[0] - full[0] >= 10.0


def test_where_a_roll_empties_stable_an_abort_puts_the_template_back_before_the_weight() -> None:
    """The pods of the version that is taken back are no capacity: a native roll is about to replace them all."""
    w = releasing(Version("v2"), recreate=True)
    w.reach("Promoting", promotion="Rolling")
    w.paused, w.sets = False, {"v2": Pods(w.replicas, w.replicas - 1)}
    w.say("abort")
    w.turn()
    assert w.template == "v1"
    assert w.weight == 100
    w.settle()
    assert w.sets["v1"].available == w.replicas
    w.as_found()
