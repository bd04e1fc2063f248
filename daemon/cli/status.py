"""`linnet status`: all releases in a table, or one in every detail: what it does, what it waits for, and with what proof.

Reads Canaries and nothing else, so whoever may `kubectl get` them may use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from daemon.cli.cluster import OK, Access, Cluster, access_options, dump, run

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from daemon.control.objects import Canary

    Look = Callable[[], Awaitable[tuple[Canary, ...]]]
    Show = Callable[[tuple[Canary, ...]], RenderableType]

EVERY = 1.0


@click.command()
@click.argument("target", metavar="[NAME|deploy/NAME]", required=False)
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Canaries of all namespaces.")
@click.option("-w", "--watch", is_flag=True, help="Show every change until interrupted.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@access_options()
def status(*, access: Access, target: str | None, everywhere: bool, watch: bool, output: str) -> None:
    """Show releases: all in a table, or one Canary in detail."""
    if target and everywhere:
        raise click.UsageError("--all-namespaces shows a table; leave out the name, or give its -n")
    run(access, lambda cluster: _status(cluster, target, everywhere=everywhere, watch=watch, output=output))


async def _status(cluster: Cluster, target: str | None, *, everywhere: bool, watch: bool, output: str) -> int:
    async def look() -> tuple[Canary, ...]:
        return (await cluster.canary(target),) if target else await cluster.canaries(None if everywhere else cluster.namespace)

    def show(found: tuple[Canary, ...]) -> RenderableType:
        empty = f"no Canary in {'any namespace' if everywhere else f'namespace {cluster.namespace}'}"
        return view(found, single=bool(target), everywhere=everywhere, empty=empty)

    if watch:
        await _watch(look, show, single=bool(target), output=output)
    found = await look()
    if output == "json":
        shown = [plain(c) for c in found]
        dump(shown[0] if target else shown)
    else:
        _console().print(show(found))
    return OK


async def _watch(look: Look, show: Show, *, single: bool, output: str) -> NoReturn:
    """Redraws in a terminal; elsewhere one block for each change, the first for what is there. Ends with Ctrl-C."""
    from rich.live import Live

    console = _console()
    if console.is_terminal and output == "table":
        with Live(console=console, refresh_per_second=4) as live:
            while True:
                live.update(show(await look()))
                await asyncio.sleep(EVERY)
    before: list[Any] | None = None
    while True:
        found = await look()
        now = [plain(c) for c in found]
        if now != before and output == "json":
            dump(now[0] if single else now)
        elif now != before:
            console.print(show(found))
        before = now
        await asyncio.sleep(EVERY)


def _console() -> Any:
    from rich.console import Console

    return Console(soft_wrap=False, highlight=False, emoji=False)


def plain(canary: Canary) -> dict[str, Any]:
    """A Canary as JSON, without what only the API server needs."""
    import msgspec

    from daemon.api import names

    body: dict[str, Any] = msgspec.to_builtins({"metadata": canary.metadata, "spec": canary.spec, "status": canary.status}, enc_hook=_raw)
    body["metadata"].pop("managedFields", None)
    return {"apiVersion": names.API_VERSION, "kind": "Canary", **body}


def _raw(value: Any) -> Any:
    import msgspec

    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value) if bytes(value) else None
    raise TypeError(f"{type(value).__name__} is no JSON")


def view(found: tuple[Canary, ...], *, single: bool, everywhere: bool, empty: str = "no Canary") -> RenderableType:
    from rich.text import Text

    if single and found:
        return _detail(found[0])
    return overview(found, everywhere=everywhere) if found else Text(empty)


def overview(found: tuple[Canary, ...], *, everywhere: bool) -> Table:
    """One line for each Canary."""
    from rich.text import Text

    heads = (["NAMESPACE"] if everywhere else []) + ["NAME", "PHASE", "STEP", "WEIGHT", "FLAGS", "VERDICT", "SAYS"]
    table = _table(*heads)
    for c in found:
        s = c.status
        says = s.waiting.message if s.waiting is not None else s.sentence or s.plan
        weight = "" if s.weight is None else f"{s.weight} %"
        cells = [c.name, s.phase, s.step or "", weight, s.flags_text or "", s.verdict_text or "", says]
        table.add_row(*(Text(x) for x in ([c.namespace] if everywhere else []) + cells))
    return table


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, no_wrap=head not in ("SAYS", "MESSAGE", "SENTENCE", "BOUND"))
    return table


def _detail(c: Canary) -> RenderableType:
    """Everything the status says of one Canary."""
    from rich.console import Group
    from rich.text import Text

    s = c.status
    blocks: list[RenderableType] = [Text(f"{c.namespace}/{c.name}  {s.phase}", style="bold")]
    says = s.sentence or ("" if s.rollout is not None else s.plan)  # the plan is of the next release
    if says:
        blocks.append(Text(says))
    blocks.append(_facts(c))
    if s.waiting is not None:
        until = f", until {s.waiting.until}" if s.waiting.until else ""
        blocks.append(Text(f"Waiting since {s.waiting.since}{until} ({s.waiting.reason}): {s.waiting.message}", style="yellow"))
        if s.waiting.way_out:
            blocks.append(Text(f"Way out: {s.waiting.way_out}", style="yellow"))
    for title, table in _lists(c):
        if table.row_count:
            blocks += [Text(), Text(title, style="bold"), table]
    return Group(*blocks)


def _facts(c: Canary) -> Table:
    from rich.text import Text

    s, r = c.status, c.status.rollout
    table = _table("", "")
    table.show_header = False
    pairs = [
        ("Mode", "Observe: updates are watched, nothing is changed" if s.phase == "Observing" else ""),
        ("Deployment" if not c.spec.flags_only else "Flags only", c.spec.workload or ("yes" if c.spec.flags_only else "")),
        ("Stable", s.stable_revision or "not recorded yet"),
        ("Revision", f"{r.revision}, since {r.started_at}" if r is not None else ""),
        ("Step", s.step or ""),
        ("Weight", f"{s.weight} % observed" if r is not None and s.weight is not None else ""),
        (
            "Verdict",
            f"{s.verdict.result} of {s.verdict.revision}" + (f" ({s.verdict.reason})" if s.verdict.reason else "") if s.verdict else "",
        ),
        ("Last action", _spoken(s.last_action or "")),
    ]
    for name, value in pairs:
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    return table


def _spoken(action: str) -> str:
    """`pause@7f9c2#by=alice;until=...` as people say it."""
    verb, _, rest = action.partition("@")
    revision, _, more = rest.partition("#")
    by = next((part.removeprefix("by=") for part in more.split(";") if part.startswith("by=")), "")
    return f"{verb} of {revision}" + (f" by {by}" if by else "") if revision else action


def _of(events: int, total: int) -> str:
    return f"{events}/{total}" if total else str(events)


def _lists(c: Canary) -> list[tuple[str, Table]]:
    s = c.status
    arms = _rows(
        ("ARM", "REVISION", "PODS", "WEIGHT"), [(a.name, a.revision, f"{a.available}/{a.replicas}", f"{a.weight} %") for a in s.arms]
    )
    routes = _rows(
        ("ROUTE", "WANTED", "WRITTEN", "ACCEPTED", "OBSERVED", "MESSAGE"),
        [
            (
                f"{r.kind}/{r.name}",
                r.wanted_pick or _share(r.wanted),
                r.written_pick or _share(r.written),
                _yes(r.accepted),
                r.observed_pick or _share(r.observed),
                r.message,
            )
            for r in s.routes
        ],
    )
    flags = _rows(
        ("FLAG", "SOURCE", "WANTED", "WRITTEN", "SEEN", "MESSAGE"),
        [(f.key, f.source, _share(f.wanted), _share(f.written), _yes(f.seen), f.message) for f in s.flags],
    )
    metrics = _rows(
        ("METRIC", "CANARY", "BASELINE", "ODDS WORSE", "ODDS FINE", "BOUND"),
        [
            (m.name, _of(m.canary_events, m.canary_total), _of(m.baseline_events, m.baseline_total), m.odds_worse, m.odds_fine, m.bound)
            for m in s.metrics
        ],
    )
    conditions = _rows(
        ("CONDITION", "STATUS", "REASON", "SINCE"), [(x.type, x.status, x.reason, x.last_transition_time) for x in s.conditions]
    )
    undo = _rows(("CHANGED BY LINNET", "FIELD"), [(f"{e.kind}/{e.name}", e.pointer) for e in s.restore])
    history = _rows(("REVISION", "OUTCOME", "ENDED", "SENTENCE"), [(h.revision, h.outcome, h.ended_at, h.sentence) for h in s.history])
    return [
        ("Versions", arms),
        ("Routes", routes),
        ("Flags", flags),
        ("Metrics", metrics),
        ("Conditions", conditions),
        ("To be restored", undo),
        ("History", history),
    ]


def _rows(heads: tuple[str, ...], rows: list[tuple[str | None, ...]]) -> Table:
    from rich.text import Text

    table = _table(*heads)
    for row in rows:
        table.add_row(*(Text(cell or "") for cell in row))
    return table


def _share(value: int | None) -> str:
    return "-" if value is None else f"{value} %"


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"
