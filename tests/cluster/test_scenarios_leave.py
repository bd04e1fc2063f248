"""Freezes and release windows on a real API server: what waits, what never does, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.scenario import Shop, canary
from tests.cluster.stage import scenario
from tests.testbed.gateway import http_route
from tests.testbed.linnet import eventually
from tests.testbed.nodes import shop as manifest

pytestmark = pytest.mark.cluster

SLOW = [{"weight": 20, "dwell": {"minDuration": "2m"}}, {"weight": 50, "dwell": {"minDuration": "2m"}}]


def freeze(shop: Shop, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "linnet.dev/v1alpha1",
        "kind": "Freeze",
        "metadata": {"name": "sale", "namespace": shop.namespace},
        "spec": {"reason": "the sale", **spec},
    }


def waits(shop: Shop, reason: str) -> dict[str, str]:
    found: dict[str, str] = shop.until(lambda s: (s.get("waiting") or {}).get("reason") == reason, reason)["waiting"]
    return found


@scenario
def test_a_freeze_stops_what_goes_forward_and_nothing_that_goes_back(shop: Shop) -> None:
    """The start waits and nothing is written; in mid-release the share stays, a plain promote is refused, and an abort is carried out."""
    until = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
    shop.open({"steps": SLOW})
    shop.apply(freeze(shop, until=until, selector={"matchLabels": {}}))
    shop.push("v2")
    waiting = waits(shop, "PermitFreeze")
    assert waiting["until"][:19] == until[:19]
    assert f"by Freeze {shop.namespace}/sale: the sale" in waiting["message"], waiting
    assert not [word for word in shop.steps() if word.startswith(("weight", "canary"))], shop.steps()
    shop.kubectl("delete", "freeze", "sale")
    shop.await_weight(20)
    shop.apply(freeze(shop, hotfixes="Refused"))
    assert "until it is deleted" in waits(shop, "PermitFreeze")["message"]
    shop.order("promote")
    assert "the sale" in shop.await_event("CommandRefused")
    assert shop.weights() == {"shop": 80, "shop-canary": 20}
    shop.order("abort")
    shop.await_verdict("Fail")
    shop.assert_clean()
    shop.assert_as_before("shop:v1")


@scenario
def test_a_closed_window_holds_the_start_and_a_hotfix_with_a_reason_passes(shop: Shop) -> None:
    """By the wall clock of its zone; the person and the reason are in the sentence."""
    day = f"{datetime.now(UTC) + timedelta(days=3):%a}"
    shop.open({"steps": SLOW, "windows": [{"timeZone": "Asia/Kathmandu", "days": [day], "opens": "09:00", "closes": "17:00"}]})
    shop.push("v2")
    waiting = waits(shop, "PermitWindow")
    assert f"({day} 09:00-17:00 Asia/Kathmandu): the next opens {day}" in waiting["message"], waiting
    assert waiting["until"].endswith("T03:15:00.000Z"), waiting
    shop.order("hotfix")
    status = shop.await_verdict("Pass")
    assert "admin" in status["sentence"], status["sentence"]
    shop.assert_clean()


@scenario
def test_a_namespace_releases_as_many_at_once_as_its_annotation_says(shop: Shop) -> None:
    """The second waits in line and says its place, and begins when the first has ended; a cap that is no number is named."""

    def capped(text: str) -> None:
        shop.plane.kubectl("annotate", "namespace", shop.namespace, "--overwrite", f"linnet.dev/max-rollouts={text}")

    shop.apply(*manifest("cart", startup_seconds=0), http_route("cart", f"cart.{shop.host}", {"cart": None}))
    shop.open({"steps": SLOW})
    shop.apply(canary("cart", steps=SLOW))
    eventually(lambda: shop.status("cart").get("phase") == "Idle", "cart is adopted")
    capped("one")
    shop.kubectl("set", "image", "deployment/cart", "shop=shop:v2")
    eventually(lambda: "is 'one', and takes a whole number" in shop.status("cart").get("waiting", {}).get("message", ""), "it is named")
    capped("1")
    eventually(lambda: shop.status("cart").get("rollout"), "cart is under way")
    shop.push("v2")
    place = f"1st of 1 waiting in namespace {shop.namespace}; 1 of 1 releases of it are under way"
    assert waits(shop, "PermitQueue")["message"] == place
    eventually(lambda: any(place in event["note"] for event in shop.events("Waiting")), "an Event says the place")
    assert not [name for name in shop.deployments() if name.startswith("shop-canary")]
    shop.order("abort", of="cart")
    shop.await_weight(20)
    assert shop.status("cart").get("rollout") is None
