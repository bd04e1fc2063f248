"""The garbage collector: what belongs to nobody any more goes, in the three ways a deletion may ask for.

Background: dependents go after their owner. Foreground: an owner with the finalizer `foregroundDeletion` waits for dependents that
block it. Orphan: dependents lose the reference and stay. Deleting an owner under traffic kills its pods, in the sandbox too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from daemon.sandbox.controllers.access import Access
from daemon.sandbox.controllers.objects import Object, meta, name_of, namespace_of, terminating, uid_of
from daemon.sandbox.controllers.runtime import Key

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(frozen=True, kw_only=True)
class _Node:
    """Where an object is, whose it is, and whether it is being deleted in the foreground."""

    resource: str
    namespace: str
    name: str
    owners: frozenset[str]
    waits: bool


class GarbageCollector:
    """Keys are ("dependent", uid) and ("owner", uid)."""

    name = "generic-garbage-collector"

    def __init__(self, access: Access, resources: Callable[[], Iterable[str]]) -> None:
        self._api = access
        self._resources = resources
        self._nodes: dict[str, _Node] = {}
        self._dependents: dict[str, set[str]] = {}

    def start(self) -> Iterable[Key]:
        found: list[Key] = []
        for resource in self._resources():
            for obj in self._api.list(resource):
                found += self.keys("ADDED", resource, obj)
        return found

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        uid = uid_of(obj)
        before = self._nodes.get(uid)
        if event == "DELETED":
            self._forget(uid)
            yield from (("dependent", other) for other in sorted(self._dependents.get(uid, ())))
            yield from (("owner", other) for other in sorted(before.owners if before else ()) if other in self._nodes)
            return
        node = self._remember(resource, obj)
        if node.owners and (before is None or before.owners != node.owners):
            yield "dependent", uid
        if before is not None and before.owners - node.owners:
            yield from (("owner", other) for other in sorted(before.owners - node.owners))
        if terminating(obj) and set(meta(obj).get("finalizers") or ()) & {FOREGROUND, ORPHAN}:
            yield "owner", uid

    def _remember(self, resource: str, obj: Object) -> _Node:
        self._forget(uid_of(obj))
        node = _Node(
            resource=resource,
            namespace=namespace_of(obj),
            name=name_of(obj),
            owners=frozenset(ref["uid"] for ref in meta(obj).get("ownerReferences") or ()),
            waits=terminating(obj) and FOREGROUND in (meta(obj).get("finalizers") or ()),
        )
        self._nodes[uid_of(obj)] = node
        for owner in node.owners:
            self._dependents.setdefault(owner, set()).add(uid_of(obj))
        return node

    def _forget(self, uid: str) -> None:
        node = self._nodes.pop(uid, None)
        for owner in node.owners if node is not None else ():
            self._dependents.get(owner, set()).discard(uid)
            if not self._dependents.get(owner):
                self._dependents.pop(owner, None)

    def sync(self, key: Key) -> float | None:
        kind, uid = key
        node = self._nodes.get(uid)
        obj = self._api.get(node.resource, node.namespace, node.name) if node is not None else None
        if node is None or obj is None or uid_of(obj) != uid:
            return None
        if kind == "dependent":
            self._attempt(node, obj)
        elif terminating(obj):
            self._finish_owner(node, obj)
        return None

    def _attempt(self, node: _Node, obj: Object) -> None:
        """Delete an object none of whose owners is left; with a living owner only the dead references go."""
        refs = meta(obj).get("ownerReferences") or []
        if terminating(obj) or not refs:
            return
        waiting = [r for r in refs if self._waits(r["uid"]) and r.get("blockOwnerDeletion")]
        solid = [r for r in refs if r["uid"] in self._nodes and r not in waiting]
        if solid and len(solid) < len(refs):
            meta(obj)["ownerReferences"] = solid
            self._api.update(node.resource, obj)
        elif not solid:
            blocks = waiting and self._dependents.get(uid_of(obj))
            self._api.delete(node.resource, obj, propagation="Foreground" if blocks else "Background")

    def _waits(self, uid: str) -> bool:
        node = self._nodes.get(uid)
        return node is not None and node.waits

    def _finish_owner(self, node: _Node, owner: Object) -> None:
        finalizers = meta(owner).get("finalizers") or []
        if ORPHAN in finalizers:
            for dependent_node, dependent in self._dependents_of(uid_of(owner)):
                refs = meta(dependent).get("ownerReferences") or []
                meta(dependent)["ownerReferences"] = [r for r in refs if r["uid"] != uid_of(owner)]
                self._api.update(dependent_node.resource, dependent)
            self._drop_finalizer(node, owner, ORPHAN)
        elif FOREGROUND in finalizers:
            dependents = self._dependents_of(uid_of(owner))
            if not any(self._blocks(dependent, uid_of(owner)) for _, dependent in dependents):
                self._drop_finalizer(node, owner, FOREGROUND)
                return
            for dependent_node, dependent in dependents:
                self._attempt(dependent_node, dependent)

    def _drop_finalizer(self, node: _Node, owner: Object, finalizer: str) -> None:
        meta(owner)["finalizers"] = [f for f in meta(owner)["finalizers"] if f != finalizer]
        self._api.update(node.resource, owner)

    def _dependents_of(self, uid: str) -> list[tuple[_Node, Object]]:
        found = []
        for other in sorted(self._dependents.get(uid, ())):
            node = self._nodes[other]
            obj = self._api.get(node.resource, node.namespace, node.name)
            if obj is not None:
                found.append((node, obj))
        return found

    @staticmethod
    def _blocks(dependent: Object, owner: str) -> bool:
        return any(r["uid"] == owner and r.get("blockOwnerDeletion") for r in meta(dependent).get("ownerReferences") or ())
