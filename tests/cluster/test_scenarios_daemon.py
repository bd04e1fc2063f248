"""The daemon dies, loses its Lease, works in one namespace alone: the release ends right, and nothing is written twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.cluster.scenario import Shop
from tests.testbed.linnet import Linnet, eventually
from tests.witness.audit import Audit, Event

pytestmark = pytest.mark.cluster

QUICK = [{"weight": 20, "dwell": {"minDuration": "2s"}}]
POINTS = "before.SetWeight.20_after.SetFlag.100_before.DeleteCanary"


@pytest.fixture
def normal(linnet: Linnet) -> Iterator[Linnet]:
    """Afterwards the daemon is again what the other scenarios expect."""
    yield linnet
    linnet.install()


def starts(shop: Shop) -> list[float]:
    """When a process of the daemon began: it lists the Canaries once."""
    seen = Audit.read(shop.plane.audit_log, since=shop.since).by(shop.linnet.account)
    return [one.time for one in seen.on("canaries") if one.verb == "list"]


def test_a_daemon_that_is_killed_at_the_worst_moments_ends_the_release_right(front: Shop, normal: Linnet) -> None:
    """Killed after the intent and before the route, after the flag and before the status, after weight 0 and before the canary is gone."""
    normal.install({"image": {"repository": "linnet-crash", "tag": POINTS}})
    front.open({"steps": [{"weight": 20, "dwell": {"minDuration": "5s"}}, {"weight": 50}]}, flags=True)
    front.load(80)
    front.push("flagbad-30")
    front.await_verdict("Fail", 150)
    seen = front.stop_load()
    front.assert_clean()
    front.assert_as_before("shop:v1")
    front.assert_no_switch_hurt(seen)
    assert {r["version"] for r in seen.failures()} <= {"flagbad-30"}
    begun = starts(front)
    assert len(begun) >= 3, begun
    writes = list(front.writes())
    intent = _first(writes, lambda one: one.subresource == "status" and _wanted(one) == 20)
    weight = _first(
        writes,
        lambda one: (
            (one.resource == "httproutes" and '"weight": 20' in _text(one))
            or ('"value": 20' in _text(one) and one.resource == "httproutes")
        ),
    )
    flag = _first(writes, lambda one: one.resource == "configmaps" and one.time > weight.time)
    told = _first(writes, lambda one: one.subresource == "status" and one.time > flag.time)
    zero = _first(writes, lambda one: one.resource == "httproutes" and one.time > told.time)
    gone = _first(writes, lambda one: one.resource == "deployments" and one.verb == "delete")
    for before, after in ((intent, weight), (flag, told), (zero, gone)):
        assert any(before.finished < moment < after.time for moment in begun), (before.target, after.target, begun)


def _first(events: list[Event], wanted: object) -> Event:
    assert callable(wanted)
    return next(one for one in events if wanted(one))


def _text(event: Event) -> str:
    import json

    return json.dumps(event.request)


def _wanted(event: Event) -> int | None:
    """The weight that a status write says is wanted of the route."""
    routes = ((event.response or {}).get("status") or {}).get("routes") or [{}]
    wanted: int | None = routes[0].get("wanted")
    return wanted


def test_another_replica_takes_over_and_nothing_is_written_twice(front: Shop, normal: Linnet) -> None:
    """The leader is killed in mid-release: the other leads within 25 s and goes on from the step that was reached."""
    normal.install({"replicas": 2})
    front.open({"steps": [{"weight": 20, "dwell": {"minDuration": "5s"}}, {"weight": 50, "dwell": {"minDuration": "2s"}}]})
    front.load(80)
    front.push("v2")
    front.await_weight(20)
    first = normal.leader()
    killed = time.time()
    os.kill(int(first.split("-")[-2]), signal.SIGKILL)  # the identity tells the process
    eventually(lambda: normal.leader() not in ("", first), "another replica leads", 25)
    front.await_verdict("Pass", 80)
    seen = front.stop_load()
    front.assert_no_switch_hurt(seen)
    assert seen.outcomes() == {"200": seen.total}
    words = [w for w in front.steps() if w not in ("status", "analysisruns", "template")]
    for once in ("create canary", "weight 20", "weight 50", "release", "weight 0", "route back", "delete canary"):
        assert words.count(once) == 1, (once, words)
    assert front.writes(killed + 0.1)[0].time > killed + 5  # nobody wrote before the Lease had run out
    front.assert_as_before("shop:v2")


def test_a_daemon_of_one_namespace_releases_there_with_roles_alone(front: Shop, normal: Linnet) -> None:
    """Installed for one namespace Linnet has no cluster-wide right, needs none, and is refused nothing."""
    normal.await_no_canaries()
    normal.install({"scope": {"namespaces": [front.namespace]}})
    installed = time.time()  # what ended before wrote its last words into namespaces that were ending
    roles = normal.plane.kubectl("get", "clusterrolebindings", "-o", "jsonpath={.items[*].metadata.name}").stdout.split()
    assert "linnet" not in roles
    front.open({"steps": QUICK}, flags=True)
    front.load(80)
    front.push("v2")
    front.await_verdict("Pass", 80)
    seen = front.stop_load()
    front.assert_no_switch_hurt(seen)
    mine = Audit.read(front.plane.audit_log, since=installed).by(normal.account)
    assert [one.target for one in mine.forbidden()] == []
