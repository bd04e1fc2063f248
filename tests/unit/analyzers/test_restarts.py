"""Restarts of pods: they end a release and promote none, whatever the traffic and however sick the baseline."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from analyzers.judge import Judge
from analyzers.options import restarts
from analyzers.ticks import Action, Answer, ArmCounts, Code, MetricCounts, Tick
from tests.unit.analyzers.world import config, tick

FINE = ((750, 1), (14_250, 14))
PODS = (2, 20)
Restarting = Callable[[int], tuple[int, int]]
"""Tick -> restarts of (canary, baseline)."""


def _ticks(count: int, restarting: Restarting, *, pods: tuple[int, int] = PODS, fine: tuple[tuple[int, int], ...] = FINE) -> list[Tick]:
    found = []
    for k in range(count):
        one = tick(k, 5, fine[0], fine[1], units=pods)
        x_c, x_b = restarting(k)
        one.arms["restarts"] = MetricCounts(ArmCounts(15 * pods[0], x_c), ArmCounts(15 * pods[1], x_b))
        found.append(one)
    return found


def _judge() -> Judge:
    alone = config()
    return Judge(msgspec.structs.replace(alone, metrics=(*alone.metrics, restarts("restarts"))))


def _play(ticks: list[Tick], until: Action) -> Answer:
    """The answer of the first tick with that action, or else of the last tick."""
    judge, answer = _judge(), None
    for one in ticks:
        answer = judge.tick(one)
        if answer.action is until:
            break
    assert answer is not None
    return answer


def test_a_canary_whose_pods_keep_restarting_is_rolled_back_for_that() -> None:
    """A restart in a minute, in two pods: stopped within minutes, and said in restarts and time of pods."""
    found = _play(_ticks(60, lambda k: (1 if k > 4 and k % 4 == 0 else 0, 0)), Action.ROLLBACK)
    assert found.action is Action.ROLLBACK
    assert found.reasons[0].metric == "restarts"
    assert "the canary's pods restarted" in found.reasons[0].text
    assert "pod-minutes" in found.reasons[0].text


def test_one_restart_stops_nothing_and_none_delays_nothing() -> None:
    """A pod may end once in its first hour; where none does, the errors alone say when it is promoted."""
    alone = Judge(config())
    promoted = next(k for k in range(60) if alone.tick(tick(k, 5, *FINE, units=PODS)).action is Action.PROMOTE)
    beside = _judge()
    both = next(k for k, one in enumerate(_ticks(60, lambda _: (0, 0))) if beside.tick(one).action is Action.PROMOTE)
    assert both == promoted
    assert _play(_ticks(240, lambda k: (int(k == 6), 0)), Action.PROMOTE).action is Action.PROMOTE


@pytest.mark.parametrize("pods", [(2, 20), (5, 5)])
def test_a_sick_baseline_neither_hides_restarts_nor_holds_a_good_release(pods: tuple[int, int]) -> None:
    """Stable pods that restart now and then stay comparable: ten times as often is worse, as often is not."""
    rare = 0.002 * 15 * pods[1]
    dice = np.random.default_rng(20261123)
    baseline = dice.poisson(rare, 240).tolist()
    worse = dice.poisson(0.03 * 15 * pods[0], 240).tolist()
    equal = dice.poisson(0.002 * 15 * pods[0], 240).tolist()
    assert _play(_ticks(240, lambda k: (worse[k], baseline[k]), pods=pods), Action.ROLLBACK).action is Action.ROLLBACK
    assert _play(_ticks(240, lambda k: (equal[k], baseline[k]), pods=pods), Action.PROMOTE).action is Action.PROMOTE


def test_a_baseline_that_restarts_in_bursts_holds_no_good_release() -> None:
    """Six of the stable pods at once, every two minutes: their trouble is none of the canary's, and nothing waits until it is over."""
    assert _play(_ticks(60, lambda k: (0, 6 if k % 8 == 5 else 0)), Action.PROMOTE).action is Action.PROMOTE


def test_restarts_count_at_every_weight() -> None:
    """Pods that go take their weight with them: a weight that falls and rises with them hides nothing."""
    ticks = _ticks(40, lambda k: (int(k > 5 and k % 3 == 0), 0))
    moved = [msgspec.structs.replace(one, weight=0.0 if one.index > 5 and one.index % 3 == 0 else 5.0) for one in ticks]
    assert _play(moved, Action.ROLLBACK).action is Action.ROLLBACK


def test_equal_versions_are_rarely_stopped_for_their_restarts() -> None:
    """A restart in three hours of a pod, canary and baseline alike, looked at for an hour at every scrape."""
    dice, stopped = np.random.default_rng(7), 0
    for _ in range(40):
        counts = dice.poisson(1 / 10_800 * 15 * 2, 240), dice.poisson(1 / 10_800 * 15 * 20, 240)
        judge = _judge()
        answers = (judge.tick(one) for one in _ticks(240, lambda k, c=counts: (int(c[0][k]), int(c[1][k])), fine=((20, 0), (380, 0))))  # type: ignore[misc]
        stopped += any(a.action is Action.ROLLBACK for a in answers)
    assert stopped <= 1


def test_pod_seconds_are_no_requests() -> None:
    """Without a request on the canary its pods' seconds say nothing of traffic, and prove nothing."""
    judge = _judge()
    answers = [judge.tick(one) for one in _ticks(20, lambda _: (0, 0), fine=((0, 0), (15_000, 10)))]
    assert answers[-1].code is Code.NO_CANARY_TRAFFIC
    silent = _judge()
    answers = [silent.tick(one) for one in _ticks(20, lambda _: (0, 0), fine=((0, 0), (0, 0)))]
    assert answers[-1].action is not Action.PROMOTE
    assert answers[-1].code is Code.NO_TRAFFIC


def test_what_is_ruled_out_is_said_in_hours_of_a_pod() -> None:
    """A bound that only time narrows: no promise, and shown beside the verdict."""
    judge = _judge()
    answers = [judge.tick(one) for one in _ticks(120, lambda _: (0, 0))]
    line = next(m for m in answers[-1].metrics if m.name == "restarts")
    assert line.bound.startswith("at most ")
    assert line.bound.endswith("restarts more in an hour of a pod")
