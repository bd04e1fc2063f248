"""The histogram test: margins in time, boundaries that see body and tail, and inputs that must not hurt it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.stats.buckets import slower_weights, survival
from analyzers.stats.histogram import HistogramOptions, HistogramState, HistogramTest

EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def _tail(x: float, median: float = 0.1, sigma: float = 0.6) -> float:
    return 0.5 * math.erfc(math.log(x / median) / sigma / math.sqrt(2))


SHAPE = tuple(min(1 - 1e-6, max(1e-6, _tail(x))) for x in EDGES)


def _counts(n: int, slower: float, rng: np.random.Generator, tail: float = 1.0) -> Any:
    """`tail` stretches only what is slower than the 95th percentile."""
    x = rng.lognormal(math.log(0.1 * slower), 0.6, n)
    x = np.where(x > 0.268, x * tail, x)
    return np.bincount(np.searchsorted(EDGES, x), minlength=len(EDGES) + 1).astype(float)


def _options(**changes: Any) -> HistogramOptions:
    return HistogramOptions(edges=EDGES, **{"history": SHAPE, **changes})


def _run(test: HistogramTest, ticks: int, slower: float = 1.0, *, seed: int = 3, n_c: int = 75, n_b: int = 1425, tail: float = 1.0) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(ticks):
        test.update(_counts(n_c, slower, rng, tail), _counts(n_b, 1.0, rng))


@pytest.mark.parametrize(("factor", "within"), [(1.05, 0.003), (1.25, 0.009)])
def test_moving_the_baseline_is_right_within_a_percent(factor: Any, within: Any) -> None:
    """The interpolated tails of a lognormal on the default buckets, against the truth."""
    shape = np.array(SHAPE)
    weights, known = slower_weights(np.array(EDGES), shape, factor)
    masses = -np.diff(np.concatenate([[1.0], shape, [0.0]]))
    truth = np.array([_tail(x / factor) for x in EDGES])
    assert not known[0]
    assert np.abs((weights @ masses) - truth)[known].max() <= within


def test_a_factor_of_one_moves_nothing() -> None:
    """All requests as slow as they were: the counts beyond each boundary themselves."""
    weights, known = slower_weights(np.array(EDGES), np.array(SHAPE), 1.0)
    counts = np.arange(1.0, len(EDGES) + 2)
    assert known.all()
    assert weights @ counts == pytest.approx(np.cumsum(counts[::-1])[::-1][1:])


@settings(max_examples=50)
@given(factor=st.floats(1.0, 4.0), seed=st.integers(0, 999))
def test_slower_requests_never_make_the_tail_lighter(factor: Any, seed: Any) -> None:
    """For any shape and factor: the moved tail is between the tail itself and everything."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 200, len(EDGES) + 1).astype(float)
    shape = np.clip(survival(rng.integers(1, 200, len(EDGES) + 1).astype(float)), 1e-6, 1 - 1e-6)
    weights, known = slower_weights(np.array(EDGES), shape, factor)
    moved, plain = weights @ counts, np.cumsum(counts[::-1])[::-1][1:]
    assert (moved[known] >= plain[known] - 1e-9).all()
    assert (moved <= counts.sum() + 1e-9).all()


def test_a_slower_canary_is_seen_and_its_boundary_named() -> None:
    """+25 %: evidence beyond 100 : 1 within 25 ticks of 75 requests."""
    test = HistogramTest(_options())
    _run(test, 25, 1.25)
    e = test.peek()
    assert e.log_e_worse > math.log(100)
    assert e.boundary in {0.1, 0.25}
    assert e.tails[0] > e.tails[1]


def test_a_slow_tail_alone_is_seen() -> None:
    """The slowest 5 % three times slower, the body as it was."""
    test = HistogramTest(_options())
    _run(test, 40, tail=3.0)
    e = test.peek()
    assert e.log_e_worse > math.log(100)
    assert e.boundary >= 0.5


@pytest.mark.parametrize("slower", [1.0, 0.8, 1.04])
def test_an_equal_or_faster_canary_is_not_blamed(slower: Any) -> None:
    """Also within the tolerated 5 %, looked at after every tick."""
    for seed in range(8):
        test = HistogramTest(_options())
        rng, top = np.random.default_rng(seed), -math.inf
        for _ in range(60):
            test.update(_counts(150, slower, rng), _counts(1350, 1.0, rng))
            top = max(top, test.peek().log_e_worse)
        assert top < math.log(100)


def test_an_equal_canary_is_proven_not_unacceptably_slower() -> None:
    """At the watched boundaries next to p50, p90 and p99, every one of them."""
    test = HistogramTest(_options())
    _run(test, 24, n_c=300, n_b=1200)
    assert test.watched == (0.1, 0.25, 0.5)
    assert test.peek().log_e_fine > math.log(20)
    slow = HistogramTest(_options())
    _run(slow, 24, 1.3, n_c=300, n_b=1200)
    assert slow.peek().log_e_fine < 0


def test_the_shape_is_learnt_where_there_is_no_history() -> None:
    """The first ticks only teach; then the same regression is found."""
    test = HistogramTest(_options(history=()))
    _run(test, 30, 1.4)
    assert test.peek().log_e_worse > math.log(100)
    assert test.peek().used < 30


def test_an_incident_of_both_arms_is_not_evidence() -> None:
    """Everything 60 % slower in both arms at once cancels."""
    test, rng = HistogramTest(_options()), np.random.default_rng(5)
    for k in range(40):
        pace = 1.6 if 15 <= k < 30 else 1.0
        test.update(_counts(200, pace, rng), _counts(1300, pace, rng))
    assert test.peek().log_e_worse < math.log(10)


def test_no_tick_of_latency_adds_more_than_the_cap() -> None:
    """However slow one tick is."""
    test, rng = HistogramTest(_options()), np.random.default_rng(5)
    test.update(_counts(5000, 30.0, rng), _counts(5000, 1.0, rng))
    assert test.peek().log_e_worse <= 2.5


@pytest.mark.parametrize(
    "counts", [np.zeros(11), np.full(11, np.nan), np.full(11, -1.0), np.ones(4)], ids=["empty", "NaN", "negative", "other buckets"]
)
def test_buckets_that_cannot_be_counted_change_nothing(counts: Any) -> None:
    """An empty arm, NaN, negatives and other bucket sets leave every bet as it was."""
    test = HistogramTest(_options())
    _run(test, 5)
    before = test.peek()
    test.update(counts, np.ones(11) * 50)
    after = test.peek()
    assert (after.log_e_worse, after.log_e_fine, after.used) == (before.log_e_worse, before.log_e_fine, before.used)


@pytest.mark.parametrize("history", [SHAPE, ()])
def test_the_state_survives_json_and_is_small(history: Any) -> None:
    """Bit for bit, also across the start of a late bet; at most 16 KB."""
    options = _options(history=history, restarts=(5, 9))
    whole, stopped, rng = HistogramTest(options), HistogramTest(options), np.random.default_rng(1)
    for _ in range(15):
        c, b = _counts(60, 1.1, rng), _counts(900, 1.0, rng)
        whole.update(c, b)
        text = msgspec.json.encode(stopped.state)
        assert len(text) <= 16 * 1024
        stopped = HistogramTest(options, msgspec.json.decode(text, type=HistogramState))
        stopped.update(c, b)
    assert stopped.peek() == whole.peek()


def test_the_baselines_health_is_watched_at_one_boundary() -> None:
    """Shares of 33 % and 3.3 % are equally far from a tenth: whichever was chosen first stays, or the other would read as an incident."""
    test = HistogramTest(HistogramOptions(edges=(0.05, 0.1, 0.25)))
    test.update(np.array([660.0, 308.0, 31.0, 1.0]), np.array([660.0, 308.0, 31.0, 1.0]))
    chosen = test.sick_boundary()
    assert chosen is not None
    for _ in range(30):
        moved = np.array([690.0, 282.0, 27.0, 1.0]) if chosen else np.array([630.0, 334.0, 35.0, 1.0])
        test.update(moved, moved)
        assert test.sick_boundary() == chosen
    assert HistogramTest(test.options, test.state).sick_boundary() == chosen


def test_a_quiet_service_shows_its_shape() -> None:
    """Fifteen requests a scrape must be remembered long enough to know how slow is usual."""
    test = HistogramTest(HistogramOptions(edges=(0.05, 0.1, 0.25)))
    for _ in range(20):
        test.update(np.array([10.0, 4.0, 1.0, 0.0]), np.array([10.0, 4.0, 1.0, 0.0]))
    assert test.evidence_ticks > 0


def test_a_tail_where_the_baseline_has_none_is_seen() -> None:
    """With coarse buckets a new tail shows at the first boundary that the baseline hardly ever reaches, and nowhere else."""
    test = HistogramTest(HistogramOptions(edges=(0.05, 0.1, 0.25, 0.5)))
    for _ in range(20):
        test.update(np.array([330.0, 140.0, 5.0, 25.0, 0.0]), np.array([660.0, 280.0, 60.0, 0.0, 0.0]), tolerated=0.4)
    assert test.peek().log_e_worse > math.log(100)
    assert test.peek().boundary == 0.25
