"""The steps: capacity, weight, flags, seen by the app, and only then time and evidence.

Starting brings the first canary pods and a backend at weight 0; Progressing walks the steps; Paused waits for a person or a
time; Inconclusive waits for whoever owns the decision. In all four, bad evidence, dying pods, a newer template or a person's
hand on the route or the flag end the exposure.
"""

import msgspec

from daemon.api.status import RolloutStatus, VerdictStatus
from daemon.rollout import (
    approval,
    checks,
    drift,
    exposure,
    floor,
    gating,
    leave,
    lockstep,
    memory,
    outcomes,
    promotion,
    ramp,
    rollback,
    sentence,
    shares,
)
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import EnsureCanary, SetWeight, StoreTemplate
from daemon.rollout.turn import Turn


def begin(turn: Turn, *, overridden: bool = False) -> None:
    """A new template is held: the release of it starts at the first step."""
    workload = turn.workload
    turn.set(
        rollout=RolloutStatus(
            revision=workload.revision,
            started_at=stamp(turn.now),
            stage_started_at=stamp(turn.now),
            overridden=overridden,
            burden=memory.burden(turn),
            spec=turn.spec,
        ),
        observed_revision=workload.revision,
        verdict=VerdictStatus(result="Pending", revision=workload.revision),
        sentence="",
        metrics=[],
        routes=[],
        flags=[],
        weight=0,
    )
    turn.seen = msgspec.structs.replace(turn.seen, judge=None)  # what was seen of another revision is no evidence of this one
    turn.enter("Starting")
    again = "".join(f"; flag {f.key} is open to everyone already and left alone" for f in turn.seen.flags if f.open)
    turn.tell("Started", f"{sentence.subject(turn)} starts: {_first(turn)} first, {len(turn.plan.steps)} steps{again}")


def _first(turn: Turn) -> str:
    step = turn.plan.steps[0]
    if not turn.plan.flags_only:
        return f"{step.weight} %"
    return ", ".join(f"flag {name} {shares.words(flag)}" for name, flag in step.flags.items())


def derailed(turn: Turn) -> bool:
    """Whether something ended this rollout; the way back has begun if so."""
    rollout, workload, canary = turn.rollout, turn.workload, turn.canary
    judge = turn.seen.judge
    abort = leave.ending(turn)
    if workload.revision == turn.status.stable_revision:
        what = "plan for the flags" if turn.plan.flags_only else "template"
        rollback.begin(turn, "Withdrawn", f"the stable {what} was applied again")
    elif workload.revision != rollout.revision:
        rollback.begin(turn, "Superseded", f"revision {workload.revision} arrived")
    elif not workload.paused:
        rollback.begin(turn, "Bypassed", "someone un-paused the Deployment: its template rolls without being judged")
    elif workload.replicas == 0:
        rollback.begin(turn, "ScaledToZero", "the Deployment was scaled to zero")
    elif abort is not None:
        rollback.begin(turn, *abort)
    elif canary is not None and canary.fatal:
        rollback.begin(turn, "PodsFailing", canary.failing)
    elif judge is not None and judge.code == checks.FAILED:
        rollback.begin(turn, checks.FAILED, judge.text)
    elif judge is not None and judge.action == "Rollback" and rollout.exposed_at is not None:
        rollback.begin(turn, "Worse", judge.text)
    elif (pulled := drift.ending(turn)) is not None:
        rollback.begin(turn, lockstep.DRIFTED[pulled.drift or "other"], drift.told(pulled))
    else:
        return False
    return True


def starting(turn: Turn) -> None:
    """Handler of phase Starting."""
    if derailed(turn):
        return
    rollout, canary = turn.rollout, turn.canary
    if rollout.revision not in turn.seen.stored:
        turn.do(StoreTemplate(revision=rollout.revision, role="candidate"))
    if turn.seen.strays:
        rollback.away(turn)
        if turn.overdue:
            rollback.begin(turn, "CapacityTimeout", "an earlier canary did not leave, for too long")
        return
    if not gating.opened(turn, "Start"):
        return
    floor.lift(turn)
    wanted = exposure.pods_wanted(turn, ramp.top(turn))
    if canary is None or canary.replicas < wanted or turn.seen.service_revision != rollout.revision:
        turn.do(EnsureCanary(revision=rollout.revision, replicas=wanted))
    turn.want_weight(0)
    attached = all(r.weight is not None and r.accepted for r in turn.seen.routes)
    if attached:
        turn.note_weight(0)
    if turn.seen.service_revision == rollout.revision and any(r.weight is None for r in turn.seen.routes):
        turn.do(SetWeight(weight=0))
    if canary is None or canary.available < wanted or not attached:
        _wait_start(turn, wanted)
        return
    if turn.seen.gate and turn.flags:
        _wait_gate(turn)
        return
    if not rollout.hotfix and not checks.passed_before(turn):
        return
    if leave.shut(turn, "advance") or not gating.opened(turn, "FirstStep"):
        return
    turn.enter("Progressing")
    turn.roll(step=0, step_started_at=stamp(turn.now), stage_started_at=stamp(turn.now))


def _wait_start(turn: Turn, wanted: int) -> None:
    canary = turn.canary
    have = canary.available if canary else 0
    if have < wanted:
        words = f": {canary.failing}" if canary and canary.failing else ""
        message, reason = f"{have} of {wanted} canary pods are available{words}", "Capacity"
    else:
        problems = "; ".join(r.problem for r in turn.seen.routes if r.problem)
        message, reason = (
            f"every parent of the route must accept the canary backend at weight 0{': ' + problems if problems else ''}",
            "RouteAccepting",
        )
        turn.look_at(turn.now + 1)  # a route that reports nothing is in force after a time, and nothing else says so
    turn.wait(reason, message, until=turn.stage_deadline(), way_out=f"linnet abort {turn.name}")
    if turn.overdue:
        rollback.begin(turn, "CapacityTimeout" if reason == "Capacity" else "RouteTimeout", f"{message}, for too long")


def _wait_gate(turn: Turn) -> None:
    """Gated flags that the canary would not see: it would be judged with them off, and everybody get them unjudged."""
    turn.wait(
        "GateNotWired",
        turn.seen.gate,
        until=turn.stage_deadline(),
        way_out=f"keep admission webhooks from the environment of canary pods (docs: how-to/flags-flagd), or linnet abort {turn.name}",
    )
    if turn.overdue:
        rollback.begin(turn, "GateNotWired", f"{turn.seen.gate}, for too long")


def progressing(turn: Turn) -> None:
    """Handler of phase Progressing."""
    if derailed(turn):
        return
    if not exposed(turn):
        return
    _note_proof(turn)
    free = turn.rollout.hotfix or turn.quiet  # no evidence is waited for
    if checks.undecided(turn) and not turn.rollout.hotfix:
        outcomes.give_up(turn, turn.seen.judge.code if turn.seen.judge else checks.INCONCLUSIVE)
        return
    if not ramp.reached(turn):
        _climbing(turn)
        return
    if not _dwelt(turn):
        return
    if not free and outcomes.outcome_due(turn):
        return
    last = turn.last_step
    withheld = leave.withheld(turn, "promote" if last else "advance")
    if withheld is not None:
        leave.wait(turn, withheld)
        return
    if not free and not _proven(turn):
        _wait_evidence(turn)
    elif (last and not turn.rollout.hotfix and not _baked(turn)) or not gating.opened(turn, "Promotion" if last else "EachStep"):
        return
    elif not last:
        advance(turn)
    elif not leave.barred(turn):
        promotion.begin(turn, "Hotfix" if turn.rollout.hotfix else "Proven")


def _climbing(turn: Turn) -> None:
    """The evidence has not yet allowed the step's whole weight, or not any more."""
    if outcomes.outcome_due(turn):
        return
    withheld = leave.withheld(turn, "advance")
    if withheld is not None:
        leave.wait(turn, withheld)
    else:
        _wait_evidence(turn)


def _baked(turn: Turn) -> bool:
    """Exposed for as long as its owner wants, whatever was proven before."""
    ends = epoch(turn.rollout.judge_from or stamp(turn.now)) + turn.plan.bake
    if turn.now >= ends:
        return True
    turn.wait("Baking", "proven; it serves for as long as its owner wants before", until=ends, way_out=f"linnet promote|abort {turn.name}")
    return False


def _to_be_switched(turn: Turn) -> bool:
    """Whether the next step takes all requests away from stable: that needs the proof, for afterwards there is none."""
    following = turn.plan.steps[turn.rollout.step + 1]
    return turn.plan.statistical and not turn.seen.pod_ratio and not ramp.ramped(turn) and turn.step.weight < 100 <= following.weight


def _note_proof(turn: Turn) -> None:
    """Once all requests are on the canary nothing can be compared any more: what was proven before that is remembered."""
    judge = turn.seen.judge
    if judge is not None and judge.action == "Promote" and turn.rollout.proven_at is None:
        turn.roll(proven_at=stamp(turn.now))


def _proven(turn: Turn) -> bool:
    """Whether the evidence allows to leave this step; the last one asks for a proof, and after a switch the one from before it counts."""
    judge = turn.seen.judge
    if judge is None:
        return False
    if outcomes.proven_before_switch(turn):
        return judge.code not in outcomes.ABSENT
    if judge.action == "Advance":
        return not (turn.last_step or _to_be_switched(turn))
    return judge.action == "Promote"


def exposed(turn: Turn) -> bool:
    """Brings weight and flags to the step; True once both are seen. Samples of the step count from that moment."""
    ready = exposure.reach(turn)
    if turn.status.rollout is None or turn.status.phase == "RollingBack":
        return False
    if not ready:
        if turn.rollout.exposed_at is not None:
            turn.roll(exposed_at=None, reached_at=None, stage_started_at=stamp(turn.now))
        return False
    fresh = turn.rollout.exposed_at is None
    if fresh:
        exposure.count_from_here(turn)
    if ramp.note_reached(turn) or (fresh and not ramp.ramped(turn)):
        exposure.tell_step(turn)
    return True


def _dwelt(turn: Turn) -> bool:
    """The least time and requests of the step, and its pause."""
    step, rollout = turn.step, turn.rollout
    at = epoch(rollout.reached_at or rollout.exposed_at or stamp(turn.now))
    if step.endless and rollout.resumed_step != step.index:
        turn.enter("Paused")
        turn.tell("Paused", f"{sentence.subject(turn)}: paused by step {step.name}; linnet resume {turn.name}")
        return False
    if not approval.given(turn) or not gating.step_opened(turn):
        return False
    if rollout.hotfix:
        return True
    if leave.shut(turn, "promote" if turn.last_step else "advance"):
        if not turn.quiet:
            outcomes.absence_due(turn)
        return False
    until = at + max(step.dwell, step.pause or 0.0)
    if turn.now < until:
        if not turn.quiet and outcomes.absence_due(turn):
            return False
        turn.wait("Dwell", f"step {step.name} lasts at least until then", until=until, way_out=f"linnet promote|abort {turn.name}")
        return False
    if not _requested(turn):
        return False
    if not checks.step_passed(turn):
        if turn.quiet:
            checks.wait_quietly(turn)
        elif not outcomes.outcome_due(turn):
            checks.wait(turn, outcomes.deadline(turn))
        return False
    return True


def _requested(turn: Turn) -> bool:
    """The least requests of the step."""
    judge = turn.seen.judge
    # A judge that was restored from its log may have counted less than the one before it, which had ticks that were not yet stored.
    seen = max(0, (judge.canary_requests if judge else 0) - turn.rollout.requests_before)
    if seen >= turn.step.requests:
        return True
    if not outcomes.outcome_due(turn):
        turn.wait(
            "Requests",
            f"{seen} of {turn.step.requests} canary requests of this step",
            until=outcomes.deadline(turn),
            way_out=f"linnet promote|abort {turn.name}",
        )
    return False


def _wait_evidence(turn: Turn) -> None:
    judge = turn.seen.judge
    text = ramp.words(turn) + (judge.text if judge and judge.text else "no evidence yet")
    turn.wait(
        judge.code if judge and judge.code else "Evidence", text, until=outcomes.deadline(turn), way_out=f"linnet promote|abort {turn.name}"
    )


def advance(turn: Turn) -> None:
    """The next step begins: its exposure is wanted from now on, and what is ready for it is written in this very pass."""
    now, judge = stamp(turn.now), turn.seen.judge
    turn.roll(
        step=turn.rollout.step + 1,
        step_started_at=now,
        stage_started_at=now,
        exposed_at=None,
        reached_at=None,
        requests_before=judge.canary_requests if judge else 0,
        told=False,
        weight_set=None,
        weight_wanted=turn.rollout.weight_wanted if turn.rollout.judge_from else None,  # nobody was exposed: nothing was climbed
    )
    turn.reset_wait()
    if exposed(turn):
        turn.look_at(turn.now)


def paused(turn: Turn) -> None:
    """Handler of phase Paused: exposure stays, harm still ends it."""
    if derailed(turn):
        return
    if not exposed(turn):
        return
    by_person = turn.rollout.paused_at is not None
    turn.wait(
        "PausedByPerson" if by_person else "PausedByStep",
        "paused by a person" if by_person else f"step {turn.step.name} pauses until a person resumes it",
        way_out=f"linnet resume|promote|abort {turn.name}",
    )


def undecided(turn: Turn) -> None:
    """Handler of phase Inconclusive: exposure stays; evidence, the owner's rule or a person decides."""
    if derailed(turn):
        return
    if not exposed(turn):
        return
    judge = turn.seen.judge
    if judge is not None and judge.action == "Promote" and turn.rollout.step >= len(turn.plan.steps) - 1:
        withheld = leave.withheld(turn, "promote")
        if withheld is not None:
            leave.wait(turn, withheld)
        elif gating.opened(turn, "Promotion") and not leave.barred(turn):
            promotion.begin(turn, "Proven")
        return
    outcome = turn.plan.inconclusive
    since = turn.status.verdict.at if turn.status.verdict else None
    if outcomes.carry_out(turn, outcome, turn.elapsed(since), "Inconclusive", "the evidence did not decide"):
        return
    until = None
    if outcome.then_after is not None and outcome.then is not None:
        until = epoch(since or stamp(turn.now)) + outcome.then_after
    turn.wait("Inconclusive", turn.status.sentence, until=until, way_out=f"linnet promote|abort {turn.name}")


def resume(turn: Turn) -> None:
    """A person lets it go on: also after a weight was taken back."""
    rollout = turn.rollout
    signed_off = turn.status.phase == "Paused" and rollout.paused_at is None
    paused_for = turn.waited("PausedByStep") + turn.waited("PausedByPerson")
    deadline = outcomes.deadline(turn)
    turn.roll(
        paused_at=None,
        weight_cap=None,
        resumed_step=rollout.step if signed_off else rollout.resumed_step,
        deadline_at=None if deadline is None else stamp(deadline + paused_for),  # a person's time is not the judge's
        stage_started_at=stamp(turn.now),
    )
    turn.set(routes=[msgspec.structs.replace(r, written=None) for r in turn.status.routes])
    turn.enter("Progressing")
