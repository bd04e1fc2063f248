"""A gateway as it is installed: it reports a route at once and acts on it seconds later. Pods that end at once show who trusted the report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.scenario import Shop
from tests.testbed.gateway import QUICK, Gateway

pytestmark = pytest.mark.cluster


@pytest.fixture
def slow_gateway(gateway: Gateway) -> Iterator[Gateway]:
    """Traefik with the throttle that it has where nobody says another; afterwards the quick one again."""
    gateway.restart("2s")
    yield gateway
    gateway.restart(QUICK)


def test_pods_end_only_when_a_slow_gateway_no_longer_uses_them(slow_gateway: Gateway, front: Shop) -> None:
    """Stable's before they are recreated, the canary's after a promotion and after a rollback: no request meets a pod that is gone."""
    spec = {"steps": [{"weight": 50, "dwell": {"minDuration": "2s"}}], "traffic": {"drain": "10s"}}
    front.open(spec, replicas=1, strategy={"type": "Recreate"}, pre_stop=0)
    front.load(60)
    front.push("v2")
    front.await_verdict("Pass", 120)
    front.push("bad-40")
    front.await_verdict("Fail", 90)
    seen = front.stop_load()
    front.assert_no_switch_hurt(seen)
    assert {r["version"] for r in seen.failures()} == {"bad-40"}
