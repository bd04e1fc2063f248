"""The lists and columns of the status that people read: arms, metrics, step, flags, verdict. Nothing is decided by them."""

from daemon.api.status import ArmStatus, FlagStatus, MetricStatus, VerdictStatus
from daemon.rollout import sentence
from daemon.rollout.turn import Turn


def list_arms(turn: Turn) -> None:
    workload, canary = turn.seen.workload, turn.seen.canary
    weight = turn.status.rollout.weight_reached if turn.status.rollout else 0
    arms = []
    if workload is not None and not turn.plan.flags_only:
        arms.append(
            ArmStatus(
                name="stable",
                revision=turn.status.stable_revision,
                replicas=workload.replicas,
                available=workload.available,
                weight=100 - weight,
            )
        )
    if canary is not None and turn.status.rollout is not None:
        arms.append(ArmStatus(name="canary", revision=canary.revision, replicas=canary.replicas, available=canary.available, weight=weight))
    rollout = turn.status.rollout
    steps = turn.plan.steps
    turn.set(
        arms=arms,
        weight=None if turn.plan.flags_only else weight,
        step=f"{rollout.step + 1}/{len(steps)} {steps[min(rollout.step, len(steps) - 1)].name}"[:128] if rollout else None,
        flags_text=_flags_text(turn),
        verdict_text=_verdict_text(turn.status.verdict),
        observed_generation=turn.seen.generation,
    )


def _flags_text(turn: Turn) -> str | None:
    """What we wrote and saw, while a release moves flags: at rest they are their people's, and are not looked at."""
    if turn.status.rollout is None:
        return None
    return ", ".join(_flag_text(f) for f in turn.status.flags)[:128] or None


def _flag_text(flag: FlagStatus) -> str:
    """'new-checkout=10', 'new-checkout=10/beta:100'."""
    return "/".join([f"{flag.name}={flag.written or 0}", *(f"{c.name}:{c.written or 0}" for c in flag.cohorts)])


def _verdict_text(verdict: VerdictStatus | None) -> str | None:
    """A column that people read must not say Pass of what was released without a proof (promise P4)."""
    if verdict is None:
        return None
    return f"Released ({verdict.reason})" if verdict.result == "Pass" and verdict.reason != "Proven" else verdict.result


def list_metrics(turn: Turn) -> None:
    judge = turn.seen.judge
    if judge is None or turn.status.rollout is None:
        return
    turn.set(
        metrics=[
            MetricStatus(
                name=m.name,
                canary_events=m.canary_events,
                canary_total=m.canary_total,
                baseline_events=m.baseline_events,
                baseline_total=m.baseline_total,
                odds_worse=sentence.odds(m.log_worse),
                odds_fine=sentence.odds(m.log_fine),
                bound="; ".join(said for said in (m.bound, m.widened) if said),
            )
            for m in judge.metrics
        ]
    )
