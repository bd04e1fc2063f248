"""What is told of a verdict follows from its evidence, and what is said to change it does."""

from __future__ import annotations

import math
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.account import account, duration, lines, odds, verdict_of
from analyzers.errors import EvidenceError
from analyzers.evidence import Log, read
from analyzers.options import JudgeConfig, MetricConfig
from analyzers.otherwise import _better, otherwise
from analyzers.stats.interval import confidence_sequence
from analyzers.ticks import MetricCounts, Verdict
from tests.unit.analyzers.recorded import log_of, recorded


@cache
def _log(name: str) -> Log:
    how: dict[str, dict[str, float]] = {
        "good": {},
        "errors": {"errors": 0.02},
        "latency": {"tail": 3.0},
        "cpu": {"cpu": 1.6},
        "orders": {"orders": 0.6},
    }
    return log_of(**how[name])


@pytest.mark.parametrize("name", ["errors", "latency", "cpu", "orders"])
def test_a_release_bad_in_one_thing_is_told_by_that_thing(name: str) -> None:
    """The metric that decided, when, and that it would have been another verdict without it."""
    log = _log(name)
    found = account(log)
    assert (found.verdict, found.decided_by) == (Verdict.FAIL, name)
    assert found.decided_at == found.points[-1].at
    said = otherwise(log, found)
    assert any("it would not have been stopped by then" in s for s in said), said
    assert any(s.startswith(f"without {name} it would not have been stopped") for s in said), said


def test_a_good_release_says_how_little_would_have_kept_it() -> None:
    """The number of failures that is named really keeps it from being promoted, and a tenth of them does not."""
    log = _log("good")
    found = account(log)
    assert found.verdict is Verdict.PASS
    assert found.decided_at is not None and found.decided_at < found.points[-1].at
    said = otherwise(log, found)
    assert "more failed canary requests and it would not have been promoted by then" in said[0]
    assert any("slower in latency" in s for s in said)
    assert any("more in cpu" in s for s in said)


def test_a_canary_moved_to_its_baseline_is_no_worse_than_it() -> None:
    """All of the way there, each kind of metric is as the baseline of the same ticks, give or take the rounding."""
    errors = _log("errors")
    moved = _better(errors.entries, errors.config.metrics[0], 1.0)
    canary = sum(c.canary.errors for e in moved if (c := e.arms["errors"]).canary)
    requests = sum(c.canary.requests for e in moved if (c := e.arms["errors"]).canary)
    assert canary / requests == pytest.approx(0.001, abs=0.002)
    slow = _log("latency")
    moved = _better(slow.entries, slow.config.metrics[1], 1.0)
    for before, after in zip(slow.entries, moved, strict=True):
        assert sum(after.buckets["latency"].canary or ()) == sum(before.buckets["latency"].canary or ())
        assert min(after.buckets["latency"].canary or ()) >= 0
    assert verdict_of(msgspec.structs.replace(slow, entries=moved)) is not Verdict.FAIL


def test_the_worst_bucket_is_said_in_words() -> None:
    """Where the tail is, not an average and not an interpolated quantile."""
    buckets = account(_log("latency")).histograms["latency"]
    assert buckets.worst == 0.25
    assert buckets.slow
    assert "of the canary's requests took longer than 250 ms" in buckets.words
    assert not account(_log("good")).histograms["latency"].slow


def test_zeroed_errors_change_the_verdict() -> None:
    """The verdict is in the counts and nowhere else."""
    log = _log("errors")
    zeroed = tuple(
        msgspec.structs.replace(e, arms={**e.arms, "errors": MetricCounts(msgspec.structs.replace(c, errors=0), e.arms["errors"].baseline)})
        for e in log.entries
        if (c := e.arms["errors"].canary) is not None
    )
    assert verdict_of(log) is Verdict.FAIL
    assert verdict_of(msgspec.structs.replace(log, entries=zeroed)) is not Verdict.FAIL


def test_each_metric_has_its_line() -> None:
    """Both arms' counts, the bound and the odds."""
    told = lines(account(_log("good")))
    assert [line.partition(":")[0] for line in told] == ["errors", "latency", "cpu", "orders"]
    assert "pp worse" in told[0] and " : 1 for it" in told[0]
    assert "% slower" in told[1] and "took longer than" in told[1]


def test_a_folded_log_is_told_from_where_it_begins() -> None:
    """The bound of an object may cost the oldest ticks, never the verdict."""
    long = recorded()
    long._fold()
    found = account(read(long.pack()))
    assert found.folded is not None
    assert found.verdict is account(_log("good")).verdict


def test_no_tick_is_nothing_to_tell() -> None:
    """An empty log is an error in words."""
    with pytest.raises(EvidenceError, match="no tick"):
        account(Log(config=JudgeConfig(metrics=(MetricConfig(name="errors"),))))


@given(st.integers(0, 400), st.integers(1, 100_000), st.floats(1.0, 5.0))
def test_the_interval_holds_what_was_seen(events: int, more: int, phi: float) -> None:
    """Ends in order, around the share, wider when the counts clump."""
    total = events + more
    low, high = confidence_sequence(events, total)
    assert 0.0 <= low <= events / total <= high <= 1.0
    wide = confidence_sequence(events, total, phi=phi)
    assert wide[0] <= low + 1e-9 and wide[1] >= high - 1e-9


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_the_interval_is_right_at_every_look_at_once(p: float) -> None:
    """By enumeration of all ways that 150 requests can go: the truth is ever outside in less than 5 %."""
    inside = {0: 1.0}
    for n in range(1, 151):
        grown: dict[int, float] = {}
        for x, chance in inside.items():
            for y, part in ((x, 1.0 - p), (x + 1, p)):
                grown[y] = grown.get(y, 0.0) + chance * part
        inside = {x: c for x, c in grown.items() if _holds(x, n, p)}
    assert sum(inside.values()) >= 0.95


def _holds(x: int, n: int, p: float) -> bool:
    low, high = confidence_sequence(x, n)
    return low <= p <= high


def test_odds_and_durations_are_read_by_people() -> None:
    """Below even they are said the other way round; nobody counts zeros."""
    assert [odds(v) for v in (0.0, math.log(2400), -math.log(11), 50.0)] == ["1 : 1", "2 400 : 1", "1 : 11", "10^21 : 1"]
    assert [duration(v) for v in (0.025, 1.5, 60, 600, 9000)] == ["25 ms", "1.5 s", "60 s", "10 min", "2 h 30 min"]
