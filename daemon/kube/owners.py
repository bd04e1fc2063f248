"""Giving ownership back: the second half of restoring a field (trap A0, seen on a real server).

A JSON Patch makes us the manager of the leaf it changes. Restoring the value leaves us its owner, and the user's next server-side
apply or Helm 4 upgrade then conflicts with us over a field we no longer care for. So `metadata.managedFields` is recorded before our
first write, and after the last restore it is written back, in a patch of its own with a `test` on resourceVersion: inside the
restoring patch it does not stick.

If nobody else wrote in between, what was recorded goes back verbatim. Otherwise only our own entry is taken out, and each leaf in it
returns to its recorded owner, under these rules:

- An owner that still has its entry unchanged since the recording gets its leaves back.
- An owner that spoke since then (its entry has another time) has said what it owns; nothing is added to its word.
- An owner whose entry is gone gets it back only if we took everything it had. If it had more than that, it left on its own.

A write that races ours fails the `test`; the object is then read again and the rules are applied again, a few times at most.
"""

import asyncio
import copy
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from daemon.kube import errors
from daemon.kube.backoff import Backoff
from daemon.kube.client import Client
from daemon.kube.objects import KubeObject, ObjectMeta, PartialObject, untyped
from daemon.kube.patch import at_version, pointer, replace
from daemon.kube.resources import Resource

Entry = dict[str, Any]
Fields = dict[str, Any]

_PATH = pointer("metadata", "managedFields")
_STRIP: list[Entry] = [{}]  # an empty list is ignored by the API server; one empty entry clears the owners
_BACKOFF = Backoff(first=0.1, limit=2.0)


def record(meta: ObjectMeta) -> str:
    """`managedFields` as compact JSON, to be kept (in status) before our first write into the object."""
    return msgspec.json.encode(untyped(meta.managed_fields) or []).decode()


async def give_back(
    client: Client,
    resource: Resource[Any],
    namespace: str | None,
    name: str,
    recorded: str,
    *,
    manager: str | None = None,
    written: KubeObject | None = None,
    attempts: int = 5,
    deadline: float = 10.0,
) -> bool:
    """Write the owners back after the last restore. True when something had to be written; False when we own nothing (any more).

    `written` is the answer to the restoring patch: the object need not be read again, and whoever reacts to that patch (a gateway
    that reports on a route) has less time to come between. Without it, and after a race, the object is read.
    NotFound and Forbidden pass through; PatchTestFailed after `attempts` races in a row, to be tried again by the caller's queue.
    """
    entries = parse(recorded)
    ours = manager or client.field_manager
    partial = resource.with_model(PartialObject)
    async with asyncio.timeout(deadline):
        for attempt in range(1, attempts + 1):
            known = written.metadata if written is not None and attempt == 1 else None
            live = known or (await client.get(partial, namespace, name)).metadata
            current: list[Entry] = untyped(live.managed_fields) or []
            wanted = settle(current, entries, ours)
            if wanted is None:
                return False
            try:
                await client.json_patch(partial, namespace, name, [at_version(live.resource_version), replace(_PATH, wanted or _STRIP)])
            except (errors.PatchTestFailed, errors.Conflict):
                if attempt == attempts:
                    raise
                await asyncio.sleep(_BACKOFF.delay(attempt, random.random))
            else:
                return True
    return False


def parse(recorded: str) -> list[Entry]:
    """The recorded entries; ValueError when the text is not what `record` wrote."""
    try:
        return msgspec.json.decode(recorded or "[]", type=list[Entry])
    except msgspec.DecodeError as e:
        raise ValueError(f"recorded managedFields are unreadable: {e}") from e


def has_manager(recorded: str, manager: str) -> bool:
    """Whether `manager` had written into the object when its owners were recorded."""
    return any(_is_ours(e, manager) for e in parse(recorded))


def written_since(meta: ObjectMeta, recorded: str, path: Sequence[str], manager: str) -> bool:
    """Whether somebody else than `manager` has set the leaf at `path` (names of fields) since its owners were recorded."""
    known = parse(recorded)
    live: list[Entry] = untyped(meta.managed_fields) or []
    return any(not _is_ours(e, manager) and not e.get("subresource") and owns(e, path) and not _among(e, known) for e in live)


def owns(entry: Entry, path: Sequence[str]) -> bool:
    """Whether an entry of `managedFields` has the field at `path` (names of fields), or something below it."""
    here = _fields(entry)
    for part in path:
        if f"f:{part}" not in here:
            return False
        here = here[f"f:{part}"]
    return True


def _among(entry: Entry, known: list[Entry]) -> bool:
    return any(_identity(k) == _identity(entry) and k.get("time") == entry.get("time") for k in known)


def settle(live: list[Entry], recorded: list[Entry], manager: str) -> list[Entry] | None:
    """The owners that should be: None when the object holds no entry of ours and nothing is to be done."""
    ours = [e for e in live if _is_ours(e, manager)]
    if not ours:
        return None
    before = [e for e in recorded if not _is_ours(e, manager)]
    taken: Fields = {}
    for entry in ours:
        taken = union(taken, _fields(entry))
    kept = [copy.deepcopy(e) for e in live if not _is_ours(e, manager)]
    for entry in before:
        _return_leaves(kept, entry, taken)
    return before if _same(kept, before) else kept


def _return_leaves(kept: list[Entry], entry: Entry, taken: Fields) -> None:
    leaves = intersection(_fields(entry), taken)
    if not leaves:
        return
    leaves = _with_nodes(leaves, _fields(entry))
    current = next((e for e in kept if _identity(e) == _identity(entry)), None)
    if current is not None:
        if current.get("time") == entry.get("time"):
            current["fieldsV1"] = union(_fields(current), leaves)
    elif leaves == _fields(entry):
        kept.append(copy.deepcopy(entry))


def _with_nodes(leaves: Fields, recorded: Fields) -> Fields:
    """The leaves with the marks of the nodes above them: where no schema says otherwise, an owner loses these with its leaf."""
    marked = {part: _with_nodes(below, recorded[part]) for part, below in leaves.items()}
    return {".": {}, **marked} if leaves and "." in recorded else marked


def _is_ours(entry: Entry, manager: str) -> bool:
    """Entries of subresources (status, scale) stay: what we own there is meant to be ours."""
    return entry.get("manager") == manager and not entry.get("subresource")


def _identity(entry: Entry) -> tuple[Any, ...]:
    return (entry.get("manager"), entry.get("operation"), entry.get("apiVersion"), entry.get("subresource") or "")


def _same(a: list[Entry], b: list[Entry]) -> bool:
    def key(entries: list[Entry]) -> dict[tuple[Any, ...], Entry]:
        return {_identity(e): e for e in entries}

    return len(a) == len(b) and key(a) == key(b)


def _fields(entry: Entry) -> Fields:
    fields = entry.get("fieldsV1")
    return fields if isinstance(fields, dict) else {}


def union(a: Fields, b: Fields) -> Fields:
    """All that either set owns. In FieldsV1 a key is a path part; an empty map is a leaf, and "." the node itself."""
    result = dict(a)
    for part, below in b.items():
        result[part] = union(result[part], below) if part in result else below
    return result


def intersection(a: Fields, b: Fields) -> Fields:
    """What both sets own."""
    result: Fields = {}
    for part in a.keys() & b.keys():
        below = intersection(a[part], b[part])
        if below or not a[part] or not b[part]:
            result[part] = below
    return {part: result[part] for part in a if part in result}
