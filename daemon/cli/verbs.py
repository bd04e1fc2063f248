"""`linnet pause|resume|promote|abort|retry|hotfix|approve|skip|step|set-weight`: what is said to a release, and what became of it.

A verb is an annotation on the Canary, bound to a revision and expiring, so that RBAC on Canaries says who may speak and a GitOps
tool that replays it does nothing. The command then looks whether it was carried out: a verb that nobody heard is not a success.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from daemon.cli.cluster import FAILED, OK, UNDECIDED, Access, CliError, Cluster, System, access_options, run, system_options

if TYPE_CHECKING:
    from daemon.control.objects import Canary
    from daemon.kube.objects import Event

Verb = Literal[
    "promote", "abort", "pause", "resume", "retry", "override", "hotfix", "approve", "skip", "step", "set-weight", "undo", "kill"
]

EXPIRES: Final = 600.0  # seconds; a verb found later was meant for another situation
PATIENCE: Final = 10.0
EVENT_PATIENCE: Final = 4.0

# Phases in which a release is seen soon after its verb was carried out.
_AFTER: Final[dict[str, frozenset[str]]] = {
    "pause": frozenset({"Paused"}),
    "resume": frozenset({"Progressing", "Promoting", "Settling", "Idle", "Inconclusive"}),
    "promote": frozenset({"Promoting", "Settling", "Idle"}),
    "override": frozenset({"Promoting", "Settling", "Idle", "Pending"}),
    "abort": frozenset({"RollingBack", "Held", "Idle"}),
    "kill": frozenset({"RollingBack", "Held", "Idle"}),
    "retry": frozenset({"Starting", "Progressing", "Paused"}),
    "undo": frozenset({"Starting", "Promoting"}),
}
_SPOKEN: Final[dict[str, str]] = {"override": "promote --override"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """One verb as it was written."""

    verb: Verb
    revision: str
    raw: str
    at: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class More:
    """What a verb says besides: the reason, and the step, weight or revision that is meant."""

    why: str = ""
    step: str = ""
    weight: int | None = None
    to: str = ""


_REASON: Final = "Why. It is kept with the release, and in every message about its end."
_REASON_NEEDED: Final = "Why: it is kept with the release, and in every message about its end. Needed."
_STEP: Final = "The step that is meant, by name or number; refused where another one is at hand."


def _command(verb: Verb, text: str, *options: Callable[[Any], Any]) -> click.Command:
    """A command that says `verb`; what its options bring is said with it."""

    def command(*, access: Access, system: System, target: str, revision: str | None, **given: Any) -> None:
        chosen: Verb = "override" if given.pop("override", False) else verb
        given.pop("full", None)
        more = More(**{key: value for key, value in given.items() if value is not None})
        if chosen in ("override", "hotfix") and not more.why:
            raise click.UsageError("--reason is missing: say why; it is kept with the release, and in every message about its end")
        run(access, lambda cluster: say(cluster, system, target, chosen, revision, more))

    command.__name__, command.__doc__ = verb.replace("-", "_"), text
    made: Any = system_options(access_options()(command))
    for option in reversed(options):
        made = option(made)
    made = click.option("--revision", help="The revision that is meant; by default the one at hand, which is printed.")(made)
    made = click.argument("target", metavar="NAME|deploy/NAME")(made)
    result: click.Command = click.command(name=verb)(made)
    return result


_ENDS = "\n\nExit codes: 0 carried out, 1 refused or impossible, 2 nobody confirmed it within 10 s."
_WHY = click.option("--reason", "why", metavar="WORDS", help=_REASON)
_ONE_STEP = click.option("--step", metavar="STEP", help=_STEP)
_OVERRIDE = click.option(
    "--override",
    is_flag=True,
    help="Release the revision although it was not judged fine, or failed before. Needs --reason; said in every message.",
)
_FULL = click.option("--full", is_flag=True, help="All steps at once, which is what promote does; for one step: linnet skip.")
pause = _command("pause", "Hold a release at its present step until `linnet resume`." + _ENDS)
resume = _command("resume", "Go on with a paused release; ends an endless pause step." + _ENDS)
promote = _command("promote", "Promote the release under way now, on your word instead of the judge's." + _ENDS, _FULL, _OVERRIDE, _WHY)
abort = _command("abort", "Take the release under way back: traffic and flags at once, then pods." + _ENDS, _WHY)
retry = _command("retry", "Release a revision again that failed before, from the first step." + _ENDS)
approve = _command("approve", "Say yes to the approval step at hand." + _ENDS, _ONE_STEP, _WHY)
skip = _command("skip", "Go to the next step now, without the time and the proof of the present one." + _ENDS, _ONE_STEP)
step = _command(
    "step",
    "Go to a later step now, by name or number: for pipelines that drive the steps themselves." + _ENDS,
    click.argument("step", metavar="STEP"),
)
set_weight = _command(
    "set-weight",
    "Give the canary this share of the traffic, within the present step: for pipelines that drive the steps themselves." + _ENDS,
    click.argument("weight", metavar="PERCENT", type=click.IntRange(0, 100)),
)
hotfix = _command(
    "hotfix",
    "Hurry a release: no dwell, no proof and no frozen time is waited for. Pods, order and harm count as ever." + _ENDS,
    click.option("--reason", "why", metavar="WORDS", required=True, help=_REASON_NEEDED),
)


async def say(cluster: Cluster, system: System, target: str, verb: Verb, revision: str | None, more: More | None = None) -> int:
    """Writes the verb and waits for what becomes of it."""
    canary = await cluster.canary(target)
    chosen = revision or await cluster.revision_at_hand(canary)
    raw = annotation(verb, chosen, await cluster.whoami(), time.time(), more or More())
    said = Said(verb=verb, revision=chosen, raw=raw, at=time.time())
    await _write(cluster, canary, said)
    spoken = _SPOKEN.get(verb, verb)
    click.echo(f"{spoken} of {canary.name} {chosen} is said; waiting for Linnet to carry it out")
    seen = await _heard(cluster, canary, said)
    if seen is None:
        leader = await cluster.leader(system)
        until = f"it expires in {EXPIRES / 60:.0f} min"
        why = f"the daemon leads ({leader.holder}) but has not answered" if leader.live else f"no live leader: {leader.text}"
        click.echo(f"not confirmed within {PATIENCE:.0f} s: {why}; the verb stays written, {until}", err=True)
        return UNDECIDED
    if not _done(verb, canary, seen):  # no sign that it was: is there one against?
        reason = await _refusal(cluster, seen, said)
        if reason:
            click.echo(reason, err=True)
            return FAILED
    click.echo(f"carried out: {canary.name} is {seen.status.phase}" + (f", step {seen.status.step}" if seen.status.step else ""))
    return OK


def annotation(verb: str, revision: str, by: str, now: float, more: More = More()) -> str:
    """The verb as it is written, bound to its revision and gone after ten minutes."""
    import secrets

    from daemon.rollout import commands

    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", revision):
        raise CliError(f"--revision is {revision!r}: a revision is lower-case letters and digits, as `linnet status` shows it")
    nonce, given = secrets.token_hex(3), dataclasses.asdict(more)
    return commands.written(verb, revision, by=by, until=now + EXPIRES, nonce=nonce, **given)


def _done(verb: Verb, before: Canary, after: Canary) -> bool:
    """Whether the status shows that the verb was carried out."""
    old, new = before.status.rollout, after.status.rollout
    if verb in _AFTER:
        return after.status.phase != before.status.phase and after.status.phase in _AFTER[verb]
    if old is None or new is None:
        return new is not None
    moved = (old.step, old.weight_set, old.hotfix, old.approvals) != (new.step, new.weight_set, new.hotfix, new.approvals)
    return moved or old.revision != new.revision


async def _write(cluster: Cluster, canary: Canary, said: Said) -> None:
    from daemon.api import names
    from daemon.control.objects import CANARIES

    patch = {"metadata": {"annotations": {names.ACTION: said.raw}}}
    await cluster.client.merge_patch(CANARIES, canary.namespace, canary.name, patch)


async def _heard(cluster: Cluster, canary: Canary, said: Said) -> Canary | None:
    """The Canary once its status says that the verb was read; None where nobody did."""
    from daemon.control.objects import CANARIES
    from daemon.rollout import commands

    ends = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < ends:
        seen = await cluster.client.get(CANARIES, canary.namespace, canary.name)
        if seen.status.last_action == said.raw[: commands.REMEMBERED]:
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
