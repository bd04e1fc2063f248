"""Working as the leader for once: what `linnet cleanup` does must never run beside a daemon.

The Lease is taken even from a daemon that lives. It notices at its next renewal, and by its own rules has stopped working before
its Lease could have expired; so after that long nobody writes but us, and when we are done it may lead again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import click

from daemon.cli.cluster import CliError, Cluster, Leader, System

if TYPE_CHECKING:
    from daemon.kube.client import Client

ATTEMPTS: Final = 10
KEEP_AWAY: Final = 30  # seconds in which a daemon that is being uninstalled must not adopt everything anew
SLACK: Final = 1.0


async def leading(cluster: Cluster, system: System, leader: Leader, work: Callable[[], Awaitable[None]], *, keep_away: bool) -> None:
    """Runs `work` while holding the Lease; takes it from `leader` where that lives."""
    from daemon.kube.lease import DEFAULTS, LeaderElector

    identity = f"linnet-cleanup-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    if not await _possible(cluster.client, system):
        click.echo(f"note: there is no Lease {system.lease_namespace}/{system.lease_name} and none can be made: working without one")
        await work()
        return
    if leader.live:
        await _take(cluster.client, system, identity, DEFAULTS.lease_duration)
        click.echo(f"{leader.holder} is asked to stop; going on in {DEFAULTS.lease_duration} s")

    async def after_the_other() -> None:
        if leader.live:
            await asyncio.sleep(DEFAULTS.lease_duration + SLACK)
        await work()

    await LeaderElector(cluster.client, system.lease_namespace, system.lease_name, identity).run(after_the_other)
    if leader.live and keep_away:
        await _take(cluster.client, system, identity, KEEP_AWAY)


async def _possible(client: Client, system: System) -> bool:
    """Whether the Lease is there or may be made: its namespace may be gone already."""
    from daemon.kube import errors
    from daemon.kube.client import Client as Asking
    from daemon.kube.objects import Lease, ObjectMeta
    from daemon.kube.resources import LEASES

    if await client.find(LEASES, system.lease_namespace, system.lease_name) is not None:
        return True
    lease = Lease(metadata=ObjectMeta(name=system.lease_name, namespace=system.lease_namespace))
    try:
        await Asking(client.transport, dry_run=True).create(LEASES, system.lease_namespace, lease)
    except (errors.NotFound, errors.Forbidden):
        return False
    except errors.AlreadyExists:
        return True
    return True


async def _take(client: Client, system: System, identity: str, duration: int) -> None:
    """The Lease is ours, whoever held it; renewals of the other lose the race after a few tries at most."""
    import msgspec

    from daemon.kube import errors, times
    from daemon.kube.objects import LeaseSpec
    from daemon.kube.resources import LEASES

    for _ in range(ATTEMPTS):
        lease = await client.get(LEASES, system.lease_namespace, system.lease_name)
        now = times.micro_time(times.now())
        spec = LeaseSpec(
            holder_identity=identity,
            lease_duration_seconds=duration,
            acquire_time=now,
            renew_time=now,
            lease_transitions=(lease.spec.lease_transitions or 0) + 1,
        )
        try:
            await client.replace(LEASES, msgspec.structs.replace(lease, spec=spec))
        except errors.Conflict:
            continue
        return
    raise CliError(f"the Lease {system.lease_namespace}/{system.lease_name} could not be taken: it is written by others all the time")
