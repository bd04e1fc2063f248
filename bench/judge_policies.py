"""Our judge as a policy of the bench: the harness of docs/reference/judge.md, and nothing more."""

from __future__ import annotations

import msgspec

from analyzers.evidence import Trial
from analyzers.history import History, learn
from analyzers.options import JudgeConfig, MetricConfig, RampConfig, conversion, latency, usage
from analyzers.ticks import Action, Answer, ArmCounts, BucketCounts, GaugeValues, MetricCounts, SplitCounts, Tick, Verdict
from bench.judge_world import EDGES, SCRAPE, Arm, Past, Seen, Service

LINNET = JudgeConfig(
    metrics=(MetricConfig(name="errors"), latency("latency", EDGES), usage("cpu")), scrape_seconds=SCRAPE, ramp=RampConfig(), split=True
)


def configured(service: Service, history: Past | None, base: JudgeConfig = LINNET) -> JudgeConfig:
    """What an owner would write for this service, with its history learnt."""
    config = base
    if service.conversion is not None:
        config = msgspec.structs.replace(config, metrics=(*config.metrics, conversion("orders", lag=SCRAPE * service.conversion_lag * 3.0)))
    if service.connections:
        config = msgspec.structs.replace(config, split=False)
    if history is None:
        return config
    learnt = {
        "errors": History(events=history.errors, requests=history.requests),
        "latency": History(buckets=history.buckets),
        "cpu": History(values=history.usage),
    }
    if service.conversion is not None:
        learnt["orders"] = History(events=history.converted, requests=history.requests)
    return learn(config, learnt)


class Linnet:
    """The judge decides; the harness only carries its weight."""

    def __init__(self, config: JudgeConfig, units: tuple[int, int]) -> None:
        self.judge, self._units = Trial.begin(config), units
        self.weight = config.start_percent
        self.answer: Answer | None = None

    @property
    def proven(self) -> bool:
        """Whether every metric is proven fine, whatever the bake still waits for."""
        return self.answer is not None and all(m.fine_proven for m in self.answer.metrics)

    def take(self, seen: Seen) -> str:
        """One tick in; "", "rollback", "promote" or "undecided" out."""
        self.answer = answer = self.judge.tick(tick_of(seen, self._units))
        if answer.action is Action.ROLLBACK:
            return "rollback"
        if answer.action is Action.PROMOTE:
            return "promote"
        if answer.action is Action.INCONCLUSIVE or answer.verdict is Verdict.NO_DATA:
            return "undecided"
        self.weight = answer.wanted_weight if answer.wanted_weight is not None else self.weight
        return ""


def tick_of(seen: Seen, units: tuple[int, int]) -> Tick:
    c, b = seen.canary, seen.baseline
    return Tick(
        index=seen.tick,
        at=seen.tick * SCRAPE,
        weight=seen.weight,
        arms={
            "errors": MetricCounts(_counts(c), _counts(b)),
            "orders": MetricCounts(_orders(c), _orders(b)),
        },
        buckets={"latency": BucketCounts(_buckets(c), _buckets(b))},
        gauges={"cpu": GaugeValues(c.usage if c else None, b.usage if b else None)},
        split=SplitCounts(c.requests if c else 0, b.requests if b else 0),
        units=units,
    )


def _counts(arm: Arm | None) -> ArmCounts | None:
    return ArmCounts(arm.requests, arm.errors) if arm else None


def _orders(arm: Arm | None) -> ArmCounts | None:
    return ArmCounts(arm.requests, arm.converted) if arm else None


def _buckets(arm: Arm | None) -> tuple[int, ...] | None:
    return tuple(int(x) for x in arm.buckets) if arm else None
