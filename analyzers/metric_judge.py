"""One metric inside the judge: which ticks its test may use, its baseline's health, and what it says of itself.

Everything a tick is used for is decided from what was known before it. The kinds of metric differ in their counts and their test only;
the gates, the lag, the margins widened for few pods and the line for people are one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import msgspec

from analyzers.options import JudgeConfig, MetricConfig, Strictness
from analyzers.stats.calm import BaselineHealth, HealthState
from analyzers.stats.combine import FineProof
from analyzers.stats.dispersion import DispersionState
from analyzers.stats.gauge import GaugeState
from analyzers.stats.histogram import HistogramState
from analyzers.stats.ratio import Margin, RatioState, Use
from analyzers.stats.units import UnitEffects
from analyzers.ticks import MetricEvidence, Tick

PROVABLE: float = 1.15
"""With few pods the bound promoted against lies so far beyond what pods alone may differ by."""


class MetricState(msgspec.Struct, frozen=True, kw_only=True):
    ratio: RatioState | None = None
    histogram: HistogramState | None = None
    gauge: GaugeState | None = None
    health: HealthState | None = None
    dispersion: DispersionState = DispersionState()
    requests: int = 0
    counted_ticks: int = 0


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before a tick about how it may be used."""

    settled: bool
    warm: bool
    calm: bool
    since_change: int | None
    units: tuple[int, int] | None = None
    comparable: bool = True
    bad_news: bool = True
    good_news: bool = True


class Margins(msgspec.Struct, frozen=True, kw_only=True):
    """In force for one tick: the declared ones, widened by what so few pods may differ by. `provable` is False where that reaches further
    than the declared bound.
    """

    tolerated: Margin
    unacceptable: Margin
    provable: bool = True


class MetricJudge(ABC):
    """Decides for one metric what a tick may be used for; everything it decides by is known before the tick."""

    def __init__(self, config: JudgeConfig, metric: MetricConfig, state: MetricState) -> None:
        self._config, self._metric = config, metric
        self._health = BaselineHealth(window_ticks=config.ticks(60.0), usual_rate=self._usual(), state=state.health)
        self._requests, self._counted = state.requests, state.counted_ticks
        self._effects = UnitEffects(tau=metric.tau)
        self._margins = Margins(tolerated=metric.tolerated, unacceptable=metric.unacceptable)
        self._units: tuple[int, int] | None = None
        self.used_now = False

    def _usual(self) -> float | None:
        """The share of bad requests that history calls usual for the baseline."""
        return self._metric.usual_rate

    @property
    @abstractmethod
    def state(self) -> MetricState: ...

    @property
    @abstractmethod
    def log_e_worse(self) -> float: ...

    @property
    def log_e_catastrophe(self) -> float | None:
        """None where the metric cannot show an outage."""
        return None

    @property
    @abstractmethod
    def proof(self) -> FineProof: ...

    @property
    @abstractmethod
    def used(self) -> int: ...

    @property
    def excess_upper(self) -> float | None:
        """Largest share of requests that could still be failing because of the canary; 0 where the metric counts no failures, or where
        that share is within the bound that the owner would promote at.
        """
        return 0.0

    @property
    def gate_open(self) -> bool:
        """Whether this metric lets a ramp climb."""
        return True

    @abstractmethod
    def line(self) -> MetricEvidence: ...

    @abstractmethod
    def skip(self, ticks: int) -> None: ...

    @abstractmethod
    def take(self, tick: Tick, gate: Gate) -> None:
        """Use the tick for what it may be used for, then learn from it for the next one."""

    @property
    def name(self) -> str:
        return self._metric.name

    @property
    def calm(self) -> bool:
        return self._health.calm

    @property
    def bad_run(self) -> int:
        return self._health.bad_run

    @property
    def margins(self) -> Margins:
        """Those of the last tick."""
        return self._margins

    @property
    def requests_per_tick(self) -> float:
        """Both arms together, over the ticks that had data."""
        return self._requests / self._counted if self._counted else 0.0

    def _broken(self, tick: Tick) -> bool:
        return any(p.metric in {"", self._metric.name} for p in tick.problems)

    def _use(self, gate: Gate, *, well: bool) -> Use:
        """A lag belongs to the weight before the change; good news only count in calm ticks, bad news always."""
        lagging = gate.since_change is not None and gate.since_change < self._config.ticks(self._metric.lag)
        worse = gate.settled and gate.warm and not lagging and gate.bad_news
        good = gate.good_news and gate.calm and (well or not self._config.require_calm)
        return Use(worse=worse, fine=worse and good, catastrophe=not lagging, bound=not lagging and good)

    def _widen(self, gate: Gate) -> Margins:
        """Rule 3: no test on few pods can tell a slow node from a slow release, so what pods differ by is tolerated."""
        metric = self._metric
        if gate.units == self._units:
            return self._margins
        self._units = gate.units
        factor = 1.0 if gate.units is None else self._effects.factor(*gate.units)
        reach = metric.tolerated.ratio * factor
        provable = reach < metric.unacceptable.ratio
        bound = metric.unacceptable.ratio
        if not provable and self._config.strictness is Strictness.WIDEN:
            bound = PROVABLE * reach
        self._margins = Margins(
            tolerated=Margin(ratio=reach, slack=metric.tolerated.slack),
            unacceptable=Margin(ratio=bound, slack=metric.unacceptable.slack),
            provable=provable,
        )
        return self._margins

    def _seconds_needed(self, log_fine: float, gain: float, used: int, ticks: int) -> float | None:
        """At the pace of the last five minutes; None while nothing is being gained."""
        if gain <= 0 or not used:
            return None
        per_tick = gain / min(ticks, self._config.gain_ticks)
        return (math.log(1.0 / self._config.beta) - log_fine) / per_tick * self._config.scrape_seconds
