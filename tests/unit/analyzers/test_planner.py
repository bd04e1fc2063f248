"""The planner's numbers against the table they were derived with, and its limits."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from analyzers.errors import ConfigError
from analyzers.history import History, learn
from analyzers.options import JudgeConfig, latency
from analyzers.planner import WORSE_SEARCH, expected_minutes, information, plan
from analyzers.stats.ratio import TOLERATED
from bench.judge_policies import LINNET
from bench.judge_world import EDGES
from tests.unit.analyzers.world import World, config, many


@pytest.mark.parametrize(("share", "nats"), [(0.01, 0.0135), (0.05, 0.0122), (0.2, 0.0087), (0.5, 0.0043), (0.8, 0.0014)])
def test_information_per_request_falls_with_the_share(share: Any, nats: Any) -> None:
    """The table of +1 pp on 0.1 %."""
    assert information(share, 0.011, 0.001, TOLERATED, WORSE_SEARCH) == pytest.approx(nats, abs=5e-5)


def test_the_planned_requests_are_what_the_simulation_needs() -> None:
    """Within a fifth, at a constant share of 5 %."""
    planned = plan(config(), 0.05, 100.0, 0.001)
    world = World(rps=100, rates=lambda k: (0.011, 0.001), ticks=200, weights=(5.0,), dwell=10_000, config=config(ladder=(5.0,)))
    simulated = np.mean([r.canary_requests for r in many(world, 150)])
    assert planned.detect_requests == pytest.approx(simulated, rel=0.2)
    assert planned.fits


def test_too_little_traffic_is_said_before_the_start() -> None:
    """18 requests an hour at 5 %: it does not fit, and no share makes it fit."""
    quiet = plan(config(), 0.05, 0.1, 0.001)
    assert quiet.canary_requests_per_hour == pytest.approx(18.0)
    assert not quiet.fits
    assert quiet.least_share is None
    busier = plan(config(), 0.05, 5.0, 0.001)
    assert not busier.fits
    assert busier.least_share is not None
    assert plan(config(), busier.least_share / 100.0, 5.0, 0.001).fits


def test_a_regression_inside_the_tolerance_can_never_be_detected() -> None:
    """Nothing is gained against it, and the plan says so instead of a number."""
    assert plan(config(), 0.05, 100.0, 0.01, excess=0.0001).detect_requests is None


@pytest.mark.parametrize("bad", [{"share": 0.0}, {"share": 1.0}, {"rps": 0.0}, {"p_b": 1.0}])
def test_nonsense_is_refused_with_its_values(bad: Any) -> None:
    """The message shows what was given."""
    with pytest.raises(ConfigError, match="a plan needs"):
        plan(config(), **{"share": 0.05, "rps": 1.0, "p_b": 0.001, **bad})


def test_a_careful_history_costs_more_requests() -> None:
    """Clumped errors need more of them."""
    clumped = msgspec.structs.replace(config().metrics[0], history_phi=3.0)
    careful, bold = plan(config(), 0.05, 100.0, 0.001, metric=clumped), plan(config(), 0.05, 100.0, 0.001)
    assert careful.detect_requests is not None
    assert bold.detect_requests is not None
    assert careful.detect_requests > bold.detect_requests


def _ramped(rps: float) -> JudgeConfig:
    """The bench's judge with what a calm history of that traffic fixes."""
    per_pod = np.full((480, 10), rps * 15.0 / 10)
    base = msgspec.structs.replace(LINNET, metrics=LINNET.metrics[:1])
    return learn(base, {"errors": History(events=per_pod * 0.001, requests=per_pod)})


def test_the_time_until_a_promotion_is_announced_before_the_start() -> None:
    """The bake where there is traffic, longer where there is little, and never for a bound that nothing can prove."""
    assert expected_minutes(_ramped(100.0), 100.0, {"errors": 0.001}) == 15.0
    quiet = expected_minutes(_ramped(2.0), 2.0, {"errors": 0.001})
    assert quiet is not None
    assert 15.0 < quiet < 60.0
    tight = msgspec.structs.replace(LINNET, metrics=(latency("latency", EDGES, tolerated=0.01, unacceptable=0.02),))
    assert expected_minutes(tight, 100.0, {}) is None
    with pytest.raises(ConfigError, match="needs a ramp"):
        expected_minutes(config(), 100.0, {})
