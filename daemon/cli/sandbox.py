"""`linnet sandbox`: the small cluster of the demo alone, for kubectl, for trying Linnet's objects, and for whoever writes a client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.cluster import fail
from daemon.cli.trouble import CANNOT, explained

if TYPE_CHECKING:
    from daemon.sandbox.cluster import Sandbox, SandboxOptions

CATALOGUE = "linnet-system"
LINNET = f"system:serviceaccount:{CATALOGUE}:linnet"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the API server; a free one by default.")
@click.option("--gateway/--no-gateway", default=True, show_default=True, help="Start Traefik as the gateway.")
@click.option("--gateway-port", type=click.IntRange(0, 65535), default=0, help="Port of the gateway; a free one by default.")
@click.option(
    "--linnet/--no-linnet", default=True, show_default=True, help="Bring Linnet's kinds, profiles and hold policies, as the chart does."
)
@click.option(
    "-f",
    "--filename",
    "manifests",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Apply this YAML file, or all of a folder (repeatable).",
)
@click.option(
    "--image", "images", multiple=True, metavar="NAME=COMMAND", help="What stands for an image, such as 'web:*=python app.py' (repeatable)."
)
@click.option("--kubeconfig", type=click.Path(dir_okay=False, path_type=Path), help="Write the kubeconfig here; it is removed at the end.")
def sandbox(
    *,
    port: int,
    gateway: bool,
    gateway_port: int,
    linnet: bool,
    manifests: tuple[Path, ...],
    images: tuple[str, ...],
    kubeconfig: Path | None,
) -> None:
    """Run a small cluster on this machine until Ctrl-C, with nothing but Python packages. For trying things; it is no cluster.

    Simulated: the API server (CRDs with their schemas and CEL rules, admission policies, server-side apply, watches); the controllers
    of Deployments, ReplicaSets, EndpointSlices, namespaces and garbage; one node, whose pods are processes of yours, with probes,
    hooks, volumes of ConfigMaps and Secrets, and an address of their own.

    Real: the gateway, Traefik, which reads HTTPRoutes.

    Not there: isolation of any kind, a check of who may do what, images (an image's name stands for a local command; shop:* is the
    demo's shop), cluster addresses and DNS (only the gateway reaches pods), Jobs, StatefulSets, DaemonSets, autoscaling, and
    storage: all of it is in memory and gone at the end.

    Linnet itself is not started: the command prints the linnet run to type beside it.
    """
    from daemon.control import logs
    from daemon.sandbox.cluster import run_sandbox

    logs.configure("WARNING")
    try:
        asyncio.run(run_sandbox(_options(port, gateway_port, manifests, images, kubeconfig, gateway=gateway, linnet=linnet), _greet))
    except Exception as error:
        said = explained(error)
        if said is None:
            raise
        fail(said, CANNOT)


def _options(
    port: int,
    gateway_port: int,
    manifests: tuple[Path, ...],
    images: tuple[str, ...],
    kubeconfig: Path | None,
    *,
    gateway: bool,
    linnet: bool,
) -> SandboxOptions:
    from daemon.sandbox.cluster import SandboxOptions, hold_policies
    from daemon.sandbox.podspec import Image

    return SandboxOptions(
        port=port,
        gateway=gateway,
        gateway_port=gateway_port,
        manifests=manifests,
        objects=(*_installed(), *hold_policies(_policies(), [LINNET])) if linnet else (),
        images=tuple(Image(name=name, entrypoint=command) for name, command in map(_image, images)),
        kubeconfig=_fresh(kubeconfig),
    )


def _fresh(path: Path | None) -> Path | None:
    """The file is overwritten and removed at the end: never one that was there."""
    if path is not None and path.exists():
        raise click.BadParameter(
            f"{path} exists already, and the sandbox removes its kubeconfig at the end: name a new file", param_hint="--kubeconfig"
        )
    return path.absolute() if path else None


def _image(text: str) -> tuple[str, tuple[str, ...]]:
    import shlex

    name, separator, command = text.partition("=")
    words = tuple(shlex.split(command))
    if not name or not separator or not words:
        raise click.BadParameter(f"{text!r} is not NAME=COMMAND, such as 'web:*=python app.py'", param_hint="--image")
    return name if ":" in name else f"{name}:*", words


def _policies() -> Path:
    from daemon.api.crds import HOLD_POLICIES

    return HOLD_POLICIES


def _installed() -> list[dict[str, object]]:
    """What the chart would bring, but the daemon."""
    from daemon.api.crds import crd
    from daemon.api.kinds import KINDS
    from daemon.api.profiles import documents

    profiles = [{**found, "metadata": {**found["metadata"], "namespace": CATALOGUE}} for found in documents()]
    return [*(crd(kind) for kind in KINDS), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CATALOGUE}}, *profiles]


def _greet(found: Sandbox) -> None:
    click.echo(f"API server  {found.url}")
    if found.gateway is not None:
        click.echo(f"gateway     {found.gateway.url}  (Gateway {found.gateway.namespace}/{found.gateway.name})")
    click.echo(f"\n  export KUBECONFIG={found.kubeconfig}\n  kubectl get namespaces\n")
    if found.store.peek("namespaces", "", CATALOGUE) is not None:
        click.echo(
            f"Linnet, under the name that the hold policies let through:\n\n  linnet run --kubeconfig {found.kubeconfig_for(LINNET)}\n"
        )
    click.echo("Ctrl-C ends it.")
