"""`Canary.spec`: what a user writes to have a workload released step by step.

There are no schema defaults: a default in the CRD would hide the profile's value. `daemon.api.defaults` merges object over
profile over built-in values, and the merged result is what a rollout snapshots.
"""

from typing import Annotated, Literal

import msgspec

from daemon.api.analysis import StepAnalysis, TemplateUse
from daemon.api.calendar import ReleaseWindow
from daemon.api.fields import Duration, FlagKey, LocalRef, Margin, Model, Name, ObjectName, Percent, Query, Risk, Word, doc, planned
from daemon.api.gates import ReleaseGate, StepGate
from daemon.api.routers import CustomRouter, RouteRef

HeaderName = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9-]+$")]
HttpMethod = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
EventKind = Literal["Started", "Step", "Paused", "Promoted", "RolledBack", "Inconclusive", "FlagDue", "Observed"]


class WorkloadRef(Model, frozen=True, kw_only=True):
    """The workload whose template changes are releases. Any kind may be named; only a Deployment is accepted."""

    name: ObjectName
    api_version: Word | None = None
    kind: Word | None = None


class ServiceRef(Model, frozen=True, kw_only=True):
    """The Service whose requests are split; found by its selector when left out."""

    name: ObjectName
    port: Annotated[int | str | None, doc("Port number or name; needed only where the Service has several.")] = None


class UserBuckets(Model, frozen=True, kw_only=True):
    """Which users are first, where a flag of mode Aligned is to meet the same ones as the new pods."""

    header: Annotated[
        HeaderName | None,
        doc("Request header with the user's bucket, 1 to 100, which the edge sets on every request. Default X-Linnet-Bucket."),
    ] = None
    group: Annotated[FlagKey | None, doc("Group id that the edge and the flags compute the bucket with. Default linnet.")] = None


class Traffic(Model, frozen=True, kw_only=True):
    """How requests reach the canary."""

    mode: Annotated[
        Literal["Auto", "Routes", "PodRatio", "None"] | None,
        doc("Auto takes Routes where a route points at the Service, else PodRatio. None: flags alone, no pods and no traffic."),
    ] = None
    service_ref: ServiceRef | None = None
    routes: Annotated[
        Annotated[list[RouteRef], msgspec.Meta(max_length=8)] | None, doc("Routes whose weights move, together or not at all.")
    ] = None
    routers: Annotated[
        Annotated[list[CustomRouter], msgspec.Meta(max_length=8)] | None,
        doc("Kinds of route that Linnet does not bring, described so that `routes` may name them."),
    ] = None
    identity: Annotated[
        Literal["Auto", "Isolated", "Shared"] | None,
        doc("Isolated: only a route reaches canary pods. Shared: they keep the labels of stable.", planned_values=("Shared",)),
    ] = None
    buckets: Annotated[
        UserBuckets | None, doc("How the edge names a user's bucket; weights are shares of users as soon as a flag is Aligned.")
    ] = None
    drain: Annotated[
        Duration | None,
        doc("How long pods outlive their share: gateways report a route before they act on it, and open requests end. Default 10s."),
    ] = None


class Strategy(Model, frozen=True, kw_only=True):
    """The shape of a release."""

    type: Annotated[
        Literal["Canary", "BlueGreen"] | None,
        doc(
            "BlueGreen: a canary of full size, reachable at its own Service before anybody else meets it, and one switch of all requests after "
            "the steps."
        ),
    ] = None
    scale_down_delay: Annotated[
        Duration | None,
        doc("How long the old version stays at full size after the verdict, so that linnet abort is still at once. Default: not at all."),
    ] = None
    ramp: Annotated[
        Literal["Steps", "Adaptive"] | None,
        doc("Adaptive: the evidence moves the weight; the steps say how far. Steps: each weight for its time."),
    ] = None
    baseline: Annotated[Literal["Stable", "Fresh"] | None, doc("What the canary is compared with.", planned_values=("Fresh",))] = None
    placement: Annotated[
        Literal["Auto", "SideBySide", "InPlace"] | None, doc("Where canary pods live.", planned_values=("Auto", "InPlace"))
    ] = None


class Dwell(Model, frozen=True, kw_only=True):
    """The least time and the least canary requests of a step; both must be reached."""

    min_duration: Duration | None = None
    min_requests: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] | None = None


class CohortStep(Model, frozen=True, kw_only=True):
    """The share of one cohort that sees a flag."""

    name: Name
    percent: Percent


class FlagStep(Model, frozen=True, kw_only=True):
    """What a step makes of a flag; what is not named carries over from the step before."""

    name: Name
    percent: Percent | None = None
    cohorts: Annotated[
        Annotated[list[CohortStep], msgspec.Meta(max_length=16)] | None,
        doc("Shares by cohort; who is in a cohort has the larger of its share and everyone's."),
    ] = None
    may_shrink: Annotated[bool | None, doc("A share may be smaller than in the step before: people lose the flag. Default false.")] = None


class Pause(Model, frozen=True, kw_only=True):
    """Wait for a time, or (without a duration) until `linnet resume`: an endless wait that its owner wrote down."""

    duration: Duration | None = None


class Approval(Model, frozen=True, kw_only=True):
    """People's yes: the exposure stays, and harm still ends it."""

    timeout: Annotated[Duration, doc("How long it is waited for; the judge's deadline waits as well.")]
    on_timeout: Annotated[
        Literal["Rollback", "Promote", "Wait"] | None,
        doc("Where too few answer in time: Rollback (the default), Promote (go on), or Wait without end."),
    ] = None
    approvers: Annotated[Annotated[int, msgspec.Meta(ge=1, le=8)] | None, doc("How many different people must say yes. Default 1.")] = None
    among: Annotated[
        Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]], msgspec.Meta(min_length=1, max_length=32)] | None,
        doc("Whose yes counts, by the user names that the API server knows. Default: whoever may approve."),
    ] = None
    not_by_author: Annotated[
        bool | None,
        doc("Whoever wrote the template that is held cannot approve it; where that is not on record, nobody can. Default false."),
    ] = None


Pairs = Annotated[dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=256)]], msgspec.Meta(max_length=8)]


class StepMatch(Model, frozen=True, kw_only=True):
    """Whose requests reach the canary: all conditions must hold, everyone else stays on stable."""

    headers: Annotated[Pairs | None, doc("Request headers by name, with their exact value.")] = None
    cookies: Annotated[Pairs | None, doc("Cookies by name, with their exact value.")] = None
    query: Annotated[Pairs | None, doc("Parameters of the query by name, with their exact value.")] = None
    cohort: Annotated[Name | None, planned("The people of a flag's cohort.")] = None


class StepMirror(Model, frozen=True, kw_only=True):
    """Copies of requests for the canary; users get stable's answer, and the canary's is thrown away."""

    percent: Annotated[int, msgspec.Meta(ge=1, le=100), doc("What share of them is copied.")]
    methods: Annotated[
        Annotated[list[HttpMethod], msgspec.Meta(max_length=9)] | None,
        doc("Which requests may be sent twice. Default GET, HEAD and OPTIONS, which change nothing."),
    ] = None


class Step(Model, frozen=True, kw_only=True):
    """An exposure (`weight` and/or `flags`, optional `dwell`), or exactly one other kind of step."""

    name: Name | None = None
    weight: Percent | None = None
    flags: Annotated[list[FlagStep], msgspec.Meta(max_length=8)] | None = None
    dwell: Dwell | None = None
    pause: Pause | None = None
    approval: Annotated[Approval | None, doc("Waits for a person: linnet approve.")] = None
    analysis: Annotated[StepAnalysis | None, doc("A template that must succeed before the next step.")] = None
    match: Annotated[
        StepMatch | None,
        doc(
            "Requests with these headers, cookies or query reach the canary, until a step names a weight; for `dwell.minDuration` at least."
        ),
    ] = None
    mirror: Annotated[
        StepMirror | None,
        doc("The canary gets copies of requests, until a step names a weight; for `dwell.minDuration` at least."),
    ] = None
    scale: Annotated[
        Percent | None, doc("Canary pods in percent of what stable needs, from this step on, whatever the weight; needs a route.")
    ] = None
    gate: Annotated[StepGate | None, doc("Waits for a Job or a signed webhook to agree.")] = None


class CohortConstraint(Model, frozen=True, kw_only=True):
    """A condition on the context that the app gives to its SDK."""

    attribute: Word
    operator: Annotated[Word | None, doc("An operator of the flag system; IN when left out.")] = None
    values: Annotated[list[Annotated[str, msgspec.Meta(max_length=256)]], msgspec.Meta(min_length=1, max_length=250)]


class FlagCohort(Model, frozen=True, kw_only=True):
    """A group of people with a share of its own: who meets all constraints and is in the segment."""

    name: Name
    segment: Annotated[Word | None, doc("A segment of the flag system, by name.")] = None
    constraints: Annotated[list[CohortConstraint], msgspec.Meta(max_length=16)] | None = None


class Flag(Model, frozen=True, kw_only=True):
    """A feature flag that moves with the traffic."""

    name: Name
    key: FlagKey | None = None
    source_ref: LocalRef | None = None
    mode: Annotated[
        Literal["Gated", "Aligned", "Independent"] | None,
        doc(
            "Gated: only requests on canary pods can see the flag. Aligned: the same users get the new pods and the flag, by the bucket that "
            "the edge puts into a header; without a share of its own the flag has the weight. Independent: its shares are of all users, on "
            "every pod."
        ),
    ] = None
    stickiness: Annotated[
        Word | None, doc("The context field whose value decides who is in; the targeting key (userId) when left out.")
    ] = None
    cohorts: Annotated[
        Annotated[list[FlagCohort], msgspec.Meta(max_length=16)] | None, doc("Groups that steps give shares of their own.")
    ] = None
    on_drift: Annotated[
        Literal["Hold", "Adopt", "Enforce", "Rollback"] | None,
        doc(
            "When a person changed the flag at its source. Hold waits, Adopt keeps a person's share as the limit, Enforce lowers what was "
            "raised, Rollback ends the release. Left out: what was lowered ends the release, what was raised holds it."
        ),
    ] = None
    on_promotion: Annotated[
        Literal["Keep", "Open", "Remove", "HandOver"] | None,
        doc(
            "What the flag becomes when the release is promoted. Keep leaves its shares as reached, HandOver too and takes Linnet's name from "
            "them, Open gives it to everybody, Remove puts it back as it was found."
        ),
    ] = None
    remove_after: Annotated[
        Duration | None,
        doc("So long after the promotion people are reminded, once a day, to take the flag out of the code and out of this list."),
    ] = None


class RatioMetric(Model, frozen=True, kw_only=True):
    """Two counters: events that are bad, and all events. Selectors in Prometheus syntax, without functions."""

    errors: Query
    total: Query


class ArmLabels(Model, frozen=True, kw_only=True):
    """Label matchers that pick one arm's series, where pod names do not: `service="shop-canary@..."`."""

    stable: Query
    canary: Query


class Metric(Model, frozen=True, kw_only=True):
    """One thing the canary must not do worse than the baseline."""

    name: Name
    preset: Word | None = None
    ratio: RatioMetric | None = None
    histogram: Annotated[
        Query | None, doc("The `_bucket` counter of a classic histogram (latency, size): its distribution must not move up.")
    ] = None
    gauge: Annotated[Query | None, doc("A value per pod (the length of a queue) that must not grow.")] = None
    source_ref: LocalRef | None = None
    arm_labels: ArmLabels | None = None
    lag: Annotated[
        Duration | None,
        doc(
            "From a request to its outcome; so long after each change of weight the metric is not looked at. 0s; 5m where higher is better."
        ),
    ] = None
    direction: Annotated[
        Literal["LowerIsBetter", "HigherIsBetter"] | None,
        doc("HigherIsBetter: `ratio.errors` counts what is wanted (orders), and fewer are worse. Default LowerIsBetter."),
    ] = None
    rollback_if_worse_by: Annotated[Margin | None, doc("Tolerated: 0.5pp, 10% or 1.1x.")] = None
    promote_if_within: Annotated[Margin | None, doc("Acceptable: 1pp, 25% or 1.25x.")] = None


class Outcome(Model, frozen=True, kw_only=True):
    """What to do when the evidence does not decide."""

    action: Literal["Wait", "Rollback", "Promote"]
    then_after: Duration | None = None
    then: Literal["Rollback", "Promote"] | None = None


class Outcomes(Model, frozen=True, kw_only=True):
    inconclusive: Outcome | None = None
    no_data: Outcome | None = None
    provider_error: Outcome | None = None
    stable_broken: Annotated[Outcome | None, planned("When the stable version itself is not healthy.")] = None


class Analysis(Model, frozen=True, kw_only=True):
    """How the canary is compared with the baseline."""

    judge: Annotated[
        Literal["Statistical", "TemplatesOnly"] | None,
        doc("Statistical compares arms at every scrape; templates can then only stop a release. TemplatesOnly: they alone decide."),
    ] = None
    metrics: Annotated[list[Metric], msgspec.Meta(max_length=16)] | None = None
    templates: Annotated[Annotated[list[TemplateUse], msgspec.Meta(max_length=8)] | None, doc("Checks with thresholds.")] = None
    max_false_rollback_percent: Risk | None = None
    max_bad_promotion_percent: Risk | None = None
    interval: Annotated[Duration | None, doc("Time between looks; the scrape interval. Default 15s.")] = None
    warm_up: Annotated[Duration | None, doc("Time in which new pods are judged for catastrophes only. Default 60s.")] = None
    bake: Annotated[
        Duration | None,
        doc("From the first exposure to the promotion, at the least. Default 15m with an adaptive ramp; 30m suits critical services."),
    ] = None
    deadline: Duration | None = None
    outcomes: Outcomes | None = None


class NotifyRoute(Model, frozen=True, kw_only=True):
    """Which Notifier hears of which events; all of them when `events` is left out."""

    notifier_ref: LocalRef
    # Not `on`: YAML 1.1, which kubectl speaks, reads that key as the boolean true.
    on: Annotated[list[EventKind], msgspec.Meta(max_length=8)] | None = msgspec.field(default=None, name="events")


class ReleaseSpec(Model, frozen=True, kw_only=True):
    """How a workload is released: what a Canary and a CanaryProfile have in common, so that a profile can say all of it."""

    mode: Annotated[
        Literal["Enforce", "Observe"] | None,
        doc(
            "Enforce releases step by step. Observe changes nothing: it watches ordinary rolling updates and says what it would have done."
        ),
    ] = None
    hold: Annotated[Literal["Auto", "Always"] | None, doc("Always keeps the Deployment paused between releases, where policies lack.")] = (
        None
    )
    traffic: Traffic | None = None
    strategy: Strategy | None = None
    steps: Annotated[list[Step], msgspec.Meta(max_length=32)] | None = None
    flags: Annotated[Annotated[list[Flag], msgspec.Meta(max_length=8)] | None, doc("Flags that move with the traffic.")] = None
    analysis: Analysis | None = None
    windows: Annotated[
        Annotated[list[ReleaseWindow], msgspec.Meta(max_length=16)] | None,
        doc("Hours in which releases may go on; a move that no window speaks of is free. Aborts and rollbacks never wait."),
    ] = None
    gates: Annotated[
        Annotated[list[ReleaseGate], msgspec.Meta(max_length=8)] | None,
        doc("Jobs and signed webhooks that must agree at points of every release."),
    ] = None
    progress_deadline: Annotated[Duration | None, doc("Longest wait for pods, routes or flags to follow. Default 10m.")] = None
    on_rollback: Literal["Auto", "Restore", "Hold"] | None = None
    notify: Annotated[list[NotifyRoute], msgspec.Meta(max_length=8)] | None = None


class CanarySpec(ReleaseSpec, frozen=True, kw_only=True):
    """One workload, and how it is released; what is left out comes from the profile, then from Linnet."""

    workload_ref: Annotated[WorkloadRef | None, doc("Needed unless traffic.mode is None: then no workload is touched.")] = None
    profile_ref: LocalRef | None = None

    @property
    def workload(self) -> str:
        """The workload's name; empty where only flags are released."""
        return self.workload_ref.name if self.workload_ref is not None else ""

    @property
    def flags_only(self) -> bool:
        """No pods, no traffic: what is released is a plan for flags."""
        return self.traffic is not None and self.traffic.mode == "None"
