"""Sets the stage: the sandbox with its gateway, the inbox, and the daemon as a process of its own.

The daemon reaches the cluster by a kubeconfig and nothing else, as anyone's: it cannot tell the sandbox from a cluster.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from daemon.api.crds import HOLD_POLICIES
from daemon.cli.demo import objects
from daemon.cli.demo.script import CATALOGUE, DemoOptions, releases
from daemon.cli.demo.unleash import flags_on
from daemon.cli.trouble import DemoError
from daemon.kube import config as kube_config
from daemon.kube.client import Client
from daemon.kube.transport import Transport
from daemon.sandbox.cluster import Sandbox, SandboxOptions, hold_policies
from daemon.sandbox.inbox import Inbox
from daemon.sandbox.interception import intercepting
from daemon.sandbox.processes import LogRing, Process

LINNET: Final = f"system:serviceaccount:{CATALOGUE}:linnet"
HOSTS: Final = (objects.SLACK_HOST, objects.TEAMS_HOST)
LAST_WORDS: Final = 12  # lines of the daemon's log that an error shows
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """All that the play needs of the world. `client` is a user's, with a user's field manager; `guard` raises when the daemon ends."""

    client: Client
    url: str
    inbox: Inbox
    guard: Callable[[], Coroutine[Any, Any, NoReturn]]
    made_of: str
    command: str
    kubeconfig: Path


async def _guard(daemon: Process, log: LogRing) -> NoReturn:
    """Nothing would ever be decided again."""
    code = await daemon.wait()
    said = "\n  ".join(log.tail(LAST_WORDS)) or "nothing"
    raise DemoError(f"the daemon ended with exit code {code}; it said last:\n  {said}")


@contextlib.asynccontextmanager
async def stage(options: DemoOptions) -> AsyncIterator[Stage]:
    """The stage while the block runs; leaving it ends every process and removes every file."""
    chosen = SandboxOptions(
        port=options.port,
        gateway_port=options.gateway_port,
        images=objects.images(options),
        objects=(*objects.definitions(), *hold_policies(HOLD_POLICIES, [LINNET]), *objects.catalogue(options)),
        first_pause=2.0,
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(flags_on(options.unleash, [release.flag for release in releases(options)]))
        sandbox = await stack.enter_async_context(Sandbox.running(chosen))
        assert sandbox.gateway is not None
        sandbox.apply(*objects.shop(options, sandbox.gateway.name, sandbox.gateway.namespace))
        inbox = Inbox()
        proxied = await stack.enter_async_context(intercepting(inbox, HOSTS, sandbox.root))
        arguments = _arguments(sandbox)
        log = LogRing()
        running = sandbox.family.running(
            [sys.executable, "-m", "daemon.cli.main", *arguments], env=_environment(proxied), cwd=Path.cwd(), log=log
        )
        process = await stack.enter_async_context(running)
        transport = await stack.enter_async_context(Transport(kube_config.load(str(sandbox.kubeconfig))))
        yield Stage(
            client=Client(transport, field_manager="kubectl"),
            url=sandbox.gateway.url,
            inbox=inbox,
            guard=partial(_guard, process, log),
            made_of="Simulated: API server, controllers, node. Real: Traefik, the shop's processes, every request, and the daemon:",
            command=shlex.join(["linnet", *arguments]),
            kubeconfig=sandbox.kubeconfig,
        )


def _arguments(sandbox: Sandbox) -> list[str]:
    """As on a cluster, but for the address of the metrics: any free port of this machine."""
    return ["run", "--kubeconfig", str(sandbox.kubeconfig_for(LINNET)), "--cluster-name", "sandbox", "--metrics-address", "127.0.0.1:0"]


def _environment(proxied: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the user's that could send a message elsewhere: a proxy of the company's, for one, is not inherited."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(proxied) | {"PYTHONUNBUFFERED": "1"}
