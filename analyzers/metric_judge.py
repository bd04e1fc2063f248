"""One metric inside the judge: which ticks its test may use, its baseline's health, and what it says of itself.

Everything a tick is used for is decided from what was known before it. The kinds of metric differ in their counts and their test only;
the gates, the lag, the margins widened for few pods and the line for people are one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import msgspec

from analyzers.history import fit
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
    requests: float = 0.0
    counted_ticks: float = 0.0


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before a tick about how it may be used. `settled`: nothing of the weight before is in it; `blamable`: nothing that
    could make the canary look worse.
    """

    settled: bool
    blamable: bool
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


class Weighed(Protocol):
    """What every test says of itself, whatever it counts. Logs are natural."""

    @property
    def log_e_worse(self) -> float: ...

    @property
    def log_e_fine(self) -> float: ...

    @property
    def fine_gain(self) -> float: ...

    @property
    def fine_used_recently(self) -> int: ...

    @property
    def ticks(self) -> int: ...

    @property
    def used(self) -> int: ...


E_co = TypeVar("E_co", bound=Weighed, covariant=True)


class SequentialTest(Protocol[E_co]):
    """What the tests of `analyzers.stats` have in common; how one is fed depends on what it counts."""

    def peek(self) -> E_co: ...

    def skip(self, ticks: int = 1) -> None: ...


class MetricJudge(ABC, Generic[E_co]):
    """Decides for one metric what a tick may be used for; everything it decides by is known before the tick."""

    def __init__(self, config: JudgeConfig, metric: MetricConfig, state: MetricState, test: SequentialTest[E_co]) -> None:
        self._config, self._metric = config, metric
        self._sequential = test
        self._evidence: E_co | None = None
        self._health = BaselineHealth(window_ticks=config.ticks(60.0), usual_rate=self._usual(), state=state.health)
        self._requests, self._counted = state.requests, state.counted_ticks
        self._effects = UnitEffects(tau=metric.tau)
        self._margins: Margins | None = None
        self._units: tuple[int, int] | None = None
        self.used_now = False

    def _usual(self) -> float | None:
        """The share of bad requests that history calls usual for the baseline."""
        return self._metric.usual_rate

    @property
    @abstractmethod
    def state(self) -> MetricState: ...

    @property
    def evidence(self) -> E_co:
        """What the test says now; looked at once a tick, since looking costs more than the tick."""
        if self._evidence is None:
            self._evidence = self._sequential.peek()
        return self._evidence

    @property
    def log_e_worse(self) -> float:
        return self.evidence.log_e_worse

    @property
    def log_e_catastrophe(self) -> float | None:
        """None where the metric cannot show an outage."""
        return None

    @property
    def proof(self) -> FineProof:
        e = self.evidence
        return FineProof(log_e=e.log_e_fine, recent_gain=e.fine_gain, recent_ticks=e.fine_used_recently)

    @property
    def proven(self) -> bool:
        """Whether this metric alone would be promoted."""
        return self.evidence.log_e_fine >= math.log(1.0 / self._config.beta)

    @property
    def used(self) -> int:
        return self.evidence.used

    @property
    def excess_upper(self) -> float | None:
        """Largest share of requests that could still be failing because of the canary; 0 where the metric counts no failures, or where
        that share is within the bound that the owner would promote at.
        """
        return 0.0

    @property
    def usual_failures(self) -> float:
        """Requests of both arms that fail in a tick anyway; 0 where the metric counts no failures."""
        return 0.0

    @property
    def gate_open(self) -> bool:
        """Whether this metric lets a ramp climb."""
        return True

    @abstractmethod
    def line(self) -> MetricEvidence: ...

    @property
    def soon_told(self) -> bool:
        """Whether a change of the weight silences it no longer than all else."""
        return self._config.ticks(self._metric.lag) <= self._config.settle_scrapes

    def skip(self, ticks: int) -> None:
        self._evidence, self.used_now = None, False
        self._sequential.skip(ticks)

    def take(self, tick: Tick, gate: Gate) -> None:
        """Use the tick for what it may be used for, then learn from it for the next one."""
        self._evidence, self.used_now = None, False
        self._take(tick, gate)

    @abstractmethod
    def _take(self, tick: Tick, gate: Gate) -> None: ...

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
        return self._margins or self._widen(None)

    @property
    def widened(self) -> str:
        """The bound promoted against, in words, where so few pods cannot prove the declared one; empty where that one is in force."""
        widens = self._config.strictness is Strictness.WIDEN and not self.margins.provable
        return self._in_words(self.margins.unacceptable) if widens else ""

    @abstractmethod
    def _in_words(self, margin: Margin) -> str: ...

    @property
    def requests_per_tick(self) -> float:
        """Both arms together, over the ticks of the last minutes that had data."""
        return self._requests / self._counted if self._counted else 0.0

    def _count(self, requests: float) -> None:
        keep = 1.0 - 1.0 / self._config.gain_ticks
        self._requests, self._counted = keep * self._requests + requests, keep * self._counted + 1.0

    def fit(self, rps: float) -> None:
        """Promote against what this traffic can prove: settled once, by how many requests came and never by what became of them."""
        self._metric, self._margins = fit(self._metric, rps, self._config), None

    def _broken(self, tick: Tick) -> bool:
        return any(p.metric in {"", self._metric.name} for p in tick.problems)

    def _use(self, gate: Gate, *, well: bool) -> Use:
        """A lag belongs to the weight before the change; good news only count in calm ticks, bad news always."""
        lagging = gate.since_change is not None and gate.since_change < self._config.ticks(self._metric.lag)
        worse = gate.blamable and gate.warm and not lagging and gate.bad_news
        good = gate.good_news and gate.calm and (well or not self._config.require_calm)
        return Use(
            worse=worse, fine=worse and gate.settled and good, catastrophe=not lagging, bound=not lagging and good, hushed=not gate.settled
        )

    def _widen(self, units: tuple[int, int] | None) -> Margins:
        """Rule 3: no test on few pods can tell a slow node from a slow release, so what pods differ by is tolerated."""
        metric = self._metric
        if self._margins is not None and units == self._units:
            return self._margins
        self._units = units
        factor = 1.0 if units is None else self._effects.factor(*units)
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

    def _line(
        self,
        *,
        counts: tuple[int, int, int, int] = (0, 0, 0, 0),
        log_e_catastrophe: float = 0.0,
        excess_upper_pp: float | None = None,
        ratios: tuple[float | None, float | None] = (None, None),
        phi: float = 1.0,
        bound: str = "",
        boundary: float | None = None,
    ) -> MetricEvidence:
        """`counts`: requests and errors of the canary, then of the baseline; `ratios`: the ends of what is not refuted."""
        e = self.evidence
        canary_requests, canary_errors, baseline_requests, baseline_errors = counts
        return MetricEvidence(
            name=self._metric.name,
            weight=self._config.metric_weight(self._metric.name),
            canary_requests=canary_requests,
            canary_errors=canary_errors,
            baseline_requests=baseline_requests,
            baseline_errors=baseline_errors,
            log_e_worse=e.log_e_worse,
            log_e_catastrophe=log_e_catastrophe,
            log_e_fine=e.log_e_fine,
            odds_worse=math.exp(min(e.log_e_worse, 690.0)),
            excess_upper_pp=excess_upper_pp,
            ratio_low=ratios[0],
            ratio_high=ratios[1],
            phi=phi,
            calm=self.calm,
            ticks_used=e.used,
            fine_proven=self.proven,
            seconds_needed=0.0 if self.proven else self._seconds_needed(),
            kind=self._metric.kind,
            worse=self._metric.worse,
            bound=bound,
            widened=self.widened,
            boundary=boundary,
        )

    def _seconds_needed(self) -> float | None:
        """At the pace of the last five minutes; None while nothing is being gained."""
        e = self.evidence
        if e.fine_gain <= 0 or not e.fine_used_recently:
            return None
        per_tick = e.fine_gain / min(e.ticks, self._config.gain_ticks)
        return (math.log(1.0 / self._config.beta) - e.log_e_fine) / per_tick * self._config.scrape_seconds
