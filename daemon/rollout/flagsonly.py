"""A release without pods and traffic: a plan for flags is what is released, from step to step, and taken back.

For code that is out already, for stateful workloads and for workers. What starts a release is a change of `spec.flags` or `spec.steps`
(profile included): it makes a plan that is not the stable one. A plan gets its name once, when it is first seen, and keeps it; one that
failed is remembered and not tried again unless a person says so; the stable one again is nothing to release.

The phases are those of every release. To the shared handlers a plan looks like a template that is held until it is judged; whatever they
would write but flags is dropped by `Turn.do`, so that no pod can be touched from here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from daemon.api.canary import CanarySpec
from daemon.api.status import CanaryStatus, FlagPlanStatus
from daemon.rollout import gating, leave, progress, returning, rollback
from daemon.rollout.clock import stamp
from daemon.rollout.model import DropFinalizer, WorkloadView
from daemon.rollout.turn import Turn

KEPT: Final = 8  # plans that are remembered
_NAME: Final = "plan-"


def plan_in(spec: CanarySpec) -> dict[str, Any]:
    """The part of a spec whose change is a release, as the status keeps it."""
    wanted = {"flags": spec.flags or [], "steps": spec.steps or []}
    plain: dict[str, Any] = msgspec.to_builtins(wanted)
    return plain


def startable(status: CanaryStatus, wanted: dict[str, Any] | None) -> bool:
    """Whether the plan at hand is one that a release would begin with."""
    known = next((p for p in status.flag_plans if p.plan == wanted), None)
    return known is None or (known.revision != status.stable_revision and not known.failed)


def prepare(turn: Turn) -> None:
    """Names the plan at hand, and shows it to the handlers as a template: held while it is not the stable one."""
    wanted = turn.seen.flag_plan or {}
    known = next((p for p in turn.status.flag_plans if p.plan == wanted), None)
    if known is None:
        known = FlagPlanStatus(revision=_fresh_name(turn), plan=wanted)
    rest = [p for p in turn.status.flag_plans if p.revision != known.revision]
    turn.set(flag_plans=_bounded(turn, [*rest, known]))
    held = known.revision != turn.status.stable_revision
    view = WorkloadView(
        revision=known.revision,
        replicas=1,
        available=1,
        complete=True,
        paused=held or turn.status.rollout is not None,
        held="true" if held else None,
    )
    turn.seen = msgspec.structs.replace(turn.seen, workload=view)


def _fresh_name(turn: Turn) -> str:
    numbers = [int(p.revision.removeprefix(_NAME)) for p in turn.status.flag_plans]
    return f"{_NAME}{max(numbers, default=0) + 1}"


def _bounded(turn: Turn, plans: list[FlagPlanStatus]) -> list[FlagPlanStatus]:
    """The newest, the stable one, and what is under way."""
    rollout = turn.status.rollout
    needed = {turn.status.stable_revision, rollout.revision if rollout else None}
    spare = [p for p in plans[:-1] if p.revision not in needed]
    dropped = {p.revision for p in spare[: max(0, len(plans) - KEPT)]}
    return [p for p in plans if p.revision not in dropped]


def run(turn: Turn) -> None:
    """The handler of the phase, until the phase holds still, or a release is over: the next pass reads the spec as it is by then."""
    under_way = turn.status.rollout is not None
    for _ in range(len(_PHASES)):
        phase = turn.status.phase
        _PHASES[phase](turn)
        if turn.status.phase == phase or (under_way and turn.status.rollout is None):
            break
        turn.reset_wait()
    _remember(turn)


def deleting(turn: Turn) -> None:
    """The flags go back first; then nothing of ours is left."""
    if turn.status.rollout is not None:
        finishing = turn.status.phase == "Promoting"
        if not finishing and turn.status.phase != "RollingBack":
            rollback.begin(turn, "Deleted", "the Canary was deleted")
        _PHASES[turn.status.phase](turn)
    if turn.status.rollout is None:
        turn.reset_wait()
        turn.do(DropFinalizer())


def _remember(turn: Turn) -> None:
    """A verdict against a plan outlives the verdicts that follow."""
    verdict = turn.status.verdict
    if verdict is None or verdict.result not in ("Fail", "Inconclusive", "NoData") or turn.status.rollout is not None:
        return
    plans = [msgspec.structs.replace(p, failed=True) if p.revision == verdict.revision else p for p in turn.status.flag_plans]
    turn.set(flag_plans=plans)


def _failed(turn: Turn) -> bool:
    return any(p.failed for p in turn.status.flag_plans if p.revision == turn.workload.revision)


def _idle(turn: Turn) -> None:
    """At rest; a plan that is not the stable one starts, unless it failed before."""
    if turn.seen.problems:
        first = turn.seen.problems[0]
        message = "; ".join(p.message for p in turn.seen.problems)
        fresh = turn.status.waiting is None or turn.status.waiting.message != message[:1000]
        turn.wait(first.reason, message, way_out=first.way_out)
        if fresh:
            turn.tell("Refused", f"{message}. {first.way_out}", warning=True)
        return
    if turn.workload.revision == turn.status.stable_revision:
        turn.enter("Idle")
    elif _failed(turn):
        turn.enter("Held")
    elif leave.may_start(turn):
        progress.begin(turn)


def _starting(turn: Turn) -> None:
    """There are no pods to wait for."""
    if not progress.derailed(turn) and not leave.shut(turn, "advance") and gating.opened(turn, "FirstStep"):
        turn.enter("Progressing")
        turn.roll(step=0, step_started_at=stamp(turn.now), stage_started_at=stamp(turn.now))


def _promoting(turn: Turn) -> None:
    """Nothing rolls: the plan is stable from the verdict on, and its flags become what `onPromotion` says."""
    rollout = turn.rollout
    if rollout.promotion not in ("Returning", "Cleaning"):
        turn.set(stable_revision=rollout.revision)
        turn.roll(promotion="Returning", stage_started_at=stamp(turn.now))
    returning.giving_back(turn)


def _held(turn: Turn) -> None:
    if not _failed(turn) or turn.workload.revision == turn.status.stable_revision:
        turn.enter("Idle")
        return
    turn.wait(
        "Rejected",
        f"{turn.workload.revision} of the flags failed before and is not tried again",
        way_out=f"change spec.flags or spec.steps; linnet retry {turn.name} tries it again",
    )


_PHASES: Final[Mapping[str, Callable[[Turn], None]]] = {
    "Pending": _idle,
    "Idle": _idle,
    "Starting": _starting,
    "Progressing": progress.progressing,
    "Paused": progress.paused,
    "Inconclusive": progress.undecided,
    "Promoting": _promoting,
    "RollingBack": rollback.rolling_back,
    "Held": _held,
}
