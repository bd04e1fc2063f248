"""`linnet cleanup`: gives back everything that Linnet changed, with no daemon needed. `helm uninstall` runs it first.

Uninstalling must never ship a version that was not judged fine (promise P10), and must not need the very daemon that is broken.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

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
    run,
    seconds,
    system_options,
    watching,
)

if TYPE_CHECKING:
    from daemon.cli.giveback import Held, Report
    from daemon.control.caches import Caches
    from daemon.control.objects import Canary
    from daemon.kube.client import Client
    from daemon.kube.objects import Deployment

AT_ONCE: Final = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for."""

    target: str | None
    held: Held
    yes: bool
    force: bool
    timeout: float


@click.command()
@click.argument("target", metavar="[NAME|deploy/NAME]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every Canary, in all namespaces or in those of -n.")
@click.option(
    "--held",
    "--policy",
    "held",
    type=click.Choice(["restore", "leave", "release"]),
    default="restore",
    show_default=True,
    help="A template that is held: restore stable, leave it held and listed, or let it roll unjudged.",
)
@click.option("--yes", is_flag=True, help="Do not ask. In a pod nothing is asked.")
@click.option("--force", is_flag=True, help="Clean one Canary up although a daemon lives, which will adopt it again.")
@click.option("--timeout", metavar="DURATION", callback=seconds, default="100s", show_default=True, help="Longest time for all of it.")
@system_options
@access_options(several=True)
def cleanup(
    *, access: Access, system: System, target: str | None, everything: bool, held: Held, yes: bool, force: bool, timeout: float
) -> None:
    """Give back everything that Linnet changed: routes, flags, autoscalers, canaries, marks and finalizers.

    The Lease is held meanwhile, so that no daemon works against it; one that lives stops within 15 s. Canaries stay, without
    effect until a daemon adopts them anew.

    Exit codes: 0 all given back (or left held, as asked), 1 something is left, which is named.
    """
    if bool(target) == everything:
        raise click.UsageError("name one Canary, or say --all")
    wish = Wish(target=target, held=held, yes=yes, force=force, timeout=timeout)
    run(access, lambda cluster: _cleanup(cluster, system, wish))


async def _cleanup(cluster: Cluster, system: System, wish: Wish) -> int:
    from daemon.cli.takeover import leading

    leader = await cluster.leader(system)
    found = await _meant(cluster, wish)
    if wish.target and leader.live and not wish.force:
        raise CliError(
            f"{leader.text}: kubectl delete canary {found[0].name} -n {found[0].namespace} lets it give everything back for good; "
            "with --force this command does, and the daemon adopts it again"
        )
    lines = [f"{c.namespace}/{c.name}: {c.status.phase}" + (f", {c.status.weight} %" if c.status.rollout else "") for c in found]
    if leader.live:
        lines.append(f"note: {leader.text}; it is stopped from working meanwhile")
    question = f"Give back what Linnet changed for {len(found)} Canar{'ies' if len(found) != 1 else 'y'} ({wish.held} what is held)?"
    confirm(question, yes=wish.yes or cluster.config.source == "in-cluster", lines=lines)
    reports: list[Report] = []

    async def work() -> None:
        reports[:] = await _work(cluster, system, wish, tuple(c.key for c in found))

    await leading(cluster, system, leader, work, keep_away=wish.target is None)
    return _tell(reports)


async def _meant(cluster: Cluster, wish: Wish) -> list[Canary]:
    if wish.target:
        return [await cluster.canary(wish.target)]
    return [c for ns in cluster.access.namespaces or (None,) for c in await cluster.canaries(ns)]


async def _work(cluster: Cluster, system: System, wish: Wish, keys: tuple[tuple[str, str], ...]) -> list[Report]:
    from daemon.api import names
    from daemon.cli.giveback import GiveBack
    from daemon.kube.client import Client

    namespaces = cluster.access.namespaces if wish.target is None else tuple({key[0] for key in keys})
    client = Client(cluster.client.transport, field_manager=names.FIELD_MANAGER)  # the daemon's own: what it owns is ours to give back
    ends = asyncio.get_running_loop().time() + wish.timeout
    slots = asyncio.Semaphore(AT_ONCE)
    async with watching(client, namespaces, system.catalogue) as caches:

        async def one(canary: Canary) -> Report:
            async with slots:
                left = max(1.0, ends - asyncio.get_running_loop().time())
                return await GiveBack(client, caches, system.catalogue, wish.held, canary).run(left)

        there = [c for c in caches.canaries.store if wish.target is None or c.key in keys]
        reports = list(await asyncio.gather(*(one(c) for c in sorted(there, key=lambda c: c.key))))
        if wish.target is None:
            reports += [await _orphan(client, caches, item, wish.held) for item in _orphans(caches)]
    return reports


def _orphans(caches: Caches) -> list[Deployment]:
    """Deployments that carry our marks while no Canary speaks for them."""
    from daemon.api import names

    return [
        d
        for d in caches.deployments.store
        if (d.metadata.annotation(names.CANARY_MARK) or d.metadata.annotation(names.HELD_MARK))
        and not caches.canaries.store.by("workload", f"{d.namespace}/{d.name}")
    ]


async def _orphan(client: Client, caches: Caches, item: Deployment, held: Held) -> Report:
    """The same ends, from the stored templates alone."""
    import time

    from daemon.api import names
    from daemon.cli.giveback import Report
    from daemon.cli.release import is_held
    from daemon.kube.errors import KubeError
    from daemon.workloads.errors import WorkloadError
    from daemon.workloads.revisions import Revisions, Templates

    where = f"{item.namespace}/{item.name}"
    revisions = Revisions(client, caches.revisions.store, Templates(), time.time)
    stable = revisions.stable(*item.key)
    if is_held(item) and held == "leave":
        return Report(where=where, fate="left held", message="left held; its Canary is gone")
    if is_held(item) and held == "restore" and stable is None:
        way_out = f"apply a good manifest with {names.HOLD}=off, or: linnet release deploy/{item.name} -n {item.namespace}"
        return Report(where=where, fate="failed", message=f"left held: no stable template is stored; {way_out}")
    try:
        await _give_up(client, item, revisions.template(stable) if stable is not None and held == "restore" else None)
        await revisions.forget_all(*item.key)
    except (KubeError, WorkloadError) as e:
        return Report(where=where, fate="failed", message=str(e))
    return Report(where=where, fate="given back", message="its Canary was gone; marks and hold are taken off")


async def _give_up(client: Client, item: Deployment, template: dict[str, object] | None) -> None:
    """Hold ended on `template` (or on what is there), marks off, the owner's break-glass annotation as it was."""
    from daemon.api import names
    from daemon.cli.release import is_held, switch_off
    from daemon.kube.patch import pointer, remove
    from daemon.kube.resources import DEPLOYMENTS
    from daemon.workloads import hold

    added = switch_off(item)
    if added:
        item = await client.json_patch(DEPLOYMENTS, item.namespace, item.name, added)
    if is_held(item):
        item = await hold.restore_template(client, item, template) if template is not None else await hold.release(client, item)
    item = await hold.adopt(client, item, None)
    if added:
        await client.json_patch(DEPLOYMENTS, item.namespace, item.name, [remove(pointer("metadata", "annotations", names.HOLD))])


def _tell(reports: list[Report]) -> int:
    for r in reports:
        click.echo(f"{r.fate}: {r.where}: {r.message}", err=r.fate == "failed")
    failed = sum(1 for r in reports if r.fate == "failed")
    if not reports:
        click.echo("there is no Canary; nothing to give back")
    return FAILED if failed else OK
