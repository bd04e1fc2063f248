"""Aborts at random moments, and a second cluster at the same flag: the order and the ownership of writes, by others' records.

Unleash says what was written to the flag and when, the API server what was written to the route; neither knows of Linnet. Each moment is
drawn anew in every run, and printed with its seed: `LINNET_ABORT_SEED` plays a run again, `LINNET_CLUSTER_ABORTS` makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.scenario import Shop
from tests.cluster.test_scenarios_flags import PRODUCTION, Flagged
from tests.testbed.unleash import BACKEND, Unleash
from tests.unit.control.world import a_world, linnet

pytestmark = [pytest.mark.cluster, pytest.mark.unleash]

ABORTS = int(os.environ.get("LINNET_CLUSTER_ABORTS", "3"))
SEED = int(os.environ.get("LINNET_ABORT_SEED") or secrets.randbelow(10**6))
STEPS = [{"weight": 20, "flags": [{"name": "new-checkout", "percent": 40}], "dwell": {"minDuration": "1ms"}}, {"pause": {}}]
CLOCKS = 0.05  # seconds by which the database's clock and the API server's may be read apart: one machine, other roundings


def test_aborts_at_random_moments_keep_the_order_on_a_real_cluster(front: Shop, unleash: Unleash, tmp_path: Path) -> None:
    """P3: no write raises the flag before the weight was observed, none after the abort; and another cluster never touches it."""
    flagged = Flagged(front, unleash).open(STEPS)
    dice, begun, aborted = random.Random(SEED), list[float](), list[float]()
    print(f"LINNET_ABORT_SEED={SEED}")
    for number in range(ABORTS):
        begun.append(time.time())
        front.push(f"v{number + 2}", FLAG_KEY=flagged.flag)
        front.until(lambda s: (s.get("rollout") or {}).get("revision") and s.get("phase") != "Idle", "begun")
        if number == 0:
            flagged.await_percent(40)
            asyncio.run(_a_second_cluster_is_refused(tmp_path, flagged))
        else:
            time.sleep(dice.uniform(0.0, 6.0))  # the moment is what is tried
        front.order("abort")
        ended = front.until(lambda s: s.get("rollout") is None and s.get("phase") in ("Held", "Idle"), "everything is put away", 120)
        assert ended["verdict"]["result"] == "Fail", ended["sentence"]
        aborted.append(_heard(flagged, ended["lastAction"], begun[-1]))
        assert flagged.unleash.strategies(flagged.flag, PRODUCTION)[0]["parameters"]["rollout"] == "0" or not flagged.ours()
    for began, ends, abort in zip(begun, [*begun[1:], float("inf")], aborted, strict=True):
        _assert_order(flagged, began, ends, abort)


def _assert_order(flagged: Flagged, began: float, ends: float, abort: float) -> None:
    raised = [entry.time for entry in flagged.log().between(began, ends).raises()]
    closed = [entry.time for entry in flagged.log().between(began, ends).zeroes()]
    assert len(raised) <= 1, raised
    assert len(closed) == len(raised), "what was raised was taken back, once"
    if not raised:
        return
    written = [at for at, weight in flagged.weight_writes() if began <= at < ends and weight == 20]
    accepted = _first(flagged, lambda status: status.get("weight") == 20, began)
    assert written
    assert max(min(written), accepted) <= raised[0] + CLOCKS, "the flag rose before the weight was observed"
    assert raised[0] <= abort + CLOCKS, "the flag rose after the abort"
    down = next(at for at, weight in flagged.weight_writes() if abort - CLOCKS <= at < ends and weight == 0)
    assert max(closed[0], down) - abort < 5, (abort, closed, down)


def _first(flagged: Flagged, said: Callable[[dict[str, Any]], bool], since: float) -> float:
    """When the API server took the Canary's status that says so."""
    name = flagged.shop.namespace
    for one in flagged.shop.writes(since).on("canaries", namespace=name):
        status = ((one.response or {}) if isinstance(one.response, dict) else {}).get("status") or {}
        if one.time >= since and said(status):
            return one.time
    raise AssertionError("the API server never took such a status")


def _heard(flagged: Flagged, action: str, since: float) -> float:
    """When the daemon took up what was said; where nothing had been exposed yet, the same status is the end."""
    return _first(flagged, lambda status: status.get("lastAction") == action, since)


async def _a_second_cluster_is_refused(root: Path, flagged: Flagged) -> None:
    """A whole daemon of another cluster, whose Canary names the same flag: `FlagBusy`, and by Unleash's log not one write of its."""
    before = [entry.id for entry in flagged.log()]
    async with a_world(root, cluster_name="west") as west:
        west.secret("unleash", token=await asyncio.to_thread(flagged.unleash.person, "west"), backend=BACKEND[PRODUCTION])
        spec = {
            "url": flagged.unleash.url,
            "environment": PRODUCTION,
            "tokenSecretRef": {"name": "unleash", "key": "token"},
            "settle": "0s",
        }
        flags = [{"name": "new-checkout", "key": flagged.flag, "sourceRef": {"name": "default"}}]
        west.open(linnet("FlagSource", "default", {"type": "Unleash", "unleash": spec}), canary_spec={"flags": flags, "steps": STEPS})
        await west.until(lambda: "FlagBusy" in str(west.status().get("conditions")), "the second cluster is refused", 60)
        first = f"driven by Canary default/{flagged.shop.namespace}/shop/"
        assert first in str(west.status()), west.status()
    assert [entry.id for entry in flagged.log()] == before
    assert flagged.ours()["parameters"]["rollout"] == "40"
