"""What every object has, and what many have: metadata, owners, conditions, label selectors."""

from msgspec import Raw, Struct

EMPTY = Raw(b"")  # one object: `omit_defaults` knows it by identity


class Part(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every struct here: camelCase on the wire, immutable, defaults left out when written."""


class OwnerReference(Part, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Part, frozen=True, rename="camel"):
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
    managed_fields: Raw = EMPTY

    def label(self, key: str, default: str = "") -> str:
        return (self.labels or {}).get(key, default)

    def annotation(self, key: str, default: str = "") -> str:
        return (self.annotations or {}).get(key, default)

    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, of which there is at most one."""
        return next((ref for ref in self.owner_references or () if ref.controller), None)


class KubeObject(Part, frozen=True, rename="camel"):
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

    spec: Raw = EMPTY
    status: Raw = EMPTY
    data: Raw = EMPTY


class Expression(Part, frozen=True, rename="camel"):
    key: str
    operator: str
    values: tuple[str, ...] | None = None


class LabelSelector(Part, frozen=True, rename="camel"):
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


class Condition(Part, frozen=True, rename="camel"):
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


class ObjectReference(Part, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""
