"""Services that are released in the bench: what their metrics show, tick by tick, under whatever weight a policy sets.

Nothing here knows any judge. A `Service` is one draw of a kind of release: traffic, errors, latency, pods, incidents and what is wrong
with the new version, if anything. `Run` plays it: `observe(weight)` gives one tick of both arms' counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

SCRAPE = 15.0
EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
HORIZON = 240
"""Ticks: one hour."""
HISTORY = 480
"""Ticks of history: two hours."""
AFTERMATH = 1800.0
LOG_EDGES = np.log(np.array(EDGES))


def always(value: float) -> Callable[[int], float]:
    return lambda _: value


def between(start: int, end: int, value: float, other: float = 0.0) -> Callable[[int], float]:
    return lambda k: value if start <= k < end else other


def after(start: int, value: float, other: float = 0.0) -> Callable[[int], float]:
    return lambda k: value if k >= start else other


@dataclass(frozen=True, kw_only=True)
class Service:
    """One draw. Times are ticks since the canary's first pod; factors multiply, excesses add."""

    rps: float = 100.0
    errors: float = 0.001
    burst: float = 1.0
    history_burst: float | None = None
    median: float = 0.1
    sigma: float = 0.6
    pods: int = 20
    canary_pods: int = 2
    pod_sd: float = 0.0
    wander: float = 0.03
    drift: float = 0.05
    usage: float = 0.02
    late: bool = False
    connections: int = 0
    dead_from: int | None = None
    share: float = 1.0
    shared_errors: Callable[[int], float] = field(default_factory=lambda: always(0.0))
    shared_slower: Callable[[int], float] = field(default_factory=lambda: always(1.0))
    baseline_errors: Callable[[int], float] = field(default_factory=lambda: always(0.0))
    lock: float = 0.0
    more_errors: Callable[[int], float] = field(default_factory=lambda: always(0.0))
    error_factor: float = 1.0
    slower: Callable[[int], float] = field(default_factory=lambda: always(1.0))
    tail: Callable[[int], float] = field(default_factory=lambda: always(1.0))
    more_usage: float = 1.0
    retries: float = 0.0
    conversion: float | None = None
    conversion_lag: float = 0.0
    conversion_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm's increments of one tick. `usage`: CPU seconds per request; None without requests."""

    requests: int
    errors: int
    buckets: Array
    usage: float | None
    converted: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the metrics show of one tick, and (for the score alone) what it really cost."""

    tick: int
    weight: float
    canary: Arm | None
    baseline: Arm | None
    harm: float


class Run:
    """One release of one service."""

    def __init__(self, service: Service, rng: np.random.Generator) -> None:
        self.service, self._rng = service, rng
        s = service
        self._offsets = rng.normal(0.0, s.pod_sd, s.pods + s.canary_pods) if s.pod_sd else np.zeros(s.pods + s.canary_pods)
        self._wander = rng.normal(0.0, s.wander, s.pods + s.canary_pods)
        self._rate = 0.0
        self._usage = rng.normal(0.0, 0.05, s.pods + s.canary_pods)
        self._tick = 0
        self._kept: Arm | None = None
        self._pending = [0, 0]
        self._last_weight = -1.0
        self._sticky = 0.0

    def observe(self, weight: float) -> Seen:
        """The next tick at `weight` percent."""
        s, k = self.service, self._tick
        self._tick += 1
        self._move()
        total = s.rps * SCRAPE * math.exp(self._rate)
        share = self._share(weight)
        n_c = 0 if s.dead_from is not None and k >= s.dead_from else int(self._rng.poisson(total * share)) if share > 0 else 0
        n_b = int(self._rng.poisson(total * (1.0 - share))) if share < 1 else 0
        p_b = min(1.0, s.errors * math.exp(self._rate) + s.shared_errors(k) + s.lock * weight / 100.0)
        p_c = min(1.0, p_b * s.error_factor + s.more_errors(k))
        p_b = min(1.0, p_b + s.baseline_errors(k))
        n_c += int(self._rng.poisson(n_c * p_c * s.retries)) if s.retries else 0
        canary = self._arm(n_c, p_c, k, canary=True)
        baseline = self._arm(n_b, p_b, k, canary=False)
        harm = self._harm(canary, min(1.0, s.errors), k) + (max(0.0, p_b - s.errors) * n_b if s.lock else 0.0)
        shown, self._kept = (self._kept, canary) if s.late else (canary, None)
        return Seen(tick=k, weight=weight, canary=shown, baseline=baseline, harm=harm)

    def harm_after_promotion(self) -> float:
        """30 minutes of the whole traffic on the new version, as it would be now."""
        s, k = self.service, self._tick
        requests = s.rps * AFTERMATH
        wrong = max(0.0, s.errors * (s.error_factor - 1.0) + s.more_errors(k + 20)) + s.lock
        return requests * min(1.0, wrong + self._slow_share(k + 20) + self._lost_share())

    def _move(self) -> None:
        """Traffic, base rate and latency wander a little, as they do."""
        s, rng = self.service, self._rng
        self._rate = 0.98 * self._rate + rng.normal(0.0, s.drift * 0.2)
        self._wander = 0.9 * self._wander + rng.normal(0.0, s.wander * 0.436, self._wander.size)
        self._usage = 0.9 * self._usage + rng.normal(0.0, 0.022, self._usage.size)

    def _share(self, weight: float) -> float:
        s, wanted = self.service, weight / 100.0 * self.service.share
        if not s.connections or not 0 < wanted < 1:
            return min(1.0, wanted)
        if weight != self._last_weight:
            self._last_weight, self._sticky = weight, self._rng.binomial(s.connections, wanted) / s.connections
        return self._sticky

    def _arm(self, requests: int, rate: float, k: int, *, canary: bool) -> Arm:
        s, rng = self.service, self._rng
        errors = self._events(requests, rate)
        buckets = np.zeros(len(EDGES) + 1)
        if requests:
            buckets = rng.multinomial(requests, self._chances(k, canary=canary)).astype(np.float64)
        pods = slice(s.pods, None) if canary else slice(0, s.pods)
        level = 0.01 * math.exp(float(np.mean(self._usage[pods])) + rng.normal(0.0, s.usage / math.sqrt(max(1.0, requests / 200.0))))
        usage = level * (s.more_usage if canary else 1.0) if requests else None
        return Arm(requests=requests, errors=errors, buckets=buckets, usage=usage, converted=self._converted(requests, canary=canary))

    def _events(self, requests: int, rate: float) -> int:
        if self.service.burst <= 1 or rate > 0.2:
            return int(self._rng.binomial(requests, rate))
        bursts = int(self._rng.poisson(requests * rate / self.service.burst))
        return min(requests, int(self._rng.geometric(1.0 / self.service.burst, bursts).sum())) if bursts else 0

    def _chances(self, k: int, *, canary: bool) -> Array:
        """Bucket probabilities, averaged over the arm's pods."""
        s = self.service
        pods = slice(s.pods, None) if canary else slice(0, s.pods)
        centre = math.log(s.median) + self._offsets[pods] + self._wander[pods] + math.log(s.shared_slower(k))
        stretch = math.log(s.tail(k)) if canary else 0.0
        if canary:
            centre = centre + math.log(s.slower(k))
        z = (LOG_EDGES[None, :] - centre[:, None]) / s.sigma
        below = ndtr(z)
        if stretch:  # what is slower than the 95th percentile takes so many times as long
            cut = 1.645
            below = np.where(z <= cut, below, np.maximum(0.95, ndtr(np.maximum(cut, z - stretch / s.sigma))))
        mean = below.mean(axis=0)
        chances = np.diff(np.concatenate([[0.0], mean, [1.0]]))
        whole: Array = np.clip(chances, 0.0, 1.0) / chances.sum()
        return whole

    def _converted(self, requests: int, *, canary: bool) -> int:
        s = self.service
        if s.conversion is None:
            return 0
        i = 0 if canary else 1
        made = int(self._rng.binomial(requests, s.conversion * (s.conversion_factor if canary else 1.0)))
        if not s.conversion_lag:
            return made
        self._pending[i] += made
        done = int(self._rng.binomial(self._pending[i], 1.0 - math.exp(-1.0 / s.conversion_lag)))
        self._pending[i] -= done
        return done

    def _harm(self, canary: Arm, usual: float, k: int) -> float:
        """Requests of the canary that failed, were lost or took longer than 99 % of the usual ones, beyond the ordinary."""
        failed = max(0.0, canary.errors - canary.requests * (usual + self.service.shared_errors(k)))
        return failed + canary.requests * (self._slow_share(k) + self._lost_share()) if self._bad(k) else 0.0

    def _bad(self, k: int) -> bool:
        s = self.service
        return (
            s.more_errors(k) > 0
            or s.error_factor > 1
            or s.slower(k) > 1
            or s.tail(k) > 1
            or s.lock > 0
            or s.conversion_factor < 1
            or s.more_usage > 1
        )

    def _slow_share(self, k: int) -> float:
        s = self.service
        limit = 2.326 - math.log(s.slower(k)) / s.sigma
        if s.tail(k) > 1:
            limit = min(limit, max(1.645, 2.326 - math.log(s.tail(k)) / s.sigma))
        return max(0.0, 1.0 - float(ndtr(limit)) - 0.01)

    def _lost_share(self) -> float:
        s = self.service
        return 0.0 if s.conversion is None else s.conversion * max(0.0, 1.0 - s.conversion_factor)


@dataclass(frozen=True, kw_only=True)
class Past:
    """The baseline's two hours before, per pod."""

    requests: Array
    errors: Array
    buckets: Array
    usage: Array
    converted: Array


def past(service: Service, rng: np.random.Generator) -> Past:
    """What history shows of the pods that serve now; incidents and the new version are not in it."""
    s, n = service, service.pods
    burst = s.burst if s.history_burst is None else s.history_burst
    offsets = rng.normal(0.0, s.pod_sd, n) if s.pod_sd else np.zeros(n)
    wander, usage, rate = rng.normal(0.0, s.wander, n), rng.normal(0.0, 0.05, n), 0.0
    shape = (HISTORY, n)
    requests, errors, used, converted = (np.zeros(shape) for _ in range(4))
    buckets = np.zeros((HISTORY, n, len(EDGES) + 1))
    for k in range(HISTORY):
        rate = 0.98 * rate + rng.normal(0.0, s.drift * 0.2)
        wander = 0.9 * wander + rng.normal(0.0, s.wander * 0.436, n)
        usage = 0.9 * usage + rng.normal(0.0, 0.022, n)
        mine = rng.poisson(s.rps * SCRAPE * math.exp(rate) / n, n)
        requests[k] = mine
        p = min(1.0, s.errors * math.exp(rate))
        errors[k] = _history_errors(mine, p, burst, rng)
        below = ndtr((LOG_EDGES[None, :] - (math.log(s.median) + offsets + wander)[:, None]) / s.sigma)
        chances = np.diff(np.concatenate([np.zeros((n, 1)), below, np.ones((n, 1))], axis=1), axis=1)
        buckets[k] = rng.multinomial(mine, chances)
        used[k] = 0.01 * np.exp(usage + rng.normal(0.0, s.usage, n) / np.sqrt(np.maximum(1.0, mine / 200.0)))
        converted[k] = rng.binomial(mine, s.conversion) if s.conversion is not None else 0
    return Past(requests=requests, errors=errors, buckets=buckets, usage=used, converted=converted)


def _history_errors(requests: NDArray[np.int64], rate: float, burst: float, rng: np.random.Generator) -> Array:
    if burst <= 1:
        singly: Array = rng.binomial(requests, rate).astype(np.float64)
        return singly
    bursts = rng.poisson(requests * rate / burst)
    sums = np.array([rng.geometric(1.0 / burst, b).sum() if b else 0 for b in bursts], dtype=np.float64)
    return np.minimum(sums, requests)
