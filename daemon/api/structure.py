"""Compares an object with the shape of its kind: unknown fields, wrong types and values, and what is planned but not built.

The API server does the same at admission; this is for `linnet lint`, which has no server, for annotations, and for objects
stored before a rule existed. Everything wrong is named at once, with the nearest right name where one was misspelt.
"""

import difflib
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from daemon.api import fields, lists, patterns
from daemon.api.errors import FieldError
from daemon.api.kinds import Kind
from daemon.api.schema import FREE, INT_OR_STRING, STRUCT, Node, tree

_PYTHON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
# What works today instead of what is planned.
INSTEAD: Final[dict[lists.Key, str]] = {
    ("StepMatch", "cohort"): "name a header or cookie that your app gives them",
    ("Traffic", "identity"): "use Isolated, or mode PodRatio",
    ("Strategy", "baseline"): "use Stable",
    ("Strategy", "placement"): "use SideBySide",
    ("ReleaseSpec", "mode"): "use Enforce",
    ("TemplateUse", "when"): "use Background or BeforeFirstStep",
    ("Outcomes", "stableBroken"): "leave it out; a rollout waits for stable and its progressDeadline",
    ("NotifierSpec", "template"): "leave it out; messages carry the sentence",
}
_KEY_DEFAULTS: Final = {field: value for (_, field), value in lists.KEY_DEFAULTS.items()}
_LOGIN: Final = re.compile(r"//[^/]*@")
_TOP: Final = ("apiVersion", "kind", "metadata")


def unknown_fields(kind: Kind, raw: dict[str, Any]) -> list[FieldError]:
    """Fields that the kind does not have; the API server would drop them without a word."""
    known = [*_TOP, *tree(kind)["properties"]]
    found = [_unknown(str(name), str(name), known) for name in raw if name not in known]
    return found + [error for path, node, value, _ in _places(kind, raw) for error in _unknown_in(path, node, value)]


def refuse_planned(kind: Kind, raw: dict[str, Any]) -> list[FieldError]:
    """Fields, values and list lengths that are part of the API but not of this version."""
    return [error for path, node, value, key in _places(kind, raw) for error in _planned(path, node, value, key)]


def structural_errors(kind: Kind, raw: dict[str, Any]) -> list[FieldError]:
    """Missing fields, wrong types, values outside their bounds, entries that are there twice."""
    if raw.get("spec") is None:
        return [FieldError(path="spec", reason="Required", message="is missing")]
    return [error for path, node, value, key in _places(kind, raw) for error in _structural(path, node, value, key)]


def planned_message(key: lists.Key) -> str:
    """'not in this version', with the way that works."""
    instead = lists.lookup(INSTEAD, *key)
    if instead is None:
        raise AssertionError(f"{'.'.join(key)} is planned: say in INSTEAD what works instead")
    return f"not in this version; {instead}"


Place = tuple[str, Node, Any, lists.Key]


def _places(kind: Kind, raw: dict[str, Any]) -> Iterator[Place]:
    """Every place of the spec; status is Linnet's own and read by types."""
    return _walk(tree(kind)["properties"]["spec"], raw.get("spec"), "spec", (kind.name, "spec"))


def _walk(node: Node, value: Any, path: str, key: lists.Key) -> Iterator[Place]:
    """Every place of `value` that the schema knows, with its path and the struct and field that define it."""
    if value is None:
        return
    yield path, node, value, key
    if node.get(fields.PLANNED):
        return
    if isinstance(value, dict):
        own = str(node.get(STRUCT, ""))
        for name, child in node.get("properties", {}).items():
            yield from _walk(child, value.get(name), f"{path}.{name}", (own, name))
        extra = node.get("additionalProperties")
        if extra:
            for name, child_value in value.items():
                yield from _walk(extra, child_value, f"{path}[{name}]", ("", ""))
    elif isinstance(value, list) and "items" in node:
        for index, item in enumerate(value):
            yield from _walk(node["items"], item, f"{path}[{index}]", ("", ""))


def _unknown(path: str, name: str, known: list[str]) -> FieldError:
    near = nearest(name, known)
    way_out = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
    return FieldError(path=path, reason="UnknownField", value=name, message=f"unknown field; {way_out}")


def nearest(name: str, known: list[str]) -> str | None:
    """The known name that `name` was most likely meant to be."""
    folded = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def _unknown_in(path: str, node: Node, value: Any) -> list[FieldError]:
    if not isinstance(value, dict) or "properties" not in node or node.get(FREE):
        return []
    known = list(node["properties"])
    return [_unknown(f"{path}.{name}", str(name), known) for name in value if name not in known]


def _planned(path: str, node: Node, value: Any, key: lists.Key) -> list[FieldError]:
    if node.get(fields.PLANNED):
        return [FieldError(path=path, reason="NotInThisVersion", value=value, message=planned_message(key))]
    if value in node.get(fields.PLANNED_VALUES, ()):
        return [FieldError(path=path, reason="NotInThisVersion", value=value, message=f"{value}: {planned_message(key)}")]
    limit = node.get(fields.BUILT_ITEMS)
    if limit is not None and isinstance(value, list) and len(value) > limit:
        message = f"{len(value)} entries, more than {limit}: {planned_message(key)}"
        return [FieldError(path=path, reason="NotInThisVersion", value=len(value), message=message)]
    return []


def _structural(path: str, node: Node, value: Any, key: lists.Key) -> list[FieldError]:
    if node.get(fields.PLANNED):
        return []
    wrong = _wrong_type(node, value)
    if wrong:
        return [FieldError(path=path, reason="WrongType", value=value, message=f"{value!r} is not {wrong}")]
    problems = [*_value_problems(node, value), *_size_problems(node, value), *_duplicates(value, key)]
    shown = _without_password(value) if isinstance(value, str) else value
    errors = [FieldError(path=path, reason="InvalidValue", value=shown, message=problem) for problem in problems]
    if isinstance(value, dict):
        absent = [name for name in node.get("required", ()) if value.get(name) is None]
        errors.extend(FieldError(path=f"{path}.{name}", reason="Required", message="is missing") for name in absent)
    return errors


def _without_password(text: str) -> str:
    """Errors end up in logs and Events, where the password of an address must not be."""
    return _LOGIN.sub("//***@", text)


def _duplicates(value: Any, key: lists.Key) -> Iterator[str]:
    keys = lists.lookup(lists.LIST_KEYS, *key)
    if not isinstance(value, list) or not (keys or key in lists.SETS):
        return
    seen = [_identity(entry, keys) for entry in value]
    for entry in sorted({entry for entry in seen if seen.count(entry) > 1}):
        yield f"has {entry!r} twice; keep one entry"


def _identity(entry: Any, keys: tuple[str, ...] | None) -> str:
    """What tells an entry of a named list from the others."""
    if keys and isinstance(entry, dict):
        return "/".join(str(entry.get(name, _KEY_DEFAULTS.get(name, ""))) for name in keys)
    return str(entry)


def _wrong_type(node: Node, value: Any) -> str | None:
    if node.get(INT_OR_STRING):
        return None if isinstance(value, int | str) and not isinstance(value, bool) else "a number or a string"
    kind = str(node.get("type", ""))
    right = isinstance(value, _PYTHON_TYPES.get(kind, (object,))) and (kind == "boolean" or not isinstance(value, bool))
    return None if right else f"of type {kind}"


def _value_problems(node: Node, value: Any) -> Iterator[str]:
    if "enum" in node and value not in node["enum"]:
        allowed = [str(entry) for entry in node["enum"] if entry not in node.get(fields.PLANNED_VALUES, ())]
        near = nearest(str(value), allowed)
        yield f"{value!r} is not one of {', '.join(allowed)}" + (f"; did you mean {near}?" if near else "")
    pattern = node.get("pattern")
    if pattern is not None and isinstance(value, str) and not re.search(pattern, value):
        yield f"{_without_password(value)!r} must be {patterns.MEANING.get(pattern, f'of the form {pattern}')}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high, open_end = node.get("minimum", -math.inf), node.get("maximum", math.inf), node.get("exclusiveMinimum")
        if value < low or value > high or (open_end and value == low):
            yield f"{value} is not between {low}{' (not included)' if open_end else ''} and {high}"


def _size_problems(node: Node, value: Any) -> Iterator[str]:
    if not isinstance(value, str | list | dict):
        return
    unit = {"str": "characters", "list": "entries", "dict": "entries"}[type(value).__name__]
    for limit in (node.get("maxLength"), node.get("maxItems"), node.get("maxProperties")):
        if limit is not None and len(value) > limit:
            yield f"has {len(value)} {unit}, more than {limit}"
    if isinstance(value, list) and len(value) < node.get("minItems", 0):
        yield f"has {len(value)} entries: too few, at least {node['minItems']}"
    if isinstance(value, str) and len(value) < node.get("minLength", 0):
        yield f"{value!r} is too short: at least {node['minLength']} characters"
