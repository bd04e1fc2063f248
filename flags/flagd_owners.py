"""Give the ownership of a data key back to the managers that had it.

A JSON Patch makes us owner of the leaf it changes, and whoever applied the file before would meet a conflict at the next
server-side apply. Restoring the bytes is therefore only half of "as it was". The API server accepts managedFields only in a
patch of its own, so this comes after the data.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

_SAME = ("manager", "operation", "apiVersion")


def give_back(configmap: Mapping[str, Any], data_key: str, manager: str, owners: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The patch that makes `owners` owners of the key instead of `manager`; empty when we do not own it alone."""
    metadata = configmap.get("metadata") or {}
    managed: list[dict[str, Any]] = copy.deepcopy(list(metadata.get("managedFields") or ()))
    leaf = f"f:{data_key}"
    holders = [entry for entry in managed if leaf in _data(entry)]
    if not holders or any(entry.get("manager") != manager for entry in holders):
        return []
    if any(owner.get("manager") == manager for owner in owners):
        return []
    for entry in holders:
        _forget(entry, leaf)
    for owner in owners:
        same = [entry for entry in managed if all(entry.get(name) == owner.get(name) for name in _SAME)]
        entry = same[0] if same else {**{name: value for name, value in owner.items() if name != "map"}, "fieldsV1": {}}
        if not same:
            managed.append(entry)
        data = entry.setdefault("fieldsV1", {}).setdefault("f:data", {})
        data[leaf] = {}
        if "map" in owner:
            # The server drops the map's mark with its last key.
            data["."] = {}
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata.get("resourceVersion")},
        {"op": "replace", "path": "/metadata/managedFields", "value": [entry for entry in managed if entry.get("fieldsV1")]},
    ]


def _data(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return (entry.get("fieldsV1") or {}).get("f:data") or {}


def _forget(entry: dict[str, Any], leaf: str) -> None:
    fields = entry["fieldsV1"]
    fields["f:data"].pop(leaf)
    if not fields["f:data"]:
        fields.pop("f:data")
