"""Why: who owns which field is a question about sets of paths; this module makes, compares, merges and prunes by such sets.

A path is a tuple of elements in their wire form: `f:name`, `k:{"name":"app"}`, `v:"x"`, so that encoding is only a matter of nesting.
A path that is a member may be a prefix of another; on the wire that is the `.` key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from daemon.sandbox.errors import JSON, bad_request
from daemon.sandbox.schema import Node

Path = tuple[str, ...]
PathSet = frozenset[Path]

UNTYPED = Node({})


class Absent:
    """The type of a side that has no value, which differs from null."""


ABSENT = Absent()
_json = msgspec.json.Encoder(order="sorted").encode


def encode(paths: PathSet) -> JSON:
    """The FieldsV1 form of a set."""
    members: JSON = {}
    for path in sorted(paths):
        at = members
        for element in path:
            at = at.setdefault(element, {})
        at["."] = {}
    return {k: _tidy(v) for k, v in members.items()}


def _tidy(tree: JSON) -> JSON:
    return {} if list(tree) == ["."] else {k: _tidy(v) for k, v in tree.items()}


def decode(fields: JSON) -> PathSet:
    """The set behind a FieldsV1 form."""
    found: set[Path] = set()

    def walk(tree: JSON, path: Path) -> None:
        if path and (not tree or "." in tree):
            found.add(path)
        for element, below in tree.items():
            if element != ".":
                if element[:2] not in ("f:", "k:", "v:", "i:") or not isinstance(below, dict):
                    raise bad_request(f"error decoding managedFields: {element!r} is not a path element; write f:, k:, v: or i:")
                walk(below, (*path, element))

    walk(fields, ())
    return frozenset(found)


def item_element(node: Node, item: Any) -> str | None:
    """The path element of an item of a set or keyed list; None when it has no key."""
    if node.list_type == "set":
        return "v:" + _json(item).decode()
    if not isinstance(item, dict):
        return None
    key: JSON = {}
    for name in node.list_keys:
        value = item.get(name)
        if value is None and node.items is not None:
            value = node.items.key_default(name)
        if value is not None:
            key[name] = value
    return "k:" + _json(key).decode() if key else None


def is_leaf(node: Node, value: Any) -> bool:
    """Whether the value is owned as a whole."""
    if isinstance(value, dict):
        opaque = node.builtin and node.type == "object" and not node.props and node.additional is None
        return opaque or node.raw.get("x-kubernetes-map-type") == "atomic"
    if isinstance(value, list):
        return node.type != "array" or node.list_type == "atomic"
    return True


def child_node(node: Node, name: str) -> Node:
    """The type of one field of a struct or one value of a map."""
    return node.props.get(name) or node.additional or UNTYPED


def _children(node: Node, value: Any) -> dict[str, tuple[Node, Any]]:
    """The parts of a struct, map or keyed list by path element; a repeated item counts once, the first wins."""
    if isinstance(value, dict):
        return {f"f:{k}": (child_node(node, k), v) for k, v in value.items()}
    if isinstance(value, list):
        found: dict[str, tuple[Node, Any]] = {}
        for item in value:
            element = item_element(node, item)
            if element is not None and element not in found:
                found[element] = (node.items or UNTYPED, item)
        return found
    return {}


def of(node: Node, value: Any) -> PathSet:
    """The paths that somebody who applies this value names."""
    found: set[Path] = set()

    def walk(node: Node, value: Any, path: Path) -> None:
        if is_leaf(node, value):
            found.add(path)
            return
        for element, (child, below) in _children(node, value).items():
            here = (*path, element)
            walk(child, below, here)
            if element[0] in "kv" or below is None or below == {} or (isinstance(value, dict) and element[2:] not in node.props):
                found.add(here)

    walk(node, value, ())
    return frozenset(found - {()})


@dataclass(kw_only=True)
class Comparison:
    """What differs between two values, by path."""

    added: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)

    def without(self, prefixes: frozenset[Path]) -> Comparison:
        """The same with everything below the prefixes left out."""
        return Comparison(
            added=exclude(self.added, prefixes), removed=exclude(self.removed, prefixes), modified=exclude(self.modified, prefixes)
        )


def exclude(paths: set[Path] | PathSet, prefixes: frozenset[Path]) -> set[Path]:
    """The paths that lie under none of the prefixes."""
    return {p for p in paths if not any(p[:n] in prefixes for n in range(1, len(p) + 1))}


def compare(node: Node, lhs: Any, rhs: Any) -> Comparison:
    """What rhs adds, removes and modifies."""
    out = Comparison()
    _compare(node, lhs, rhs, (), out)
    return out


def _empty(value: Any) -> bool:
    return value is ABSENT or value is None or value in ({}, [])


def _compare(node: Node, lhs: Any, rhs: Any, path: Path, out: Comparison) -> None:
    shapes = {type(v) for v in (lhs, rhs) if v is not ABSENT and v is not None}
    whole = any(is_leaf(node, v) for v in (lhs, rhs) if v is not ABSENT and v is not None)
    if (_empty(lhs) and _empty(rhs)) or whole or len(shapes) != 1:
        if lhs is ABSENT:
            out.added.add(path)
        elif rhs is ABSENT:
            out.removed.add(path)
        elif lhs != rhs:
            out.modified.add(path)
        return
    left, right = _children(node, lhs), _children(node, rhs)
    for element in left | right:
        child = (right.get(element) or left[element])[0]
        missing = _when_missing(node, child, element)
        one = left[element][1] if element in left else ABSENT if lhs is ABSENT else missing
        other = right[element][1] if element in right else ABSENT if rhs is ABSENT else missing
        _compare(child, one, other, (*path, element), out)
    if path and lhs is ABSENT:
        out.added.add(path)
    elif path and rhs is ABSENT:
        out.removed.add(path)


def _when_missing(node: Node, child: Node, element: str) -> Any:
    """What a typed server holds in a struct's field that was never set: an empty struct, a null list, or nothing."""
    if not node.builtin or element[0] != "f":
        return ABSENT
    if child.always_there:
        return {}
    return None if child.type == "array" and element[2:] in node.required else ABSENT


def merge(node: Node, live: Any, config: Any) -> Any:
    """The live value with the applied one laid over it."""
    if live is ABSENT:
        return config
    if config is ABSENT:
        return live
    if type(live) is not type(config) or is_leaf(node, config) or is_leaf(node, live):
        return config
    if isinstance(config, dict):
        out = dict(live)
        for key, value in config.items():
            out[key] = merge(child_node(node, key), live.get(key, ABSENT), value)
        return out
    return _merge_list(node, live, config)


def _merge_list(node: Node, live: list[Any], config: list[Any]) -> list[Any]:
    """Items by key: the order of the applied list, with the items only the live one has kept at their places."""
    wanted = {item_element(node, i): i for i in config}
    have = {item_element(node, i): i for i in live}
    out: list[Any] = []
    order = [e for e in wanted if e in have]
    done: set[str | None] = set()
    pending = list(wanted)
    for element, item in have.items():
        if element not in wanted:
            out.append(item)
            continue
        if not order or element in done:
            continue
        stop = order.pop(0)
        while pending:
            e = pending.pop(0)
            out.append(merge(node.items or UNTYPED, have.get(e, ABSENT), wanted[e]))
            done.add(e)
            if e == stop:
                break
    out.extend(merge(node.items or UNTYPED, have.get(e, ABSENT), wanted[e]) for e in pending)
    return out


def remove(node: Node, value: Any, paths: PathSet) -> Any:
    """The value without the parts at those paths; a container that loses its last part goes too."""
    tree: dict[str, Any] = {}
    for path in paths:
        at = tree
        for element in path:
            at = at.setdefault(element, {})
        at["."] = {}
    return _remove(node, value, tree)


def _remove(node: Node, value: Any, tree: dict[str, Any]) -> Any:
    if is_leaf(node, value) or not value or not tree:
        return value
    if isinstance(value, dict):
        kept: JSON = {}
        for key, below in value.items():
            sub = tree.get(f"f:{key}")
            if sub is None:
                kept[key] = below
            elif "." not in sub:
                left = _remove(child_node(node, key), below, sub)
                if left is not ABSENT:
                    kept[key] = left
        return kept or ABSENT
    items: list[Any] = []
    for item in value:
        sub = tree.get(item_element(node, item) or "")
        if sub is None:
            items.append(item)
        elif "." not in sub:
            left = _remove(node.items or UNTYPED, item, sub)
            items.append({} if left is ABSENT else left)
    return items or ABSENT


def with_named_fields(node: Node, paths: PathSet) -> PathSet:
    """The set with each struct field that holds a member counted as a member itself."""
    found = set(paths)
    for path in paths:
        at = node
        for i, element in enumerate(path[:-1]):
            if element[0] == "f":
                if element[2:] in at.props:
                    found.add(path[: i + 1])
                at = child_node(at, element[2:])
            else:
                at = at.items or UNTYPED
    return frozenset(found)


def as_text(path: Path) -> str:
    """`.spec.template.spec.containers[name="app"].image`, as conflicts name a field."""
    return "".join(_element_text(e) for e in path)


def _element_text(element: str) -> str:
    if element[0] == "f":
        return f".{element[2:]}"
    if element[0] == "k":
        keys = msgspec.json.decode(element[2:])
        return "[" + ",".join(f"{k}={_json(v).decode()}" for k, v in keys.items()) + "]"
    return f"[{'=' if element[0] == 'v' else ''}{element[2:]}]"
