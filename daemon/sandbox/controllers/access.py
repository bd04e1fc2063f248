"""The controllers' way into the store: under a name of their own, so that managedFields tell who wrote what.

Objects handed out are copies; a controller may change what it got and write it back with the resourceVersion it read.
"""

from collections.abc import Callable, Mapping
from typing import Any

from daemon.sandbox.controllers.objects import Object, name_of, namespace_of, random_suffix, timestamp, uid_of
from daemon.sandbox.errors import ApiError
from daemon.sandbox.store import Caller, Store

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


class Access:
    """Reads and writes of one component."""

    def __init__(self, store: Store, component: str, *, user: str = "", manager: str = "kube-controller-manager") -> None:
        self._store = store
        self._component = component
        self._caller = Caller(user=user or f"system:serviceaccount:kube-system:{component}", manager=manager)
        self._said: dict[tuple[str, str, str], tuple[str, str]] = {}

    @property
    def component(self) -> str:
        return self._component

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return self._store.get(resource, namespace, name)

    def list(self, resource: str, namespace: str | None = None) -> list[Object]:
        return self._store.list(resource, namespace)

    def create(self, resource: str, obj: Object) -> Object:
        return self._store.create(resource, obj, user=self._caller)

    def update(self, resource: str, obj: Object, *, subresource: str | None = None) -> Object:
        return self._store.update(resource, obj, user=self._caller, subresource=subresource)

    def delete(self, resource: str, obj: Object, *, propagation: str = "Background", grace: int | None = None) -> None:
        """Delete exactly this object; one that is gone, or was replaced by another of the same name, is as good as deleted."""
        try:
            self._store.delete(
                resource, namespace_of(obj), name_of(obj), user=self._caller, propagation=propagation, uid=uid_of(obj), grace=grace
            )
        except ApiError as error:
            if error.reason not in {"NotFound", "Conflict"}:
                raise

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
