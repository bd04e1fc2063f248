"""Several metrics, one verdict: a weighted average of bets to roll back, every single bet to promote.

The average of bets with weights fixed in advance is itself a bet, however the metrics depend on each other. Promotion is
the opposite: a release is fine only when each metric has been shown to be fine, so no correction is due there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One bet in the sum: its owner, its weight (all weights add up to 1) and its log evidence."""

    metric: str
    weight: float
    log_e: float

    @property
    def weighted(self) -> float:
        return math.log(self.weight) + self.log_e if self.weight > 0 else -math.inf


def total_log_e(shares: Iterable[Share]) -> float:
    """Log of the weighted sum; the rollback threshold log(1/alpha) is compared with this.

    Source: Vovk & Wang, E-values (Ann. Statist. 2021): averages of e-values are e-values, whatever their dependence. Units: nats.
    """
    terms = [s.weighted for s in shares]
    top = max(terms, default=-math.inf)
    return top + math.log(sum(math.exp(t - top) for t in terms)) if math.isfinite(top) else top


def leader(shares: Iterable[Share]) -> Share | None:
    """The bet that carries most of the evidence: the one to name in the sentence."""
    return max(shares, key=lambda s: s.weighted, default=None)


class FineProof(msgspec.Struct, frozen=True, kw_only=True):
    """What one metric offers for a promotion."""

    log_e: float
    recent_gain: float
    recent_ticks: int


def unproven(proofs: Mapping[str, FineProof], *, beta: float, least_recent_ticks: int) -> tuple[str, ...]:
    """Metrics that still stand between the canary and its promotion.

    A proof must be complete over the whole life, must not be losing over the last five minutes, and must have been
    tested in them at all: a release that turned bad late is otherwise promoted on the strength of its youth.
    """
    need = math.log(1.0 / beta)
    return tuple(name for name, p in proofs.items() if p.log_e < need or p.recent_gain < 0.0 or p.recent_ticks < least_recent_ticks)


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence alone says; who may act on it, and when, is decided elsewhere."""

    total: float
    needed: float
    missing: tuple[str, ...]

    @property
    def worse(self) -> bool:
        return self.total >= self.needed

    @property
    def fine(self) -> bool:
        return not self.missing


def conclude(shares: Iterable[Share], proofs: Mapping[str, FineProof], *, alpha: float, beta: float, least_recent_ticks: int) -> Conclusion:
    """Null for worse: every metric is within its tolerance. For fine: some metric is unacceptable.

    Valid: the weighted sum is one bet, so P(it ever reaches 1/alpha) <= alpha (Ville); promotion is an intersection-union test
    (Berger 1982), so P(all proofs complete | one metric unacceptable) <= beta without a correction. Units: nats.
    """
    return Conclusion(
        total=total_log_e(shares), needed=math.log(1.0 / alpha), missing=unproven(proofs, beta=beta, least_recent_ticks=least_recent_ticks)
    )


def group_log_e(totals: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Several rollouts released as one: log of sum_j w_j E_j, with weights that add up to 1 (rule 11)."""
    return total_log_e([Share(metric=name, weight=weights[name], log_e=total) for name, total in totals.items()])
