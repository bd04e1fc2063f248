"""`linnet history` and `linnet undo`: which versions are kept, what became of each, and the way back to one of them.

The templates come from Linnet's own store, which outlives ReplicaSets and revisionHistoryLimit. Only the pod template goes back: what it
names (ConfigMaps, Secrets) must still be there, so that is looked up first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.cluster import FAILED, OK, Access, CliError, Cluster, System, access_options, run, system_options
from daemon.cli.verbs import More, say

if TYPE_CHECKING:
    from daemon.control.objects import Canary
    from daemon.kube.objects import ControllerRevision


@click.command()
@click.argument("target", metavar="NAME|deploy/NAME")
@access_options()
def history(*, access: Access, target: str) -> None:
    """List the versions whose templates are kept, the newest first, and what became of each.

    Exit codes: 0.
    """
    run(access, lambda cluster: _history(cluster, target))


async def _history(cluster: Cluster, target: str) -> int:
    canary = await cluster.canary(target)
    rows = await _stored(cluster, canary.namespace, _workload(canary))
    if not rows:
        click.echo(f"no version of {canary.name} is stored yet")
        return OK
    click.echo(f"{'REVISION':<12}{'STABLE':<28}{'FAILED':<28}IMAGES")
    for item in rows:
        name = _name(item)
        stable = _when(item, "stable-at", "stable-by") + (" *" if name == canary.status.stable_revision else "")
        click.echo(f"{name:<12}{stable:<28}{_when(item, 'failed-at', 'failed-for'):<28}{', '.join(_images(item))}")
    click.echo("* runs now. To go back: linnet undo NAME --to-revision REVISION")
    return OK


@click.command()
@click.argument("target", metavar="NAME|deploy/NAME")
@click.option(
    "--to-revision",
    "to",
    metavar="REVISION",
    help="Where to go back to, as `linnet history` shows it; by default the stable version before this one.",
)
@click.option("--reason", "why", metavar="WORDS", help="Why. It is kept with the release, and in every message about its end.")
@system_options
@access_options()
def undo(*, access: Access, system: System, target: str, to: str | None, why: str | None) -> None:
    """Go back to an earlier version: at once where it was proven good, through a canary otherwise.

    Only the pod template goes back. Where a GitOps tool manages the Deployment, the commit must be reverted too: the command says so.

    Exit codes: 0 carried out, 1 refused or impossible, 2 nobody confirmed it within 10 s.
    """
    run(access, lambda cluster: _undo(cluster, system, target, More(to=to or "", why=why or "")))


async def _undo(cluster: Cluster, system: System, target: str, more: More) -> int:
    from daemon.workloads import gitops

    canary = await cluster.canary(target)
    name = _workload(canary)
    deployment = await cluster.deployment(canary.namespace, name)
    rows = await _stored(cluster, canary.namespace, name)
    chosen = next((i for i in rows if _name(i) == more.to), None) if more.to else _before(rows, canary.status.stable_revision or "")
    if more.to and chosen is None:
        raise CliError(f"--to-revision is {more.to!r}: stored are {', '.join(_name(i) for i in rows) or 'none'}")
    missing = [m async for m in _missing(cluster, chosen)] if chosen is not None else []
    if chosen is not None and missing:
        click.echo(f"not undone: version {_name(chosen)} needs {', '.join(missing)}, which is gone; create it again first", err=True)
        return FAILED
    ended = await say(cluster, system, target, "undo", None, more)
    manager = gitops.manager_of(deployment)
    if ended == OK and manager:
        images = ", ".join(_images(chosen)) if chosen is not None else "the stable version"
        click.echo(f"{manager} manages this Deployment and brings the other version back at its next sync: revert it in Git, to {images}")
    return ended


def _workload(canary: Canary) -> str:
    if canary.spec.workload_ref is None:
        raise CliError(f"{canary.name} releases flags alone: no version is stored; change spec.flags or spec.steps back")
    return canary.spec.workload_ref.name


async def _stored(cluster: Cluster, namespace: str, workload: str) -> list[ControllerRevision]:
    from daemon.kube.resources import CONTROLLER_REVISIONS
    from daemon.workloads.revisions import WORKLOAD

    page = await cluster.client.list(CONTROLLER_REVISIONS, namespace)
    found = [i for i in page.items if i.metadata.annotation(WORKLOAD) == workload]
    return sorted(found, key=lambda i: (_note(i, "stable-at"), i.metadata.creation_timestamp or ""), reverse=True)


def _before(rows: list[ControllerRevision], stable: str) -> ControllerRevision | None:
    """The stable version before this one, as the daemon chooses it."""
    return next((i for i in rows if _note(i, "stable-at") and _name(i) != stable and not _note(i, "failed-at")), None)


def _note(item: ControllerRevision, key: str) -> str:
    from daemon.api import names

    return item.metadata.annotation(f"{names.GROUP}/{key}")


def _name(item: ControllerRevision) -> str:
    from daemon.api import names

    return item.metadata.label(names.REVISION)


def _when(item: ControllerRevision, at: str, how: str) -> str:
    """'2026-01-02 03:04 Proven'."""
    stamp = _note(item, at)
    return f"{stamp[:16].replace('T', ' ')} {_note(item, how)}".strip() if stamp else ""


def _template(item: ControllerRevision) -> dict[str, Any]:
    import msgspec

    data: dict[str, Any] = msgspec.json.decode(item.data)
    return data.get("template") or {}


def _images(item: ControllerRevision) -> tuple[str, ...]:
    from daemon.rollout.templates import images

    return images(_template(item))


async def _missing(cluster: Cluster, item: ControllerRevision) -> AsyncIterator[str]:
    """ConfigMaps and Secrets that the template needs and that are not there; what may not be looked at counts as there."""
    from daemon.kube import errors
    from daemon.kube.objects import PartialObject
    from daemon.kube.resources import CONFIG_MAPS, SECRETS

    kinds = {"ConfigMap": CONFIG_MAPS.with_model(PartialObject), "Secret": SECRETS.with_model(PartialObject)}
    for kind, name in dict.fromkeys(referenced(_template(item))):
        try:
            if await cluster.client.find(kinds[kind], item.namespace, name) is None:
                yield f"{kind} {name}"
        except errors.Forbidden:
            continue


def referenced(template: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every ConfigMap and Secret that pods of this template cannot start without."""
    spec = template.get("spec") or {}
    volumes = [
        *(spec.get("volumes") or []),
        *(s for v in spec.get("volumes") or [] for s in (v.get("projected") or {}).get("sources") or []),
    ]
    for volume in volumes:
        yield from _named("ConfigMap", volume.get("configMap"), "name")
        yield from _named("Secret", volume.get("secret"), "secretName" if "secretName" in (volume.get("secret") or {}) else "name")
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        for source in container.get("envFrom") or []:
            yield from _named("ConfigMap", source.get("configMapRef"), "name")
            yield from _named("Secret", source.get("secretRef"), "name")
        for variable in container.get("env") or []:
            chosen = variable.get("valueFrom") or {}
            yield from _named("ConfigMap", chosen.get("configMapKeyRef"), "name")
            yield from _named("Secret", chosen.get("secretKeyRef"), "name")


def _named(kind: str, ref: dict[str, Any] | None, key: str) -> Iterator[tuple[str, str]]:
    if ref and ref.get(key) and not ref.get("optional"):
        yield kind, str(ref[key])
