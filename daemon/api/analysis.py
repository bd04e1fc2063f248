"""What was measured: `AnalysisRun` is the stored evidence of one judged revision, `AnalysisTemplate` a reusable check.

A verdict that cannot be replayed cannot be trusted, so the increments it was made from are kept with the parameters of the
judge, compressed and bounded. A template's metrics have the names and the meaning that users of Argo Rollouts know.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from daemon.api.fields import Duration, LocalRef, Model, Name, ObjectName, Text, Time, Word, doc
from daemon.api.jobs import JobCheck
from daemon.api.sources import ADMITS, METRIC_SOURCES, AllowedNamespaces, SecretRef
from daemon.api.status import MetricStatus, VerdictStatus

EVIDENCE_LIMIT: Final = 400_000  # characters; with its metadata an AnalysisRun stays below 512 KB


ArgName = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$")]
MetricPattern = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^([-a-z0-9]|[.]?[*])+$")]
HeaderName = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[-_A-Za-z0-9]+$")]
Count = int | str  # a number, or an arg that becomes one
Named = Annotated[ObjectName, doc("An AnalysisTemplate, looked up in the Canary's namespace, then in the catalogue.")]


class TemplateArgFrom(Model, frozen=True, kw_only=True):
    """Where a default comes from: a Secret in the template's namespace."""

    secret_key_ref: SecretRef


class TemplateArg(Model, frozen=True, kw_only=True):
    """A value that a release fills in, unless there is a default."""

    name: ArgName
    value: Text | None = None
    value_from: TemplateArgFrom | None = None


class FieldPath(Model, frozen=True, kw_only=True):
    field_path: Annotated[
        str,
        msgspec.Meta(min_length=1, max_length=256),
        doc("In the Canary: metadata.name, metadata.labels['team'], status.stableRevision."),
    ]


class ArgFrom(Model, frozen=True, kw_only=True):
    """A Secret in the Canary's namespace, or a field of the Canary."""

    secret_key_ref: SecretRef | None = None
    field_ref: FieldPath | None = None


class Arg(Model, frozen=True, kw_only=True):
    """What a release puts into a template."""

    name: ArgName
    value: Text | None = None
    value_from: ArgFrom | None = None


Args = Annotated[list[Arg], msgspec.Meta(max_length=32)]


class ThresholdRange(Model, frozen=True, kw_only=True):
    """Fails below min or above max; of several values, each must lie within."""

    min: float | None = None
    max: float | None = None


class QueryCheck(Model, frozen=True, kw_only=True):
    """A query in the server's own language. What comes back is a number, a list of them, or (by some) more: see the sources."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    source_ref: Annotated[LocalRef | None, doc("MetricSource of this type that is asked. Default: default.")] = None


class WebHeader(Model, frozen=True, kw_only=True):
    key: HeaderName
    value: Text


class WebCheck(Model, frozen=True, kw_only=True):
    """A request over HTTP whose answer is judged. Redirects are not followed; a status other than 2xx is an error."""

    url: Annotated[
        str, msgspec.Meta(min_length=1, max_length=2048), doc("http or https; addresses of the node and of cloud metadata are refused.")
    ]
    method: Annotated[Literal["GET", "POST", "PUT"] | None, doc("Default GET.")] = None
    headers: Annotated[list[WebHeader], msgspec.Meta(max_length=16)] | None = None
    body: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    json_path: Annotated[
        Annotated[str, msgspec.Meta(max_length=512)] | None, doc("What of the answer is judged, such as {$.data.ok}. Default: all of it.")
    ] = None
    timeout_seconds: Annotated[Annotated[int, msgspec.Meta(ge=1, le=60)] | None, doc("Default 10.")] = None


class Provider(Model, frozen=True, kw_only=True):
    """Who is asked: exactly one."""

    prometheus: QueryCheck | None = None
    graphite: QueryCheck | None = None
    datadog: QueryCheck | None = None
    influxdb: QueryCheck | None = None
    cloud_watch: QueryCheck | None = None
    new_relic: QueryCheck | None = None
    dynatrace: QueryCheck | None = None
    splunk: QueryCheck | None = None
    google_cloud_monitoring: QueryCheck | None = None
    web: WebCheck | None = None
    job: Annotated[JobCheck | None, doc("Runs in the Canary's namespace; only where the chart allows Jobs.")] = None

    @property
    def query(self) -> tuple[str, QueryCheck] | None:
        """The type of MetricSource that is asked, and what."""
        return next(((kind, check) for kind, name in QUERIED.items() if (check := getattr(self, name)) is not None), None)


QUERIED: Final = {kind: name for kind, name in METRIC_SOURCES.items() if name in Provider.__struct_fields__ and name != "web"}
"""Types of MetricSource that answer queries, to the providers that ask them."""
PROVIDERS: Final = (*QUERIED.values(), "web", "job")


class TemplateMetric(Model, frozen=True, kw_only=True):
    """A value that is measured, and what it must be."""

    name: Name
    provider: Provider
    interval: Annotated[Duration | None, doc("From the end of one measurement to the next.")] = None
    initial_delay: Annotated[Duration | None, doc("Before the first measurement.")] = None
    count: Annotated[Count | None, doc("Measurements. Default: 1, or without end where there is an interval.")] = None
    success_condition: Annotated[Text | None, doc("Such as result[0] >= 0.95.")] = None
    failure_condition: Annotated[Text | None, doc("Wins over successCondition; where neither holds, the measurement is inconclusive.")] = (
        None
    )
    threshold_range: Annotated[ThresholdRange | None, doc("Instead of conditions.")] = None
    failure_limit: Annotated[Count | None, doc("Failures that are tolerated; -1: all. Default 0.")] = None
    inconclusive_limit: Annotated[Count | None, doc("Inconclusive measurements that are tolerated. Default 0.")] = None
    consecutive_error_limit: Annotated[Count | None, doc("Errors in a row that are tolerated. Default 4.")] = None
    consecutive_success_limit: Annotated[Count | None, doc("Successes in a row that are enough.")] = None
    on_no_data: Annotated[
        Literal["Wait", "Evaluate", "Error", "Inconclusive", "Failed", "Successful"] | None,
        doc("What NaN and an empty result are. Default Wait: no measurement. Evaluate: the conditions decide, as with Argo Rollouts."),
    ] = None


class DryRun(Model, frozen=True, kw_only=True):
    """Metrics that are measured and shown, and decide nothing."""

    metric_name: Annotated[MetricPattern, doc("A metric's name; * stands for any characters.")]


class Retention(Model, frozen=True, kw_only=True):
    """How many measurements of a metric are kept to be read."""

    metric_name: Annotated[MetricPattern, doc("A metric's name; * stands for any characters.")]
    limit: Annotated[int, msgspec.Meta(ge=1, le=100), doc("Default 10.")]


class AnalysisTemplateSpec(Model, frozen=True, kw_only=True):
    """Checks with thresholds, for any number of releases."""

    metrics: Annotated[list[TemplateMetric], msgspec.Meta(min_length=1, max_length=16)]
    args: Annotated[list[TemplateArg], msgspec.Meta(max_length=32)] | None = None
    dry_run: Annotated[list[DryRun], msgspec.Meta(max_length=16)] | None = None
    measurement_retention: Annotated[list[Retention], msgspec.Meta(max_length=16)] | None = None
    allowed_namespaces: Annotated[AllowedNamespaces | None, doc(ADMITS)] = None


class TemplateUse(Model, frozen=True, kw_only=True):
    """A template that a release is checked with."""

    name: Named
    args: Annotated[Args | None, doc("Values for the template's args.")] = None
    when: Annotated[
        Literal["Background", "BeforeFirstStep", "AfterPromotion"] | None,
        doc(
            "Background, the default: from the first exposure to the promotion. BeforeFirstStep: with canary pods, before any request.",
            planned_values=("AfterPromotion",),
        ),
    ] = None
    interval: Annotated[Duration | None, doc("Instead of the interval of a template with one metric.")] = None
    threshold_range: Annotated[ThresholdRange | None, doc("Instead of the conditions of a template with one metric.")] = None


class StepAnalysis(Model, frozen=True, kw_only=True):
    """A template that must succeed before the next step."""

    name: Named
    args: Annotated[Args | None, doc("Values for the template's args.")] = None


class AnalysisRunSpec(Model, frozen=True, kw_only=True):
    """Of what the evidence is. Written by Linnet when a revision is first judged, never changed."""

    canary_ref: LocalRef
    revision: Word
    started_at: Time
    parameters: Annotated[
        Annotated[str, msgspec.Meta(max_length=32_768)] | None, doc("What the judge was given, as JSON: risks, margins, interval, queries.")
    ] = None


class EvidenceLog(Model, frozen=True, kw_only=True):
    """The increments per metric, arm and tick, in the order they were frozen."""

    encoding: Literal["zlib+base64"]
    data: Annotated[str, msgspec.Meta(max_length=EVIDENCE_LIMIT)]
    ticks: int
    first_tick: Time | None = None
    last_tick: Time | None = None
    dropped_ticks: Annotated[int, doc("Oldest ticks left out to stay within the bound; then the log alone does not replay.")] = 0


class TemplateRun(Model, frozen=True, kw_only=True):
    """One template in one release: as it was when it began, and what it measured so far."""

    id: Annotated[str, msgspec.Meta(max_length=320)]
    template: Annotated[str, msgspec.Meta(max_length=253)]
    namespace: Word
    started_at: Time | None = None
    phase: Word = "Pending"
    message: Text = ""
    spec: dict[str, Any] | None = None
    results: list[dict[str, Any]] = []


class TemplateRuns(Model, frozen=True, kw_only=True):
    """Of which rollout they are: those of an earlier try of the same revision say nothing about this one."""

    rollout_started_at: Time
    runs: list[TemplateRun] = []


class AnalysisRunStatus(Model, frozen=True, kw_only=True):
    verdict: VerdictStatus | None = None
    metrics: list[MetricStatus] = []
    evidence: EvidenceLog | None = None
    templates: TemplateRuns | None = None
    updated_at: Time | None = None
