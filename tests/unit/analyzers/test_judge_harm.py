"""What keeps harm small before the verdict is in: late outcomes, and what both arms suffer."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from analyzers.judge import Judge
from analyzers.options import JudgeConfig, conversion
from analyzers.ticks import Action, Answer, ArmCounts, MetricCounts, Tick
from bench.judge_policies import Linnet, configured
from bench.judge_world import Run, Service, past
from tests.unit.analyzers.world import SEED, config

FINE = (750, 1)


def _took(
    judge: Judge, start: int, ticks: int, canary: tuple[int, int], *, weight: float = 50.0, baseline: tuple[int, int] = FINE
) -> list[Answer]:
    return [judge.tick(msgspec.structs.replace(_tick(start + k, canary, baseline), weight=weight)) for k in range(ticks)]


def _tick(k: int, canary: tuple[int, int], baseline: tuple[int, int], metric: str = "errors") -> Tick:
    arms = {metric: MetricCounts(ArmCounts(*canary), ArmCounts(*baseline))}
    return Tick(index=k, at=15.0 * k, weight=50.0, arms=arms)


def test_orders_that_come_late_are_not_fled_from() -> None:
    """A lower weight would silence them for their lag, so the loss is found where it shows."""
    judge = Judge(JudgeConfig(metrics=(conversion("orders", lag=300.0),), ladder=(5.0, 50.0)))
    answers: list[Answer] = []
    while not answers or answers[-1].action is not Action.ROLLBACK:
        answers.append(judge.tick(_tick(len(answers), (750, 15), (750, 24), "orders")))
        assert len(answers) < 120
    assert any(a.log_e_total >= np.log(5.0) for a in answers[:-1])
    assert all(a.wanted_weight is None for a in answers[:-1])


def test_half_of_the_traffic_waits_for_the_first_orders() -> None:
    """An outcome known after six minutes has told nothing before: while all orders may be lost, 15 % of the traffic is enough."""
    rng = np.random.default_rng([SEED, 5])
    service = Service(conversion=0.03, conversion_lag=8.0)
    policy = Linnet(configured(service, past(service, rng)), (2, 20))
    world, weights = Run(service, rng), []
    while 50.0 not in weights:
        weights.append(policy.weight)
        assert not policy.take(world.observe(policy.weight))
    assert weights.index(50.0) - weights.index(15.0) >= 24


def test_what_happened_once_is_believed_at_once() -> None:
    """Both arms sick after a climb, calm at 0, sick after the second climb: one scrape of it ends the release."""
    judge = Judge(config())
    both: dict[str, Any] = {"canary": (3000, 300), "baseline": (12_000, 1200), "weight": 20.0}
    _took(judge, 0, 10, FINE, baseline=(14_250, 14), weight=5.0)
    assert [a.wanted_weight for a in _took(judge, 10, 2, **both)] == [None, 0.0]
    _took(judge, 12, 9, (0, 0), baseline=(15_000, 15), weight=0.0)
    assert _took(judge, 21, 1, **both)[0].action is Action.INCONCLUSIVE
