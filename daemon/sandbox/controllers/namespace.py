"""The namespace controller: a deleted namespace is emptied, then let go.

Pods leave with their grace, so the namespace stays Terminating until the last process has ended, as users know it.
"""

from collections.abc import Callable, Iterable

from daemon.sandbox.controllers.access import NAMESPACES, Access
from daemon.sandbox.controllers.objects import Object, meta, name_of, namespace_of, terminating
from daemon.sandbox.controllers.runtime import Key

FINALIZER = "kubernetes"


class NamespaceController:
    name = "namespace-controller"

    def __init__(self, access: Access, resources: Callable[[], Iterable[str]]) -> None:
        self._api = access
        self._resources = resources

    def start(self) -> Iterable[Key]:
        return [("", name_of(n)) for n in self._api.list(NAMESPACES)]

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == NAMESPACES and event != "DELETED":
            yield "", name_of(obj)
        elif event == "DELETED" and namespace_of(obj):
            yield "", namespace_of(obj)

    def sync(self, key: Key) -> float | None:
        namespace = self._api.get(NAMESPACES, "", key[1])
        if namespace is None or not terminating(namespace):
            return None
        left = [(resource, obj) for resource in self._resources() for obj in self._api.list(resource, key[1])]
        for resource, obj in left:
            if not terminating(obj):
                self._api.delete(resource, obj)
        if any(self._api.list(resource, key[1]) for resource in self._resources()):
            return None
        kept = [f for f in (namespace.get("spec") or {}).get("finalizers") or [] if f != FINALIZER]
        if kept != ((namespace.get("spec") or {}).get("finalizers") or []) or not meta(namespace).get("finalizers"):
            namespace.setdefault("spec", {})["finalizers"] = kept
            self._api.update(NAMESPACES, namespace, subresource="finalize")
        return None
