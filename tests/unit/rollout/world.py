"""A small world in which whole rollouts happen in milliseconds.

One Deployment with the native controller's way of rolling, a canary, a route, flags, an autoscaler and a judge whose opinion
follows from how long a version was exposed. `decide` is all there is of Linnet: its actions are applied as the shell would
apply them, each one idempotent, and a daemon may die between any two of them, before or after its status was stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from daemon.rollout.decide import decide
from tests.unit.rollout.world_facts import START, Autoscaler, Flag, Pods, Route, Version
from tests.unit.rollout.world_moves import MovingWorld

__all__ = ["START", "Autoscaler", "Flag", "Pods", "Route", "Version", "World"]


@dataclass
class World(MovingWorld):
    """The world, and the daemon in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.checks: list[Callable[[World, m.Observed, CanaryStatus, m.Decision], None]] = []

    # The daemon.

    def turn(self) -> m.Decision:
        """One pass: observe, decide, store the status, act. May die on the way."""
        seen, before = self.observe(), self.status
        decision = decide(self.spec_in_force(), before, seen, self.now, name="checkout")
        for check in self.checks:
            check(self, seen, before, decision)
        self.last = decision
        if decision.status.waiting is not None and decision.status.waiting.reason not in self.waits:
            self.waits.append(decision.status.waiting.reason)
        if self.crash_after is not None and self.crash_after < 0:
            self.crash_after = None
            return decision
        self.status = _stored(decision.status)
        self.events += decision.events
        for number, action in enumerate(decision.actions):
            if self.crash_after is not None and number >= self.crash_after:
                self.crash_after = None
                return decision
            self.act(action)
        return decision

    # Driving.

    def run(self, until: Callable[[World], bool], *, passes: int = 3_000, quiet: float = 20.0) -> World:
        """Passes until the world is as wanted. Time moves by what the daemon asked for, at most `quiet` seconds at once."""
        for _ in range(passes):
            decision = self.turn()
            if until(self):
                return self
            pause = 1.0 if decision.actions else min(decision.again_in or quiet, quiet)
            self.tick(max(0.5, pause))
        raise AssertionError(f"never: phase {self.status.phase}, waiting {self.status.waiting}, rollout {self.status.rollout}")

    def reach(self, phase: str, **rollout: object) -> World:
        def there(world: World) -> bool:
            under_way = world.status.rollout
            return world.status.phase == phase and all(under_way and getattr(under_way, k) == v for k, v in rollout.items())

        return self.run(there)

    def settle(self) -> World:
        """Until nothing happens any more."""
        calm, before = 0, None

        def still(world: World) -> bool:
            nonlocal calm, before
            seen = (world.observe(), {r: p.available for r, p in world.sets.items()})
            quiet = world.last is not None and not world.last.actions and world.status.rollout is None and seen == before
            calm, before = calm + 1 if quiet else 0, seen
            return calm >= 3

        return self.run(still)

    def seconds(self, duration: float, step: float = 1.0) -> World:
        end = self.now + duration
        while self.now < end:
            self.turn()
            self.tick(step)
        return self

    def as_found(self) -> None:
        """P1: nothing of the user's is changed."""
        assert all(r.weight is None and not r.picked for r in self.routes), self.routes
        assert not self.canaries, self.canaries
        assert all(f.percent is None for f in self.flags), self.flags
        assert self.hpa is None or (self.hpa.minimum == self.hpa.original and not self.hpa.lifted), self.hpa

    def told(self, reason: str) -> list[str]:
        return [e.message for e in self.events if e.reason == reason]


def _stored(status: CanaryStatus) -> CanaryStatus:
    """What a restarted daemon would read: through JSON, with every bound of the schema checked."""
    return msgspec.json.decode(msgspec.json.encode(status), type=CanaryStatus)
