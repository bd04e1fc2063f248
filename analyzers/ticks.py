"""What goes into the judge and what comes out: plain values, so that the daemon, the tests and the replay speak alike."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Action(StrEnum):
    """What the judge would do next; `decide` clamps it to the step."""

    HOLD = "Hold"
    ADVANCE = "Advance"
    PROMOTE = "Promote"
    ROLLBACK = "Rollback"
    INCONCLUSIVE = "Inconclusive"


class Verdict(StrEnum):
    PASS = "Pass"  # noqa: S105 - a verdict, not a password
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"
    NO_DATA = "NoData"
    PENDING = "Pending"


class Code(StrEnum):
    """Why; stable words that sentences, conditions and tests are built on."""

    WORSE_THAN_TOLERATED = "WorseThanTolerated"
    LEANING_BAD = "LeaningBad"
    PROVEN_FINE = "ProvenFine"
    MORE_EVIDENCE_NEEDED = "MoreEvidenceNeeded"
    RISK_BUDGET = "RiskBudget"
    WARMING_UP = "WarmingUp"
    SETTLING = "Settling"
    BASELINE_SICK = "BaselineSick"
    BOTH_WORSENED = "BothWorsened"
    NO_CANARY_TRAFFIC = "NoCanaryTraffic"
    NO_TRAFFIC = "NoTraffic"
    NO_CONTROL = "NoControl"
    NO_WEIGHT = "NoWeight"
    DATA_PROBLEM = "DataProblem"
    DEADLINE = "DeadlineReached"
    SPLIT_BROKEN = "SplitBroken"
    BAKING = "Baking"
    NOT_RANDOM = "NotRandom"
    TOO_FEW_UNITS = "TooFewUnits"
    CLIMBING = "Climbing"


class ProblemKind(StrEnum):
    """What can be wrong with the data of a tick. Any of them makes the tick unusable, never evidence."""

    STALE = "Stale"
    PARTIAL = "Partial"
    FOREIGN_WRITE = "ForeignWrite"
    AGGREGATED = "AggregatedCounter"
    PROVIDER_ERROR = "ProviderError"
    MISSING_ARM = "MissingArm"
    MALFORMED = "Malformed"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    kind: ProblemKind
    text: str
    metric: str = ""


class ArmCounts(msgspec.Struct, frozen=True, array_like=True):
    """Disjoint increments of one arm in one tick. Whole numbers only: they are the evidence that is stored."""

    requests: int
    errors: int


class MetricCounts(msgspec.Struct, frozen=True, array_like=True):
    """Both arms of one metric over the same interval; None where an arm delivered nothing."""

    canary: ArmCounts | None
    baseline: ArmCounts | None


class BucketCounts(msgspec.Struct, frozen=True, array_like=True):
    """Both arms' increments per bucket (not cumulative, +Inf last); None where an arm delivered nothing."""

    canary: tuple[int, ...] | None
    baseline: tuple[int, ...] | None


class GaugeValues(msgspec.Struct, frozen=True, array_like=True):
    """Both arms' means per unit (a pod, a request) over the interval; None where an arm delivered nothing."""

    canary: float | None
    baseline: float | None


class SplitCounts(msgspec.Struct, frozen=True, array_like=True):
    """Requests that the router sent to each arm, for the test of the share itself."""

    canary: int
    baseline: int


class Assignment(StrEnum):
    """How requests came to the canary. Only random ones compare like with like."""

    RANDOM = "Random"
    SELECTED = "Selected"  # header, cookie or cohort match: only an outage counts
    MIRRORED = "Mirrored"  # copies: bad news count, good ones do not


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """One frozen interval of the grid: everything the judge may know about it.

    `index` is the absolute number of the grid point (epoch seconds / scrape interval), `weight` the canary's observed
    percent of the traffic (of the mirrored requests, for a mirror), `warm` whether the canary's pods are past their cold start, `settled`
    whether the router and the flags have settled after the last change, `units` how many pods (canary, baseline) served.
    `arms`, `buckets` and `gauges` are by metric name.
    """

    index: int
    at: float
    weight: float
    arms: dict[str, MetricCounts]
    warm: bool = True
    settled: bool = True
    problems: tuple[Problem, ...] = ()
    buckets: dict[str, BucketCounts] = msgspec.field(default_factory=dict)
    gauges: dict[str, GaugeValues] = msgspec.field(default_factory=dict)
    split: SplitCounts | None = None
    units: tuple[int, int] | None = None
    assignment: Assignment = Assignment.RANDOM


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    code: Code
    text: str
    numbers: dict[str, float] = msgspec.field(default_factory=dict)
    metric: str = ""


class MetricEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `status.metrics`: counts, evidence and bounds. Logs are natural; rates and excesses are fractions.

    `bound` is what was shown, `widened` the bound promoted against, in words, where so few pods cannot prove the declared one.
    """

    name: str
    weight: float
    canary_requests: int
    canary_errors: int
    baseline_requests: int
    baseline_errors: int
    log_e_worse: float
    log_e_catastrophe: float
    log_e_fine: float
    odds_worse: float
    excess_upper_pp: float | None
    ratio_low: float | None
    ratio_high: float | None
    phi: float
    calm: bool
    ticks_used: int
    fine_proven: bool
    seconds_needed: float | None
    kind: str = "Ratio"
    worse: str = "Higher"
    bound: str = ""
    widened: str = ""
    boundary: float | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`wanted_weight` is a ceiling the judge asks for (retreat, rollback), None when it has no wish. With an adaptive ramp it is the
    weight to set next, always given.

    Verdict `NoData` comes with `Hold`: what to do without traffic is the owner's choice, not the judge's.
    """

    action: Action
    verdict: Verdict
    wanted_weight: float | None
    reasons: tuple[Reason, ...]
    metrics: tuple[MetricEvidence, ...]
    log_e_total: float
    log_e_needed: float

    @property
    def code(self) -> Code:
        return self.reasons[0].code
