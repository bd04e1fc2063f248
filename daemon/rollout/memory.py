"""What is known of a revision from before: a failed one is held with its evidence, and its images are not trusted in new clothes (P9).

The template alone decides what is held. The same images in another template may be tried, for the fault may have been in the
configuration: but from the first step, without any shortcut, and with the earlier failure in every message.
"""

from typing import Final

from daemon.rollout.clock import since, span
from daemon.rollout.model import RecordView
from daemon.rollout.turn import Turn

DAY: Final = 86_400.0
SHORTCUTS: Final = ("skip", "step", "set-weight", "hotfix")


def record(turn: Turn, revision: str) -> RecordView | None:
    return next((r for r in turn.seen.records if r.revision == revision), None)


def ago(turn: Turn, at: str) -> str:
    """'12 min ago', '3 days ago'."""
    seconds = since(at, turn.now)
    return f"{seconds / DAY:.0f} days ago" if seconds >= 2 * DAY else f"{span(seconds)} ago"


def evidence(turn: Turn, revision: str) -> str:
    """When and why a revision failed, and what exactly ran then; empty where it did not."""
    found = record(turn, revision)
    if found is None or not found.failed_at:
        return ""
    why = f" ({found.failed_for})" if found.failed_for else ""
    ran = f"; it ran {', '.join(found.digests or found.images)}" if found.digests or found.images else ""
    return f"revision {revision} failed {ago(turn, found.failed_at)}{why}: {found.sentence[:500].rstrip('.')}{ran[:300]}"


def burden(turn: Turn) -> str:
    """What is held against the template at hand, for every message of its release."""
    workload = turn.workload
    mine = record(turn, workload.revision)
    if mine is not None and mine.failed_at:
        return "failed before"
    stable = record(turn, turn.status.stable_revision or "")
    fine = set(stable.images) if stable is not None else set()
    suspect = set(workload.images) - fine
    failed = [r for r in turn.seen.records if r.failed_at and suspect & set(r.images)]
    if not failed:
        return ""
    last = max(failed, key=lambda r: r.failed_at)
    return f"images failed before, as {last.revision}"


def no_shortcut(turn: Turn, verb: str) -> str:
    """Why a verb that spares a release some of its proof is refused to this one; empty where it is not."""
    rollout = turn.status.rollout
    carried = rollout.burden if rollout is not None else burden(turn)
    if verb not in SHORTCUTS or not carried:
        return ""
    return f"{carried}: no step is spared it. linnet promote --override {turn.name} --reason WHY releases it on your word"


def hold(turn: Turn) -> None:
    """The rejected template waits for a new one, a revert, or a person who overrides: with the evidence."""
    revision = turn.workload.revision
    known = evidence(turn, revision)
    message = known or f"revision {revision} failed before and is held"
    way_out = f"revert or fix it in a new template; linnet promote --override {turn.name} --reason WHY releases it all the same"
    turn.wait("KnownBad", message, way_out=way_out)


def meet(turn: Turn) -> None:
    """A template that failed before came back: people are told once, with the evidence."""
    revision = turn.workload.revision
    turn.set(observed_revision=revision)
    turn.tell("KnownBad", f"{turn.name}: {evidence(turn, revision) or f'revision {revision} failed before'}; it is held", warning=True)
