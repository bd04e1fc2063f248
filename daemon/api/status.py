"""`Canary.status`: what is wanted, what was written, what is seen, and what every wait waits for.

Everything the controller must remember across a restart is here or in observed objects; nothing lives only in memory.
Numbers that people read are rounded; numbers that decide are integers.
"""

from typing import Annotated, Any, Literal

import msgspec

from daemon.api.fields import FlagKey, Model, Text, Time, Word

Phase = Literal[
    "Pending",  # adopted, stable not yet recorded (or refused: see Stalled)
    "Idle",  # stable recorded, nothing to release
    "Starting",  # a new template is held; the canary gets its capacity
    "Progressing",  # in a step
    "Paused",  # by a step or a person
    "Promoting",  # judged fine: the native controller rolls stable, then traffic returns
    "RollingBack",  # exposure ends, then pods, then the template
    "Inconclusive",  # the deadline passed without a proof either way
    "Held",  # a rejected template is kept held
    "Settling",  # two ReplicaSets of stable are active: finish that roll first
    "Bypassed",  # a template rolled without being judged
    "StableLost",  # no ReplicaSet and no stored template of stable
    "Observing",  # mode Observe: nothing is changed; rolling updates are watched
    "Deleting",
]

PromotionStage = Literal["Warm", "FullShift", "Releasing", "Rolling", "Returning", "Cleaning"]
RollbackStage = Literal["Exposure", "Draining", "Template", "Cleaning"]


class Condition(Model, frozen=True, kw_only=True):
    type: Word
    status: Literal["True", "False", "Unknown"]
    reason: Word
    message: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    observed_generation: int | None = None
    last_transition_time: Time | None = None
    observed_revision: Word | None = None


class ArmStatus(Model, frozen=True, kw_only=True):
    name: Literal["stable", "canary"]
    workload: Word | None = None
    revision: Word | None = None
    replicas: int = 0
    available: int = 0
    weight: int = 0


class RouteStatus(Model, frozen=True, kw_only=True):
    kind: Word
    name: Word
    wanted: int = 0  # percent of requests to the canary that the current step asks for
    written: int | None = None  # what we last wrote
    accepted: bool | None = None  # every parent reports it at the generation we wrote
    observed: int | None = None  # what the object says now
    wanted_pick: Text = ""  # the requests that reach the canary beside its weight: matched ones, or copies
    written_pick: Text = ""
    observed_pick: Text = ""
    message: Text = ""


class CohortStatus(Model, frozen=True, kw_only=True):
    """The share of one cohort of a flag."""

    name: Word
    wanted: int = 0
    written: int | None = None
    at_most: int | None = None  # a person lowered it to this, and that was adopted
    at_least: int | None = None  # a person raised it to this, and that was adopted


class FlagUsage(Model, frozen=True, kw_only=True):
    """What SDKs reported of a flag since they have its present share, where its source counts that."""

    found: Literal["Unknown", "Counting", "Confirmed", "NoExposure", "ExposureMismatch"]
    yes: int = 0  # evaluations that were on
    no: int = 0
    message: Text = ""


class FlagStatus(Model, frozen=True, kw_only=True):
    name: Word
    key: FlagKey
    source: Word
    wanted: int = 0
    written: int | None = None
    written_at: Time | None = None
    seen: bool = False
    opened: bool = False  # the gate was swapped away, or is about to be
    at_most: int | None = None  # a person lowered it to this, and that was adopted
    at_least: int | None = None  # a person raised it to this, and that was adopted
    cohorts: list[CohortStatus] = []
    original: str | None = None  # what the provider needs to restore the flag as it was found
    usage: FlagUsage | None = None  # None: not known
    message: Text = ""


class MetricStatus(Model, frozen=True, kw_only=True):
    name: Word
    canary_events: int = 0
    canary_total: int = 0
    baseline_events: int = 0
    baseline_total: int = 0
    odds_worse: str = ""  # odds against 'no worse than tolerated'
    odds_fine: str = ""  # odds against 'worse than acceptable'
    bound: str = ""  # at most this much worse, as people say it


class RestoreEntry(Model, frozen=True, kw_only=True):
    """One line of the undo log: a leaf of a user's object, as it was before our first write."""

    api_version: Word
    kind: Word
    namespace: Word
    name: Word
    pointer: Annotated[str, msgspec.Meta(max_length=512)]
    original: str | None = None  # JSON; None = the leaf did not exist
    written: str | None = None  # JSON of our last write
    owners: str | None = None  # metadata.managedFields before our first write, JSON


class Waiting(Model, frozen=True, kw_only=True):
    """What is waited for, until when, and the legal way out."""

    reason: Word
    message: Text = ""
    since: Time | None = None
    until: Time | None = None
    way_out: Text = ""


class VerdictStatus(Model, frozen=True, kw_only=True):
    result: Literal["Pass", "Fail", "Inconclusive", "NoData", "Pending"]
    revision: Word
    reason: Word = ""
    sentence: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    at: Time | None = None


class HistoryEntry(Model, frozen=True, kw_only=True):
    revision: Word
    outcome: Word
    sentence: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    started_at: Time | None = None
    ended_at: Time | None = None


class ForecastMetric(Model, frozen=True, kw_only=True):
    name: Word
    counter: Text = ""  # what counts all of it, as it was found at the source; empty where nothing was


class Forecast(Model, frozen=True, kw_only=True):
    """The service's own traffic, measured at rest; figures stay as they are until they have changed enough to matter."""

    requests_per_second: float | None = None
    error_percent: float | None = None
    traffic_unknown: Text = ""  # why there are no figures
    coverage_percent: int | None = None  # what share of the requests that the pods count passes the route
    counted_by: Word | None = None  # the router whose counters tell
    coverage_unknown: Text = ""  # why that share is not known
    metrics: list[ForecastMetric] = []


class ExposureStatus(Model, frozen=True, kw_only=True):
    """From `since` on the canary had this share of the requests: what a tick of the evidence is weighed by, also after a restart."""

    since: Time
    weight: int = 0
    settled: bool = False  # the route and the flags were seen as wanted
    foreign: Text = ""  # what somebody else made of the route


class SignOff(Model, frozen=True, kw_only=True):
    """A person's yes to one step."""

    step: int
    by: Word
    at: Time | None = None
    why: Text = ""


class UndoStatus(Model, frozen=True, kw_only=True):
    """A person's wish to have an earlier revision again; it becomes a release of that revision."""

    revision: Word  # the one to go back to
    leaving: Word  # the one that ran then
    by: Word = "a person"
    why: Text = ""
    at: Time | None = None
    at_once: bool = False  # it was proven good before: no canary


class GateStatus(Model, frozen=True, kw_only=True):
    """One gate of a release."""

    name: Word
    state: Literal["Waiting", "Open", "TimedOut"]
    since: Time  # when it was first asked
    at: Time | None = None
    text: Text = ""


class ObservedStatus(Model, frozen=True, kw_only=True):
    """An ordinary rolling update that is watched: whose pods are compared, and what would have been done."""

    baseline: Word  # the revision that served before
    old: list[Word] = []  # its ReplicaSets
    new: list[Word] = []  # those of the revision that rolls
    alone_since: Time | None = None  # the last pod of the version before is gone
    outcome: Word | None = None  # the word on it: WouldRollBack, WouldPromote, ...
    said_at: Time | None = None


class RolloutStatus(Model, frozen=True, kw_only=True):
    """The release under way, or the rolling update that is observed. `spec` is the merged spec as it was at the start."""

    revision: Word
    started_at: Time
    step: int = 0
    step_started_at: Time | None = None  # the wish of this step was first written
    exposed_at: Time | None = None  # weight, flags and settle of this step are done: samples count from here
    weight_reached: int = 0
    weight_wanted: int | None = None  # with an adaptive ramp: what the evidence allows, within the step
    weight_cap: int | None = None  # what a person's pause leaves
    reached_at: Time | None = None  # the weight of this step was reached: its dwell counts from here
    moved: Text = ""  # why the weight last moved within a step
    exposures: list[ExposureStatus] = []  # the last of them
    checks_from: Time | None = None  # the canary's pods are there: templates before the first step are measured from here
    judge_from: Time | None = None  # the first exposure: samples count from here
    picked_from: Time | None = None  # the first matched or copied requests: templates are measured from here, arms are not compared
    requests_before: int = 0  # canary requests judged before this step
    no_data_since: Time | None = None
    paused_at: Time | None = None
    resumed_step: int | None = None  # an endless pause that a person ended
    promote_reason: Word | None = None
    promotion: PromotionStage | None = None
    rollback: RollbackStage | None = None
    rollback_reason: Word | None = None
    rollback_cause: Text = ""
    stage_started_at: Time | None = None
    told: bool = False  # people were told of this stage's trouble
    deadline_at: Time | None = None
    overridden: bool = False
    hotfix: bool = False  # analysis and dwell are skipped; capacity, order and harm are not
    decided_by: Word | None = None  # the person whose word promoted it, or let it go on
    decided_why: Text = ""
    burden: Text = ""  # what is known against it from before: said in every message
    proven_at: Time | None = None  # when the judge first said that it is proven fine
    weight_set: int | None = None  # a weight that was set from outside, in the present step
    approvals: list[SignOff] = []
    gates: list[GateStatus] = []  # those that were asked, and what became of each
    flags_zeroed_at: Time | None = None
    weight_zeroed_at: Time | None = None
    abort_at: Time | None = None
    weight_at_abort: int = 0
    pick_at_abort: Text = ""  # the requests that reached the canary then, beside its weight
    flags_at_abort: list[Word] = []  # those that were above 0
    spec: dict[str, Any] | None = None
    observed: ObservedStatus | None = None  # mode Observe: none of it is Linnet's doing


class FlagReminder(Model, frozen=True, kw_only=True):
    """A flag that was promoted, and is to be taken out of the code some day."""

    name: Word
    key: FlagKey
    source: Word
    promoted_at: Time
    told_at: Time | None = None  # when people were last reminded


class FlagPlanStatus(Model, frozen=True, kw_only=True):
    """A plan for flags alone that was seen, and the name it was given."""

    revision: Word
    plan: dict[str, Any] = {}
    failed: bool = False


class CanaryStatus(Model, frozen=True, kw_only=True):
    observed_generation: int | None = None
    # A factory, because a plain default is left out on the wire, and kubectl's column of a new Canary would be empty.
    phase: Phase = msgspec.field(default_factory=lambda: "Pending")
    observed_revision: Word | None = None  # the candidate the conditions speak of
    stable_revision: Word | None = None
    step: Word | None = None  # "2/4 half"
    weight: int | None = None
    flags_text: Word | None = None
    verdict_text: Word | None = None
    sentence: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    plan: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    forecast: Forecast | None = None
    rollout: RolloutStatus | None = None
    verdict: VerdictStatus | None = None
    waiting: Waiting | None = None
    queued_since: Time | None = None  # where releases are limited: when one first asked to start, its place in the line
    last_action: Word | None = None  # the last verb carried out, as written
    undo: UndoStatus | None = None
    arms: list[ArmStatus] = []
    routes: list[RouteStatus] = []
    flags: list[FlagStatus] = []
    flag_plans: list[FlagPlanStatus] = []  # newest last; of a release without pods
    reminders: list[FlagReminder] = []  # of promoted flags with `removeAfter`
    metrics: list[MetricStatus] = []
    restore: list[RestoreEntry] = []
    conditions: list[Condition] = []
    history: list[HistoryEntry] = []
