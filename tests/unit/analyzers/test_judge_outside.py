"""Services and harnesses that the judge was not made with: what a second simulator found, each as a case of its own."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from analyzers.judge import Judge
from analyzers.options import JudgeConfig, MetricConfig, RampConfig, latency, usage
from analyzers.stats.gauge import GaugeOptions, GaugeTest
from analyzers.stats.histogram import HistogramOptions, HistogramTest
from analyzers.stats.ratio import Margin, RatioOptions, RatioTest, count_increment
from analyzers.ticks import Action, ArmCounts, BucketCounts, Code, GaugeValues, MetricCounts, SplitCounts, Tick, Verdict
from bench import judge_unknown
from tests.unit.analyzers.world import config, tick

EDGES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SHAPE = (0.9, 0.5, 0.05, 0.0005, 0.0001, 0.0001)


def test_usage_that_grows_after_ten_good_minutes_is_found() -> None:
    """Ten minutes of a good release are no credit: later starts of the bet never saw them."""
    options = GaugeOptions(unit_variance=1e-4, restarts=(20, 40, 60, 80))
    rng = np.random.default_rng(1)
    late, blind = GaugeTest(options), GaugeTest(msgspec.structs.replace(options, restarts=()))
    for k in range(80):
        canary = math.exp(rng.normal(math.log(1.5) if k >= 40 else 0.0, 0.01))
        for test in (late, blind):
            test.update(canary, 1.0, (2, 20))
    assert late.peek().log_e_worse > math.log(100)
    assert blind.peek().log_e_worse < 0


def test_the_slower_a_canary_the_more_is_heard_of_it() -> None:
    """Ten times the slow requests among few are not a clump: the variance of each arm is that of its own tail."""
    test = HistogramTest(HistogramOptions(edges=EDGES, history=SHAPE))
    rng = np.random.default_rng(2)
    usual = -np.diff([1.0, *SHAPE, 0.0])
    slow = np.array([0.1, 0.4, 0.4, 0.03, 0.03, 0.02, 0.02])
    for _ in range(12):
        test.update(rng.multinomial(60, slow).astype(float), rng.multinomial(6000, usual).astype(float))
    assert test.peek().log_e_worse > math.log(100)
    assert test.phi < 2.5


def test_requests_that_hang_are_seen_where_none_used_to() -> None:
    """One in fifty takes seconds: the first boundary that the baseline hardly ever passes has a bet of its own."""
    test = HistogramTest(HistogramOptions(edges=EDGES, history=SHAPE))
    usual = -np.diff([1.0, *SHAPE, 0.0])
    hang = 0.98 * usual + np.array([0, 0, 0, 0, 0, 0, 0.02])
    rng = np.random.default_rng(3)
    for _ in range(10):
        test.update(rng.multinomial(150, hang).astype(float), rng.multinomial(2850, usual).astype(float))
    assert test.peek().log_e_worse > math.log(100)
    assert test.peek().boundary == 0.5


@pytest.mark.parametrize(("scrape", "cap", "fine"), [(5.0, 2.5, 0.75), (15.0, 2.5, 0.75), (30.0, 3.75, 1.5), (60.0, 3.75, 3.0)])
def test_caps_are_said_for_fifteen_seconds(scrape: Any, cap: Any, fine: Any) -> None:
    """A proof takes no longer with long ticks; a verdict takes two scrapes at least."""
    options = config(scrape_seconds=scrape)
    assert (options.tick_cap, options.tick_fine_cap) == pytest.approx((cap, fine))


@pytest.mark.parametrize("scrape", [5.0, 15.0, 60.0])
def test_a_good_release_is_promoted_at_any_scrape_interval(scrape: Any) -> None:
    """100 rps, none of them failing more than ever: half an hour is enough, and a minute at least."""
    options = config(scrape_seconds=scrape, ramp=RampConfig(bake_seconds=0.0), rps=100.0)
    judge, weight, k, action = Judge(options), options.start_percent, 0, Action.HOLD
    for k in range(int(1800 / scrape)):
        n = int(100 * scrape)
        c = round(n * weight / 100)
        answer = judge.tick(tick(k, weight, (c, round(c * 0.001)), (n - c, round((n - c) * 0.001))))
        assert answer.wanted_weight is not None
        weight, action = answer.wanted_weight, answer.action
        if action is Action.PROMOTE:
            break
    assert action is Action.PROMOTE
    assert k * scrape >= 60


def test_without_history_a_quiet_service_is_promoted_on_what_its_traffic_can_prove() -> None:
    """1 rps: 0.3 pp would take days; the warm-up's traffic says which bound costs 30 requests at most, before anything counts."""
    judge = Judge(config(rps=None))
    answer = None
    for k in range(200):
        answer = judge.tick(tick(k, 50, (8, 0), (8, 0)))
        if answer.action is Action.PROMOTE:
            break
    assert answer is not None
    assert answer.action is Action.PROMOTE
    assert judge.state.rps == pytest.approx(16 / 15)
    again = Judge(judge.config, msgspec.json.decode(msgspec.json.encode(judge.state), type=type(judge.state)))
    assert again.tick(tick(201, 50, (8, 0), (8, 0))) == judge.tick(tick(201, 50, (8, 0), (8, 0)))


def test_a_canary_without_traffic_is_noticed_by_its_buckets_alone() -> None:
    """No counter of requests among the metrics: the histogram counts them too."""
    judge = Judge(JudgeConfig(metrics=(latency("latency", EDGES),)))
    answer = None
    for k in range(12):
        buckets = {"latency": BucketCounts(None, (100, 400, 450, 40, 5, 3, 2))}
        answer = judge.tick(Tick(index=k, at=k * 15.0, weight=5.0, arms={}, buckets=buckets))
    assert answer is not None
    assert answer.verdict is Verdict.NO_DATA
    assert answer.code is Code.NO_CANARY_TRAFFIC


def test_a_canary_as_good_as_the_baseline_is_proven_sooner_than_by_a_grid_alone() -> None:
    """Half of the prior is on "equal", whose odds follow from the baseline's rate and the margin."""
    told, untold = RatioTest(RatioOptions()), RatioTest(RatioOptions())
    for _ in range(20):
        told.update(15, 1500, 15, 1500, 5.0, expected=0.01)
        untold.update(15, 1500, 15, 1500, 5.0)
    assert told.peek().log_e_fine > untold.peek().log_e_fine + 0.3


@pytest.mark.parametrize("expected", [0.001, 0.2, 0.9])
def test_whatever_rate_is_expected_no_bet_on_fine_wins_on_the_edge(expected: Any) -> None:
    """Exact enumeration: the expected rate steers power, never validity."""
    p_b, null, n = 0.2, Margin(ratio=1.25, slack=0.003), 8
    p_c = null.ratio * p_b + null.slack
    rate = min(0.95, max(0.01, expected / (null.ratio * expected + null.slack)))
    total = 0.0
    for x_c in range(n + 1):
        for x_b in range(n + 1):
            chance = math.comb(n, x_c) * p_c**x_c * (1 - p_c) ** (n - x_c) * math.comb(n, x_b) * p_b**x_b * (1 - p_b) ** (n - x_b)
            total += chance * math.exp(count_increment(x_c, n, x_b, n, np.array([rate]), ratio=null.ratio, slack=null.slack)[0])
    assert total <= 1 + 1e-9


RUBBISH = (math.nan, math.inf, -1, -math.inf, 0, 10**12)


def test_rubbish_is_never_evidence() -> None:
    """NaN, infinities, negatives, errors without requests, buckets of another shape, no pods: no exception, no verdict, sums stay finite."""
    options = JudgeConfig(metrics=(MetricConfig(name="errors"), latency("latency", EDGES), usage("cpu")), ramp=RampConfig(), split=True)
    judge, rng, k = Judge(options), np.random.default_rng(4), 0

    def any_of() -> Any:
        return RUBBISH[int(rng.integers(5))]

    for k in range(150):
        answer = judge.tick(
            Tick(
                index=k,
                at=k * 15.0,
                weight=any_of(),
                arms={"errors": MetricCounts(ArmCounts(any_of(), any_of()), ArmCounts(any_of(), any_of()))},
                buckets={
                    "latency": BucketCounts(tuple(any_of() for _ in range(int(rng.integers(1, 9)))), tuple(any_of() for _ in range(7)))
                },
                gauges={"cpu": GaugeValues(any_of(), any_of())},
                split=SplitCounts(any_of(), any_of()),
                units=(0, 0) if k % 3 else None,
            )
        )
        assert answer.action not in {Action.PROMOTE, Action.ROLLBACK}
        assert math.isfinite(answer.log_e_total)
    assert b"null" not in msgspec.json.encode(judge.state.metrics["errors"].ratio)


def test_releases_of_unknown_services_play_to_their_end() -> None:
    """The second simulator runs with any of its settings, and says the same twice."""
    ends = [judge_unknown.play(seed) for seed in range(6)]
    assert [e.outcome for e in ends] == [judge_unknown.play(seed).outcome for seed in range(6)]
    assert not any(e.wrong for e in ends)
