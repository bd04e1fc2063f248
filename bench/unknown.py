"""Releases that the judge was not made with: every setting of the service, its metrics and the harness is drawn from a wide range.

A second simulator on purpose, sharing no code with `judge_world`: ticks of 5 to 60 s, three sets of buckets, bimodal latency, clumped
errors, storms, traffic that changes a hundredfold, pods that come with the weight, gaps, samples that come late, weights that lag, a
share where a weight belongs, no history, no pods, no split, one metric alone, steps that ignore a retreat. It is scored, never fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from analyzers.history import History

Array = NDArray[np.float64]
Effect = Literal["none", "better", "tolerable", "errors", "slow", "tail", "usage"]

EDGES: Final = (
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    (0.1, 0.3, 1.2, 5.0),
)
SCRAPES: Final = (5.0, 10.0, 15.0, 15.0, 30.0, 60.0)
SUBSETS: Final = (
    ("errors", "latency", "usage"),
    ("errors", "latency", "usage"),
    ("errors", "latency"),
    ("errors",),
    ("latency",),
    ("usage",),
    ("errors", "usage"),
)
AFTERMATH_SECONDS: Final = 1800.0
HISTORY_TICKS: Final = 240


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _one_of(rng: np.random.Generator, names: tuple[str, ...], odds: tuple[float, ...]) -> str:
    return str(rng.choice(np.array(names), p=np.array(odds)))


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """One draw. Times are minutes since the canary's first request."""

    scrape: float
    rps: float
    pods: int
    canary_pods: int
    scaled: bool
    errors: float
    clumps: str
    clump: float
    median: float
    sigma: float
    second: float
    edges: tuple[float, ...]
    pod_sd: float
    usage_sd: float
    metrics: tuple[str, ...]
    history: str
    tells_pods: bool
    tells_split: bool
    late: bool
    gaps: float
    lag: int
    share_as_weight: bool
    steps: bool
    deaf: bool
    traffic: str
    jump: float
    jump_at: float
    incident: str
    incident_at: float
    incident_for: float
    cold: float
    effect: Effect
    size: float
    onset: float
    gradual: float

    @property
    def bad(self) -> bool:
        return self.effect in {"errors", "slow", "tail", "usage"}

    @property
    def horizon(self) -> int:
        return int(3600.0 / self.scrape)


def draw(rng: np.random.Generator) -> Unknown:
    """Half of the releases are good. A bad one is worse than what may be promoted at this traffic and with these pods, by a clear margin."""
    rps, pods_of = _log(rng, 0.3, 3000.0), _log(rng, 2.0, 60.0)
    pods = int(np.clip(rps / pods_of, 2, 40))
    metrics = SUBSETS[int(rng.integers(len(SUBSETS)))]
    errors = 0.0 if rng.random() < 0.1 else _log(rng, 1e-5, 0.1)
    effect, size = _effect(rng, metrics, rps, errors)
    steps = bool(rng.random() < 0.3)
    return Unknown(
        scrape=SCRAPES[int(rng.integers(len(SCRAPES)))],
        rps=rps,
        pods=pods,
        canary_pods=int(rng.integers(1, 4)),
        scaled=bool(rng.random() < 0.3),
        errors=errors,
        clumps=_one_of(rng, ("single", "bursts", "new-bursts", "storms", "uneven"), (0.5, 0.15, 0.1, 0.1, 0.15)),
        clump=float(rng.uniform(2.0, 8.0)),
        median=_log(rng, 0.005, 1.0),
        sigma=float(rng.uniform(0.25, 0.9)),
        second=float(rng.uniform(0.0, 0.2)) if rng.random() < 0.4 else 0.0,
        edges=EDGES[int(rng.integers(len(EDGES)))],
        pod_sd=float(rng.uniform(0.0, 0.08)),
        usage_sd=float(rng.uniform(0.01, 0.06)),
        metrics=metrics,
        history=_one_of(rng, ("none", "pooled", "pods"), (0.25, 0.2, 0.55)),
        tells_pods=bool(rng.random() < 0.8),
        tells_split=bool(rng.random() < 0.5),
        late=bool(rng.random() < 0.15),
        gaps=float(rng.uniform(0.0, 0.1)) if rng.random() < 0.25 else 0.0,
        lag=int(rng.integers(0, 3)),
        share_as_weight=bool(rng.random() < 0.2),
        steps=steps,
        deaf=bool(steps and rng.random() < 0.5),
        traffic=_one_of(rng, ("flat", "wave", "jump"), (0.6, 0.2, 0.2)),
        jump=_log(rng, 0.01, 100.0),
        jump_at=float(rng.uniform(2.0, 20.0)),
        incident=_one_of(rng, ("none", "errors", "slow"), (0.75, 0.13, 0.12)),
        incident_at=float(rng.uniform(1.0, 12.0)),
        incident_for=float(rng.uniform(1.0, 8.0)),
        cold=float(rng.uniform(0.0, 0.06)) if rng.random() < 0.25 else 0.0,
        effect=effect,
        size=size,
        onset=float(rng.uniform(1.0, 9.0)) if rng.random() < 0.3 else 0.0,
        gradual=float(rng.uniform(2.0, 6.0)) if rng.random() < 0.15 else 0.0,
    )


# What can go wrong with a metric; errors twice as often as one way to be slow.
_EFFECTS: Final[Mapping[str, tuple[Effect, ...]]] = {"errors": ("errors", "errors"), "latency": ("slow", "tail"), "usage": ("usage",)}


def _effect(rng: np.random.Generator, metrics: tuple[str, ...], rps: float, errors: float) -> tuple[Effect, float]:
    if rng.random() < 0.5:
        good: tuple[Effect, ...] = ("none", "none", "none", "better", "tolerable")
        return good[int(rng.integers(len(good)))], 0.0
    kinds: list[Effect] = []
    for metric, effects in _EFFECTS.items():
        kinds += effects if metric in metrics else ()
    kind = kinds[int(rng.integers(len(kinds)))]
    match kind:
        case "errors":
            least = max(0.008, 2.0 * min(0.1, 30.0 / (rps * AFTERMATH_SECONDS)))
            return kind, min(1.0, (least + errors) * _log(rng, 1.2, 20.0))
        case "slow":
            return kind, float(rng.uniform(2.5, 5.0) if rps < 20 else rng.uniform(1.8, 3.0))
        case "tail":
            return kind, float(rng.uniform(4.0, 8.0))
        case _:
            return kind, float(rng.uniform(1.6, 3.0))


@dataclass(frozen=True, kw_only=True)
class Side:
    requests: int
    errors: int
    buckets: tuple[int, ...]
    usage: float | None
    slow: int


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What a harness could read of one interval; `lost`: it could not read it at all."""

    index: int
    weight: float
    canary: Side
    baseline: Side
    canary_pods: int
    harm: float
    lost: bool


class Stream:
    """One release of one service under whatever weight is set."""

    def __init__(self, unknown: Unknown, rng: np.random.Generator) -> None:
        self.unknown, self._rng, self._index = unknown, rng, 0
        u = unknown
        self._offsets = rng.normal(0.0, u.pod_sd, u.pods + 40)
        self._levels = rng.normal(0.0, u.usage_sd, u.pods + 40)
        self._storm = False
        self._wanted = [0.0] * u.lag
        self._kept: Side | None = None

    @property
    def minute(self) -> float:
        return self._index * self.unknown.scrape / 60.0

    def observe(self, wanted: float) -> Interval:
        u, rng, t = self.unknown, self._rng, self.minute
        self._wanted.append(wanted)
        weight = self._wanted.pop(0)
        if self._storm or u.clumps == "storms":
            self._storm = bool(rng.random() < (0.8 if self._storm else 0.02))
        total = self._total(t)
        canary_pods = max(u.canary_pods, round(u.pods * weight / 100.0)) if u.scaled else u.canary_pods
        n_c, n_b = int(rng.poisson(total * weight / 100.0)), int(rng.poisson(total * (1.0 - weight / 100.0)))
        common = self._common(t)
        strength = self._strength(t)
        p_c = min(
            1.0, common * (0.5 if u.effect == "better" else 1.0) + (u.size * strength if u.effect == "errors" else 0.0) + self._cold(t)
        )
        canary = self._side(n_c, p_c, t, slice(u.pods, u.pods + min(canary_pods, 40)), strength)
        baseline = self._side(n_b, common, t, slice(0, u.pods), None)
        harm = max(0.0, canary.errors - n_c * common) + (canary.slow if u.effect in {"slow", "tail"} and strength else 0) if u.bad else 0.0
        shown, self._kept = (self._kept or Side(requests=0, errors=0, buckets=(0,) * (len(u.edges) + 1), usage=None, slow=0), canary)
        index, self._index = self._index, self._index + 1
        shown = shown if u.late else canary
        return Interval(
            index=index,
            weight=weight,
            canary=shown,
            baseline=baseline,
            canary_pods=canary_pods,
            harm=harm,
            lost=bool(rng.random() < u.gaps),
        )

    def harm_after_promotion(self) -> float:
        """30 minutes of the whole traffic on the bad version."""
        u = self.unknown
        share = {"errors": min(1.0, u.size), "slow": self._slow(u.size), "tail": 0.04}.get(u.effect, 0.0)
        return u.rps * AFTERMATH_SECONDS * share

    def _total(self, t: float) -> float:
        u = self.unknown
        match u.traffic:
            case "wave":
                factor = 1.0 + 0.6 * math.sin(t / 3.0)
            case "jump":
                factor = u.jump if t >= u.jump_at else 1.0
            case _:
                factor = 1.0
        return u.rps * u.scrape * factor

    def _common(self, t: float) -> float:
        """Error share that both arms have now."""
        u = self.unknown
        rate = u.errors * (8.0 if self._storm else 1.0)
        return min(0.9, rate + (0.1 if u.incident == "errors" and self._struck(t) else 0.0))

    def _struck(self, t: float) -> bool:
        return self.unknown.incident_at <= t < self.unknown.incident_at + self.unknown.incident_for

    def _cold(self, t: float) -> float:
        return self.unknown.cold if t < 0.75 else 0.0

    def _strength(self, t: float) -> float:
        u = self.unknown
        if t < u.onset or not u.bad:
            return 0.0
        return min(1.0, (t - u.onset + 0.25) / u.gradual) if u.gradual else 1.0

    def _side(self, n: int, p: float, t: float, pods: slice, strength: float | None) -> Side:
        u, rng = self.unknown, self._rng
        canary = strength is not None
        errors = clumped(n, p, u.clumps, u.clump, rng)
        stretch = tail = 1.0
        if canary and strength and u.effect == "slow":
            stretch = 1.0 + (u.size - 1.0) * strength
        if canary and strength and u.effect == "tail":
            tail = 1.0 + (u.size - 1.0) * strength
        if canary and u.effect in {"better", "tolerable"}:
            stretch = 0.8 if u.effect == "better" else 1.02
        if canary and u.cold and t < 0.75:
            stretch *= 2.0
        if u.incident == "slow" and self._struck(t):
            stretch *= 2.5
        buckets = rng.multinomial(n, chances(u, self._offsets[pods] + math.log(stretch), tail))
        more = 1.0 + (u.size - 1.0) * strength if canary and strength and u.effect == "usage" else 1.0
        more = 1.03 if canary and u.effect == "tolerable" else more
        level = 0.02 * more * math.exp(float(self._levels[pods].mean()) + rng.normal(0.0, 0.2 / math.sqrt(n + 1.0) + 0.01))
        slow = int(rng.binomial(n, self._slow(stretch) if tail == 1.0 else 0.04)) if canary else 0
        return Side(requests=n, errors=min(errors, n), buckets=tuple(int(b) for b in buckets), usage=level if n else None, slow=slow)

    def _slow(self, factor: float) -> float:
        """Share of requests beyond the usual p99, over the usual one percent."""
        return max(0.0, 0.99 - float(ndtr(2.326 - math.log(max(factor, 1.0)) / self.unknown.sigma)))


def clumped(n: int, p: float, how: str, size: float, rng: np.random.Generator) -> int:
    """Errors of one tick: single, in bursts, or with a rate of their own in every tick."""
    if not n or p <= 0:
        return 0
    if how in {"bursts", "new-bursts"} and p < 0.2:
        bursts = int(rng.poisson(n * p / size))
        return min(n, int(rng.geometric(1.0 / size, bursts).sum())) if bursts else 0
    if how == "uneven" and p < 0.5:
        p = min(1.0, p * float(rng.gamma(4.0, 0.25)))
    return int(rng.binomial(n, p))


def chances(u: Unknown, shifts: Array, tail: float) -> Array:
    """Bucket probabilities averaged over pods; `tail`: the slowest 5 % take so many times as long."""
    places = np.log(np.array(u.edges))[None, :] - math.log(u.median) - shifts[:, None]
    below = _mixed(u, places)
    if tail > 1.0:
        below = np.where(below <= 0.95, below, np.maximum(0.95, _mixed(u, places - math.log(tail))))
    mean = below.mean(axis=0)
    masses = np.clip(np.diff(np.concatenate([[0.0], mean, [1.0]])), 0.0, 1.0)
    whole: Array = masses / masses.sum()
    return whole


def _mixed(u: Unknown, places: Array) -> Array:
    below: Array = (1.0 - u.second) * ndtr(places / u.sigma) + u.second * ndtr((places - math.log(6.0)) / u.sigma)
    return below


def past(u: Unknown, rng: np.random.Generator) -> dict[str, History]:
    """What the harness has of the time before: nothing, all pods together, or each pod."""
    if u.history == "none":
        return {}
    pods = 1 if u.history == "pooled" else u.pods
    each: Callable[[int], Array] = lambda n: np.repeat(np.array([u.rps * u.scrape / n]), n)  # noqa: E731
    requests = rng.poisson(np.repeat(each(pods)[None, :], HISTORY_TICKS, axis=0))
    how = "single" if u.clumps == "new-bursts" else u.clumps
    storm, errors = False, np.zeros(requests.shape)
    for k in range(HISTORY_TICKS):
        storm = how == "storms" and bool(rng.random() < (0.8 if storm else 0.02))
        errors[k] = [clumped(int(n), min(0.9, u.errors * (8.0 if storm else 1.0)), how, u.clump, rng) for n in requests[k]]
    offsets = rng.normal(0.0, u.pod_sd, pods)
    shape = np.array([chances(u, offsets[i : i + 1], 1.0) for i in range(pods)])
    buckets = rng.multinomial(requests, shape[None, :, :])
    levels = rng.normal(0.0, u.usage_sd, pods)
    values = 0.02 * np.exp(levels[None, :] + rng.normal(0.0, 0.2 / np.sqrt(requests + 1.0) + 0.01))
    found = {
        "errors": History(events=errors, requests=requests),
        "latency": History(buckets=buckets),
        "usage": History(values=values),
    }
    return {name: h for name, h in found.items() if name in u.metrics}
