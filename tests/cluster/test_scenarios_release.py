"""A release from the first held write to the end, good and bad, as its users see it: objects, owners, writes, requests."""

from __future__ import annotations

import pytest

from tests.cluster.scenario import Shop

pytestmark = pytest.mark.cluster


def subsequence(wanted: list[str], seen: list[str]) -> None:
    """`wanted` happened in this order, whatever else happened between."""
    rest = iter(seen)
    for word in wanted:
        assert word in rest, f"{word!r} is missing after what came before it; the writes: {seen}"


def test_a_good_release_is_promoted_with_its_flag(front: Shop) -> None:
    """Traffic and flag move together, the roll of stable comes before the traffic returns, and nothing of the user's is changed."""
    front.open(flags=True, startup_seconds=3)
    front.load(80)
    front.push("v2")
    front.await_weight(20)
    # The same manifest again in mid-release, as every pipeline and GitOps tool does: nothing to release, nothing to refuse.
    front.push("v2")
    status = front.await_verdict("Pass", 90)
    seen = front.stop_load()
    assert "promoted" in status["sentence"] and "new-checkout" in status["sentence"], status["sentence"]
    assert front.image() == "shop:v2"
    front.assert_clean()
    front.assert_no_switch_hurt(seen)
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
        front.steps(),
    )
    before = {k: v for k, v in front.before.items() if k != "configmap"}
    front.before = before
    front.assert_as_before("shop:v2")


def test_a_bad_release_is_rolled_back_and_a_good_one_follows(front: Shop) -> None:
    """A version that fails behind its flag is taken back, all of it; the next version starts as if nothing had been."""
    front.open(flags=True)
    front.load(80)
    front.push("flagbad-30")
    status = front.await_verdict("Fail")
    assert "rolled back" in status["sentence"] and "needed" in status["sentence"], status["sentence"]
    front.assert_clean()
    front.assert_as_before("shop:v1")
    front.push("v3")
    front.await_verdict("Pass", 90)
    seen = front.stop_load()
    front.assert_no_switch_hurt(seen)
    assert {r["version"] for r in seen.failures()} == {"flagbad-30"}
