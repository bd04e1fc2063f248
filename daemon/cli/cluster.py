"""What all commands share: how to reach the cluster, how to name a Canary, who leads, and how errors and exit codes come out.

Imports nothing but click at the top: `linnet COMMAND --help` must answer at once, and a shell completes faster than a client loads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from daemon.control.caches import Caches
    from daemon.control.objects import Canary
    from daemon.kube.client import Client
    from daemon.kube.config import ClusterConfig
    from daemon.kube.objects import ControllerRevision, Deployment, Lease
    from daemon.workloads.revisions import Revisions

P = ParamSpec("P")
R = TypeVar("R")

FIELD_MANAGER: Final = "linnet-cli"
DEPLOYMENT_WORDS: Final = ("deploy", "deployment", "deployments", "deployments.apps")
CANARY_WORDS: Final = ("canary", "canaries", "canaries.linnet.dev", "lin")
LOOK_TWICE: Final = 5.0  # seconds in which a live leader renews at least twice

# Exit codes, the same for every command.
OK: Final = 0
FAILED: Final = 1
UNDECIDED: Final = 2


class CliError(Exception):
    """What the user reads in one line: the field, the value, the way out."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """Where the user points: --kubeconfig, --context and -n."""

    kubeconfig: str | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """Where Linnet itself lives: its catalogue and the Lease of its leader."""

    catalogue: str
    lease_name: str
    lease_namespace: str


def access_options(*, several: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--kubeconfig, --context and -n/--namespace, handed to the command as one `access`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(kubeconfig: str | None, context: str | None, namespace: str | tuple[str, ...] | None, **rest: Any) -> Any:
            named = namespace if isinstance(namespace, tuple) else (namespace,) if namespace else ()
            return function(access=Access(kubeconfig=kubeconfig, context=context, namespaces=named), **rest)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__dict__.update(function.__dict__)
        text = "Namespace (repeatable)." if several else "Namespace; the context's own by default."
        wrapped = click.option("-n", "--namespace", multiple=several, help=text)(command)
        wrapped = click.option("--context", help="Context of the kubeconfig.")(wrapped)
        return click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Kubeconfig file; otherwise as kubectl finds it.")(
            wrapped
        )

    return decorate


def system_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--catalogue-namespace, --lease-name and --lease-namespace, handed to the command as one `system`."""

    def command(catalogue_namespace: str, lease_name: str, lease_namespace: str | None, **rest: Any) -> Any:
        system = System(catalogue=catalogue_namespace, lease_name=lease_name, lease_namespace=lease_namespace or catalogue_namespace)
        return function(system=system, **rest)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__dict__.update(function.__dict__)
    wrapped = click.option(
        "--lease-namespace", envvar="LINNET_LEASE_NAMESPACE", help="Namespace of that Lease; the catalogue's by default."
    )(command)
    wrapped = click.option(
        "--lease-name", envvar="LINNET_LEASE_NAME", default="linnet", show_default=True, help="Lease by which the daemon leads."
    )(wrapped)
    return catalogue_option("Where Linnet is installed.")(wrapped)


def catalogue_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--catalogue-namespace, as `text` explains it."""
    return click.option("--catalogue-namespace", envvar="LINNET_CATALOGUE_NAMESPACE", default="linnet-system", show_default=True, help=text)


class Cluster:
    """An open connection, and the questions that several commands ask."""

    def __init__(self, client: Client, config: ClusterConfig, access: Access) -> None:
        self.client = client
        self.config = config
        self.access = access

    @property
    def namespace(self) -> str:
        return self.access.namespaces[0] if self.access.namespaces else self.config.namespace

    async def canaries(self, namespace: str | None) -> tuple[Canary, ...]:
        """Of one namespace, or of all, by name."""
        from daemon.control.objects import CANARIES

        page = await self.client.list(CANARIES, namespace)
        for item in page.rejected:
            click.echo(f"warning: Canary {item.namespace}/{item.name} cannot be read: {item.message}", err=True)
        return tuple(sorted(page.items, key=lambda c: c.key))

    async def canary(self, target: str) -> Canary:
        """`NAME`, `canary/NAME`, or `deploy/NAME` for the Canary of a Deployment."""
        from daemon.control.objects import CANARIES

        word, name = split(target)
        if word == "canary":
            found = await self.client.find(CANARIES, self.namespace, name)
            if found is not None:
                return found
        known = await self.canaries(self.namespace)
        for item in known:
            if word == "deploy" and item.spec.workload == name and not item.spec.flags_only:
                return item
        import difflib

        there = [c.name if word == "canary" else c.spec.workload for c in known]
        prefix = "" if word == "canary" else "deploy/"
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"there are: {', '.join(prefix + t for t in there) or 'none'}"
        what = f"no Canary {name}" if word == "canary" else f"no Canary releases Deployment {name}"
        raise CliError(f"{what} in namespace {self.namespace}; {hint}")

    async def deployment(self, namespace: str, name: str) -> Deployment:
        from daemon.kube.resources import DEPLOYMENTS

        found = await self.client.find(DEPLOYMENTS, namespace, name)
        if found is None:
            raise CliError(f"Deployment {name} does not exist in namespace {namespace}")
        return found

    async def revisions(self, namespace: str) -> Revisions:
        """The stored templates of a namespace, as they are now."""
        import time

        from daemon.api import names
        from daemon.kube.resources import CONTROLLER_REVISIONS
        from daemon.kube.store import Store
        from daemon.workloads.revisions import Revisions, Templates, by_workload

        store: Store[ControllerRevision] = Store({"workload": by_workload})
        store.replace((await self.client.list(CONTROLLER_REVISIONS, namespace, label_selector=names.OWNER)).items)
        return Revisions(self.client, store, Templates(), time.time)

    async def revision_at_hand(self, canary: Canary) -> str:
        """What a verb is about: the revision under way, else that of the Deployment's template."""
        if canary.status.rollout is not None:
            return canary.status.rollout.revision
        return await self.present(canary)

    async def present(self, canary: Canary) -> str:
        """The revision of the Deployment's template; of a release of flags alone that of the plan seen last."""
        if canary.status.flag_plans:
            return canary.status.flag_plans[-1].revision
        item = await self.deployment(canary.namespace, canary.spec.workload)
        return (await self.revisions(canary.namespace)).name_of(item.namespace, item.name, item.spec.template)

    async def whoami(self) -> str:
        """Who the API server takes us for; the local user where it does not say."""
        import getpass

        import msgspec

        from daemon.kube.errors import KubeError

        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        body = msgspec.json.encode({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        try:
            reply = msgspec.json.decode(await self.client.transport.request("POST", path, body=body, idempotent=True))
            return str(reply["status"]["userInfo"]["username"])
        except (KubeError, KeyError, TypeError):
            with contextlib.suppress(OSError, KeyError):
                return getpass.getuser()
        return "a person"

    async def leader(self, system: System) -> Leader:
        """Who leads, by the Lease: fresh by its own words, or seen to be renewed while we look."""
        import asyncio

        from daemon.kube.resources import LEASES

        where = f"{system.lease_namespace}/{system.lease_name}"
        lease = await self.client.find(LEASES, system.lease_namespace, system.lease_name)
        if lease is None:
            return Leader(holder="", live=False, text=f"there is no Lease {where}: no daemon has led here")
        if not lease.spec.holder_identity:
            return Leader(holder="", live=False, text=f"nobody holds the Lease {where}")
        holder = lease.spec.holder_identity
        if _fresh(lease):
            return Leader(holder=holder, live=True, text=f"{holder} leads by the Lease {where}")
        ends = asyncio.get_running_loop().time() + LOOK_TWICE  # its clock may be behind ours: what counts is that it is renewed
        while asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(1.0)
            again = await self.client.find(LEASES, system.lease_namespace, system.lease_name)
            if again is not None and again.metadata.resource_version != lease.metadata.resource_version and again.spec.holder_identity:
                return Leader(holder=again.spec.holder_identity, live=True, text=f"{again.spec.holder_identity} leads by the Lease {where}")
        return Leader(holder=holder, live=False, text=f"{holder} has not renewed the Lease {where} since {lease.spec.renew_time}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leader:
    """Whether a daemon works. `text` says it to people."""

    holder: str
    live: bool
    text: str


def _fresh(lease: Lease) -> bool:
    from daemon.kube import times

    if not lease.spec.renew_time:
        return False
    age = (times.now() - times.parse(lease.spec.renew_time)).total_seconds()
    return age <= (lease.spec.lease_duration_seconds or 15)


def split(target: str) -> tuple[str, str]:
    """('canary' or 'deploy', name)."""
    word, slash, name = target.partition("/")
    if not slash:
        return "canary", target
    if word.lower() in DEPLOYMENT_WORDS and name:
        return "deploy", name
    if word.lower() in CANARY_WORDS and name:
        return "canary", name
    raise CliError(f"{target!r} names no Canary: write NAME, canary/NAME or deploy/NAME")


def deployment_name(target: str) -> str:
    """The Deployment that a `deploy/NAME` argument names."""
    word, name = split(target)
    if word != "deploy":
        raise CliError(f"{target!r} names no Deployment: write deploy/{name}")
    return name


@contextlib.asynccontextmanager
async def connected(access: Access) -> AsyncIterator[Cluster]:
    """The cluster while the block runs."""
    from daemon.kube import config as kube_config
    from daemon.kube.client import Client
    from daemon.kube.transport import Transport

    config = kube_config.load(access.kubeconfig, access.context)
    async with Transport(config) as transport:
        yield Cluster(Client(transport, field_manager=FIELD_MANAGER), config, access)


def run(access: Access, body: Callable[[Cluster], Awaitable[int]]) -> NoReturn:
    """Run a command's body on the cluster and end the process with its exit code; errors become one line."""
    import asyncio

    from daemon.kube.errors import KubeError

    async def work() -> int:
        async with connected(access) as cluster:
            return await body(cluster)

    try:
        code = asyncio.run(work())
    except CliError as e:
        fail(str(e), e.code)
    except KubeError as e:
        fail(_explained(e))
    except KeyboardInterrupt:
        fail("interrupted", 130)
    sys.exit(code)


def fail(message: str, code: int = FAILED) -> NoReturn:
    click.echo(f"linnet: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _explained(error: Exception) -> str:
    """What the API server said, and what to do where that is known."""
    from daemon.kube import errors

    text = str(error)
    if isinstance(error, errors.NotFound) and "linnet.dev" in text and "could not find the requested resource" in text:
        return f"{text}: Linnet's CustomResourceDefinitions are missing; install the chart"
    if isinstance(error, errors.Unauthorized):
        return f"{text}: sign in again, or pass another --kubeconfig or --context"
    return text


def seconds(_: click.Context, option: click.Parameter, value: str) -> float:
    """Callback of an option that takes a duration as everywhere else in Linnet: 90s, 30m, 1h30m."""
    from daemon.api.errors import ApiError
    from daemon.api.quantities import parse_duration

    try:
        return parse_duration(value)
    except ApiError as e:
        raise click.BadParameter(str(e), param=option) from e


def dump(value: Any) -> None:
    """`-o json`: one document on standard output."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def confirm(question: str, *, yes: bool, lines: Sequence[str] = ()) -> None:
    """Shows what would be done and asks; without a terminal, nothing is done unasked."""
    for line in lines:
        click.echo(line)
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} Nothing was done: pass --yes to do it without a terminal.")
    if not click.confirm(question):
        raise CliError("nothing was done", code=FAILED)


@contextlib.asynccontextmanager
async def watching(client: Client, namespaces: tuple[str, ...], catalogue: str, patience: float = 30.0) -> AsyncIterator[Caches]:
    """The daemon's own caches, filled, while the block runs."""
    import asyncio

    from daemon.control.caches import Caches

    caches = Caches(client, namespaces, catalogue)
    informers = asyncio.create_task(caches.run(), name="informers")
    try:
        try:
            await caches.wait_synced(patience)
        except TimeoutError:
            late = [i for i in caches.required() if not i.synced]
            why = next((i.last_error.message for i in late if i.last_error is not None), "no answer")
            kinds = ", ".join(i.resource.plural for i in late)
            raise CliError(f"{kinds or 'httproutes'} could not be read within {patience:.0f} s: {why}") from None
        yield caches
    finally:
        informers.cancel()
        await asyncio.gather(informers, return_exceptions=True)
