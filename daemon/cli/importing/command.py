"""`linnet import`: manifests of Flagger and Argo Rollouts in, manifests of Linnet out, and a word about every field."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.cluster import FAILED, OK, UNDECIDED, dump, fail
from daemon.cli.linting import texts

if TYPE_CHECKING:
    from daemon.cli.importing.convert import Imported


@click.command("import")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def import_(paths: tuple[str, ...], output: str) -> None:
    """Turn manifests of Flagger and Argo Rollouts into Linnet's: files, folders, or - for standard input.

    Writes objects to standard output and says on standard error what differs and what has no counterpart. Give the Deployment
    and the templates together with what names them. Nothing is sent to a cluster.

    Exit codes: 0 every field is mapped or said to differ, 1 some have no counterpart, 2 nothing could be read.
    """
    from daemon.cli.importing.convert import convert

    found = convert(_objects(paths))
    if not found.read:
        fail("nothing to import: no Canary, MetricTemplate or AlertProvider of Flagger, no Rollout or AnalysisTemplate of Argo", UNDECIDED)
    if output == "json":
        notes = [{"object": n.object, "path": n.path, "outcome": n.outcome, "message": n.text} for n in found.notes]
        dump({"objects": found.objects, "notes": notes, "counts": _counts(found)})
    else:
        click.echo(_manifests(found.objects), nl=False)
        _tell(found)
    sys.exit(FAILED if any(n.outcome == "NoCounterpart" for n in found.notes) else OK)


def _objects(paths: Sequence[str]) -> list[dict[str, Any]]:
    import yaml

    found: list[dict[str, Any]] = []
    for name, text in texts(paths):
        try:
            bodies = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except yaml.YAMLError as problem:
            fail(f"{name}: is not YAML: {problem}", UNDECIDED)
        for body in bodies:
            listed = body.get("items") if isinstance(body, dict) and str(body.get("kind", "")).endswith("List") else None
            found += [b for b in (listed if isinstance(listed, list) else [body]) if isinstance(b, dict)]
    return found


def _counts(found: Imported) -> dict[str, int]:
    counted = Counter(note.outcome for note in found.notes)
    return {"mapped": counted["Mapped"], "differs": counted["Differs"], "noCounterpart": counted["NoCounterpart"]}


def _manifests(objects: Sequence[dict[str, Any]]) -> str:
    import yaml

    class Readable(yaml.SafeDumper):
        """Queries of several lines stay as their author laid them out."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Readable.add_representer(str, text)
    return "---\n".join(yaml.dump(body, Dumper=Readable, sort_keys=False, allow_unicode=True, width=110) for body in objects)


def _tell(found: Imported) -> None:
    words = {"Differs": "differs", "NoCounterpart": "has no counterpart"}
    for outcome, title in words.items():
        notes = [n for n in found.notes if n.outcome == outcome]
        if notes:
            click.echo(f"\n{title}:", err=True)
        for note in notes:
            click.echo(f"  {note.object}: {note.path}: {note.text}", err=True)
    counts = _counts(found)
    objects = f"{len(found.read)} object{'' if len(found.read) == 1 else 's'}"
    told = f"{counts['mapped']} fields mapped, {counts['differs']} differ, {counts['noCounterpart']} have no counterpart"
    click.echo(f"\n{objects} read: {told}", err=True)
