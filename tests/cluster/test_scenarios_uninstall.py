"""The end of Linnet in a cluster, in the middle of everything: what serves afterwards was judged fine (promise P10)."""

from __future__ import annotations

import pytest

from tests.cluster.scenario import Shop
from tests.cluster.stage import Stage
from tests.testbed.linnet import Linnet

pytestmark = pytest.mark.cluster

SLOW = [{"weight": 20, "dwell": {"minDuration": "5m"}}]


def test_uninstalling_in_mid_release_ships_nothing_that_was_not_judged(stage: Stage, linnet: Linnet) -> None:
    """One shop under way, one with a rejected template held, one at rest: each ends released on stable, with its route and flag as before."""
    under_way, rejected, at_rest = (stage.front() for _ in range(3))
    under_way.open({"steps": SLOW}, flags=True)
    rejected.open({"steps": SLOW, "onRollback": "Hold"})
    at_rest.open(replicas=1)
    under_way.load(60)
    for shop in (under_way, rejected):
        shop.push("v2")
        shop.await_weight(20)
    rejected.order("abort")
    rejected.await_phase("Held")
    linnet.uninstall()
    seen = under_way.stop_load()
    shops: tuple[Shop, ...] = (under_way, rejected, at_rest)
    for shop in shops:
        shop.assert_clean()
        shop.assert_as_before("shop:v1")
        shop.kubectl("rollout", "status", "deployment/shop", "--timeout=30s")
        assert not shop.get("deployment", "shop")["spec"].get("paused")
    under_way.assert_no_switch_hurt(seen)
    assert seen.outcomes() == {"200": seen.total}
    policies = linnet.plane.kubectl("get", "mutatingadmissionpolicies,validatingadmissionpolicies", "-o", "name").stdout
    assert "linnet" not in policies
    at_rest.push_image("v2")
    at_rest.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")  # an ordinary Deployment again
