"""Restarts of an arm's pods inside the judge: they end a release, or hold it while they lean against it, and promote none.

What is counted is restarts in pod-seconds, whatever the traffic. A few pods in a quarter of an hour can show that a version keeps
crashing; that it crashes no more than seven times an hour they cannot. So no proof is asked of them, and how much they do rule out is said
beside the verdict.
"""

from __future__ import annotations

import math

import msgspec

from analyzers.metric_judge import Gate
from analyzers.ratio_judge import RatioJudge
from analyzers.stats.combine import FineProof
from analyzers.stats.ratio import Margin
from analyzers.ticks import MetricEvidence, Tick

HOUR = 3600.0
LEANING = math.log(2.0)
"""Odds of 2 : 1 that the canary restarts more often than is tolerated: one restart is more for some minutes, and then wears off."""


class RestartJudge(RatioJudge):
    """It has no health of its own: a baseline pod that restarts now and then must neither stop the proof of all else, nor hide it when
    the canary's restart more often. What both arms share cancels.
    """

    @property
    def calm(self) -> bool:
        return True

    @property
    def bad_run(self) -> int:
        return 0

    @property
    def log_e_catastrophe(self) -> float | None:
        return None

    @property
    def excess_upper(self) -> float | None:
        """It counts no requests that could fail."""
        return 0.0

    @property
    def usual_failures(self) -> float:
        return 0.0

    @property
    def proof(self) -> FineProof:
        """None but that they were looked at (what was never seen is not fine: promise P4), and that they do not lean against the canary."""
        return FineProof(log_e=math.inf if self.proven else 0.0, recent_gain=0.0, recent_ticks=self._config.gain_ticks)

    @property
    def proven(self) -> bool:
        return self.evidence.used > 0 and self.evidence.log_e_worse <= LEANING

    @property
    def used(self) -> int:
        """Of traffic it says nothing, not even that there was any."""
        return 0

    def _take(self, tick: Tick, gate: Gate) -> None:
        """Pods restart at every weight, also at none: what follows a change of it is no less theirs. Where pods restart the weight does fall."""
        super()._take(tick, msgspec.structs.replace(gate, settled=True, blamable=True, comparable=True))
        self.used_now = False

    def _count(self, requests: float) -> None:
        """Pod-seconds are no requests: no weight and no plan is made of them."""

    def _in_words(self, margin: Margin) -> str:
        return ""

    def line(self) -> MetricEvidence:
        e = self.evidence
        upper = e.excess_upper
        return self._line(
            counts=(e.canary_requests, e.canary_errors, e.baseline_requests, e.baseline_errors),
            ratios=(e.ratio_low, e.ratio_high),
            bound="" if upper is None else f"at most {upper * HOUR:.0f} restarts more in an hour of a pod",
        )
