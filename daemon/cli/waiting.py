"""`linnet wait`: for pipelines. Answers for one revision, and never with the end of an older one.

`kubectl rollout status` blocks on a held Deployment and Helm's --wait is satisfied at once; neither knows of a canary.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final, Literal

import click

from daemon.cli.cluster import FAILED, OK, UNDECIDED, Access, CliError, Cluster, access_options, run, seconds

if TYPE_CHECKING:
    from daemon.api.status import CanaryStatus
    from daemon.control.objects import Canary

EVERY: Final = 1.0
INCONCLUSIVE: Final = 3  # told apart from a timeout: waiting longer does not help
Want = Literal["promoted", "finished"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What is waited for: a revision by name, by an image, or the one in the Deployment now."""

    target: str
    revision: str | None = None
    image: str | None = None
    want: Want = "promoted"
    timeout: float = 3600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """How it ended, in the sentence that people read."""

    code: int
    sentence: str


@click.command()
@click.argument("target", metavar="NAME|deploy/NAME")
@click.option("--revision", help="The revision to wait for, as `linnet status` shows it.")
@click.option("--image", help="Wait for the template with this image, also if it has not arrived yet.")
@click.option("--for", "want", type=click.Choice(["promoted", "finished"]), default="promoted", show_default=True)
@click.option(
    "--timeout", metavar="DURATION", callback=seconds, default="1h", show_default=True, help="Longest wait, such as 90s or 1h30m."
)
@access_options()
def wait(*, access: Access, target: str, revision: str | None, image: str | None, want: Want, timeout: float) -> None:
    """Wait until a release has ended, and say how.

    Without --revision and --image, the template that the Deployment has now is meant.

    Exit codes: 0 promoted (with --for finished: ended, however), 1 rolled back or replaced, 2 timed out,
    3 inconclusive: a person has to decide.
    """
    if revision and image:
        raise click.UsageError("--revision and --image both name what to wait for; give one")
    question = Question(target=target, revision=revision, image=image, want=want, timeout=timeout)
    run(access, lambda cluster: _wait(cluster, question))


async def _wait(cluster: Cluster, question: Question) -> int:
    seen = ""
    try:
        async with asyncio.timeout(question.timeout):
            while True:
                canary = await cluster.canary(question.target)
                present = await cluster.present(canary)
                # Named once: a rollback may write another template before we look again.
                revision, seen = await _named(cluster, canary, question, present)
                if revision is not None:
                    question = dataclasses.replace(question, revision=revision, image=None)
                    end = outcome(canary.name, canary.status, revision, present)
                    if end is not None:
                        click.echo(end.sentence)
                        return OK if question.want == "finished" and end.code == FAILED else end.code
                    seen = _progress(canary, revision)
                await asyncio.sleep(EVERY)
    except TimeoutError:
        click.echo(f"not ended after {question.timeout:.0f} s: {seen}", err=True)
        return UNDECIDED


async def _named(cluster: Cluster, canary: Canary, question: Question, present: str) -> tuple[str | None, str]:
    """The revision that is meant; None while the image has not arrived, and what is there instead."""
    from daemon.api import names
    from daemon.rollout.templates import images
    from daemon.workloads.revisions import Templates

    if question.revision == present or (question.revision is None and question.image is None):
        return present, ""
    if question.revision is not None:
        status = canary.status
        spoken_of = {h.revision for h in status.history} | {status.stable_revision, status.rollout.revision if status.rollout else None}
        revisions = await cluster.revisions(canary.namespace)
        stored = {r.metadata.label(names.REVISION) for r in revisions.of(canary.namespace, canary.spec.workload)}
        if question.revision not in spoken_of | stored:
            known = ", ".join(sorted(stored)) or "none"
            raise CliError(f"--revision {question.revision} is not known of {canary.name}: at hand is {present}; stored are {known}")
        return question.revision, ""
    item = await cluster.deployment(canary.namespace, canary.spec.workload)
    there = images(Templates().decode(item.spec.template))
    return (present, "") if question.image in there else (None, f"Deployment {item.name} has {', '.join(there)}, not yet {question.image}")


def outcome(name: str, status: CanaryStatus, revision: str, present: str) -> End | None:
    """How `revision` ended, from the status alone. `present` is the revision of the Deployment's template."""
    rollout = status.rollout
    if rollout is not None and rollout.revision == revision:
        if status.phase == "Inconclusive":
            return End(code=INCONCLUSIVE, sentence=status.sentence or f"{name} {revision} is inconclusive")
        return None
    past = next((h for h in status.history if h.revision == revision), None)
    if status.phase == "Observing" and past is not None:
        return End(
            code=OK, sentence=past.sentence or f"{name} {revision} was observed: {past.outcome}"
        )  # no pipeline fails by what only looks
    promoted = past is not None and past.outcome == "Promoted"
    if status.stable_revision == revision or (promoted and present != revision):
        return End(code=OK, sentence=past.sentence if past is not None and promoted and past.sentence else f"{name} {revision} is stable")
    if present != revision:
        told = (past.sentence or f"{name} {revision} ended: {past.outcome}") if past is not None else ""
        return End(code=FAILED, sentence=told or f"{name} {revision} was replaced by {present} before it was released")
    if status.phase == "Bypassed":
        return End(code=FAILED, sentence=f"{name} {revision} rolls without having been judged: linnet status {name}")
    if status.phase == "Held":
        told = past.sentence if past is not None else ""
        return End(code=FAILED, sentence=told or f"{name} {revision} failed before and is held; linnet retry {name}, or a new template")
    return None


def _progress(canary: Canary, revision: str) -> str:
    status = canary.status
    waiting = f": {status.waiting.message}; {status.waiting.way_out}".rstrip("; ") if status.waiting is not None else ""
    return f"{canary.name} {revision} is {status.phase}{waiting}"
