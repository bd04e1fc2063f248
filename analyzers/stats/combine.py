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
    """Log of the weighted sum; the rollback threshold log(1/alpha) is compared with this."""
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
