"""`linnet demo`: the options, the exit codes, and what a failure says.

Imports nothing but click at the top: `linnet demo --help` must answer at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

import click

from daemon.cli.cluster import FAILED, OK, dump, fail
from daemon.cli.trouble import CANNOT, INTERRUPTED, explained

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from daemon.cli.demo.script import DemoOptions, UnleashPlace
    from daemon.cli.demo.stage import Stage

    Setting = Callable[[DemoOptions], AbstractAsyncContextManager[Stage]]


@click.command()
@click.option("--once", is_flag=True, help="Play the two releases and end: the default, for scripts that want to say so.")
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, for kubectl and the other commands, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end and nothing else.")
@click.option(
    "--order", type=click.Choice(["good,bad", "bad,good"]), default="good,bad", show_default=True, help="Which release comes first."
)
@click.option(
    "--bad-error-percent",
    type=click.FloatRange(0, 100),
    default=3.0,
    show_default=True,
    help="How often the bad build fails behind its flag.",
)
@click.option(
    "--bad-flag",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="off: the bad release does not open its flag, so nobody meets what is bad in it.",
)
@click.option("--rate", type=click.FloatRange(20, 2000), default=200.0, show_default=True, help="Requests a second.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the API server; a free one by default.")
@click.option("--gateway-port", type=click.IntRange(0, 65535), default=0, help="Port of the gateway; a free one by default.")
@click.option(
    "--unleash", "unleash_url", metavar="URL", help="An Unleash that is running: the flags are made there, and archived after the play."
)
@click.option("--unleash-environment", default="development", show_default=True, help="Its environment.")
@click.option(
    "--unleash-token", envvar="LINNET_DEMO_UNLEASH_TOKEN", help="An Editor's token of it; better by its variable.", show_envvar=True
)
@click.option(
    "--unleash-client-token", envvar="LINNET_DEMO_UNLEASH_CLIENT_TOKEN", help="A backend token of that environment.", show_envvar=True
)
def demo(*, once: bool, keep: bool, as_json: bool, order: str, bad_flag: str, unleash_url: str | None, **rest: Any) -> None:
    """Play two releases on this machine: a good one, and one that fails behind its flag.

    A small cluster (see linnet sandbox --help), a real Traefik, a shop under load and the real daemon as a process of its own. It takes
    about 90 seconds and installs nothing. No outcome is scripted: change the bad build, and the decision changes.

    Exit code: 0 when the good release was promoted and the bad one rolled back, 1 when anything else was decided, 2 when it could not
    be played, 130 after Ctrl-C.
    """
    from daemon.cli.demo.script import DemoOptions, Kind

    if once and keep:
        raise click.UsageError("--once ends after the two releases and --keep does not: leave one out")
    if keep and as_json:
        raise click.UsageError("--json prints its object at the end, and --keep has none: leave one out")
    kinds: tuple[Kind, ...] = ("good", "bad") if order == "good,bad" else ("bad", "good")
    given = {name: rest.pop(name) for name in ("unleash_environment", "unleash_token", "unleash_client_token")}
    place = _unleash(unleash_url, **given) if unleash_url else None
    perform(
        DemoOptions(order=kinds, bad_flag=bad_flag == "on", unleash=place, **rest), mode="json" if as_json else "keep" if keep else "show"
    )


def _unleash(url: str, *, unleash_environment: str, unleash_token: str | None, unleash_client_token: str | None) -> UnleashPlace:
    import secrets

    from daemon.cli.demo.script import UnleashPlace

    if not unleash_token or not unleash_client_token:
        raise click.UsageError(
            "--unleash needs LINNET_DEMO_UNLEASH_TOKEN, an Editor's, and LINNET_DEMO_UNLEASH_CLIENT_TOKEN, a backend token"
        )
    return UnleashPlace(
        url=url, token=unleash_token, client_token=unleash_client_token, environment=unleash_environment, run=secrets.token_hex(2)
    )


def perform(options: DemoOptions, *, mode: Literal["json", "keep", "show"], setting: Setting | None = None) -> None:
    """Play, in the sandbox unless another setting is given, and end the process with the exit code."""
    from daemon.control import logs

    logs.configure("WARNING")
    try:
        code = asyncio.run(_until_told(_perform(options, mode, setting)))
    except Exception as error:
        said = explained(error)
        if said is None:
            raise
        fail(said, CANNOT)
    raise SystemExit(code)


async def _until_told(work: Coroutine[Any, Any, int]) -> int:
    """Ctrl-C and SIGTERM end the work by cancelling it, so that everything is put away."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return INTERRUPTED


async def _perform(options: DemoOptions, mode: Literal["json", "keep", "show"], setting: Setting | None) -> int:
    from daemon.cli.demo.play import Play
    from daemon.cli.demo.report import report, succeeded
    from daemon.cli.demo.show import audience
    from daemon.cli.demo.stage import stage

    began = time.monotonic()
    with audience(quiet=mode == "json") as show:
        async with (setting or stage)(options) as found:
            play = Play(found, options, show)
            show.opened(play)
            async with asyncio.TaskGroup() as group:
                beside = play.watch(group)
                await play.ready()
                beside.append(group.create_task(play.load.run(), name="load"))
                await play.releases()
                if mode == "keep":
                    show.kept(play)
                    with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
                        await asyncio.Event().wait()
                for task in beside:
                    task.cancel()
            if mode != "keep":
                show.over(play)
            if mode == "json":
                dump(report(play, time.monotonic() - began))
            return OK if succeeded(play) else FAILED
