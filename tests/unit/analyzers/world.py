"""A service with a canary, seen by the judge tick by tick: the simulator behind the acceptance tests.

Traffic and errors are drawn per 15 s tick; the weight follows a small policy (ramp by evidence, retreat when the judge
asks). Everything is seeded, so a bound that holds today holds tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from analyzers.judge import Judge
from analyzers.options import JudgeConfig, MetricConfig
from analyzers.ticks import Action, Answer, ArmCounts, MetricCounts, Tick, Verdict

SEED = 20261123
SCRAPE = 15.0
Rates = Callable[[int], tuple[float, float]]
"""Tick -> error rates of (canary, baseline)."""


@dataclass(frozen=True, kw_only=True)
class World:
    """One kind of rollout."""

    rps: float
    rates: Rates
    ticks: int
    weights: tuple[float, ...] = (1, 5, 10, 20, 35, 50)
    dwell: int = 4
    burst: int = 1
    canary_late: bool = False
    canary_dead_from: int | None = None
    promote_after: int = 0
    onset: int = 0
    config: JudgeConfig = field(default_factory=lambda: config())


@dataclass(kw_only=True)
class Outcome:
    """How one run ended, and what it cost."""

    answer: Answer
    ticks: int
    canary_requests: int
    canary_errors: int
    excess_errors: float
    retreats: int
    since_onset: int

    @property
    def rolled_back(self) -> bool:
        return self.answer.action is Action.ROLLBACK

    @property
    def promoted(self) -> bool:
        return self.answer.action is Action.PROMOTE


def config(**changes: object) -> JudgeConfig:
    metric = {"name": "errors", "history_phi": 1.0}
    metric.update({k: changes.pop(k) for k in list(changes) if k in MetricConfig.__struct_fields__})
    options = {"ladder": (1.0, 5.0, 10.0, 20.0, 35.0, 50.0), **changes}
    return JudgeConfig(metrics=(MetricConfig(**metric),), **options)  # type: ignore[arg-type]


def errors_metric(canary: tuple[int, int] | None, baseline: tuple[int, int] | None) -> dict[str, MetricCounts]:
    """Counts given as (requests, errors) of the two arms."""
    return {"errors": MetricCounts(ArmCounts(*canary) if canary else None, ArmCounts(*baseline) if baseline else None)}


def tick(index: int, weight: float, canary: tuple[int, int] | None, baseline: tuple[int, int] | None, **more: object) -> Tick:
    return Tick(index=index, at=index * SCRAPE, weight=weight, arms=errors_metric(canary, baseline), **more)  # type: ignore[arg-type]


def play(world: World, rng: np.random.Generator) -> Outcome:
    """Run one rollout until the judge decides or the time is over."""
    judge, step, on_step, weight = Judge(world.config), 0, 0, world.weights[0]
    seen, failed, excess, retreats, late, since = 0, 0, 0.0, 0, (0, 0), 0
    answer: Answer | None = None
    k = 0
    for k in range(world.ticks):
        p_c, p_b = world.rates(k)
        n_c, n_b = _traffic(world, weight, k, rng)
        x_c, x_b = _errors(n_c, p_c, world.burst, rng), _errors(n_b, p_b, world.burst, rng)
        seen, failed, excess = seen + n_c, failed + x_c, excess + n_c * max(0.0, p_c - p_b)
        since += n_c if k >= world.onset else 0
        shown, late = (late, (n_c, x_c)) if world.canary_late else ((n_c, x_c), late)
        answer = judge.tick(tick(k, weight, shown, (n_b, x_b)))
        if answer.action in {Action.ROLLBACK, Action.INCONCLUSIVE} or answer.verdict is Verdict.NO_DATA:
            break
        if answer.action is Action.PROMOTE and k >= world.promote_after:
            break
        on_step += 1
        if answer.wanted_weight is not None and answer.wanted_weight < weight:
            retreats, step, on_step, weight = retreats + 1, 0, 0, answer.wanted_weight
        elif answer.action in {Action.ADVANCE, Action.PROMOTE} and on_step >= world.dwell and weight < world.weights[-1]:
            step = min(w for w in range(len(world.weights)) if world.weights[w] > weight)
            on_step, weight = 0, world.weights[step]
    assert answer is not None
    return Outcome(
        answer=answer, ticks=k + 1, canary_requests=seen, canary_errors=failed, excess_errors=excess, retreats=retreats, since_onset=since
    )


def many(world: World, runs: int, seed: int = SEED) -> list[Outcome]:
    rng = np.random.default_rng(seed)
    return [play(world, rng) for _ in range(runs)]


def _traffic(world: World, weight: float, k: int, rng: np.random.Generator) -> tuple[int, int]:
    total = world.rps * SCRAPE
    dead = world.canary_dead_from is not None and k >= world.canary_dead_from
    return (0 if dead else int(rng.poisson(total * weight / 100.0)), int(rng.poisson(total * (1 - weight / 100.0))))


def _errors(requests: int, rate: float, burst: int, rng: np.random.Generator) -> int:
    """Errors come singly, or in bursts of a geometric size with the given mean."""
    if burst == 1:
        return int(rng.binomial(requests, min(1.0, rate)))
    bursts = rng.poisson(requests * rate / burst)
    return int(min(requests, rng.geometric(1.0 / burst, bursts).sum())) if bursts else 0
