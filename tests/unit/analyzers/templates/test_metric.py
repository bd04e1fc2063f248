"""How measurements add up: the vectors of Argo and Flagger, and what must hold of every sequence."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.templates import run
from analyzers.templates.metric import (
    ERROR_RETRY,
    Measurement,
    Metric,
    OnNoData,
    Phase,
    Range,
    Result,
    add,
    again,
    assess,
    check,
    due,
    judge,
    without_data,
)

LETTERS = {"S": Phase.SUCCESSFUL, "F": Phase.FAILED, "I": Phase.INCONCLUSIVE, "E": Phase.ERROR, "N": Phase.NO_DATA}


def metric(**fields: Any) -> Metric:
    given: dict[str, Any] = {"interval": 10.0, **fields}
    return Metric(name="m", **given)


def fed(spec: Metric, letters: str) -> Result:
    """The result after measurements of these phases, ten seconds apart."""
    result = Result(name=spec.name)
    for place, letter in enumerate(letters.split()):
        result = add(spec, result, Measurement(phase=LETTERS[letter], finished_at=10.0 * place, value=str(place)))
    return result


FIVE: dict[str, Any] = {"count": 5, "failure_limit": 2}
STREAK: dict[str, Any] = {"count": 5, "failure_limit": 2, "consecutive_success_limit": 3}
VECTORS: list[tuple[dict[str, Any], str, Phase]] = [
    (FIVE, "F F S S S", Phase.SUCCESSFUL),
    (FIVE, "F F F", Phase.FAILED),
    (FIVE, "S S F F S", Phase.SUCCESSFUL),
    ({}, "F", Phase.FAILED),
    ({"interval": None}, "S", Phase.SUCCESSFUL),
    ({}, "S S S", Phase.RUNNING),
    ({}, "E E E E S", Phase.RUNNING),
    ({}, "E E E E E", Phase.ERROR),
    ({"count": 2}, "E S E S", Phase.SUCCESSFUL),
    ({}, "I", Phase.INCONCLUSIVE),
    ({"count": 3, "inconclusive_limit": 3}, "I I I", Phase.SUCCESSFUL),
    (STREAK, "S S S", Phase.SUCCESSFUL),
    (STREAK, "S F S S F", Phase.INCONCLUSIVE),
    ({"count": 5, "failure_limit": -1, "consecutive_success_limit": 3}, "S S F S S", Phase.FAILED),
    ({"count": 3, "failure_limit": 1}, "F I", Phase.INCONCLUSIVE),
    ({"count": 3, "failure_limit": 1, "inconclusive_limit": 1}, "F I F", Phase.FAILED),
    (STREAK, "S S E S", Phase.RUNNING),
    # what has no data is not counted at all
    ({"count": 2}, "N N N N N N N S", Phase.RUNNING),
    ({"count": 2}, "S N S", Phase.SUCCESSFUL),
    ({}, "E E E E N E", Phase.RUNNING),
    (STREAK, "S S N S", Phase.SUCCESSFUL),
]


@pytest.mark.parametrize(("fields", "letters", "expected"), VECTORS)
def test_measurements_add_up_as_with_argo(fields: dict[str, Any], letters: str, expected: Phase) -> None:
    """The published behaviour, row by row; failureLimit N tolerates N and stops at the next."""
    assert fed(metric(**fields), letters).phase is expected


def test_a_metric_without_end_is_successful_once_it_is_ended() -> None:
    """Interval only: it measures until the run ends."""
    spec = metric()
    assert assess(spec, fed(spec, "S S S"), ending=True) is Phase.SUCCESSFUL
    assert assess(spec, Result(name="m"), ending=True) is Phase.SUCCESSFUL


def test_nothing_is_measured_after_the_failure_that_decided() -> None:
    """The third failure of two tolerated ends the metric; later looks change nothing."""
    spec = metric(**FIVE)
    failed = fed(spec, "F F F")
    assert due(spec, failed, 0.0) is None
    assert add(spec, failed, Measurement(phase=Phase.SUCCESSFUL, finished_at=99.0)) == failed


def test_one_bad_metric_ends_the_others_and_the_run() -> None:
    """A Failed and B Running: B is ended, the run has failed."""
    specs = (metric(), Metric(name="b", interval=10.0))
    results = run.settle(specs, (fed(specs[0], "F"), msgspec.structs.replace(fed(specs[1], "S"), name="b")))
    assert run.phase_of(results) is Phase.FAILED
    assert results[1].phase is Phase.SUCCESSFUL
    assert run.deciding(specs, results) == (specs[0], results[0])


def test_a_dry_run_never_matters() -> None:
    """A dry-run metric that failed beside one that is fine: the run is fine, and says what the dry run would have said."""
    specs = (metric(dry_run=True), Metric(name="b"))
    results = run.settle(specs, (fed(specs[0], "F"), fed(specs[1], "S")))
    assert run.phase_of(results) is Phase.SUCCESSFUL
    assert run.summary(results, dry=True).failed == 1
    assert run.summary(results).failed == 0


def test_a_run_ended_before_any_sample_is_successful() -> None:
    """As with Argo; what a release makes of a run that never measured is the release's business."""
    specs = (metric(),)
    assert run.phase_of(run.settle(specs, run.fresh(specs), ending=True)) is Phase.SUCCESSFUL


def test_measurements_are_taken_at_the_right_times() -> None:
    """initialDelay, then the interval from the end of each; an error is tried again after ten seconds whatever the interval."""
    spec = metric(initial_delay=30.0, interval=60.0)
    assert due(spec, Result(name="m"), 1000.0) == 1030.0
    assert due(spec, fed(spec, "S"), 1000.0) == 60.0
    assert due(spec, fed(spec, "S E"), 1000.0) == 10.0 + ERROR_RETRY


def test_only_the_newest_measurements_are_kept_and_all_are_counted() -> None:
    """measurementRetention bounds what is stored, never what is counted."""
    result = fed(metric(retention=3), "S S S S S")
    assert [m.value for m in result.measurements] == ["2", "3", "4"]
    assert result.successful == 5


CONDITIONS: list[tuple[dict[str, Any], Any, Phase]] = [
    ({}, [0.1], Phase.SUCCESSFUL),
    ({"success": "result[0] < 0.5"}, [0.1], Phase.SUCCESSFUL),
    ({"success": "result[0] < 0.5"}, [0.9], Phase.FAILED),
    ({"failure": "result[0] > 0.5"}, [0.9], Phase.FAILED),
    ({"failure": "result[0] > 0.5"}, [0.1], Phase.SUCCESSFUL),
    ({"success": "result > 5", "failure": "result < 3"}, 2, Phase.FAILED),
    ({"success": "result > 5", "failure": "result < 3"}, 4, Phase.INCONCLUSIVE),
    ({"success": "result > 5", "failure": "result < 3"}, 6, Phase.SUCCESSFUL),
    ({"success": "result > 1", "failure": "result > 0"}, 2, Phase.FAILED),
    ({"success": "result / 0 > 1"}, 1, Phase.ERROR),
    # where Argo answers from NaN or from nothing, this one has no data
    ({"success": "result[0] < 0.5"}, [math.nan], Phase.NO_DATA),
    ({"failure": "result[0] > 0.5"}, [math.nan], Phase.NO_DATA),
    ({"success": "result[0] < 0.5"}, [], Phase.NO_DATA),
    ({}, [], Phase.NO_DATA),
    ({}, None, Phase.NO_DATA),
    # and with onNoData it does as it is told
    ({"success": "result[0] < 0.5", "on_no_data": OnNoData.EVALUATE}, [math.nan], Phase.FAILED),
    ({"failure": "result[0] > 0.5", "on_no_data": OnNoData.EVALUATE}, [math.nan], Phase.SUCCESSFUL),
    ({"success": "result[0] < 0.5", "failure": "result[0] > 0.5", "on_no_data": OnNoData.EVALUATE}, [math.nan], Phase.INCONCLUSIVE),
    ({"success": "result[0] < 0.5", "on_no_data": OnNoData.EVALUATE}, [], Phase.ERROR),
    ({"success": "result[0] < 0.5", "on_no_data": OnNoData.ERROR}, [], Phase.ERROR),
    ({"success": "result[0] < 0.5", "on_no_data": OnNoData.INCONCLUSIVE}, [math.nan], Phase.INCONCLUSIVE),
    ({"success": "result[0] < 0.5", "on_no_data": OnNoData.FAILED}, [math.nan], Phase.FAILED),
    ({"success": "result[0] < 0.5", "on_no_data": OnNoData.SUCCESSFUL}, [], Phase.SUCCESSFUL),
]


@pytest.mark.parametrize(("fields", "value", "expected"), CONDITIONS)
def test_one_value_is_judged_by_its_conditions(fields: dict[str, Any], value: Any, expected: Phase) -> None:
    """None, one or both conditions; failure wins; no data is what onNoData says."""
    assert judge(metric(**fields), value, 1.0).phase is expected


FLAGGER: list[tuple[Range, Any, Phase]] = [
    (Range(min=99), 99.0, Phase.SUCCESSFUL),
    (Range(min=99), 98.9, Phase.FAILED),
    (Range(max=500), 500, Phase.SUCCESSFUL),
    (Range(max=500), 501, Phase.FAILED),
    (Range(min=1, max=5), 0.5, Phase.FAILED),
    (Range(min=1, max=5), 3, Phase.SUCCESSFUL),
    (Range(min=1), math.inf, Phase.SUCCESSFUL),
    (Range(max=1), math.inf, Phase.FAILED),
    (Range(max=1), [0.5, 2.0], Phase.FAILED),
    (Range(max=1), [0.5], Phase.SUCCESSFUL),
    (Range(max=1), math.nan, Phase.NO_DATA),
    (Range(max=1), [], Phase.NO_DATA),
    (Range(max=1), "much", Phase.ERROR),
]


@pytest.mark.parametrize(("wanted", "value", "expected"), FLAGGER)
def test_a_threshold_range_is_judged_as_with_flagger(wanted: Range, value: Any, expected: Phase) -> None:
    """Below min or above max fails; what is on the bound passes."""
    assert judge(metric(range=wanted), value, 1.0).phase is expected


@pytest.mark.parametrize("value", [math.nan, []])
def test_no_data_is_a_failed_check_where_that_is_asked_for(value: Any) -> None:
    """Flagger counts every absence as a failed check; `onNoData: Failed` says the same."""
    assert judge(metric(range=Range(max=1), on_no_data=OnNoData.FAILED), value, 1.0).phase is Phase.FAILED
    assert without_data(metric(on_no_data=OnNoData.FAILED), "empty", 1.0).phase is Phase.FAILED


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"count": 3, "interval": None}, "interval"),
        ({"failure_limit": -1}, "consecutiveSuccessLimit"),
        ({"count": 3, "failure_limit": 2, "consecutive_success_limit": 2}, "count"),
        ({"count": 1, "interval": None, "inconclusive_limit": 2}, "count"),
        ({"success": "result <"}, "successCondition"),
        ({"failure": "bogus > 1"}, "failureCondition"),
        ({"range": Range(), "success": None}, "thresholdRange"),
        ({"range": Range(min=1), "success": "result > 1"}, "thresholdRange"),
        ({"range": Range(min=5, max=1)}, "thresholdRange"),
    ],
)
def test_a_metric_that_contradicts_itself_is_named(fields: dict[str, Any], field: str) -> None:
    """What no sequence of measurements could make sense of is found before any is taken."""
    assert field in [name for name, _ in check(metric(**fields))]


def test_a_sound_metric_has_no_fault() -> None:
    """The usual form passes."""
    assert check(metric(count=5, failure_limit=2, success="result[0] >= 0.95")) == []


def test_the_clause_names_metric_value_and_wish() -> None:
    """What people read of a failure has the measured value in it."""
    spec = Metric(name="success-rate", interval=10.0, success="result[0] >= 0.95", failure_limit=1)
    result = Result(name="success-rate")
    for value in ([0.99], [0.91], [0.88]):
        result = add(spec, result, judge(spec, value, 1.0))
    assert run.said(spec, result) == "success-rate measured [0.88], wanted result[0] >= 0.95 (2 of 3 failed, 1 tolerated)"


def test_errors_that_ended_a_metric_may_be_left_behind() -> None:
    """A provider that came back: what was counted stays counted."""
    spec = metric(failure_limit=1)
    ended = fed(spec, "F E E E E E")
    assert ended.phase is Phase.ERROR
    assert add(spec, again(ended), Measurement(phase=Phase.FAILED, finished_at=99.0)).phase is Phase.FAILED
    assert again(fed(spec, "F F")).phase is Phase.FAILED


metrics = st.builds(
    Metric,
    name=st.just("m"),
    interval=st.just(10.0),
    count=st.none() | st.integers(1, 8),
    failure_limit=st.integers(-1, 4),
    inconclusive_limit=st.integers(0, 4),
    consecutive_error_limit=st.integers(0, 4),
    consecutive_success_limit=st.integers(0, 4),
    retention=st.integers(1, 12),
)
sequences = st.lists(st.sampled_from("SFIEN"), max_size=40).map(" ".join)


@given(spec=metrics, letters=sequences)
def test_what_must_hold_of_every_sequence(spec: Metric, letters: str) -> None:
    """Counts are those of the looks taken; a verdict never changes; no failure is tolerated above its limit."""
    result = Result(name="m")
    for letter in letters.split():
        before = result
        result = add(spec, result, Measurement(phase=LETTERS[letter], finished_at=1.0))
        if before.completed:
            assert result == before
            continue
        assert len(result.measurements) <= spec.retention
        if not result.completed:
            assert spec.failure_limit < 0 or result.failed <= spec.failure_limit
            assert result.inconclusive <= spec.inconclusive_limit
            assert result.consecutive_error <= spec.consecutive_error_limit
            assert spec.count is None or result.count < spec.count
        elif spec.count is not None:
            assert result.count <= spec.count


@given(spec=metrics, letters=st.lists(st.sampled_from("NE"), max_size=40).map(" ".join))
def test_nothing_good_or_bad_comes_of_rubbish(spec: Metric, letters: str) -> None:
    """Errors and absent data alone never succeed and never fail."""
    assert fed(spec, letters).phase in (Phase.PENDING, Phase.RUNNING, Phase.ERROR)


@given(spec=metrics, letters=sequences)
def test_a_result_survives_storage(spec: Metric, letters: str) -> None:
    """A restarted daemon goes on from exactly what was stored."""
    result = fed(spec, letters)
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
