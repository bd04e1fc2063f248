"""How much of a status is news: what is written at once, what within seconds, and what may wait for the next minute.

A status changes at every scrape, and a write costs the API server and everyone who watches. So it is compared without its numbers, and
without what the next pass would find anyway.
"""

import re
from typing import Final

import msgspec

from analyzers.ticks import Code
from daemon.api.conditions import MISMATCH, UNMET
from daemon.api.status import CanaryStatus, FlagUsage, RolloutStatus, Waiting
from daemon.rollout.clock import epoch

NUMBERS_EVERY: Final = 60.0  # seconds between two status writes that only bring numbers up to date
# Waits of one kind: going from one to the other tells people nothing that they must know within seconds.
EVIDENCE: Final = frozenset(
    {
        "Dwell",
        "Requests",
        "Evidence",
        "Checking",
        Code.WARMING_UP,
        Code.SETTLING,
        Code.BASELINE_SICK,
        Code.MORE_EVIDENCE_NEEDED,
        Code.PROVEN_FINE,
        Code.BAKING,
        Code.RISK_BUDGET,
        Code.CLIMBING,
    }
)
ROLLING: Final = frozenset({"HoldReleasing", "StableRolling"})
LEAVING: Final = frozenset({"TrafficReturning", "RouteRestoring", "RouteReporting", "Draining", "CanaryLeaving"})
NUMBERS: Final = re.compile(r"\d+")


def shown(status: CanaryStatus, now: float) -> CanaryStatus:
    """A status without what changes at every scrape."""
    return msgspec.structs.replace(
        status,
        weight=None if _returns(status.rollout) else status.weight,
        metrics=[],
        arms=[],
        rollout=_kept(status.rollout, now),
        waiting=_kind_of(_waiting(status)),
        flags=[msgspec.structs.replace(f, usage=_alarming(f.usage)) for f in status.flags],
        conditions=[msgspec.structs.replace(c, message="") for c in status.conditions],
        routes=[] if _returns(status.rollout) else [msgspec.structs.replace(r, message="") for r in status.routes],
    )


def _alarming(usage: FlagUsage | None) -> FlagUsage | None:
    """That all is as it should be can be read again; what people must know is told without its numbers."""
    return FlagUsage(found=usage.found) if usage is not None and usage.found in (UNMET, MISMATCH) else None


def _waiting(status: CanaryStatus) -> Waiting | None:
    """Once stable is the new version, what is left to do is known without being said."""
    return Waiting(reason="TrafficReturning") if status.waiting is None and _returns(status.rollout) else status.waiting


def _returns(rollout: RolloutStatus | None) -> bool:
    return rollout is not None and rollout.rollback is None and rollout.promotion in ("Returning", "Cleaning")


def _kind_of(waiting: Waiting | None) -> Waiting | None:
    """What a wait is for, without its numbers; waits for evidence are of one kind, as are those for stable's roll and the canary's end.

    Words stay: that an image cannot be pulled is what people look for, and they look at once.
    """
    if waiting is None:
        return None
    for kind in (EVIDENCE, ROLLING, LEAVING):
        if waiting.reason in kind:
            return Waiting(reason=min(kind), message="")
    return msgspec.structs.replace(waiting, message=NUMBERS.sub("", waiting.message), until=None)


def _kept(rollout: RolloutStatus | None, now: float) -> RolloutStatus | None:
    """A rollout without what can be found again from the objects, or matters only when it has lasted.

    That the hold was released, and that the traffic has returned, is seen at the Deployment and the routes. An absence of data
    that has not lasted for a minute decides nothing.
    """
    if rollout is None:
        return None
    young = rollout.no_data_since is not None and now - epoch(rollout.no_data_since) < NUMBERS_EVERY
    # What was in force since when is written with what brought it about.
    kept = msgspec.structs.replace(rollout, exposures=[], no_data_since=None if young else rollout.no_data_since)
    if kept.rollback is None and kept.promotion in ("Releasing", "Rolling"):
        return msgspec.structs.replace(kept, promotion="Releasing", stage_started_at=None)
    if _returns(kept):
        return msgspec.structs.replace(kept, promotion="Returning", stage_started_at=None, weight_reached=0)
    return kept


def needed(status: CanaryStatus, now: float) -> CanaryStatus:
    """A status without what the next pass would find anyway: what a restarted daemon must not lose is left."""
    return msgspec.structs.replace(
        shown(status, now), waiting=None, routes=[], conditions=[], plan="", forecast=None, step=None, weight=None, flags_text=None
    )
