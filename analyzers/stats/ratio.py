"""The sequential test behind every count: errors per request, of canary against baseline, one tick at a time.

Two bets run side by side and may be looked at after every tick (Ville's inequality): `worse` bets against "the canary is
no worse than tolerated", `fine` bets against "the canary is worse than acceptable". The baseline's rate is never
estimated; within a tick any common swing cancels, and ticks are multiplied, never pooled, so a changing weight is
harmless. Derivation and vectors: a bet on canary's part of the errors, q = r n_c / (r n_c + n_b).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from analyzers.stats.mixture import Array, Mixture, MixtureState, log_mean_exp

WORSE_RATIOS: Final[Array] = np.geomspace(1.4, 2000.0, 16)
WORSE_PRIOR: Final[Array] = np.array([0.10, 0.12, 0.13, 0.13, 0.12, 0.10, 0.07, 0.05, 0.04, 0.03, 0.03, 0.02, 0.02, 0.02, 0.01, 0.01])
SMALL_RATIOS: Final[Array] = np.array([1.03, 1.06, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 6.0, 12.0, 40.0])
"""Effect sizes beyond the margin for outcomes where a loss of a few percent is the regression (conversions, orders): dense there."""
SMALL_PRIOR: Final[Array] = np.full(SMALL_RATIOS.size, 1.0 / SMALL_RATIOS.size)
FINE_RATIOS: Final[Array] = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
FINE_PRIOR: Final[Array] = np.append(np.full(FINE_RATIOS.size, 0.5 / FINE_RATIOS.size), 0.5)
"""Half for "as good as the baseline", which is what nearly every good release is: it costs 0.7 nats where a grid alone costs 2.4."""
LADDER: Final[Array] = np.array([0.5, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001])
"""Absolute excesses that are tried from above; the last one refuted in a row is the bound shown to people."""
RATE_RATIOS: Final[Array] = np.geomspace(0.01, 1000.0, 101)
STATE_VERSION: Final = 3


def count_increment(x_c: float, n_c: float, x_b: float, n_b: float, rho: Array, *, ratio: float | Array, slack: float | Array) -> Array:
    """Log of one tick's bet on "canary's rate is rho times (ratio x baseline + slack)" against the boundary itself.

    Null: p_c <= ratio p_b + slack for rho > 1 (a bet on worse), p_c >= ratio p_b + slack for rho < 1 (a bet on fine).
    Valid: given its tick's exposures, events of both arms bound E[S] by exp(0) because 1 + y <= e^y and the bet is fair on the
    boundary; for any rates up to 1, any share, any common swing. Units: exposures and events in, nats out; `slack` is a fraction.
    Source: Lindon & Malek, Multinomial count data (NeurIPS 2022) for slack 0; the slack term is ours (statistics notes 2.1).
    """
    growth = np.log((ratio * rho * n_c + n_b) / (ratio * n_c + n_b))
    bet: Array = x_c * (np.log(rho) - growth) - x_b * growth + (slack / ratio) * n_b * np.expm1(-growth)
    return bet


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """At most `ratio` times the baseline's rate plus `slack` (slack as a fraction: 0.003 is 0.3 pp)."""

    ratio: float
    slack: float


TOLERATED: Final = Margin(ratio=1.1, slack=2e-4)
UNACCEPTABLE: Final = Margin(ratio=1.25, slack=3e-3)


class RatioOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a test is fixed to before the first tick; nothing here may depend on the data."""

    tolerated: Margin = TOLERATED
    unacceptable: Margin = UNACCEPTABLE
    cap: float = 2.5
    fine_cap: float = 0.75
    bound_cap: float = 0.75
    start_weight: float = 0.8
    restarts: tuple[int, ...] = (20, 40, 60, 80, 120, 160)
    catastrophe_slack: float = 0.03
    gain_ticks: int = 20
    small_effects: bool = False


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a tick may be used for. `bound` feeds the excess shown to people and to the ramp, which a cold pod only makes wider; `hushed`:
    its bad news may not weigh more than good news do.
    """

    worse: bool = True
    fine: bool = True
    catastrophe: bool = True
    bound: bool = True
    hushed: bool = False


ALL: Final = Use()


class RatioState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a restarted daemon needs; floats survive JSON exactly."""

    version: int = STATE_VERSION
    ticks: int = 0
    used: int = 0
    fine_used: int = 0
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    worse: MixtureState = MixtureState()
    disaster: MixtureState = MixtureState()
    fine: tuple[float, ...] = ()
    ladder: tuple[tuple[float, ...], ...] = ()
    likelihood: tuple[float, ...] = ()
    fine_trail: tuple[tuple[float, int], ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the test says now. Logs are natural; `excess_upper` is a fraction, None while nothing was refuted."""

    log_e_worse: float
    log_e_catastrophe: float
    log_e_fine: float
    fine_gain: float
    fine_used_recently: int
    excess_upper: float | None
    ratio_low: float | None
    ratio_high: float | None
    canary_requests: int
    canary_errors: int
    baseline_requests: int
    baseline_errors: int
    ticks: int
    used: int

    @property
    def always_valid_p(self) -> float:
        return min(1.0, math.exp(-max(0.0, self.log_e_worse)))


class RatioTest:
    """Canary against baseline for one event ratio; feed it each tick once, in order."""

    def __init__(self, options: RatioOptions | None = None, state: RatioState | None = None) -> None:
        self.options = options or RatioOptions()
        s = state or RatioState()
        o = self.options
        self._ratios, prior = (SMALL_RATIOS, SMALL_PRIOR) if o.small_effects else (WORSE_RATIOS, WORSE_PRIOR)
        self._worse = Mixture(np.log(prior), start_weight=o.start_weight, restarts=o.restarts, state=s.worse)
        self._disaster = Mixture(np.log(prior), start_weight=o.start_weight, restarts=o.restarts, state=s.disaster)
        self._fine: Array = np.array(s.fine) if s.fine else np.zeros(FINE_PRIOR.size)
        self._ladder: Array = np.array(s.ladder) if s.ladder else np.zeros((LADDER.size, FINE_PRIOR.size))
        self._likelihood: Array = np.array(s.likelihood) if s.likelihood else np.zeros(RATE_RATIOS.size)
        self._trail: list[tuple[float, int]] = list(s.fine_trail) or [(0.0, 0)]
        self._ticks, self._used, self._fine_used = s.ticks, s.used, s.fine_used
        self._counts = s.counts

    def update(
        self,
        x_c: int,
        n_c: int,
        x_b: int,
        n_b: int,
        phi: float = 1.0,
        *,
        use: Use = ALL,
        tolerated: Margin | None = None,
        unacceptable: Margin | None = None,
        expected: float | None = None,
    ) -> None:
        """One tick of disjoint increments; `phi`, margins, the rate `expected` of the baseline (it only steers power) and what the tick
        is used for were fixed before it (or drop it whole).
        """
        if not _usable(x_c, n_c, x_b, n_b, phi):
            self.skip()
            return
        self._begin()
        # People are told of every request that was compared, also of those that only the catastrophe bet may use.
        a, b, c, d = self._counts
        self._counts = (a + x_c, b + n_c, c + x_b, d + n_b)
        null = tolerated or self.options.tolerated
        if use.catastrophe:
            self._bet(self._disaster, (x_c, n_c, x_b, n_b), phi, Margin(ratio=null.ratio, slack=self.options.catastrophe_slack))
        if use.worse:
            self._bet(self._worse, (x_c, n_c, x_b, n_b), phi, null, hushed=use.hushed)
            self._tally(x_c, n_c, x_b, n_b, phi)
        if use.bound:
            self._take_ladder(x_c, n_c, x_b, n_b, phi, expected)
        if use.fine:
            self._take_fine((x_c, n_c, x_b, n_b), phi, unacceptable or self.options.unacceptable, expected)
        self._end()

    def _bet(self, mixture: Mixture, counts: tuple[int, int, int, int], phi: float, null: Margin, *, hushed: bool = False) -> None:
        cap = self.options.fine_cap if hushed else self.options.cap
        mixture.take(count_increment(*counts, self._ratios, ratio=null.ratio, slack=null.slack), phi, cap)

    def skip(self, ticks: int = 1) -> None:
        """Ticks without usable counts: no evidence either way, but time passes."""
        for _ in range(ticks):
            self._begin()
            self._end()

    def peek(self) -> Evidence:
        x_c, n_c, x_b, n_b = self._counts
        low, high = self._ratio_bounds()
        then, used_then = self._trail[0]
        log_fine = self._trail[-1][0]
        return Evidence(
            log_e_worse=self._worse.log_e,
            log_e_catastrophe=self._disaster.log_e,
            log_e_fine=log_fine,
            fine_gain=log_fine - then,
            fine_used_recently=self._fine_used - used_then,
            excess_upper=self.excess_upper(),
            ratio_low=low,
            ratio_high=high,
            canary_requests=n_c,
            canary_errors=x_c,
            baseline_requests=n_b,
            baseline_errors=x_b,
            ticks=self._ticks,
            used=self._used,
        )

    def excess_upper(self, error: float = 0.05) -> float | None:
        """Smallest refuted excess over the baseline, walking down the ladder so that the whole walk errs with `error` at most."""
        bound: float | None = None
        need = math.log(1.0 / error)
        for slack, row in zip(LADDER, self._ladder, strict=True):
            if log_mean_exp(row, _LOG_FINE_PRIOR) < need:
                break
            bound = float(slack)
        return bound

    @property
    def state(self) -> RatioState:
        return RatioState(
            ticks=self._ticks,
            used=self._used,
            fine_used=self._fine_used,
            counts=self._counts,
            worse=self._worse.state,
            disaster=self._disaster.state,
            fine=tuple(self._fine.tolist()),
            ladder=tuple(tuple(row) for row in self._ladder.tolist()),
            likelihood=tuple(self._likelihood.tolist()),
            fine_trail=tuple(self._trail),
        )

    def _begin(self) -> None:
        self._worse.clock(self._ticks)
        self._disaster.clock(self._ticks)

    def _end(self) -> None:
        self._ticks += 1
        self._trail.append((log_mean_exp(self._fine, _LOG_FINE_PRIOR), self._fine_used))
        del self._trail[: -(self.options.gain_ticks + 1)]

    def _tally(self, x_c: int, n_c: int, x_b: int, n_b: int, phi: float) -> None:
        self._used += 1
        self._likelihood = self._likelihood + (x_c * _LOG_RATE_RATIOS - (x_c + x_b) * np.log(RATE_RATIOS * n_c + n_b)) / phi

    def _take_fine(self, counts: tuple[int, int, int, int], phi: float, null: Margin, expected: float | None) -> None:
        ratios = np.append(FINE_RATIOS, _equal(null.ratio, null.slack, expected))
        bet = count_increment(*counts, ratios, ratio=null.ratio, slack=null.slack)
        self._fine = self._fine + np.minimum(bet / phi, self.options.fine_cap)
        self._fine_used += 1

    def _take_ladder(self, x_c: int, n_c: int, x_b: int, n_b: int, phi: float, expected: float | None) -> None:
        ratios = np.array([np.append(FINE_RATIOS, _equal(1.0, slack, expected)) for slack in LADDER.tolist()])
        rungs = count_increment(x_c, n_c, x_b, n_b, ratios, ratio=1.0, slack=LADDER[:, None])
        self._ladder = self._ladder + np.minimum(rungs / phi, self.options.bound_cap)

    def _ratio_bounds(self, error: float = 0.05) -> tuple[float | None, float | None]:
        """Ends of the anytime interval for the rate ratio; None where the data exclude nothing yet."""
        if self._counts[0] + self._counts[2] == 0:
            return None, None
        need = math.log(2.0 / error)
        return _excluded_below(self._likelihood, RATE_RATIOS, need), _excluded_below(self._likelihood[::-1], RATE_RATIOS[::-1], need)


def _equal(ratio: float, slack: float, expected: float | None) -> float:
    """The effect size of a canary that is as good as a baseline with that rate, between what the grid holds."""
    if not slack:
        return min(1.0 / ratio, 0.99)
    if expected is None:
        return 0.5
    rate = max(expected, 1e-6)
    return min(0.95, max(0.01, rate / (ratio * rate + slack)))


def _excluded_below(likelihood: Array, ratios: Array, need: float) -> float | None:
    """Last ratio of the excluded run: those beyond it explain the data better, on average, by `need` nats."""
    beyond = np.logaddexp.accumulate(likelihood[::-1])[::-1]
    left = np.arange(likelihood.size - 1, 0, -1)
    odds = beyond[1:] - np.log(left) - likelihood[:-1]
    kept = np.flatnonzero(odds < need)
    count = int(kept[0]) if kept.size else likelihood.size - 1
    return float(ratios[count - 1]) if count else None


def _usable(x_c: float, n_c: float, x_b: float, n_b: float, phi: float) -> bool:
    """Stop NaN, infinities, negatives and empty arms at the door: one of them would poison every later sum."""
    values = (x_c, n_c, x_b, n_b, phi)
    return all(math.isfinite(v) and v >= 0 for v in values) and n_c > 0 and n_b > 0 and phi >= 1.0


_LOG_FINE_PRIOR: Final[Array] = np.log(FINE_PRIOR)
_LOG_RATE_RATIOS: Final[Array] = np.log(RATE_RATIOS)
