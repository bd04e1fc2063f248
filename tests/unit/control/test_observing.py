"""`mode: Observe` on a cluster on paper: a roll is watched, what would have been done is said, and nothing but status and Events is written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest import mock

from daemon.api import names
from tests.unit.control.cluster import SHOP
from tests.unit.control.test_ramp import Prometheus
from tests.unit.control.test_telling import Hooks, notifier
from tests.unit.control.test_telling import hooks as hooks
from tests.unit.control.world import (
    ANALYSIS,
    CANARIES,
    DEPLOYMENTS,
    REVISIONS,
    RUNS,
    Object,
    World,
    a_world,
    canary,
    deployment,
    linnet,
    service,
)

SLOWLY: Object = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}, "type": "RollingUpdate"}


def opened(world: World, **spec: Any) -> Prometheus:
    """A Deployment with a Service, its counters in a Prometheus, and a Canary that only observes."""
    prometheus = Prometheus(world)
    source = linnet("MetricSource", "default", {"type": "Prometheus", "prometheus": {"url": f"http://127.0.0.1:{world.pages.port}"}})
    body = canary(**{"mode": "Observe", "analysis": ANALYSIS, **spec})
    world.apply(service(), source, deployment(strategy=SLOWLY, minReadySeconds=3), body)
    return prometheus


def untouched(world: World) -> None:
    """Of all that Linnet wrote, nothing is the user's: its own status and evidence, and Events."""
    assert world.kinds().isdisjoint({REVISIONS, "services"} - {"services"})
    found = world.get(DEPLOYMENTS, "web")
    assert not found["spec"].get("paused")
    assert not [key for key in found["metadata"].get("annotations") or {} if key.startswith(names.GROUP)]
    assert not world.get(CANARIES, "web")["metadata"].get("finalizers")
    assert not [i for _, r, i in world.history if r == DEPLOYMENTS and i["metadata"]["name"] != "web"]


async def test_a_bad_update_is_said_to_be_one_while_it_rolls(world: World) -> None:
    """The sentence has the time, the counts of old and new, and that nothing was changed; the roll itself goes on."""
    prometheus = opened(world)
    await world.phases("Observing")
    stable = await world.until(lambda: world.status().get("stableRevision"), "a version serves", 60)
    prometheus.bad.add("app:v2")
    world.release("app:v2")
    await world.until(lambda: world.status().get("history"), "the update was judged", 60)
    status = world.status()
    [entry] = status["history"]
    assert entry["outcome"] == "WouldRollBack"
    assert "would have been rolled back at" in entry["sentence"]
    assert "new requests failed (30 %), old 0" in entry["sentence"], entry["sentence"]
    assert entry["sentence"].endswith("Only observed: nothing was changed.")
    assert status["phase"] == "Observing"
    assert status["stableRevision"] == stable
    assert status["verdictText"] == "Would roll back"
    condition = next(c for c in status["conditions"] if c["type"] == "Observed")
    assert (condition["status"], condition["reason"]) == ("False", "WouldRollBack")
    assert next(c for c in status["conditions"] if c["type"] == "Ready")["status"] == "True"
    assert world.get(RUNS, f"web-{entry['revision']}")["status"]["verdict"]["result"] == "Fail"
    assert await world.told("Observed", "Deployment") == entry["sentence"]
    untouched(world)


async def test_a_good_update_would_have_been_promoted(world: World) -> None:
    """The old pods go before the proof is in: then it is compared with the minutes before, and that is said."""
    opened(world)
    await world.until(lambda: world.status().get("stableRevision"), "a version serves", 60)
    world.release("app:v2")
    await world.until(lambda: world.status().get("history"), "the update was judged", 60)
    status = world.status()
    [entry] = status["history"]
    assert entry["outcome"] == "WouldPromote", entry["sentence"]
    assert "would have been promoted at" in entry["sentence"]
    assert status["stableRevision"] == entry["revision"]
    assert next(c for c in status["conditions"] if c["type"] == "Observed")["status"] == "True"
    untouched(world)


async def test_enforcing_later_needs_the_field_alone_and_observing_again_gives_all_back(world: World) -> None:
    """Observe, Enforce, Observe: adopted with mark, finalizer and stored template, and then nothing of ours is left."""
    opened(world)
    await world.until(lambda: world.status().get("stableRevision"), "a version serves", 60)
    untouched(world)
    world.patch(CANARIES, "web", {"spec": {"mode": "Enforce", "traffic": {"mode": "PodRatio"}}})
    await world.adopted()
    assert world.get(CANARIES, "web")["metadata"]["finalizers"] == [names.FINALIZER]
    assert world.store.list(REVISIONS, None)
    world.patch(CANARIES, "web", {"spec": {"mode": "Observe"}})
    await world.phases("Observing")
    assert names.CANARY_MARK not in (world.get(DEPLOYMENTS, "web")["metadata"].get("annotations") or {})
    assert not world.get(CANARIES, "web")["metadata"].get("finalizers")
    assert not [r for r in world.store.list(REVISIONS, None) if "-linnet-" in r["metadata"]["name"]]
    world.release("app:v2")
    await world.until(lambda: world.status().get("rollout"), "the update is watched", 60)
    assert not world.get(DEPLOYMENTS, "web")["spec"].get("paused")


NOTIFIERS = "notifiers.linnet.dev"
SAYS = "web v2 would have been rolled back"
ENTRY = {"revision": "v2", "outcome": "WouldRollBack", "sentence": SAYS, "endedAt": "2099-01-01T00:00:00Z"}


async def test_the_digest_goes_once_to_the_notifier_that_observers_name(tmp_path: Path, hooks: Hooks) -> None:
    """What was observed since the last; that it went out is stored first, so that nothing sends it again."""
    period = 3600.0
    with (
        mock.patch("daemon.control.digests.LOOK_EVERY", 0.5),
        mock.patch("daemon.rollout.digest.next_due", lambda _digest, since: since + period),
    ):
        async with a_world(tmp_path) as world:
            world.secret("hooks", url=hooks.url("named"), other=hooks.url("unnamed"))
            weekly = {"timeZone": "UTC"}
            world.apply(notifier("named", digest=weekly), notifier("unnamed", key="other", digest=weekly))
            opened(world, notify=[{"notifierRef": {"name": "named"}, "events": ["Observed"]}])
            await world.until(lambda: world.status().get("stableRevision"), "a version serves", 60)
            world.store.patch(CANARIES, SHOP, "web", "merge", {"status": {"history": [ENTRY]}}, user="alice", subresource="status")
            assert hooks.got == [], "none is due"
            period = 0.0
            async with asyncio.timeout(60):  # a first one may have been made before the daemon saw the history
                while not (hooks.texts("/unnamed") and any(SAYS in text for text in hooks.texts("/named"))):
                    await asyncio.sleep(0.02)
            assert world.get(NOTIFIERS, "named")["status"]["digestSentAt"]
    told = next(text for text in hooks.texts("/named") if SAYS in text)
    assert "Linnet observed 1 update of 1 workload: 1 would have been rolled back. It changed nothing." in told
    assert "no update of the 0 workloads" in hooks.texts("/unnamed")[0]
