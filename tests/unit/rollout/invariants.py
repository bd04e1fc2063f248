"""The promises that hold after every single transition, whatever the world does (P1 to P6, P9)."""

from __future__ import annotations

import msgspec

from daemon.api.status import CanaryStatus, RolloutStatus
from daemon.rollout import model as m
from daemon.rollout.capacity import balanced, weight_for
from daemon.rollout.clock import epoch
from daemon.rollout.decide import decide
from daemon.rollout.shares import bounded, within
from daemon.rollout.steps import StepPlan, plan_of
from flags.plan import PATIENCE
from tests.unit.rollout.world import World

EXPOSED = ("Progressing", "Paused", "Inconclusive")
UNDER_WAY = ("Starting", "Progressing", "Paused", "Inconclusive", "Promoting", "Settling", "RollingBack")
# A wait with another end than a time: a person whom the owner named, or somebody else's word.
BY_PEOPLE = ("PausedByOwner", "ScaledToZero", "KnownBad", "Rejected", "Bypassed", "StableLost")
WITHOUT_UNTIL = ("PausedByPerson", "PausedByStep", "ApprovalOverdue")


def check_all(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    for check in (
        p1,
        p2_forward,
        p2_fall,
        p2_back,
        p3,
        p3_forward,
        p3_back,
        both_or_neither,
        p3_pods,
        whole_steps,
        ceilings,
        falls,
        climbs,
        p4,
        p4_ships,
        p5,
        p6,
        p6_at_rest,
        p9,
        lengths,
    ):
        check(world, seen, before, decision)


def p1(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """A rollout ends only after its route, its flags and the floor are as they were found."""
    if before.rollout is None or decision.status.rollout is not None or seen.workload is None:
        return
    assert all(r.weight is None and not r.picked for r in seen.routes), "the rollout ended with our backend in a route"
    assert not seen.floor_written or m.RestoreFloor() in decision.actions, "the rollout ended with the floor lifted"
    assert seen.canary is None, "the rollout ended with a canary"
    left = [f for f in seen.flags if f.percent is not None and not f.error]
    assert not left, f"the rollout ended with flags of ours: {left}"


def p2_forward(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """No weight is written that the ready pods cannot carry."""
    ready = seen.canary.available if seen.canary else 0
    for action in decision.actions:
        if isinstance(action, m.SetWeight) and action.pick is not None:
            assert ready, f"{action} without a ready pod"
        if isinstance(action, m.SetWeight) and action.weight > 0:
            assert action.weight <= _carried(seen, ready, action.weight), f"{action} with {ready} ready pods"


def _carried(seen: m.Observed, ready: int, weight: int) -> int:
    """What of a weight the ready pods carry; where those of both arms are too few for the demand, what is fair to both."""
    if seen.workload is None:
        return 0
    floors = [int(e.written) for e in seen.restore if e.kind == "HorizontalPodAutoscaler" and e.written]
    demand = max(seen.workload.replicas, *floors, 0)
    return max(weight_for(ready, demand, weight), min(weight, balanced(ready, seen.workload.available, demand)))


def p2_fall(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """Pods that die take their weight with them in the very next pass, unless somebody else moved the route."""
    status = decision.status
    if seen.workload is None or status.rollout is None or status.phase == "Starting":
        return
    if status.waiting is not None and status.waiting.reason in ("RouteTakenBack", "WorkloadMissing", "StableCapacity"):
        return
    ready = seen.canary.available if seen.canary else 0
    for route in seen.routes:
        now = route.weight or 0
        allowed = _carried(seen, ready, now)
        if now > allowed and not any(r.manager for r in seen.routes) and status.rollout.promotion not in ("Returning", "Cleaning"):
            lower = [a for a in decision.actions if isinstance(a, m.SetWeight) and a.weight <= allowed]
            lower += [a for a in decision.actions if isinstance(a, m.RestoreRoutes)]  # type: ignore[misc]
            assert lower, f"{now} % stays on {ready} ready pods of {seen.workload.replicas} in {status.phase}: {decision.actions}"


def p2_floor(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """No weight leaves stable before its autoscaler's minimum is lifted to what runs, unless somebody else has set it."""
    scaler, status = seen.autoscaler, decision.status
    if scaler is None or seen.workload is None or status.phase not in EXPOSED:
        return
    if any(isinstance(a, m.SetWeight) and a.weight > 0 for a in decision.actions):
        lifted = scaler.touched or any(isinstance(a, m.LiftFloor) for a in decision.actions)
        assert lifted or scaler.minimum >= min(seen.workload.replicas, scaler.maximum), (
            f"weight over a floor of {scaler.minimum} of {seen.workload.replicas}"
        )


def p2_back(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """After a promotion traffic goes back only to stable pods that are ready for all of it."""
    rollout = before.rollout
    if seen.workload is None or rollout is None or decision.status.phase != "Promoting":
        return
    if rollout.promotion == "Returning" and any(isinstance(a, m.SetWeight) for a in decision.actions):
        assert seen.workload.available >= seen.workload.replicas


def p3(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """While a rollout is being taken back, weight and flags go to 0 in each pass that still sees any."""
    status = decision.status
    if status.phase != "RollingBack" or status.rollout is None or seen.workload is None:
        return
    if any((r.weight or 0) > 0 for r in seen.routes) and status.rollout.rollback == "Exposure":
        nowhere = status.waiting is not None and status.waiting.reason == "StableCapacity"
        zero = any(isinstance(a, m.SetWeight) and a.weight == 0 for a in decision.actions)
        first = _before_the_weight(world, seen) if world.now < epoch(status.rollout.abort_at or "") + PATIENCE else []
        assert zero or nowhere or first, f"exposed while rolling back: {decision.actions}"
        assert not nowhere or _staying(seen, status) < seen.workload.replicas
    on = {f.name for f in seen.flags if (f.percent or 0) > 0 and not f.missing}
    for action in decision.actions:
        if isinstance(action, m.ZeroFlags | m.RestoreFlags):
            on -= set(action.names or on)
    if not any(r.weight for r in seen.routes) or not _wide(world):
        assert not on, f"{on} stay on while rolling back: {decision.actions}"


def p3_forward(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """No flag rises before the weight of its step is in force and its pods are ready, and none while another's source is away."""
    rollout = decision.status.rollout
    rising = [a for a in decision.actions if isinstance(a, m.SetFlag) and a.percent > (_flag(seen, a.name).percent or 0)]
    if not rising or rollout is None:
        return
    weight = _due(world, rollout)
    assert all(r.weight == weight and r.accepted for r in seen.routes), f"{rising} before {weight} %: {seen.routes}"
    ready = seen.canary.available if seen.canary else 0
    if seen.routes and seen.workload is not None:
        assert weight_for(ready, seen.workload.replicas, weight) == weight, f"{rising} with {ready} pods"
    wide = [a for a in rising if a.name in _wide(world) - _aligned(world)]
    assert not wide or weight == _whole(world, rollout), f"{wide} at {weight} %, below the step's weight"
    assert not [f for f in seen.flags if f.error and not f.open], f"{rising} while a source is away"


def p3_back(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """Where a flag reaches more than the canary's requests it goes before the weight, for five seconds at most."""
    rollout = before.rollout
    if before.phase != "RollingBack" or rollout is None or rollout.rollback != "Exposure" or rollout.abort_at is None:
        return
    first = _before_the_weight(world, seen)
    zero = m.SetWeight(weight=0) in decision.actions
    assert not (zero and first and world.now < epoch(rollout.abort_at) + PATIENCE), f"traffic before {first}"


def both_or_neither(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """An aligned flag is never raised above what the route gives, and falls before a weight that is to be less, for five seconds at most."""
    given = min((0 if r.picked else r.weight or 0 for r in seen.routes), default=0)
    for action in decision.actions:
        if isinstance(action, m.SetFlag) and action.name in _aligned(world):
            stands = _flag(seen, action.name).percent or 0
            assert action.percent <= max(given, 0 if action.percent > stands else stands - 1), f"{action} at {given} %"
    wanted = decision.status.rollout.weight_wanted if decision.status.rollout is not None else None
    if decision.status.phase not in EXPOSED or wanted is None or wanted >= given:
        return
    late = [f for f in _before_the_weight(world, seen) if f.name in _aligned(world) and (f.percent or 0) > wanted]
    waiting = before.waiting
    waited = waiting is not None and waiting.reason == "FlagFirst" and world.now - epoch(waiting.since or "") >= PATIENCE
    pods = seen.canary.available if seen.canary else 0
    carried = seen.workload is not None and weight_for(pods, seen.workload.replicas, given) == given
    if late and not waited and carried:
        assert not [a for a in decision.actions if isinstance(a, m.SetWeight) and a.weight < given], f"traffic before {late}"


def p3_pods(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """No pod of a canary is taken away while a route still names it."""
    if m.DeleteCanary() in decision.actions and seen.workload is not None and before.rollout is not None:
        assert not any(r.exposes() for r in seen.routes), f"the canary ends under {seen.routes}"


def whole_steps(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """Samples of a step count when all of its flags are there and seen, and never for a part of them."""
    rollout = decision.status.rollout
    if rollout is None or rollout.exposed_at is None or seen.workload is None:
        return
    if decision.status.phase not in ("Progressing", "Paused", "Inconclusive"):
        return
    wanted = _step(world, rollout).flags
    due = _due(world, rollout)
    below = _wide(world) - _aligned(world) if due < _whole(world, rollout) else set()
    status = {f.name: f for f in decision.status.flags}
    for view in seen.flags:
        if view.name in below:
            assert (view.percent or 0) <= wanted[view.name].percent, view
        elif not view.open:
            asked = bounded(within(wanted[view.name], due), status.get(view.name))
            assert (view.percent, view.seen, view.error) == (asked.percent, True, ""), view
            assert {s.cohort: s.percent for s in view.cohorts} == {c.name: c.percent for c in asked.cohorts}, view


def ceilings(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """No weight above the step's, and none above what stable could take back."""
    status = decision.status
    if status.rollout is None or status.phase not in EXPOSED:
        return
    step = _step(world, status.rollout)
    for action in decision.actions:
        if isinstance(action, m.SetWeight):
            assert action.weight <= step.weight, f"{action} above the step's {step.weight} %"
            assert status.rollout.weight_cap is None or action.weight <= status.rollout.weight_cap
    scaler = seen.autoscaler
    if scaler is not None and world.hpa is not None and world.hpa.lifted and scaler.minimum < world.hpa.floor and seen.workload is not None:
        allowed = 100 * seen.workload.available // world.hpa.floor
        assert all(a.weight <= allowed for a in decision.actions if isinstance(a, m.SetWeight)), f"stable could take back {allowed} % only"


def falls(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """A wish for less is carried out in the pass that hears of it, and ends nothing."""
    status, judge = decision.status, seen.judge
    if not _ramped(world, decision.status) or judge is None or judge.wanted_weight is None or judge.weight is None:
        return
    if judge.wanted_weight >= judge.weight or status.rollout is None or before.rollout is None:
        return
    if status.waiting is not None and status.waiting.reason in ("RouteTakenBack", "WorkloadMissing"):
        return
    if status.waiting is not None and status.waiting.reason == "FlagFirst" and world.now < epoch(status.waiting.since or "") + PATIENCE:
        return
    wish = judge.wanted_weight
    assert (status.rollout.weight_wanted or 0) <= wish
    if any((r.weight or 0) > wish for r in seen.routes) and not any(r.manager for r in seen.routes):
        assert any(isinstance(a, m.SetWeight) and a.weight <= wish for a in decision.actions), f"above {wish} %: {decision.actions}"


def climbs(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """More weight only by evidence of the weight that stands, and by nobody's word against it."""
    status, judge, rollout = decision.status, seen.judge, before.rollout
    if not _ramped(world, status) or rollout is None or status.rollout is None or rollout.revision != status.rollout.revision:
        return
    if rollout.weight_wanted is None or (status.rollout.weight_wanted or 0) <= rollout.weight_wanted:
        return
    assert judge is not None
    assert judge.climbs
    assert judge.weight == rollout.weight_reached
    assert rollout.exposed_at is not None
    assert judge.wanted_weight is not None
    assert (status.rollout.weight_wanted or 0) <= judge.wanted_weight
    assert all(p.advance for p in seen.permits)


def _ramped(world: World, status: CanaryStatus) -> bool:
    hurried = status.rollout is not None and status.rollout.hotfix
    return world.routed and not hurried and status.phase in EXPOSED and bool(plan_of(world.spec_in_force(), gitops=False).ramp)


def _whole(world: World, rollout: RolloutStatus) -> int:
    """The weight at which the present step is reached."""
    plan = plan_of(world.spec_in_force(), gitops=False)
    weight = _step(world, rollout).weight
    return min(weight, plan.ramp[-1]) if plan.ramp and world.routed and not rollout.hotfix else weight


def _due(world: World, rollout: RolloutStatus) -> int:
    """The weight that the rollout is to have now."""
    ramped = plan_of(world.spec_in_force(), gitops=False).ramp and world.routed
    return (rollout.weight_wanted or 0) if ramped and not rollout.hotfix else _step(world, rollout).weight


def _step(world: World, rollout: RolloutStatus) -> StepPlan:
    """The step at hand, with the weight that somebody set within it."""
    step = plan_of(world.spec_in_force(), gitops=False).steps[rollout.step]
    return step if rollout.weight_set is None else msgspec.structs.replace(step, weight=rollout.weight_set)


def _before_the_weight(world: World, seen: m.Observed) -> list[m.FlagView]:
    """Flags that are on for more than the canary's requests, as a source that answers says."""
    wide = _wide(world)
    return [f for f in seen.flags if f.name in wide and (f.percent or 0) > 0 and not f.error]


def _wide(world: World) -> set[str]:
    return {f.name for f in plan_of(world.spec_in_force(), gitops=False).flags if f.mode != "Gated"}


def _aligned(world: World) -> set[str]:
    return {f.name for f in plan_of(world.spec_in_force(), gitops=False).flags if f.mode == "Aligned"}


def _flag(seen: m.Observed, name: str) -> m.FlagView:
    return next(f for f in seen.flags if f.name == name)


def _staying(seen: m.Observed, status: CanaryStatus) -> int:
    """Pods of the Deployment's own that no roll is about to take away; a held stable template is about to be let go."""
    assert seen.workload is not None
    assert status.rollout is not None
    workload = seen.workload
    if not workload.paused and workload.revision == status.rollout.revision:
        return 0
    kept = workload.paused and workload.revision != status.stable_revision
    return sum(r.available for r in workload.active if kept or r.revision == workload.revision)


def p4(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """Nothing becomes stable, and no verdict says Pass, without a proof of this revision, a person or the owner's rule."""
    status = decision.status
    if status.phase == "Promoting" and before.phase != "Promoting" and before.phase != "Settling":
        assert status.rollout is not None
        reason = status.rollout.promote_reason
        proven = seen.judge is not None and seen.judge.action == "Promote"
        proven |= status.rollout.proven_at is not None and status.weight == 100
        by_word = reason in ("Person", "Override", "Owner", "Undo") or (reason == "Hotfix" and status.rollout.hotfix)
        assert by_word or (reason == "Proven" and proven), reason
        assert reason not in ("Override", "Hotfix") or (status.rollout.decided_by and status.rollout.decided_why)
    if status.verdict is not None and status.verdict.result == "Pass" and status.verdict != before.verdict:
        assert before.rollout is not None
        assert status.verdict.reason == before.rollout.promote_reason
        assert status.verdict_text == "Pass" or status.verdict.reason != "Proven"
        assert status.verdict_text != "Pass" or status.verdict.reason == "Proven"
        assert status.verdict.revision == before.rollout.revision
    fresh = status.rollout is not None and (before.rollout is None or before.rollout.revision != status.rollout.revision)
    if fresh:
        assert not status.metrics, "a rollout began with another revision's numbers"


def p4_ships(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """The hold ends for stable, or for the version whose promotion has come to that; and only stable is written back."""
    status = decision.status
    rollout = status.rollout
    fine = {before.stable_revision, status.stable_revision}
    if rollout is not None and rollout.promotion in ("Releasing", "Rolling"):
        fine.add(rollout.revision)
    for action in decision.actions:
        if isinstance(action, m.ReleaseHold) and before.phase != "Pending":
            assert action.revision in fine, f"{action} with stable {status.stable_revision}"
        if isinstance(action, m.RestoreTemplate):
            assert action.revision == status.stable_revision, f"{action} with stable {status.stable_revision}"


def p5(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """The same status and the same facts give the same decision; deciding again on the same facts comes to rest."""
    again = decide(world.spec_in_force(), before, seen, world.now, name="checkout")
    assert again == decision
    if before.rollout is None or decision.status.rollout is None:
        return  # facts of a rollout are seen only while there is one
    status, told = decision.status, False
    for _ in range(12):
        following = decide(world.spec_in_force(), status, seen, world.now, name="checkout")
        told = bool(following.events)
        if following.status == status or following.status.rollout is None:
            return
        status = following.status
    raise AssertionError(f"never comes to rest on the same facts (events: {told}): {status.phase} {status.waiting}")


def p6(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """Every wait of a rollout says until when and what a person can do; and no pass leaves the daemon asleep for good."""
    status = decision.status
    if status.phase not in UNDER_WAY or status.rollout is None or m.DropFinalizer() in decision.actions:
        return
    waiting = status.waiting
    if waiting is None:
        assert decision.again_in is not None, f"{status.phase} waits for nothing and asks for no other pass"
        return
    assert waiting.message, waiting
    assert not waiting.message.rstrip().endswith(":"), waiting
    assert waiting.way_out, f"{waiting.reason} has no way out"
    ends = waiting.until is not None or waiting.reason in WITHOUT_UNTIL or _owners_word(waiting.reason, seen)
    assert ends, f"{waiting.reason} has no deadline"
    if (
        waiting.until is not None
        and before.waiting is not None
        and before.waiting.reason == waiting.reason
        and before.phase == status.phase
    ):
        same_stage = before.rollout is not None and before.rollout.stage_started_at == status.rollout.stage_started_at
        if same_stage and before.waiting.until is not None and before.rollout is not None and before.rollout.step == status.rollout.step:
            assert epoch(waiting.until) <= epoch(before.waiting.until) + 0.002, f"{waiting.reason} moves its own deadline"
    if waiting.reason in ("RouteAccepting", "RouteReporting"):
        assert decision.again_in is not None and decision.again_in <= 1, "a route that reports nothing wakes nobody when its time is over"
    if decision.again_in is not None:
        assert decision.again_in > 0


def p6_at_rest(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """At rest, too: a wait without a deadline is one that only people end, and it says how."""
    waiting = decision.status.waiting
    if waiting is None or decision.status.rollout is not None or seen.workload is None:
        return
    assert waiting.way_out, f"{waiting.reason} has no way out"
    refused = any(p.reason == waiting.reason for p in seen.problems)
    ends = waiting.until is not None or refused or waiting.reason in BY_PEOPLE or _owners_word(waiting.reason, seen)
    assert ends, f"{waiting.reason} has no deadline"


def _owners_word(reason: str, seen: m.Observed) -> bool:
    """An end that an owner left open, in writing."""
    return any(p.owned and p.until is None and reason == f"Permit{p.source}" for p in seen.permits)


def p9(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """A revision that failed starts again only by a person's word."""
    rollout = decision.status.rollout
    if before.rollout is None and rollout is not None and rollout.revision in seen.failed:
        assert rollout.overridden, f"{rollout.revision} failed before"
    if rollout is not None and rollout.hotfix:
        assert not rollout.burden, f"a shortcut for what carries {rollout.burden!r}"


def lengths(world: World, seen: m.Observed, before: CanaryStatus, decision: m.Decision) -> None:
    """Whatever the words of others are, the status fits its schema and a message fits an Event."""
    status = decision.status
    assert len(status.sentence) <= 2048
    assert all(len(e.message) <= 2048 for e in decision.events)
    assert len(status.history) <= 10
