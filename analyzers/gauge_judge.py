"""A gauge (CPU per request, queue age) inside the judge."""

from __future__ import annotations

import math

from analyzers.metric_judge import Gate, MetricJudge, MetricState
from analyzers.options import JudgeConfig, MetricConfig
from analyzers.stats.combine import FineProof
from analyzers.stats.gauge import GaugeEvidence, GaugeTest
from analyzers.ticks import MetricEvidence, Tick


class GaugeJudge(MetricJudge):
    """Means of both arms over the same ticks. It has no health of its own: what both arms share cancels."""

    def __init__(self, config: JudgeConfig, metric: MetricConfig, state: MetricState) -> None:
        super().__init__(config, metric, state)
        self._test = GaugeTest(config.gauge_options(metric), state.gauge)
        self._evidence: GaugeEvidence | None = None

    @property
    def state(self) -> MetricState:
        return MetricState(gauge=self._test.state, requests=self._requests, counted_ticks=self._counted)

    @property
    def calm(self) -> bool:
        return True

    @property
    def bad_run(self) -> int:
        return 0

    @property
    def evidence(self) -> GaugeEvidence:
        if self._evidence is None:
            self._evidence = self._test.peek()
        return self._evidence

    @property
    def log_e_worse(self) -> float:
        return self.evidence.log_e_worse

    @property
    def used(self) -> int:
        return self.evidence.used

    @property
    def proof(self) -> FineProof:
        e = self.evidence
        return FineProof(log_e=e.log_e_fine, recent_gain=e.fine_gain, recent_ticks=e.fine_used_recently)

    def skip(self, ticks: int) -> None:
        self._evidence, self.used_now = None, False
        self._test.skip(ticks)

    def take(self, tick: Tick, gate: Gate) -> None:
        self._evidence, self.used_now = None, False
        values = tick.gauges.get(self._metric.name)
        sound = values is not None and _sound(values.canary) and _sound(values.baseline)
        if values is None or not sound or self._broken(tick) or not gate.comparable:
            self._test.skip(1)
            return
        use, margins = self._use(gate, well=True), self._widen(gate)
        self._test.update(
            values.canary or 0.0,
            values.baseline or 0.0,
            gate.units or (1, 1),
            use=use,
            tolerated=margins.tolerated.ratio - 1.0,
            unacceptable=margins.unacceptable.ratio - 1.0,
        )
        self.used_now = use.worse

    def line(self) -> MetricEvidence:
        e = self.evidence
        proven = e.log_e_fine >= math.log(1.0 / self._config.beta)
        more = (self._margins.unacceptable.ratio - 1.0) * 100.0
        return MetricEvidence(
            name=self._metric.name,
            weight=self._config.metric_weight(self._metric.name),
            canary_requests=0,
            canary_errors=0,
            baseline_requests=0,
            baseline_errors=0,
            log_e_worse=e.log_e_worse,
            log_e_catastrophe=0.0,
            log_e_fine=e.log_e_fine,
            odds_worse=math.exp(min(e.log_e_worse, 690.0)),
            excess_upper_pp=None,
            ratio_low=e.ratio,
            ratio_high=e.ratio,
            phi=1.0,
            calm=True,
            ticks_used=e.used,
            fine_proven=proven,
            seconds_needed=0.0 if proven else self._seconds_needed(e.log_e_fine, e.fine_gain, e.fine_used_recently, e.ticks),
            kind=self._metric.kind,
            bound=f"at most {more:.0f} % more" if proven else "",
        )


def _sound(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
