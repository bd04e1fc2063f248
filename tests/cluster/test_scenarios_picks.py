"""Requests that are picked for the canary before anybody else meets it, on a real gateway: who met which version says the app's own log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.scenario import Shop
from tests.cluster.stage import scenario
from tests.testbed.linnet import eventually

pytestmark = pytest.mark.cluster

STAFF = {"x-group": "staff"}
WORDS = "requests with header x-group: staff"
STEPS = [
    {"name": "staff", "match": {"headers": STAFF}, "dwell": {"minDuration": "1h"}},
    {"name": "half", "weight": 50, "dwell": {"minDuration": "2s"}},
]


def picked(status: dict[str, Any]) -> bool:
    """The match is written, taken by the gateway, and its time runs."""
    return [r.get("observedPick") for r in status.get("routes") or ()] == [WORDS] and (status.get("waiting") or {}).get("reason") == "Dwell"


def in_force(shop: Shop, version: str) -> None:
    """A gateway reports a route before it acts on it; from then on every request of staff meets the version."""
    eventually(lambda: shop.ask(2, STAFF) == {version: 2}, f"staff meet {version}", 30)
    assert shop.ask(20, STAFF) == {version: 20}


@scenario
def test_matched_people_meet_a_new_version_first_and_then_a_share_of_everybody(shop: Shop) -> None:
    """A good version: staff alone, then half, then promoted. The next one is aborted under the match, and the route is as it was."""
    shop.open({"steps": STEPS})
    shop.load()
    shop.push("v2")
    status = shop.until(picked, "the match is in force")
    assert (status["phase"], status["weight"], status["step"]) == ("Progressing", 0, "1/2 staff")
    assert "judgeFrom" not in status["rollout"], "nothing is compared while only matched people meet it"
    in_force(shop, "v2")
    assert shop.ask(20, {"x-group": "other"}) == {"v1": 20}
    shop.order("skip")
    shop.await_verdict("Pass", 120)
    assert shop.ask(5, STAFF) == {"v2": 5}
    words = [w for w in shop.steps() if w.startswith(("backend", "weight", "pick", "route back", "create", "delete"))]
    assert words[:4] == ["create canary", "backend 0", "pick", "weight 50"], words
    shop.assert_clean()
    shop.assert_as_before("shop:v2")
    shop.push("v3")
    shop.until(picked, "the match of the next version is in force")
    in_force(shop, "v3")
    shop.order("abort")
    status = shop.await_verdict("Fail", 60)
    assert f" at {WORDS}: " in status["sentence"], status["sentence"]
    assert shop.ask(20, STAFF) == {"v2": 20}
    seen = shop.stop_load()
    assert "v3" not in {r["version"] for r in seen.records}, "nobody else met it"
    assert seen.outcomes() == {"200": seen.total}
    shop.assert_no_switch_hurt(seen)
    shop.assert_clean()
    shop.assert_as_before("shop:v2")
