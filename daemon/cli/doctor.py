"""`linnet doctor`: says within a minute what is missing, so that the first symptom is not NoData an hour into a release.

`helm test` runs it as the daemon's account. Every line that is not OK names the way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Final

import click

from daemon.cli.cluster import (
    FAILED,
    OK,
    Access,
    CliError,
    Cluster,
    System,
    access_options,
    dump,
    fail,
    run,
    system_options,
    watching,
)

if TYPE_CHECKING:
    from daemon.cli.findings import Finding
    from daemon.kube.objects import Deployment

WHOLE: Final = 55.0  # seconds: helm test gives a minute
SYNC: Final = 20.0


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--account",
    help="User whose rights are asked for. Default: your own in a pod, else system:serviceaccount:CATALOGUE:linnet.",
)
@system_options
@access_options(several=True)
def doctor(*, access: Access, system: System, output: str, account: str | None) -> None:
    """Look whether everything is there that releases need, and say what is not.

    Exit codes: 0 nothing fails (warnings aside), 1 something does.
    """
    run(access, lambda cluster: _doctor(cluster, system, output, account))


async def _doctor(cluster: Cluster, system: System, output: str, account: str | None) -> int:
    found: list[Finding] = []
    try:
        async with asyncio.timeout(WHOLE):
            async for group in _visits(cluster, system, account):
                found += group
                if output == "text":
                    for finding in group:
                        click.echo(str(finding))
    except TimeoutError:
        fail(f"not finished after {WHOLE:.0f} s; what was found so far is above")
    failed = sum(1 for f in found if f.level == "FAIL")
    if output == "json":
        dump([{"level": f.level, "what": f.what, "message": f.message, "wayOut": f.way_out} for f in found])
    else:
        warned = sum(1 for f in found if f.level == "WARN")
        click.echo(f"{len(found) - failed - warned} fine, {warned} to look at, {failed} missing or broken")
    return FAILED if failed else OK


async def _visits(cluster: Cluster, system: System, account: str | None) -> AsyncIterator[list[Finding]]:
    """Group after group, as they are known; one that cannot be asked is a finding, not an end."""
    from daemon.cli import examine
    from daemon.cli.findings import bad

    asked = account or (None if cluster.config.source == "in-cluster" else f"system:serviceaccount:{system.catalogue}:linnet")
    missing = await _safely("CRDs", examine.kinds(cluster))
    yield missing
    for what, visit in (("rights", examine.rights(cluster, system, asked)), ("gateway", examine.gateway(cluster))):
        yield await _safely(what, visit)
    deployments = await _deployments(cluster)
    if isinstance(deployments, str):
        yield [bad("deployments", deployments, "grant get, list and watch on deployments")]
        deployments = []
    adopted = [d for d in deployments if d.metadata.annotation("linnet.dev/canary")]
    yield await _safely("hold", examine.hold(cluster, adopted))
    yield await _safely("leader", _leader(cluster, system, adopted))
    if all(f.level == "OK" for f in missing):
        yield await _safely("objects", _consult(cluster, system))


async def _safely(what: str, visit: Coroutine[Any, Any, list[Finding]]) -> list[Finding]:
    from daemon.cli.findings import bad
    from daemon.kube.errors import KubeError

    try:
        return await visit
    except (KubeError, CliError) as e:
        return [bad(what, str(e), "check the connection and your rights")]


async def _deployments(cluster: Cluster) -> list[Deployment] | str:
    from daemon.kube.errors import KubeError
    from daemon.kube.resources import DEPLOYMENTS

    try:
        return [d for ns in cluster.access.namespaces or (None,) for d in (await cluster.client.list(DEPLOYMENTS, ns)).items]
    except KubeError as e:
        return str(e)


async def _leader(cluster: Cluster, system: System, adopted: list[Deployment]) -> list[Finding]:
    from daemon.cli import examine
    from daemon.cli.release import is_held

    return examine.leading(await cluster.leader(system), [d for d in adopted if is_held(d)])


async def _consult(cluster: Cluster, system: System) -> list[Finding]:
    from daemon.cli.consult import Consultation

    async with watching(cluster.client, cluster.access.namespaces, system.catalogue, SYNC) as caches:
        return await Consultation(cluster.client, caches, system.catalogue).run()
