"""Why: one table says what the sandbox serves; discovery, routing, storage and tables all read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daemon.sandbox.errors import JSON, no_such_path, qualified

if TYPE_CHECKING:
    from daemon.sandbox.schema import Node

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A served resource at one version; `key` (`deployments.apps`) names it in the Store."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    custom: bool = False
    schema: Node | None = None
    columns: tuple[JSON, ...] = ()
    selectable: tuple[str, ...] = ()
    scale: JSON | None = None
    storage: str = field(default="")

    @property
    def key(self) -> str:
        return self.storage or qualified(self.plural, self.group)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


def _r(
    group_version: str,
    plural: str,
    kind: str,
    *,
    short: str = "",
    sub: str = "",
    cat: str = "",
    cluster: bool = False,
    storage: str = "",
    verbs: str = "",
) -> Resource:
    group, _, version = group_version.rpartition("/")
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        namespaced=not cluster,
        singular=kind.lower(),
        short_names=tuple(short.split()),
        categories=tuple(cat.split()),
        subresources=tuple(sub.split()),
        storage=storage,
        verbs=tuple(verbs.split()) or ALL_VERBS,
    )


_ADMISSION = "admissionregistration.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io/v1"
_EXT = "api-extensions"

BUILTIN: tuple[Resource, ...] = (
    _r("v1", "namespaces", "Namespace", short="ns", sub="status finalize", cluster=True, verbs="create delete get list patch update watch"),
    _r("v1", "nodes", "Node", short="no", sub="status", cluster=True),
    _r("v1", "pods", "Pod", short="po", sub="status eviction binding log", cat="all"),
    _r("v1", "services", "Service", short="svc", sub="status", cat="all"),
    _r("v1", "configmaps", "ConfigMap", short="cm"),
    _r("v1", "secrets", "Secret"),
    _r("v1", "serviceaccounts", "ServiceAccount", short="sa", sub="token"),
    _r("v1", "events", "Event", short="ev"),
    _r("v1", "endpoints", "Endpoints", short="ep"),
    _r("apps/v1", "deployments", "Deployment", short="deploy", sub="status scale", cat="all"),
    _r("apps/v1", "replicasets", "ReplicaSet", short="rs", sub="status scale", cat="all"),
    _r("apps/v1", "statefulsets", "StatefulSet", short="sts", sub="status scale", cat="all"),
    _r("apps/v1", "daemonsets", "DaemonSet", short="ds", sub="status", cat="all"),
    _r("apps/v1", "controllerrevisions", "ControllerRevision"),
    _r("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    _r("coordination.k8s.io/v1", "leases", "Lease"),
    _r("events.k8s.io/v1", "events", "Event", short="ev", storage="events"),
    _r("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short="hpa", sub="status", cat="all"),
    _r("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", sub="status"),
    _r("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short="netpol"),
    _r("networking.k8s.io/v1", "ingresses", "Ingress", short="ing", sub="status"),
    _r("networking.k8s.io/v1", "ingressclasses", "IngressClass", cluster=True),
    _r(_RBAC, "roles", "Role"),
    _r(_RBAC, "rolebindings", "RoleBinding"),
    _r(_RBAC, "clusterroles", "ClusterRole", cluster=True),
    _r(_RBAC, "clusterrolebindings", "ClusterRoleBinding", cluster=True),
    _r("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", cluster=True, verbs="create"),
    _r("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview", cluster=True, verbs="create"),
    _r("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", cluster=True, verbs="create"),
    _r(_ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", cluster=True, cat=_EXT),
    _r(_ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", cluster=True, cat=_EXT),
    _r(_ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", sub="status", cluster=True, cat=_EXT),
    _r(_ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", cluster=True, cat=_EXT),
    _r(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        short="crd crds",
        sub="status",
        cluster=True,
        cat=_EXT,
    ),
)


class Registry:
    """What is served now: the built-in resources and those of established CRDs."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str, str], Resource] = {}
        self._by_key: dict[str, Resource] = {}
        for resource in BUILTIN:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._served[resource.group, resource.version, resource.plural] = resource
        if not resource.storage:
            self._by_key[resource.key] = resource

    def replace_custom(self, group: str, plural: str, versions: Iterable[Resource], storage_version: str) -> None:
        """Serve these versions of a custom resource, and no other."""
        self.remove_custom(group, plural)
        for resource in versions:
            self._served[group, resource.version, plural] = resource
            if resource.version == storage_version or resource.key not in self._by_key:
                self._by_key[resource.key] = resource

    def remove_custom(self, group: str, plural: str) -> None:
        for key in [k for k in self._served if k[0] == group and k[2] == plural]:
            del self._served[key]
        self._by_key.pop(qualified(plural, group), None)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version, plural))

    def by_key(self, key: str) -> Resource:
        """The resource that a Store key names; an unknown one is an error that a client sees as 404."""
        found = self._by_key.get(key)
        if found is None:
            raise no_such_path()
        return found

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        group, _, version = api_version.rpartition("/")
        return next((r for r in self if r.group == group and r.version == version and r.kind == kind), None)

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._served.values()))

    def groups(self) -> dict[str, list[str]]:
        """Each group with its versions, in the order of registration."""
        out: dict[str, list[str]] = {}
        for group, version, _plural in self._served:
            versions = out.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return out
