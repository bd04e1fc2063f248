"""A release by evidence on a real cluster: the weights in the route, and the verdicts, are those that follow from the stored log."""

from __future__ import annotations

import json

import pytest

from analyzers.evidence import read, replay, walk, write
from analyzers.ticks import Action
from tests.cluster.scenario import ANALYSIS, API, Shop
from tests.cluster.stage import scenario
from tests.witness.evidence import clean, explained

pytestmark = pytest.mark.cluster

BY_EVIDENCE = {"strategy": {"ramp": "Adaptive"}, "steps": [{"weight": 10}, {"weight": 50}], "analysis": {**ANALYSIS, "bake": "5s"}}


@scenario
def test_evidence_moves_the_weight_and_its_log_says_how(shop: Shop) -> None:
    """A good version climbs to half of the traffic in one write each, a bad one never gets there: both as the log alone has it."""
    shop.open(BY_EVIDENCE, startup_seconds=1)
    shop.load(80)
    shop.push("v2")
    status = shop.await_verdict("Pass", 120)
    log = read(stored(shop, status["verdict"]["revision"]))
    words = shop.steps()
    weights = explained(log)
    assert weights[-2:] == [10, 50]
    assert [f"weight {w}" for w in weights] == [w for w in words if w.startswith("weight ") and w != "weight 0"], words
    assert replay(write(log)).action is Action.PROMOTE
    shop.await_phase("Idle")
    shop.push("bad-30")
    status = shop.await_verdict("Fail", 90)
    failed = read(stored(shop, status["verdict"]["revision"]))
    assert replay(write(failed)).action is Action.ROLLBACK
    assert Action.ROLLBACK not in [answer.action for _, answer, _ in walk(clean(failed))]
    assert max(explained(failed)) <= 10
    assert shop.steps().count("weight 50") == 1
    seen = shop.stop_load()
    shop.assert_clean()
    shop.assert_as_before("shop:v2")
    shop.assert_no_switch_hurt(seen)


def stored(shop: Shop, revision: str) -> str:
    """The evidence, of a run whose verdict is not looked at."""
    path = f"/apis/{API}/namespaces/{shop.namespace}/analysisruns/shop-{revision}"
    text: str = json.loads(shop.plane.request(path))["status"]["evidence"]["data"]
    return text
