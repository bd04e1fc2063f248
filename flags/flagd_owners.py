"""Give the ownership of what we wrote back to the managers that had it.

A JSON Patch makes us owner of the leaf it changes, and whoever applied the object before would meet a conflict at the next
server-side apply. Restoring the values is therefore only half of "as it was". The API server accepts managedFields only in a
patch of its own, so this comes after the values.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = ("manager", "operation", "apiVersion", "time", "fieldsType")
_SAME = ("manager", "operation", "apiVersion")
Fields = tuple[str, ...]


def subtree(entry: Mapping[str, Any], fields: Fields) -> dict[str, Any] | None:
    """What a managedFields entry owns at these fields; None for nothing."""
    found: Any = entry.get("fieldsV1") or {}
    for name in fields:
        found = found.get(name)
        if found is None:
            return None
    return dict(found)


def identity(entry: Mapping[str, Any], fields: Fields) -> dict[str, str]:
    """What names a managedFields entry, its time included so that it can be made again; `map` if it owns the map around the fields too,
    `owned` where it owns more than one leaf of them.
    """
    found = {name: str(entry[name]) for name in _NAMES if entry.get(name)}
    if owned := subtree(entry, fields):
        found["owned"] = json.dumps(owned)
    return {**found, "map": "yes"} if "." in (subtree(entry, fields[:-1]) or {}) else found


def give_back(found: Mapping[str, Any], fields: Fields, manager: str, owners: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The patch that makes `owners` owners of the fields instead of `manager`; empty when we do not own them alone."""
    metadata = found.get("metadata") or {}
    managed: list[dict[str, Any]] = copy.deepcopy(list(metadata.get("managedFields") or ()))
    ours = [entry for entry in managed if subtree(entry, fields) is not None and entry.get("manager") == manager]
    others = [entry for entry in managed if entry not in ours and not any(_same(entry, owner) for owner in owners)]
    taken = [entry for entry in others if _leaves(subtree(entry, fields))]
    if not ours or taken or any(owner.get("manager") == manager for owner in owners):
        return []
    for entry in ours:
        _forget(entry["fieldsV1"], fields)
    for owner in owners:
        same = [entry for entry in managed if _same(entry, owner)]
        entry = same[0] if same else {**{name: value for name, value in owner.items() if name in _NAMES}, "fieldsV1": {}}
        if not same:
            managed.append(entry)
        parent = entry.setdefault("fieldsV1", {})
        for name in fields[:-1]:
            parent = parent.setdefault(name, {})
        parent[fields[-1]] = json.loads(owner.get("owned", "{}"))
        if "map" in owner:
            # The server drops the map's mark with its last key.
            parent["."] = {}
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata.get("resourceVersion")},
        {"op": "replace", "path": "/metadata/managedFields", "value": [entry for entry in managed if entry.get("fieldsV1")]},
    ]


def _same(entry: Mapping[str, Any], owner: Mapping[str, str]) -> bool:
    return all(entry.get(name) == owner.get(name) for name in _SAME)


def _leaves(found: Mapping[str, Any] | None) -> bool:
    """Whether a value is owned and not only the map around values."""
    return found is not None and (not found or any(name != "." for name in found))


def _forget(tree: dict[str, Any], fields: Fields) -> None:
    """Takes the fields out, and what is empty without them."""
    name, *rest = fields
    if rest:
        _forget(tree[name], tuple(rest))
    if not rest or not tree[name]:
        tree.pop(name)
