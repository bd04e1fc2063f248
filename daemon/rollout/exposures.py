"""What share the canary had since when: on record, because each tick of the evidence is weighed by it, also after a restart.

A change is noted twice: when it is decided, before anything is written (from then on nothing that is counted belongs to either weight),
and when the routes and flags show it. In between the last weight stands. Both go with writes of the status that happen anyway.
"""

from typing import Final

import msgspec

from daemon.api.status import ExposureStatus
from daemon.rollout.clock import stamp
from daemon.rollout.turn import Turn

KEPT: Final = 12  # more than change between two stores of the evidence
JUDGED: Final = ("Progressing", "Paused", "Inconclusive", "Promoting", "Settling")


def note(turn: Turn) -> None:
    """Adds what is in force now, if it is not what was."""
    rollout, phase = turn.status.rollout, turn.status.phase
    if rollout is None or rollout.judge_from is None or phase not in JUDGED:
        return
    last = rollout.exposures[-1] if rollout.exposures else None
    picked = phase != "Promoting" and turn.step.pick is not None  # such requests are no sample: what they show is not compared
    settled = phase == "Promoting" or (rollout.exposed_at is not None and phase != "Settling" and not picked)
    waiting = turn.waiting
    foreign = waiting.message[:300] if waiting is not None and waiting.reason == "RouteTakenBack" else ""
    weight = last.weight if last is not None and not settled else _in_force(turn, rollout.weight_reached)
    now = ExposureStatus(since=stamp(turn.now), weight=weight, settled=settled, foreign=foreign)
    if last is None or msgspec.structs.replace(now, since=last.since) != last:
        turn.roll(exposures=[*rollout.exposures, now][-KEPT:])


def _in_force(turn: Turn, reached: int) -> int:
    """What the routes say, not what is wished."""
    if turn.seen.pod_ratio or not turn.seen.routes:
        return reached
    return max(r.weight or 0 for r in turn.seen.routes)
