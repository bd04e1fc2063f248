"""`linnet lint`: everything that is wrong with manifests, before a cluster sees them, with file and line.

Judges what is Linnet's: objects of linnet.dev, and Deployments that carry its annotations; all else passes unread. The same
functions refuse at admission and in the daemon, so what lint accepts is accepted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from daemon.cli.asking import shared_option
from daemon.cli.cluster import FAILED, OK, Access, dump

if TYPE_CHECKING:
    import yaml

    from daemon.api.errors import FieldError
    from daemon.cli.advice import Advice

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_PART: Final = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--live",
    metavar="URL|metricsource/NAME",
    help="A Prometheus that is asked what the queries of templates and Canaries return today; by name with its credentials.",
)
@click.option("--arg", "args", metavar="NAME=VALUE", multiple=True, help="With --live: what a release would give a template (repeatable).")
@click.option("-n", "--namespace", default="default", show_default=True, help="With --live: where Canaries are that name none, and NAME.")
@click.option("--kubeconfig", type=click.Path(dir_okay=False), help="With --live metricsource/NAME: otherwise as kubectl finds it.")
@click.option("--context", help="With --live metricsource/NAME: context of the kubeconfig.")
@shared_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def lint(
    paths: tuple[str, ...],
    live: str | None,
    args: tuple[str, ...],
    namespace: str,
    kubeconfig: str | None,
    context: str | None,
    catalogue_namespace: str,
    output: str,
) -> None:
    """Check manifests: files, folders, or - for standard input. Offline, but for --live.

    With --live a query that returns nothing, NaN, or many series where one is looked at, a counter without pods, and a server whose clock
    is off are wrong. Exit codes: 0 nothing is wrong (warnings apart), 1 something is, 2 a file cannot be read, or the server not be asked.
    """
    if not all("=" in a for a in args):
        raise click.UsageError("--arg is NAME=VALUE, such as --arg service=shop")
    given = dict(a.split("=", maxsplit=1) for a in args)
    access = Access(kubeconfig=kubeconfig, context=context, namespaces=(namespace,))
    findings: list[dict[str, Any]] = []
    checked = 0
    for name, text in texts(paths):
        for found in check(name, text):
            if found is None:
                checked += 1
            else:
                findings.append(found)
        if live is not None and not any(f["file"] == name and f.get("level") != "warning" for f in findings):
            findings += _today(name, text, (live, access, catalogue_namespace), given)
    wrong = [f for f in findings if f.get("level") != "warning"]
    if output == "json":
        dump(findings)
    else:
        for f in findings:
            told = f"warning: {f['message']}" if f.get("level") == "warning" else f["message"]
            click.echo(f"{f['file']}:{f['line']}: {f['object']}: {f['path']}: {told}" if f["path"] else f"{f['file']}:{f['line']}: {told}")
        click.echo(
            f"{checked} object{'' if checked == 1 else 's'} of Linnet's checked, {len(wrong)} wrong" if checked or findings else _nothing()
        )
    sys.exit(FAILED if wrong else OK)


def _today(name: str, text: str, asked: tuple[str, Access, str], given: dict[str, str]) -> Iterator[dict[str, Any]]:
    """What is wrong with the answers that the queries of sound objects get now."""
    import asyncio

    from daemon.cli.live import Server, SourceAway, look

    target, access, catalogue = asked
    server = Server(target, access, access.namespaces[0], catalogue)
    objects = [pair for node, body in _documents(text) for pair in _unlisted(node, body)]
    try:
        answers = asyncio.run(look([body for _, body in objects], server, given))
    except SourceAway as e:
        click.echo(f"linnet: {target} cannot be asked: {e}", err=True)
        sys.exit(2)
    for (node, body), found in zip(objects, answers, strict=True):
        label = f"{body.get('kind', '?')}/{(body.get('metadata') or {}).get('name', '?')}"
        for f in found:
            told = {"line": line_of(node, f.path), "object": label, "path": f.path, "reason": f.reason, "message": f.message}
            yield {"file": name, **({"level": "warning"} if f.warning else {}), **told}


def _nothing() -> str:
    return "nothing of Linnet's found: no object of linnet.dev and no Deployment with linnet.dev annotations"


def texts(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, content) of every file that is meant."""
    for path in paths:
        if path == "-":
            yield "<stdin>", sys.stdin.read()
            continue
        at = Path(path)
        files = sorted(f for f in at.rglob("*") if f.suffix in SUFFIXES and f.is_file()) if at.is_dir() else [at]
        if not files:
            click.echo(f"linnet: {path}: no .yaml, .yml or .json file in this folder", err=True)
            sys.exit(2)
        for file in files:
            try:
                yield str(file), file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as e:
                why = "it is not text in UTF-8" if isinstance(e, UnicodeDecodeError) else e.strerror or str(e)
                click.echo(f"linnet: {file}: cannot be read: {why}", err=True)
                sys.exit(2)


def check(name: str, text: str) -> Iterator[dict[str, Any] | None]:
    """Findings of one file; None for each object that was looked at."""
    import yaml

    try:
        documents = _documents(text)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        hint = "; a template? lint what it renders: helm template ... | linnet lint -" if "{{" in text else ""
        what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
        yield {"file": name, "line": line, "object": "", "path": "", "reason": "NotYaml", "message": f"is not YAML: {what}{hint}"}
        return
    objects = [pair for node, body in documents for pair in _unlisted(node, body)]
    shared = {b["metadata"]["name"]: b for _, b in objects if b.get("kind") == "CanaryProfile" and "name" in (b.get("metadata") or {})}
    canaries = [b for _, b in objects if b.get("kind") == "Canary"]
    for node, body in objects:
        errors = faults(body, shared)
        if errors is None:
            continue
        yield None
        label = f"{body.get('kind', '?')}/{(body.get('metadata') or {}).get('name', '?')}"
        for e in errors:
            yield {"file": name, "line": line_of(node, e.path), "object": label, "path": e.path, "reason": e.reason, "message": e.message}
        for w in [] if errors else _warnings(body, canaries):
            found = {"line": line_of(node, w.path), "object": label, "path": w.path, "reason": w.reason, "message": w.message}
            yield {"file": name, "level": "warning", **found}


def _documents(text: str) -> list[tuple[yaml.Node, Any]]:
    """Each document of a file, with the places of its fields; YAMLError where it is none."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    nodes = [n for n in yaml.compose_all(text, Loader=loader) if n is not None]
    return list(zip(nodes, [d for d in yaml.load_all(text, Loader=loader) if d is not None], strict=False))


def _warnings(body: dict[str, Any], canaries: list[dict[str, Any]]) -> list[Advice]:
    """What is accepted and yet often wrong: about queries of templates, and the Canaries of the same file that use them."""
    import msgspec

    from daemon.api.analysis import AnalysisTemplateSpec
    from daemon.cli.advice import advice, users_of

    if body.get("kind") != "AnalysisTemplate":
        return []
    template = str((body.get("metadata") or {}).get("name", ""))
    return list(advice(msgspec.convert(body["spec"], AnalysisTemplateSpec), users_of(template, canaries)))


def _unlisted(node: yaml.Node, body: Any) -> Iterator[tuple[yaml.Node, dict[str, Any]]]:
    if not isinstance(body, dict):
        return
    if str(body.get("kind", "")).endswith("List") and isinstance(body.get("items"), list):
        below = _child(_child(node, "items"), None)
        for index, item in enumerate(body["items"]):
            if isinstance(item, dict):
                yield (below[index] if isinstance(below, list) and index < len(below) else node), item
    else:
        yield node, body


def faults(body: dict[str, Any], profiles: dict[str, dict[str, Any]]) -> list[FieldError] | None:
    """What is wrong with one object; None for one that is none of ours."""
    from daemon.api import names, validation

    version = str(body.get("apiVersion", ""))
    if version.split("/", maxsplit=1)[0] == names.GROUP:
        errors = validation.lint(body)
        return errors or _merged(body, profiles)
    if body.get("kind") == "Deployment" and version.startswith("apps/"):
        return _deployment(body, profiles)
    return None


def _merged(body: dict[str, Any], profiles: dict[str, dict[str, Any]]) -> list[FieldError]:
    """Faults that show only when a Canary meets its profile: a shipped one, or one of the same file."""
    import msgspec

    from daemon.api.canary import CanarySpec

    if body.get("kind") != "Canary":
        return []
    return _with_profile(msgspec.convert(body["spec"], CanarySpec), profiles)


def _with_profile(spec: Any, profiles: dict[str, dict[str, Any]]) -> list[FieldError]:
    import msgspec

    from daemon.api.defaults import merge
    from daemon.api.kinds import CanaryProfileSpec
    from daemon.api.profiles import documents
    from daemon.api.validation import validate

    if spec.profile_ref is None:
        return []
    shipped = {d["metadata"]["name"]: d for d in documents()}
    found = profiles.get(spec.profile_ref.name) or shipped.get(spec.profile_ref.name)
    if found is None:
        return []  # it may live in the cluster; `linnet doctor` looks there
    try:
        profile = msgspec.convert(found.get("spec") or {}, CanaryProfileSpec)
    except msgspec.ValidationError:
        return []  # the profile's own fault is reported where it is
    return validate(merge(spec, profile))


def _deployment(body: dict[str, Any], profiles: dict[str, dict[str, Any]]) -> list[FieldError] | None:
    """A Deployment that speaks to Linnet by annotations."""
    from daemon.api import names
    from daemon.api.annotations import canary_from_annotations, opted_in
    from daemon.api.errors import FieldError

    metadata = body.get("metadata") or {}
    annotations = {str(k): v for k, v in (metadata.get("annotations") or {}).items()}
    if not any(key.startswith(f"{names.GROUP}/") for key in annotations):
        return None
    errors = []
    for key, value in annotations.items():
        if key.startswith(f"{names.GROUP}/") and not isinstance(value, str):
            text = f"{value!r} is not a string: put it in quotes"
            errors.append(FieldError(path=f"metadata.annotations[{key}]", reason="WrongType", value=value, message=text))
    if errors:
        return errors
    wanted = canary_from_annotations(str(metadata.get("name") or "unnamed"), annotations)
    errors += wanted if isinstance(wanted, list) else _with_profile(wanted, profiles)
    asks = any(key in names.OPT_IN_ANNOTATIONS for key in annotations)
    if asks and not opted_in(annotations):
        text = f"is missing: without it the other annotations do nothing; add {names.PROFILE}: web"
        errors.append(FieldError(path=f"metadata.annotations[{names.PROFILE}]", reason="Required", message=text))
    for mark in (names.CANARY_MARK, names.HELD_MARK, names.AUTHOR_MARK):
        if mark in annotations:
            text = "is written by Linnet; take it out of the manifest, or each apply will fight with it"
            errors.append(FieldError(path=f"metadata.annotations[{mark}]", reason="InvalidValue", value=annotations[mark], message=text))
    if "paused" in (body.get("spec") or {}):
        text = "must not stand in the manifest of a Deployment that Linnet holds: each apply would end, or become, the hold; remove it"
        errors.append(FieldError(path="spec.paused", reason="InvalidValue", value=body["spec"]["paused"], message=text))
    return errors


def line_of(node: yaml.Node, path: str) -> int:
    """The line of a field, or of the nearest place above it that is there."""
    here: Any = node
    for name, index in _PART.findall(path):
        below = _child(here, name or index)
        if below is None:
            break
        here = below
    return int(here.start_mark.line) + 1


def _child(node: Any, key: str | None) -> Any:
    """The value node under a key or an index; with None all entries of a list. None where there is nothing."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        return next((v for k, v in node.value if getattr(k, "value", None) == key), None)
    if isinstance(node, yaml.SequenceNode):
        if key is None:
            return node.value
        return node.value[int(key)] if key.isdigit() and int(key) < len(node.value) else None
    return None
