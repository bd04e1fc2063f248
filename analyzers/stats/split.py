"""Does the canary get the share of the traffic that it was given? If not, no other comparison means what it says.

The wanted weight is never met exactly (routing delays, connections that live on, arms scraped at different times), so the null is a
band around it, and what a broken split leads to is a hold: people are told, nobody is blamed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

CONCENTRATION: Final = 100.0
"""How far from the weight the bet looks: 1000 let 4 % of canaries with 1.5 times their weight through, 100 none of 800."""
RELATIVE_BAND: Final = 0.1
ABSOLUTE_BAND: Final = 0.005
SPLIT_PHI: Final = 3.0
"""Requests come by connection and by user, not one by one."""
SPLIT_ALPHA: Final = 0.001
STATE_VERSION: Final = 1


def multinomial_log_e(counts: Sequence[float], shares: Sequence[float], *, k: float = CONCENTRATION) -> float:
    """Log of a Dirichlet(k shares) mixture of multinomial likelihoods over the likelihood of `shares`.

    Null: requests fall on the arms independently with exactly `shares`. Valid at every total: prior-averaged likelihood ratios are
    martingales under the null. Units: requests in, nats out. Source: Lindon & Malek (NeurIPS 2022), equal to optimizely/ssrm.
    """
    log_e = math.lgamma(k) - math.lgamma(k + sum(counts))
    for n, theta in zip(counts, shares, strict=True):
        log_e += math.lgamma(k * theta + n) - math.lgamma(k * theta) - n * math.log(theta)
    return log_e


def band_log_e(n_c: float, n_b: float, weight: float, *, k: float = CONCENTRATION) -> float:
    """The same for two arms against the nearest share within the tolerated band around `weight` (0..1).

    Null: the share is anywhere in clip(weight -+ max(0.1 weight, 0.005)). Valid for every share in the band: the denominator is the
    band's largest likelihood, so the value is below that of each single null. Units: requests in, nats out. Source: as above.
    """
    half = max(RELATIVE_BAND * weight, ABSOLUTE_BAND)
    low, high = max(weight - half, 1e-9), min(weight + half, 1.0 - 1e-9)
    nearest = min(max(n_c / (n_c + n_b), low), high)
    prior = math.lgamma(k) - math.lgamma(k * weight) - math.lgamma(k * (1.0 - weight))
    posterior = math.lgamma(k * weight + n_c) + math.lgamma(k * (1.0 - weight) + n_b) - math.lgamma(k + n_c + n_b)
    return prior + posterior - n_c * math.log(nearest) - n_b * math.log1p(-nearest)


def mirrored_share(percent: float) -> float:
    """A mirrored request is seen twice: of m mirrored per request the canary sees m / (1 + m) of all."""
    m = percent / 100.0
    return m / (1.0 + m)


class SplitState(msgspec.Struct, frozen=True, kw_only=True):
    version: int = STATE_VERSION
    weight: float = 0.0
    canary: int = 0
    baseline: int = 0


class SplitTest:
    """Counts since the last change of the weight; a new weight starts over."""

    def __init__(self, *, phi: float = SPLIT_PHI, alpha: float = SPLIT_ALPHA, state: SplitState | None = None) -> None:
        self._phi, self._alpha = max(1.0, phi), alpha
        self._s = state or SplitState()

    @property
    def state(self) -> SplitState:
        return self._s

    def update(self, canary: int, baseline: int, weight: float, *, settled: bool) -> None:
        """One tick at `weight` (0..1); ticks that have not settled only mark the new weight."""
        if weight != self._s.weight:
            self._s = SplitState(weight=weight)
        if settled and 0.0 < weight < 1.0 and canary >= 0 and baseline >= 0:
            self._s = msgspec.structs.replace(self._s, canary=self._s.canary + canary, baseline=self._s.baseline + baseline)

    @property
    def log_e(self) -> float:
        """Evidence against the split, of requests deflated by phi."""
        s = self._s
        if s.canary + s.baseline == 0 or not 0.0 < s.weight < 1.0:
            return 0.0
        return band_log_e(s.canary / self._phi, s.baseline / self._phi, s.weight)

    @property
    def broken(self) -> bool:
        return self.log_e >= math.log(1.0 / self._alpha)

    @property
    def share(self) -> float | None:
        """Seen share of the canary since the last change; None before anything was seen."""
        total = self._s.canary + self._s.baseline
        return self._s.canary / total if total else None
