"""What the core is told and what it answers.

`Observed` is everything seen in one pass, already reduced to facts that a decision can be about; `Decision` is the next status,
the writes that bring the world closer to it, and what people are told. Every action is idempotent and follows from the status,
so a crash between any two of them is harmless: the next pass sees the same gap and closes it.
"""

from typing import Any, Literal

import msgspec

from daemon.api.status import CanaryStatus, FlagUsage, RestoreEntry
from daemon.rollout.pick import Pick
from flags.errors import Direction
from flags.model import Share


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every value in the core: immutable and keyword-only."""


class ReplicaSetView(Fact, frozen=True, kw_only=True):
    """One ReplicaSet of the user's Deployment that has, or should have, pods."""

    name: str
    revision: str | None  # name of its template; None = a template that was never stored
    replicas: int
    available: int


class WorkloadView(Fact, frozen=True, kw_only=True):
    """The user's Deployment."""

    revision: str  # name of spec.template
    replicas: int  # spec.replicas
    available: int
    complete: bool  # observed, every pod updated and available, no old pod left
    paused: bool = False
    held: str | None = None  # value of the held mark
    authors: tuple[str, ...] = ()  # who wrote what is held, by the API server's stamp; empty = not on record
    hold_off: bool = False  # the owner's break-glass annotation
    adopted: bool = True  # carries our mark
    active: tuple[ReplicaSetView, ...] = ()
    max_surge: int = 1
    keeps_serving: bool = True  # a native roll never empties it
    failing: str = ""  # the native controller's or the kubelet's own words
    images: tuple[str, ...] = ()


class CanaryView(Fact, frozen=True, kw_only=True):
    """The canary Deployment of one revision."""

    revision: str
    replicas: int
    available: int
    failing: str = ""  # the kubelet's or scheduler's words, verbatim
    fatal: bool = False  # crash loop or image that cannot be pulled


class RouteView(Fact, frozen=True, kw_only=True):
    """One route as it is now."""

    kind: str
    name: str
    weight: int | None  # percent to the canary; None = our backend is not in it
    accepted: bool = True  # every parent reports the object's generation, with references resolved
    manager: str = ""  # who last wrote the weights, when it was not us
    problem: str = ""
    picked: str = ""  # which requests reach the canary beside its weight, in the words of `Pick`

    def exposes(self) -> bool:
        """Whether anything of this route reaches the canary."""
        return bool(self.weight) or bool(self.picked)

    def shows(self, weight: int, picked: str) -> bool:
        return (self.weight or 0) == weight and self.picked == picked


class FlagView(Fact, frozen=True, kw_only=True):
    """One flag as read from its source."""

    name: str
    key: str
    source: str
    percent: int | None = None  # as written there by us; None = nothing of ours there
    cohorts: tuple[Share, ...] = ()  # the same for each cohort
    seen: bool = False  # the SDKs of the pods have it
    settles_at: float | None = None  # when they will have it, where the source can say
    doubt: str = ""  # why they cannot be taken to have it, in the source's words
    gated: bool = True  # only the canary's requests can see it
    open: bool = False  # everyone has it already: nothing to gate, so nothing of ours is written
    error: str = ""
    missing: bool = False  # the source says that there is no such flag: nobody has it through us
    retryable: bool = True
    drift: Direction | None = None  # a person's hand: what is there now is not what we wrote
    changed: str = ""  # what the person did, and who it was
    plain: bool = False  # nothing but shares, or our gate, is other than we wrote
    original: str | None = None
    usage: FlagUsage | None = None  # news of whether anybody met it


class AutoscalerView(Fact, frozen=True, kw_only=True):
    """The HorizontalPodAutoscaler of the user's Deployment."""

    name: str
    minimum: int
    maximum: int
    touched: bool = False  # someone else has set the minimum since our first write


class MetricView(Fact, frozen=True, kw_only=True):
    """The evidence of one metric so far, as integers and log odds (nats)."""

    name: str
    canary_events: int
    canary_total: int
    baseline_events: int
    baseline_total: int
    log_worse: float
    log_fine: float
    bound: str = ""
    widened: str = ""  # the bound promoted against, where so few pods cannot prove the declared one
    says: str = ""  # both arms in its own words, where it does not count failed requests


class JudgeView(Fact, frozen=True, kw_only=True):
    """What the judge says of this revision, after the last frozen tick."""

    action: Literal["Hold", "Advance", "Promote", "Rollback", "Inconclusive"]
    code: str = ""  # NoData, Stale, WarmUp, Leaning, Incident, Proven, Worse, ...
    text: str = ""
    metrics: tuple[MetricView, ...] = ()
    canary_requests: int = 0
    needed_odds: float = 100.0
    culprit: str = ""
    seconds_more: float | None = None
    widened: str = ""  # which metrics' bounds are wider than declared, and why, as a clause
    checks: str = ""  # what the templates measured, as a clause
    wanted_weight: int | None = None  # with an adaptive ramp: the weight that the evidence allows next
    weight: int | None = None  # the weight of the tick that this follows from; None before the first
    climbs: bool = True  # nothing beside the arms' evidence forbids more weight


class CheckView(Fact, frozen=True, kw_only=True):
    """One template of this release, as far as it was measured."""

    template: str
    moment: Literal["Background", "BeforeFirstStep", "Step"]
    step: int | None = None
    phase: Literal["Pending", "Running", "Successful", "Failed", "Inconclusive"] = "Pending"
    text: str = ""  # the metric that decides, with its value
    absent: Literal["", "NoData", "ProviderError"] = ""
    good_at: float | None = None  # since when the newest measurement of every metric that goes on is good


class Permit(Fact, frozen=True, kw_only=True):
    """Leave given or withheld by something outside this Canary: a group, a freeze, a window, a limit on releases at once."""

    source: str
    start: bool = True
    advance: bool = True
    promote: bool = True
    must_abort: bool = False
    why: str = ""
    until: float | None = None
    patience: float | None = None  # seconds after which a release starts all the same
    owned: bool = False  # its owner wrote it down: it is waited for as long as it lasts, and no plain verb steps over it
    hotfix: bool = True  # whether a hotfix passes
    gate: str = ""  # the gate that this answers for: it speaks of no other move
    group: bool = False  # of a release group: its promotion is asked about last, and going back with it blames nobody
    queue: bool = False  # a place in the line of releases: said where nothing else is lacking, and no way back stands in it


class Command(Fact, frozen=True, kw_only=True):
    """A person's verb, bound to a revision. `raw` is what was written, so that it is carried out once."""

    verb: Literal[
        "promote", "abort", "pause", "resume", "override", "retry", "skip", "step", "set-weight", "approve", "hotfix", "undo", "kill"
    ]
    revision: str
    raw: str
    by: str = ""
    expires: float | None = None
    why: str = ""  # the person's reason; an override and a hotfix need one
    step: str = ""  # name or number of the step that is meant
    weight: int | None = None
    to: str = ""  # undo: the revision to go back to; empty = the stable version before this one


class RecordView(Fact, frozen=True, kw_only=True):
    """What is kept of one revision: its template, how it became stable, how it failed."""

    revision: str
    images: tuple[str, ...] = ()
    stable_at: str = ""  # when it last became stable; empty = never
    stable_by: str = ""  # Proven, Adopted, Person, ...
    failed_at: str = ""  # empty = it did not fail, or that was too long ago
    failed_for: str = ""  # the reason of the rollback
    sentence: str = ""
    digests: tuple[str, ...] = ()  # of the images that failed, as the nodes resolved them


class Problem(Fact, frozen=True, kw_only=True):
    """Why nothing can be released as things are; found before anything is touched."""

    reason: str
    message: str
    way_out: str = ""
    unhold: bool = False  # a defect of the Canary itself: it must not hold the Deployment


class Observed(Fact, frozen=True, kw_only=True):
    """One pass's view of the world."""

    workload: WorkloadView | None
    canary: CanaryView | None = None
    service_revision: str | None = None  # what the canary Service selects
    service_stale: bool = False  # the canary Service is not there, or not like the user's any more
    strays: tuple[str, ...] = ()  # canary Deployments of other revisions
    pod_ratio: bool = False
    routes: tuple[RouteView, ...] = ()
    flags: tuple[FlagView, ...] = ()
    gate: str = ""  # why the flags' gate would not open for the canary's pods
    autoscaler: AutoscalerView | None = None
    floor_written: bool = False
    judge: JudgeView | None = None
    checks: tuple[CheckView, ...] = ()
    permits: tuple[Permit, ...] = ()
    command: Command | None = None
    problems: tuple[Problem, ...] = ()
    records: tuple[RecordView, ...] = ()  # revisions whose template is stored, and what became of each
    restore: tuple[RestoreEntry, ...] = ()  # undo log as the shell keeps it
    gitops: str = ""  # the GitOps manager seen on the Deployment
    flag_plan: dict[str, Any] | None = None  # what a release of flags alone would release, as the spec has it now
    generation: int = 0
    guarded: bool = False  # our finalizer is on the Canary: something of ours may be left to give back
    deleting: bool = False
    namespace_deleting: bool = False

    @property
    def stored(self) -> tuple[str, ...]:
        """Revisions whose template is stored."""
        return tuple(r.revision for r in self.records)

    @property
    def failed(self) -> tuple[str, ...]:
        """Revisions remembered as failed."""
        return tuple(r.revision for r in self.records if r.failed_at)


# Actions. Each says what must be so; the shell compares with what it sees and writes only the difference.


class Action(Fact, frozen=True, kw_only=True, tag=True):
    """Base of every write."""


class Adopt(Action, frozen=True, kw_only=True):
    """Put our mark on the Deployment (the hold policies look for it), or take it off."""

    adopted: bool = True


class StoreTemplate(Action, frozen=True, kw_only=True):
    """Keep the whole template of a revision, so that it can be written back whatever becomes of its ReplicaSet."""

    revision: str
    role: Literal["stable", "candidate"]
    by: str = ""  # how it became stable: Proven, Adopted, Person, Override, ...


class RememberFailure(Action, frozen=True, kw_only=True):
    """A revision failed: kept with its template, so that neither a restart nor a new Canary tries it again unasked."""

    revision: str
    sentence: str
    reason: str = ""


class ForgetFailure(Action, frozen=True, kw_only=True):
    revision: str


class EnsureCanary(Action, frozen=True, kw_only=True):
    """The canary Deployment of `revision` exists with `replicas`, and the canary Service selects it."""

    revision: str
    replicas: int


class EnsureService(Action, frozen=True, kw_only=True):
    """The canary Service exists, like the user's, and selects what it selected before: nothing, until the first release."""


class DeleteCanary(Action, frozen=True, kw_only=True):
    """No canary Deployment is left."""


class SetWeight(Action, frozen=True, kw_only=True):
    """Every route sends `weight` percent to the canary, and what is picked besides; its backend is added at 0 where it is missing."""

    weight: int
    pick: Pick | None = None


class RestoreRoutes(Action, frozen=True, kw_only=True):
    """Every route is as it was found, owners included."""


class SetFlag(Action, frozen=True, kw_only=True):
    """This share of the flag; `gated`: only on canary pods. `enforced`: also over what a person raised, which is lowered."""

    name: str
    percent: int
    cohorts: tuple[Share, ...] = ()
    gated: bool = True
    enforced: bool = False


class ZeroFlags(Action, frozen=True, kw_only=True):
    """These flags back to 0, no preflight, one call each; None: every flag that was taken."""

    names: tuple[str, ...] | None = None


class RestoreFlags(Action, frozen=True, kw_only=True):
    """These flags as they were found; None: every flag that was taken."""

    names: tuple[str, ...] | None = None


class FinishFlag(Action, frozen=True, kw_only=True):
    """The gate is swapped away after a promotion."""

    name: str
    percent: int
    cohorts: tuple[Share, ...] = ()


class ReleaseFlags(Action, frozen=True, kw_only=True):
    """After a promotion these flags belong to their people again, as they are; None: every flag that was taken."""

    names: tuple[str, ...] | None = None


class LiftFloor(Action, frozen=True, kw_only=True):
    """The autoscaler keeps at least `minimum` stable pods while traffic is away."""

    minimum: int


class RestoreFloor(Action, frozen=True, kw_only=True):
    pass


class PauseWorkload(Action, frozen=True, kw_only=True):
    """`hold: Always`: the Deployment stays paused between releases."""


class ReleaseHold(Action, frozen=True, kw_only=True):
    """Un-pause, if and only if the template is still that of `revision`."""

    revision: str


class RestoreTemplate(Action, frozen=True, kw_only=True):
    """Write the stored template of `revision` back and un-pause, if the template is still `expected`."""

    revision: str
    expected: str


class PutTemplate(Action, frozen=True, kw_only=True):
    """Write the stored template of `revision` and keep it held, if the template is still `expected`: an undo is a release like any other."""

    revision: str
    expected: str
    by: str  # whose word it was


class ResizeReplicaSets(Action, frozen=True, kw_only=True):
    """Finish a frozen roll: scale two ReplicaSets in lock step."""

    sizes: tuple[tuple[str, int], ...]


class DropFinalizer(Action, frozen=True, kw_only=True):
    pass


Actions = (
    Adopt
    | StoreTemplate
    | RememberFailure
    | ForgetFailure
    | EnsureCanary
    | EnsureService
    | DeleteCanary
    | SetWeight
    | RestoreRoutes
    | SetFlag
    | ZeroFlags
    | RestoreFlags
    | FinishFlag
    | ReleaseFlags
    | LiftFloor
    | RestoreFloor
    | PauseWorkload
    | ReleaseHold
    | RestoreTemplate
    | PutTemplate
    | ResizeReplicaSets
    | DropFinalizer
)

EventReason = Literal[
    "Adopted",
    "Held",
    "Started",
    "Step",
    "Weight",
    "Paused",
    "Resumed",
    "Promoting",
    "Promoted",
    "RollingBack",
    "RolledBack",
    "Inconclusive",
    "Waiting",
    "Refused",
    "Bypassed",
    "StableLost",
    "Released",
    "TakenBack",
    "Superseded",
    "CommandRefused",
    "KnownBad",
    "Approved",
    "Undone",
    "FlagDue",
    "Observing",
    "Observed",
]


class Event(Fact, frozen=True, kw_only=True):
    """Something people are told: as a Kubernetes Event, and by notifiers that asked for it."""

    reason: EventReason
    message: str
    warning: bool = False
    revision: str = ""


class Decision(Fact, frozen=True, kw_only=True):
    """The next status, the writes, the news, and when to look again at the latest (seconds)."""

    status: CanaryStatus
    actions: tuple[Actions, ...] = ()
    events: tuple[Event, ...] = ()
    again_in: float | None = None
