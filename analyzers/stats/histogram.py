"""Is the canary slower? Canary against baseline over the buckets of a latency (or size) histogram, one tick at a time.

At every bucket boundary x_j the requests slower than x_j are compared with those of the baseline that would be slower than x_j
if all of them took (1 + m) times as long, so the margin is a factor of time and not of a tail. The bets over all boundaries
and odds are averaged: one number for "the distribution moved right", which sees body and tail alike and stays silent when
latency improves. Interpolated quantiles are never tested: a bucket can hide half a second.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from analyzers.stats.buckets import TAILS, Mask, bernoulli_increment, beyond, slower_weights, survival, telling, usable
from analyzers.stats.mixture import Array, Mixture, MixtureState, log_mean_exp
from analyzers.stats.ratio import ALL, Use

WORSE_ODDS: Final[Array] = np.array([1.1, 1.2, 1.35, 1.6, 2.0, 2.7, 4.0, 7.0, 15.0, 50.0])
FINE_ODDS: Final[Array] = np.array([0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9])
WATCHED_TAILS: Final = (0.5, 0.1, 0.01)
QUIET: Final = 0.5
"""Nats below which a boundary has said nothing worth naming it for."""
LEAST_SHAPE: Final = 200.0
"""Baseline requests that must have been seen before anything is bet."""
PRIOR_PHI: Final = 1.5
PSEUDO_TICKS: Final = 5.0
DECAY: Final = 0.9
MEMORY: Final = 2000.0
"""Baseline requests that are remembered at least, however few come in a tick: else a quiet service would never show its shape."""
GATE_FACTOR: Final = 2.0
STATE_VERSION: Final = 2


class HistogramOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed before the first tick. `edges`: finite upper bounds, rising. Margins are relative: 0.05 is 5 % slower.

    `history` holds the baseline's survival at the edges from the hours before (empty: learnt from this rollout's earlier ticks), and
    `history_phi` its dispersion at each edge.
    """

    edges: tuple[float, ...]
    tolerated: float = 0.05
    unacceptable: float = 0.25
    history: tuple[float, ...] = ()
    history_phi: tuple[float, ...] = ()
    cap: float = 2.5
    fine_cap: float = 0.75
    start_weight: float = 0.8
    restarts: tuple[int, ...] = ()
    gain_ticks: int = 20


class HistogramState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a restarted daemon needs, about 4 KB at 12 boundaries."""

    version: int = STATE_VERSION
    ticks: int = 0
    used: int = 0
    fine_used: int = 0
    requests: tuple[int, int] = (0, 0)
    slower: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    recent: tuple[float, ...] = ()
    watched: tuple[int, ...] = ()
    worse: MixtureState = MixtureState()
    fine: tuple[tuple[float, ...], ...] = ()
    trail: tuple[tuple[float, int], ...] = ()
    gate: tuple[float, ...] = ()
    spread: tuple[tuple[float, ...], ...] = ()
    sick: int | None = None


class HistogramEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Logs are natural. `boundary` is the one that carries most of the evidence, `tails` the shares beyond it (canary, baseline)."""

    log_e_worse: float
    log_e_fine: float
    fine_gain: float
    fine_used_recently: int
    boundary: float
    tails: tuple[float, float]
    canary_requests: int
    baseline_requests: int
    canary_slower: int
    baseline_slower: int
    ticks: int
    used: int


class _Spread:
    """Per boundary: variance of the arms' difference in tails around its running mean, over the binomial variance of both.

    Each arm's variance is that of its own running tail: a common one would take a canary with many slow requests among few for a
    clumped one, and listen to it the less the slower it is. Lags one tick by construction: `phi` is asked before `update`. Shrunk to
    1.5 by five ticks' worth of it, floor 1.
    """

    def __init__(self, size: int, history: Array, rows: tuple[tuple[float, ...], ...]) -> None:
        self._history = history
        self._rows: Array = np.array(rows, dtype=np.float64) if rows else np.zeros((8, size))

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(r) for r in self._rows.tolist())

    @property
    def phi(self) -> Array:
        squares, ticks = self._rows[:2]
        prior = self._history if self._history.size else PRIOR_PHI
        online = (squares + prior * PSEUDO_TICKS) / (ticks + PSEUDO_TICKS)
        factors: Array = np.maximum(1.0, np.maximum(online, prior if self._history.size else 1.0))
        return factors

    def update(self, x_c: Array, n_c: float, x_b: Array, n_b: float) -> None:
        squares, ticks, top, bottom, *sums = self._rows
        weight = n_c * n_b / (n_c + n_b)
        difference = x_c / n_c - x_b / n_b
        top, bottom = top + weight * difference, bottom + weight
        slow_c, all_c, slow_b, all_b = (old + new for old, new in zip(sums, (x_c, n_c, x_b, n_b), strict=True))
        pooled = (slow_c + slow_b + 0.5) / (all_c + all_b + 1.0)
        p_c, p_b = (slow_c + pooled) / (all_c + 1.0), (slow_b + pooled) / (all_b + 1.0)
        variance = p_c * (1.0 - p_c) / n_c + p_b * (1.0 - p_b) / n_b
        wide = (difference - top / bottom) ** 2 / variance
        self._rows = np.stack([squares + wide, ticks + 1.0, top, bottom, slow_c, all_c, slow_b, all_b])


class HistogramTest:
    """Canary's buckets against the baseline's; feed it each tick once, in order. Counts are per bucket, +Inf last."""

    def __init__(self, options: HistogramOptions, state: HistogramState | None = None) -> None:
        self.options, s = options, state or HistogramState()
        self._edges: Array = np.array(options.edges, dtype=np.float64)
        size = self._edges.size
        self._history: Array = np.array(options.history, dtype=np.float64)
        self._eligible = self._prior_boundaries()
        spread = np.log(np.full((size, WORSE_ODDS.size), 1.0 / (self._eligible.sum() * WORSE_ODDS.size)))
        spread[~self._eligible] = -np.inf
        self._log_prior: Array = spread.ravel()
        self._worse = Mixture(self._log_prior, start_weight=options.start_weight, restarts=options.restarts, state=s.worse)
        self._fine: Array = np.array(s.fine) if s.fine else np.zeros((0, _LOG_FINE_PRIOR.size))
        self._watched, self._sick = s.watched, s.sick
        self._recent: Array = np.array(s.recent) if s.recent else np.zeros(size + 1)
        self._slower = [np.array(x) if x else np.zeros(size) for x in s.slower]
        self._requests, self._ticks, self._used, self._fine_used = s.requests, s.ticks, s.used, s.fine_used
        self._trail: list[tuple[float, int]] = list(s.trail) or [(0.0, 0)]
        self._gate: Array = np.array(s.gate) if s.gate else np.zeros(_LOG_FINE_PRIOR.size)
        self._spread = _Spread(size, np.array(options.history_phi, dtype=np.float64), s.spread)
        self._unmoved: Array = np.triu(np.ones((size, size + 1)), 1)
        self._cache: dict[float, tuple[Array, Mask]] = {}

    def update(
        self,
        canary: Array,
        baseline: Array,
        *,
        use: Use = ALL,
        tolerated: float | None = None,
        unacceptable: float | None = None,
        min_phi: float = 1.0,
    ) -> None:
        """One tick; margins and what it is used for were fixed before it."""
        n_c, n_b = float(canary.sum()), float(baseline.sum())
        if not usable(canary, baseline, self._edges.size):
            self.skip()
            return
        self._worse.clock(self._ticks)
        shape = self._shape()
        if shape is not None and (use.worse or use.fine or use.bound):
            self._choose(shape)
            slower = beyond(canary), beyond(baseline)
            phi = np.maximum(self._spread.phi, min_phi)
            if use.worse:
                factor = 1.0 + (tolerated or self.options.tolerated)
                self._bet_worse((slower[0], n_c), (baseline, n_b), shape, phi, factor, hushed=use.hushed)
                self._tally(slower, (n_c, n_b))
            if use.fine:
                self._bet_fine((slower[0], n_c), (baseline, n_b), shape, phi, 1.0 + (unacceptable or self.options.unacceptable))
            if use.bound and self._watched:
                self._gate = self._gate + self._fine_bets((slower[0], n_c), (baseline, n_b), shape, GATE_FACTOR, phi)[0]
        if use.bound:  # calm ticks only: the bets' guess of the baseline must not learn from an incident
            self._recent = self._recent * max(DECAY, 1.0 - n_b / MEMORY) + baseline
        self._end()

    def skip(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self._worse.clock(self._ticks)
            self._end()

    def peek(self) -> HistogramEvidence:
        then, used_then = self._trail[0]
        j = self._loudest()
        n_c, n_b = self._requests
        x_c, x_b = (float(x[j]) for x in self._slower)
        return HistogramEvidence(
            log_e_worse=self._worse.log_e,
            log_e_fine=self._trail[-1][0],
            fine_gain=self._trail[-1][0] - then,
            fine_used_recently=self._fine_used - used_then,
            boundary=float(self._edges[j]),
            tails=(x_c / max(n_c, 1), x_b / max(n_b, 1)),
            canary_requests=n_c,
            baseline_requests=n_b,
            canary_slower=round(x_c),
            baseline_slower=round(x_b),
            ticks=self._ticks,
            used=self._used,
        )

    @property
    def state(self) -> HistogramState:
        return HistogramState(
            ticks=self._ticks,
            used=self._used,
            fine_used=self._fine_used,
            requests=self._requests,
            slower=(tuple(self._slower[0].tolist()), tuple(self._slower[1].tolist())),
            recent=tuple(self._recent.tolist()),
            watched=self._watched,
            worse=self._worse.state,
            fine=tuple(tuple(r) for r in self._fine.tolist()),
            trail=tuple(self._trail),
            gate=tuple(self._gate.tolist()),
            spread=self._spread.rows,
            sick=self._sick,
        )

    @property
    def watched(self) -> tuple[float, ...]:
        """The boundaries (seconds) at which "not unacceptably slower" must be shown; empty while the shape is unknown."""
        return tuple(float(self._edges[j]) for j in self._watched)

    @property
    def evidence_ticks(self) -> int:
        """How many ticks were used for bad news."""
        return self._used

    @property
    def phi(self) -> float:
        """The dispersion at the boundary that speaks loudest."""
        return float(self._spread.phi[self._loudest()])

    @property
    def log_e_not_twice(self) -> float:
        """Evidence that the typical request is not twice as slow: what a ramp asks for before it gives more traffic."""
        return log_mean_exp(self._gate, _LOG_FINE_PRIOR)

    def sick_boundary(self) -> int | None:
        """Index of the boundary next to the baseline's p90, where its own health is watched: chosen once. Between two that are equally near
        a guess from few requests would swing, and the other one's usual share would read as an incident.
        """
        shape = self._shape()
        if self._sick is None and shape is not None:
            self._sick = int(np.argmin(np.abs(np.log(shape) - math.log(0.1))))
        return self._sick

    def _prior_boundaries(self) -> Mask:
        if not self._history.size:
            return np.ones(self._edges.size, dtype=bool)
        fit = telling(self._history)
        return fit if fit.any() else np.ones(self._edges.size, dtype=bool)

    def _shape(self) -> Array | None:
        """The baseline's survival as known before this tick: from history, else from the ticks so far."""
        if self._history.size:
            return np.clip(self._history, 1e-6, 1.0 - 1e-6)
        return survival(self._recent) if self._recent.sum() >= LEAST_SHAPE else None

    def _moved(self, shape: Array, factor: float) -> tuple[Array, Mask]:
        if not self._history.size:
            return slower_weights(self._edges, shape, factor)
        if factor not in self._cache:
            self._cache[factor] = slower_weights(self._edges, shape, factor)
        return self._cache[factor]

    def _guess(self, weights: Array) -> Array:
        """Predictable estimate of the moved baseline's tails: history's shape weighs as much as 300 requests."""
        counts = self._recent
        if self._history.size:
            masses = -np.diff(np.concatenate([[1.0], self._history, [0.0]]))
            counts = counts + 300.0 * masses
        tails: Array = (weights @ counts + 0.5) / (counts.sum() + 1.0)
        return np.clip(tails, 1e-5, 1.0 - 1e-5)

    def _bet_worse(
        self, canary: tuple[Array, float], baseline: tuple[Array, float], shape: Array, phi: Array, factor: float, *, hushed: bool = False
    ) -> None:
        weights, known = self._moved(shape, factor)
        (x_c, n_c), (counts, n_b) = canary, baseline
        p_b = self._guess(weights)[:, None]
        p_c = WORSE_ODDS * p_b / (1.0 - p_b + WORSE_ODDS * p_b)
        x_b = weights @ counts
        bets = bernoulli_increment(x_c[:, None], n_c, x_b[:, None], n_b, p_c, p_b)
        useful = known & telling(shape) if not self._history.size else known
        bets[~useful] = 0.0
        self._worse.take(bets.ravel(), np.repeat(phi, WORSE_ODDS.size), self.options.fine_cap if hushed else self.options.cap)
        if not hushed:
            self._spread.update(x_c, n_c, beyond(counts), n_b)

    def _choose(self, shape: Array) -> None:
        """The watched boundaries, once: nearest to p50, p90 and p99 among those that the margin can move."""
        if self._watched:
            return
        weights, known = slower_weights(self._edges, shape, 1.0 + self.options.unacceptable)
        masses = -np.diff(np.concatenate([[1.0], shape, [0.0]]))
        gap = (weights @ masses) / shape
        fit = np.flatnonzero(known & (shape >= TAILS[0] / 2) & (shape <= TAILS[1]) & (gap > 1.02))
        chosen = [int(fit[np.argmin(np.abs(np.log(shape[fit]) - math.log(t)))]) for t in WATCHED_TAILS if fit.size]
        self._watched = tuple(sorted(set(chosen)))
        self._fine = np.zeros((len(self._watched), _LOG_FINE_PRIOR.size))

    def _bet_fine(self, canary: tuple[Array, float], baseline: tuple[Array, float], shape: Array, phi: Array, factor: float) -> None:
        if self._watched:
            self._fine = self._fine + self._fine_bets(canary, baseline, shape, factor, phi)
            self._fine_used += 1

    def _fine_bets(self, canary: tuple[Array, float], baseline: tuple[Array, float], shape: Array, factor: float, phi: Array) -> Array:
        """One row per watched boundary: bets that the canary's tail is below the moved baseline's, the last that it is the baseline's own."""
        rows = np.array(self._watched)
        weights = self._moved(shape, factor)[0]
        (x_c, n_c), (counts, n_b) = canary, baseline
        p_b = self._guess(weights)[rows, None]
        still = np.minimum(self._guess(self._unmoved)[rows, None], 0.98 * p_b)
        p_c = np.hstack([FINE_ODDS * p_b / (1.0 - p_b + FINE_ODDS * p_b), still])
        x_b = (weights @ counts)[rows, None]
        bets = bernoulli_increment(x_c[rows, None], n_c, x_b, n_b, p_c, p_b)
        return np.minimum(bets / phi[rows, None], self.options.fine_cap)

    def _tally(self, slower: tuple[Array, Array], requests: tuple[float, float]) -> None:
        self._used += 1
        self._requests = (self._requests[0] + round(requests[0]), self._requests[1] + round(requests[1]))
        self._slower = [self._slower[0] + slower[0], self._slower[1] + slower[1]]

    def _loudest(self) -> int:
        """The boundary that carries most of the evidence; where none speaks, the middle one of those that are watched."""
        usual = self._watched[len(self._watched) // 2] if self._watched else 0
        if not self._used:
            return usual
        logs, prior = (x.reshape(self._edges.size, WORSE_ODDS.size) for x in (self._worse.logs + self._log_prior, self._log_prior))
        spoken = np.logaddexp.reduce(logs, axis=1)
        if not np.any(spoken > np.logaddexp.reduce(prior, axis=1) + QUIET):
            return usual
        return int(np.argmax(spoken))

    def _end(self) -> None:
        self._ticks += 1
        fine = min((log_mean_exp(row, _LOG_FINE_PRIOR) for row in self._fine), default=0.0)
        self._trail.append((fine, self._fine_used))
        del self._trail[: -(self.options.gain_ticks + 1)]


_LOG_FINE_PRIOR: Final[Array] = np.log(np.append(np.full(FINE_ODDS.size, 0.5 / FINE_ODDS.size), 0.5))
