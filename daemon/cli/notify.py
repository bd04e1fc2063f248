"""`linnet notify test`: one real message through a Notifier, so that the first rollback is not the first try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from daemon.cli.cluster import OK, Access, CliError, Cluster, System, access_options, run, system_options

if TYPE_CHECKING:
    from daemon.control.objects import Notifier

MOST: Final = 15.0  # seconds for one delivery


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def notify() -> None:
    """Try a Notifier."""


@notify.command(short_help="Send a test message through a Notifier.")
@click.argument("name", metavar="NOTIFIER")
@click.option("--cluster-name", default="default", show_default=True, help="The cluster's name as the message says it.")
@system_options
@access_options()
def test(*, access: Access, system: System, name: str, cluster_name: str) -> None:
    """Send a test message through a Notifier of the namespace, or of the catalogue where that admits the namespace.

    Your own right to read its Secret is used. Exit codes: 0 delivered, 1 not, with the reason.
    """
    run(access, lambda cluster: _test(cluster, system, name, cluster_name))


async def _test(cluster: Cluster, system: System, name: str, cluster_name: str) -> int:
    from daemon.control.secrets import SecretMissing, SecretReader
    from daemon.notify.errors import NotifyError
    from daemon.notify.message import trial
    from daemon.notify.notifier import send_once
    from daemon.notify.targets import parse

    found = await _find(cluster, system, name)
    ref = found.spec.url_secret_ref
    try:
        target = parse(await SecretReader(cluster.client).read(found.namespace, ref))
        message = trial(cluster=cluster_name, namespace=found.namespace, notifier=found.name, who=await cluster.whoami())
        await send_once(target, message, MOST)
    except (SecretMissing, NotifyError) as e:
        raise CliError(f"Notifier {found.namespace}/{found.name}: {e}") from e
    click.echo(f"delivered through Notifier {found.namespace}/{found.name} to {target.label}")
    return OK


async def _find(cluster: Cluster, system: System, name: str) -> Notifier:
    """As the daemon looks it up: the namespace first, then the catalogue, there only where it is admitted."""
    from daemon.api.sources import admits_namespace
    from daemon.control.objects import NOTIFIERS

    own = await cluster.client.find(NOTIFIERS, cluster.namespace, name)
    if own is not None:
        return own
    shared = await cluster.client.find(NOTIFIERS, system.catalogue, name)
    if shared is None:
        raise CliError(f"Notifier {name} exists neither in {cluster.namespace} nor in {system.catalogue}; kubectl get notifiers -A")
    if not admits_namespace(shared.spec.allowed_namespaces, cluster.namespace):
        raise CliError(
            f"Notifier {name} in {system.catalogue} does not admit namespace {cluster.namespace}: add it to its spec.allowedNamespaces"
        )
    return shared
