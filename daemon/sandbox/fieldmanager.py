"""Why: `managedFields` decides who may change what; users meet it as conflicts, and the daemon must give ownership back.

Every write of the sandbox passes here: `track` after an ordinary write, `apply` for a server-side apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from daemon.sandbox import fieldsets as fs
from daemon.sandbox.errors import JSON, ApiError
from daemon.sandbox.fieldsets import ABSENT, Path, PathSet
from daemon.sandbox.schema import Node

_STRIP: PathSet = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{n}")
        for n in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    }
)
BEFORE_FIRST_APPLY = "before-first-apply"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, kw_only=True)
class ManagerKey:
    """What tells one entry of managedFields from another; an applier is the same one at every version."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    paths: PathSet
    time: str
    api_version: str


Managed = dict[ManagerKey, Entry]


def decode(entries: Sequence[JSON] | None) -> Managed:
    """The managers of an object; two entries of one manager become one."""
    out: Managed = {}
    for e in entries or ():
        key = ManagerKey(
            manager=e.get("manager") or "unknown",
            operation=e.get("operation", ""),
            api_version="" if e.get("operation") == "Apply" else e.get("apiVersion", ""),
            subresource=e.get("subresource", ""),
        )
        paths = fs.decode(e.get("fieldsV1") or {})
        old = out.get(key)
        out[key] = Entry(paths=paths | old.paths if old else paths, time=e.get("time", ""), api_version=e.get("apiVersion", ""))
    return out


def encode(managed: Managed) -> list[JSON]:
    """The wire form: appliers first, then by time and name."""
    out = []
    for key, entry in sorted(managed.items(), key=lambda i: (i[0].operation, i[1].time, i[0].manager, i[0].api_version, i[0].subresource)):
        one: JSON = {"manager": key.manager, "operation": key.operation, "apiVersion": entry.api_version}
        if entry.time:
            one["time"] = entry.time
        one |= {"fieldsType": "FieldsV1", "fieldsV1": fs.encode(entry.paths)}
        if key.subresource:
            one["subresource"] = key.subresource
        out.append(one)
    return out


def _well_formed(entries: Any) -> bool:
    return isinstance(entries, list) and all(
        isinstance(e, dict) and e.get("operation") in ("Apply", "Update") and e.get("fieldsType", "FieldsV1") == "FieldsV1" for e in entries
    )


def _is_reset(entries: Any) -> bool:
    """An empty list, or one single empty entry, forgets all managers; no list at all does not."""
    return isinstance(entries, list) and (not entries or (len(entries) == 1 and entries[0] == {}))


def _starting_point(live: JSON, new: JSON, subresource: str) -> Managed:
    """The managers to start from: what the writer wrote, where that makes sense, else the live ones."""
    before = (live.get("metadata") or {}).get("managedFields")
    if subresource:
        return decode(before)
    wanted = (new.get("metadata") or {}).get("managedFields")
    if _is_reset(wanted):
        return {}
    if not wanted or not _well_formed(wanted):
        return decode(before)
    return decode(wanted)


def _bare(obj: JSON) -> JSON:
    return {**obj, "metadata": {k: v for k, v in (obj.get("metadata") or {}).items() if k != "managedFields"}}


def _drop(managed: Managed, paths: set[Path], *, but: ManagerKey | None = None) -> Managed:
    out = {k: e if k == but else replace(e, paths=e.paths - paths) for k, e in managed.items()}
    return {k: e for k, e in out.items() if e.paths}


@dataclass(frozen=True, kw_only=True)
class Write:
    """Who writes what, at which version and through which subresource; `reset` names what that endpoint ignores."""

    node: Node
    manager: str
    api_version: str
    subresource: str
    reset: frozenset[Path]
    now: str


def track(live: JSON | None, new: JSON, write: Write) -> list[JSON]:
    """The managedFields after an ordinary write of `new` over `live`."""
    old = live or {}
    managed = _starting_point(old, new, write.subresource)
    if not managed and live is not None:
        return []  # not tracked any more, until somebody applies
    key = ManagerKey(manager=write.manager, operation="Update", api_version=write.api_version, subresource=write.subresource)
    base = _bare(old) if live else {"apiVersion": new.get("apiVersion"), "kind": new.get("kind"), "metadata": {}}
    diff = fs.compare(write.node, base, _bare(new)).without(write.reset)
    changed = diff.added | diff.modified
    before = managed.get(key)
    out = _drop(managed, changed | diff.removed)
    taken = frozenset(fs.exclude(changed, write.reset)) - _STRIP
    if taken:
        kept = before.paths - diff.removed if before else frozenset()
        out[key] = Entry(paths=taken | kept, time=write.now, api_version=write.api_version)
    return encode(out)


def apply(live: JSON | None, config: JSON, write: Write, *, force: bool) -> JSON:
    """The object after a server-side apply; 409 names each field that another manager owns and this one would change."""
    if (config.get("metadata") or {}).get("managedFields"):
        raise ApiError(400, "BadRequest", "metadata.managedFields must be nil")
    base = _bare(live) if live else {"apiVersion": config.get("apiVersion"), "kind": config.get("kind"), "metadata": {}}
    managed = decode((live or {}).get("metadata", {}).get("managedFields"))
    key = ManagerKey(manager=write.manager, operation="Apply", api_version="", subresource=write.subresource)
    if live is not None and not managed:
        managed[ManagerKey(manager=BEFORE_FIRST_APPLY, operation="Update", api_version=write.api_version)] = Entry(
            paths=frozenset(fs.compare(write.node, {}, base).without(write.reset).added - _STRIP),
            time=write.now,
            api_version=write.api_version,
        )
    last = managed.get(key)
    wanted = _without(write.node, _bare(config), write.reset)
    paths = frozenset(fs.exclude(fs.of(write.node, wanted), write.reset)) - _STRIP
    merged = fs.merge(write.node, base, wanted)
    managed[key] = Entry(paths=paths, time=write.now, api_version=write.api_version)
    if last is not None:
        merged = _prune(write.node, merged, managed, last.paths)
    managed = _settle(write, base, merged, managed, key, force=force)
    if key in managed and last is not None and last.paths == managed[key].paths and merged == base:
        managed[key] = replace(managed[key], time=last.time)
    merged["metadata"] = {**merged.get("metadata", {}), "managedFields": encode(managed)}
    return dict(merged)


def _without(node: Node, config: JSON, prefixes: frozenset[Path]) -> JSON:
    """What an endpoint ignores is not merged either: the spec in an apply to /status, and the other way round."""
    left = fs.remove(node, config, frozenset(p for p in prefixes if len(p) == 1))
    return left if isinstance(left, dict) else {}


def _settle(write: Write, base: JSON, merged: JSON, managed: Managed, key: ManagerKey, *, force: bool) -> Managed:
    diff = fs.compare(write.node, base, merged).without(write.reset)
    changed = diff.added | diff.modified
    conflicts = {k: sorted(e.paths & changed) for k, e in managed.items() if k != key and e.paths & changed}
    if conflicts and not force:
        raise _conflict(conflicts)
    return _drop(managed, changed | diff.removed, but=key)


def _prune(node: Node, merged: JSON, managed: Managed, last: PathSet) -> JSON:
    """Take away what this manager applied last time and nobody applies or owns now."""

    def named(paths: PathSet) -> PathSet:
        return fs.with_named_fields(node, paths)

    pruned = fs.remove(node, merged, named(last))
    everything = named(fs.of(node, merged))
    owned = named(frozenset().union(*(e.paths for e in managed.values())))
    left = named(fs.of(node, {} if pruned is ABSENT else pruned))
    pruned = fs.remove(node, merged, everything - (left | owned))
    left = named(fs.of(node, {} if pruned is ABSENT else pruned))
    out = fs.remove(node, merged, (everything - left) & named(last))
    return {} if out is ABSENT else dict(out)


def _named(key: ManagerKey) -> str:
    sub = f' with subresource "{key.subresource}"' if key.subresource else ""
    using = f" using {key.api_version}" if key.operation == "Update" else ""
    return f'"{key.manager}"{sub}{using}'


def _conflict(conflicts: dict[ManagerKey, list[Path]]) -> ApiError:
    ordered = sorted(conflicts.items(), key=lambda i: (i[0].manager, i[0].operation))
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_named(k)}", "field": fs.as_text(p)}
        for k, paths in ordered
        for p in paths
    ]
    if len(causes) == 1:
        text = f"1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = [line for k, paths in ordered for line in (f"conflicts with {_named(k)}:", *(f"- {fs.as_text(p)}" for p in paths))]
        text = f"{len(causes)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", f"Apply failed with {text}", {"causes": causes})
