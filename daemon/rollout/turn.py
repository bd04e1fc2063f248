"""One decision in the making: the status as it will be, the writes and the news collected so far.

The phase handlers read facts and call these few verbs; what they leave behind becomes a `Decision`. A wait always says what
it waits for, since when, until when and what a person can do about it.
"""

from typing import Any, Final

import msgspec

from daemon.api.status import CanaryStatus, FlagStatus, Phase, RolloutStatus, RouteStatus, Waiting
from daemon.rollout.clock import epoch, since, stamp
from daemon.rollout.model import Actions, CanaryView, Decision, Event, EventReason, FlagView, Observed, WorkloadView
from daemon.rollout.steps import RolloutPlan, StepPlan

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
        steps = self.plan.steps
        return steps[min(self.rollout.step, len(steps) - 1)]

    @property
    def canary(self) -> CanaryView | None:
        """The canary of the revision under way."""
        canary = self.seen.canary
        return canary if canary is not None and canary.revision == self.rollout.revision else None

    @property
    def demand(self) -> int:
        """What serves everything today, in stable pods; an autoscaler that shrank it while traffic was away does not count."""
        replicas = self.workload.replicas
        return max(replicas, self.floor) if replicas else 0

    @property
    def floor(self) -> int:
        """The autoscaler's minimum as we lifted it; 0 where we did not."""
        kept = (e.written for e in self.seen.restore if e.kind == "HorizontalPodAutoscaler" and self.seen.floor_written)
        return max((int(text) for text in kept if text and text.isdecimal()), default=0)

    @property
    def ceiling(self) -> int:
        """The largest weight that stable's ready pods could take back, once someone let it shrink below the floor."""
        scaler = self.seen.autoscaler
        if scaler is None or scaler.minimum >= self.floor:
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
        if action not in self._actions:
            self._actions.append(action)

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

    def want_weight(self, weight: int) -> None:
        routes = [
            msgspec.structs.replace(
                self.route_status(r.kind, r.name), wanted=weight, observed=r.weight, accepted=r.accepted, message=r.problem
            )
            for r in self.seen.routes
        ]
        self.set(routes=routes)

    def route_status(self, kind: str, name: str) -> RouteStatus:
        found = (r for r in self.status.routes if r.kind == kind and r.name == name)
        return next(found, RouteStatus(kind=kind, name=name))

    def note_weight(self, weight: int) -> None:
        """Every route shows `weight`: remember that it was written."""
        self.set(routes=[msgspec.structs.replace(r, written=weight, wanted=weight) for r in self.status.routes])

    def flag_status(self, name: str) -> FlagStatus | None:
        return next((f for f in self.status.flags if f.name == name), None)

    def see_flags(self, wanted: dict[str, int]) -> None:
        """Brings the list of flags up to what is seen, with `wanted` percents (kept where absent)."""
        flags = []
        for view in self.flags:
            before = self.flag_status(view.name) or FlagStatus(name=view.name, key=view.key, source=view.source)
            target = wanted.get(view.name, before.wanted)
            written_at = before.written_at if before.wanted == target and before.written_at else stamp(self.now)
            flags.append(
                msgspec.structs.replace(
                    before,
                    wanted=target,
                    written=view.percent,
                    written_at=written_at,
                    seen=view.seen,
                    original=before.original if before.original is not None else view.original,
                    message=view.error[:1000],
                )
            )
        self.set(flags=flags)

    def decision(self) -> Decision:
        if (self.status.phase, self.status.rollout) != (self._before.phase, self._before.rollout):
            self.look_at(self.now)  # the next stage may have nothing that wakes us
        self.set(waiting=self._waiting)
        return Decision(status=self.status, actions=tuple(self._actions), events=tuple(self._events), again_in=self._again)

    def reset_wait(self) -> None:
        """A phase was left within this pass: what it waited for is over."""
        self._waiting = None
