"""Why: a custom resource is what its CRD's schema says: unknown fields pruned, defaults filled in, every leaf and rule checked."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable
from typing import Any

import msgspec

from daemon.sandbox import cel
from daemon.sandbox import cel_functions as fn
from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON, FieldError
from daemon.sandbox.fieldsets import item_element
from daemon.sandbox.patching import clone
from daemon.sandbox.schema import Node

_ROOT = frozenset({"apiVersion", "kind", "metadata"})
# Errors of these kinds leave an object in no state to run its rules on.
_BLOCKING = frozenset({"FieldValueRequired", "FieldValueNotSupported", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany"})
_SKIPPED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
_PYTHON = {"object": dict, "array": list, "string": str, "boolean": bool}
_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_DURATION = re.compile(r"^-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+$|^0$")


def prune(node: Node, obj: JSON) -> list[str]:
    """Drop the fields that the schema does not know, in place; gives them in the server's words."""
    found: list[str] = []
    _prune(node, obj, "", found, root=True)
    return found


def _prune(node: Node, value: Any, path: str, found: list[str], *, root: bool = False) -> None:
    if isinstance(value, list):
        if node.items is not None:
            for i, item in enumerate(value):
                _prune(node.items, item, f"{path}[{i}]", found)
        return
    if not isinstance(value, dict):
        return
    for key in list(value):
        child = node.props.get(key) or node.additional
        where = f"{path}.{key}" if path else key
        if (root or node.embedded) and key in _ROOT:
            continue
        if child is not None:
            _prune(child, value[key], where, found)
        elif not node.preserves_unknown:
            found.append(f'unknown field "{where}"')
            del value[key]


def apply_defaults(node: Node, value: Any) -> None:
    """Fill in the schema's defaults, in place; a null that may not be null gives way to its default."""
    if isinstance(value, list):
        if node.items is not None:
            for item in value:
                apply_defaults(node.items, item)
        return
    if not isinstance(value, dict):
        return
    for key, child in node.props.items():
        if key == "metadata":
            continue
        if key in value and value[key] is None and not child.raw.get("nullable"):
            del value[key]
        if key not in value and "default" in child.raw:
            value[key] = clone(child.raw["default"])
        if key in value:
            apply_defaults(child, value[key])
    if node.additional is not None:
        for below in value.values():
            apply_defaults(node.additional, below)


class Checker:
    """One validation of one object."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def check(self, node: Node, value: Any, path: str) -> None:
        if value is None:
            if not node.raw.get("nullable") and not node.is_untyped:
                self._type(node, value, path, node.type or "integer,string")
            return
        if not self._right_type(node, value, path):
            return
        self._enum(node, value, path)
        if isinstance(value, str):
            self._string(node, value, path)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            self._number(node, value, path)
        elif isinstance(value, list):
            self._list(node, value, path)
        elif isinstance(value, dict):
            self._object(node, value, path)
        self._combined(node, value, path)

    def _add(self, error: FieldError) -> None:
        self.errors.append(error)

    def _type(self, node: Node, value: Any, path: str, wanted: str) -> None:
        have = _NAMES[type(value)]
        self._add(err.type_invalid(path, have, f'{path} in body must be of type {wanted}: "{have}"'))

    def _right_type(self, node: Node, value: Any, path: str) -> bool:
        if node.int_or_string:
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                self._type(node, value, path, "integer,string")
                return False
            return True
        kind = node.type
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not kind or (kind == "number" and number) or (kind == "integer" and number and float(value).is_integer()):
            return True
        if kind in _PYTHON and isinstance(value, _PYTHON[kind]):
            return True
        self._type(node, value, path, kind)
        return False

    def _enum(self, node: Node, value: Any, path: str) -> None:
        allowed = node.raw.get("enum")
        if allowed is not None and not any(fn.equal(value, a) for a in allowed):
            listed = ", ".join(msgspec.json.encode(a).decode() for a in allowed)
            shown = msgspec.json.encode(value).decode()
            self._add(FieldError(path, "FieldValueNotSupported", f"Unsupported value: {shown}: supported values: {listed}"))

    def _string(self, node: Node, value: str, path: str) -> None:
        raw = node.raw
        if "maxLength" in raw and len(value) > raw["maxLength"]:
            self._add(err.too_long(path, raw["maxLength"]))
        if "minLength" in raw and len(value) < raw["minLength"]:
            self._add(err.invalid_value(path, value, f"{path} in body should be at least {raw['minLength']} chars long"))
        if "pattern" in raw and not _pattern(raw["pattern"]).search(value):
            self._add(err.invalid_value(path, value, f"{path} in body should match '{raw['pattern']}'"))
        form = raw.get("format")
        if form in _FORMATS and not _FORMATS[form](value):
            self._add(err.type_invalid(path, value, f'{path} in body must be of type {form}: "{value}"'))

    def _number(self, node: Node, value: float, path: str) -> None:
        raw = node.raw
        low, high = raw.get("minimum"), raw.get("maximum")
        if low is not None and (value < low or (raw.get("exclusiveMinimum") and value == low)):
            word = "greater than" if raw.get("exclusiveMinimum") else "greater than or equal to"
            self._add(err.invalid_value(path, value, f"{path} in body should be {word} {low}"))
        if high is not None and (value > high or (raw.get("exclusiveMaximum") and value == high)):
            word = "less than" if raw.get("exclusiveMaximum") else "less than or equal to"
            self._add(err.invalid_value(path, value, f"{path} in body should be {word} {high}"))
        step = raw.get("multipleOf")
        if step and value % step:
            self._add(err.invalid_value(path, value, f"{path} in body should be a multiple of {step}"))

    def _list(self, node: Node, value: list[Any], path: str) -> None:
        raw = node.raw
        if "maxItems" in raw and len(value) > raw["maxItems"]:
            self._add(err.too_many(path, len(value), raw["maxItems"]))
        if "minItems" in raw and len(value) < raw["minItems"]:
            self._add(err.invalid_value(path, len(value), f"{path} in body should have at least {raw['minItems']} items"))
        seen: set[str] = set()
        for i, item in enumerate(value):
            if node.list_type in ("set", "map"):
                element = item_element(node, item) or ""
                if element in seen:
                    self._add(err.duplicate(f"{path}[{i}]", msgspec.json.decode(element[2:])))
                seen.add(element)
            if node.items is not None:
                self.check(node.items, item, f"{path}[{i}]")

    def _object(self, node: Node, value: JSON, path: str) -> None:
        raw = node.raw
        if "maxProperties" in raw and len(value) > raw["maxProperties"]:
            self._add(err.too_many(path, len(value), raw["maxProperties"]))
        if "minProperties" in raw and len(value) < raw["minProperties"]:
            self._add(err.invalid_value(path, len(value), f"{path} in body should have at least {raw['minProperties']} properties"))
        for name in node.required:
            if name not in value:
                self._add(err.required(f"{path}.{name}" if path else name))
        for key, below in value.items():
            if not path and key in _ROOT:
                continue
            child = node.props.get(key) or node.additional
            if child is not None:
                self.check(child, below, f"{path}.{key}" if path else key)

    def _combined(self, node: Node, value: Any, path: str) -> None:
        raw = node.raw
        for part in raw.get("allOf") or ():
            self.check(Node(part), value, path)
        for word, count in (("anyOf", 1), ("oneOf", 1)):
            parts = raw.get(word)
            if not parts or node.int_or_string:
                continue
            good = sum(_fits(part, value, path) for part in parts)
            if good < count or (word == "oneOf" and good != 1):
                rule = "at least one schema (anyOf)" if word == "anyOf" else "one and only one schema (oneOf)"
                self._add(err.invalid_value(path or "<nil>", "", f'"{path}" must validate {rule}'))
        if raw.get("not") and _fits(raw["not"], value, path):
            self._add(err.invalid_value(path or "<nil>", "", f'"{path}" must not validate the schema (not)'))


def _fits(schema: JSON, value: Any, path: str) -> bool:
    checker = Checker()
    checker.check(Node(schema), value, path)
    return not checker.errors


@functools.lru_cache(maxsize=1024)
def _pattern(text: str) -> Any:
    import re2  # type: ignore[import-untyped]

    return re2.compile(text)


def _date_time(text: str) -> bool:
    try:
        return "T" in text and dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


_FORMATS: dict[str, Callable[[str], bool]] = {"date-time": _date_time, "duration": lambda t: bool(_DURATION.match(t))}


def validate(node: Node, new: JSON, old: JSON | None) -> list[FieldError]:
    """What the schema and its rules say against the object; `old` for rules of transition."""
    checker = Checker()
    checker.check(node, new, "")
    ruled = has_rules(node)
    if any(e.reason in _BLOCKING for e in checker.errors):
        if ruled:
            checker.errors.append(FieldError("<nil>", "FieldValueInvalid", f"Invalid value: null: {_SKIPPED}"))
        return checker.errors
    return [*checker.errors, *(_rules(node, new, old, "") if ruled else [])]


_ruled: dict[int, tuple[Node, bool]] = {}


def has_rules(node: Node) -> bool:
    """Whether a node or anything below it has CEL rules; remembered for each node."""
    known = _ruled.get(id(node))
    if known is not None and known[0] is node:
        return known[1]
    below = [n for k, n in node.props.items() if not n.builtin] + [n for n in (node.items, node.additional) if n is not None]
    found = bool(node.raw.get("x-kubernetes-validations")) or any(map(has_rules, below))
    _ruled[id(node)] = (node, found)
    return found


def _rules(node: Node, new: Any, old: Any, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for rule in node.raw.get("x-kubernetes-validations") or ():
        error = _rule(node, rule, new, old, path)
        if error is not None:
            out.append(error)
    if isinstance(new, dict):
        for key, value in new.items():
            child = node.props.get(key) or node.additional
            if child is not None and not child.builtin and has_rules(child):
                before = old.get(key) if isinstance(old, dict) else None
                out += _rules(child, value, before, f"{path}.{key}" if path else key)
    elif isinstance(new, list) and node.items is not None and has_rules(node.items):
        before = _correlated(node, old)
        for i, item in enumerate(new):
            out += _rules(node.items, item, before.get(item_element(node, item) or ""), f"{path}[{i}]")
    return out


def _correlated(node: Node, old: Any) -> dict[str, Any]:
    """The items that were there before, by key; only keyed lists know which item is which."""
    if node.list_type != "map" or not isinstance(old, list):
        return {}
    return {item_element(node, item) or "": item for item in old}


def _rule(node: Node, rule: JSON, new: Any, old: Any, path: str) -> FieldError | None:
    where = path + rule.get("fieldPath", "") if path else rule.get("fieldPath", "").removeprefix(".")
    try:
        program = cel.compile_expression(rule["rule"])
        scope: dict[str, Any] = {"self": typed(node, new)}
        if program.uses("oldSelf"):
            if old is None:
                return None
            scope["oldSelf"] = typed(node, old)
        if program(scope) is True:
            return None
        message = _message(rule, scope)
    except cel.CelError as e:
        return err.invalid_value(where or "<nil>", _NAMES[type(new)], f"{e} evaluating rule: {rule.get('message') or rule['rule']}")
    return _rule_error(rule.get("reason", "FieldValueInvalid"), where, new, message)


def _message(rule: JSON, scope: dict[str, Any]) -> str:
    if rule.get("messageExpression"):
        try:
            said = cel.compile_expression(rule["messageExpression"])(scope)
        except cel.CelError:
            said = None
        if isinstance(said, str) and said.strip() and "\n" not in said:
            return said
    return str(rule.get("message") or f"failed rule: {rule['rule']}").strip()


def _rule_error(reason: str, path: str, value: Any, message: str) -> FieldError:
    field = path or "<nil>"
    if reason == "FieldValueForbidden":
        return err.field_forbidden(field, message)
    if reason == "FieldValueRequired":
        return err.required(field, message)
    if reason == "FieldValueDuplicate":
        return err.duplicate(field, _NAMES[type(value)])
    if isinstance(value, (dict, list)):
        return FieldError(field, reason, f"Invalid value: {message}")
    return err.invalid_value(field, value, message)


def typed(node: Node, value: Any) -> Any:
    """The value as CEL sees it: texts of the formats date-time and duration are times."""
    if not _timed(node):
        return value
    form = node.raw.get("format")
    if isinstance(value, str):
        return fn.timestamp(value) if form == "date-time" else fn.duration(value) if form == "duration" else value
    if isinstance(value, dict):
        return {k: typed(c, v) if (c := node.props.get(k) or node.additional) else v for k, v in value.items()}
    if isinstance(value, list) and node.items is not None:
        return [typed(node.items, v) for v in value]
    return value


_with_times: dict[int, tuple[Node, bool]] = {}


def _timed(node: Node) -> bool:
    known = _with_times.get(id(node))
    if known is not None and known[0] is node:
        return known[1]
    below = [n for n in node.props.values() if not n.builtin] + [n for n in (node.items, node.additional) if n is not None]
    found = node.raw.get("format") in ("date-time", "duration") or any(map(_timed, below))
    _with_times[id(node)] = (node, found)
    return found
