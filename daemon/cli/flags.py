"""`linnet flags NAME` and `linnet cohort who NAME`: what each share of each flag is, was written, is seen, and whom it lets in.

The shares are the Canary's own record; with the rights to read the source's Secret the source itself is asked too, read-only: what people
have there beside Linnet's rule, and who changed it last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from daemon.cli.cluster import FAILED, OK, Access, CliError, Cluster, System, access_options, run, system_options

if TYPE_CHECKING:
    from daemon.api.status import FlagStatus
    from daemon.control.objects import Canary
    from daemon.control.resolved import FlagUse, Resolved
    from flags.model import Desired

EVERYONE: Final = "all"
SYNC: Final = 10.0
Row = dict[str, Any]
OUTPUT: Final = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)


@click.command()
@click.argument("target", metavar="NAME")
@click.option("--source/--no-source", "ask", default=True, help="Ask the flag source itself, which needs the right to read its Secret.")
@OUTPUT
@access_options()
@system_options
def flags(access: Access, system: System, target: str, output: str, *, ask: bool) -> None:
    """Show each flag of a release, share by share.

    For each flag and cohort: what the step wants, what was written, whether the SDKs have it; how often they found the flag on and off
    since then, where the source counts that (`unknown` elsewhere); and from the source itself what people have there beside it and
    who changed the flag last. Exit codes: 0, or 1 where a source could not be asked.
    """
    run(access, lambda cluster: _show(cluster, system, target, output, ask=ask))


@click.group()
def cohort() -> None:
    """Ask about the groups of people that flags are given to."""


@cohort.command()
@click.argument("target", metavar="NAME")
@click.option("--user", required=True, help="The value by which the flag sticks: the user's id, as the app tells it to its SDK.")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="A property of the context (repeatable).")
@click.option("--flag", "only", help="One flag of the release; all by default.")
@OUTPUT
@access_options()
@system_options
def who(access: Access, system: System, target: str, user: str, properties: tuple[str, ...], only: str | None, output: str) -> None:
    """Say whether a user has a flag, and why.

    By the shares as they are written now, and the bucket rule of Unleash's SDKs. What only the flag system knows, such as who is in
    a segment, is named as a condition. Exit codes: 0 answered, 1 no such flag or release.
    """
    given = dict(_pair(text) for text in properties)
    run(access, lambda cluster: _who(cluster, system, target, user, given, only, output))


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise click.UsageError(f"--property is {text!r}: write KEY=VALUE, such as plan=beta")
    return key, value


async def _show(cluster: Cluster, system: System, target: str, output: str, *, ask: bool) -> int:
    canary = await cluster.canary(target)
    rows = [row for flag in canary.status.flags for row in shares_of(flag)]
    failed = False
    if ask and rows:
        failed = await _ask(cluster, system, canary, rows)
    if output == "json":
        from daemon.cli.cluster import dump

        dump(rows)
    elif not rows:
        click.echo(f"{canary.name}: no release is under way, and at rest its flags are their people's")
    else:
        _print(rows)
    return FAILED if failed else OK


def shares_of(flag: FlagStatus) -> list[Row]:
    """Everyone's share and each cohort's, as the status has them."""
    base: Row = {"flag": flag.key, "source": flag.source, "seen": flag.seen, "message": flag.message}
    everyone: Row = {**base, "cohort": EVERYONE, "wanted": flag.wanted, "written": flag.written, "evaluated": evaluated(flag)}
    if flag.usage is not None and flag.usage.message:
        everyone["message"] = "; ".join(part for part in (flag.message, flag.usage.message) if part)
    return [everyone] + [{**base, "cohort": c.name, "wanted": c.wanted, "written": c.written} for c in flag.cohorts]


def evaluated(flag: FlagStatus) -> Row:
    """What SDKs reported of a flag, whoever was asking; its source does not say for whom."""
    usage = flag.usage
    if usage is None or usage.found == "Unknown":
        return {"found": "Unknown"}
    return {"found": usage.found, "yes": usage.yes, "no": usage.no}


def _evaluated(row: Row) -> str:
    known = row.get("evaluated")
    if known is None:
        return ""
    return "unknown" if known["found"] == "Unknown" else f"{known['yes']} / {known['no']}"


async def _ask(cluster: Cluster, system: System, canary: Canary, rows: list[Row]) -> bool:
    """Adds what the sources say; True where one could not be asked, which its rows then say."""
    import msgspec

    from daemon.cli.cluster import watching
    from daemon.control.flagsources import FlagSources
    from daemon.control.http import Http
    from daemon.control.secrets import SecretMissing, SecretReader
    from daemon.kube.errors import KubeError
    from flags.errors import FlagError
    from flags.model import FlagRef, Owner

    failed, http = False, Http()
    owner = Owner(cluster="", namespace=canary.namespace, name=canary.name, uid=canary.metadata.uid)
    try:
        async with watching(cluster.client, (canary.namespace,), system.catalogue, SYNC) as caches:
            sources = FlagSources(cluster.client, http, SecretReader(cluster.client))
            for use in _resolved(caches, system, canary).flags:
                mine = [row for row in rows if (row["flag"], row["source"]) == (use.key, use.source.name)]
                try:
                    flag = FlagRef(key=use.key, source=use.source.name)
                    state = await (await sources.provider(use.source, owner)).read(flag)
                    if state.owner and state.owner.endswith(owner.mark()):  # ours, by a daemon that calls its cluster something
                        named = msgspec.structs.replace(owner, cluster=state.owner.removesuffix(owner.mark()))
                        state = await (await sources.provider(use.source, named)).read(flag)
                    added: Row = {"others": list(state.foreign), "driver": state.owner, "changedBy": state.written_by}
                except (FlagError, SecretMissing, KubeError) as error:
                    failed, added = True, {"message": str(error)}
                for row in mine:
                    row.update(added)
    finally:
        await http.close()
    return failed


def _resolved(caches: Any, system: System, canary: Canary) -> Resolved:
    from daemon.control.catalogue import Catalogue
    from daemon.control.resolve import Resolver
    from daemon.workloads.revisions import Templates

    return Resolver(caches, Catalogue(caches, system.catalogue), Templates()).resolve(canary)


def _print(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("FLAG", "FOR", "WANTED", "WRITTEN", "SEEN", "YES / NO", "OTHERS", "CHANGED BY", "MESSAGE"):
        table.add_column(head, no_wrap=head not in ("OTHERS", "MESSAGE"))
    for row in rows:
        written = "" if row["written"] is None else f"{row['written']} %"
        others, by = ", ".join(row.get("others", [])), row.get("changedBy", "")
        cells = [row["flag"], row["cohort"], f"{row['wanted']} %", written, "yes" if row["seen"] else "no", _evaluated(row)]
        cells += [others, by, row["message"]]
        table.add_row(*(Text(str(cell)) for cell in cells))
    Console(soft_wrap=False, highlight=False, emoji=False).print(table)


async def _who(cluster: Cluster, system: System, target: str, user: str, properties: dict[str, str], only: str | None, output: str) -> int:
    from daemon.cli.cluster import watching
    from flags.membership import membership

    canary = await cluster.canary(target)
    async with watching(cluster.client, (canary.namespace,), system.catalogue, SYNC) as caches:
        resolved = _resolved(caches, system, canary)
    uses = [use for use in resolved.flags if only in (None, use.name, use.key)]
    if not uses:
        there = ", ".join(use.name for use in resolved.flags) or "none"
        raise CliError(f"--flag {only}: {canary.name} has no such flag; there are: {there}" if only else f"{canary.name} has no flags")
    desired = [(use, _now(canary, resolved, use)) for use in uses]
    found = [(use, membership(flag.group or use.key, flag, user, properties)) for use, flag in desired]
    if output == "json":
        import msgspec

        from daemon.cli.cluster import dump

        dump([{"flag": use.key, **msgspec.to_builtins(one)} for use, one in found])
        return OK
    for use, one in found:
        if use.source.spec.type != "Unleash":
            click.echo(f"{use.key}: its source is of type {use.source.spec.type}, whose SDKs choose people by a rule of their own")
            continue
        word = {"in": "has it", "out": "does not have it", "unknown": "may have it"}[one.answer]
        click.echo(f"{use.key}: {user} {word}{', ' + one.gate if one.gate and one.answer != 'out' else ''}")
        for reason in one.reasons:
            click.echo(f"  {reason.cohort} {reason.percent} %: {reason.answer}: {reason.why}")
    return OK


def _now(canary: Canary, resolved: Resolved, use: FlagUse) -> Desired:
    """The flag as it is written now; before the first step nobody has it."""
    from daemon.control.standing import flag_plan, written

    plan = flag_plan(resolved, use.name)
    status = next((f for f in canary.status.flags if f.name == use.name), None)
    return plan.unreached if status is None else written(plan, status)
