"""JSON Patch and merge patch, built and read.

JSON Patch is how we write one leaf inside an object that belongs to somebody else: `test` what the decision was based on, then
change the leaf. Pointers are built from parts, so that an annotation such as `linnet.dev/held` is escaped in one place. The merge
diff serves status: it sends what differs, and a null for what has to go.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

Op = Literal["test", "add", "replace", "remove"]
Part = str | int


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a JSON Patch. `value` is JSON: plain values, structs, or `msgspec.Raw` for bytes kept as they came."""

    op: Op
    path: str
    value: Any = None


def pointer(*parts: Part) -> str:
    """A JSON pointer (RFC 6901): `pointer("metadata", "annotations", "linnet.dev/held")`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def parts_of(path: str) -> tuple[str, ...]:
    """The parts of a pointer, unescaped."""
    if path == "":
        return ()
    if not path.startswith("/"):
        raise ValueError(f"JSON pointer {path!r} must be empty or start with a slash")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/"))


def test(path: str, value: Any) -> Operation:
    return Operation(op="test", path=path, value=value)


def add(path: str, value: Any) -> Operation:
    """Adds, or replaces what is there; at the end of a list with `-`."""
    return Operation(op="add", path=path, value=value)


def replace(path: str, value: Any) -> Operation:
    return Operation(op="replace", path=path, value=value)


def remove(path: str) -> Operation:
    return Operation(op="remove", path=path)


def at_version(resource_version: str) -> Operation:
    """Refuse the patch unless the object is still the one that was read."""
    return test(pointer("metadata", "resourceVersion"), resource_version)


def encode_operations(operations: Sequence[Operation]) -> bytes:
    if not operations:
        raise ValueError("a JSON Patch needs at least one operation")
    return msgspec.json.encode(
        [{"op": o.op, "path": o.path} if o.op == "remove" else {"op": o.op, "path": o.path, "value": o.value} for o in operations]
    )


_MISSING: Any = object()


def lookup(document: Any, path: str, default: Any = _MISSING) -> Any:
    """The value at a pointer in plain JSON; KeyError naming the pointer (or the default) where there is none."""
    here = document
    for part in parts_of(path):
        here = _child(here, part)
        if here is _MISSING:
            if default is _MISSING:
                raise KeyError(path)
            return default
    return here


def exists(document: Any, path: str) -> bool:
    """Whether the pointer leads somewhere, be it to a null."""
    nowhere = object()
    return lookup(document, path, nowhere) is not nowhere


def _child(here: Any, part: str) -> Any:
    if isinstance(here, Mapping):
        return here.get(part, _MISSING)
    if isinstance(here, list) and part.isdigit() and int(part) < len(here) and str(int(part)) == part:
        return here[int(part)]
    return _MISSING


def merge_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The RFC 7386 patch that turns `old` into `new`; empty when nothing differs. Neither may hold a null, which a merge cannot write."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key, _MISSING)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            below = merge_diff(before, value)
            if below:
                patch[key] = below
        elif before is _MISSING or not same(before, value):
            patch[key] = value
    return patch


def same(a: Any, b: Any) -> bool:
    """Equal as JSON. Python takes true for 1; and the API server writes 1.0 back as 1, which must not look like a change."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def merge_apply(document: Any, patch: Any) -> Any:
    """What a server makes of a merge patch; for previews and tests."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_apply(result.get(key), value)
    return result
