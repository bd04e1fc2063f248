"""One decision in the making: the status as it will be, the writes and the news collected so far.

The phase handlers read facts and call these few verbs; what they leave behind becomes a `Decision`. A wait always says what
it waits for, since when, until when and what a person can do about it.
"""

from typing import Any

import msgspec

from daemon.api.status import CanaryStatus, FlagStatus, Phase, RolloutStatus, RouteStatus, Waiting
from daemon.rollout.clock import epoch, since, stamp
from daemon.rollout.model import Actions, CanaryView, Decision, Event, EventReason, Observed, WorkloadView
from daemon.rollout.steps import RolloutPlan, StepPlan


class Turn:
    """Collects one decision. `name` is the Canary's, for sentences."""

    def __init__(self, name: str, plan: RolloutPlan, status: CanaryStatus, seen: Observed, now: float) -> None:
        self.name = name
        self.plan = plan
        self.status = status
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
        """What serves everything today, in stable pods."""
        return self.workload.replicas

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

    def wait(self, reason: str, message: str, *, until: float | None = None, way_out: str = "") -> None:
        """The first wait of a pass is the one that people see."""
        if self._waiting is not None:
            return
        before = self.status.waiting
        started = before.since if before is not None and before.reason == reason and before.since else stamp(self.now)
        self._waiting = Waiting(
            reason=reason,
            message=message[:1000],
            since=started,
            until=None if until is None else stamp(until),
            way_out=way_out,
        )
        if until is not None:
            self.look_at(until)

    def waited(self, reason: str) -> float:
        """Seconds for which the last status has been waiting for `reason`."""
        before = self.status.waiting
        return since(before.since, self.now) if before is not None and before.reason == reason else 0.0

    def look_at(self, when: float) -> None:
        """Decide again no later than `when`, even if nothing changes."""
        delay = max(0.05, when - self.now)
        self._again = delay if self._again is None else min(self._again, delay)

    def stage_deadline(self) -> float:
        """When the present stage is overdue."""
        return epoch(self.rollout.stage_started_at or stamp(self.now)) + self.plan.progress

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
        for view in self.seen.flags:
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
        self.set(waiting=self._waiting)
        return Decision(status=self.status, actions=tuple(self._actions), events=tuple(self._events), again_in=self._again)

    def reset_wait(self) -> None:
        """A phase was left within this pass: what it waited for is over."""
        self._waiting = None
