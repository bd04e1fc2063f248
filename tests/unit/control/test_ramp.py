"""A whole release by evidence, on a cluster on paper and a Prometheus that keeps what was scraped: its log is all that it was decided by."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import re
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import astuple

from analyzers.evidence import Log, read, replay, walk, write
from analyzers.ticks import Action
from daemon.control.catalogue import Catalogue
from daemon.control.http import Http
from daemon.control.judging import JudgeBoard, Ports
from daemon.control.resolve import Resolver
from daemon.control.runs import RunStore
from daemon.kube.client import Client
from daemon.sandbox.controllers.access import PODS
from daemon.workloads.revisions import Templates
from tests.unit.control.cluster import CATALOGUE, ROUTES, SHOP
from tests.unit.control.test_measuring import Secrets
from tests.unit.control.world import ANALYSIS, CANARIES, RUNS, Object, World, canary, deployment, linnet, route, service
from tests.witness.evidence import clean, explained

PER_SECOND = 200  # requests of each pod
SPEC: Object = {"strategy": {"ramp": "Adaptive"}, "steps": [{"weight": 10}, {"weight": 50}], "analysis": {**ANALYSIS, "bake": "1s"}}


class Prometheus:
    """Every pod's counters, each second of its life; what ended is still known."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pods: dict[str, tuple[float, float]] = {}  # name -> started, share of errors
        world.pages.answer = self.answer
        self.bad: set[str] = set()

    def answer(self, form: dict[str, str]) -> list[Object]:
        for pod in self.world.store.state(PODS).values():
            begun = (pod.get("status") or {}).get("startTime")
            if begun:
                started = dt.datetime.fromisoformat(begun).timestamp()
                image = pod["spec"]["containers"][0]["image"]
                older = 600 if image == "app:v1" else 0  # stable has a past
                self.pods.setdefault(pod["metadata"]["name"], (started - older, 0.3 if image in self.bad else 0.001))
        found = re.search(r"\[(\d+)s\]", form["query"])
        assert found is not None
        return [self.series(name, form, int(found[1]), code) for name in self.pods for code in ("200", "500")]

    def series(self, pod: str, form: dict[str, str], window: int, code: str) -> Object:
        started, share = self.pods[pod]
        end = float(form["time"])
        values = []
        for at in range(max(int(end) - window, int(started)) + 1, int(end) + 1):
            total = int((at - started) * PER_SECOND)
            failed = int(total * share)
            values.append([at, str(failed if code == "500" else total - failed)])
        labels = {"__name__": "http_requests_total", "namespace": SHOP, "pod": pod, "instance": pod, "code": code}
        return {"metric": labels, "values": values}


def stored(world: World, revision: str) -> Log:
    return read(world.get(RUNS, f"web-{revision}")["status"]["evidence"]["data"])


def written(world: World) -> list[int]:
    """The weights of our backend in the route, as they changed."""
    weights = []
    for _, resource, item in world.history:
        if resource == ROUTES and item["metadata"]["name"] == "web":
            ours = [b for b in item["spec"]["rules"][0]["backendRefs"] if b["name"].endswith("-canary")]
            weights += [b.get("weight", 1) for b in ours]
    return [w for w, _ in itertools.groupby(weights)]


class Unstored(RunStore):
    """A daemon that finds nothing stored."""

    def __init__(self) -> None:
        super().__init__(cast("Client", None))

    async def evidence(self, resolved: Any, revision: str, parameters: str) -> str | None:
        return None


async def read_again(world: World) -> Log:
    """The log of a daemon that comes now, and reads all of it from the server and the status."""
    caches = world.daemon._caches
    assert caches is not None
    written = world.get(CANARIES, "web")["metadata"]["resourceVersion"]
    await world.until(
        lambda: (i := caches.canaries.store.get(SHOP, "web")) and int(i.metadata.resource_version) >= int(written), "it is seen"
    )
    item = caches.canaries.store.get(SHOP, "web")
    assert item is not None
    http = Http()
    board = JudgeBoard(Ports(caches=caches, http=http, secrets=Secrets(), runs=Unstored(), wake=lambda _key: None))
    task = asyncio.create_task(board.run())
    await asyncio.sleep(0)
    try:
        board.follow(Resolver(caches, Catalogue(caches, CATALOGUE), Templates()).resolve(item))
        session = board._sessions.get((SHOP, "web"))
        assert session is not None
        await world.until(lambda: session.evidence is not None and session.evidence.ticks > 0, "everything was read again")
        assert session.evidence is not None
        return session.evidence.stored()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await http.close()


@pytest.mark.timeout(180)
async def test_the_stored_log_is_what_a_release_was_decided_by(tmp_path: Path) -> None:
    """A good release whose daemon is exchanged in the middle, then a bad one: weights and verdicts follow from their logs alone."""
    world = World(tmp_path)
    async with world.running():
        prometheus = Prometheus(world)
        source = linnet("MetricSource", "default", {"type": "Prometheus", "prometheus": {"url": f"http://127.0.0.1:{world.pages.port}"}})
        async with world.linnet():
            world.apply(service(), route(), source, deployment(), canary(**SPEC))
            await world.adopted()
            world.release("app:v2")
            await world.weighs(10)
            again = await read_again(world)
        async with world.linnet():
            await world.weighs(50)
            second = await read_again(world)
            await world.until(lambda: (world.status().get("verdict") or {}).get("result") == "Pass", "promoted")
            good = world.status()["verdict"]["revision"]
            log = stored(world, good)
            await world.phases("Idle")
            prometheus.bad = {"app:v3"}
            world.release("app:v3")
            await world.until(lambda: (world.status().get("verdict") or {}).get("result") == "Fail", "rolled back")
            bad = world.status()["verdict"]["revision"]
            failed = stored(world, bad)
    # The weights follow from the log, and so does the verdict, whoever computes it; a restart leaves no trace in it.
    weights = [w for w in explained(log) if w >= 10]
    assert weights == [10, 50]
    assert [w for w in written(world) if w >= 10][:2] == weights
    assert replay(write(log)).action is Action.PROMOTE
    kept = {e.index: e for e in log.entries}
    for other in (again, second):
        assert other.config == log.config
        differ = [(kept[e.index], e) for e in other.entries if kept.get(e.index, e) != e]
        assert not differ, "\n".join(
            f"{a.index}: {[(x, y) for x, y in zip(astuple(a), astuple(b), strict=True) if x != y]}" for a, b in differ
        )
    assert len([e for e in second.entries if e.index in kept]) >= 8
    assert log.config.rps == pytest.approx(3 * PER_SECOND, rel=0.05)  # learnt from the time before
    assert all(e.units == (2, 3) or e.units == (1, 3) for e in log.entries)
    assert replay(write(failed)).action is Action.ROLLBACK
    assert Action.ROLLBACK not in [answer.action for _, answer, _ in walk(clean(failed))]
