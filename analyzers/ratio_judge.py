"""A share of requests (errors, exceptions, lost conversions) inside the judge."""

from __future__ import annotations

import math

from analyzers.metric_judge import Gate, MetricJudge, MetricState
from analyzers.options import JudgeConfig, MetricConfig, Worse
from analyzers.stats.dispersion import Dispersion
from analyzers.stats.ratio import Evidence, Margin, RatioTest
from analyzers.ticks import ArmCounts, MetricEvidence, Tick


class RatioJudge(MetricJudge[Evidence]):
    """Counts of both arms, or of the time before where there is no control."""

    def __init__(self, config: JudgeConfig, metric: MetricConfig, state: MetricState) -> None:
        self._test = RatioTest(config.ratio_options(metric), state.ratio)
        super().__init__(config, metric, state, self._test)
        self._dispersion = Dispersion(history=metric.history_phi, state=state.dispersion)

    @property
    def state(self) -> MetricState:
        return MetricState(
            ratio=self._test.state,
            health=self._health.state,
            dispersion=self._dispersion.state,
            requests=self._requests,
            counted_ticks=self._counted,
        )

    @property
    def log_e_catastrophe(self) -> float | None:
        return self.evidence.log_e_catastrophe if self._metric.worse is Worse.HIGHER else None

    @property
    def excess_upper(self) -> float | None:
        upper = self.evidence.excess_upper
        if self._metric.worse is Worse.LOWER:
            return self._most_lost(upper)
        within = upper is not None and upper <= self._metric.unacceptable.slack
        return 0.0 if within else upper

    def _most_lost(self, upper: float | None) -> float:
        """While all that the baseline usually has may be lost, it is; how much less is lost takes longer to tell than a climb may wait."""
        usual = self._health.rate or 0.0
        return usual if upper is None or upper >= usual else 0.0

    @property
    def usual_failures(self) -> float:
        return 0.0 if self._metric.worse is Worse.LOWER else (self._health.rate or 0.0) * self.requests_per_tick

    def _take(self, tick: Tick, gate: Gate) -> None:
        canary, baseline, before = self._arms(tick, gate)
        if self._broken(tick) or baseline is None:
            self._test.skip()
            return
        self._count((canary.requests if canary else 0) + (0 if before else baseline.requests))
        phi = max(self._dispersion.phi, self._metric.min_phi)
        expected = self._health.rate
        well = before or self._health.update(baseline.errors, baseline.requests, phi)
        if canary is None or not canary.requests or not baseline.requests or not (gate.comparable or before):
            self._test.skip()
            return
        use, margins = self._use(gate, well=well), self._widen(gate.units)
        tolerated, unacceptable = margins.tolerated, margins.unacceptable
        if before and self._metric.before_ratio is not None:
            tolerated = Margin(ratio=max(tolerated.ratio, self._metric.before_ratio), slack=tolerated.slack)
            unacceptable = Margin(ratio=max(unacceptable.ratio, 1.15 * tolerated.ratio), slack=unacceptable.slack)
        counts = (canary.errors, canary.requests, baseline.errors, baseline.requests)
        if self._metric.worse is Worse.LOWER:  # fewer are worse: the arms change their parts
            counts = (*counts[2:], *counts[:2])
        self._test.update(*counts, phi, use=use, tolerated=tolerated, unacceptable=unacceptable, expected=expected)
        self.used_now = use.worse
        if use.worse and gate.settled:
            self._dispersion.update(*counts)

    def _arms(self, tick: Tick, gate: Gate) -> tuple[ArmCounts | None, ArmCounts | None, bool]:
        """(canary, baseline, whether the baseline is the time before): without a control each tick meets the one a window earlier."""
        counts = tick.arms.get(self._metric.name)
        canary, baseline = (_sound(counts.canary), _sound(counts.baseline)) if counts else (None, None)
        window = self._metric.before
        if not window or tick.weight < 100 or gate.since_change is None:
            return canary, baseline, False
        place = gate.since_change
        return canary, ArmCounts(*window[place]) if place < len(window) else None, True

    def _in_words(self, margin: Margin) -> str:
        """Nothing while the declared absolute part alone holds what was seen: then the wider factor decided nothing."""
        if self._metric.worse is Worse.HIGHER and self.excess_upper == 0.0:
            return ""
        fewer = self._metric.worse is Worse.LOWER
        factor = f"{(1.0 - 1.0 / margin.ratio) * 100.0:.0f} % fewer" if fewer else f"{margin.ratio:.3g}x"
        return f"{factor}+{margin.slack * 100.0:.2g}pp" if margin.slack else factor

    def line(self) -> MetricEvidence:
        e = self.evidence
        swapped = self._metric.worse is Worse.LOWER
        arms = (e.canary_requests, e.canary_errors, e.baseline_requests, e.baseline_errors)
        upper = None if swapped or e.excess_upper is None else e.excess_upper * 100.0
        return self._line(
            counts=(*arms[2:], *arms[:2]) if swapped else arms,
            log_e_catastrophe=0.0 if swapped else e.log_e_catastrophe,
            excess_upper_pp=upper,
            ratios=(_inverse(e.ratio_high), _inverse(e.ratio_low)) if swapped else (e.ratio_low, e.ratio_high),
            phi=max(self._dispersion.phi, self._metric.min_phi),
            bound="" if upper is None else f"at most {upper:g} pp worse",
        )


def _inverse(value: float | None) -> float | None:
    return None if not value else 1.0 / value


def _sound(arm: ArmCounts | None) -> ArmCounts | None:
    """Counts that can be counts; anything else is treated as absent, so that no sum is ever poisoned."""
    if arm is None or not (math.isfinite(arm.requests) and math.isfinite(arm.errors)) or arm.requests < 0 or arm.errors < 0:
        return None
    return arm
