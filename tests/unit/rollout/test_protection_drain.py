"""Open requests outlive the weight: the canary's pods end only a moment after the last parent reported the route without them."""

from __future__ import annotations

from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import releasing


def test_pods_outlive_the_weight_by_a_moment() -> None:
    """Three seconds at least lie between the first pass that sees the route as it was and the end of the canary."""
    clear: list[float] = []
    ended: list[float] = []

    def note(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
        if before.phase == "RollingBack" and all(r.weight is None and r.accepted for r in seen.routes):
            clear.append(world.now)
        if any(isinstance(a, m.DeleteCanary) for a in decision.actions):
            ended.append(world.now)

    w = releasing(Version("v2", judge="bad"))
    w.checks.append(note)
    w.settle()
    assert ended[0] - clear[0] >= 3.0
