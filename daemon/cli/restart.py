"""`linnet restart`: fresh pods of the version that serves now, also while a newer template is held.

`kubectl rollout restart` changes the template, so on a held Deployment it would restart nothing (kubectl refuses), and a way
around it would ship the template that is held. Evictions, one at a time, respect PodDisruptionBudgets and roll nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from daemon.cli.cluster import FAILED, OK, Access, CliError, Cluster, access_options, deployment_name, run, seconds

if TYPE_CHECKING:
    from daemon.kube.objects import Deployment, Pod

EVERY: Final = 0.5


@click.command()
@click.argument("target", metavar="deploy/NAME")
@click.option(
    "--timeout", metavar="DURATION", callback=seconds, default="5m", show_default=True, help="Longest wait for one pod and its successor."
)
@access_options()
def restart(*, access: Access, target: str, timeout: float) -> None:
    """Restart the pods of a Deployment one by one, each after its predecessor's successor is ready.

    The template is not touched: what is held stays held. Canary pods are left alone.

    Exit codes: 0 all restarted, 1 stopped on the way.
    """
    run(access, lambda cluster: _restart(cluster, deployment_name(target), timeout))


async def _restart(cluster: Cluster, name: str, patience: float) -> int:
    item = await cluster.deployment(cluster.namespace, name)
    pods = await _pods(cluster, item)
    ready = [p for p in pods if p.ready]
    if not ready:
        raise CliError(f"Deployment {name} has no ready pod to restart: {len(pods)} pods, none ready")
    for number, pod in enumerate(ready, 1):
        try:
            async with asyncio.timeout(patience):
                await _evict(cluster, pod)
                await _replaced(cluster, item, pod, len(ready))
        except TimeoutError:
            click.echo(
                f"stopped at pod {pod.name}, {number} of {len(ready)}: not replaced by a ready one within {patience:.0f} s", err=True
            )
            return FAILED
        click.echo(f"{number}/{len(ready)} {pod.name} restarted")
    return OK


async def _pods(cluster: Cluster, item: Deployment) -> list[Pod]:
    """The living pods of the Deployment's own ReplicaSets, oldest first."""
    from daemon.kube.resources import PODS, REPLICA_SETS

    sets = (await cluster.client.list(REPLICA_SETS, item.namespace)).items
    own = {s.metadata.uid for s in sets if (owner := s.metadata.controller()) is not None and owner.uid == item.metadata.uid}
    pods = (await cluster.client.list(PODS, item.namespace)).items
    found = [
        p for p in pods if (owner := p.metadata.controller()) is not None and owner.uid in own and p.metadata.deletion_timestamp is None
    ]
    return sorted(found, key=lambda p: (p.metadata.creation_timestamp or "", p.name))


async def _evict(cluster: Cluster, pod: Pod) -> None:
    """Asks until the PodDisruptionBudget allows it; a pod that is gone already needs no asking."""
    import msgspec

    from daemon.kube import errors
    from daemon.kube.resources import PODS

    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name, "namespace": pod.namespace}}
    options = {"deleteOptions": {"preconditions": {"uid": pod.metadata.uid}}}
    path = PODS.path(pod.namespace, pod.name, "eviction")
    while True:
        try:
            await cluster.client.transport.request("POST", path, body=msgspec.json.encode({**body, **options}), attempts=1)
        except errors.TooManyRequests:
            await asyncio.sleep(2.0)
        except (errors.NotFound, errors.Conflict):
            return
        else:
            return


async def _replaced(cluster: Cluster, item: Deployment, pod: Pod, wanted: int) -> None:
    """Until the pod is gone and as many are ready as before (or as the Deployment wants by now)."""
    while True:
        fresh = await cluster.deployment(item.namespace, item.name)
        enough = min(wanted, fresh.spec.replicas if fresh.spec.replicas is not None else 1)
        pods = await _pods(cluster, item)
        if pod.metadata.uid not in {p.metadata.uid for p in pods} and sum(1 for p in pods if p.ready) >= enough:
            return
        await asyncio.sleep(EVERY)
