"""`decide`: the whole controller as one pure function, read from top to bottom.

            +---------+  complete  +------+  new template held  +----------+        +-------------+
            | Pending | ---------> | Idle | ------------------> | Starting | -----> | Progressing | <--> Paused
            +---------+            +------+                     +----------+        +-------------+ ---> Inconclusive
                                    ^   ^ ^                          |                 |      |
                                    |   | |      worse, aborted,     v                 |      | proven
                              Held -+   | +------ newer template  RollingBack <--------+      v
                          Bypassed -+   +-------------------------------------------------- Promoting <-> Settling

Each pass: read the facts, carry out a person's verb, run the handler of the phase until the phase holds still, and bring the
lists of the status up to date. No handler waits, and none depends on having run before: only on status and facts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from daemon.api.canary import CanarySpec
from daemon.api.status import CanaryStatus
from daemon.rollout import (
    bypassed,
    checks,
    commands,
    drift,
    exposures,
    flagsonly,
    leave,
    leaving,
    memory,
    observing,
    progress,
    promotion,
    reminders,
    report,
    rollback,
    undo,
)
from daemon.rollout.model import (
    Adopt,
    Decision,
    EnsureService,
    ForgetFailure,
    Observed,
    PauseWorkload,
    Problem,
    ReleaseHold,
    RememberFailure,
    StoreTemplate,
)
from daemon.rollout.steps import plan_of
from daemon.rollout.turn import Turn


def decide(spec: CanarySpec, status: CanaryStatus, observed: Observed, now: float, *, name: str = "") -> Decision:
    """The next status, the writes and the news.

    Args:
        spec: merged with its profile; while a rollout is under way, the snapshot taken at its start.
        status: as last written.
        observed: this pass's view of the world.
        now: seconds since the epoch; the core has no clock of its own.
        name: the Canary's name, for sentences.
    """
    turn = Turn(name or spec.workload, plan_of(spec, gitops=bool(observed.gitops)), status, observed, now)
    turn.spec = _snapshot(spec)
    if turn.plan.observe:
        observing.watch(turn)
        return turn.decision()
    turn.seen = msgspec.structs.replace(observed, judge=checks.judged(turn))
    if status.rollout is not None:
        turn.see_flags()
        drift.adopt(turn)
    if turn.plan.flags_only:
        _without_pods(turn)
    elif observed.deleting:
        leaving.deleting(turn)
    elif observed.workload is None:
        missing = Problem(
            reason="WorkloadMissing",
            message=f"Deployment {spec.workload} does not exist",
            way_out="create it, or delete this Canary",
        )
        other = next((p for p in observed.problems if p.reason == "WorkloadUnsupported"), None)
        if turn.status.rollout is None or not leaving.abandoned(turn):
            _refuse(turn, (other or missing,))
    else:
        commands.obey(turn)
        _run(turn)
        _keep_memory(turn)
    leave.settle(turn)
    reminders.remind(turn)
    exposures.note(turn)
    report.list_arms(turn)
    report.list_metrics(turn)
    return turn.decision()


def _without_pods(turn: Turn) -> None:
    """A plan for flags instead of a template."""
    flagsonly.prepare(turn)
    if turn.seen.deleting:
        flagsonly.deleting(turn)
        return
    commands.obey(turn)
    flagsonly.run(turn)


def _keep_memory(turn: Turn) -> None:
    """What is stored beside the status follows from the status: a crash before such a write only delays it."""
    rollout, stored, failed = turn.status.rollout, turn.seen.stored, turn.seen.failed
    stable = turn.status.stable_revision
    if rollout is not None:
        if rollout.revision == turn.workload.revision and rollout.revision not in stored:
            turn.do(StoreTemplate(revision=rollout.revision, role="candidate"))
        if rollout.overridden and rollout.revision in failed and turn.status.phase != "RollingBack":
            turn.do(ForgetFailure(revision=rollout.revision))
        return
    leaving.leftovers(turn)
    if _failed(turn) and turn.workload.revision not in failed:
        if turn.workload.revision not in stored:
            turn.do(StoreTemplate(revision=turn.workload.revision, role="candidate"))
        told = turn.status.verdict
        turn.do(
            RememberFailure(
                revision=turn.workload.revision, sentence=turn.status.sentence[:1000], reason=told.reason if told is not None else ""
            )
        )
    if stable is not None and stable == turn.workload.revision:
        known = memory.record(turn, stable)
        if known is None or not known.stable_at:
            turn.do(StoreTemplate(revision=stable, role="stable", by=_how(turn, stable)))
        if stable in failed:
            turn.do(ForgetFailure(revision=stable))


def _how(turn: Turn, stable: str) -> str:
    """How the present stable version became that, where the write that says so was lost."""
    verdict = turn.status.verdict
    return verdict.reason if verdict is not None and verdict.revision == stable else ""


def _snapshot(spec: CanarySpec) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    return plain


def _run(turn: Turn) -> None:
    """Handlers until the phase holds still; bounded, since each phase is entered at most once in a pass."""
    for _ in range(len(_PHASES)):
        phase = turn.status.phase
        _PHASES[phase](turn)
        if turn.status.phase == phase:
            return
        turn.reset_wait()


def _pending(turn: Turn) -> None:
    """Stable is recorded only once complete and Available; until then, and while anything is wrong, nothing is held."""
    workload = turn.workload
    if _refused(turn):
        return
    if workload.replicas == 0:
        text = "replicas is 0: there is no stable version to compare with"
        _refuse(turn, (Problem(reason="ScaledToZero", message=text, way_out="scale the Deployment up"),))
        return
    if workload.paused and not workload.held:
        text = "the Deployment is paused by its owner"
        _refuse(turn, (Problem(reason="PausedByOwner", message=text, way_out="kubectl rollout resume, then Linnet adopts it"),))
        return
    if workload.paused and _unknown_held(turn):
        return
    one = len(workload.active) == 1 and workload.active[0].revision == workload.revision
    if not (workload.complete and one and workload.available >= workload.replicas):
        words = f": {workload.failing}" if workload.failing else ""
        turn.linger(
            "StableNotReady",
            f"{workload.available} of {workload.replicas} pods of the present version are available{words}",
            "stable is recorded once the Deployment is complete; nothing is held until then",
        )
        return
    turn.do(StoreTemplate(revision=workload.revision, role="stable", by="Adopted"))
    turn.do(Adopt())
    turn.set(stable_revision=workload.revision, observed_revision=workload.revision)
    turn.enter("Idle")
    turn.tell("Adopted", f"{turn.name}: stable is {workload.revision}; the next template change is held and released step by step")


def _unknown_held(turn: Turn) -> bool:
    """The policy held a template before any was known to be stable: adoption holds nothing, so it rolls as its owner meant it to."""
    workload = turn.workload
    if all(r.revision == workload.revision for r in workload.active) and workload.active:
        return False
    turn.do(ReleaseHold(revision=workload.revision))
    turn.linger("HoldReleasing", "held before any version was known to be stable: it is released", "kubectl rollout resume")
    turn.look_at(turn.now + 1)
    return True


def _refused(turn: Turn) -> bool:
    if not turn.seen.problems:
        return False
    first = turn.seen.problems[0]
    _refuse(turn, turn.seen.problems)
    if first.unhold and turn.workload.adopted and not turn.workload.held:
        turn.do(Adopt(adopted=False))  # a broken Canary must not hold what comes next
    return True


def _refuse(turn: Turn, problems: Sequence[Problem]) -> None:
    """Says why nothing can start, and once as news."""
    first = problems[0]
    message = "; ".join(p.message for p in problems)
    fresh = turn.status.waiting is None or turn.status.waiting.message != message[:1000]
    under_way = turn.status.rollout is not None  # the Deployment went: it may come back, but nothing serves half a release for good
    turn.wait(first.reason, message, way_out=first.way_out, within=turn.plan.progress if under_way else None)
    if fresh:
        turn.tell("Refused", f"{message}. {first.way_out}", warning=True)


def _idle(turn: Turn) -> None:
    workload = turn.workload
    stable = turn.status.stable_revision
    undo.pending(turn)
    if workload.revision == stable:
        _at_rest(turn)
    elif not workload.paused:
        bypassed.bypass(turn)
    elif not workload.held:
        turn.wait(
            "PausedByOwner", "the Deployment is paused by its owner", way_out="kubectl rollout resume; Linnet then judges the template"
        )
    elif bypassed.stable_lost(turn) or _mixed(turn):
        return
    elif _failed(turn):
        memory.meet(turn)
        turn.enter("Held")
    elif not _refused(turn) and leave.may_start(turn):
        progress.begin(turn)
        undo.taken_up(turn)


def _failed(turn: Turn) -> bool:
    """Whether the template at hand failed before: by the memory of failures, or by our own verdict while that write is under way (P9)."""
    revision, verdict = turn.workload.revision, turn.status.verdict
    if revision == turn.status.stable_revision:
        return False
    told = verdict is not None and verdict.revision == revision and verdict.result in ("Fail", "Inconclusive", "NoData")
    return told or revision in turn.seen.failed


def _at_rest(turn: Turn) -> None:
    """Nothing to release. A held Deployment whose template is stable again needs no canary."""
    workload = turn.workload
    if workload.paused and workload.held and not turn.plan.hold_always:
        turn.do(ReleaseHold(revision=workload.revision))
        message = "the template is stable again; the hold ends without a canary"
        if turn.waited("HoldReleasing") == 0 and (turn.status.waiting is None or turn.status.waiting.reason != "HoldReleasing"):
            turn.tell("Released", f"{turn.name}: {message}")
        turn.linger("HoldReleasing", message, "kubectl rollout resume, after annotating linnet.dev/hold=off")
        return
    if _refused(turn):
        return
    if not workload.adopted:
        turn.do(Adopt())
    if turn.seen.service_stale:
        turn.do(EnsureService())
    settled = workload.complete and len(workload.active) <= 1
    if turn.plan.hold_always and not workload.paused and settled:
        turn.do(PauseWorkload())


def _mixed(turn: Turn) -> bool:
    """Stable beside another version, frozen by the hold: nothing can be judged against that, so stable is filled up first."""
    workload, stable = turn.workload, turn.status.stable_revision
    if len(workload.active) < 2:
        return False
    turn.linger(
        "Settling",
        f"pods of {len(workload.active)} versions run: stable {stable} is filled up before {workload.revision} starts",
        "apply the stable manifest, or linnet.dev/hold=off",
    )
    kept = next(r for r in workload.active if r.revision == stable)
    promotion.lock_step(turn, kept, [r for r in workload.active if r is not kept])
    turn.look_at(turn.now + 1)
    return True


def _held(turn: Turn) -> None:
    """Handler of phase Held: the rejected template waits for a new one, a revert, or a person who overrides."""
    workload = turn.workload
    if _failed(turn) and workload.paused and workload.held:
        if bypassed.stable_lost(turn):
            return
        if turn.status.observed_revision != workload.revision:
            memory.meet(turn)  # another one that failed before took the place of the first
        memory.hold(turn)
    else:
        turn.enter("Idle")


_PHASES: Final[Mapping[str, Callable[[Turn], None]]] = {
    "Pending": _pending,
    "Idle": _idle,
    "Starting": progress.starting,
    "Progressing": progress.progressing,
    "Paused": progress.paused,
    "Inconclusive": progress.undecided,
    "Promoting": promotion.promoting,
    "Settling": promotion.settling,
    "RollingBack": rollback.rolling_back,
    "Held": _held,
    "Bypassed": bypassed.bypassed,
    "StableLost": bypassed.lost,
    "Observing": observing.end,
}
