"""`linnet kill FLAG...`: the kill switch for feature flags, by the flags' own names and for several at once.

Whoever sees a flag do harm knows its name, and not which release moves it. Each release that does is told so at the same moment, by the
verb `kill`, which RBAC gives or withholds like any other; then the command watches the shares go to 0. Flags at rest are left alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Final

import click

from daemon.cli.cluster import FAILED, OK, UNDECIDED, Access, CliError, Cluster, access_options, run

if TYPE_CHECKING:
    from daemon.control.objects import Canary

PATIENCE: Final = 15.0  # seconds: those of the flags' own budget, and those that a busy daemon takes to hear
LOOK_EVERY: Final = 0.25


@click.command()
@click.argument("flags", metavar="FLAG...", nargs=-1, required=True)
@click.option(
    "--reason", "why", metavar="WORDS", required=True, help="Why: it is kept with the release, and in every message about its end."
)
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Releases of all namespaces.")
@access_options()
def kill(access: Access, flags: tuple[str, ...], why: str, *, everywhere: bool) -> None:
    """Take flags back at once, whichever releases move them.

    FLAG is a flag's name in the Canary or its key at the source; several may be given. Every release that moves one of them takes all of
    its flags to 0 and is rolled back. Nothing is disabled or deleted at the source. A flag that no release moves is left alone.

    Exit codes: 0 all at 0, 1 refused, or moved by no release, 2 not confirmed within 15 s.
    """
    if everywhere and access.namespaces:
        raise click.UsageError("--all-namespaces and --namespace exclude each other")
    run(access, lambda cluster: _kill(cluster, flags, why, everywhere=everywhere))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _End:
    """What became of one release; `code` as the exit codes."""

    text: str
    code: int


async def _kill(cluster: Cluster, flags: tuple[str, ...], why: str, *, everywhere: bool) -> int:
    from daemon.rollout import commands, killing

    found = [c for c in await cluster.canaries(None if everywhere else cluster.namespace) if "kill" in commands.possible(c.status.phase)]
    meant = [canary for canary in found if killing.named(canary.status, flags)]
    unmoved = killing.unmoved([canary.status for canary in meant], flags)
    where = "any namespace" if everywhere else f"namespace {cluster.namespace}"
    left = f"no release under way in {where} moves {', '.join(unmoved)}: a flag at rest is its people's; turn it off at its source"
    if not meant:
        raise CliError(left)
    by = await cluster.whoami()
    ends = await asyncio.gather(*(_one(cluster, canary, by, why) for canary in meant))
    for end in ends:
        click.echo(end.text, err=end.code != OK)
    if unmoved:
        click.echo(left, err=True)
    codes = [end.code for end in ends] + ([FAILED] if unmoved else [])
    return next((code for code in (FAILED, UNDECIDED) if code in codes), OK)


async def _one(cluster: Cluster, canary: Canary, by: str, why: str) -> _End:
    """Says it to one release, and watches its flags."""
    from daemon.api import names
    from daemon.cli.verbs import More, annotation
    from daemon.control.objects import CANARIES
    from daemon.kube.errors import KubeError
    from daemon.rollout import killing

    called, begun = f"{canary.namespace}/{canary.name}", time.monotonic()
    raw = annotation("kill", await cluster.revision_at_hand(canary), by, time.time(), More(why=why))
    flags = ", ".join(killing.driven(canary.status).values())
    try:
        patch = {"metadata": {"annotations": {names.ACTION: raw}}}
        await cluster.client.merge_patch(CANARIES, canary.namespace, canary.name, patch)
        seen = canary
        while time.monotonic() - begun < PATIENCE:
            seen = await cluster.client.get(CANARIES, canary.namespace, canary.name)
            if _at_zero(seen):
                return _End(text=f"{flags} of {called}: at 0 after {time.monotonic() - begun:.1f} s, and the release goes back", code=OK)
            await asyncio.sleep(LOOK_EVERY)
    except KubeError as problem:
        return _End(text=f"{flags} of {called}: not killed: {problem}", code=FAILED)
    pending = f"; {seen.status.waiting.message}" if seen.status.waiting else ""
    return _End(text=f"{flags} of {called}: not confirmed within {PATIENCE:.0f} s{pending}; see linnet flags {canary.name}", code=UNDECIDED)


def _at_zero(seen: Canary) -> bool:
    """The way back has begun, and its flags were seen at 0 or never rose."""
    rollout = seen.status.rollout
    if rollout is None:
        return seen.status.phase in ("Held", "Idle")
    raised = bool(rollout.flags_at_abort)
    return rollout.rollback is not None and (not raised or rollout.flags_zeroed_at is not None)
