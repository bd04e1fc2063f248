"""Why: `kubectl apply`, `set image`, `annotate` and Helm send strategic merge patches, which merge lists by the type's keys."""

from __future__ import annotations

from typing import Any

from daemon.sandbox.errors import JSON, bad_request
from daemon.sandbox.fieldsets import UNTYPED, child_node
from daemon.sandbox.patching import clone
from daemon.sandbox.schema import Node

_ORDER = "$setElementOrder/"
_DELETE_LIST = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"
_DIRECTIVE = "$patch"


def strategic_merge(node: Node, doc: JSON, patch: Any) -> JSON:
    """The document after the patch; `doc` is left as it is."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch is an object")
    out = _merge_object(node, doc, patch)
    return out if isinstance(out, dict) else {}


def _merge_object(node: Node, doc: Any, patch: JSON) -> Any:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return _plain({k: v for k, v in patch.items() if k != _DIRECTIVE})
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f'Unknown value for "$patch": {directive!r}: use replace, merge or delete')
    out = dict(doc) if isinstance(doc, dict) else {}
    if _RETAIN in patch:
        out = {k: v for k, v in out.items() if k in set(patch[_RETAIN])}
    for key, value in patch.items():
        if key.startswith(_DELETE_LIST):
            name = key.removeprefix(_DELETE_LIST)
            out[name] = [v for v in out.get(name) or [] if v not in value]
        elif key in (_DIRECTIVE, _RETAIN) or key.startswith(_ORDER):
            continue
        else:
            _merge_field(child_node(node, key), out, key, value)
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and isinstance(out.get(name), list):
            out[name] = _ordered(child_node(node, name), out[name], order)
    return out


def _merge_field(node: Node, out: JSON, key: str, value: Any) -> None:
    if value is None:
        out.pop(key, None)
    elif isinstance(value, dict):
        out[key] = _merge_object(node, out.get(key), value)
    elif isinstance(value, list) and "merge" in node.patch_strategy:
        out[key] = _merge_list(node, out.get(key) or [], value)
    else:
        out[key] = _plain(value)


def _plain(value: Any) -> Any:
    """A value to be taken whole, without directives and nulls."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    if isinstance(value, list):
        return [_plain(v) for v in value if not (isinstance(v, dict) and v.get(_DIRECTIVE) in ("delete", "replace"))]
    return value


def _merge_list(node: Node, live: list[Any], patch: list[Any]) -> list[Any]:
    key = node.merge_key
    if not key:  # a list of scalars that merges as a set
        return [*live, *(v for v in patch if v not in live)]
    if any(isinstance(p, dict) and p.get(_DIRECTIVE) == "replace" and len(p) == 1 for p in patch):
        return [_plain(p) for p in patch if p.get(_DIRECTIVE) != "replace"]
    out = [clone(item) for item in live]
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item!r} does not contain declared merge key: {key}")
        at = next((i for i, have in enumerate(out) if have.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            out = [have for have in out if have.get(key) != item[key]]
        elif at is None:
            out.append(_plain(item))
        else:
            out[at] = _merge_object(node.items or UNTYPED, out[at], item)
    return out


def _ordered(node: Node, items: list[Any], order: list[Any]) -> list[Any]:
    """The items in the wanted order; those it does not name keep their place relative to the one before them."""
    key = node.merge_key
    wanted = [o.get(key) if isinstance(o, dict) else o for o in order]
    rank = {v: n for n, v in enumerate(wanted) if isinstance(v, (str, int))}

    def name(item: Any) -> Any:
        return item.get(key) if key else item

    named = sorted((i for i in items if name(i) in rank), key=lambda i: rank[name(i)])
    queue = iter(named)
    return [next(queue) if name(i) in rank else i for i in items]
