"""One metric inside the judge: its test, its dispersion, its baseline's health, and which ticks each may use."""

from __future__ import annotations

import math

import msgspec

from analyzers.options import JudgeConfig, MetricConfig
from analyzers.stats.calm import BaselineHealth, HealthState
from analyzers.stats.combine import FineProof
from analyzers.stats.dispersion import Dispersion, DispersionState
from analyzers.stats.ratio import Evidence, RatioState, RatioTest, Use
from analyzers.ticks import ArmCounts, MetricEvidence, Tick


class MetricState(msgspec.Struct, frozen=True, kw_only=True):
    test: RatioState = RatioState()
    health: HealthState = HealthState()
    dispersion: DispersionState = DispersionState()
    requests: int = 0
    counted_ticks: int = 0


class MetricJudge:
    """Decides for one metric what a tick may be used for; everything it decides by is known before the tick."""

    def __init__(self, config: JudgeConfig, metric: MetricConfig, state: MetricState | None) -> None:
        s = state or MetricState()
        self._config, self._metric = config, metric
        self._test = RatioTest(config.ratio_options(metric), s.test)
        self._health = BaselineHealth(window_ticks=config.ticks(60.0), usual_rate=metric.usual_rate, state=s.health)
        self._dispersion = Dispersion(history=metric.history_phi, state=s.dispersion)
        self._requests, self._counted = s.requests, s.counted_ticks
        self._evidence: Evidence | None = None
        self.used_now = False

    @property
    def state(self) -> MetricState:
        return MetricState(
            test=self._test.state,
            health=self._health.state,
            dispersion=self._dispersion.state,
            requests=self._requests,
            counted_ticks=self._counted,
        )

    @property
    def calm(self) -> bool:
        return self._health.calm

    @property
    def bad_run(self) -> int:
        return self._health.bad_run

    @property
    def evidence(self) -> Evidence:
        if self._evidence is None:
            self._evidence = self._test.peek()
        return self._evidence

    @property
    def proof(self) -> FineProof:
        e = self.evidence
        return FineProof(log_e=e.log_e_fine, recent_gain=e.fine_gain, recent_ticks=e.fine_used_recently)

    @property
    def requests_per_tick(self) -> float:
        """Both arms together, over the ticks that had data."""
        return self._requests / self._counted if self._counted else 0.0

    def skip(self, ticks: int) -> None:
        self._evidence, self.used_now = None, False
        self._test.skip(ticks)

    def take(self, tick: Tick, *, settled: bool, warm: bool, calm: bool, since_change: int | None) -> None:
        """Use the tick for what it may be used for, then learn from it for the next one."""
        self._evidence, self.used_now = None, False
        counts = tick.arms.get(self._metric.name)
        baseline = _sound(counts.baseline) if counts else None
        canary = _sound(counts.canary) if counts else None
        if any(p.metric in {"", self._metric.name} for p in tick.problems) or baseline is None:
            self._test.skip()
            return
        phi = self._dispersion.phi
        well = self._health.update(baseline.errors, baseline.requests, phi)
        if canary is None or not canary.requests or not baseline.requests or not 0 < tick.weight < 100:
            self._test.skip()
            return
        # Outcomes that come late belong to the weight before the change: a metric with a lag waits for it.
        lagging = since_change is not None and since_change < self._config.ticks(self._metric.lag)
        use = settled and warm and not lagging
        self._test.update(
            canary.errors, canary.requests, baseline.errors, baseline.requests, phi,
            use=Use(
                worse=use,
                fine=use and calm and (well or not self._config.require_calm),
                catastrophe=not lagging,
                bound=settled and not lagging and calm and (well or not self._config.require_calm),
            ),
        )  # fmt: skip
        self.used_now = use
        if use:
            self._dispersion.update(canary.errors, canary.requests, baseline.errors, baseline.requests)
        self._requests += canary.requests + baseline.requests
        self._counted += 1

    def line(self) -> MetricEvidence:
        e = self.evidence
        proven = e.log_e_fine >= math.log(1.0 / self._config.beta)
        return MetricEvidence(
            name=self._metric.name,
            weight=self._config.metric_weight(self._metric.name),
            canary_requests=e.canary_requests,
            canary_errors=e.canary_errors,
            baseline_requests=e.baseline_requests,
            baseline_errors=e.baseline_errors,
            log_e_worse=e.log_e_worse,
            log_e_catastrophe=e.log_e_catastrophe,
            log_e_fine=e.log_e_fine,
            odds_worse=math.exp(min(e.log_e_worse, 690.0)),
            excess_upper_pp=None if e.excess_upper is None else e.excess_upper * 100.0,
            ratio_low=e.ratio_low,
            ratio_high=e.ratio_high,
            phi=self._dispersion.phi,
            calm=self._health.calm,
            ticks_used=e.used,
            fine_proven=proven,
            seconds_needed=0.0 if proven else self._seconds_needed(e),
        )

    def _seconds_needed(self, e: Evidence) -> float | None:
        """At the pace of the last five minutes; None while nothing is being gained."""
        if e.fine_gain <= 0 or not e.fine_used_recently:
            return None
        per_tick = e.fine_gain / min(e.ticks, self._config.ratio_options(self._metric).gain_ticks)
        return (math.log(1.0 / self._config.beta) - e.log_e_fine) / per_tick * self._config.scrape_seconds


def _sound(arm: ArmCounts | None) -> ArmCounts | None:
    """Counts that can be counts; anything else is treated as absent, so that no sum is ever poisoned."""
    if arm is None or not (math.isfinite(arm.requests) and math.isfinite(arm.errors)) or arm.requests < 0 or arm.errors < 0:
        return None
    return arm
