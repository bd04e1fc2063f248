"""The README's list of what is not in this version is complete: a reader must not find out by a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from daemon.api.fields import PLANNED, PLANNED_VALUES
from daemon.api.kinds import KINDS
from tests.docs.pages import ROOT


def planned(schema: Any, name: str = "") -> Iterator[str]:
    """Names of planned fields, and planned values of fields that exist."""
    if isinstance(schema, list):
        for one in schema:
            yield from planned(one, name)
    if not isinstance(schema, dict):
        return
    if schema.get(PLANNED):
        yield name
    yield from schema.get(PLANNED_VALUES, ())
    for field, below in (schema.get("properties") or {}).items():
        yield from planned(below, field)
    for key, below in schema.items():
        if key != "properties":
            yield from planned(below, name)


def all_planned() -> set[str]:
    _, components = msgspec.json.schema_components([kind.spec for kind in KINDS])
    return {name for component in components.values() for name in planned(component)}


def section() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text[text.index("## This version") :].split("\n## ")[0]


def test_whatever_is_refused_as_planned_is_listed() -> None:
    """Each field and each value that the API has and this version refuses."""
    told = section().lower()
    assert {name for name in all_planned() if name.lower() not in told} == set()


def test_the_list_of_planned_fields_is_read() -> None:
    """A mark that was renamed would leave nothing to compare."""
    assert {"cohort", "Fresh"} <= all_planned()


def api_names(schema: Any) -> Iterator[str]:
    """Names of fields and values that the API has."""
    if isinstance(schema, list):
        for one in schema:
            yield from api_names(one)
    elif isinstance(schema, dict):
        yield from (schema.get("properties") or {})
        yield from (value for value in schema.get("enum") or () if isinstance(value, str))
        for below in schema.values():
            yield from api_names(below)


def test_nothing_is_listed_that_works() -> None:
    """A limit that was lifted leaves the list; what the list offers instead may work, and is named here."""
    _, components = msgspec.json.schema_components([kind.spec for kind in KINDS])
    known = set(api_names(components))
    listed = {word.rpartition(" ")[2] for word in re.findall(r"`([^`]+)`", section())}
    assert (listed & known) - all_planned() - {"SideBySide", "pause", "HTTPRoute", "match"} == set()
