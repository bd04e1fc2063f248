"""Which kinds we speak of, where they live, and which partial struct they are read into.

A path is built in one place only, so that a name with a slash or a missing namespace is refused here and never becomes a request
to somewhere else. A `Resource` carries its model, so `client.get(DEPLOYMENTS, ...)` is typed without a cast.
"""

import dataclasses
import re
from typing import Generic, TypeVar

from daemon.kube import objects as o

T = TypeVar("T", bound=o.KubeObject)
M = TypeVar("M", bound=o.KubeObject)

_SEGMENT = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.:~]*[A-Za-z0-9])?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resource(Generic[T]):
    """One kind of one API version, and the struct its objects are read into."""

    group: str
    version: str
    plural: str
    kind: str
    model: type[T]
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def base(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def with_model(self, model: type[M]) -> "Resource[M]":
        """The same kind read into another struct (metadata only, or an object with more fields)."""
        return Resource(group=self.group, version=self.version, plural=self.plural, kind=self.kind, model=model, namespaced=self.namespaced)

    def collection(self, namespace: str | None = None) -> str:
        """Path of all objects, or of those of one namespace."""
        if namespace is None:
            return f"{self.base}/{self.plural}"
        if not self.namespaced:
            raise ValueError(f"{self.kind} is cluster-scoped: leave the namespace {namespace!r} out")
        return f"{self.base}/namespaces/{_segment('namespace', namespace)}/{self.plural}"

    def path(self, namespace: str | None, name: str, subresource: str = "") -> str:
        """Path of one object."""
        if self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name!r} needs a namespace")
        tail = f"/{_segment('subresource', subresource)}" if subresource else ""
        return f"{self.collection(namespace or None)}/{_segment('name', name)}{tail}"


def _segment(what: str, value: str) -> str:
    if not _SEGMENT.fullmatch(value):
        raise ValueError(f"{what} {value!r} is no Kubernetes name")
    return value


def custom(group: str, version: str, plural: str, kind: str, model: type[T], *, namespaced: bool = True) -> Resource[T]:
    """A kind defined elsewhere, such as those of linnet.dev."""
    return Resource(group=group, version=version, plural=plural, kind=kind, model=model, namespaced=namespaced)


DEPLOYMENTS = custom("apps", "v1", "deployments", "Deployment", o.Deployment)
REPLICA_SETS = custom("apps", "v1", "replicasets", "ReplicaSet", o.ReplicaSet)
CONTROLLER_REVISIONS = custom("apps", "v1", "controllerrevisions", "ControllerRevision", o.ControllerRevision)
STATEFUL_SETS = custom("apps", "v1", "statefulsets", "StatefulSet", o.PartialObject)
DAEMON_SETS = custom("apps", "v1", "daemonsets", "DaemonSet", o.PartialObject)
JOBS = custom("batch", "v1", "jobs", "Job", o.Job)
PODS = custom("", "v1", "pods", "Pod", o.Pod)
SERVICES = custom("", "v1", "services", "Service", o.Service)
CONFIG_MAPS = custom("", "v1", "configmaps", "ConfigMap", o.ConfigMap)
SECRETS = custom("", "v1", "secrets", "Secret", o.Secret)
PERSISTENT_VOLUME_CLAIMS = custom("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", o.PersistentVolumeClaim)
NAMESPACES = custom("", "v1", "namespaces", "Namespace", o.Namespace, namespaced=False)
MUTATING_WEBHOOKS = custom(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    o.MutatingWebhookConfiguration,
    namespaced=False,
)
EVENTS = custom("events.k8s.io", "v1", "events", "Event", o.Event)
LEASES = custom("coordination.k8s.io", "v1", "leases", "Lease", o.Lease)
ENDPOINT_SLICES = custom("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", o.EndpointSlice)
NETWORK_POLICIES = custom("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", o.NetworkPolicy)
POD_DISRUPTION_BUDGETS = custom("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", o.PodDisruptionBudget)
HORIZONTAL_POD_AUTOSCALERS = custom("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", o.HorizontalPodAutoscaler)
HTTP_ROUTES = custom("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", o.HTTPRoute)
GATEWAYS = custom("gateway.networking.k8s.io", "v1", "gateways", "Gateway", o.Gateway)
