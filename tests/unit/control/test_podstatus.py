"""Restarts from the pods' own status: each is in one interval, however late somebody looked."""

from __future__ import annotations

from analyzers.channels import BASELINE, CANARY
from analyzers.collector import ArmTargets, CollectedTick, Collector
from analyzers.metrics import RestartMetric
from analyzers.sources.protocol import Target
from analyzers.ticks import ArmCounts
from daemon.control.podstatus import PodStatusSource
from daemon.kube.objects import ObjectMeta, Pod
from daemon.kube.objects.pods import ContainerStatus, PodStatus


class Cluster:
    """The pods as the cache has them."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}

    def set(self, name: str, *restarts: int) -> None:
        statuses = tuple(ContainerStatus(name=f"c{i}", restart_count=n) for i, n in enumerate(restarts))
        self.pods[name] = Pod(metadata=ObjectMeta(name=name, namespace="shop"), status=PodStatus(container_statuses=statuses))

    def arms(self, canary: dict[str, float], baseline: dict[str, float]) -> list[ArmTargets]:
        def arm(name: str, pods: dict[str, float]) -> ArmTargets:
            targets = tuple(Target(pod=p, address="", started_at=at) for p, at in pods.items())
            return ArmTargets(name=name, targets=targets, started=pods)

        return [arm(CANARY, canary), arm(BASELINE, baseline)]


def _collector(cluster: Cluster) -> Collector:
    source = PodStatusSource(cluster.pods.get, 15.0)
    return Collector(source, [RestartMetric(name="restarts")], scrape_seconds=15.0)


async def test_restarts_of_all_containers_and_the_time_of_all_pods_are_counted_once() -> None:
    """Two canary pods of two containers each, beside an old pod whose earlier restarts are nobody's news."""
    cluster, began = Cluster(), 10_000 * 15.0
    for name in ("c-1", "c-2"):
        cluster.set(name, 0, 0)
    cluster.set("b-1", 41)
    arms = cluster.arms({"c-1": began, "c-2": began}, {"b-1": 15.0})
    collector = _collector(cluster)
    await collector.collect(began + 15, arms)
    cluster.set("c-1", 1, 2)
    (tick,) = (await collector.collect(began + 30, arms)).ticks
    assert tick.arms["restarts"].canary == ArmCounts(30, 3)
    assert tick.arms["restarts"].baseline == ArmCounts(15, 0)
    (tick,) = (await collector.collect(began + 45, arms)).ticks
    assert tick.arms["restarts"].canary == ArmCounts(30, 0)


async def test_a_late_look_loses_neither_restarts_nor_seconds() -> None:
    """Beside a Prometheus, whose ticks end two scrapes later, two looks were missed: every interval has its seconds, and nothing is stale."""
    cluster, began = Cluster(), 10_000 * 15.0
    cluster.set("c-1", 0)
    cluster.set("b-1", 0)
    arms = cluster.arms({"c-1": began}, {"b-1": 15.0})
    collector = _collector(cluster)
    ticks: list[CollectedTick] = []
    for look in (1, 2, 3, 6, 7, 8, 9, 10):
        if look == 6:
            cluster.set("c-1", 4)
        reading = await collector.read(began + 15 * look, arms, due=10_000 + look - 2, deadline=5.0)
        ticks += collector.give(reading, wait=False).ticks
    seen = [t.arms["restarts"].canary for t in ticks if t.index > 10_001]
    assert ArmCounts(15, 4) in seen
    assert [c for c in seen if c != ArmCounts(15, 4)] == [ArmCounts(15, 0)] * (len(seen) - 1)
    assert not any(t.problems for t in ticks)


async def test_a_pod_that_takes_the_place_of_another_brings_its_own_restarts() -> None:
    """Evicted and made anew: the new pod's counts begin at zero and are all its own."""
    cluster, began = Cluster(), 10_000 * 15.0
    cluster.set("c-1", 2)
    cluster.set("b-1", 0)
    collector = _collector(cluster)
    for at in (15, 30):
        await collector.collect(began + at, cluster.arms({"c-1": began}, {"b-1": 15.0}))
    del cluster.pods["c-1"]
    cluster.set("c-2", 1)
    (tick,) = (await collector.collect(began + 45, cluster.arms({"c-2": began + 35}, {"b-1": 15.0}))).ticks
    assert tick.arms["restarts"].canary == ArmCounts(10, 1)
