"""`linnet explain` and `linnet replay`: what a verdict rests on, and the verdict again, from the stored evidence alone.

Both need one `AnalysisRun` and nothing else: no daemon, no metric source, and with `-f` no cluster either.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.cluster import FAILED, OK, UNDECIDED, Access, CliError, Cluster, access_options, dump, fail, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from analyzers.account import Account
    from daemon.control.objects import AnalysisRun

_FILE = click.option(
    "-f", "--file", type=click.Path(dir_okay=False, path_type=Path), help="An AnalysisRun as JSON or YAML, instead of a cluster."
)
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command()
@click.argument("target", metavar="RUN", required=False)
@_FILE
@access_options()
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture as SVG.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture as PNG.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with all of it.")
@_OUTPUT
def explain(target: str | None, file: Path | None, access: Access, output: str, **pictures: Path | None) -> None:
    """Say what a verdict rests on: both versions' counts, bounds, odds, what decided, and what would have changed it.

    RUN is an AnalysisRun, or a Canary (NAME or deploy/NAME), of which the newest is taken. Everything is worked out from the stored
    evidence, by the judge that gave the verdict. Exit codes: 0, or 1 where there is no evidence to explain.
    """

    async def body(item: AnalysisRun) -> int:
        from daemon.cli.explaining import Explanation

        found = Explanation.of(item)
        for kind, path in pictures.items():
            if path is not None:
                path.write_bytes(found.drawn(kind))
        if output == "json":
            dump(found.as_json())
        else:
            click.echo(found.text())
        return OK

    _on(target, file, access, body)


@click.command()
@click.argument("target", metavar="RUN", required=False)
@_FILE
@access_options()
@_OUTPUT
def replay(target: str | None, file: Path | None, access: Access, output: str) -> None:
    """Give a verdict again from its stored evidence, and compare it with the stored one.

    RUN is an AnalysisRun, or a Canary (NAME or deploy/NAME), of which the newest is taken. Exit codes: 0 the same verdict, or none
    was stored; 1 another one, or evidence that was edited; 2 no evidence.
    """

    async def body(item: AnalysisRun) -> int:
        from analyzers.account import account

        found = account(_log(item))
        stored = item.status.verdict.result if item.status.verdict is not None else None
        same = _agrees(found, item)
        if output == "json":
            dump(
                {
                    "run": item.name,
                    "verdict": found.verdict,
                    "stored": stored,
                    "same": same,
                    "reason": found.reason,
                    "ticks": len(found.points),
                }
            )
            return OK if same else FAILED
        click.echo(f"{item.name}: {found.verdict} from {len(found.points)} ticks: {found.reason}")
        if found.folded is not None:
            click.echo("The oldest ticks were folded into a state of the judge to stay within the object's bound; the rest was replayed.")
        click.echo(_compared(stored, item, same=same))
        return OK if same else FAILED

    _on(target, file, access, body)


def _agrees(found: Account, item: AnalysisRun) -> bool:
    """People, owners' rules and templates end releases too: the counts contradict only a verdict that was theirs."""
    verdict = item.status.verdict
    if verdict is None or verdict.reason not in {"Worse", "Proven"}:
        return True
    return verdict.result == found.verdict


def _compared(stored: str | None, item: AnalysisRun, *, same: bool) -> str:
    verdict = item.status.verdict
    if stored is None or verdict is None:
        return "No verdict is stored: the release is under way, or was when this was copied."
    if not same:
        return f"The stored verdict is {stored}: it does not follow from this evidence."
    if verdict.reason not in {"Worse", "Proven"}:
        return f"The stored verdict is {stored}, for another reason than the counts ({verdict.reason})."
    return f"The stored verdict is {stored}: the same."


def _log(item: AnalysisRun) -> Any:
    from analyzers.evidence import read

    if item.status.evidence is None or not item.status.evidence.data:
        raise CliError(f"AnalysisRun {item.name} has no evidence of the judge: nothing was compared", code=UNDECIDED)
    return read(item.status.evidence.data)


def _on(target: str | None, file: Path | None, access: Access, body: Callable[[AnalysisRun], Awaitable[int]]) -> None:
    """Runs `body` on the run that is meant; what is wrong with its evidence becomes one line."""
    import asyncio

    from analyzers.errors import AnalysisError

    if (target is None) is (file is None):
        raise click.UsageError("name one RUN, or a file with -f")

    async def on_cluster(cluster: Cluster) -> int:
        return await guarded(await _find(cluster, target or ""))

    async def guarded(item: AnalysisRun) -> int:
        try:
            return await body(item)
        except AnalysisError as e:
            raise CliError(str(e)) from e

    if file is None:
        run(access, on_cluster)
    try:
        sys.exit(asyncio.run(guarded(_from(file))))
    except CliError as e:
        fail(str(e), e.code)


def _from(path: Path) -> AnalysisRun:
    import msgspec
    import yaml

    from daemon.control.objects import AnalysisRun

    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(body, dict) and "items" in body:
            raise CliError(f"{path} holds a list: give one AnalysisRun, as in kubectl get analysisruns.linnet.dev NAME -o json")
        if not isinstance(body, dict) or body.get("kind") != "AnalysisRun":
            raise CliError(f"{path} holds no AnalysisRun: kubectl get analysisruns.linnet.dev NAME -o json writes one")
        return msgspec.convert(body, AnalysisRun)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as e:
        raise CliError(f"{path} cannot be read: {e}") from e


async def _find(cluster: Cluster, target: str) -> AnalysisRun:
    """By its own name, else the newest of a Canary."""
    from daemon.api import names
    from daemon.control.objects import ANALYSIS_RUNS
    from daemon.workloads.revisions import label_value

    if "/" not in target:
        found = await cluster.client.find(ANALYSIS_RUNS, cluster.namespace, target)
        if found is not None:
            return found
    canary = await cluster.canary(target)
    page = await cluster.client.list(ANALYSIS_RUNS, canary.namespace, label_selector=f"{names.OWNER}={label_value(canary.name)}")
    if not page.items:
        raise CliError(f"Canary {canary.name} has no AnalysisRun yet: nothing was judged", code=UNDECIDED)
    return max(page.items, key=lambda r: (r.spec.started_at, r.name))
