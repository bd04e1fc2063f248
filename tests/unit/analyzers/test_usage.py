"""How much a service is used: what counters grew by, over resets, new processes and looks that were joined."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analyzers.series import RawSeries, Sample
from analyzers.usage import Looks, usage


def counter(*values: float, pod: str = "a", every: float = 10.0, at: float = 1000.0, started_at: float | None = None) -> RawSeries:
    samples = tuple(Sample(at + every * i, v) for i, v in enumerate(values))
    return RawSeries(labels={"pod": pod}, samples=samples, started_at=started_at)


def test_what_all_processes_counted_is_a_rate() -> None:
    """Two pods over twenty seconds, one request in ten failing."""
    found = usage([counter(100, 150, 200), counter(7, 7, 107, pod="b")], [counter(5, 10, 25)])
    assert found is not None
    assert (found.requests, found.errors, found.seconds) == (200, 20, 20)
    assert (found.per_second, found.error_ratio) == (10, 0.1)


def test_a_counter_that_falls_began_again() -> None:
    """What it shows after the fall was counted since."""
    found = usage([counter(100, 110, 4, 9)])
    assert found is not None and found.requests == 10 + 4 + 5


def test_a_process_that_started_meanwhile_counts_from_zero() -> None:
    """Its first value is news; that of one which was there before, or of which nothing is known, is not."""
    young = counter(30, 40, pod="b", started_at=1001.0)
    old = counter(1000, 1000, pod="c", started_at=1.0)
    unknown = counter(1000, 1000, pod="d")
    found = usage([counter(0, 0), young, old, unknown])
    assert found is not None and found.requests == 40


def test_one_look_is_no_rate() -> None:
    """Neither are no series at all, nor empty ones."""
    assert usage([counter(5)]) is None
    assert usage([]) is None
    assert usage([counter()]) is None


def test_without_requests_nothing_fails() -> None:
    """No share of nothing."""
    found = usage([counter(5, 5)], [counter(1, 1)])
    assert found is not None and (found.per_second, found.error_ratio) == (0, 0)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12))
def test_nothing_is_counted_twice_or_lost(steps: list[int]) -> None:
    """Whatever the counter grows by at each look, and wherever it begins."""
    values = [50.0]
    for step in steps:
        values.append(values[-1] + step)
    found = usage([counter(*values)])
    assert found is not None and found.requests == sum(steps)


def test_looks_at_a_source_without_a_past_are_joined() -> None:
    """One sample a look; a pod that ended is no more there, and what is too long ago is forgotten."""
    looks = Looks(window=25)
    joined = looks.join("total", [])
    for i in range(5):
        joined = looks.join("total", [counter(10.0 * i, at=1000 + 10.0 * i), *([counter(1, pod="gone")] if i < 2 else [])])
    assert [s.labels["pod"] for s in joined] == ["a"]
    assert [(s.at, s.value) for s in joined[0].samples] == [(1020, 20), (1030, 30), (1040, 40)]
    assert looks.join("errors", [counter(1, at=1040)])[0].samples == (Sample(1040, 1),)
