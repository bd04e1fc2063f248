"""Whom the commands that look into the history of a service ask: an address, or the MetricSource that its Canary names.

A MetricSource is found as the daemon finds it, and asked as the daemon asks it: with its TLS, headers, login and signature, whose
Secrets are read with the rights of whoever runs the command.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from daemon.cli.cluster import CliError, Cluster, catalogue_option

if TYPE_CHECKING:
    from daemon.control import objects as ours
    from daemon.kube.resources import Resource

    Catalogued = TypeVar("Catalogued", ours.Profile, ours.MetricSource)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user said: --prometheus, --source, --catalogue-namespace."""

    url: str | None = None
    source: str | None = None
    catalogue: str = "linnet-system"


shared_option = catalogue_option("Where MetricSources and profiles are that the namespace has not.")


def asked_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--prometheus, --source and --catalogue-namespace, handed to the command as one `asked`."""

    def command(prometheus: str | None, source: str | None, catalogue_namespace: str, **rest: Any) -> Any:
        if prometheus is not None and source is not None:
            raise click.UsageError("--prometheus and --source both say whom to ask: give one")
        return function(asked=Asked(url=prometheus, source=source, catalogue=catalogue_namespace), **rest)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__dict__.update(function.__dict__)
    wrapped = click.option("--source", metavar="NAME", help="The MetricSource to ask, where the Canary's metrics name several.")(
        shared_option(command)
    )
    return click.option("--prometheus", metavar="URL", help="Whom to ask; by default the MetricSource that the Canary names.")(wrapped)


async def found(cluster: Cluster, resource: Resource[Catalogued], where: tuple[str, str], name: str) -> Catalogued | None:
    """`where`: the namespace that uses it, and that of the catalogue, whose objects say whom they admit; None where it is not there."""
    from daemon.api.sources import admits_namespace
    from daemon.kube.errors import KubeError

    namespace, catalogue = where
    try:
        own = await cluster.client.find(resource, namespace, name)
        shared = await cluster.client.find(resource, catalogue, name) if own is None else None
    except KubeError as e:
        raise CliError(f"{resource.kind} {name} cannot be read: {e}") from e
    if shared is not None and not admits_namespace(shared.spec.allowed_namespaces, namespace):
        raise CliError(f"{resource.kind} {name} in {catalogue} does not admit namespace {namespace}: add it to its spec.allowedNamespaces")
    return own or shared
