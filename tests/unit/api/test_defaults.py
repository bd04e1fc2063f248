"""What holds where a user says nothing: profile over built-in, object over profile."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.canary import (
    Analysis,
    CanarySpec,
    Dwell,
    Flag,
    Metric,
    NotifyRoute,
    Outcome,
    Outcomes,
    Step,
    Strategy,
    Traffic,
    WorkloadRef,
)
from daemon.api.defaults import DWELL, effective, merge
from daemon.api.errors import ApiError
from daemon.api.fields import LocalRef
from daemon.api.kinds import CanaryProfileSpec
from daemon.api.profiles import SHIPPED
from daemon.api.quantities import format_duration, parse_duration, parse_margin
from daemon.api.validation import validate
from tests.unit.api.objects import FULL_CANARY

BARE = CanarySpec(workload_ref=WorkloadRef(name="checkout"))
FULL = msgspec.convert(FULL_CANARY, type=CanarySpec)


def test_a_bare_canary_gets_every_built_in_value() -> None:
    """What a release does when nothing is said, in one place."""
    full = msgspec.to_builtins(effective(BARE))
    assert full["mode"] == "Enforce"
    assert full["hold"] == "Auto"
    assert full["traffic"] == {"mode": "Auto", "identity": "Auto", "drain": "10s"}
    assert full["strategy"] == {"type": "Canary", "ramp": "Adaptive", "baseline": "Stable", "placement": "SideBySide"}
    assert full["steps"] == [{"weight": weight} for weight in (5, 15, 50)]
    assert full["workloadRef"] == {"name": "checkout", "apiVersion": "apps/v1", "kind": "Deployment"}
    assert full["progressDeadline"] == "10m"
    assert full["onRollback"] == "Auto"
    analysis = full["analysis"]
    assert analysis["judge"] == "Statistical"
    assert (analysis["maxFalseRollbackPercent"], analysis["maxBadPromotionPercent"]) == (1.0, 5.0)
    assert (analysis["interval"], analysis["warmUp"], analysis["bake"], analysis["deadline"]) == ("15s", "60s", "15m", "1h")
    assert analysis["outcomes"]["inconclusive"] == {"action": "Wait", "thenAfter": "24h", "then": "Rollback"}
    assert analysis["outcomes"]["noData"] == {"action": "Wait", "thenAfter": "30m", "then": "Rollback"}
    assert analysis["outcomes"]["providerError"] == {"action": "Wait", "thenAfter": "30m", "then": "Rollback"}
    assert analysis["metrics"] == [
        {
            "name": "errors",
            "preset": "HTTPErrorRatio",
            "sourceRef": {"name": "default"},
            "rollbackIfWorseBy": "1.1x+0.02pp",
            "promoteIfWithin": "1.25x+0.3pp",
        },
        {"name": "restarts", "preset": "Restarts"},
    ]


@pytest.mark.parametrize("spec", [BARE, FULL, *(merge(BARE, profile.spec) for profile in SHIPPED)])
def test_the_effective_spec_is_valid_and_stable(spec: CanarySpec) -> None:
    """Filling in introduces no fault, and filling in again changes nothing (a snapshot can be read back)."""
    full = effective(spec)
    assert validate(full) == []
    assert effective(full) == full


def test_scalars_override_lists_replace_structs_merge() -> None:
    """The three rules of a merge, in one object."""
    profile = CanaryProfileSpec(
        traffic=Traffic(mode="Routes"),
        steps=[Step(weight=1), Step(weight=2)],
        analysis=Analysis(deadline="6h", interval="30s"),
        progress_deadline="20m",
    )
    spec = CanarySpec(workload_ref=WorkloadRef(name="a"), steps=[Step(weight=10)], analysis=Analysis(deadline="2h"), on_rollback="Hold")
    merged = merge(spec, profile)
    assert merged.steps == [Step(weight=10)]
    assert merged.analysis == Analysis(deadline="2h", interval="30s")
    assert merged.traffic == Traffic(mode="Routes")
    assert (merged.progress_deadline, merged.on_rollback) == ("20m", "Hold")


def test_an_empty_list_is_the_same_as_none() -> None:
    """`steps: []` does not mean 'no steps': there would be nothing to release by."""
    merged = merge(CanarySpec(workload_ref=WorkloadRef(name="a"), steps=[]), CanaryProfileSpec(steps=[Step(weight=7)]))
    assert merged.steps == [Step(weight=7)]
    assert len(effective(CanarySpec(workload_ref=WorkloadRef(name="a"), steps=[])).steps or []) == 3


def test_an_outcome_replaces_the_profiles_outcome_as_a_whole() -> None:
    """`action: Rollback` must not inherit the profile's `thenAfter`, which would contradict it."""
    profile = CanaryProfileSpec(analysis=Analysis(outcomes=Outcomes(no_data=Outcome(action="Wait", then_after="2h", then="Promote"))))
    spec = CanarySpec(workload_ref=WorkloadRef(name="a"), analysis=Analysis(outcomes=Outcomes(no_data=Outcome(action="Rollback"))))
    full = effective(merge(spec, profile))
    assert full.analysis is not None
    assert full.analysis.outcomes is not None
    assert full.analysis.outcomes.no_data == Outcome(action="Rollback")


def test_a_wait_without_an_end_gets_one() -> None:
    """Every waiting state has a deadline."""
    spec = CanarySpec(workload_ref=WorkloadRef(name="a"), analysis=Analysis(outcomes=Outcomes(inconclusive=Outcome(action="Wait"))))
    full = effective(spec)
    assert full.analysis is not None
    assert full.analysis.outcomes is not None
    assert full.analysis.outcomes.inconclusive == Outcome(action="Wait", then_after="24h", then="Rollback")


def test_sources_come_from_the_object_then_the_profile_then_default() -> None:
    """A metric or flag that names no source uses the profile's; without a profile the one called default."""
    spec = CanarySpec(
        workload_ref=WorkloadRef(name="a"),
        flags=[Flag(name="own", source_ref=LocalRef(name="mine")), Flag(name="other")],
        analysis=Analysis(metrics=[Metric(name="errors", preset="HTTPErrorRatio")]),
    )
    profile = CanaryProfileSpec(metric_source_ref=LocalRef(name="mimir"), flag_source_ref=LocalRef(name="flagd"))
    merged = effective(merge(spec, profile))
    assert [flag.source_ref for flag in merged.flags or []] == [LocalRef(name="mine"), LocalRef(name="flagd")]
    assert merged.analysis is not None
    assert [metric.source_ref for metric in merged.analysis.metrics or []] == [LocalRef(name="mimir")]
    assert [flag.source_ref for flag in effective(spec).flags or []] == [LocalRef(name="mine"), LocalRef(name="default")]


def test_the_profiles_source_serves_the_built_in_metric() -> None:
    """Nobody who leaves the metrics out should have to name one for the sake of its source; what the pods tell has none."""
    merged = merge(BARE, CanaryProfileSpec(metric_source_ref=LocalRef(name="mimir")))
    assert merged.analysis is not None
    assert [(m.name, m.source_ref) for m in merged.analysis.metrics or []] == [("errors", LocalRef(name="mimir")), ("restarts", None)]


def test_only_exposures_without_a_dwell_get_one() -> None:
    """A pause has a duration of its own, and a dwell that was written stays as written."""
    steps = [Step(weight=5), Step(weight=10, dwell=Dwell(min_requests=9)), Step(pause=msgspec.convert({}, type=type(FULL.steps[3].pause)))]  # type: ignore[index]
    by_steps = CanarySpec(workload_ref=WorkloadRef(name="a"), steps=steps, strategy=Strategy(ramp="Steps"))
    assert [step.dwell for step in effective(by_steps).steps or []] == [DWELL, Dwell(min_requests=9), None]
    by_evidence = CanarySpec(workload_ref=WorkloadRef(name="a"), steps=steps)
    assert [step.dwell for step in effective(by_evidence).steps or []] == [None, Dwell(min_requests=9), None]


def test_a_bake_is_the_default_where_evidence_moves_the_weight() -> None:
    """Steps have their own times, and where templates alone decide there is no ramp."""
    found = []
    for ramp, judge in (("Adaptive", None), ("Steps", None), ("Adaptive", "TemplatesOnly")):
        spec = CanarySpec(workload_ref=WorkloadRef(name="a"), strategy=Strategy(ramp=ramp), analysis=Analysis(judge=judge))  # type: ignore[arg-type]
        full = effective(spec)
        assert full.analysis is not None
        found.append(full.analysis.bake)
    assert found == ["15m", None, None]


def test_a_notifier_without_events_hears_of_all() -> None:
    """All seven, and a list that was written stays as written."""
    routes = [NotifyRoute(notifier_ref=LocalRef(name="a")), NotifyRoute(notifier_ref=LocalRef(name="b"), on=["Paused"])]
    full = effective(CanarySpec(workload_ref=WorkloadRef(name="a"), notify=routes))
    assert [len(route.on or []) for route in full.notify or []] == [7, 1]


def test_pod_ratio_is_never_isolated() -> None:
    """The Service itself reaches the canary's pods there."""
    full = effective(CanarySpec(workload_ref=WorkloadRef(name="a"), traffic=Traffic(mode="PodRatio")))
    assert full.traffic == Traffic(mode="PodRatio", identity="Auto", drain="10s")


def test_without_a_profile_the_spec_stays_as_it_is() -> None:
    """Nothing is made up before `effective`."""
    assert merge(FULL, None) == FULL


@given(st.integers(min_value=0, max_value=99_999 * 3_600_000))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    """What is written reads back as the same time, and is short enough for the API."""
    text = format_duration(milliseconds / 1000)
    assert round(parse_duration(text) * 1000) == milliseconds
    assert len(text) <= 24


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("500ms", 0.5), ("2m", 120), ("1h1m1s1ms", 3661.001)])
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    """Sums of parts; `m` and `ms` are not confused."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "1d", "-5m", "1.5h", "m", "5M"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """No guessing of units."""
    with pytest.raises(ApiError, match="such as 90s"):
        parse_duration(text)


@pytest.mark.parametrize("seconds", [-1, 1e12, float(99_999 * 3600 + 3600)])
def test_what_cannot_be_written_as_a_duration_is_refused(seconds: float) -> None:
    """A negative or endless time has no text."""
    with pytest.raises(ApiError, match="between 0s and 99999h"):
        format_duration(seconds)


@pytest.mark.parametrize(
    ("text", "ratio", "slack"),
    [("0.5pp", 1.0, 0.005), ("10%", 1.1, 0.0), ("1.1x", 1.1, 0.0), ("1.1x+0.02pp", 1.1, 0.0002), ("25%+0.3pp", 1.25, 0.003), ("2x", 2, 0)],
)
def test_margins_have_a_relative_and_an_absolute_part(text: str, ratio: float, slack: float) -> None:
    """`0.5pp` allows half a percentage point more, `10%` a tenth more of what the baseline has."""
    margin = parse_margin(text)
    assert margin.ratio == pytest.approx(ratio)
    assert margin.slack == pytest.approx(slack)


@pytest.mark.parametrize("text", ["0.5", "x", "0.9x", "0x", "101pp", "1pp+1pp", "-1pp", "1.1x+5%"])
def test_what_is_no_margin_is_refused(text: str) -> None:
    """Without a unit 0.5 could be a half or half a percent."""
    with pytest.raises(ApiError) as caught:
        parse_margin(text)
    assert caught.value.reason == "InvalidMargin"
