"""Why: deleting a Namespace deletes what is in it, and the Namespace goes when the last object has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.sandbox.errors import JSON, ApiError

if TYPE_CHECKING:
    from daemon.sandbox.store import Store

_USER = "system:serviceaccount:kube-system:namespace-controller"
INITIAL = ("default", "kube-node-lease", "kube-public", "kube-system")


class Namespaces:
    """Creates the namespaces that every cluster has, and empties those that are being deleted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        for name in INITIAL:
            store.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, user="kube-apiserver")
        store.subscribe(self._on_event)

    def _on_event(self, kind: str, resource: str, obj: JSON) -> None:
        meta = obj["metadata"]
        if resource == "namespaces":
            if kind == "MODIFIED" and meta.get("deletionTimestamp"):
                self._empty(meta["name"])
        elif kind == "DELETED" and meta.get("namespace"):
            namespace = self._store.peek("namespaces", "", meta["namespace"])
            if namespace is not None and namespace["metadata"].get("deletionTimestamp"):
                self._finish(meta["namespace"])

    def _contents(self, name: str) -> list[tuple[str, str]]:
        keys = {r.key for r in self._store.registry if r.namespaced}
        return [(key, obj) for key in sorted(keys) for ns, obj in list(self._store.state(key)) if ns == name]

    def _empty(self, name: str) -> None:
        for key, obj in self._contents(name):
            found = self._store.peek(key, name, obj)
            if found is None or found["metadata"].get("deletionTimestamp"):
                continue
            try:
                self._store.delete(key, name, obj, user=_USER, propagation="Background")
            except ApiError as e:
                if e.code != 404:
                    raise
        self._finish(name)

    def _finish(self, name: str) -> None:
        if self._contents(name):
            return
        namespace = self._store.get("namespaces", "", name)
        if namespace is not None and (namespace.get("spec") or {}).get("finalizers"):
            self._store.finalize_namespace(name)
