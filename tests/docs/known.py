"""What the code knows, to hold the documents against: commands, names, words, fields, values, tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import click
import yaml

from daemon.api import status as status_api
from daemon.api.kinds import KINDS
from daemon.cli.main import main
from daemon.control.metrics import Metrics
from daemon.rollout import model
from tests.docs.pages import ROOT

SOURCES = ("daemon", "analyzers", "flags", "charts")
CHART = ROOT / "charts" / "linnet"
_GROUP = re.compile(r"""(?:linnet\.dev|\{names\.GROUP\}|\{GROUP\})/([A-Za-z][A-Za-z0-9-]*)""")
_WORD = re.compile(r"\b[A-Z][A-Za-z]{2,}\b")


@cache
def source() -> str:
    """All shipped code and the chart as one text."""
    files = [p for top in SOURCES for p in sorted((ROOT / top).rglob("*")) if p.suffix in (".py", ".yaml", ".tpl", ".txt", ".json")]
    return "\n".join(p.read_text(encoding="utf-8") for p in files if "gatewayapi" not in p.parts)


@cache
def group_names() -> frozenset[str]:
    """What may follow `linnet.dev/`: labels, annotations, the finalizer and the version."""
    return frozenset(_GROUP.findall(source()))


@cache
def words() -> frozenset[str]:
    """Capitalised words of the code: reasons, phases, kinds, enum values; and the reasons that are made from kinds and from givers of leave."""
    made = {f"{kind.name}{end}" for kind in KINDS for end in ("Missing", "NotAdmitted")}
    made |= {f"Permit{giver}" for giver in re.findall(r"""Permit\(source="(\w+)\"""", source())}
    return frozenset(_WORD.findall(source())) | made


@cache
def metrics() -> frozenset[str]:
    """Names of the daemon's series as Prometheus shows them."""
    found = set()
    for family in Metrics().registry.collect():
        found.add(family.name)
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ())
        found |= {family.name + suffix for suffix in suffixes}
    return frozenset(found)


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _leaves(value: Any, path: str) -> Iterator[str]:
    yield path
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else key)


@cache
def chart_values() -> frozenset[str]:
    """Every path in the chart's values.yaml."""
    return frozenset(_leaves(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")), "")) - {""}


def _fields(schema: dict[str, Any], path: str) -> Iterator[str]:
    yield path
    for key, child in (schema.get("properties") or {}).items():
        yield from _fields(child, f"{path}.{key}")
    items, more = schema.get("items"), schema.get("additionalProperties")
    for below in (items, more):
        if isinstance(below, dict):
            yield from _fields(below, path)


@cache
def api_fields() -> frozenset[str]:
    """Every `spec.` and `status.` path of Linnet's kinds, list indices left out."""
    found: set[str] = set()
    for path in sorted((CHART / "templates" / "crds").glob("*.yaml")):
        text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.strip().startswith("{{"))
        schema = yaml.safe_load(text)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for top in ("spec", "status"):
            if top in schema["properties"]:
                found |= set(_fields(schema["properties"][top], top))
    return frozenset(found)


def event_reasons() -> frozenset[str]:
    return frozenset(get_args(model.EventReason))


def phases() -> frozenset[str]:
    return frozenset(get_args(status_api.Phase))


def _in(folder: str, pattern: str) -> frozenset[str]:
    text = "\n".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / folder).rglob("*.py")))
    return frozenset(re.findall(pattern, text))


def waits() -> frozenset[str]:
    """Reasons of `status.waiting` that the core gives, and the problems that keep a release from starting."""
    core = _in("daemon/rollout", r"""turn\.(?:wait|linger)\(\s*"([A-Z]\w+)\"""")
    return core | _in("daemon", r"""reason="([A-Z]\w+)",\s*message=""")


def rollback_reasons() -> frozenset[str]:
    return _in("daemon/rollout", r"""rollback\.begin\(turn, "([A-Z]\w+)\"""") | _in("daemon/rollout", r"""\bbegin\(turn, "(Deleted)\"""")


def check_linnet(line: str) -> str | None:
    """Why this `linnet ...` line cannot be typed; None where it can. Placeholders and alternatives (a|b) are understood."""
    words = shlex.split(re.split(r"\s(?:&&|\|\||\||>|2>|;)(?:\s|$)", line)[0], comments=True)
    while words and "=" in words[0]:
        words.pop(0)
    if words and words[0] == "kubectl":
        words.pop(0)
    if not words or words[0] != "linnet":
        return f"{line!r} does not start with linnet"
    return next((why for option in _alternatives(words[1:]) if (why := _check(option))), None)


def _alternatives(words: list[str]) -> list[list[str]]:
    for index, word in enumerate(words):
        if "|" in word and not word.startswith("-"):
            return [found for one in word.split("|") for found in _alternatives([*words[:index], one, *words[index + 1 :]])]
    return [words]


def _check(words: list[str]) -> str | None:
    command: click.Command = main
    context = click.Context(main, info_name="linnet")
    rest = [w for w in words if w not in ("…", "...")]
    while isinstance(command, click.Group):
        if rest and rest[0] in ("--help", "-h", "--version"):
            return None
        if not rest:
            return None
        found = command.get_command(context, rest[0])
        if found is None:
            return f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    if "--help" in rest or "-h" in rest:
        return None
    try:
        command.make_context(command.name, [*rest], parent=context.parent)
    except click.MissingParameter:
        return None  # a page may name a command without its arguments
    except click.BadOptionUsage as problem:
        return None if "requires an argument" in problem.message else f"{command.name}: {problem.format_message()}"
    except click.exceptions.Exit:
        return None
    except click.ClickException as problem:
        return f"{command.name}: {problem.format_message()}"
    return None


@cache
def test_names(path: str) -> frozenset[str]:
    """Functions of a test file."""
    file = ROOT / path
    return (
        frozenset(re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))
        if file.is_file()
        else frozenset()
    )
