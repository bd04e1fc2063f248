"""Finishing a roll that a newer template froze: both ReplicaSets of the Deployment move in lock step (workload-traps A4)."""

from collections.abc import Sequence

from daemon.kube.client import Client
from daemon.kube.objects import ReplicaSet
from daemon.kube.patch import pointer, replace, test
from daemon.kube.resources import REPLICA_SETS

REPLICAS = pointer("spec", "replicas")


async def resize(client: Client, sets: Sequence[ReplicaSet], sizes: Sequence[tuple[str, int]]) -> None:
    """Scales the named ReplicaSets; the growing one first, so that ready capacity never dips."""
    by_name = {s.name: s for s in sets}
    changes = [(by_name[name], size) for name, size in sizes if name in by_name and (by_name[name].spec.replicas or 0) != size]
    changes.sort(key=lambda c: c[1] - (c[0].spec.replicas or 0), reverse=True)
    for item, size in changes:
        guard = test(REPLICAS, item.spec.replicas or 0)
        await client.json_patch(REPLICA_SETS, item.namespace, item.name, [guard, replace(REPLICAS, size)])
