"""Why: a real server decodes built-in kinds into typed structs; what survives that, and in which form, is observable.

`conform` gives untyped JSON the same treatment: unknown fields are dropped (and named), wrong types refused, empty optional fields left
out, embedded structs filled in, quantities written canonically.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from daemon.sandbox import quantity
from daemon.sandbox.errors import bad_request
from daemon.sandbox.schema import Node

DROP = object()
_GO = {"integer": "int32", "boolean": "bool", "string": "string", "number": "float64"}
_ZERO = {"integer": 0, "boolean": False, "string": "", "number": 0}


class Decoder:
    """One decoding; `unknown` collects the strict errors in the words of the server."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def decode(self, node: Node, value: Any, path: str = "") -> Any:
        """The value as a typed server would print it; DROP when it would not print it at all."""
        if value is None:
            return DROP
        if node.is_untyped or node.preserves_unknown:
            return self._special(node, value, path)
        if node.int_or_string:
            return self._int_or_string(value, path)
        kind = node.type
        if kind == "object" or node.props:
            return self._object(node, value, path)
        if kind == "array":
            return self._array(node, value, path)
        return self._scalar(node, value, path)

    def _special(self, node: Node, value: Any, path: str) -> Any:
        if node.raw.get("format") != "quantity":
            return value
        form = quantity.canonical(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
        if form is None:
            raise bad_request(
                f"unable to parse quantity's suffix at {path}: quantities must match the regular expression "
                f"'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$', got {value!r}"
            )
        return form

    def _int_or_string(self, value: Any, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise _wrong_type(value, path, "intstr.IntOrString")
        return value

    def _object(self, node: Node, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "struct" if node.props else "map")
        if node.additional is not None:
            out = {k: (v if d is DROP else d) for k, v in value.items() for d in (self.decode(node.additional, v, f"{path}.{k}"),)}
            zero = _ZERO.get(node.additional.type)
            return {k: zero if v is None else v for k, v in out.items()}
        out = {}
        for key, below in value.items():
            child = node.props.get(key)
            if child is None:
                if not node.props:
                    out[key] = below
                else:
                    self.unknown.append(f'unknown field "{path.removeprefix(".")}{"." if path else ""}{key}"')
                continue
            decoded = self.decode(child, below, f"{path}.{key}")
            if decoded is not DROP and not _omitted(node, key, child, decoded):
                out[key] = decoded
        _fill(node, out)
        return out

    def _array(self, node: Node, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise _wrong_type(value, path, "[]")
        items = node.items
        if items is None:
            return value
        decoded = [self.decode(items, v, f"{path}[{i}]") for i, v in enumerate(value)]
        return [_ZERO.get(items.type, {}) if v is DROP else v for v in decoded]

    def _scalar(self, node: Node, value: Any, path: str) -> Any:
        kind = node.type
        if kind == "string":
            if not isinstance(value, str):
                raise _wrong_type(value, path, "string")
            if node.raw.get("format") == "byte":
                _check_base64(value, path)
        elif kind == "boolean":
            if not isinstance(value, bool):
                raise _wrong_type(value, path, "bool")
        elif kind == "integer":
            if isinstance(value, float) and value.is_integer():
                return int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                raise _wrong_type(value, path, str(node.raw.get("format", "int32")))
        elif kind == "number" and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise _wrong_type(value, path, "float64")
        return value


def _check_base64(value: str, path: str) -> None:
    try:
        b64decode(value.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"illegal base64 data at input byte 0 in {path.removeprefix('.')}") from None


def _wrong_type(value: Any, path: str, wanted: str) -> Exception:
    names = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
    return bad_request(
        f"json: cannot unmarshal {names.get(type(value), 'null')} into Go struct field {path.removeprefix('.')} of type {wanted}"
    )


def _omitted(node: Node, key: str, child: Node, value: Any) -> bool:
    if key in node.required:
        return False
    if child.omit_zero:
        return value in (0, "", False) and not isinstance(value, (dict, list))
    return value in ([], {}) and (child.type == "array" or child.is_map)


def _fill(node: Node, out: dict[str, Any]) -> None:
    """What a struct prints even where nobody set it."""
    for key, child in node.props.items():
        if key in out:
            continue
        if child.always_there:
            out[key] = {}
            _fill(child, out[key])
        elif key in node.required and child.type in _ZERO and "default" in child.raw:
            out[key] = child.raw["default"]
