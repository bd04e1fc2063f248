"""The merged spec as the core walks it: each step complete in itself, durations in seconds.

In the spec what a step does not name carries over from the one before; here every step says its whole exposure, so that a
step can be entered from anywhere (a restart, a skip) without looking back.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from itertools import chain
from typing import Final, Literal, get_args

import msgspec

from daemon.api.aligned import bucket_group
from daemon.api.bluegreen import is_blue_green
from daemon.api.canary import CanarySpec, Flag, Outcome, Step
from daemon.api.defaults import effective
from daemon.api.gates import GatePoint, ReleaseGate, StepGate
from daemon.api.quantities import parse_duration
from daemon.rollout import shares
from daemon.rollout.model import Fact
from daemon.rollout.pick import Pick, pick_of
from flags.model import Desired, OnPromotion
from flags.plan import Mode

OnDrift = Literal["Hold", "Adopt", "Enforce", "Rollback"]
ALL: Final = 100
GRID: Final = (5, 15, 50)
"""The adaptive ramp's own weights, used where the steps leave more than a doubling between two ceilings."""


class ApprovalPlan(Fact, frozen=True, kw_only=True):
    """A person's yes: how long it is waited for, and what the owner wants where nobody gives it."""

    timeout: float
    on_timeout: Literal["Rollback", "Promote", "Wait"] = "Rollback"
    approvers: int = 1
    among: tuple[str, ...] = ()
    not_by_author: bool = False


class GatePlan(Fact, frozen=True, kw_only=True):
    """Something that must agree: where, how long it is waited for, and what the owner wants where it stays closed."""

    name: str
    at: Literal["Step", "Start", "FirstStep", "EachStep", "Promotion", "Rollback"]
    timeout: float = 0.0
    on_timeout: Literal["Rollback", "Promote", "Wait"] = "Rollback"


class StepPlan(Fact, frozen=True, kw_only=True):
    """One step: the exposure it asks for, and what must have passed before the next."""

    index: int
    name: str
    weight: int
    flags: Mapping[str, Desired]
    dwell: float = 0.0  # seconds of this exposure
    requests: int = 0  # canary requests seen in it
    pause: float | None = None  # seconds; None = no pause
    endless: bool = False  # a pause that a person ends
    check: str = ""  # a template that must succeed before the next step
    approval: ApprovalPlan | None = None
    gate: GatePlan | None = None
    pods: int = 0  # canary pods in percent of what stable needs, whatever the weight
    pick: Pick | None = None  # requests that reach the canary beside the weight

    @property
    def reach(self) -> int:
        """The largest share of people that a flag has at this step."""
        return max((shares.reach(flag) for flag in self.flags.values()), default=0)


class OutcomePlan(Fact, frozen=True, kw_only=True):
    action: Literal["Wait", "Rollback", "Promote"]
    then_after: float | None = None
    then: Literal["Rollback", "Promote"] | None = None


class FlagPlan(Fact, frozen=True, kw_only=True):
    name: str
    on_promotion: OnPromotion
    mode: Mode = "Gated"
    on_drift: OnDrift | None = None
    remove_after: float | None = None  # seconds from the promotion to the first reminder
    unreached: Desired = Desired(percent=0)  # with its cohorts, and nobody in
    follows: bool = False  # an aligned flag that no step names: its share is the weight, whatever that is


class RolloutPlan(Fact, frozen=True, kw_only=True):
    """Everything of the spec that decisions are about."""

    steps: tuple[StepPlan, ...]
    flags: tuple[FlagPlan, ...]
    deadline: float  # seconds for the whole judgement
    progress: float  # seconds for pods, routes and flags to follow
    drain: float  # seconds that pods outlive the report of the route without them
    inconclusive: OutcomePlan
    no_data: OutcomePlan
    provider_error: OutcomePlan
    restore: bool  # the stable template is written back after a rollback
    hold_always: bool = False
    statistical: bool = True  # arms are compared; else the templates alone decide
    background: tuple[str, ...] = ()  # templates that are measured from the first exposure on
    before: tuple[str, ...] = ()  # templates that must succeed before it
    ramp: tuple[int, ...] = ()  # the weights that evidence climbs, rising; empty: each step's weight is set as it is written
    bake: float = 0.0  # seconds from the first exposure to the promotion, at the least
    flags_only: bool = False  # no pods and no traffic
    blue_green: bool = False
    gates: tuple[GatePlan, ...] = ()
    observe: bool = False  # nothing is written: what others roll is watched
    interval: float = 15.0  # seconds between two looks of the judge
    warm: float = 0.0  # seconds for which the old version stays at full size after the verdict

    @property
    def peak(self) -> int:
        """The largest weight of any step."""
        return max((s.weight for s in self.steps), default=0)


def plan_of(spec: CanarySpec, *, gitops: bool) -> RolloutPlan:
    """The plan of `spec`; unset fields get their built-in values. `onRollback: Auto` holds under a GitOps manager.

    Each pass asks for it, mostly for the same spec: remembered by value, since specs are decoded anew each time.
    """
    return _plan(msgspec.json.encode(spec), gitops)


@lru_cache(maxsize=1024)
def _plan(encoded: bytes, gitops: bool) -> RolloutPlan:  # noqa: FBT001 - the key of a cache
    full = effective(msgspec.json.decode(encoded, type=CanarySpec))
    traffic, analysis, outcomes = full.traffic, full.analysis, full.analysis.outcomes if full.analysis else None
    if traffic is None or analysis is None or outcomes is None:  # effective() fills all
        raise ValueError("effective spec without traffic or analysis")
    steps = _steps(full)
    named = {flag.name for step in full.steps or [] for flag in step.flags or []}
    by_evidence = full.strategy is not None and full.strategy.ramp == "Adaptive" and analysis.judge != "TemplatesOnly"
    return RolloutPlan(
        steps=steps,
        ramp=rungs(s.weight for s in steps) if by_evidence else (),
        bake=parse_duration(analysis.bake) if analysis.bake else 0.0,
        flags=tuple(_flag(f, bucket_group(full), named) for f in full.flags or []),
        deadline=parse_duration(analysis.deadline or "1h"),
        progress=parse_duration(full.progress_deadline or "10m"),
        drain=parse_duration(traffic.drain or "10s"),
        inconclusive=_outcome(outcomes.inconclusive),
        no_data=_outcome(outcomes.no_data),
        provider_error=_outcome(outcomes.provider_error),
        restore=full.on_rollback == "Restore" or (full.on_rollback != "Hold" and not gitops),
        hold_always=full.hold == "Always",
        statistical=analysis.judge != "TemplatesOnly",
        background=tuple(t.name for t in analysis.templates or [] if t.when in (None, "Background")),
        flags_only=full.flags_only,
        blue_green=is_blue_green(full),
        gates=tuple(_gate(g, g.name, g.at) for g in full.gates or []),
        observe=full.mode == "Observe",
        interval=parse_duration(analysis.interval or "15s"),
        warm=parse_duration(full.strategy.scale_down_delay) if full.strategy and full.strategy.scale_down_delay else 0.0,
        before=tuple(t.name for t in analysis.templates or [] if t.when == "BeforeFirstStep"),
    )


def _flag(flag: Flag, group: str, named: Collection[str]) -> FlagPlan:
    return FlagPlan(
        name=flag.name,
        on_promotion=_kept(flag.on_promotion),
        mode=flag.mode or "Gated",
        on_drift=flag.on_drift,
        remove_after=parse_duration(flag.remove_after) if flag.remove_after else None,
        unreached=shares.unreached(flag, group),
        follows=flag.mode == "Aligned" and flag.name not in named,
    )


def rungs(ceilings: Iterable[int]) -> tuple[int, ...]:
    """What the evidence climbs: each step's weight, and the ramp's own weights between those that lie far apart.

    The last step's weight is the top: a bake is what it ends with. At 100 % nothing is left to compare with, so the top is then the weight
    before it, or that of the ramp.
    """
    given = list(ceilings)
    if not any(given):
        return ()
    steps = {w for w in given if 0 < w < ALL and w <= given[-1]} or {GRID[-1]}
    own = (w for w in GRID if w < max(steps) and not any(w <= 2 * s and s <= 2 * w for s in steps))
    return tuple(sorted(set(chain(steps, own))))


def _kept(value: str | None) -> OnPromotion:
    return next((known for known in get_args(OnPromotion) if known == value), "Keep")


def _outcome(outcome: Outcome | None) -> OutcomePlan:
    if outcome is None:
        return OutcomePlan(action="Wait")
    after = None if outcome.then_after is None else parse_duration(outcome.then_after)
    return OutcomePlan(action=outcome.action, then_after=after, then=outcome.then)


def _steps(spec: CanarySpec) -> tuple[StepPlan, ...]:
    plans: list[StepPlan] = []
    weight, pods = 0, 100 if is_blue_green(spec) else 0
    pick: Pick | None = None
    flags = shares.by_step(spec.flags or [], spec.steps or [], bucket_group(spec))
    for index, step in enumerate(spec.steps or []):
        if step.weight is not None:
            weight = step.weight
        pick = None if step.weight is not None else pick_of(step) or pick
        pods = step.scale if step.scale is not None else pods
        needed = max(pods, pick.mirror) if pick is not None else pods
        plans.append(msgspec.structs.replace(_step(index, step, weight, needed, flags[index]), pick=pick))
    return tuple(plans)


def _called(weight: int, flags: Mapping[str, Desired]) -> str:
    """By its weight, or where there is none by what its flags are at."""
    return f"{weight}%" if weight else f"{max((shares.reach(f) for f in flags.values()), default=0)}%"


def _step(index: int, step: Step, weight: int, pods: int, flags: Mapping[str, Desired]) -> StepPlan:
    dwell = step.dwell
    pause = step.pause
    name = step.name or _unnamed(step) or _called(weight, flags)
    return StepPlan(
        index=index,
        name=name,
        gate=_gate(step.gate, step_gate(index), "Step") if step.gate is not None else None,
        pods=pods,
        approval=_approval(step),
        weight=weight,
        flags=flags,
        dwell=parse_duration(dwell.min_duration) if dwell and dwell.min_duration else 0.0,
        requests=(dwell.min_requests or 0) if dwell else 0,
        pause=parse_duration(pause.duration) if pause and pause.duration else None,
        endless=pause is not None and pause.duration is None,
        check=step.analysis.name if step.analysis else "",
    )


def _unnamed(step: Step) -> str:
    """What people call a step that has no name and no exposure of its own."""
    if step.analysis is not None:
        return step.analysis.name
    if step.approval is not None:
        return "approval"
    if step.match is not None or step.mirror is not None:
        return "match" if step.match is not None else "mirror"
    if step.gate is not None:
        return "gate"
    return f"{step.scale}% of pods" if step.scale is not None else ""


def step_gate(index: int) -> str:
    """What the gate of a step is called; no gate of a release can have such a name."""
    return f"step {index + 1}"


def _gate(gate: StepGate | ReleaseGate, name: str, at: GatePoint | Literal["Step"]) -> GatePlan:
    timeout = parse_duration(gate.timeout) if gate.timeout is not None else 0.0
    return GatePlan(name=name, at=at, timeout=timeout, on_timeout=gate.on_timeout or "Rollback")


def _approval(step: Step) -> ApprovalPlan | None:
    asked = step.approval
    if asked is None:
        return None
    return ApprovalPlan(
        timeout=parse_duration(asked.timeout),
        on_timeout=asked.on_timeout or "Rollback",
        approvers=asked.approvers or 1,
        among=tuple(dict.fromkeys(asked.among or [])),
        not_by_author=bool(asked.not_by_author),
    )
