"""One metric of a template: when it is measured, what one measurement says, and what all of them together say.

The order of the rules is that of Argo Rollouts, so that a template brought from there decides here as it did. What differs is
only what has no data: that is a phase of its own, and never a success or a failure unless the template says so.
"""

import math
from enum import StrEnum
from typing import Any, Final

import msgspec

from analyzers.templates.conditions import Condition
from analyzers.templates.errors import ConditionError
from analyzers.templates.functions import Absent, is_number, shown, spelt

ERROR_RETRY: Final = 10.0  # seconds after which a measurement that went wrong is tried again, whatever the interval
RETAINED: Final = 10
VALUE: Final = 200  # characters of a stored value


class Phase(StrEnum):
    """Of a measurement, of a metric, and of a run."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"
    NO_DATA = "NoData"  # of a measurement alone: it counts for nothing


class OnNoData(StrEnum):
    """What a measurement without data is."""

    WAIT = "Wait"  # no measurement; the release waits, by the owner's outcomes.noData
    EVALUATE = "Evaluate"  # the conditions get NaN and empty lists as they are, as with the peers
    ERROR = "Error"
    INCONCLUSIVE = "Inconclusive"
    FAILED = "Failed"
    SUCCESSFUL = "Successful"


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Flagger's form: fails below `min` or above `max`. Of a list, every value must lie within."""

    min: float | None = None
    max: float | None = None

    def __str__(self) -> str:
        if self.min is not None and self.max is not None:
            return f"{self.min:g} to {self.max:g}"
        return f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """How a metric is measured and judged. Seconds; None for `count` is one measurement, or with an interval no end."""

    name: str
    interval: float | None = None
    initial_delay: float = 0.0
    count: int | None = None
    success: str | None = None
    failure: str | None = None
    range: Range | None = None
    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive_error_limit: int = 4
    consecutive_success_limit: int = 0
    on_no_data: OnNoData = OnNoData.WAIT
    dry_run: bool = False
    retention: int = RETAINED

    @property
    def measurements(self) -> int | None:
        """How many measurements that count complete it; None: it goes on until it is ended."""
        return self.count if self.count is not None else None if self.interval is not None else 1

    @property
    def wanted(self) -> str:
        """What a good value is, as the sentence says it."""
        if self.range is not None:
            return str(self.range)
        if self.success is not None:
            return self.success
        return f"not {self.failure}" if self.failure is not None else "an answer"


class Measurement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One look. `value` is what was seen, as people read it."""

    phase: Phase
    finished_at: float
    value: str = ""
    message: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All looks at one metric so far. `measurements` are the newest ones; the counts are of all."""

    name: str
    phase: Phase = Phase.PENDING
    successful: int = 0
    failed: int = 0
    inconclusive: int = 0
    error: int = 0
    no_data: int = 0
    consecutive_error: int = 0
    consecutive_success: int = 0
    measurements: tuple[Measurement, ...] = ()
    dry_run: bool = False

    @property
    def count(self) -> int:
        """Measurements that count towards `count`: errors and those without data do not."""
        return self.successful + self.failed + self.inconclusive

    @property
    def completed(self) -> bool:
        return self.phase not in (Phase.PENDING, Phase.RUNNING)

    @property
    def last(self) -> Measurement | None:
        return self.measurements[-1] if self.measurements else None


def check(metric: Metric) -> list[tuple[str, str]]:
    """Faults of a metric as (field, what is wrong and the way out)."""
    found = []
    for field, text in (("successCondition", metric.success), ("failureCondition", metric.failure)):
        try:
            _ = Condition(text) if text is not None else None
        except ConditionError as error:
            found.append((field, f"{text!r} {error}"))
    count, limits = metric.count, metric.failure_limit + metric.consecutive_success_limit
    if count is not None and count > 1 and metric.interval is None:
        found.append(("interval", f"is missing: count is {count}; say how long to wait between two measurements"))
    if metric.failure_limit < 0 and metric.consecutive_success_limit <= 0:
        found.append(("consecutiveSuccessLimit", "is missing: with failureLimit -1 nothing else could end the metric"))
    if count is not None and metric.failure_limit >= 0 and count < limits:
        found.append(("count", f"is {count}, less than failureLimit and consecutiveSuccessLimit together ({limits}): raise it"))
    if count is not None and count < metric.inconclusive_limit:
        found.append(("count", f"is {count}, less than inconclusiveLimit ({metric.inconclusive_limit}): raise it"))
    if metric.range is not None and (metric.success is not None or metric.failure is not None):
        found.append(("thresholdRange", "goes without successCondition and failureCondition: keep one way to say it"))
    if metric.range is not None and metric.range.min is None and metric.range.max is None:
        found.append(("thresholdRange", "needs min, max or both"))
    if metric.range is not None and metric.range.min is not None and metric.range.max is not None and metric.range.min > metric.range.max:
        found.append(("thresholdRange", f"min {metric.range.min:g} is above max {metric.range.max:g}: no value could pass"))
    return found


def judge(metric: Metric, value: Any, at: float) -> Measurement:
    """What one measured value says."""
    said = spelt(value) if not isinstance(value, str) else value
    said = said if len(said) <= VALUE else f"{said[: VALUE - 3]}..."
    as_is = metric.on_no_data is OnNoData.EVALUATE
    try:
        phase = _by_range(metric.range, value) if metric.range is not None else _by_conditions(metric, value, as_is=as_is)
    except ConditionError as error:
        return Measurement(phase=Phase.ERROR, finished_at=at, value=said, message=str(error))
    except Absent as absent:
        return without_data(metric, str(absent), at, value=said)
    return Measurement(phase=phase, finished_at=at, value=said)


def without_data(metric: Metric, why: str, at: float, *, value: str = "") -> Measurement:
    """A look that found nothing, as the template takes it."""
    waits = metric.on_no_data in (OnNoData.WAIT, OnNoData.EVALUATE)
    phase = Phase.NO_DATA if waits else Phase(metric.on_no_data.value)
    return Measurement(phase=phase, finished_at=at, value=value, message=f"no data: {why}")


def _by_range(wanted: Range, value: Any) -> Phase:
    values = value if isinstance(value, list) else [value]
    if not values or any(v is None for v in values):
        raise Absent("the result is empty" if not values else "the value is null")
    for each in values:
        if not is_number(each):
            raise ConditionError(f"{shown(each)} is not a number that thresholdRange could compare: take it by jsonPath or a condition")
        if math.isnan(each):
            raise Absent("the value is NaN")
        if (wanted.min is not None and each < wanted.min) or (wanted.max is not None and each > wanted.max):
            return Phase.FAILED
    return Phase.SUCCESSFUL


def _by_conditions(metric: Metric, value: Any, *, as_is: bool) -> Phase:
    if metric.success is None and metric.failure is None:
        if not as_is and (value is None or value == [] or (isinstance(value, float) and math.isnan(value))):
            raise Absent("the result is empty" if value == [] else f"the value is {spelt(value)}")
        return Phase.SUCCESSFUL
    bad, why_bad = _asked(metric.failure, value, as_is=as_is)
    good, why_good = _asked(metric.success, value, as_is=as_is)
    if bad:
        return Phase.FAILED
    if good:
        return Phase.SUCCESSFUL
    if why_bad is not None or why_good is not None:
        raise Absent(why_bad or why_good or "")
    if metric.failure is None:
        return Phase.FAILED
    return Phase.SUCCESSFUL if metric.success is None else Phase.INCONCLUSIVE


def _asked(text: str | None, value: Any, *, as_is: bool) -> tuple[bool, str | None]:
    """(does it hold, why it has no answer)."""
    if text is None:
        return False, None
    try:
        return Condition(text).ask(value, as_is=as_is), None
    except Absent as absent:
        return False, str(absent)


def add(metric: Metric, result: Result, found: Measurement) -> Result:
    """The result with one more measurement; one that is complete stays as it is."""
    if result.completed:
        return result
    phase = found.phase
    good, went_wrong = phase is Phase.SUCCESSFUL, phase is Phase.ERROR
    no_data = phase is Phase.NO_DATA
    kept = (*result.measurements, found)[-max(1, metric.retention) :]
    updated = msgspec.structs.replace(
        result,
        successful=result.successful + good,
        failed=result.failed + (phase is Phase.FAILED),
        inconclusive=result.inconclusive + (phase is Phase.INCONCLUSIVE),
        error=result.error + went_wrong,
        no_data=result.no_data + no_data,
        consecutive_error=result.consecutive_error + 1 if went_wrong else 0,
        consecutive_success=result.consecutive_success + 1 if good else result.consecutive_success if no_data else 0,
        measurements=kept,
        dry_run=metric.dry_run,
    )
    return msgspec.structs.replace(updated, phase=assess(metric, updated, ending=False))


def assess(metric: Metric, result: Result, *, ending: bool) -> Phase:
    """The metric's phase, by Argo's rules in Argo's order."""
    if result.completed:
        return result.phase
    if not result.measurements and not result.count:
        return Phase.SUCCESSFUL if ending else Phase.PENDING
    phase = Phase.RUNNING
    if metric.failure_limit >= 0 and result.failed > metric.failure_limit:
        phase = Phase.FAILED
    if result.inconclusive > metric.inconclusive_limit:
        phase = Phase.INCONCLUSIVE
    if result.consecutive_error > metric.consecutive_error_limit:
        phase = Phase.ERROR
    if phase is not Phase.RUNNING:
        return phase
    limit = metric.consecutive_success_limit
    if limit > 0 and result.consecutive_success >= limit:
        return Phase.SUCCESSFUL
    if metric.measurements is not None and result.count >= metric.measurements:
        if limit > 0:
            return Phase.INCONCLUSIVE if metric.failure_limit >= 0 else Phase.FAILED
        return Phase.SUCCESSFUL
    return Phase.SUCCESSFUL if ending else Phase.RUNNING


def due(metric: Metric, result: Result, started_at: float) -> float | None:
    """When to measure next; None once it is complete. Intervals run from the end of the last measurement."""
    if result.completed:
        return None
    last = result.last
    if last is None:
        return started_at + metric.initial_delay
    pause = ERROR_RETRY if last.phase is Phase.ERROR or metric.interval is None else metric.interval
    return last.finished_at + pause


def again(result: Result) -> Result:
    """A metric that ended in errors goes on: what was counted stays counted, the row of errors is over."""
    return msgspec.structs.replace(result, phase=Phase.RUNNING, consecutive_error=0) if result.phase is Phase.ERROR else result
