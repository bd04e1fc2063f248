"""Linnet itself is upgraded and rolled back under a running release: nobody notices."""

from __future__ import annotations

import pytest

from tests.cluster.scenario import Shop
from tests.testbed.linnet import Linnet, eventually

pytestmark = pytest.mark.cluster


def moved(shop: Shop) -> object:
    """Everything that must not move: pods, weights, and the versions of the objects themselves."""
    pods = sorted(p["metadata"]["uid"] for p in shop.items("pods"))
    versions = {
        d["metadata"]["name"]: (d["metadata"].get("generation"), str(d["spec"]))
        for d in [*shop.items("deployment"), *shop.items("httproute"), *shop.items("service")]
    }
    return pods, versions


def test_upgrade_and_rollback_of_linnet_in_mid_release_move_no_pod_and_no_weight(front: Shop, linnet: Linnet) -> None:
    """A new daemon goes on from the status: the same canary object, the same weights, the same step."""
    front.open({"steps": [{"weight": 20, "dwell": {"minDuration": "25s"}}]}, flags=True)
    front.load(60)
    front.push("v2")
    front.await_weight(20)
    before, first = moved(front), linnet.leader()
    linnet.install({"logFormat": "console"})
    eventually(lambda: linnet.leader() not in ("", first), "the new daemon leads", 30)
    second = linnet.leader()
    assert moved(front) == before
    assert front.status()["phase"] == "Progressing"
    linnet.plane.helm("rollback", linnet.release, "-n", linnet.namespace, "--wait", "--timeout=60s")
    eventually(lambda: linnet.leader() not in ("", first, second), "the daemon of before leads", 30)
    front.await_verdict("Pass", 90)
    seen = front.stop_load()
    front.assert_no_switch_hurt(seen)
    words = front.steps()
    assert words.count("create canary") == words.count("weight 20") == words.count("release") == 1, words
    front.assert_clean()
