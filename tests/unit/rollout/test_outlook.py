"""The sentence before a release: what it says of each way of releasing, and that its figures do not flap."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.canary import CanarySpec, Dwell, Pause, Step, Strategy, WorkloadRef
from daemon.api.status import Forecast, ForecastMetric
from daemon.rollout.outlook import Expectation, Outlook, about, climb, describe, expect, figure, steady
from daemon.rollout.steps import RolloutPlan, plan_of

RATES = st.floats(0.001, 1e6)


def plan(*steps: Step, **spec: Any) -> RolloutPlan:
    given_steps = list(steps) or [Step(weight=5, dwell=Dwell(min_duration="2m")), Step(weight=50, dwell=Dwell(min_duration="10m"))]
    given = {"strategy": Strategy(ramp="Steps"), **spec}
    return plan_of(CanarySpec(workload_ref=WorkloadRef(name="shop"), steps=given_steps, **given), gitops=False)


def test_a_ramp_says_that_its_weights_are_ceilings_and_how_long_it_bakes() -> None:
    """Nobody expects 5 % at once, or a promotion before the bake."""
    ramp = plan(Step(weight=5), Step(weight=50), strategy=Strategy(ramp="Adaptive"))
    assert "gets up to 5 %, 50 % of requests of Service shop on HTTPRoute shop, as the evidence allows;" in outlook(plan=ramp, ramped=True)
    assert "at least 15 min, how long is unknown" in outlook(plan=ramp, ramped=True, forecast=Forecast(traffic_unknown="HTTP 503"))


def test_the_time_of_a_ramp_is_that_of_its_proof_or_of_its_steps() -> None:
    """Whichever is longer; a pause is not the judge's time."""
    ramp = plan(Step(weight=5), Step(pause=Pause(duration="2h")), Step(weight=50), strategy=Strategy(ramp="Adaptive"))
    assert climb(ramp, 900.0) == Expectation(seconds=7200.0, fits=True)
    assert climb(plan(Step(weight=5)), 7200.0) == Expectation(seconds=7200.0, fits=False)
    assert climb(ramp, None) == Expectation(seconds=None, fits=False)


def outlook(**changes: Any) -> str:
    known: dict[str, Any] = {
        "plan": plan(),
        "service": "shop",
        "routes": ("HTTPRoute shop",),
        "metrics": ("errors",),
        "source": "Prometheus default",
        "forecast": Forecast(requests_per_second=12, error_percent=0.1, coverage_percent=42, counted_by="Traefik"),
        "expectation": Expectation(seconds=1500, fits=True),
    }
    return describe(Outlook(**{**known, **changes}))


def test_everything_that_a_release_will_do_is_one_sentence() -> None:
    """Hold, steps, Service, route, coverage, metrics with their counter, time, and what becomes of a bad version."""
    forecast = Forecast(
        requests_per_second=12,
        error_percent=0.1,
        coverage_percent=42,
        counted_by="Traefik",
        metrics=[ForecastMetric(name="errors", counter="http_requests_total")],
    )
    assert outlook(forecast=forecast, flags=("new-checkout",)) == (
        "The next template change is held by the API server's policy; the canary then gets 5 %, 50 % of requests of Service shop on "
        "HTTPRoute shop, flag new-checkout with it; about 42 % of the requests that its pods count pass that route (Traefik); errors "
        "(http_requests_total) from Prometheus default every 15 s; at 12 requests/s a verdict takes about 25 min; a bad template is restored."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routes": ()}, "by share of pods; every request of the pods counts"),
        ({"forecast": None}, "passes that route is being measured; errors from Prometheus default every 15 s; at least 12 min"),
        (
            {"forecast": Forecast(requests_per_second=12, coverage_unknown="the source has no counters of a router")},
            "passes that route is unknown: the source has no counters of a router",
        ),
        ({"forecast": Forecast(requests_per_second=12, coverage_percent=100, counted_by="Traefik")}, "; all of the requests that its pods"),
        ({"forecast": Forecast(traffic_unknown="HTTP 503")}, "at least 12 min, how long is unknown: HTTP 503"),
        ({"forecast": Forecast(requests_per_second=0)}, "without requests, as in the last minutes, nothing is ever proven"),
        ({"expectation": Expectation(seconds=1500, fits=True, partly=True)}, "a verdict takes about 25 min by the error ratios; a bad"),
        ({"expectation": None}, "; at least 12 min, at 12 requests/s; a bad"),
        (
            {"expectation": Expectation(seconds=None, fits=False)},
            "at 12 requests/s, 0.1 % of them failing, no proof within these margins is possible",
        ),
        (
            {"expectation": Expectation(seconds=5 * 3600, fits=False)},
            "at 12 requests/s a verdict takes about 5 h, longer than its deadline of 1 h",
        ),
        (
            {"plan": plan(Step(weight=5), Step(name="sign-off", pause=Pause()))},
            "takes about 25 min, and as long as step sign-off waits for a person",
        ),
        ({"forecast": Forecast(requests_per_second=1, metrics=[ForecastMetric(name="errors")])}, "errors (no counter found yet) from"),
        ({"plan": plan(hold="Always")}, "kept paused between releases"),
        ({"plan": plan(on_rollback="Hold")}, "left held (onRollback: Hold)"),
    ],
)
def test_what_is_not_known_is_said_with_the_reason(changes: dict[str, Any], words: str) -> None:
    """One sentence in every case, which the status has room for."""
    text = outlook(**changes)
    assert words in text
    assert text.endswith(".") and ". " not in text
    assert len(text) < 2048


def shown(values: list[float]) -> list[float | None]:
    """What people see while measurements come in."""
    found: Forecast | None = None
    seen = []
    for value in values:
        found = steady(found, Forecast(requests_per_second=figure(value), error_percent=figure(value / 1000), coverage_percent=50))
        seen.append(found.requests_per_second)
    return seen


@given(RATES, st.lists(st.floats(0.88, 1.12), min_size=2, max_size=20))
def test_a_rate_that_only_breathes_is_written_once(rate: float, breaths: list[float]) -> None:
    """Whatever the rate is, twelve percent up and down of it are no news."""
    assert len(set(shown([rate, *(rate * b for b in breaths)]))) == 1


@given(RATES, st.floats(1.5, 100))
def test_a_rate_that_changed_is_shown(rate: float, factor: float) -> None:
    """Half as much again is news."""
    first, second = shown([rate, rate * factor])
    assert first != second


def test_the_last_request_and_the_first_are_news() -> None:
    """Nothing is a share of nothing: no traffic is another sentence."""
    assert shown([0.01, 0, 0.01]) == [0.01, 0, 0.01]


def test_a_source_that_is_away_says_nothing_of_the_traffic() -> None:
    """Figures stay; where there were none, the reason is shown."""
    known, away = Forecast(requests_per_second=12, coverage_percent=42), Forecast(traffic_unknown="HTTP 503")
    assert steady(known, away, failed=True) == known
    assert steady(known, away) == away
    assert steady(Forecast(traffic_unknown="refused"), away, failed=True) == away
    assert steady(None, away, failed=True) == away


@pytest.mark.parametrize(("measured", "seen"), [(49, 42), (33, 42), (53, 53), (30, 30)])
def test_coverage_moves_by_ten_points_or_not_at_all(measured: int, seen: int) -> None:
    """People read 'about 42 %'."""
    assert steady(Forecast(coverage_percent=42), Forecast(coverage_percent=measured)).coverage_percent == seen


@pytest.mark.parametrize(("value", "text"), [(0.0123, 0.012), (0.0, 0.0), (12345, 12000), (9.96, 10.0), (1.26, 1.3)])
def test_a_figure_has_two_digits(value: float, text: float) -> None:
    """More of them would be noise."""
    assert figure(value) == text


def test_evidence_of_all_steps_adds_up() -> None:
    """A proof of 10 min at each weight alone, warm-up of 1 min included: the first step brings a ninth, the second the rest."""
    found = expect(plan(Step(weight=5, dwell=Dwell(min_duration="2m")), Step(weight=50)), 10, lambda _: 600.0, 60)
    assert found.seconds == pytest.approx(120 + (1 - 60 / 540) * 540)
    assert found.fits


def test_steps_that_last_longer_than_the_proof_are_waited_for() -> None:
    """12 min of dwell, and the proof is there before."""
    found = expect(plan(), 1000, lambda _: 120.0, 60)
    assert found.seconds == 720


def test_the_requests_that_a_step_asks_for_take_their_time() -> None:
    """500 canary requests at 5 % of 10/s take 1000 s."""
    found = expect(plan(Step(weight=5, dwell=Dwell(min_requests=500))), 10, lambda _: 120.0, 60)
    assert found.seconds == pytest.approx(1000)


def test_a_proof_after_the_deadline_is_said_to_be_late() -> None:
    """A pause that the owner wrote is not the judge's time."""
    assert not expect(plan(), 1, lambda _: 4000.0, 60).fits
    paused = plan(Step(weight=5, pause=Pause(duration="2h")), Step(weight=50))
    assert expect(paused, 1000, lambda _: 600.0, 60).fits


def test_where_nothing_is_gained_there_is_no_time() -> None:
    """Neither at a weight that leaves no baseline."""
    assert expect(plan(), 10, lambda _: None, 60).seconds is None
    assert expect(plan(Step(weight=100)), 10, lambda _: 600.0, 60).seconds is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(61, "1 min 15 s"), (480, "8 min"), (1441, "25 min"), (8200, "2 h 30 min"), (20000, "6 h"), (200000, "3 days")],
)
def test_an_estimate_is_as_coarse_as_it_is_sure(seconds: float, text: str) -> None:
    """Always up, never down."""
    assert about(seconds) == text
