"""Gauges, split, limits, units and dispersion: what each must see, and what it must leave alone."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.special import stdtr

from analyzers.errors import ConfigError
from analyzers.stats.alone import DetectorState, EDetector, OneSampleState, OneSampleTest, before_after_ratio
from analyzers.stats.calm import BaselineHealth
from analyzers.stats.combine import FineProof, Share, conclude, group_log_e
from analyzers.stats.gauge import GaugeOptions, GaugeState, GaugeTest, student_cdf
from analyzers.stats.ratio import Use
from analyzers.stats.split import SplitTest, band_log_e, mirrored_share
from analyzers.stats.units import UnitEffects, estimate


def _gauge(ratio: float, ticks: int = 60, *, variance: float | None = 0.01, seed: int = 1) -> GaugeTest:
    rng, test = np.random.default_rng(seed), GaugeTest(GaugeOptions(unit_variance=variance))
    for _ in range(ticks):
        test.update(ratio * math.exp(0.05 * rng.normal()), math.exp(0.02 * rng.normal()), (2, 20))
    return test


def test_a_canary_that_uses_more_is_seen() -> None:
    """+40 % CPU per request, with a known variance and without."""
    assert _gauge(1.4).peek().log_e_worse > math.log(100)
    assert _gauge(1.4, variance=None).peek().log_e_worse > math.log(100)
    assert _gauge(1.4).peek().ratio == pytest.approx(1.4, rel=0.05)


def test_a_canary_that_uses_the_same_is_fine() -> None:
    """And is neither blamed nor left undecided; a single block proves nothing without a history."""
    assert _gauge(1.0).peek().log_e_fine > math.log(20)
    assert _gauge(1.0).peek().log_e_worse < 0
    assert _gauge(1.0, variance=None).peek().log_e_fine > math.log(20)
    assert _gauge(1.0, 4, variance=None).peek().log_e_fine == 0.0


@pytest.mark.parametrize("nu", [1, 2, 5, 30, 400])
@pytest.mark.parametrize("t", [-40.0, -3.0, -0.2, 0.0, 0.7, 2.5, 12.0])
def test_student_s_distribution_is_scipy_s(nu: Any, t: Any) -> None:
    """Its own lines spare the daemon a second of imports; they must not cost it a digit."""
    assert student_cdf(t, nu) == pytest.approx(float(stdtr(nu, t)), rel=1e-9, abs=1e-14)


def test_the_judge_needs_no_scipy() -> None:
    """Importing it takes a second, in which a daemon would answer nobody; the whole package imports quickly without."""
    code = "import sys, analyzers.judge, analyzers.history, analyzers.evidence, analyzers.planner; print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.strip() == "False"


def test_half_a_block_is_no_observation() -> None:
    """A gap breaks the block; samples before and after it are not averaged together."""
    test = GaugeTest(GaugeOptions(unit_variance=0.01))
    for _ in range(10):
        for _ in range(3):
            test.update(3.0, 1.0, (2, 20))
        test.skip()
    assert test.peek().log_e_worse == pytest.approx(0.0)
    test.update(math.nan, 1.0)
    assert math.isfinite(test.peek().log_e_worse)


def test_the_gauge_s_state_survives_json() -> None:
    """Also in the middle of a block."""
    test = _gauge(1.2, 30)
    again = GaugeTest(test.options, msgspec.json.decode(msgspec.json.encode(test.state), type=GaugeState))
    for one in (test, again):
        one.update(1.2, 1.0, (2, 20), use=Use(fine=False))
        one.update(1.2, 1.0, (2, 20))
    assert again.peek() == test.peek()


def _split(weight: float, share: float, *, ticks: int = 20, requests: int = 1500, seed: int = 1, connections: int = 0) -> SplitTest:
    rng, test = np.random.default_rng(seed), SplitTest()
    seen = rng.binomial(connections, share) / connections if connections else share
    for _ in range(ticks):
        n = int(rng.binomial(requests, seen))
        test.update(n, requests - n, weight, settled=True)
    return test


def test_a_split_as_wanted_or_within_the_band_is_whole() -> None:
    """Every share within a tenth of the weight, over many requests."""
    for share in (0.045, 0.05, 0.055):
        assert not any(_split(0.05, share, seed=s, requests=15_000).broken for s in range(20))


def test_a_split_of_half_as_much_again_is_broken() -> None:
    """1.5 times the weight, and a canary that gets nothing."""
    assert all(_split(0.05, 0.075, seed=s).broken for s in range(20))
    assert _split(0.05, 0.0).broken


def test_a_new_weight_starts_the_split_over() -> None:
    """Counts of another weight are no evidence about this one."""
    test = _split(0.05, 0.09)
    assert test.broken
    test.update(100, 900, 0.1, settled=False)
    assert test.log_e == 0.0
    assert test.share is None


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_share_of_nothing_or_everything_is_not_a_split(weight: Any) -> None:
    """T17: the logs of 0 and 1 never arise."""
    test = SplitTest()
    test.update(0, 1000, weight, settled=True)
    assert test.log_e == 0.0


def test_a_mirrored_request_is_seen_twice() -> None:
    """50 % mirrored is a third of what both arms see; judged as a half it would be broken."""
    assert mirrored_share(50.0) == pytest.approx(1 / 3)
    assert band_log_e(500, 1000, mirrored_share(50.0)) < 0 < band_log_e(500, 1000, 0.5)


def test_a_limit_without_a_baseline() -> None:
    """5 % against a declared 1 % is seen, 0.2 % is shown to be fine, and 1 % is neither."""
    rng = np.random.default_rng(4)
    tests = {p: OneSampleTest(0.01, restarts=(20, 40)) for p in (0.05, 0.002, 0.01)}
    for p, test in tests.items():
        for _ in range(40):
            test.update(int(rng.binomial(200, p)), 200)
    assert tests[0.05].log_e_worse > math.log(100)
    assert tests[0.002].log_e_fine > math.log(20)
    assert max(tests[0.01].log_e_worse, tests[0.01].log_e_fine) < math.log(20)
    again = OneSampleTest(0.01, restarts=(20, 40), state=msgspec.convert(msgspec.to_builtins(tests[0.05].state), OneSampleState))
    assert again.log_e_worse == tests[0.05].log_e_worse
    with pytest.raises(ConfigError, match="the limit is 0"):
        OneSampleTest(0.0)


def test_the_detector_after_a_promotion_waits_without_end_and_still_wakes() -> None:
    """A week of quiet ticks raises nothing; a jump after it is seen within minutes."""
    rng, detector = np.random.default_rng(8), EDetector(0.005)
    assert not any(detector.update(int(rng.binomial(300, 0.004)), 300) for _ in range(20_000))
    detector = EDetector(0.005, state=msgspec.convert(msgspec.to_builtins(detector.state), DetectorState))
    seen = [detector.update(int(rng.binomial(300, 0.03)), 300) for _ in range(20)]
    assert True in seen
    assert seen.index(True) <= 12


def test_without_ten_windows_the_time_before_is_no_control() -> None:
    """The message says what to do instead; with windows that wander the tolerance is as wide as they do."""
    with pytest.raises(ConfigError, match="9 windows of history"):
        before_after_ratio([(10, 1000)] * 9)
    rng = np.random.default_rng(1)
    calm = before_after_ratio([(100, 10_000)] * 12)
    wild = before_after_ratio([(int(100 * math.exp(0.3 * rng.normal())), 10_000) for _ in range(12)])
    assert calm == pytest.approx(1.1)
    assert wild > 1.5


def test_what_pods_differ_by_is_found_and_noise_is_not() -> None:
    """DerSimonian-Laird: 0.1 between 20 pods is found; equal pods give about none; few pods give the default."""
    rng = np.random.default_rng(2)
    differing = estimate(0.1 * rng.normal(size=200) + 0.05 * rng.normal(size=200), np.full(200, 0.0025))
    assert differing.tau == pytest.approx(0.1, abs=0.02)
    assert estimate(0.05 * rng.normal(size=200), np.full(200, 0.0025)).tau < 0.02
    assert estimate(np.zeros(9), np.full(9, 0.01)).tau == 0.1
    assert estimate(rng.normal(size=20), np.full(20, 1.0), precise=0.01).tau == 0.1


def test_few_pods_widen_the_margin_and_many_do_not() -> None:
    """exp(2.58 tau sqrt(1/k_c + 1/k_b)), and how many pods separate 25 % from 5 %."""
    effects = UnitEffects(tau=0.1)
    assert effects.factor(1, 20) == pytest.approx(math.exp(0.258 * math.sqrt(1.05)))
    assert effects.factor(20, 20) < 1.1
    assert effects.least_units(1.05, 1.25, 20) == 3
    assert UnitEffects(tau=1.0).least_units(1.05, 1.25, 20) is None


def test_an_incident_of_the_baseline_is_over_a_minute_after_it() -> None:
    """The last minute is looked at as a whole, and has to have been good for four scrapes."""
    health = BaselineHealth(window_ticks=4, usual_rate=0.001)
    assert health.calm
    assert not health.update(100, 1000, 1.0)
    found = []
    for _ in range(8):
        health.update(1, 1000, 1.0)
        found.append(health.calm)
    assert found == [False] * 6 + [True] * 2


def test_a_conclusion_weighs_the_bad_and_demands_all_the_good() -> None:
    """One metric of three carries the verdict with its weight; one unproven of three withholds the promotion."""
    proof = FineProof(log_e=5.0, recent_gain=1.0, recent_ticks=8)
    poor = FineProof(log_e=1.0, recent_gain=1.0, recent_ticks=8)
    shares = [Share(metric=m, weight=1 / 3, log_e=v) for m, v in (("a", 6.0), ("b", -5.0), ("c", -5.0))]
    found = conclude(shares, {"a": proof, "b": proof, "c": poor}, alpha=0.01, beta=0.05, least_recent_ticks=4)
    assert found.worse
    assert found.total == pytest.approx(6.0 - math.log(3), abs=1e-4)
    assert found.needed == pytest.approx(math.log(100))
    assert found.missing == ("c",)
    assert not found.fine


def test_a_group_is_one_bet() -> None:
    """Two rollouts of equal weight: half of each one's evidence."""
    assert group_log_e({"a": 6.0, "b": -100.0}, {"a": 0.5, "b": 0.5}) == pytest.approx(6.0 + math.log(0.5))
