"""What was measured: `AnalysisRun` is the stored evidence of one judged revision, `AnalysisTemplate` a reusable check.

A verdict that cannot be replayed cannot be trusted, so the increments it was made from are kept with the parameters of the
judge, compressed and bounded. Templates are part of the API from the start; this version refuses them by name.
"""

from typing import Annotated, Final, Literal

import msgspec

from daemon.api.fields import Duration, LocalRef, Model, Name, Query, Text, Time, Word, doc, planned
from daemon.api.status import MetricStatus, VerdictStatus

EVIDENCE_LIMIT: Final = 400_000  # characters; with its metadata an AnalysisRun stays below 512 KB


class TemplateArg(Model, frozen=True, kw_only=True):
    name: Name
    value: Text | None = None


class TemplateMetric(Model, frozen=True, kw_only=True):
    """A query and the condition its value must meet."""

    name: Name
    provider: Annotated[LocalRef, doc("MetricSource that is asked.")]
    query: Query
    success_condition: Text | None = None
    failure_condition: Text | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    interval: Duration | None = None
    failure_limit: Annotated[Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None, doc("Failures that are tolerated.")] = None


class AnalysisTemplateSpec(Model, frozen=True, kw_only=True):
    metrics: Annotated[Annotated[list[TemplateMetric], msgspec.Meta(max_length=16)], planned("Checks with thresholds.")]
    args: Annotated[Annotated[list[TemplateArg], msgspec.Meta(max_length=32)] | None, planned("Values that a Canary fills in.")] = None


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


class AnalysisRunStatus(Model, frozen=True, kw_only=True):
    verdict: VerdictStatus | None = None
    metrics: list[MetricStatus] = []
    evidence: EvidenceLog | None = None
    updated_at: Time | None = None
