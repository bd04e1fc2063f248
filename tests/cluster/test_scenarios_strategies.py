"""Each strategy and each kind of step through what happens to releases: a good one, a bad one, an abort, a newer version, a daemon that dies."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.scenario import ANALYSIS, Object, Shop
from tests.cluster.stage import Stage, scenario
from tests.cluster.strategies import BAD, ROWS, Row
from tests.testbed.linnet import Linnet, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def opened(shop: Shop, row: Row) -> Shop:
    spec = dict(row.spec)
    analysis = {**ANALYSIS, "bake": "3s", **({"templates": spec.pop("templates")} if "templates" in spec else {})}
    shop.open({**spec, "analysis": analysis}, extra=row.extra, **row.manifest)
    shop.load(row.rate)
    return shop


def in_the_middle(shop: Shop, row: Row, tag: str) -> Object:
    """The version is released as far as the row says."""
    before = shop.status()["observedRevision"]
    shop.push(tag)
    return shop.until(lambda s: s["observedRevision"] != before and row.is_middle(s), f"{tag} is {row.middle}", 180)


def ended(shop: Shop, result: str, image: str) -> Object:
    status = shop.await_verdict(result, 180)
    shop.assert_clean()
    shop.assert_as_before(image)
    return status


def _judged(status: Object) -> bool:
    """The version that the Deployment names has its verdict."""
    return bool((status.get("history") or [{}])[0].get("revision") == status["observedRevision"])


def outcomes(shop: Shop) -> list[str]:
    return [entry["outcome"] for entry in shop.status().get("history") or []]


@scenario
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace("`", ""))
def test_every_kind_of_release_ends_right_whatever_happens_in_its_middle(shop: Shop, row: Row) -> None:
    """Good: promoted. Aborted: as before. A newer version: takes its place, and being bad is rolled back. No request is lost on the way."""
    opened(shop, row)
    in_the_middle(shop, row, "v2")
    row.go_on(shop)
    ended(shop, "Pass", "shop:v2")
    in_the_middle(shop, row, "v3")
    shop.order("abort")
    ended(shop, "Fail", "shop:v2")
    first = in_the_middle(shop, row, "v4")["rollout"]["revision"]
    shop.push(BAD)

    def turn(status: Object) -> bool:
        """The newer version is in its middle, or has ended before."""
        now = (status.get("rollout") or {}).get("revision", first)
        return (now != first and row.is_middle(status)) or _judged(status)

    if shop.until(turn, "the newer version's turn", 180).get("rollout"):
        row.go_on(shop)
    shop.until(lambda s: len(s.get("history") or ()) == 4, "the bad version's verdict", 180)
    status = ended(shop, "Fail", "shop:v2")
    assert "rolled back" in status["sentence"], status["sentence"]
    assert outcomes(shop) == ["RolledBack", "Superseded", "RolledBack", "Promoted"], status
    seen = shop.stop_load()
    shop.assert_no_switch_hurt(seen)
    assert {one["version"] for one in seen.failures()} <= {BAD}


@pytest.mark.parametrize("part", [0, 1], ids=["one half", "the other half"])
def test_every_kind_of_release_goes_on_after_the_daemon_was_killed_in_its_middle(stage: Stage, linnet: Linnet, part: int) -> None:
    """One kill, in the middle of all of them: each is promoted by the process that follows, and no request is lost."""
    rows = ROWS[part::2]
    fronts = [stage.front() for _ in rows]
    killed = linnet.leader()

    def begin(shop: Shop, row: Row) -> None:
        opened(shop, row)
        in_the_middle(shop, row, "v2")

    def end(shop: Shop, row: Row) -> None:
        if row.is_middle(shop.status()):
            row.go_on(shop)
        ended(shop, "Pass", "shop:v2")
        shop.assert_no_switch_hurt(shop.stop_load())

    try:
        with ThreadPoolExecutor(len(rows)) as pool:
            list(pool.map(begin, fronts, rows))
            os.kill(int(killed.split("-")[-2]), signal.SIGKILL)  # the identity tells the process
            eventually(lambda: linnet.leader() not in ("", killed), "another process leads", 40)
            list(pool.map(end, fronts, rows))
    finally:
        for shop in fronts:
            shop.close()
            shop.plane.kubectl("delete", "namespace", shop.namespace, "--wait=false")
