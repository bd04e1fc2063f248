"""Release groups on a real API server: one bad member takes the other back, a good pair is promoted in its order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.scenario import Shop, canary
from tests.cluster.stage import scenario
from tests.testbed.gateway import http_route
from tests.testbed.linnet import eventually
from tests.testbed.nodes import shop as manifest

pytestmark = pytest.mark.cluster

QUIET = {"deadline": "3s", "outcomes": {"inconclusive": {"action": "Promote"}, "noData": {"action": "Promote"}}}
SPEC: dict[str, Any] = {"steps": [{"weight": 20, "dwell": {"minDuration": "1s"}}], "analysis": QUIET}


def group(shop: Shop) -> dict[str, Any]:
    listed: dict[str, Any] = next(g for g in shop.plane.json("get", "releasegroups", "-n", shop.namespace)["items"])
    found: dict[str, Any] = listed.get("status") or {}
    return found


def released(shop: Shop) -> list[str]:
    """Deployments in the order in which they were let roll."""
    writes = [one for one in shop.writes().on("deployments") if isinstance(one.request, list)]
    return [one.name for one in writes if any(o["op"] == "remove" and o["path"] == "/spec/paused" for o in one.request)]


@scenario
def test_two_services_are_released_as_one_or_not_at_all(shop: Shop) -> None:
    """The first is ready and waits for the second; the abort of one takes both back; with new versions both are promoted, in order."""
    shop.apply(*manifest("cart", startup_seconds=0), http_route("cart", f"cart.{shop.host}", {"cart": None}))
    shop.open(SPEC)
    shop.apply(canary("cart", **SPEC))
    eventually(lambda: shop.status("cart").get("phase") == "Idle", "cart is adopted")
    members = [{"name": "shop", "after": ["cart"]}, {"name": "cart"}]
    shop.apply(
        {
            "apiVersion": "linnet.dev/v1alpha1",
            "kind": "ReleaseGroup",
            "metadata": {"name": "both", "namespace": shop.namespace},
            "spec": {"members": members, "start": "All"},
        }
    )
    eventually(lambda: group(shop).get("phase") == "Idle", "the group is known")
    shop.push("v2")
    shop.until(lambda s: "none yet of cart" in (s.get("waiting") or {}).get("message", ""), "shop waits for cart")
    shop.kubectl("set", "image", "deployment/cart", "shop=shop:v2")
    eventually(lambda: shop.status().get("rollout"), "shop started once cart was ready")
    assert shop.status("cart")["waiting"]["reason"] == "PermitGroup", shop.status("cart")
    shop.order("abort")
    eventually(lambda: group(shop)["phase"] == "RolledBack", "both went back")
    assert {m["name"]: m["state"] for m in group(shop)["members"]} == {"shop": "Failed", "cart": "Back"}, group(shop)
    assert shop.status("cart")["history"][0]["outcome"] == "GroupRolledBack"
    shop.push("v3")
    shop.kubectl("set", "image", "deployment/cart", "shop=shop:v3")
    eventually(lambda: group(shop)["phase"] == "Promoted", "both are promoted", timeout=90)
    assert released(shop)[-2:] == ["cart", "shop"], "by the audit log"
    assert shop.image() == "shop:v3"
