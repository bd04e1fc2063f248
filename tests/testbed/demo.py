"""`make demo-real`: the show of `linnet demo` on a real Kubernetes, built on the spot.

The API server, the controllers, the scheduler and the chart are the real ones, and the daemon runs in a pod with the rights of the
chart's ServiceAccount. Pods are processes here too, run by the testbed's node agent in a network namespace.

    python -m tests.testbed.demo            # the show
    python -m tests.testbed.demo --json     # one JSON object, exit code as of `linnet demo`
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from daemon.cli.demo import objects
from daemon.cli.demo.command import perform
from daemon.cli.demo.script import APP, FIRST_TAG, DemoOptions
from daemon.cli.demo.stage import HOSTS, Stage
from daemon.cli.trouble import DemoError
from daemon.kube import config as kube_config
from daemon.kube.client import Client
from daemon.kube.transport import Transport
from daemon.sandbox.inbox import Inbox
from daemon.sandbox.interception import intercepting
from daemon.sandbox.podspec import Image
from tests.testbed import build, netns
from tests.testbed.controlplane import ControlPlane
from tests.testbed.gateway import GATEWAY_NAMESPACE, start_gateway
from tests.testbed.linnet import SYSTEM, Linnet
from tests.testbed.nodes import start_node_agent

FIRST = Image(name=f"{APP}:{FIRST_TAG}", entrypoint=("{python}", "-m", "daemon.sandbox.shop", "--version", "{tag}"))


def _commands(options: DemoOptions) -> dict[str, list[str]]:
    """The builds as the node agent starts them: what is baked into an image goes before its command."""
    return {image.name: _command(image) for image in (*objects.images(options), FIRST)}


def _command(image: Image) -> list[str]:
    tag = image.name.partition(":")[2]
    words = [word.replace("{python}", sys.executable).replace("{tag}", tag) for word in image.entrypoint]
    return ["env", *(f"{name}={value}" for name, value in image.env.items()), *words]


@contextlib.asynccontextmanager
async def real(options: DemoOptions) -> AsyncIterator[Stage]:
    """The stage on a real control plane; this thread is inside its network namespace meanwhile."""
    # Not below /tmp: the chart gives the daemon's pod a /tmp of its own, and it must read the authority's certificate.
    with ControlPlane() as plane, plane.entered(), tempfile.TemporaryDirectory(prefix="linnet-demo-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        start_node_agent(plane, images=_commands(options))
        gateway = start_gateway(plane)
        inbox = Inbox()
        async with intercepting(inbox, HOSTS, folder) as proxied, Transport(kube_config.load(str(plane.kubeconfig))) as transport:
            linnet = Linnet(plane)
            await asyncio.to_thread(_install, plane, linnet, proxied)
            await asyncio.to_thread(_furnish, plane, options)
            yield Stage(
                client=Client(transport, field_manager="kubectl"),
                url=gateway.url,
                inbox=inbox,
                guard=partial(_guard, linnet),
                made_of=f"A real Kubernetes {plane.version} on this machine, with pods as processes. The daemon came with the chart:",
                command=f"helm install linnet charts/linnet -n {SYSTEM} --create-namespace",
                kubeconfig=plane.kubeconfig,
            )


def _install(plane: ControlPlane, linnet: Linnet, proxied: Mapping[str, str]) -> None:
    """As a user would, with the proxy in the pod's environment as behind a firewall."""
    own = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    linnet.install({"extraEnv": [*own, *({"name": name, "value": value} for name, value in proxied.items())]})


def _furnish(plane: ControlPlane, options: DemoOptions) -> None:
    plane.apply(*objects.catalogue(options))
    plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", "shop", "--timeout=30s")
    plane.apply(*objects.shop(options, "web", GATEWAY_NAMESPACE))


async def _guard(linnet: Linnet) -> NoReturn:
    """A Lease that nobody holds for long means that nothing is decided any more."""
    while True:
        await asyncio.sleep(20)
        if not await asyncio.to_thread(linnet.leader):
            raise DemoError("no daemon leads any more: its pod ended")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end and nothing else.")
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, until Ctrl-C.")
@click.option("--rate", type=click.FloatRange(20, 2000), default=200.0, show_default=True, help="Requests a second.")
def main(**chosen: Any) -> None:
    """Play the demo on a real Kubernetes, built on the spot."""
    lacking = build.missing() or netns.unavailable()
    if lacking:
        raise click.ClickException(f"not here: {lacking}; `python -m tests.testbed.build` builds the parts (Go, ten minutes once)")
    mode: Any = "json" if chosen["as_json"] else "keep" if chosen["keep"] else "show"
    perform(DemoOptions(rate=chosen["rate"]), mode=mode, setting=real)


if __name__ == "__main__":
    main()
