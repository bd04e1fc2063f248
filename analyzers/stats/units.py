"""What one pod (or one cohort of users) may differ from another without any release: no test on few pods can tell them apart.

A slow node under the only canary pod looks like a slow release for as long as the rollout lasts; dispersion cannot repair that, since
it does not average out. So the tolerated margin is widened by what history's pods differ among each other, and the verdict says so.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from analyzers.stats.mixture import Array

LEAST_UNITS: Final = 10
DEFAULT_TAU: Final = 0.1
"""Standard deviation of the log between pods where history cannot tell."""
SURE: Final = 2.58
"""99 % of a normal, both sides."""
PRECISE: Final = 0.01
"""Largest standard error of tau^2 at which an estimate from sparse errors is believed."""


class UnitEffects(msgspec.Struct, frozen=True, kw_only=True):
    """`tau`: between-unit standard deviation of the log rate (latency: of the log shift)."""

    tau: float = DEFAULT_TAU

    def factor(self, canaries: int, baselines: int) -> float:
        """By what factor two arms of equal releases may differ, 99 % sure, with so many units each."""
        return math.exp(SURE * self.tau * math.sqrt(1.0 / max(canaries, 1) + 1.0 / max(baselines, 1)))

    def least_units(self, tolerated: float, unacceptable: float, baselines: int) -> int | None:
        """Canary units with which `unacceptable` (both ratios) can be told from the tolerated; None if no number can."""
        for k in range(1, 101):
            if self.factor(k, baselines) * tolerated < unacceptable:
                return k
        return None


def estimate(logs: Array, variances: Array, *, precise: float = math.inf) -> UnitEffects:
    """tau of units with log rates `logs` and sampling `variances`.

    DerSimonian & Laird (1986): tau^2 = max(0, (Q - (k - 1)) / C). Fewer than ten units, or a standard error of tau^2 above `precise`
    (errors are sparse), give the default 0.1.
    """
    if logs.size < LEAST_UNITS:
        return UnitEffects()
    w = 1.0 / np.maximum(variances, 1e-12)
    mean = float((w * logs).sum() / w.sum())
    q = float((w * (logs - mean) ** 2).sum())
    c = float(w.sum() - (w**2).sum() / w.sum())
    tau2 = max(0.0, (q - (logs.size - 1)) / c)
    error = math.sqrt(2.0 * float((w**2 * (variances + tau2) ** 2).sum())) / c
    return UnitEffects() if error > precise else UnitEffects(tau=math.sqrt(tau2))
