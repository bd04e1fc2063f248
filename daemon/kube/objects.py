"""Kubernetes objects, reduced to the fields we read.

Measured: a list of 1,000 Deployments costs 2.4 s in the library's models and 17 ms here, because what is not read is not built.
So each struct names the fields some part of Linnet looks at; unknown fields are skipped, and what must be carried byte for byte
(a pod template, managedFields, route rules) is kept as `msgspec.Raw`. Objects are frozen: the caches hand them to everyone.

`Raw` is a view into the reply it was decoded from; `detach` copies it, or one small object would keep a page of megabytes alive.
"""

import functools
import typing
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

_EMPTY = Raw(b"")


class _Part(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every struct here: camelCase on the wire, immutable, defaults left out when written."""


class OwnerReference(_Part, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(_Part, frozen=True, rename="camel"):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    managed_fields: Raw = _EMPTY

    def label(self, key: str, default: str = "") -> str:
        return (self.labels or {}).get(key, default)

    def annotation(self, key: str, default: str = "") -> str:
        return (self.annotations or {}).get(key, default)

    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, of which there is at most one."""
        return next((ref for ref in self.owner_references or () if ref.controller), None)


class KubeObject(_Part, frozen=True, rename="camel"):
    """What every object has. The models below, and those made elsewhere, inherit from it."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name), the key of stores and queues."""
        return (self.metadata.namespace, self.metadata.name)


class PartialObject(KubeObject, frozen=True):
    """Any kind, metadata only."""


class RawObject(KubeObject, frozen=True):
    """Any kind with spec and status as they came."""

    spec: Raw = _EMPTY
    status: Raw = _EMPTY
    data: Raw = _EMPTY


class Expression(_Part, frozen=True, rename="camel"):
    key: str
    operator: str
    values: tuple[str, ...] | None = None


class LabelSelector(_Part, frozen=True, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Expression, ...] | None = None

    def matches(self, labels: dict[str, str] | None) -> bool:
        """As the API server evaluates it: an empty selector matches everything."""
        have = labels or {}
        if any(have.get(k) != v for k, v in (self.match_labels or {}).items()):
            return False
        return all(_holds(e, have) for e in self.match_expressions or ())


def _holds(e: Expression, labels: dict[str, str]) -> bool:
    match e.operator:
        case "In":
            return e.key in labels and labels[e.key] in (e.values or ())
        case "NotIn":
            return e.key not in labels or labels[e.key] not in (e.values or ())
        case "Exists":
            return e.key in labels
        case "DoesNotExist":
            return e.key not in labels
        case other:
            raise ValueError(f"label selector operator {other!r} is none of In, NotIn, Exists, DoesNotExist")


class Condition(_Part, frozen=True, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str | None = None
    last_update_time: str | None = None


def condition(conditions: tuple[Condition, ...] | None, kind: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((c for c in conditions or () if c.type == kind), None)


class RollingUpdate(_Part, frozen=True, rename="camel"):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DeploymentStrategy(_Part, frozen=True, rename="camel"):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(_Part, frozen=True, rename="camel"):
    replicas: int | None = None
    paused: bool = False
    selector: LabelSelector = LabelSelector()
    strategy: DeploymentStrategy = DeploymentStrategy()
    min_ready_seconds: int = 0
    progress_deadline_seconds: int | None = None
    revision_history_limit: int | None = None
    template: Raw = _EMPTY


class DeploymentStatus(_Part, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    collision_count: int | None = None
    conditions: tuple[Condition, ...] | None = None


class Deployment(KubeObject, frozen=True):
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class ReplicaSetSpec(_Part, frozen=True, rename="camel"):
    replicas: int | None = None
    min_ready_seconds: int = 0
    selector: LabelSelector = LabelSelector()
    template: Raw = _EMPTY


class ReplicaSetStatus(_Part, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    conditions: tuple[Condition, ...] | None = None


class ReplicaSet(KubeObject, frozen=True):
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class ControllerRevision(KubeObject, frozen=True):
    revision: int = 0
    data: Raw = _EMPTY


class ContainerPort(_Part, frozen=True, rename="camel"):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(_Part, frozen=True, rename="camel"):
    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] | None = None


class PodSpec(_Part, frozen=True, rename="camel"):
    node_name: str = ""
    containers: tuple[Container, ...] = ()


class StateWaiting(_Part, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""


class StateTerminated(_Part, frozen=True, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class StateRunning(_Part, frozen=True, rename="camel"):
    started_at: str | None = None


class ContainerState(_Part, frozen=True, rename="camel"):
    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StateTerminated | None = None


class ContainerStatus(_Part, frozen=True, rename="camel"):
    name: str = ""
    image: str = ""
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(_Part, frozen=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: str | None = None
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(KubeObject, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        found = condition(self.status.conditions, "Ready")
        return found is not None and found.status == "True"

    @property
    def restarts(self) -> int:
        return sum(c.restart_count for c in self.status.container_statuses or ())


class ServicePort(_Part, frozen=True, rename="camel"):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    app_protocol: str | None = None
    node_port: int | None = None


class ServiceSpec(_Part, frozen=True, rename="camel"):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] | None = None
    session_affinity: str = ""
    session_affinity_config: Raw = _EMPTY
    traffic_distribution: str | None = None
    internal_traffic_policy: str | None = None
    publish_not_ready_addresses: bool = False
    ip_families: tuple[str, ...] | None = None
    ip_family_policy: str | None = None


class Service(KubeObject, frozen=True):
    spec: ServiceSpec = ServiceSpec()


class EndpointConditions(_Part, frozen=True, rename="camel"):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ObjectReference(_Part, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class Endpoint(_Part, frozen=True, rename="camel"):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: ObjectReference | None = None


class EndpointPort(_Part, frozen=True, rename="camel"):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(KubeObject, frozen=True):
    address_type: str = ""
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class ParentReference(_Part, frozen=True, rename="camel"):
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    name: str = ""
    section_name: str | None = None
    port: int | None = None


class RouteParentStatus(_Part, frozen=True, rename="camel"):
    parent_ref: ParentReference = ParentReference()
    controller_name: str = ""
    conditions: tuple[Condition, ...] | None = None


class RouteStatus(_Part, frozen=True, rename="camel"):
    parents: tuple[RouteParentStatus, ...] | None = None


class HTTPRouteSpec(_Part, frozen=True, rename="camel"):
    parent_refs: tuple[ParentReference, ...] | None = None
    hostnames: tuple[str, ...] | None = None
    rules: Raw = _EMPTY


class HTTPRoute(KubeObject, frozen=True):
    spec: HTTPRouteSpec = HTTPRouteSpec()
    status: RouteStatus = RouteStatus()


class GatewayStatus(_Part, frozen=True, rename="camel"):
    conditions: tuple[Condition, ...] | None = None
    listeners: Raw = _EMPTY


class GatewaySpec(_Part, frozen=True, rename="camel"):
    gateway_class_name: str = ""
    listeners: Raw = _EMPTY


class Gateway(KubeObject, frozen=True):
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


class PersistentVolumeClaimSpec(_Part, frozen=True, rename="camel"):
    access_modes: tuple[str, ...] | None = None


class PersistentVolumeClaim(KubeObject, frozen=True):
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()


class ScaleTargetRef(_Part, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class HorizontalPodAutoscalerSpec(_Part, frozen=True, rename="camel"):
    scale_target_ref: ScaleTargetRef = ScaleTargetRef()
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: Raw = _EMPTY


class HorizontalPodAutoscalerStatus(_Part, frozen=True, rename="camel"):
    observed_generation: int | None = None
    current_replicas: int = 0
    desired_replicas: int = 0
    conditions: tuple[Condition, ...] | None = None


class HorizontalPodAutoscaler(KubeObject, frozen=True):
    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()


class LeaseSpec(_Part, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(KubeObject, frozen=True):
    spec: LeaseSpec = LeaseSpec()


class ConfigMap(KubeObject, frozen=True):
    data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None
    immutable: bool | None = None


class Secret(KubeObject, frozen=True):
    """Values come decoded from base64. The repr leaves them out, so that no log and no traceback can hold them."""

    type: str = ""
    data: dict[str, bytes] | None = None

    def value(self, key: str) -> bytes | None:
        return (self.data or {}).get(key)

    def __repr__(self) -> str:
        return f"Secret({self.namespace}/{self.name}, keys={sorted(self.data or {})})"


class Namespace(KubeObject, frozen=True):
    pass


class NetworkPolicySpec(_Part, frozen=True, rename="camel"):
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] | None = None
    ingress: Raw = _EMPTY
    egress: Raw = _EMPTY


class NetworkPolicy(KubeObject, frozen=True):
    spec: NetworkPolicySpec = NetworkPolicySpec()


class PodDisruptionBudgetSpec(_Part, frozen=True, rename="camel"):
    selector: LabelSelector | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class PodDisruptionBudgetStatus(_Part, frozen=True, rename="camel"):
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0


class PodDisruptionBudget(KubeObject, frozen=True):
    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()


class EventSeries(_Part, frozen=True, rename="camel"):
    count: int
    last_observed_time: str


class Event(KubeObject, frozen=True):
    """events.k8s.io/v1."""

    event_time: str | None = None
    type: str = ""
    reason: str = ""
    action: str = ""
    note: str = ""
    reporting_controller: str = ""
    reporting_instance: str = ""
    regarding: ObjectReference = ObjectReference()
    related: ObjectReference | None = None
    series: EventSeries | None = None


S = TypeVar("S", bound=Struct)


def detach(value: S) -> S:
    """Copy each `Raw` in a freshly decoded object, so that it no longer holds the reply it came in. Changes it in place."""
    for name in _fields_with_raw(type(value)):
        _detach_field(value, name, getattr(value, name))
    return value


def _detach_field(owner: Struct, name: str, value: Any) -> None:
    if value is _EMPTY:
        return  # keep the identity: it is what `omit_defaults` recognises
    if isinstance(value, Raw):
        msgspec.structs.force_setattr(owner, name, value.copy())
    else:
        for part in _structs_in(value):
            detach(part)


def _structs_in(value: Any) -> list[Struct]:
    if isinstance(value, Struct):
        return [value]
    if isinstance(value, dict):
        return [s for v in value.values() for s in _structs_in(v)]
    if isinstance(value, list | tuple):
        return [s for v in value for s in _structs_in(v)]
    return []


@functools.cache
def _fields_with_raw(cls: type[Struct]) -> tuple[str, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(name for name in cls.__struct_fields__ if _mentions_raw(hints[name], frozenset({cls})))


def _mentions_raw(hint: Any, seen: frozenset[Any]) -> bool:
    if hint is Raw:
        return True
    if isinstance(hint, type) and issubclass(hint, Struct):
        if hint in seen:
            return True  # a recursive struct: look into it at run time rather than miss something
        return any(_mentions_raw(h, seen | {hint}) for h in typing.get_type_hints(hint).values())
    return any(_mentions_raw(arg, seen) for arg in typing.get_args(hint))


def is_set(raw: Raw) -> bool:
    """Whether a raw field was present (and not null) in the object."""
    return bytes(raw) not in {b"", b"null"}


def untyped(raw: Raw) -> Any:
    """A raw field as plain JSON values; None where it was absent."""
    return msgspec.json.decode(raw) if is_set(raw) else None
