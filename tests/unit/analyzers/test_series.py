"""From raw counters to increments: births, resets, gaps, late scrapes, absent arms, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.collector import BASELINE, CANARY
from analyzers.errors import AnalysisError
from analyzers.judge import Judge
from analyzers.series import AggregatedCounterError, CounterTracker, Increments, RawSeries, Role, Sample, UnstableLabelsError
from analyzers.ticks import Action, MetricCounts, ProblemKind, Tick
from tests.unit.analyzers.pods import SCRAPE, Pod, counts, feed, tracker
from tests.unit.analyzers.world import config


def _series(*samples: tuple[float, float], pod: str = "a", started_at: float | None = None, **labels: str) -> RawSeries:
    return RawSeries(labels={"pod": pod, **labels}, samples=tuple(Sample(*s) for s in samples), started_at=started_at)


def _both(total: RawSeries, errors: RawSeries | None = None) -> CounterTracker:
    """The canary's series as given, over a baseline that counts ten requests a tick."""
    t = tracker()
    t.add(CANARY, Role.TOTAL, [total])
    if errors is not None:
        t.add(CANARY, Role.ERRORS, [errors])
    t.add(BASELINE, Role.TOTAL, [_series(*((k * SCRAPE, 10.0 * k) for k in range(1, 60)), pod="b")])
    return t


def _canary(t: CounterTracker, ticks: range) -> list[tuple[int, int] | None]:
    return [counts(t.counts(k).arms[CANARY]) for k in ticks]


def test_increments_are_differences_of_the_last_samples() -> None:
    """No interpolation: a sample belongs to the tick whose end it does not exceed."""
    t = _both(_series((14, 100), (29, 130), (44, 135)))
    assert _canary(t, range(1, 4)) == [(0, 0), (30, 0), (5, 0)]


def test_a_reset_counts_the_new_value() -> None:
    """The process restarted: what it shows now happened since."""
    assert _canary(_both(_series((15, 100), (30, 7))), range(1, 3)) == [(0, 0), (7, 0)]


def test_a_reset_that_grew_past_the_old_value_is_seen_by_its_start() -> None:
    """Without the created timestamp 120 after 100 would be 20 requests."""
    t = _both(_series((15, 100), started_at=-600.0))
    t.add(CANARY, Role.TOTAL, [_series((30, 120), started_at=16.0)])
    assert _canary(t, range(1, 3)) == [(0, 0), (120, 0)]


def test_a_series_that_came_back_after_its_process_restarted_counts_in_full() -> None:
    """The error series was absent when the total was reset: its 12 are new, not 2 more than 10."""
    t = _both(_series((15, 100), (30, 200), (45, 5), (60, 50)), _series((15, 10), (60, 12), code="500"))
    assert _canary(t, range(1, 5)) == [(0, 0), (100, 0), (5, 0), (45, 12)]


def test_a_newborn_error_series_counts_from_its_first_event() -> None:
    """The pod was watched before and had no such series: all of it happened since."""
    t = _both(_series((15, 100), (30, 200), (45, 300)), _series((45, 4), code="500"))
    assert _canary(t, range(1, 4)) == [(0, 0), (100, 0), (100, 4)]


def test_the_first_sample_of_an_unknown_pod_is_only_a_base() -> None:
    """Nobody knows when its counts happened; a pod that is known to have just started counts in full."""
    assert _canary(_both(_series((15, 900))), range(1, 2)) == [(0, 0)]
    assert _canary(_both(_series((30, 900), started_at=20.0)), range(1, 3)) == [None, (900, 0)]


def test_after_five_minutes_of_silence_a_counter_is_a_base_again() -> None:
    """A gap that long is not evidence about any one tick."""
    t = tracker()
    t.add(
        CANARY,
        Role.TOTAL,
        [_series(*((k * SCRAPE, 10.0 * k) for k in range(1, 60)), pod="a"), _series((15, 5), (330, 500), (345, 501), pod="old")],
    )
    t.add(BASELINE, Role.TOTAL, [_series(*((k * SCRAPE, 10.0 * k) for k in range(1, 60)), pod="b")])
    assert _canary(t, range(1, 24))[21:] == [(10, 0), (11, 0)]


def test_a_missing_error_series_is_zero_only_while_the_total_is_there() -> None:
    """The pod's errors wait for its total, so that no tick has errors of requests it does not count."""
    t = _both(_series((15, 100), (30, 200), (60, 400)), _series((15, 1), (30, 2), (45, 9), (60, 9), code="500"))
    assert _canary(t, range(1, 5)) == [(0, 0), (100, 1), None, (200, 7)]
    other = _both(_series((15, 100), (30, 200), (60, 400)), _series((15, 1), (30, 2), (45, 9), (60, 9), code="500"))
    other.add(CANARY, Role.TOTAL, [_series((15, 50), (30, 60), (45, 70), (60, 80), pod="c")])
    assert _canary(other, range(1, 5)) == [(0, 0), (110, 1), (10, 0), (210, 7)]


def test_both_arms_of_a_tick_cover_the_same_time() -> None:
    """The canary was scraped late: the baseline waits, and both cover two intervals in the next tick."""
    t = _both(_series((15, 100), (31, 200), (46, 300)))
    frozen = [t.counts(k) for k in range(1, 5)]
    assert [counts(f.arms[BASELINE]) for f in frozen] == [(0, 0), None, (20, 0), (10, 0)]
    assert [counts(f.arms[CANARY]) for f in frozen] == [(0, 0), None, (100, 0), (100, 0)]
    assert frozen[1].problems[0].kind is ProblemKind.STALE


def test_an_arm_that_stays_away_no_longer_holds_the_other_and_returns_as_a_base() -> None:
    """After two ticks the baseline goes on alone; what the canary counted meanwhile is never compared with one tick."""
    t = _both(_series((15, 100), (105, 9000), (120, 9010)))
    frozen = [t.counts(k) for k in range(1, 9)]
    assert [counts(f.arms[BASELINE]) for f in frozen] == [(0, 0), None, None, (30, 0), (10, 0), (10, 0), (10, 0), (10, 0)]
    assert [counts(f.arms[CANARY]) for f in frozen][3:] == [None, None, None, (0, 0), (10, 0)]


def test_after_a_time_without_any_sample_neither_arm_is_late() -> None:
    """The source was blind for four ticks and one arm's samples come a tick before the other's: nothing of either is lost."""
    t = tracker()
    t.add(CANARY, Role.TOTAL, [_series((15, 100), (30, 110), (120, 200), (135, 210))])
    t.add(BASELINE, Role.TOTAL, [_series((15, 100), (30, 110), (105, 190), (120, 200), (135, 210), pod="b")])
    frozen = [t.counts(k) for k in range(1, 10)]
    for arm in (CANARY, BASELINE):
        assert [counts(f.arms[arm]) for f in frozen] == [(0, 0), (10, 0), None, None, None, None, None, (90, 0), (10, 0)]


def test_a_young_process_that_stayed_away_returns_as_a_base() -> None:
    """That it started a moment ago makes its first sample all its own, but not its first one after an absence."""
    t = _both(_series((15, 0), (30, 10), (90, 40), (105, 45), started_at=14.0))
    assert _canary(t, range(1, 8)) == [(0, 0), (10, 0), None, None, None, (0, 0), (5, 0)]


def test_a_young_process_that_stayed_away_is_remembered_though_nothing_of_it_waits() -> None:
    """The same, read as a live source gives it: what was forgotten as a whole came back as new, with all that it ever counted."""
    t = _both(_series((30, 10), started_at=29.0))
    before = _canary(t, range(1, 6))
    t.add(CANARY, Role.TOTAL, [_series((80, 40), (105, 45), started_at=29.0)])
    assert [*before, *_canary(t, range(6, 8))] == [None, (10, 0), None, None, None, (0, 0), (5, 0)]


def test_ticks_that_were_passed_over_are_dropped_not_lumped() -> None:
    """The evidence of a tick that nobody froze does not turn up in a later one."""
    t = _both(_series(*((k * SCRAPE, 10.0 * k) for k in range(1, 20))))
    t.counts(1)
    assert counts(t.counts(8).arms[CANARY]) == (10, 0)


def test_a_tick_is_given_out_once() -> None:
    """Freezing an old tick again is a mistake of the caller."""
    t = _both(_series((15, 1)))
    t.counts(3)
    with pytest.raises(AnalysisError, match="frozen before"):
        t.counts(3)


def test_nan_and_negative_samples_are_no_counts() -> None:
    """They are passed over, and the next good sample telescopes."""
    t = _both(_series((15, 100), (30, float("nan")), (40, -1), (45, 110)))
    assert _canary(t, range(1, 4)) == [(0, 0), None, (10, 0)]


def test_a_sum_over_pods_is_refused_with_the_reason() -> None:
    """T11: a scale-down would read as a reset; the message says what to do."""
    with pytest.raises(AggregatedCounterError, match="neither `pod` nor `instance`") as caught:
        tracker().add(CANARY, Role.TOTAL, [RawSeries(labels={"job": "shop"}, samples=(Sample(15, 4),))])
    assert caught.value.reason == "AggregatedCounter"


def test_series_with_other_labels_at_every_scrape_are_refused_before_they_count() -> None:
    """A label that holds the time of day makes each series newborn, with all that was ever counted in it."""
    t = _both(_series((15, 100)))
    for k in range(2, 9):
        t.add(CANARY, Role.TOTAL, [_series((k * SCRAPE, 100.0 + k), scraped=str(k))])
    with pytest.raises(UnstableLabelsError, match="scraped='4'") as caught:
        for k in range(1, 9):
            t.counts(k)
    assert caught.value.reason == "UnstableLabels"


def test_a_restart_that_replaces_all_series_is_no_such_thing() -> None:
    """Once is a new process."""
    t = _both(_series((15, 100)))
    for k in range(2, 9):
        t.add(CANARY, Role.TOTAL, [_series((k * SCRAPE, 10.0 * k), code="201")])
    assert _canary(t, range(1, 9))[2:] == [(10, 0)] * 6


STEP = st.tuples(
    st.floats(0, 19),  # how late the scrape is
    st.integers(0, 9),  # good requests since the last
    st.tuples(st.integers(0, 2), st.integers(0, 2)),  # errors on two routes
    st.integers(0, 7),  # 0: the process restarts before serving these
)
LIFE = st.lists(STEP, min_size=14, max_size=14)


def _live(arm: str, name: str, first: int, last: int, life: list[tuple[float, int, tuple[int, int], int]]) -> tuple[Pod, int, int]:
    """Play one pod's life; also the events that its scrapes have shown."""
    pod, total, failed, before = Pod(arm, name, first * SCRAPE + 1.0), 0, 0, 0.0
    for k in range(first, last):
        late, good, errors, restart = life[k]
        at = max(before + 1.0, (k + 1) * SCRAPE - 5.0 + late)
        if restart == 0 and k > first:
            pod.restart(max(before + 0.5, k * SCRAPE))
        pod.serve("200", "/", good)
        for route, count in enumerate(errors):
            pod.serve("500", f"/{route}", count)
        total, failed = total + good + sum(errors), failed + sum(errors)
        pod.scrape(at)
        before = at
    return pod, total, failed


def _freeze_all(pods: list[Pod], last: int, *, restart_at: int | None = None) -> list[Increments]:
    t, frozen = tracker(), []
    for k in range(1, last):
        if k == restart_at:
            t = tracker()
            feed(t, pods, -300.0, (k - 1) * SCRAPE + 30.0)
            for earlier in range(k - 20, k):
                t.counts(earlier)
        feed(t, pods, (k - 4) * SCRAPE, k * SCRAPE + 30.0)
        frozen.append(t.counts(k))
    return frozen


@settings(max_examples=150)
@given(lives=st.tuples(LIFE, LIFE, LIFE, LIFE), born=st.integers(1, 8), gone=st.integers(6, 13))
def test_every_request_is_in_exactly_one_tick(lives: Any, born: Any, gone: Any) -> None:
    """T10: births, restarts, late scrapes and a scale-down; the increments add up to what the scrapes have shown."""
    played = [
        _live(CANARY, "c0", 0, 14, [(late, good + 1, errors, restart) for late, good, errors, restart in lives[0]]),
        _live(CANARY, "c1", born, 14, lives[1]),
        _live(BASELINE, "b0", 0, 14, [(late, good + 1, errors, restart) for late, good, errors, restart in lives[2]]),
        _live(BASELINE, "b1", 0, gone, lives[3]),
    ]
    frozen = _freeze_all([p for p, _, _ in played], 20)
    for arm, pods in ((CANARY, played[:2]), (BASELINE, played[2:])):
        seen = [c for f in frozen if (c := f.arms[arm]) is not None]
        assert all(c.requests >= 0 and c.errors >= 0 for c in seen)
        assert (sum(c.requests for c in seen), sum(c.errors for c in seen)) == (sum(t for _, t, _ in pods), sum(e for _, _, e in pods))


@settings(max_examples=100)
@given(lives=st.tuples(LIFE, LIFE, LIFE), born=st.integers(1, 8), restart_at=st.integers(2, 13))
def test_a_restart_at_any_tick_gives_the_same_increments(lives: Any, born: Any, restart_at: Any) -> None:
    """T10: the samples of the past are read again, and the log is identical."""
    played = [_live(CANARY, "c0", 0, 14, lives[0]), _live(CANARY, "c1", born, 14, lives[1]), _live(BASELINE, "b0", 0, 14, lives[2])]
    pods = [p for p, _, _ in played]
    assert _freeze_all(pods, 14, restart_at=restart_at) == _freeze_all(pods, 14)


def _harm(rng: np.random.Generator, *, count_newborn: bool) -> int:
    """+1 pp on one canary pod whose errors are spread over 100 newborn series; requests until the rollback, after the warm-up."""
    routes = 1.0 / np.arange(1, 101)
    pod, base, t, judge, harm = Pod(CANARY, "c", 1.0), Pod(BASELINE, "b", -9e9), tracker(), Judge(config(ladder=(5.0,))), 0
    seen: set[tuple[str, str]] = set()
    for k in range(1, 300):
        n_c, n_b = int(rng.poisson(75)), int(rng.poisson(1425))
        x_c, x_b = int(rng.binomial(n_c, 0.011)), int(rng.binomial(n_b, 0.001))
        pod.serve("200", "/", n_c - x_c)
        base.serve("200", "/", n_b - x_b)
        base.serve("500", "/", x_b)
        for route in rng.choice(100, x_c, p=routes / routes.sum()):
            pod.serve("500", str(route))
        if not count_newborn:
            seen |= _swallow_newborn(pod, seen)
        for one in (pod, base):
            one.scrape(k * SCRAPE)
        feed(t, [pod, base], (k - 1) * SCRAPE, k * SCRAPE, with_start=False)
        frozen = t.counts(k)
        arms = {"errors": MetricCounts(frozen.arms[CANARY], frozen.arms[BASELINE])}
        harm += n_c if k > 5 else 0
        if judge.tick(Tick(index=k, at=k * SCRAPE, weight=5.0, arms=arms)).action is Action.ROLLBACK:
            break
    return harm


def _swallow_newborn(pod: Pod, seen: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """What a build that takes each first sample as a base would see: the first value of an error series is lost."""
    born = {key for key in pod.counters if key[0] == "500" and key not in seen}
    for key in born:
        pod.counters[key] -= pod.counters[key]
    return born


def test_errors_in_newborn_series_are_found_in_time() -> None:
    """T9: mean harm of +1 pp over 100 newborn series stays below 1000 requests."""
    rng = np.random.default_rng(20261123)
    assert np.mean([_harm(rng, count_newborn=True) for _ in range(40)]) <= 1000


def test_dropping_newborn_series_costs_twice_the_harm() -> None:
    """The twin of T9: with each first value lost, the bound is missed."""
    rng = np.random.default_rng(20261123)
    assert np.mean([_harm(rng, count_newborn=False) for _ in range(40)]) > 1000
