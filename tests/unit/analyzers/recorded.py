"""Logs of simulated releases, for all that reads evidence."""

from __future__ import annotations

import math
import random

from analyzers.evidence import EvidenceLog, Log, read
from analyzers.judge import Judge
from analyzers.options import JudgeConfig, MetricConfig, conversion, latency, usage
from analyzers.ticks import ArmCounts, BucketCounts, GaugeValues, MetricCounts, Tick, Verdict

EDGES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
FIRST = 100_000_000


def recorded(
    *,
    errors: float = 0.001,
    tail: float = 1.0,
    cpu: float = 1.0,
    orders: float = 1.0,
    ticks: int = 60,
    rps: float = 100.0,
    seed: int = 7,
    limit: int = 128 * 1024,
) -> EvidenceLog:
    """Four metrics over steps of 5, 25 and 50 %; it ends with the tick that stops the release. Arguments: how the canary differs."""
    rng = random.Random(seed)
    config = JudgeConfig(
        metrics=(MetricConfig(name="errors", usual_rate=0.001), latency("latency", EDGES), usage("cpu"), conversion("orders", lag=0.0)),
        ladder=(5.0, 25.0, 50.0),
    )
    judge, log = Judge(config), EvidenceLog(config, limit=limit)
    for k in range(ticks):
        weight = (5.0, 25.0, 50.0)[min(2, k // 12)]
        n_c = round(rps * 15 * weight / 100)
        n_b = round(rps * 15) - n_c
        tick = Tick(
            index=FIRST + k,
            at=(FIRST + k) * 15.0,
            weight=weight,
            arms={
                "errors": MetricCounts(ArmCounts(n_c, _some(rng, n_c, errors)), ArmCounts(n_b, _some(rng, n_b, 0.001))),
                "orders": MetricCounts(ArmCounts(n_c, _some(rng, n_c, 0.5 * orders)), ArmCounts(n_b, _some(rng, n_b, 0.5))),
            },
            buckets={"latency": BucketCounts(_durations(rng, n_c, tail), _durations(rng, n_b, 1.0))},
            gauges={"cpu": GaugeValues(0.01 * cpu * rng.uniform(0.99, 1.01), 0.01 * rng.uniform(0.99, 1.01))},
            units=(6, 20),
            warm=k >= 4,
        )
        answer = judge.tick(tick)
        log.append(tick, answer)
        if answer.verdict is Verdict.FAIL:
            break
    return log


def log_of(**how: float) -> Log:
    return read(recorded(**how).pack())  # type: ignore[arg-type]


def _some(rng: random.Random, n: int, share: float) -> int:
    return sum(rng.random() < share for _ in range(n))


def _durations(rng: random.Random, n: int, tail: float) -> tuple[int, ...]:
    found = [0] * (len(EDGES) + 1)
    for _ in range(n):
        z = rng.gauss(0, 1)
        took = 0.04 * math.exp(0.5 * z) * (tail if z > 1.645 else 1.0)
        found[sum(took > edge for edge in EDGES)] += 1
    return tuple(found)
