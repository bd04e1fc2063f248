"""One decision in the making: the status as it will be, the writes and the news collected so far.

The phase handlers read facts and call these few verbs; what they leave behind becomes a `Decision`. A wait always says what
it waits for, since when, until when and what a person can do about it.
"""

from typing import Any, Final

import msgspec

from daemon.api.status import CanaryStatus, CohortStatus, FlagStatus, Phase, RolloutStatus, RouteStatus, Waiting
from daemon.rollout.clock import epoch, since, span, stamp
from daemon.rollout.model import (
    Actions,
    CanaryView,
    Decision,
    DropFinalizer,
    Event,
    EventReason,
    FinishFlag,
    FlagView,
    Observed,
    ReleaseFlags,
    RestoreFlags,
    SetFlag,
    WorkloadView,
    ZeroFlags,
)
from daemon.rollout.steps import FlagPlan, RolloutPlan, StepPlan
from flags.model import Desired

WITHOUT_PODS: Final = (SetFlag, FinishFlag, ZeroFlags, RestoreFlags, ReleaseFlags, DropFinalizer)
EXPOSED: Final = ("Progressing", "Paused", "Inconclusive")


class Turn:
    """Collects one decision. `name` is the Canary's, for sentences."""

    def __init__(self, name: str, plan: RolloutPlan, status: CanaryStatus, seen: Observed, now: float) -> None:
        self.name = name
        self.plan = plan
        self.status = status
        self._before = status
        self.seen = seen
        self.now = now
        self.spec: dict[str, Any] = {}
        self._waiting: Waiting | None = None
        self._actions: list[Actions] = []
        self._events: list[Event] = []
        self._again: float | None = None

    # What is known.

    @property
    def workload(self) -> WorkloadView:
        """The user's Deployment; handlers run only where there is one."""
        if self.seen.workload is None:
            raise ValueError("no workload")
        return self.seen.workload

    @property
    def rollout(self) -> RolloutStatus:
        """The release under way; handlers of its phases run only where there is one."""
        if self.status.rollout is None:
            raise ValueError("no rollout")
        return self.status.rollout

    @property
    def step(self) -> StepPlan:
        """The step at hand, with the weight that was set from outside, if one was."""
        steps = self.plan.steps
        step = steps[min(self.rollout.step, len(steps) - 1)]
        given = self.rollout.weight_set
        if given is None:
            return step
        flags = {name: msgspec.structs.replace(f, percent=given) if self.flag_plan(name).follows else f for name, f in step.flags.items()}
        return msgspec.structs.replace(step, weight=given, flags=flags)

    @property
    def last_step(self) -> bool:
        return self.rollout.step >= len(self.plan.steps) - 1

    @property
    def quiet(self) -> bool:
        """Nobody meets the new version in this step: there is nothing to judge by, and nothing to wait for evidence of."""
        step, modes = self.step, {f.name: f.mode for f in self.plan.flags}
        wide = any((wish.percent or wish.cohorts) and modes.get(name) != "Gated" for name, wish in step.flags.items())
        return step.weight == 0 and not self.seen.pod_ratio and not wide and not self.last_step

    @property
    def canary(self) -> CanaryView | None:
        """The canary of the revision under way."""
        canary = self.seen.canary
        return canary if canary is not None and canary.revision == self.rollout.revision else None

    @property
    def demand(self) -> int:
        """What serves everything today, in stable pods; that an autoscaler shrank it while traffic was away does not count."""
        replicas = self.workload.replicas
        return max(replicas, self.floor) if replicas else 0

    @property
    def floor(self) -> int:
        """The autoscaler's minimum as we last meant to lift it; 0 where we did not."""
        kept = (e.written for e in self.seen.restore if e.kind == "HorizontalPodAutoscaler" and self.seen.floor_written)
        return max((int(text) for text in kept if text and text.isdecimal()), default=0)

    @property
    def ceiling(self) -> int:
        """The largest weight that stable's ready pods could take back, once someone let it shrink below the floor."""
        scaler = self.seen.autoscaler
        if scaler is None or scaler.minimum >= self.floor or not scaler.touched:
            return 100
        return min(100, 100 * self.workload.available // self.floor)

    @property
    def flags(self) -> tuple[FlagView, ...]:
        """The flags that this rollout moves: one that is open to everyone already is left alone."""
        return tuple(f for f in self.seen.flags if not f.open)

    def elapsed(self, text: str | None) -> float:
        return since(text, self.now)

    # What changes.

    def set(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)

    def roll(self, **changes: Any) -> None:
        """Changes the rollout under way."""
        self.set(rollout=msgspec.structs.replace(self.rollout, **changes))

    def enter(self, phase: Phase) -> None:
        self.set(phase=phase)

    def do(self, action: Actions) -> None:
        """Where there are no pods and no traffic, whatever a handler would write there is not written."""
        if self.plan.flags_only and not isinstance(action, WITHOUT_PODS):
            return
        if action not in self._actions:
            self._actions.append(action)

    def recall(self, *kinds: type[Actions]) -> None:
        """What this pass was about to write on the way forward is not written: the way back has begun."""
        self._actions = [a for a in self._actions if not isinstance(a, kinds)]

    def do_flag(self, kind: type[ZeroFlags | RestoreFlags | ReleaseFlags], name: str) -> None:
        """One action for all flags of which the same is wanted: their sources are written at the same time."""
        for index, action in enumerate(self._actions):
            if isinstance(action, kind):
                self._actions[index] = kind(names=tuple(dict.fromkeys((*(action.names or ()), name))))
                return
        self._actions.append(kind(names=(name,)))

    def tell(self, reason: EventReason, message: str, *, warning: bool = False) -> None:
        revision = self.status.rollout.revision if self.status.rollout else self.status.observed_revision or ""
        self._events.append(Event(reason=reason, message=message, warning=warning, revision=revision))

    def wait(self, reason: str, message: str, *, until: float | None = None, within: float | None = None, way_out: str = "") -> None:
        """The first wait of a pass is the one that people see. `within` counts from when this wait began, over all passes."""
        if self._waiting is not None:
            return
        before = self._before.waiting
        started = before.since if before is not None and before.reason == reason and before.since else stamp(self.now)
        if within is not None:
            until = epoch(started) + within
        self._waiting = Waiting(
            reason=reason,
            message=message[:1000],
            since=started,
            until=None if until is None else stamp(until),
            way_out=way_out,
        )
        if until is not None and until > self.now:  # a deadline that has passed is no reason to look again at once
            self.look_at(until)

    def linger(self, reason: str, message: str, way_out: str, *, within: float | None = None) -> None:
        """A wait at rest for what others are about to do. Nothing is exposed, so its deadline ends in a word to people, said once."""
        before, patience = self.status.waiting, self.plan.progress if within is None else within
        late = self.waited(reason) >= patience
        if late:
            message = f"{message[:900]}, for longer than {span(patience)}"
        self.wait(reason, message, within=patience, way_out=way_out)
        if late and before is not None and not before.message.endswith(message[-20:]):
            self.tell("Waiting", f"{self.name}: {message}. {way_out}", warning=True)

    @property
    def waiting(self) -> Waiting | None:
        """What this pass waits for, so far."""
        return self._waiting

    def waited(self, reason: str) -> float:
        """Seconds for which the last status has been waiting for `reason`."""
        before = self._before.waiting
        return since(before.since, self.now) if before is not None and before.reason == reason else 0.0

    def look_at(self, when: float) -> None:
        """Decide again no later than `when`, even if nothing changes."""
        delay = max(0.05, when - self.now)
        self._again = delay if self._again is None else min(self._again, delay)

    def stage_deadline(self) -> float:
        """When the present stage is overdue. An exposure that stood until now has the whole time to come back."""
        if self.rollout.exposed_at is not None and self.status.phase in EXPOSED:
            return self.now + self.plan.progress
        return epoch(self.rollout.stage_started_at or stamp(self.now)) + self.plan.progress

    @property
    def overdue(self) -> bool:
        """Whether the present stage should be over by now."""
        return self.now >= self.stage_deadline()

    def tell_stuck(self, message: str) -> None:
        """People are told of a stage that does not end: once, after its deadline."""
        if self.overdue and not self.rollout.told:
            self.roll(told=True)
            self.tell("Waiting", message, warning=True)

    # Exposure as it is wanted, written and seen.

    def want_weight(self, weight: int, picked: str = "") -> None:
        if not self.seen.routes:
            return  # a route that is gone for now is still the one that moves
        routes = [
            msgspec.structs.replace(
                self.route_status(r.kind, r.name),
                wanted=weight,
                observed=r.weight,
                wanted_pick=picked,
                observed_pick=r.picked,
                accepted=r.accepted,
                message=r.problem,
            )
            for r in self.seen.routes
        ]
        self.set(routes=routes)

    def route_status(self, kind: str, name: str) -> RouteStatus:
        found = (r for r in self.status.routes if r.kind == kind and r.name == name)
        return next(found, RouteStatus(kind=kind, name=name))

    def note_weight(self, weight: int, picked: str = "") -> None:
        """Every route shows `weight`, and what is picked: remember that it was written."""
        seen = {"written": weight, "wanted": weight, "written_pick": picked, "wanted_pick": picked}
        self.set(routes=[msgspec.structs.replace(r, **seen) for r in self.status.routes])

    def flag_status(self, name: str) -> FlagStatus | None:
        return next((f for f in self.status.flags if f.name == name), None)

    @property
    def taken(self) -> tuple[FlagView, ...]:
        """The flags that this rollout set out to write, or that show something of ours: only they have a way back."""
        return tuple(f for f in self.flags if f.percent is not None or self.flag_status(f.name) is not None)

    def flag_plan(self, name: str) -> FlagPlan:
        """What the release was started with for this flag; one that its spec does not name any more was a gated one."""
        return next((f for f in self.plan.flags if f.name == name), FlagPlan(name=name, on_promotion="Keep", unreached=Desired(percent=0)))

    def aim_flag(self, view: FlagView, desired: Desired) -> None:
        """Notes what is wanted of a flag, in the pass that writes it: a crash in between must not lose that it may be on."""
        before = self.flag_status(view.name)
        opened = desired.gate is None and self.flag_plan(view.name).unreached.gate is not None
        if before is None:
            fresh = FlagStatus(name=view.name, key=view.key, source=view.source)
            aimed = _aimed(fresh, desired, opened=opened, at=stamp(self.now))
            self.set(flags=[*self.status.flags, _as_seen(aimed, view)])
        elif _aimed(before, desired, opened=opened, at=before.written_at or "") != msgspec.structs.replace(before, seen=False):
            aimed = _aimed(before, desired, opened=opened, at=stamp(self.now))
            self.set(flags=[aimed if f is before else f for f in self.status.flags])

    def see_flags(self) -> None:
        """Brings the flags that were taken up to what is seen. One that was given up as it is stays as it was written."""
        views = {v.name: v for v in self.flags}
        opened = {v.name for v in self.seen.flags if v.open}
        kept = {f.name for f in self.plan.flags if f.on_promotion != "Remove"} if self.status.phase == "Promoting" else set()
        self.set(
            flags=[
                f if view is None or (view.percent is None and f.name in kept) else _as_seen(f, view)
                for f in self.status.flags
                if f.name not in opened  # it was never ours: a daemon that had forgotten that set out to write it
                for view in [views.get(f.name)]
            ]
        )

    def decision(self) -> Decision:
        if (self.status.phase, self.status.rollout) != (self._before.phase, self._before.rollout):
            self.look_at(self.now)  # the next stage may have nothing that wakes us
        self.set(waiting=self._waiting)
        return Decision(status=self.status, actions=tuple(self._actions), events=tuple(self._events), again_in=self._again)

    def reset_wait(self) -> None:
        """A phase was left within this pass: what it waited for is over."""
        self._waiting = None


def _aimed(status: FlagStatus, desired: Desired, *, opened: bool, at: str) -> FlagStatus:
    known = {c.name: c for c in status.cohorts}
    cohorts = [msgspec.structs.replace(known.get(c.name) or CohortStatus(name=c.name), wanted=c.percent) for c in desired.cohorts]
    return msgspec.structs.replace(
        status, wanted=desired.percent, cohorts=cohorts, opened=opened, written_at=at or status.written_at, seen=False
    )


def _as_seen(status: FlagStatus, view: FlagView) -> FlagStatus:
    """`written` stays ours where a person's hand is on the flag: the drift would be gone with the next look."""
    there = {s.cohort: s.percent for s in view.cohorts}
    return msgspec.structs.replace(
        status,
        written=status.written if view.drift else view.percent,
        cohorts=status.cohorts if view.drift else [msgspec.structs.replace(c, written=there.get(c.name)) for c in status.cohorts],
        seen=view.seen,
        original=status.original if status.original is not None else view.original,
        message=(view.error or view.changed)[:1000],
        usage=view.usage or status.usage,
    )
