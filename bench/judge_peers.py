"""Stock rules of Flagger, Argo Rollouts and Kayenta, as they behave, so that a comparison with them means something.

Each is written from what the tools were read to do, and first reproduces known vectors (tests/unit/bench). They see the canary's
metrics per minute, as they would by PromQL over `[1m]`: success share, interpolated p99, and for Kayenta the baseline's too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from bench.judge_world import EDGES, Arm, Array, Seen

MINUTE: Final = 4
"""Ticks."""
STEPS: Final = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0)


def quantile(buckets: Array, q: float) -> float:
    """Prometheus' histogram_quantile: linear inside the bucket; NaN without samples, the last bound beyond it."""
    total = buckets.sum()
    if total <= 0:
        return math.nan
    rank = q * total
    cumulative = np.cumsum(buckets)
    j = int(np.searchsorted(cumulative, rank, side="left"))
    if j >= len(EDGES):
        return EDGES[-1]
    low, before = (EDGES[j - 1], cumulative[j - 1]) if j else (0.0, 0.0)
    return float(low + (EDGES[j] - low) * (rank - before) / max(buckets[j], 1e-12))


@dataclass(frozen=True, kw_only=True)
class Minute:
    """What queries over the last minute answer; NaN where nothing was counted."""

    success: float
    p50: float
    p99: float
    usage: float


def minute_of(arms: Sequence[Arm | None]) -> Minute:
    seen = [a for a in arms if a is not None and a.requests > 0]
    requests = sum(a.requests for a in seen)
    if not requests:
        return Minute(success=math.nan, p50=math.nan, p99=math.nan, usage=math.nan)
    buckets = np.sum([a.buckets for a in seen], axis=0)
    usage = sum((a.usage or 0.0) * a.requests for a in seen) / requests
    errors = sum(a.errors for a in seen)
    return Minute(success=1.0 - errors / requests, p50=quantile(buckets, 0.5), p99=quantile(buckets, 0.99), usage=usage)


class Flagger:
    """One check a minute; the first violation ends the tick; failures add up and are never forgiven; NaN is a failure."""

    name = "flagger"

    def __init__(self, *, success: float = 0.99, p99: float = 0.5, threshold: int = 5) -> None:
        self._success, self._p99, self._threshold = success, p99, threshold
        self.weight, self.failed = STEPS[0], 0
        self._window: list[Arm | None] = []

    def take(self, seen: Seen) -> str:
        self._window.append(seen.canary)
        if len(self._window) < MINUTE:
            return ""
        found, self._window = minute_of(self._window), []
        return self.check(found)

    def check(self, found: Minute) -> str:
        """One tick of the scheduler: the count is compared before the checks are made."""
        if self.failed >= self._threshold:
            return "rollback"
        if not (found.success >= self._success and found.p99 <= self._p99):
            self.failed += 1
            return ""
        if self.weight >= STEPS[-1]:
            return "promote"
        self.weight = next(s for s in STEPS if s > self.weight)
        return ""


SUCCESS, FAILURE, INCONCLUSIVE, ERROR = "S", "F", "I", "E"


@dataclass
class Measured:
    """An AnalysisRun's metric: samples in, phase out, in Argo Rollouts' order of precedence."""

    count: int | None = None
    interval: bool = True
    failure_limit: int = 0
    inconclusive_limit: int = 0
    error_limit: int = 4
    success_limit: int = 0
    samples: list[str] = field(default_factory=list)
    phase: str = "Pending"

    def add(self, sample: str) -> str:
        if self.phase in {"Pending", "Running"}:
            self.samples.append(sample)
            self.phase = self._assess(terminating=False)
        return self.phase

    def terminate(self) -> str:
        if self.phase in {"Pending", "Running"}:
            self.phase = self._assess(terminating=True)
        return self.phase

    def _assess(self, *, terminating: bool) -> str:
        if not self.samples:
            return "Successful" if terminating else "Pending"
        failed, inconclusive = self.samples.count(FAILURE), self.samples.count(INCONCLUSIVE)
        phase = ""
        if self.failure_limit >= 0 and failed > self.failure_limit:
            phase = "Failed"
        if inconclusive > self.inconclusive_limit:
            phase = "Inconclusive"
        if _streak(self.samples, ERROR) > self.error_limit:
            phase = "Error"
        if phase:
            return phase
        if self.success_limit and _streak(self.samples, SUCCESS) >= self.success_limit:
            return "Successful"
        if self._enough():
            return self._at_count()
        return "Successful" if terminating else "Running"

    def _enough(self) -> bool:
        wanted = self.count if self.count is not None else (None if self.interval else 1)
        return wanted is not None and sum(s != ERROR for s in self.samples) >= wanted

    def _at_count(self) -> str:
        if not self.success_limit:
            return "Successful"
        return "Inconclusive" if self.failure_limit >= 0 else "Failed"


def _streak(samples: Sequence[str], kind: str) -> int:
    run = 0
    for sample in reversed(samples):
        if sample != kind:
            break
        run += 1
    return run


class Argo:
    """An inline analysis per step: five measurements a minute apart of the error share and of p99, two failures allowed, NaN passes."""

    name = "argo"

    def __init__(self, *, errors: float = 0.05, p99: float = 0.5) -> None:
        self._errors, self._p99 = errors, p99
        self.weight = STEPS[0]
        self._window: list[Arm | None] = []
        self._metrics = self._fresh()

    @staticmethod
    def _fresh() -> list[Measured]:
        return [Measured(count=5, failure_limit=2) for _ in range(2)]

    def take(self, seen: Seen) -> str:
        self._window.append(seen.canary)
        if len(self._window) < MINUTE:
            return ""
        found, self._window = minute_of(self._window), []
        bad = 1.0 - found.success >= self._errors, found.p99 >= self._p99
        phases = [m.add(FAILURE if b else SUCCESS) for m, b in zip(self._metrics, bad, strict=True)]
        if "Failed" in phases:
            return "rollback"
        if phases != ["Successful", "Successful"]:
            return ""
        if self.weight >= STEPS[-1]:
            return "promote"
        self.weight, self._metrics = next(s for s in STEPS if s > self.weight), self._fresh()
        return ""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Mann-Whitney's interval and estimate for canary minus baseline."""

    low: float
    high: float
    estimate: float


def mann_whitney(canary: Array, baseline: Array, confidence: float = 0.98) -> Shift:
    """As R's wilcox.test(conf.int, exact = FALSE, correct): the z statistic is inverted by bisection."""
    quantile_z, z = float(ndtri(0.5 + confidence / 2.0)), RankSum(canary, baseline)
    return Shift(low=_root(z, quantile_z), high=_root(z, -quantile_z), estimate=0.5 * (_root(z, 0.0) + _root(z, 0.0, flat=True)))


class RankSum:
    """z of the rank sum at any shift, with R's continuity correction towards the bound that is sought (none for the estimate).

    The rank sum counts pairs whose difference is beyond the shift, so all differences are sorted once; only a shift that equals a
    difference makes new ties, and then all is ranked anew.
    """

    def __init__(self, canary: Array, baseline: Array) -> None:
        self._canary, self._baseline = canary, baseline
        self._differences: Array = np.sort((canary[:, None] - baseline[None, :]).ravel())
        self._sigma = _rank_sigma(np.concatenate([rankdata(canary), canary.size + rankdata(baseline)]), canary.size, baseline.size)

    @property
    def range(self) -> tuple[float, float]:
        return float(self._differences[0]), float(self._differences[-1])

    def at(self, shift: float, target: float) -> float:
        pairs = self._differences.size
        beyond = pairs - int(np.searchsorted(self._differences, shift, side="right"))
        equal = pairs - beyond - int(np.searchsorted(self._differences, shift, side="left"))
        sigma = self._tied_sigma(shift) if equal else self._sigma
        correction = 0.0 if target == 0 else math.copysign(0.5, target)
        return (beyond + 0.5 * equal - pairs / 2.0 - correction) / sigma if sigma else 0.0

    def _tied_sigma(self, shift: float) -> float:
        ranks = rankdata(np.concatenate([self._canary - shift, self._baseline]))
        return _rank_sigma(ranks, self._canary.size, self._baseline.size)


def _rank_sigma(ranks: Array, n: int, m: int) -> float:
    _, ties = np.unique(ranks, return_counts=True)
    return math.sqrt(n * m / 12.0 * ((n + m + 1) - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1))))


def _root(z: RankSum, target: float, *, flat: bool = False) -> float:
    """Where z falls to `target` (`flat`: where it leaves it again); z falls in steps as the shift rises."""
    low, high = z.range
    if z.at(low, target) <= target:  # so few points cannot reach that confidence
        return -math.inf if target else low
    if z.at(high, target) >= target:
        return high
    while high - low > 1e-6 * max(1.0, abs(low) + abs(high)):
        middle = 0.5 * (low + high)
        above = z.at(middle, target) - target
        if above > 0 or (flat and above == 0):
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def classify(canary: Sequence[float], baseline: Sequence[float]) -> str:
    """One metric of a Kayenta judgement with stock options: Pass, High or Nodata."""
    c = np.array([v for v in canary if not math.isnan(v)])
    b = np.array([v for v in baseline if not math.isnan(v)])
    if not c.size or not b.size:
        return "Nodata"
    if sorted(c) == sorted(b) or np.unique(np.concatenate([c, b])).size == 1:
        return "Pass"
    if np.unique(c).size == 1 and np.unique(b).size == 1:  # both constant: Kayenta adds noise of 1e-5, which only tells the order
        return "High" if c[0] > b[0] and min(c.size, b.size) >= 5 else "Pass"
    found = mann_whitney(c, b)
    return "High" if found.low > 0.25 * abs(found.estimate) else "Pass"


class Kayenta:
    """Per-minute points of both arms, a judgement every five minutes on all since the start; groups 34, 33, 33; marginal 50, pass 75."""

    name = "kayenta"
    JUDGED = 5

    def __init__(self, *, marginal: float = 50.0, enough: float = 75.0) -> None:
        self._marginal, self._enough = marginal, enough
        self.weight = STEPS[0]
        self._windows: tuple[list[Arm | None], list[Arm | None]] = ([], [])
        self._points: tuple[list[Minute], list[Minute]] = ([], [])

    def take(self, seen: Seen) -> str:
        self._windows[0].append(seen.canary)
        self._windows[1].append(seen.baseline)
        if len(self._windows[0]) < MINUTE:
            return ""
        for points, window in zip(self._points, self._windows, strict=True):
            points.append(minute_of(window))
            window.clear()
        if len(self._points[0]) % self.JUDGED:
            return ""
        score, last = self.score(), self.weight >= STEPS[-1]
        if score <= self._marginal or (last and score < self._enough):
            return "rollback"
        if last:
            return "promote"
        self.weight = next(s for s in STEPS if s > self.weight)
        return ""

    def score(self) -> float:
        c, b = self._points
        errors = classify([1.0 - m.success for m in c], [1.0 - m.success for m in b])
        latency = [classify([getattr(m, q) for m in c], [getattr(m, q) for m in b]) for q in ("p50", "p99")]
        usage = classify([m.usage for m in c], [m.usage for m in b])
        if errors == "High" or [errors, *latency, usage].count("Nodata") >= 2:
            return 0.0
        return sum(w * _group(g) for w, g in ((0.34, [errors]), (0.33, latency), (0.33, [usage])))


def _group(results: Sequence[str]) -> float:
    judged = [r for r in results if r != "Nodata"]
    return 100.0 * judged.count("Pass") / len(judged) if judged else 100.0
