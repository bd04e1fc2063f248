"""`linnet run`: the daemon in the foreground, until SIGTERM."""

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from daemon.control.api import ApiOptions
    from daemon.control.daemon import Daemon
    from daemon.control.webhook import WebhookOptions

    S = TypeVar("S", ApiOptions, WebhookOptions)


def _address(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Callback: refused here, with the option's name, and not a second later by the socket."""
    if value is None:
        return None
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and host[0] + host[-1] != "[]"):
        raise click.BadParameter(f"{value!r} is not host:port, such as 0.0.0.0:8080 or [::]:8080", param=option)
    return value


@click.command()
@click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Kubeconfig file; in a pod its ServiceAccount is the default.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--namespace", "namespaces", multiple=True, help="Watch only this namespace (repeatable); all of them by default.")
@click.option("--catalogue-namespace", default="linnet-system", show_default=True, help="Where shared profiles and sources live.")
@click.option("--cluster-name", default="default", show_default=True, help="Shown in every message.")
@click.option(
    "--metrics-address",
    default="0.0.0.0:8080",
    show_default=True,
    callback=_address,
    help="host:port of /metrics, /healthz and /readyz.",
)
@click.option("--leader-election/--no-leader-election", default=True, show_default=True, help="Lead by a Lease.")
@click.option("--lease-name", default="linnet", show_default=True)
@click.option("--lease-namespace", help="Default: the catalogue namespace.")
@click.option(
    "--allow-address",
    "allow_addresses",
    multiple=True,
    metavar="NETWORK",
    help="Let templates speak to this network (127.0.0.0/8, say) although its addresses are refused (repeatable).",
)
@click.option(
    "--max-rollouts",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="Releases under way at once; the others wait in line. 0: any number.",
)
@click.option(
    "--max-rollouts-per-namespace",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="The same for each namespace.",
)
@click.option(
    "--namespace-caps/--no-namespace-caps",
    default=False,
    show_default=True,
    help="Watch Namespaces: their annotation linnet.dev/max-rollouts is their own cap.",
)
@click.option(
    "--jobs/--no-jobs",
    default=False,
    show_default=True,
    help="Make the Jobs that templates and gates ask for, and follow them.",
)
@click.option(
    "--observe-only/--no-observe-only",
    default=False,
    show_default=True,
    help="Every Canary is observed, whatever it says: for a Linnet without rights to change anything.",
)
@click.option("--api-address", callback=_address, help="host:port of the HTTP API (/api/v1); not served by default.")
@click.option("--api-cert", type=click.Path(dir_okay=False), help="Its certificate in PEM, read again when it changes.")
@click.option("--api-key", type=click.Path(dir_okay=False), help="The certificate's key.")
@click.option("--webhook-address", callback=_address, help="host:port of the admission webhook that holds before Kubernetes 1.36.")
@click.option("--webhook-service", help="Its Service, and the Secret of Linnet's own certificates, in the catalogue namespace.")
@click.option("--webhook-cert", type=click.Path(dir_okay=False), help="A certificate in PEM instead, read again when it changes.")
@click.option("--webhook-key", type=click.Path(dir_okay=False), help="The certificate's key.")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console", show_default=True)
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING"]), default="INFO", show_default=True)
def run(log_format: str, log_level: str, namespaces: tuple[str, ...], **options: str | bool | tuple[str, ...] | None) -> None:
    """Run the daemon: watch, decide, act, until SIGTERM."""
    import msgspec

    from daemon.control import logs, trust
    from daemon.control.api import ApiOptions
    from daemon.control.daemon import Daemon, Options
    from daemon.control.webhook import WebhookOptions

    try:
        trust.tell_requests()
    except trust.TrustError as e:
        raise click.ClickException(str(e)) from e
    _refuse_wrong_networks(options["allow_addresses"])
    if options["namespace_caps"] and namespaces:
        raise click.BadParameter(
            "Namespaces are read cluster-wide; leave it out beside --namespace, and set --max-rollouts-per-namespace",
            param_hint="--namespace-caps",
        )
    logs.configure(log_level, "json" if log_format == "json" else "console")
    api = _served(ApiOptions, {key: options.pop(f"api_{key}") for key in ("address", "cert", "key")})
    webhook = _served(WebhookOptions, {key: options.pop(f"webhook_{key}") for key in ("address", "service", "cert", "key")})
    daemon = Daemon(msgspec.convert({**options, "namespaces": namespaces, "api": api, "webhook": webhook}, Options))
    sys.exit(asyncio.run(_until_signal(daemon)))


def _served(kind: "type[S]", wanted: dict[str, Any]) -> "S":
    """Where something is served; a certificate that cannot be used is refused before anything runs."""
    import msgspec

    from daemon.web.tls import TlsError

    options = msgspec.convert(wanted, kind)
    try:
        options.certificate()
    except TlsError as e:
        raise click.ClickException(str(e)) from e
    return options


def _refuse_wrong_networks(networks: object) -> None:
    from daemon.control.guard import Guard

    try:
        Guard(networks if isinstance(networks, tuple) else ())
    except ValueError as e:
        raise click.BadParameter(f"{e}; write a network such as 10.0.0.0/8 or 127.0.0.1/32", param_hint="--allow-address") from e


async def _until_signal(daemon: "Daemon") -> int:
    """0 after SIGTERM or SIGINT, 1 after a failure that ended the daemon."""
    import logging

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    work = asyncio.ensure_future(daemon.run())
    ended = asyncio.ensure_future(stop.wait())
    await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
    if work.done() and not work.cancelled():
        ended.cancel()
        error = work.exception()
        said = _explained(error) if error is not None else "without a reason"
        logging.getLogger("linnet").error("the daemon ended: %s", said or error, exc_info=None if said else error)
        return 1
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return 0


def _explained(error: BaseException) -> str | None:
    """What a person must mend, in one line; None for a fault of ours, which should show its trace."""
    from daemon.kube.errors import KubeError

    if isinstance(error, BaseExceptionGroup):
        found = [_explained(inner) for inner in error.exceptions]
        return "; ".join(dict.fromkeys(text for text in found if text)) if all(found) else None
    if isinstance(error, KubeError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "the API server did not give all objects in time; what could not be read is said above"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror or error}; if that is --metrics-address, choose another"
    return None
