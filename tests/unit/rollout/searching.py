"""Visits every state of the small world that so many mishaps can bring about, and asks of each: do the promises hold, and is there a way out?"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from daemon.rollout.commands import possible
from daemon.rollout.decide import decide
from tests.unit.rollout.small_moves import behaving, by_themselves, following, mishaps, waited_for
from tests.unit.rollout.small_world import SmallWorld, State, later

Check = Callable[[SmallWorld, m.Observed, CanaryStatus, m.Decision], None]
Others = Callable[[SmallWorld, State], State]
BOUND = 20  # transitions to an end
OWNERS = ("PausedByStep", "PausedByPerson", "ApprovalOverdue", "PermitFreeze")
LATE = ("Returning", "Cleaning")  # stable is the new version already: an abort is refused, and says so
# What may outlast its deadline once people were told: the canary keeps serving, or a flag's source is away and its undo would be lost (P1).
LASTING = ("StableRolling", "FlagRollbackPending", "FlagFinishing")


class Fault(AssertionError):
    """A promise that is broken in some state, with the way there."""


@dataclass
class Search:
    """One search over the states of one world."""

    world: SmallWorld
    checks: tuple[Check, ...]
    verbs: tuple[str, ...]
    cost: dict[State, int] = field(default_factory=dict)
    came: dict[State, tuple[str, State | None]] = field(default_factory=dict)
    ends: dict[State, int] = field(default_factory=dict)  # transitions to an end, where everybody else behaves
    phases: Counter[str] = field(default_factory=Counter)
    ends_anyway: dict[State, int] = field(default_factory=dict)  # the same where what is wrong stays wrong
    lasting: Counter[str] = field(default_factory=Counter)  # what then outlasts its deadline
    farthest: int = 0
    decisions: int = 0
    closed: bool = False

    def run(self, start: State, *, mishaps_at_most: int, states: int) -> None:
        """All states within so many mishaps, or so many states, whichever comes first."""
        queue: deque[State] = deque([start])
        self.cost[start], self.came[start] = 0, ("start", None)
        done: set[State] = set()
        while queue and len(done) < states:
            state = queue.popleft()
            if state in done:
                continue
            done.add(state)
            self.phases[self.world.bare(state).phase] += 1
            cost = self.cost[state]
            try:
                free, dear = self._successors(state)
            except AssertionError as error:
                raise Fault(f"{error}\n{self.path(state)}") from error
            for name, after in free:
                if cost < self.cost.get(after, 99):
                    self.cost[after], self.came[after] = cost, (name, state)
                    queue.appendleft(after)
            if cost < mishaps_at_most:
                for name, after in dear:
                    if cost + 1 < self.cost.get(after, 99):
                        self.cost[after], self.came[after] = cost + 1, (name, state)
                        queue.append(after)
        self.closed = not queue

    def _successors(self, state: State) -> tuple[list[tuple[str, State]], list[tuple[str, State]]]:
        world = self.world
        free = list(by_themselves(world, state))
        decision = self.decide(state)
        before_writes = world.store()
        for action in decision.actions:
            world.act(action)
        passed = world.store()
        free.append(("pass", passed))
        dear = list(mishaps(world, state))
        if decision.actions:
            dear.append(("pass, and the daemon dies before it writes", before_writes))
        known = possible(world.bare(state).phase)  # any other verb is refused, which leaves the pass as it is without one
        heard = {verb: self.told(state, verb) for verb in ("abort", *self.verbs) if verb in known}
        dear.extend(heard.items())
        if world.bare(state).rollout is not None:
            self._ways_out(state, heard.get("abort", passed))
        return free, dear

    def decide(self, state: State, verb: str = "") -> m.Decision:
        """One pass, checked; its status is stored, its writes are not made."""
        world = self.world
        world.load(state)
        if verb:
            world.say(verb)
        seen, before = world.observe(), world.status
        decision = decide(world.spec, before, seen, world.now, name="checkout")
        self.decisions += 1
        for check in self.checks:
            check(world, seen, before, decision)
        world.status = decision.status
        return decision

    def told(self, state: State, verb: str = "") -> State:
        """The state after a pass that heard this verb."""
        for action in self.decide(state, verb).actions:
            self.world.act(action)
        return self.world.store()

    # Ways out.

    def _ways_out(self, state: State, aborted: State) -> None:
        """An abort, and the end of the present wait, lead to an end within the bound."""
        bare, after = self.world.bare(state), self.world.bare(aborted)
        assert bare.rollout is not None
        if bare.phase != "RollingBack" and bare.rollout.promotion not in LATE:
            gone = after.rollout is None or after.rollout.rollback is not None or after.rollout.promotion in LATE
            assert gone, f"an abort in {bare.phase} is not obeyed: {after.phase}"
        self._ends(aborted, behaving, self.ends, "after an abort")
        wait = waited_for(state)
        if wait:
            late = self.told(later(state, wait))
            self._ends(late, behaving, self.ends, f"after the deadline in {wait} s")
            self._ends(late, following, self.ends_anyway, f"after the deadline in {wait} s, with all that is wrong")

    def _ends(self, state: State, others: Others, known: dict[State, int], what: str) -> None:
        """How many passes until the release of this state is over, or waits for its owner's word, while the others act so."""
        trail: list[State] = []
        on: set[State] = set()
        while state not in known:
            if self._over(state):
                known[state] = 0
                break
            assert state not in on, f"goes round without an end {what}: {self._say(state)}"
            trail.append(state)
            on.add(state)
            after = self._next(state, others)
            if after is None:
                known[state] = 0
                trail.pop()
                break
            if self._another(state, after):
                known[after] = 0
            state = after
        far = known[state]
        for before in reversed(trail):
            far += 1
            known[before] = far
        self.farthest = max(self.farthest, far)
        assert far <= BOUND, f"{far} transitions {what}"

    def _over(self, state: State) -> bool:
        bare = self.world.bare(state)
        if bare.rollout is None:
            return True
        return bare.waiting is not None and bare.waiting.reason in OWNERS

    def _another(self, before: State, after: State) -> bool:
        one, other = self.world.bare(before).rollout, self.world.bare(after).rollout
        if one is None or other is None:
            return True
        return other.revision != one.revision or (one.rollback is not None and other.rollback is None)

    def _next(self, state: State, others: Others) -> State | None:
        """One transition: others act, and if nothing is left to do, the time comes that is waited for. None: it lasts, and people know."""
        ready = others(self.world, state)
        after = self.told(ready)
        if after != ready:
            return after
        wait = waited_for(ready)
        if wait:
            return self.told(later(ready, wait))
        bare = self.world.bare(ready)
        assert bare.rollout is not None
        assert others is not behaving, f"waits for nothing: {self._say(ready)}"
        reason = bare.waiting.reason if bare.waiting is not None else ""
        assert reason in LASTING and bare.rollout.told, f"lasts beyond its deadline: {self._say(ready)}"
        self.lasting[reason] += 1
        return None

    def _say(self, state: State) -> str:
        bare = self.world.bare(state)
        return f"{state} {bare.phase} {bare.waiting} {bare.rollout}"

    def path(self, state: State) -> str:
        """How the search came there."""
        lines: list[str] = []
        here: State | None = state
        while here is not None:
            name, before = self.came[here]
            bare = self.world.bare(here)
            waits = bare.waiting.reason if bare.waiting is not None else ""
            changed = here if before is None else _changes(before, here)
            lines.append(f"{name:<16} -> {bare.phase} {waits}: {changed}")
            here = before
        return "\n".join(reversed(lines))


def _changes(before: State, after: State) -> str:
    pairs = zip(State._fields, before, after, strict=True)
    return ", ".join(f"{name}={new}" for name, old, new in pairs if old != new and name != "status")


__all__ = ["BOUND", "Check", "Fault", "Search"]
