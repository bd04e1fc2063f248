"""The ratio test against published vectors, exact enumeration, and inputs that must not hurt it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.stats.ratio import FINE_PRIOR, WORSE_PRIOR, Evidence, Margin, RatioOptions, RatioState, RatioTest, count_increment


@pytest.mark.parametrize(
    ("counts", "rho", "margin", "expected"),
    [
        ((9, 750, 14, 14250), (1.5, 2, 5, 20), (1.1, 2e-4), (2.959282, 4.878419, 9.466709, 9.245257)),
        ((7, 20, 11, 80), (1.5, 2, 5, 20), (1.0, 0.0), (1.122673, 1.570242, 0.685905, -7.264961)),
        ((0, 1000, 9, 9000), (0.05, 0.3, 0.8), (1.25, 3e-3), (3.938539, 2.819080, 0.762234)),
    ],
)
def test_an_increment_equals_the_reference_vectors(counts: Any, rho: Any, margin: Any, expected: Any) -> None:
    """Three rows of the reference table: with margin, without, and the bet on fine."""
    x_c, n_c, x_b, n_b = counts
    got = count_increment(x_c, n_c, x_b, n_b, np.array(rho, dtype=float), ratio=margin[0], slack=margin[1])
    assert got == pytest.approx(expected, abs=1e-6)


def _expectation(n_c: int, n_b: int, p_c: float, p_b: float, rho: float, margin: tuple[float, float]) -> float:
    total = 0.0
    for x_c, x_b in itertools.product(range(n_c + 1), range(n_b + 1)):
        chance = math.comb(n_c, x_c) * p_c**x_c * (1 - p_c) ** (n_c - x_c) * math.comb(n_b, x_b) * p_b**x_b * (1 - p_b) ** (n_b - x_b)
        bet = count_increment(x_c, n_c, x_b, n_b, np.array([rho]), ratio=margin[0], slack=margin[1])[0]
        total += chance * math.exp(bet)
    return total


@pytest.mark.parametrize("sizes", [(1, 11), (4, 8), (6, 6), (9, 3), (11, 1)])
@pytest.mark.parametrize("p_b", [0.01, 0.2, 0.6])
@pytest.mark.parametrize(
    ("rho", "margin"), [(2.0, (1.1, 2e-4)), (20.0, (1.0, 0.03)), (1.4, (1.3, 0.01)), (0.3, (1.25, 3e-3)), (0.8, (1.0, 0.05))]
)
def test_on_the_boundary_of_the_null_no_bet_wins_on_average(sizes: Any, p_b: Any, rho: Any, margin: Any) -> None:
    """Exact enumeration of all outcomes: the expectation of a tick's bet is at most 1 (75 parameter sets)."""
    p_c = min(1.0, margin[0] * p_b + margin[1])
    n_c, n_b = sizes
    assert _expectation(n_c, n_b, p_c, p_b, rho, margin) <= 1 + 1e-9


def test_without_the_slack_term_the_enumeration_would_complain() -> None:
    """The check can fail: betting as if the slack were zero wins on average at the boundary with slack."""
    p_b, slack = 0.05, 0.05
    total = 0.0
    for x_c, x_b in itertools.product(range(7), range(7)):
        chance = math.comb(6, x_c) * 0.1**x_c * 0.9 ** (6 - x_c) * math.comb(6, x_b) * p_b**x_b * (1 - p_b) ** (6 - x_b)
        total += chance * math.exp(count_increment(x_c, 6, x_b, 6, np.array([2.0]), ratio=1.0, slack=0.0)[0])
    assert slack > 0
    assert total > 1.01


def test_the_priors_are_distributions() -> None:
    """A prior that adds up to more than 1 would void the error bound."""
    assert WORSE_PRIOR.sum() == pytest.approx(1.0, abs=1e-12)
    assert FINE_PRIOR.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_new_test_has_bet_nothing() -> None:
    """Before the first tick all evidence is exactly even."""
    evidence = RatioTest().peek()
    assert evidence.log_e_worse == pytest.approx(0.0, abs=1e-12)
    assert evidence.log_e_catastrophe == pytest.approx(0.0, abs=1e-12)
    assert evidence.log_e_fine == pytest.approx(0.0, abs=1e-12)
    assert evidence.excess_upper is None
    assert (evidence.ratio_low, evidence.ratio_high) == (None, None)


@pytest.mark.parametrize(
    "counts",
    [(1, 0, 5, 100), (5, 100, 1, 0), (0, 0, 0, 0), (math.nan, 10, 1, 100), (1, math.inf, 1, 100), (-1, 10, 1, 100), (1, 10, math.nan, 100)],
)
def test_unusable_counts_change_no_evidence(counts: Any) -> None:
    """An empty arm, a NaN, an infinity or a negative count leaves every bet as it was, and finite."""
    test = RatioTest()
    test.update(3, 100, 5, 1000)
    before = test.peek()
    test.update(*counts)
    after = test.peek()
    assert (after.log_e_worse, after.log_e_fine, after.log_e_catastrophe) == (
        before.log_e_worse,
        before.log_e_fine,
        before.log_e_catastrophe,
    )
    assert after.used == before.used
    assert after.ticks == before.ticks + 1


def test_no_tick_adds_more_than_the_cap() -> None:
    """A total failure in one tick is worth the cap and not more; the fine bet has its own, smaller one."""
    test = RatioTest()
    test.update(750, 750, 1, 14250)
    assert test.peek().log_e_worse <= 2.5
    assert test.peek().log_e_catastrophe <= 2.5
    calm = RatioTest()
    calm.update(0, 100_000, 500, 100_000)
    assert calm.peek().log_e_fine == pytest.approx(0.75, abs=1e-9)


def test_dispersion_makes_every_bet_more_careful() -> None:
    """phi = 3 takes two thirds of the evidence away."""
    bold, careful = RatioTest(), RatioTest()
    bold.update(5, 200, 1, 2000, 1.0)
    careful.update(5, 200, 1, 2000, 3.0)
    assert 0 < careful.peek().log_e_worse < bold.peek().log_e_worse


def test_state_survives_json_bit_for_bit() -> None:
    """A restarted daemon goes on exactly where it was, also across the start of a late bet."""
    whole, stopped = RatioTest(), RatioTest()
    rng = np.random.default_rng(1)
    ticks = [(int(a), 100, int(b), 900) for a, b in zip(rng.poisson(1, 60), rng.poisson(5, 60), strict=True)]
    for counts in ticks:
        whole.update(*counts, 1.3)
        stopped.update(*counts, 1.3)
        stopped = RatioTest(stopped.options, msgspec.json.decode(msgspec.json.encode(stopped.state), type=RatioState))
    assert stopped.peek() == whole.peek()


def test_a_late_regression_is_met_by_a_bet_that_has_not_lost_for_long() -> None:
    """Half an hour of good counts must not be paid back first: with late starts the evidence is far larger."""

    def run(restarts: tuple[int, ...]) -> Evidence:
        test = RatioTest(RatioOptions(restarts=restarts))
        for _ in range(120):
            test.update(1, 750, 1, 750)
        for _ in range(6):
            test.update(9, 750, 1, 750)
        return test.peek()

    assert run((20, 40, 60, 80, 120, 160)).log_e_worse > run(()).log_e_worse + 2


def test_the_bound_for_people_tightens_and_holds() -> None:
    """The excess shown is above the true one, and comes down as evidence gathers."""
    test = RatioTest()
    rng = np.random.default_rng(2)
    seen = []
    for _ in range(400):
        test.update(int(rng.binomial(750, 0.012)), 750, int(rng.binomial(750, 0.01)), 750)
        seen.append(test.excess_upper())
    assert seen[-1] == 0.005
    assert seen[20] is not None
    assert seen[20] > seen[-1]


@settings(max_examples=30)
@given(ratio=st.floats(0.3, 10), seed=st.integers(0, 1000))
def test_the_ratio_interval_is_in_order_and_holds_the_observed_ratio(ratio: Any, seed: Any) -> None:
    """The interval is never empty, and the pooled estimate lies inside it."""
    rng, test = np.random.default_rng(seed), RatioTest()
    for _ in range(40):
        test.update(int(rng.poisson(1000 * 0.01 * ratio)), 1000, int(rng.poisson(9000 * 0.01)), 9000)
    e = test.peek()
    observed = (e.canary_errors / e.canary_requests) / (e.baseline_errors / e.baseline_requests)
    assert e.ratio_low is not None
    assert e.ratio_high is not None
    assert e.ratio_low < observed < e.ratio_high


def test_the_rate_of_false_alarms_stays_below_the_promise() -> None:
    """At the edge of the margin, looked at after each of 60 ticks, few runs in a thousand ever reach 100 : 1."""
    rng, alarms = np.random.default_rng(20261123), 0
    options = RatioOptions(tolerated=Margin(ratio=1.1, slack=2e-4))
    for _ in range(300):
        test, top = RatioTest(options), -math.inf
        for _ in range(60):
            test.update(int(rng.binomial(75, 0.0112)), 75, int(rng.binomial(1425, 0.01)), 1425)
            top = max(top, test.peek().log_e_worse)
        alarms += top >= math.log(100)
    assert alarms <= 6
