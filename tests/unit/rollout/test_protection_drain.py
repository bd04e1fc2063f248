"""Open requests outlive the weight: the canary's pods end only a moment after the last parent reported the route without them."""

from __future__ import annotations

from tests.unit.rollout.world import Version
from tests.unit.rollout.worlds import releasing


def test_pods_outlive_the_weight_by_a_moment() -> None:
    """Three seconds at least lie between the route as it was and the end of the canary."""
    w = releasing(Version("v2", judge="bad"))
    w.reach("RollingBack", rollback="Draining")
    w.run(lambda w: all(r.weight is None for r in w.routes))
    assert "v2" in w.canaries
    restored = w.now
    w.run(lambda w: "v2" not in w.canaries)
    assert w.now - restored >= 3.0
