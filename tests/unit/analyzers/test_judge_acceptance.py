"""The judge against simulated services: what it must decide, how much harm it may allow, and twins that leave a rule out.

Bounds are those of the acceptance list; the number of runs is smaller where a run is long, with the bound scaled.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests.unit.analyzers.world import Rates, World, config, many

GOOD = 0.001
FAST_LADDER = (0.5, 1.0, 5.0, 10.0, 20.0, 35.0, 50.0)
CLIMB = {"risk_budget": 30.0}


def _same(rate: float = GOOD) -> Rates:
    return lambda k: (rate, rate)


@pytest.mark.parametrize("rps", [100, 1000])
def test_an_equal_canary_seen_one_scrape_late_is_not_rolled_back(rps: Any) -> None:
    """T2: samples of the canary lag by one scrape; the ramp climbs all the same."""
    ladder = FAST_LADDER if rps == 1000 else FAST_LADDER[1:]
    runs = many(World(rps=rps, rates=_same(), ticks=80, weights=ladder, canary_late=True, config=config(ladder=ladder, **CLIMB)), 150)
    assert sum(r.rolled_back for r in runs) <= 1
    assert sum(r.promoted for r in runs) >= 140


def test_a_sick_baseline_promotes_no_bad_canary() -> None:
    """T4: +1 pp, while the baseline alone fails 5 % in minutes 1 to 3."""
    runs = many(World(rps=100, rates=lambda k: (GOOD + 0.01, GOOD + (0.05 if 4 <= k < 12 else 0.0)), ticks=120), 150)
    assert sum(r.promoted for r in runs) <= 1


def test_a_regression_at_the_end_of_the_bake_is_not_promoted() -> None:
    """T5: +0.5 pp from minute 25 of a 30-minute bake at 80 %: proof from its youth does not promote it."""
    ladder = (1.0, 5.0, 20.0, 40.0, 80.0)
    world = World(
        rps=100,
        rates=lambda k: (GOOD + (0.005 if k >= 100 else 0.0), GOOD),
        ticks=150,
        weights=ladder,
        promote_after=119,
        config=config(ladder=ladder),
    )
    assert sum(r.promoted for r in many(world, 60)) <= 1


def test_a_total_failure_at_the_start_ends_within_sixty_requests() -> None:
    """T14: 100 % errors from the first request on; the catastrophe bet does not wait for the warm-up."""
    runs = many(World(rps=100, rates=lambda k: (1.0, GOOD), ticks=40), 200)
    assert all(r.rolled_back for r in runs)
    assert np.mean([r.canary_requests for r in runs]) <= 60


def test_a_total_failure_at_minute_twelve_is_stopped_by_retreat_and_rollback() -> None:
    """T14: at 50 % of the traffic; a retreat at 5 : 1 saves the last tick before the verdict."""
    world = World(
        rps=100,
        rates=lambda k: (1.0 if k >= 48 else GOOD, GOOD),
        ticks=80,
        promote_after=80,
        onset=48,
        config=config(history_phi=None, **CLIMB),
    )
    runs = many(world, 100)
    assert all(r.rolled_back for r in runs)
    assert np.mean([r.since_onset for r in runs]) <= 2600


@pytest.mark.parametrize(("rps", "bound", "ladder"), [(100, 1050, FAST_LADDER[1:]), (1000, 1700, FAST_LADDER)])
def test_one_point_more_errors_harms_few_requests(rps: Any, bound: Any, ladder: Any) -> None:
    """T15: +1 pp on 0.1 %, alpha 1 %: mean canary requests until the rollback."""
    runs = many(World(rps=rps, rates=lambda k: (GOOD + 0.01, GOOD), ticks=160, weights=ladder, config=config(ladder=ladder, **CLIMB)), 400)
    assert all(r.rolled_back for r in runs)
    assert np.mean([r.canary_requests for r in runs]) <= bound


def _bursty(**changes: object) -> World:
    return World(rps=100, rates=_same(0.01), ticks=60, burst=6, promote_after=60, config=config(**changes))


def test_bursts_that_history_did_not_know_roll_back_few_good_canaries() -> None:
    """T16: errors in bursts of six, calm history: dispersion and cap together hold."""
    assert sum(r.rolled_back for r in many(_bursty(), 150)) <= 3


def test_without_the_cap_bursts_roll_back_good_canaries() -> None:
    """The twin of T16: the same judge without a cap does the harm."""
    assert sum(r.rolled_back for r in many(_bursty(cap=1000.0), 150)) > 3


def _sick_baseline(**changes: object) -> World:
    """Not yet proven, then both worsen: the canary by 1 pp (unacceptable), the baseline alone by 3 pp for a while."""
    return World(
        rps=30,
        rates=lambda k: (GOOD + (0.01 if k >= 26 else 0.0), GOOD + (0.03 if k >= 26 else 0.0)),
        ticks=80,
        weights=(5.0,),
        dwell=1000,
        config=config(ladder=(5.0,), **changes),
    )


def test_no_good_news_is_gathered_while_the_baseline_is_sick() -> None:
    """A canary that is worse than the baseline used to be is not proven fine by an incident of the baseline."""
    runs = many(_sick_baseline(), 20)
    assert not any(r.promoted for r in runs)


def test_without_the_calm_rule_a_sick_baseline_promotes() -> None:
    """The twin: the same judge without the calm rule promotes."""
    assert sum(r.promoted for r in many(_sick_baseline(require_calm=False), 20)) > 10


def test_a_regression_of_the_warm_up_is_not_held_against_the_release() -> None:
    """A cold start of 60 s with 2 % errors is not a verdict on the release; without the warm-up it is."""
    cold = World(rps=1000, rates=lambda k: (0.02 if k < 4 else GOOD, GOOD), ticks=40, weights=(5.0,), config=config(ladder=(5.0,)))
    bare = msgspec.structs.replace(cold.config, warm_up_seconds=0.0, settle_scrapes=0)
    assert not any(r.rolled_back for r in many(cold, 50))
    assert sum(r.rolled_back for r in many(World(rps=1000, rates=cold.rates, ticks=40, weights=(5.0,), config=bare), 50)) > 25


def test_a_dead_canary_is_no_data_within_ninety_seconds() -> None:
    """T3: the canary stops receiving; two ticks of nothing where many requests were expected."""
    runs = many(World(rps=100, rates=_same(), ticks=60, weights=(5.0,), dwell=1000, promote_after=60, canary_dead_from=20), 20)
    assert all(r.answer.verdict == "NoData" for r in runs)
    assert max(r.ticks for r in runs) - 20 <= 6
