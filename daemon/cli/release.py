"""`linnet release`: the break-glass. Un-pauses what Linnet holds, judged or not, with no daemon and no Canary needed.

A company's deploys must not stop for good because Linnet does. It writes what a person would write by hand: the annotation that
switches the hold off, and the end of the pause, in one patch that refuses if the template has changed since it was listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daemon.cli.cluster import (
    FAILED,
    OK,
    Access,
    CliError,
    Cluster,
    System,
    access_options,
    confirm,
    deployment_name,
    run,
    system_options,
)

if TYPE_CHECKING:
    from daemon.kube.client import Client
    from daemon.kube.objects import Deployment
    from daemon.kube.patch import Operation


@click.command()
@click.argument("target", metavar="[deploy/NAME]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every Deployment that Linnet holds, in all namespaces or in those of -n.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@system_options
@access_options(several=True)
def release(*, access: Access, system: System, target: str | None, everything: bool, yes: bool) -> None:
    """Un-pause held Deployments without the daemon: their new templates roll, judged or not.

    Lists them first. While a daemon lives, `linnet promote --override` is the better way: it says so in every message.

    By hand, for one: kubectl annotate deploy NAME linnet.dev/hold=off --overwrite && kubectl rollout resume deploy NAME

    Exit codes: 0 released, 1 not all of them, or nothing done.
    """
    if bool(target) == everything:
        raise click.UsageError("name one Deployment as deploy/NAME, or say --all")
    run(access, lambda cluster: _release(cluster, system, target, yes=yes))


async def _release(cluster: Cluster, system: System, target: str | None, *, yes: bool) -> int:
    if target is not None:
        one = await cluster.deployment(cluster.namespace, deployment_name(target))
        if not is_held(one):
            raise CliError(f"Deployment {one.name} is not held by Linnet" + (": its owner paused it" if one.spec.paused else ""))
        held = [one]
    else:
        held = await held_deployments(cluster)
    if not held:
        click.echo("Linnet holds no Deployment")
        return OK
    leader = await cluster.leader(system)
    lines = [f"held: {describe(item)}" for item in held]
    if leader.live:
        lines.append(f"note: {leader.text}; it takes what rolls now as stable by your word")
    confirm(f"Release {len(held)} Deployment{'s' if len(held) > 1 else ''} without a judgement?", yes=yes, lines=lines)
    return await _each(cluster, held)


async def _each(cluster: Cluster, held: list[Deployment]) -> int:
    from daemon.api import names
    from daemon.kube.errors import KubeError, PatchTestFailed

    failures = 0
    for item in held:
        where = f"{item.namespace}/{item.name}"
        try:
            await let_go(cluster.client, item)
        except PatchTestFailed:
            failures += 1
            click.echo(f"not released: {where}: its template changed meanwhile; run the command again", err=True)
        except KubeError as e:
            failures += 1
            click.echo(f"not released: {where}: {e}", err=True)
        else:
            click.echo(f"released: {where}; to be held again: kubectl annotate deploy {item.name} -n {item.namespace} {names.HOLD}-")
    return FAILED if failures else OK


def is_held(item: Deployment) -> bool:
    """Paused by Linnet, not by its owner."""
    from daemon.api import names

    return item.spec.paused and bool(item.metadata.annotation(names.HELD_MARK))


async def held_deployments(cluster: Cluster) -> list[Deployment]:
    from daemon.kube.resources import DEPLOYMENTS

    found = [d for ns in cluster.access.namespaces or (None,) for d in (await cluster.client.list(DEPLOYMENTS, ns)).items]
    return sorted((d for d in found if is_held(d)), key=lambda d: d.key)


def describe(item: Deployment) -> str:
    """namespace/name (images)."""
    import msgspec

    from daemon.rollout.templates import images

    return f"{item.namespace}/{item.name} ({', '.join(images(msgspec.json.decode(item.spec.template)))})"


async def let_go(client: Client, item: Deployment) -> Deployment:
    """Hold switched off, pause and mark gone, if the template is still the one in `item`."""
    from daemon.api import names
    from daemon.kube.patch import pointer, remove, test
    from daemon.kube.resources import DEPLOYMENTS

    operations: list[Operation] = [test(pointer("spec", "template"), item.spec.template), *switch_off(item)]
    operations += [remove(pointer("metadata", "annotations", m)) for m in names.HOLD_MARKS if item.metadata.annotation(m)]
    if item.spec.paused:
        operations.append(remove(pointer("spec", "paused")))
    return await client.json_patch(DEPLOYMENTS, item.namespace, item.name, operations)


def switch_off(item: Deployment) -> list[Operation]:
    """The annotation by which the admission policies let anyone un-pause; an adopted Deployment always has annotations."""
    from daemon.api import names
    from daemon.kube.patch import add, pointer

    return [] if item.metadata.annotation(names.HOLD) == "off" else [add(pointer("metadata", "annotations", names.HOLD), "off")]
