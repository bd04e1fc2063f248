"""A latency (or size) histogram inside the judge."""

from __future__ import annotations

import math

import numpy as np

from analyzers.metric_judge import Gate, MetricJudge, MetricState
from analyzers.options import JudgeConfig, MetricConfig
from analyzers.stats.histogram import HistogramEvidence, HistogramTest
from analyzers.stats.mixture import Array
from analyzers.stats.ratio import Margin
from analyzers.ticks import MetricEvidence, Tick

GATE_ODDS: float = math.log(20.0)
GATE_REQUESTS: float = 300.0
"""Below so many canary requests a minute a ramp need not ask first whether they are twice as slow."""


class HistogramJudge(MetricJudge[HistogramEvidence]):
    """Buckets of both arms over the same ticks."""

    def __init__(self, config: JudgeConfig, metric: MetricConfig, state: MetricState) -> None:
        self._test = HistogramTest(config.histogram_options(metric), state.histogram)
        super().__init__(config, metric, state, self._test)

    def _usual(self) -> float | None:
        return min(self._metric.shape, key=lambda tail: abs(math.log(max(tail, 1e-9)) - math.log(0.1)), default=None)

    @property
    def state(self) -> MetricState:
        return MetricState(histogram=self._test.state, health=self._health.state, requests=self._requests, counted_ticks=self._counted)

    @property
    def gate_open(self) -> bool:
        """Not twice as slow, or nothing to resolve it with."""
        return not self._test.watched or self._test.log_e_not_twice >= GATE_ODDS

    def _take(self, tick: Tick, gate: Gate) -> None:
        counts = tick.buckets.get(self._metric.name)
        canary, baseline = (self._sound(counts.canary), self._sound(counts.baseline)) if counts else (None, None)
        if self._broken(tick) or baseline is None or not baseline.sum():
            self._test.skip(1)
            return
        self._count(float(baseline.sum() + (canary.sum() if canary is not None else 0.0)))
        well = self._healthy(baseline)
        if canary is None or not canary.sum() or not gate.comparable:
            self._test.skip(1)
            return
        use, margins = self._use(gate, well=well), self._widen(gate.units)
        before = self._test.evidence_ticks
        self._test.update(
            canary,
            baseline,
            use=use,
            tolerated=margins.tolerated.ratio - 1.0,
            unacceptable=margins.unacceptable.ratio - 1.0,
            min_phi=self._metric.min_phi,
        )
        self.used_now = self._test.evidence_ticks > before

    def _healthy(self, baseline: Array) -> bool:
        """The baseline's own tail next to its p90: three times as many slow requests as usual are an incident."""
        j = self._test.sick_boundary()
        if j is None:
            return self._health.update(0, 0, 1.0)
        return self._health.update(int(baseline[j + 1 :].sum()), int(baseline.sum()), 1.5)

    def _sound(self, counts: tuple[int, ...] | None) -> Array | None:
        if counts is None or len(counts) != len(self._metric.edges) + 1:
            return None
        values = np.array(counts, dtype=np.float64)
        return values if np.isfinite(values).all() and (values >= 0).all() else None

    def _in_words(self, margin: Margin) -> str:
        return f"{(margin.ratio - 1.0) * 100.0:.0f} % slower"

    def line(self) -> MetricEvidence:
        e = self.evidence
        return self._line(
            counts=(e.canary_requests, e.canary_slower, e.baseline_requests, e.baseline_slower),
            phi=max(self._test.phi, self._metric.min_phi),
            bound=f"at most {self._in_words(self.margins.unacceptable)}" if self.proven else "",
            boundary=e.boundary,
        )
