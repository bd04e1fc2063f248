"""A release from the first held write to the end, good and bad, as its users see it: objects, owners, writes, requests."""

from __future__ import annotations

import time

import pytest

from tests.cluster.scenario import API, Shop
from tests.cluster.stage import scenario
from tests.testbed.prometheus import start_prometheus

pytestmark = pytest.mark.cluster


def subsequence(wanted: list[str], seen: list[str]) -> None:
    """`wanted` happened in this order, whatever else happened between."""
    rest = iter(seen)
    for word in wanted:
        assert word in rest, f"{word!r} is missing after what came before it; the writes: {seen}"


@scenario
def test_a_good_release_is_promoted_with_its_flag(shop: Shop) -> None:
    """Traffic and flag move together, the roll of stable comes before the traffic returns, and nothing of the user's is changed."""
    shop.open(flags=True, startup_seconds=3)
    shop.load(80)
    shop.push("v2")
    shop.await_weight(20)
    # The same manifest again in mid-release, as every pipeline and GitOps tool does: nothing to release, nothing to refuse.
    shop.push("v2")
    status = shop.await_verdict("Pass", 90)
    seen = shop.stop_load()
    assert "promoted" in status["sentence"] and "new-checkout" in status["sentence"], status["sentence"]
    assert shop.image() == "shop:v2"
    shop.assert_clean()
    shop.assert_no_switch_hurt(seen)
    assert seen.outcomes() == {"200": seen.total}
    subsequence(
        [
            "create canary",
            "backend 0",
            "weight 20",
            "flag",
            "weight 50",
            "release",
            "flag",
            "weight 0",
            "route back",
            "route owners",
            "delete canary",
        ],
        shop.steps(),
    )
    before = {k: v for k, v in shop.before.items() if k != "configmap"}
    shop.before = before
    shop.assert_as_before("shop:v2")


@scenario
def test_a_bad_release_is_rolled_back_and_a_good_one_follows(shop: Shop) -> None:
    """A version that fails behind its flag is taken back, all of it; the next version starts as if nothing had been."""
    shop.open(flags=True)
    shop.load(80)
    shop.push("flagbad-30")
    status = shop.await_verdict("Fail")
    assert "rolled back" in status["sentence"] and "needed" in status["sentence"], status["sentence"]
    shop.assert_clean()
    shop.assert_as_before("shop:v1")
    shop.push("v3")
    shop.await_verdict("Pass", 90)
    seen = shop.stop_load()
    shop.assert_no_switch_hurt(seen)
    assert {r["version"] for r in seen.failures()} == {"flagbad-30"}


@scenario
def test_an_outage_of_prometheus_decides_nothing(shop: Shop) -> None:
    """For a minute there is nothing to judge by: the release holds where it is, says so, and goes on when the data are back."""
    prometheus = start_prometheus(shop.plane, port=9091)  # its own: other releases have theirs at the usual one
    source = {
        "apiVersion": API,
        "kind": "MetricSource",
        "metadata": {"name": "default"},
        "spec": {"type": "Prometheus", "prometheus": {"url": prometheus.url}},
    }
    try:
        shop.open({"steps": [{"weight": 20, "dwell": {"minDuration": "2s"}}]}, source=source)
        shop.load(60)
        shop.push("v2")
        shop.await_weight(20)
        prometheus.stop()
        stopped = time.time()
        shop.until(lambda s: (s.get("waiting") or {}).get("reason") == "ProviderError", "the outage is told", 30)
        while time.time() < stopped + 60:
            status = shop.status()
            assert (status["phase"], status["weight"], status["verdict"]["result"]) == ("Progressing", 20, "Pending"), status
            time.sleep(1)
        prometheus.restart()
        shop.await_verdict("Pass", 90)
    finally:
        prometheus.stop()
    shop.assert_no_switch_hurt(shop.stop_load())
