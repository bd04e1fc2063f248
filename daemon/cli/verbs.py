"""`linnet pause|resume|promote|abort|retry`: what a person says to a release, and what became of it.

A verb is an annotation on the Canary, bound to a revision and expiring, so that RBAC on Canaries says who may speak and a GitOps
tool that replays it does nothing. The command then looks whether it was carried out: a verb that nobody heard is not a success.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from daemon.cli.cluster import FAILED, OK, UNDECIDED, Access, CliError, Cluster, System, access_options, run, system_options

if TYPE_CHECKING:
    from daemon.control.objects import Canary
    from daemon.kube.objects import Event

Verb = Literal["promote", "abort", "pause", "resume", "retry", "override"]

EXPIRES: Final = 600.0  # seconds; a verb found later was meant for another situation
PATIENCE: Final = 10.0
EVENT_PATIENCE: Final = 4.0
LIMIT: Final = 128  # characters that status.lastAction keeps

# Phases in which a release is seen soon after its verb was carried out.
_AFTER: Final[dict[str, frozenset[str]]] = {
    "pause": frozenset({"Paused"}),
    "resume": frozenset({"Progressing", "Promoting", "Settling", "Idle", "Inconclusive"}),
    "promote": frozenset({"Promoting", "Settling", "Idle"}),
    "override": frozenset({"Promoting", "Settling", "Idle", "Pending"}),
    "abort": frozenset({"RollingBack", "Held", "Idle"}),
    "retry": frozenset({"Starting", "Progressing", "Paused"}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """One verb as it was written."""

    verb: Verb
    revision: str
    raw: str
    at: float


def _command(verb: Verb, text: str, *, override: bool = False) -> click.Command:
    def command(*, access: Access, system: System, target: str, revision: str | None, override: bool = False) -> None:
        chosen: Verb = "override" if override else verb
        run(access, lambda cluster: say(cluster, system, target, chosen, revision))

    command.__name__, command.__doc__ = verb, text
    made: Any = system_options(access_options()(command))
    if override:
        help_text = "Release the revision although it was not judged fine, or failed before. Said in every message."
        made = click.option("--override", is_flag=True, help=help_text)(made)
    made = click.option("--revision", help="The revision that is meant; by default the one at hand, which is printed.")(made)
    made = click.argument("target", metavar="NAME|deploy/NAME")(made)
    result: click.Command = click.command(name=verb)(made)
    return result


_ENDS = "\n\nExit codes: 0 carried out, 1 refused or impossible, 2 nobody confirmed it within 10 s."
pause = _command("pause", "Hold a release at its present step until `linnet resume`." + _ENDS)
resume = _command("resume", "Go on with a paused release; ends an endless pause step." + _ENDS)
promote = _command("promote", "Promote the release under way now, on your word instead of the judge's." + _ENDS, override=True)
abort = _command("abort", "Take the release under way back: traffic and flags at once, then pods." + _ENDS)
retry = _command("retry", "Release a revision again that failed before, from the first step." + _ENDS)


async def say(cluster: Cluster, system: System, target: str, verb: Verb, revision: str | None) -> int:
    """Writes the verb and waits for what becomes of it."""
    canary = await cluster.canary(target)
    chosen = revision or await cluster.revision_at_hand(canary)
    said = Said(verb=verb, revision=chosen, raw=annotation(verb, chosen, await cluster.whoami(), time.time()), at=time.time())
    await _write(cluster, canary, said)
    spoken = "promote --override" if verb == "override" else verb
    click.echo(f"{spoken} of {canary.name} {chosen} is said; waiting for Linnet to carry it out")
    seen = await _heard(cluster, canary, said)
    if seen is None:
        leader = await cluster.leader(system)
        until = f"it expires in {EXPIRES / 60:.0f} min"
        why = f"the daemon leads ({leader.holder}) but has not answered" if leader.live else f"no live leader: {leader.text}"
        click.echo(f"not confirmed within {PATIENCE:.0f} s: {why}; the verb stays written, {until}", err=True)
        return UNDECIDED
    if seen.status.phase == canary.status.phase or seen.status.phase not in _AFTER[verb]:  # no sign that it was: is there one against?
        reason = await _refusal(cluster, seen, said)
        if reason:
            click.echo(reason, err=True)
            return FAILED
    click.echo(f"carried out: {canary.name} is {seen.status.phase}" + (f", step {seen.status.step}" if seen.status.step else ""))
    return OK


def annotation(verb: str, revision: str, by: str, now: float) -> str:
    """`verb@REV#by=NAME;until=RFC3339;n=NONCE`, short enough for status.lastAction to hold all of it."""
    import secrets

    from daemon.rollout.clock import stamp

    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", revision):
        raise CliError(f"--revision is {revision!r}: a revision is lower-case letters and digits, as `linnet status` shows it")
    tail = f";until={stamp(now + EXPIRES)};n={secrets.token_hex(3)}"
    head = f"{verb}@{revision}#by="
    name = re.sub(r"[^A-Za-z0-9@._:/+-]", "_", by)
    return head + name[: LIMIT - len(head) - len(tail)] + tail


async def _write(cluster: Cluster, canary: Canary, said: Said) -> None:
    from daemon.api import names
    from daemon.control.objects import CANARIES

    patch = {"metadata": {"annotations": {names.ACTION: said.raw}}}
    await cluster.client.merge_patch(CANARIES, canary.namespace, canary.name, patch)


async def _heard(cluster: Cluster, canary: Canary, said: Said) -> Canary | None:
    """The Canary once its status says that the verb was read; None where nobody did."""
    from daemon.control.objects import CANARIES

    ends = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < ends:
        seen = await cluster.client.get(CANARIES, canary.namespace, canary.name)
        if seen.status.last_action == said.raw:
            return seen
        await asyncio.sleep(0.25)
    return None


async def _refusal(cluster: Cluster, canary: Canary, said: Said) -> str:
    """What the Event says why not; empty where none says so."""
    from daemon.kube.resources import EVENTS

    start = f"{said.verb} of {said.revision} refused"
    ends = asyncio.get_running_loop().time() + EVENT_PATIENCE
    while asyncio.get_running_loop().time() < ends:
        page = await cluster.client.list(EVENTS, canary.namespace)
        fresh = [e for e in page.items if e.reason == "CommandRefused" and e.regarding.name == canary.name and _since(e, said.at)]
        found = next((e.note for e in fresh if e.note.startswith(start)), "")
        if found:
            return found
        await asyncio.sleep(0.25)
    return ""


def _since(event: Event, at: float) -> bool:
    """Whether an Event, or its last repetition, is newer than the verb (clocks may differ by a little)."""
    from daemon.kube import times

    seen = event.series.last_observed_time if event.series else event.event_time
    return bool(seen) and times.parse(seen or "").timestamp() >= at - 5.0
