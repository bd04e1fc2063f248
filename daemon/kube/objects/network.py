"""How requests reach pods: Services, EndpointSlices, the Gateway API's routes, and the policies that may forbid it."""

import msgspec
from msgspec import Raw

from daemon.kube.objects.parts import EMPTY, Condition, KubeObject, LabelSelector, ObjectReference, Part


class ServicePort(Part, frozen=True, rename="camel"):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    app_protocol: str | None = None
    node_port: int | None = None


class ServiceSpec(Part, frozen=True, rename="camel"):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] | None = None
    session_affinity: str = ""
    session_affinity_config: Raw = EMPTY
    traffic_distribution: str | None = None
    internal_traffic_policy: str | None = None
    publish_not_ready_addresses: bool = False
    ip_families: tuple[str, ...] | None = None
    ip_family_policy: str | None = None


class Service(KubeObject, frozen=True):
    spec: ServiceSpec = ServiceSpec()


class EndpointConditions(Part, frozen=True, rename="camel"):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Part, frozen=True, rename="camel"):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: ObjectReference | None = None


class EndpointPort(Part, frozen=True, rename="camel"):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(KubeObject, frozen=True):
    address_type: str = ""
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class ParentReference(Part, frozen=True, rename="camel"):
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    name: str = ""
    section_name: str | None = None
    port: int | None = None


class RouteParentStatus(Part, frozen=True, rename="camel"):
    parent_ref: ParentReference = ParentReference()
    controller_name: str = ""
    conditions: tuple[Condition, ...] | None = None


class RouteStatus(Part, frozen=True, rename="camel"):
    parents: tuple[RouteParentStatus, ...] | None = None


class HTTPRouteSpec(Part, frozen=True, rename="camel"):
    parent_refs: tuple[ParentReference, ...] | None = None
    hostnames: tuple[str, ...] | None = None
    rules: Raw = EMPTY


class HTTPRoute(KubeObject, frozen=True):
    spec: HTTPRouteSpec = HTTPRouteSpec()
    status: RouteStatus = RouteStatus()


class GatewayStatus(Part, frozen=True, rename="camel"):
    conditions: tuple[Condition, ...] | None = None
    listeners: Raw = EMPTY


class GatewaySpec(Part, frozen=True, rename="camel"):
    gateway_class_name: str = ""
    listeners: Raw = EMPTY


class Gateway(KubeObject, frozen=True):
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


class NetworkPolicySpec(Part, frozen=True, rename="camel"):
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] | None = None
    ingress: Raw = EMPTY
    egress: Raw = EMPTY


class NetworkPolicy(KubeObject, frozen=True):
    spec: NetworkPolicySpec = NetworkPolicySpec()
