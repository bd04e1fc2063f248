"""Random worlds: pods die, metrics vanish, revisions change, people press buttons, other managers write, the daemon crashes.

After every single transition the promises of `invariants` are checked. At the end the world behaves again: whatever had
happened, the release then ends, and everything of the user's is as it was found.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from daemon.api.canary import Strategy
from daemon.rollout import line
from daemon.rollout import model as m
from tests.unit.rollout.world import Autoscaler, Version, World
from tests.unit.rollout.worlds import approved_step, blue_green, flagged, paused_step, two_flags, world

REVISIONS = ("v1", "v2", "v3", "v4")
KINDS = ("good", "good", "bad", "silent", "nodata")
VERBS = ("promote", "abort", "pause", "resume", "override", "retry", "skip", "approve", "hotfix", "kill")
LOSABLE: tuple[type[m.Action], ...] = (
    m.SetWeight,
    m.RestoreRoutes,
    m.RememberFailure,
    m.StoreTemplate,
    m.ReleaseHold,
    m.RestoreTemplate,
    m.PutTemplate,
    m.DeleteCanary,
    m.EnsureCanary,
    m.SetFlag,
    m.ZeroFlags,
    m.FinishFlag,
    m.RestoreFlags,
    m.ReleaseFlags,
    m.RestoreFloor,
)


class Worlds(RuleBasedStateMachine):
    """One world and everybody who acts in it."""

    world: World

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        draw = data.draw
        kinds = {r: draw(st.sampled_from(KINDS), label=r) for r in REVISIONS[1:]}
        image = draw(st.sampled_from(("", "shop:2")), label="image")  # of two of them: what failed may come back in other clothes
        spec: dict[str, Any] = {"on_rollback": draw(st.sampled_from(("Restore", "Hold")))}
        flags, mode = draw(st.sampled_from((0, 0, 1, 2)), label="flags"), "Gated"
        if flags == 1:
            spec |= flagged()
        elif flags:
            mode = draw(st.sampled_from(("Gated", "Aligned", "Independent")), label="mode")
            spec |= two_flags(mode)
        adaptive = draw(st.booleans(), label="adaptive")
        if adaptive:
            spec["strategy"] = Strategy(ramp="Adaptive")
        asked: tuple[dict[str, Any], ...] = ({}, paused_step(), approved_step(), approved_step("Wait"), blue_green("10m"))
        spec |= draw(st.sampled_from(asked), label="steps")
        self.world = world(
            *(Version(r, judge=k, image=image if r in ("v2", "v4") else "") for r, k in kinds.items()),
            spec=spec,
            routed=draw(st.booleans(), label="routed") or draw(st.booleans()) or adaptive or mode == "Aligned",
            recreate=draw(st.booleans(), label="recreate") and draw(st.booleans()),
            hpa=Autoscaler() if draw(st.booleans(), label="autoscaler") else None,
            replicas=draw(st.sampled_from((4, 1, 7)), label="replicas"),
        )
        self.world.apply("v2")

    # The daemon and time.

    @rule(seconds=st.sampled_from((0.5, 1.0, 5.0)), passes=st.integers(1, 30))
    def time_passes(self, seconds: float, passes: int) -> None:
        for _ in range(passes):
            self.world.turn()
            self.world.tick(seconds)

    @rule(seconds=st.sampled_from((60.0, 700.0, 4000.0, 90_000.0)))
    def long_silence(self, seconds: float) -> None:
        self.world.tick(seconds)
        self.world.turn()

    @rule(after=st.integers(-1, 4))
    def crash(self, after: int) -> None:
        self.world.crash_after = after
        self.world.turn()
        self.world.crash_after = None

    @rule(action=st.sampled_from(LOSABLE))
    def a_write_fails(self, action: type[m.Action]) -> None:
        self.world.broken ^= {action}

    # People.

    @rule(revision=st.sampled_from(REVISIONS))
    def apply(self, revision: str) -> None:
        self.world.apply(revision)

    @rule(verb=st.sampled_from(VERBS), revision=st.sampled_from((None, *REVISIONS)))
    def say(self, verb: str, revision: str | None) -> None:
        self.world.say(verb, revision)

    @rule(to=st.sampled_from(("", *REVISIONS)))
    def undo(self, to: str) -> None:
        self.world.say("undo", to=to)

    @rule(weight=st.sampled_from((0, 3, 40, 100)))
    def drive(self, weight: int) -> None:
        self.world.say("set-weight", weight=weight)

    @rule()
    def unpause(self) -> None:
        self.world.unpause()

    @rule(replicas=st.sampled_from((0, 1, 4, 9)))
    def scale(self, replicas: int) -> None:
        self.world.scale(replicas)

    @rule()
    def break_glass(self) -> None:
        self.world.hold_off = not self.world.hold_off

    # Other managers, and misfortune.

    @precondition(lambda self: self.world.routed and self.world.weight is not None)
    @rule(weight=st.sampled_from((None, 0, 10, 100)))
    def take_the_route(self, weight: int | None) -> None:
        self.world.taken(weight, "argocd")

    @precondition(lambda self: self.world.routed)
    @rule()
    def the_gateway_turns(self) -> None:
        self.world.routes[0].accepts = not self.world.routes[0].accepts

    @precondition(lambda self: self.world.flags)
    @rule(
        number=st.integers(0, 1),
        drift=st.sampled_from(("lower", "higher", None)),
        error=st.sampled_from(("", "", "connection refused")),
        missing=st.sampled_from((False, False, False, True)),
    )
    def the_flag_turns(self, number: int, drift: str | None, error: str, missing: bool) -> None:
        flag = self.world.flags[number % len(self.world.flags)]
        flag.drift, flag.error = (drift if flag.percent is not None else None), error
        flag.missing = missing and bool(error)
        if flag.missing:
            flag.percent, flag.gated = None, True

    @rule(number=st.integers(1, 9))
    def pods_die(self, number: int) -> None:
        self.world.kill_canary_pods(number)

    @rule(capacity=st.sampled_from((0, 2, 1_000)))
    def nodes_fill(self, capacity: int) -> None:
        self.world.capacity = capacity

    @rule()
    def the_canary_is_deleted(self) -> None:
        self.world.canaries.clear()

    @rule(revision=st.sampled_from(REVISIONS[1:]), starts=st.booleans(), fatal=st.booleans())
    def a_version_turns(self, revision: str, starts: bool, fatal: bool) -> None:
        self.world.versions[revision].starts = starts
        self.world.versions[revision].fatal = fatal and not starts

    @rule(mood=st.sampled_from(("calm", "leaning", "incident", "hopeless")), lag=st.integers(0, 4))
    def the_evidence_turns(self, mood: str, lag: int) -> None:
        self.world.mood, self.world.lag = mood, lag

    @rule()
    def metrics_turn(self) -> None:
        self.world.metrics_down = not self.world.metrics_down

    @precondition(lambda self: self.world.hpa)
    @rule(minimum=st.integers(1, 4))
    def the_floor_is_taken(self, minimum: int) -> None:
        scaler = self.world.hpa
        if scaler:
            scaler.take(minimum)

    @rule(start=st.booleans(), advance=st.booleans(), promote=st.booleans(), must_abort=st.sampled_from((False, False, False, True)))
    def a_permit(self, start: bool, advance: bool, promote: bool, must_abort: bool) -> None:
        self.world.permits = (
            m.Permit(source="Freeze", start=start, advance=advance, promote=promote, must_abort=must_abort, why="frozen"),
        )

    @rule(turn=st.booleans())
    def a_place_in_line(self, turn: bool) -> None:
        self.world.permits = (m.Permit(source="Queue", queue=True) if turn else line.withheld("2nd of 2 waiting"),)

    @rule()
    def the_owner_pauses(self) -> None:
        if not self.world.paused and self.world.status.rollout is None:
            self.world.paused = True

    # The end.

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        behave(self.world)
        self.world.run(_over, passes=4_000, quiet=600.0)
        if self.world.deleting:
            assert self.world.finalized
        self.world.as_found()


def behave(w: World) -> None:
    """Everybody else does their part from now on."""
    w.broken, w.permits, w.command, w.capacity, w.metrics_down, w.hold_off = set(), (), None, 1_000, False, False
    w.mood = "calm"
    for route in w.routes:
        route.accepts = True
    for flag in w.flags:
        flag.error, flag.drift, flag.missing = "", None, False
    for version in w.versions.values():
        version.starts, version.fatal = True, False
        version.judge = "good" if version.judge in ("silent", "nodata") else version.judge
    if w.replicas == 0:
        w.scale(4)
    if w.paused and not w.held:
        w.paused = False


def _over(w: World) -> bool:
    if w.phase == "Paused":
        w.say("resume")
    if w.status.waiting is not None and w.status.waiting.reason in ("Approval", "ApprovalOverdue"):
        w.say("approve")
    if w.phase == "Inconclusive":
        w.say("abort")
    quiet = w.last is not None and not w.last.actions
    return w.status.rollout is None and quiet and w.phase in ("Idle", "Held", "Bypassed", "StableLost", "Pending")


TestWorlds = Worlds.TestCase
TestWorlds.settings = settings(
    max_examples=80,
    phases=(Phase.explicit, Phase.generate),  # a world of thirty steps takes longer to shrink than to read
    stateful_step_count=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
