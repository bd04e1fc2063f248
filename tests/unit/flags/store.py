"""A ConfigMap in memory that behaves like the API server where the provider depends on it.

JSON Patch with `test`, a resource version per write, and owners per data key as Kubernetes tracks them.
"""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from flags.errors import Conflict, Missing
from flags.provider import ObjectRef

MANAGER = "linnet"


class MemoryStore:
    """One ConfigMap. `before_patch` lets a test write in between; `hang` keeps a call from returning."""

    kind = "ConfigMap"

    def __init__(self, data: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> None:
        self.version = 1
        self.calls: list[str] = []
        self.patches: list[list[Mapping[str, Any]]] = []
        self.before_patch: Callable[[], Awaitable[None]] | None = None
        self.hang = False
        self.object: dict[str, Any] = {"metadata": {"namespace": "shop", "name": "flags"}, "data": dict(data)}
        if annotations:
            self.object["metadata"]["annotations"] = dict(annotations)
        fields: dict[str, Any] = {"f:data": {".": {}, **{f"f:{key}": {} for key in data}}}
        self.object["metadata"]["managedFields"] = [_entry("kubectl", "Apply", "2026-01-01T00:00:00Z", fields)]

    @property
    def manager(self) -> str:
        return MANAGER

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        await self._call("get")
        if ref.name != "flags":
            raise Missing(f"{self.kind} {ref.namespace}/{ref.name} does not exist. Create it, or name another in the FlagSource.")
        return self._copy()

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        await self._call("patch")
        if self.before_patch is not None:
            hook, self.before_patch = self.before_patch, None
            await hook()
        target = self._copy()
        for operation in operations:
            _patch(target, operation)
        self.patches.append(list(operations))
        self._commit(target, MANAGER)
        return self._copy()

    def edit(self, key: str, text: str, who: str = "kubectl-edit") -> None:
        """A person writes a data key."""
        target = self._copy()
        target["data"][key] = text
        self._commit(target, who)

    def text(self, key: str = "flags.json") -> str:
        return str(self.object["data"][key])

    async def _call(self, verb: str) -> None:
        self.calls.append(verb)
        if self.hang:
            await asyncio.Event().wait()

    def _copy(self) -> dict[str, Any]:
        found = copy.deepcopy(self.object)
        found["metadata"]["resourceVersion"] = str(self.version)
        return found

    def _commit(self, target: dict[str, Any], who: str) -> None:
        before = self.object["data"]
        changed = [key for key, value in target["data"].items() if before.get(key) != value]
        managed = target["metadata"]["managedFields"]
        for entry in managed:
            for key in changed:
                entry["fieldsV1"].get("f:data", {}).pop(f"f:{key}", None)
        if changed:
            time = f"2026-01-01T00:{self.version:02d}:00Z"
            managed.append(_entry(who, "Update", time, {"f:data": {f"f:{key}": {} for key in changed}}))
        target["metadata"]["managedFields"] = [entry for entry in managed if set(entry["fieldsV1"].get("f:data", {})) - {"."}]
        self.version += 1
        target["metadata"].pop("resourceVersion", None)
        self.object = target


class ObjectStore(MemoryStore):
    """One FeatureFlag, with owners by who wrote the spec last."""

    kind = "FeatureFlag"

    def __init__(self, flag_spec: Mapping[str, Any]) -> None:
        super().__init__({})
        del self.object["data"]
        self.object["spec"] = {"flagSpec": dict(flag_spec)}
        self.object["metadata"]["managedFields"] = [_entry("kubectl", "Apply", "2026-01-01T00:00:00Z", {"f:spec": {"f:flagSpec": {}}})]

    def edit(self, key: str, text: str, who: str = "kubectl-edit") -> None:
        target = self._copy()
        target["spec"]["flagSpec"] = json.loads(text)
        self._commit(target, who)

    def text(self, key: str = "flags.json") -> str:
        return json.dumps(self.object["spec"]["flagSpec"])

    def _commit(self, target: dict[str, Any], who: str) -> None:
        if target["spec"] != self.object["spec"]:
            time = f"2026-01-01T00:{self.version:02d}:00Z"
            kept = [entry for entry in target["metadata"]["managedFields"] if entry["manager"] != who]
            target["metadata"]["managedFields"] = [*kept, _entry(who, "Update", time, {"f:spec": {"f:flagSpec": {}}})]
        self.version += 1
        target["metadata"].pop("resourceVersion", None)
        self.object = target


def _entry(manager: str, operation: str, time: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields}


def _patch(target: Any, operation: Mapping[str, Any]) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for part in parents:
        target = target[part]
    match operation["op"]:
        case "test" if target.get(last) != operation["value"]:
            raise Conflict("test failed")
        case "test":
            pass
        case "remove":
            del target[last]
        case "replace":
            assert last in target
            target[last] = operation["value"]
        case "add":
            target[last] = operation["value"]
        case other:
            raise AssertionError(other)
