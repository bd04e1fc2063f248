"""Does the canary use more (CPU per request, memory, queue depth)? Paired log ratios of means, one block of ticks at a time.

A gauge is an autocorrelated series: a sample per scrape is not an observation. So samples are averaged over a block, both arms over the
same one (common swings cancel), and the block's variance comes from baseline-against-baseline history; without a history an
anytime-valid t-test on blocks estimates it and needs more of them.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from analyzers.stats.mixture import Array, Mixture, MixtureState, log_mean_exp
from analyzers.stats.ratio import ALL, Use

EFFECTS: Final[Array] = np.log(np.array([1.03, 1.06, 1.12, 1.25, 1.5, 2.0]))
STATE_VERSION: Final = 2
T_PRIOR: Final = 0.1
"""g of the t-test's prior: 0.1 lets three blocks reach 20, where 1 needs five."""


def gaussian_log_e(total: float, precision: float, effects: Array) -> Array:
    """Log of the bet on each mean shift `effects` against shift 0, from total = sum(d / v) and precision = sum(1 / v).

    Null: E[d] <= 0 for positive effects (>= 0 for negative ones). Valid for Gaussian d with variance at most v, or sub-Gaussian:
    E exp(mu d / v - mu^2 / 2v) <= 1. Units: log ratios in, nats out. Source: the classical likelihood-ratio martingale (Ville 1939).
    """
    bets: Array = effects * total - 0.5 * effects**2 * precision
    return bets


def student_log_e(t: float, n: int, g: float = 1.0) -> float:
    """Log evidence of a two-sided anytime-valid t-test after n observations.

    Null: the mean is 0, whatever the variance. Valid for Gaussian observations with one unknown variance: the scale-invariant
    likelihood ratio is a martingale at every n. Units: the t statistic in, nats out.
    Source: Lindon, Ham, Tingley & Bojinov (arXiv 2210.08589); Wang & Ramdas, Anytime-valid t-tests (2024).
    """
    return _regression_log_e(t, n, n - 1, g)


def _regression_log_e(t: float, n: int, nu: int, g: float) -> float:
    r = g / (g + n)
    return 0.5 * math.log(r) + 0.5 * (nu + 1) * (math.log1p(t * t / nu) - math.log1p(r * t * t / nu))


def one_sided_student_log_e(t: float, n: int, g: float = 1.0) -> float:
    """The t-test that listens to positive shifts only: the two-sided evidence times twice the posterior chance of a positive mean.

    Null: the mean is 0 or less (for 0 or the variance's scale, exactly; below, by monotonicity). Units and source as `student_log_e`.
    """
    nu, r = n - 1, g / (g + n)
    # The posterior of the mean is a t with nu + 1 degrees around (1 - r) t, in units of its own spread.
    centre = t * math.sqrt((1.0 - r) * (nu + 1) / (nu + r * t * t))
    share = student_cdf(centre, nu + 1)
    return _regression_log_e(t, n, nu, g) + math.log(max(2.0 * share, 1e-300))


def student_cdf(t: float, nu: int) -> float:
    """P(T <= t) of Student's t with nu degrees of freedom, by the continued fraction of the incomplete beta function.

    Its own few lines, because importing scipy.special takes a second, in which a daemon would answer nobody.
    """
    x = nu / (nu + t * t)
    tail = 0.5 * _incomplete_beta(0.5 * nu, 0.5, x)
    return 1.0 - tail if t > 0 else tail


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x in {0.0, 1.0}:
        return x
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    return front * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, by Lentz's method; it converges in a few terms on this side of the mean."""
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 300):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d, c = 1.0 / _away_from_zero(1.0 + term * d), _away_from_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300


class GaugeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed before the first tick. Margins are relative (0.10 is 10 % more); `unit_variance`: variance of one unit's log over one block."""

    tolerated: float = 0.10
    unacceptable: float = 0.25
    unit_variance: float | None = None
    block_ticks: int = 4
    cap: float = 2.5
    fine_cap: float = 0.75
    start_weight: float = 0.8
    restarts: tuple[int, ...] = ()
    gain_ticks: int = 20


class GaugeState(msgspec.Struct, frozen=True, kw_only=True):
    version: int = STATE_VERSION
    ticks: int = 0
    used: int = 0
    fine_used: int = 0
    block: tuple[tuple[float, float], ...] = ()
    block_fine: bool = True
    worse: MixtureState = MixtureState()
    fine: tuple[float, ...] = ()
    moments: tuple[int, float, float] = (0, 0.0, 0.0)
    trail: tuple[tuple[float, int], ...] = ()


class GaugeEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Logs are natural; `ratio` is the canary's mean over the baseline's in the used blocks, None before the first."""

    log_e_worse: float
    log_e_fine: float
    fine_gain: float
    fine_used_recently: int
    ratio: float | None
    ticks: int
    used: int


class GaugeTest:
    """Canary's mean against the baseline's; feed it each tick once, in order."""

    def __init__(self, options: GaugeOptions, state: GaugeState | None = None) -> None:
        self.options, s = options, state or GaugeState()
        self._ticks, self._used, self._fine_used = s.ticks, s.used, s.fine_used
        self._block, self._block_fine = list(s.block), s.block_fine
        self._worse = Mixture(_LOG_PRIOR, start_weight=options.start_weight, restarts=options.restarts, state=s.worse)
        self._fine: Array = np.array(s.fine) if s.fine else np.zeros(EFFECTS.size)
        self._moments = s.moments
        self._trail: list[tuple[float, int]] = list(s.trail) or [(0.0, 0)]

    def update(
        self,
        canary: float,
        baseline: float,
        units: tuple[int, int] = (1, 1),
        *,
        use: Use = ALL,
        tolerated: float | None = None,
        unacceptable: float | None = None,
    ) -> None:
        """One tick's means per unit of both arms; a block that is full is judged."""
        self._worse.clock(self._ticks)
        if not (use.worse and math.isfinite(canary) and math.isfinite(baseline) and canary > 0 and baseline > 0 and min(units) > 0):
            self.skip()
            return
        self._used += 1
        self._block.append((canary, baseline))
        self._block_fine = self._block_fine and use.fine
        if len(self._block) >= self.options.block_ticks:
            canaries, baselines = zip(*self._block, strict=True)
            self._take(
                math.log(sum(canaries) / sum(baselines)),
                1.0 / units[0] + 1.0 / units[1],
                tolerated or self.options.tolerated,
                unacceptable or self.options.unacceptable,
            )
            self._block, self._block_fine = [], True
        self._end()

    def skip(self, ticks: int = 1) -> None:
        """A gap breaks the block: half a block is no observation."""
        self._block, self._block_fine = [], True
        for _ in range(ticks):
            self._worse.clock(self._ticks)
            self._end()

    def peek(self) -> GaugeEvidence:
        n, total, _ = self._moments
        then, used_then = self._trail[0]
        return GaugeEvidence(
            log_e_worse=self._log_worse(),
            log_e_fine=self._log_fine(),
            fine_gain=self._trail[-1][0] - then,
            fine_used_recently=self._fine_used - used_then,
            ratio=math.exp(total / n) if n else None,
            ticks=self._ticks,
            used=self._used,
        )

    @property
    def state(self) -> GaugeState:
        return GaugeState(
            ticks=self._ticks,
            used=self._used,
            fine_used=self._fine_used,
            block=tuple(self._block),
            block_fine=self._block_fine,
            worse=self._worse.state,
            fine=tuple(self._fine.tolist()),
            moments=self._moments,
            trail=tuple(self._trail),
        )

    def _take(self, d: float, spread: float, tolerated: float, unacceptable: float) -> None:
        o = self.options
        n, total, squares = self._moments
        self._moments = (n + 1, total + d, squares + d * d)
        if self._block_fine:
            self._fine_used += o.block_ticks
        if o.unit_variance is None:
            return
        v = max(o.unit_variance * spread, 1e-6)
        over, under = d - math.log1p(tolerated), math.log1p(unacceptable) - d
        self._worse.take(gaussian_log_e(over / v, 1.0 / v, EFFECTS), 1.0, o.cap)
        if self._block_fine:
            self._fine = self._fine + np.minimum(gaussian_log_e(under / v, 1.0 / v, EFFECTS), 4.0 * o.fine_cap)

    def _student(self, shift: float, sign: float) -> float:
        n, total, squares = self._moments
        if n < 2:
            return 0.0
        mean = total / n - shift
        variance = max((squares - total * total / n) / (n - 1), 1e-8)
        return one_sided_student_log_e(sign * mean / math.sqrt(variance / n), n, T_PRIOR)

    def _log_worse(self) -> float:
        if self.options.unit_variance is None:
            return self._student(math.log1p(self.options.tolerated), 1.0)
        return self._worse.log_e

    def _log_fine(self) -> float:
        if self.options.unit_variance is None:
            return self._student(math.log1p(self.options.unacceptable), -1.0)
        return log_mean_exp(self._fine, _LOG_PRIOR)

    def _end(self) -> None:
        self._ticks += 1
        self._trail.append((self._log_fine(), self._fine_used))
        del self._trail[: -(self.options.gain_ticks + 1)]


_LOG_PRIOR: Final[Array] = np.full(EFFECTS.size, -math.log(EFFECTS.size))
