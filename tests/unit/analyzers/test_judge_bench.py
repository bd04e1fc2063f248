"""The bench of the judge: the rules of others reproduce what those tools are known to do, and the bench ends in one JSON object."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from bench import judge
from bench.judge_kinds import KINDS
from bench.judge_peers import Argo, Flagger, Kayenta, Measured, Minute, classify, mann_whitney, quantile
from bench.judge_world import EDGES, Run, Service, always


@pytest.mark.parametrize(
    ("settings", "samples", "phase"),
    [
        ({"count": 5, "failure_limit": 2}, "FFSSS", "Successful"),
        ({"count": 5, "failure_limit": 2}, "FFF", "Failed"),
        ({"count": 5, "failure_limit": 2}, "SSFFS", "Successful"),
        ({}, "F", "Failed"),
        ({"interval": False}, "S", "Successful"),
        ({}, "SSSSSS", "Running"),
        ({}, "EEEES", "Running"),
        ({}, "EEEEE", "Error"),
        ({"count": 2}, "ESES", "Successful"),
        ({}, "I", "Inconclusive"),
        ({"count": 3, "inconclusive_limit": 3}, "III", "Successful"),
        ({"count": 5, "failure_limit": 2, "success_limit": 3}, "SSS", "Successful"),
        ({"count": 5, "failure_limit": 2, "success_limit": 3}, "SFSSF", "Inconclusive"),
        ({"count": 5, "failure_limit": -1, "success_limit": 3}, "SSFSS", "Failed"),
        ({"count": 3, "failure_limit": 1, "inconclusive_limit": 0}, "FI", "Inconclusive"),
        ({"count": 3, "failure_limit": 1, "inconclusive_limit": 1}, "FIF", "Failed"),
        ({"count": 5, "failure_limit": 2, "success_limit": 3}, "SSES", "Running"),
    ],
)
def test_argo_s_phases_are_what_argo_yields(settings: Any, samples: Any, phase: Any) -> None:
    """The table of metric phases, sample by sample; a completed metric is frozen."""
    metric = Measured(**settings)
    for sample in samples:
        metric.add(sample)
    assert metric.phase == phase
    assert len(metric.samples) <= len(samples)


def test_argo_s_termination_without_a_sample_is_success() -> None:
    """And so is that of a run that never stops measuring."""
    assert Measured().terminate() == "Successful"
    running = Measured()
    running.add("S")
    assert running.terminate() == "Successful"


GOOD = Minute(success=1.0, p50=0.1, p99=0.3, usage=1.0)
BAD = Minute(success=0.5, p50=0.1, p99=0.3, usage=1.0)
EMPTY = Minute(success=math.nan, p50=math.nan, p99=math.nan, usage=math.nan)


def test_flagger_rolls_back_one_tick_after_the_threshold_and_forgives_nothing() -> None:
    """Five failed checks, good ones between them; the sixth tick compares the count."""
    flagger = Flagger()
    said = [flagger.check(m) for m in (BAD, GOOD, BAD, BAD, GOOD, BAD, BAD, GOOD)]
    assert said == ["", "", "", "", "", "", "", "rollback"]


def test_flagger_counts_a_minute_without_data_as_failed_and_holds() -> None:
    """An idle service cannot be released."""
    flagger = Flagger()
    assert [flagger.check(EMPTY) for _ in range(6)][-1] == "rollback"
    assert flagger.weight == 5.0


def test_flagger_promotes_after_the_last_passing_minute() -> None:
    """Six steps, one a minute."""
    flagger = Flagger()
    assert [flagger.check(GOOD) for _ in range(6)] == ["", "", "", "", "", "promote"]


def test_kayenta_s_interval_equals_the_published_vector() -> None:
    """(10, 20, 30, 40) against (1, 2, 3, 4) at 95 %: [6, 39], estimate 22.5."""
    found = mann_whitney(np.array([10.0, 20, 30, 40]), np.array([1.0, 2, 3, 4]), 0.95)
    assert (found.low, found.high, found.estimate) == pytest.approx((6.0, 39.0, 22.5), abs=1e-3)


def test_kayenta_passes_seven_points_of_ten_a_hundred_times_worse() -> None:
    """spinnaker#6278: the interval reaches down to nothing."""
    canary, baseline = [100.0] * 7 + [1.0] * 3, [1.0] * 10
    found = mann_whitney(np.array(canary), np.array(baseline))
    assert (found.low, found.high, found.estimate) == pytest.approx((0.0, 99.0, 99.0), abs=1e-3)
    assert classify(canary, baseline) == "Pass"
    assert classify([2.0, 2.1, 2.2, 2.3, 2.4, 2.5], [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]) == "High"


def test_kayenta_says_nothing_before_five_points() -> None:
    """With four points an arm no z is beyond its limit."""
    assert classify([100.0, 101, 102, 103], [1.0, 2, 3, 4]) == "Pass"
    assert classify([math.nan] * 5, [1.0] * 5) == "Nodata"


def test_prometheus_quantiles_are_interpolated() -> None:
    """Linear inside a bucket; NaN without samples; the last bound beyond it."""
    buckets = np.zeros(len(EDGES) + 1)
    assert math.isnan(quantile(buckets, 0.5))
    buckets[5] = 100
    assert quantile(buckets, 0.5) == pytest.approx(0.175)
    buckets[-1] = 1000
    assert quantile(buckets, 0.99) == EDGES[-1]


def test_the_world_shows_what_the_service_is() -> None:
    """Rates, shares and tails over many ticks are those that were set."""
    world = Run(Service(errors=0.01, more_errors=always(0.02), slower=always(2.0), drift=0.0), np.random.default_rng(1))
    seen = [world.observe(20.0) for _ in range(100)]
    canary, baseline = [s.canary for s in seen if s.canary], [s.baseline for s in seen if s.baseline]
    n_c, n_b = sum(a.requests for a in canary), sum(a.requests for a in baseline)
    assert n_c / (n_c + n_b) == pytest.approx(0.2, abs=0.01)
    assert sum(a.errors for a in canary) / n_c == pytest.approx(0.03, abs=0.003)
    assert sum(a.errors for a in baseline) / n_b == pytest.approx(0.01, abs=0.001)
    slow_c, slow_b = (sum(a.buckets[6:].sum() for a in arm) / n for arm, n in ((canary, n_c), (baseline, n_b)))
    assert slow_c > 3 * slow_b
    assert sum(s.harm for s in seen) > 0.02 * n_c * 0.9


def test_the_bench_plays_many_good_and_bad_kinds() -> None:
    """At least twelve of each, every name once."""
    assert sum(k.bad for k in KINDS) >= 12
    assert sum(not k.bad for k in KINDS) >= 12
    assert len({k.name for k in KINDS}) == len(KINDS)


def test_the_bench_ends_with_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Per kind and policy: runs, rolled back, promoted, undecided, harm, minutes; the same seed gives the same figures."""
    wanted = ["--json", "--runs", "2", "--seed", "5", "--processes", "1", "--kinds", "steady,outage", "--policies", "linnet,flagger"]
    assert judge.main(wanted) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    judge.main(wanted)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["kinds"] == first["kinds"]
    assert first["kinds"]["outage"]["linnet"]["rolledBack"] == 2
    assert first["kinds"]["steady"]["linnet"]["promoted"] == 2
    assert set(first["kinds"]["steady"]) == {"linnet", "flagger"}
    for figures in first["kinds"]["outage"].values():
        assert figures["runs"] == figures["rolledBack"] + figures["promoted"] + figures["undecided"]


def test_a_bench_of_unknown_kinds_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """With the way out."""
    with pytest.raises(SystemExit):
        judge.main(["--kinds", "nonsense"])
    assert "nonsense" in (said := capsys.readouterr().err)
    assert "steady" in said


@pytest.mark.parametrize("policy", [Argo, Kayenta])
def test_the_slow_ramps_of_others_promote_after_half_an_hour(policy: Any) -> None:
    """Six steps of five minutes."""
    world, chosen = Run(Service(), np.random.default_rng(3)), policy()
    said = ""
    ticks = 0
    while not said and ticks < 240:
        said = chosen.take(world.observe(chosen.weight))
        ticks += 1
    assert (said, ticks) == ("promote", 120)
