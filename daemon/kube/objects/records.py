"""Objects that hold a record and run nothing: who leads, configuration, secrets, what happened."""

from daemon.kube.objects.parts import KubeObject, ObjectReference, Part


class LeaseSpec(Part, frozen=True, rename="camel"):
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


class ServiceReference(Part, frozen=True, rename="camel"):
    namespace: str = ""
    name: str = ""


class WebhookClientConfig(Part, frozen=True, rename="camel"):
    service: ServiceReference | None = None
    ca_bundle: bytes | None = None


class Webhook(Part, frozen=True, rename="camel"):
    name: str = ""
    client_config: WebhookClientConfig = WebhookClientConfig()


class MutatingWebhookConfiguration(KubeObject, frozen=True):
    webhooks: tuple[Webhook, ...] | None = None


class Namespace(KubeObject, frozen=True):
    pass


class EventSeries(Part, frozen=True, rename="camel"):
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
