"""Published vectors, and validity by exact enumeration: sums over every outcome, not simulations looked at by eye."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from analyzers.stats.alone import one_sample_increment
from analyzers.stats.buckets import bernoulli_increment
from analyzers.stats.gauge import EFFECTS, _regression_log_e, gaussian_log_e, one_sided_student_log_e, student_log_e
from analyzers.stats.split import band_log_e, multinomial_log_e

SIZES = ((1, 11), (4, 8), (6, 6), (9, 3), (11, 1))


def _chance(x: int, n: int, p: float) -> float:
    return math.comb(n, x) * p**x * (1 - p) ** (n - x)


def test_the_bernoulli_block_equals_its_reference_vector() -> None:
    """60 of 100 against 480 of 1000."""
    got = bernoulli_increment(np.array(60.0), 100, np.array(480.0), 1000, np.array([0.55, 0.6, 0.7]), np.array(0.5))
    assert got == pytest.approx([1.731470, 2.559076, 1.210658], abs=2e-6)


def test_the_split_equals_the_published_vector() -> None:
    """Three arms (40, 129, 233) against (.1, .4, .5), k = 100: p = 0.0484559."""
    assert math.exp(-multinomial_log_e((40, 129, 233), (0.1, 0.4, 0.5), k=100)) == pytest.approx(0.04845591105969517, rel=1e-9)


@pytest.mark.parametrize(("t", "expected"), [(2, -0.347296), (3, 1.996588), (4, 5.098421), (6, 12.999910)])
def test_the_anytime_t_equals_its_vectors(t: Any, expected: Any) -> None:
    """n = 100, nu = 98, g = 1."""
    assert _regression_log_e(t, 100, 98, 1.0) == pytest.approx(expected, abs=1e-6)


def test_the_one_sided_t_averages_to_the_two_sided_one() -> None:
    """Both directions share the two-sided evidence between them, and the sign decides who has it."""
    up, down, both = one_sided_student_log_e(3.0, 20), one_sided_student_log_e(-3.0, 20), student_log_e(3.0, 20)
    assert 0.5 * (math.exp(up) + math.exp(down)) == pytest.approx(math.exp(both))
    assert up > 0 > down


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("true", [(0.05, 0.05), (0.3, 0.3), (0.8, 0.8), (0.2, 0.5), (0.0, 0.3)])
@pytest.mark.parametrize(("p_c", "p_b"), [(0.4, 0.2), (0.9, 0.5), (0.06, 0.05)])
def test_no_latency_bet_wins_on_average_while_the_canary_is_not_slower(sizes: Any, true: Any, p_c: Any, p_b: Any) -> None:
    """75 sets inside and on the edge of the null, with guesses of the tails that are right or far off."""
    n_c, n_b = sizes
    total = 0.0
    for x_c, x_b in itertools.product(range(n_c + 1), range(n_b + 1)):
        bet = bernoulli_increment(np.array(float(x_c)), n_c, np.array(float(x_b)), n_b, np.array(p_c), np.array(p_b))
        total += _chance(x_c, n_c, true[0]) * _chance(x_b, n_b, true[1]) * math.exp(float(bet))
    assert total <= 1 + 1e-9


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("true", [(0.3, 0.3), (0.5, 0.2)])
def test_no_latency_bet_on_fine_wins_while_the_canary_is_slower(sizes: Any, true: Any) -> None:
    """The other direction, whose null is "the canary's tail is at least the moved baseline's"."""
    n_c, n_b = sizes
    total = 0.0
    for x_c, x_b in itertools.product(range(n_c + 1), range(n_b + 1)):
        bet = bernoulli_increment(np.array(float(x_c)), n_c, np.array(float(x_b)), n_b, np.array(0.15), np.array(0.4))
        total += _chance(x_c, n_c, true[0]) * _chance(x_b, n_b, true[1]) * math.exp(float(bet))
    assert total <= 1 + 1e-9


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("offset", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("total", [1, 5, 12])
def test_no_split_bet_wins_on_average_within_the_band(weight: Any, offset: Any, total: Any) -> None:
    """Every share in the band, its ends included."""
    share = weight + offset * max(0.1 * weight, 0.005)
    expectation = sum(_chance(n, total, share) * math.exp(band_log_e(n, total - n, weight)) for n in range(total + 1))
    assert expectation <= 1 + 1e-9


@pytest.mark.parametrize("n", [1, 7, 12])
@pytest.mark.parametrize(("limit", "rho"), [(0.01, 2.0), (0.2, 4.0), (0.5, 1.4), (0.1, 0.3), (0.6, 0.9)])
def test_no_bet_against_a_limit_wins_on_average(n: Any, limit: Any, rho: Any) -> None:
    """On the limit itself, for both directions."""
    total = sum(_chance(x, n, limit) * math.exp(float(one_sample_increment(x, n, np.array(rho), limit=limit))) for x in range(n + 1))
    assert total <= 1 + 1e-9


def test_no_gauge_bet_wins_on_average() -> None:
    """Gaussian integral on a fine grid: a shift of 0 or less, with the variance that was declared."""
    v = 0.02
    d = np.linspace(-2.0, 2.0, 40_001)
    for mean in (0.0, -0.05):
        density = np.exp(-((d - mean) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        for mu in EFFECTS:
            wins = np.exp([gaussian_log_e(float(x) / v, 1.0 / v, np.array(mu)) for x in d[::40]])
            assert np.trapezoid(wins * density[::40], d[::40]) <= 1 + 1e-6
