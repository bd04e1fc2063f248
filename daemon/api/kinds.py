"""The nine kinds as whole objects, and the one list of them that CRDs, validation, clients and documentation go through."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec

from daemon.api import names
from daemon.api.analysis import AnalysisRunSpec, AnalysisRunStatus, AnalysisTemplateSpec
from daemon.api.calendar import FreezeSpec
from daemon.api.canary import CanarySpec, ReleaseSpec
from daemon.api.errors import ApiError
from daemon.api.fields import LocalRef, Model, doc
from daemon.api.groups import ReleaseGroupSpec, ReleaseGroupStatus
from daemon.api.sources import ADMITS, AllowedNamespaces, FlagSourceSpec, MetricSourceSpec, NotifierSpec, NotifierStatus
from daemon.api.status import CanaryStatus


class Metadata(Model, frozen=True, kw_only=True):
    """What Linnet reads of an object's metadata; all else stays on the server."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[dict[str, Any]] = []


class Resource(Model, frozen=True, kw_only=True):
    """An object as the API server sends it. Fields that this version does not know are ignored on read."""

    api_version: str = names.API_VERSION
    kind: str
    metadata: Metadata = Metadata()


class CanaryProfileSpec(ReleaseSpec, frozen=True, kw_only=True):
    """What Canaries that name this profile need not say themselves."""

    metric_source_ref: Annotated[LocalRef | None, doc("MetricSource of metrics that name none. Default: default.")] = None
    flag_source_ref: Annotated[LocalRef | None, doc("FlagSource of flags that name none. Default: default.")] = None
    allowed_namespaces: Annotated[AllowedNamespaces | None, doc(ADMITS)] = None


class Canary(Resource, frozen=True, kw_only=True):
    spec: CanarySpec
    kind: str = "Canary"
    status: CanaryStatus = CanaryStatus()


class CanaryProfile(Resource, frozen=True, kw_only=True):
    spec: CanaryProfileSpec
    kind: str = "CanaryProfile"


class AnalysisTemplate(Resource, frozen=True, kw_only=True):
    spec: AnalysisTemplateSpec
    kind: str = "AnalysisTemplate"


class AnalysisRun(Resource, frozen=True, kw_only=True):
    spec: AnalysisRunSpec
    kind: str = "AnalysisRun"
    status: AnalysisRunStatus = AnalysisRunStatus()


class MetricSource(Resource, frozen=True, kw_only=True):
    spec: MetricSourceSpec
    kind: str = "MetricSource"


class FlagSource(Resource, frozen=True, kw_only=True):
    spec: FlagSourceSpec
    kind: str = "FlagSource"


class Notifier(Resource, frozen=True, kw_only=True):
    spec: NotifierSpec
    kind: str = "Notifier"
    status: NotifierStatus = NotifierStatus()


class Freeze(Resource, frozen=True, kw_only=True):
    spec: FreezeSpec
    kind: str = "Freeze"


class ReleaseGroup(Resource, frozen=True, kw_only=True):
    spec: ReleaseGroupSpec
    kind: str = "ReleaseGroup"
    status: ReleaseGroupStatus = ReleaseGroupStatus()


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of `kubectl get`; `wide` ones show with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one kind is served. Without a status subresource an object is written whole, in one request."""

    name: str
    plural: str
    resource: type[Resource]
    spec: type[Model]
    status: type[Model] | None = None
    subresource: bool = False
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    @property
    def crd(self) -> str:
        return f"{self.plural}.{names.GROUP}"


AGE: Final = Column(name="Age", path=".metadata.creationTimestamp", type="date")

KINDS: Final = (
    Kind(
        name="Canary",
        plural="canaries",
        resource=Canary,
        spec=CanarySpec,
        status=CanaryStatus,
        subresource=True,
        short_names=("lin",),  # Flagger and Argo own the plain words in many clusters
        columns=(
            Column(name="Phase", path=".status.phase"),
            Column(name="Step", path=".status.step"),
            Column(name="Weight", path=".status.weight", type="integer"),
            Column(name="Flags", path=".status.flagsText"),
            Column(name="Verdict", path=".status.verdictText"),
            AGE,
            Column(name="Revision", path=".status.observedRevision", wide=True),
            Column(name="Message", path=".status.sentence", wide=True),
        ),
    ),
    Kind(
        name="CanaryProfile",
        plural="canaryprofiles",
        resource=CanaryProfile,
        spec=CanaryProfileSpec,
        columns=(Column(name="Traffic", path=".spec.traffic.mode"), Column(name="Deadline", path=".spec.analysis.deadline"), AGE),
    ),
    Kind(name="AnalysisTemplate", plural="analysistemplates", resource=AnalysisTemplate, spec=AnalysisTemplateSpec, columns=(AGE,)),
    Kind(
        name="AnalysisRun",
        plural="analysisruns",
        resource=AnalysisRun,
        spec=AnalysisRunSpec,
        status=AnalysisRunStatus,
        columns=(
            Column(name="Canary", path=".spec.canaryRef.name"),
            Column(name="Revision", path=".spec.revision"),
            Column(name="Verdict", path=".status.verdict.result"),
            AGE,
            Column(name="Message", path=".status.verdict.sentence", wide=True),
        ),
    ),
    Kind(
        name="MetricSource",
        plural="metricsources",
        resource=MetricSource,
        spec=MetricSourceSpec,
        columns=(Column(name="Type", path=".spec.type"), Column(name="URL", path=".spec.prometheus.url"), AGE),
    ),
    Kind(
        name="FlagSource",
        plural="flagsources",
        resource=FlagSource,
        spec=FlagSourceSpec,
        columns=(
            Column(name="Type", path=".spec.type"),
            Column(name="ConfigMap", path=".spec.flagd.configMapRef.name"),
            Column(name="FeatureFlag", path=".spec.flagd.featureFlagRef.name"),
            Column(name="URL", path=".spec.unleash.url"),
            Column(name="Project", path=".spec.launchDarkly.project"),
            Column(name="Service", path=".spec.http.url"),
            AGE,
        ),
    ),
    Kind(
        name="Notifier",
        plural="notifiers",
        resource=Notifier,
        spec=NotifierSpec,
        status=NotifierStatus,
        subresource=True,
        columns=(Column(name="Digest", path=".status.digestSentAt", type="date"), AGE),
    ),
    Kind(
        name="Freeze",
        plural="freezes",
        resource=Freeze,
        spec=FreezeSpec,
        columns=(
            Column(name="From", path=".spec.from"),
            Column(name="Until", path=".spec.until"),
            Column(name="Reason", path=".spec.reason"),
            AGE,
        ),
    ),
    Kind(
        name="ReleaseGroup",
        plural="releasegroups",
        resource=ReleaseGroup,
        spec=ReleaseGroupSpec,
        status=ReleaseGroupStatus,
        subresource=True,
        columns=(
            Column(name="Phase", path=".status.phase"),
            Column(name="Progress", path=".status.progress"),
            AGE,
            Column(name="Message", path=".status.sentence", wide=True),
        ),
    ),
)

BY_NAME: Final = {kind.name: kind for kind in KINDS}

R = TypeVar("R", bound=Resource)


def kind_named(name: str) -> Kind:
    """The kind of that name; raises with the names there are."""
    found = BY_NAME.get(name)
    if found is None:
        raise ApiError(f"kind {name!r} is not Linnet's: it has {', '.join(BY_NAME)}", reason="UnknownKind")
    return found


def decode(kind: type[R], raw: bytes | dict[str, Any]) -> R:
    """An object from JSON or from a decoded mapping. The first structural fault raises; `daemon.api.validation` names all."""
    try:
        return msgspec.json.decode(raw, type=kind) if isinstance(raw, bytes) else msgspec.convert(raw, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ApiError(f"{kind.__name__} cannot be read: {error}") from error


def encode(resource: Resource) -> dict[str, Any]:
    """The object as a mapping, with its kind and apiVersion, without what is unset."""
    body: dict[str, Any] = msgspec.to_builtins(resource)
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}
