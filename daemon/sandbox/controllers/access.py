"""The controllers' way into the store: under a name of their own, so that managedFields tell who wrote what.

Objects handed out are copies; a controller may change what it got and write it back with the resourceVersion it read.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from daemon.sandbox.controllers.objects import Object, name_of, namespace_of, random_suffix, timestamp, uid_of
from daemon.sandbox.errors import ApiError

DEPLOYMENTS = "deployments.apps"
REPLICASETS = "replicasets.apps"
PODS = "pods"
SERVICES = "services"
ENDPOINTSLICES = "endpointslices.discovery.k8s.io"
NAMESPACES = "namespaces"
CONFIGMAPS = "configmaps"
SECRETS = "secrets"
NODES = "nodes"
EVENTS = "events"

Listener = Callable[[str, str, Object], None]


class Store(Protocol):
    """The in-process face of the sandbox's API server."""

    def get(self, res: str, ns: str | None, name: str) -> Object | None: ...

    def list(self, res: str, ns: str | None = None, label_selector: str | None = None) -> list[Object]: ...

    def create(self, res: str, obj: Object, *, user: str) -> Object: ...

    def update(self, res: str, obj: Object, *, user: str, subresource: str | None = None) -> Object: ...

    def delete(
        self, res: str, ns: str | None, name: str, *, propagation: str | None = None, uid: str | None = None, grace: int | None = None
    ) -> Any: ...

    def subscribe(self, callback: Listener) -> Callable[[], None]: ...


class Access:
    """Reads and writes of one component."""

    def __init__(self, store: Store, component: str) -> None:
        self._store = store
        self._component = component
        self._said: dict[tuple[str, str, str], tuple[str, str]] = {}

    @property
    def component(self) -> str:
        return self._component

    def acting_as(self, component: str) -> "Access":
        return Access(self._store, component)

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self._store.get(resource, namespace or None, name))

    def list(self, resource: str, namespace: str | None = None) -> list[Object]:
        return copy.deepcopy(list(self._store.list(resource, namespace)))

    def create(self, resource: str, obj: Object) -> Object:
        return copy.deepcopy(self._store.create(resource, obj, user=self._component))

    def update(self, resource: str, obj: Object, *, subresource: str | None = None) -> Object:
        return copy.deepcopy(self._store.update(resource, obj, user=self._component, subresource=subresource))

    def delete(self, resource: str, obj: Object, *, propagation: str = "Background") -> None:
        """Delete exactly this object; one that is gone, or was replaced by another of the same name, is as good as deleted."""
        try:
            self._store.delete(resource, namespace_of(obj) or None, name_of(obj), propagation=propagation, uid=uid_of(obj))
        except ApiError as error:
            if error.reason not in {"NotFound", "Conflict"}:
                raise

    def remove(self, resource: str, obj: Object) -> None:
        """Take a pod out of the store at once: what a kubelet does when the pod's processes have ended."""
        self._store.delete(resource, namespace_of(obj) or None, name_of(obj), propagation="Background", uid=uid_of(obj), grace=0)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._store.subscribe(listener)

    def event(self, about: Mapping[str, Any], kind: str, reason: str, message: str) -> None:
        """Record an Event; the same words about the same object raise its count."""
        said = self._said.get((uid_of(about), reason, message))
        existing = self.get(EVENTS, *said) if said is not None else None
        try:
            if existing is not None:
                existing["count"] = int(existing.get("count") or 1) + 1
                existing["lastTimestamp"] = timestamp()
                self.update(EVENTS, existing)
                return
            stored = self.create(EVENTS, self._event(about, kind, reason, message))
        except ApiError:
            return  # An Event is a courtesy: where it cannot be stored, say in a terminating namespace, the work goes on.
        self._said[uid_of(about), reason, message] = namespace_of(stored), name_of(stored)
        if len(self._said) > 4096:
            del self._said[next(iter(self._said))]

    def _event(self, about: Mapping[str, Any], kind: str, reason: str, message: str) -> Object:
        namespace, moment = namespace_of(about) or "default", timestamp()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name_of(about)}.{random_suffix(16)}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.get("apiVersion"),
                "kind": about.get("kind"),
                "name": name_of(about),
                "namespace": namespace_of(about) or None,
                "uid": uid_of(about),
                "resourceVersion": about["metadata"].get("resourceVersion"),
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
        }
