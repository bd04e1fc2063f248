"""A gauge (CPU per request, queue age) inside the judge."""

from __future__ import annotations

import math

import msgspec

from analyzers.metric_judge import Gate, MetricJudge, MetricState
from analyzers.options import JudgeConfig, MetricConfig
from analyzers.stats.gauge import GaugeEvidence, GaugeTest
from analyzers.stats.ratio import Margin
from analyzers.ticks import MetricEvidence, Tick


class GaugeJudge(MetricJudge[GaugeEvidence]):
    """Means of both arms over the same ticks. It has no health of its own: what both arms share cancels."""

    def __init__(self, config: JudgeConfig, metric: MetricConfig, state: MetricState) -> None:
        self._test = GaugeTest(config.gauge_options(metric), state.gauge)
        super().__init__(config, metric, state, self._test)

    @property
    def state(self) -> MetricState:
        return MetricState(gauge=self._test.state, requests=self._requests, counted_ticks=self._counted)

    @property
    def calm(self) -> bool:
        return True

    @property
    def bad_run(self) -> int:
        return 0

    def _take(self, tick: Tick, gate: Gate) -> None:
        values = tick.gauges.get(self._metric.name)
        sound = values is not None and _sound(values.canary) and _sound(values.baseline)
        if values is None or not sound or self._broken(tick) or not gate.comparable:
            self._test.skip(1)
            return
        # What a request costs does change with the load, so every change of the weight has to settle first, both ways.
        use, margins = self._use(msgspec.structs.replace(gate, blamable=gate.settled), well=True), self._widen(gate.units)
        self._test.update(
            values.canary or 0.0,
            values.baseline or 0.0,
            gate.units or (1, 1),
            use=use,
            tolerated=margins.tolerated.ratio - 1.0,
            unacceptable=margins.unacceptable.ratio - 1.0,
        )
        self.used_now = use.worse

    def _in_words(self, margin: Margin) -> str:
        return f"{(margin.ratio - 1.0) * 100.0:.0f} % more"

    def line(self) -> MetricEvidence:
        ratio = self.evidence.ratio
        return self._line(ratios=(ratio, ratio), bound=f"at most {self._in_words(self.margins.unacceptable)}" if self.proven else "")


def _sound(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
