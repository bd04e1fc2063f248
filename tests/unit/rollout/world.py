"""A small world in which whole rollouts happen in milliseconds.

One Deployment with the native controller's way of rolling, a canary, a route, flags, an autoscaler and a judge whose opinion
follows from how long a version was exposed. `decide` is all there is of Linnet: its actions are applied as the shell would
apply them, each one idempotent, and a daemon may die between any two of them, before or after its status was stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from daemon.api.canary import CanarySpec
from daemon.api.status import CanaryStatus, RestoreEntry
from daemon.rollout import model as m
from daemon.rollout.clock import stamp
from daemon.rollout.commands import ACCOUNTABLE
from daemon.rollout.decide import decide
from daemon.rollout.steps import plan_of
from flags.model import Share

START = 1_760_000_000.0


class Crash(Exception):
    """The daemon died here."""


@dataclass
class Version:
    """What a template is like, which nobody in the world can know beforehand."""

    name: str
    judge: str = "good"  # good | bad | silent (never decides) | nodata | provider
    starts: bool = True  # its pods become available
    fatal: bool = False
    image: str = ""


@dataclass
class Pods:
    replicas: int = 0
    available: int = 0


@dataclass
class Flag:
    name: str
    key: str
    percent: int | None = None
    gated: bool = True
    seen: bool = False
    age: float = 0.0
    people: int = 0  # what the source said before us
    open: bool = False
    error: str = ""
    missing: bool = False
    drift: str | None = None
    settles: float = 2.0  # seconds until the pods have it; inf = never
    cohorts: dict[str, int] = field(default_factory=dict)
    plain: bool = True
    writes: list[dict[str, int]] = field(default_factory=list)  # every share that was written, everyone's as "all"


@dataclass
class Route:
    name: str = "checkout"
    weight: int | None = None
    accepted: bool = True
    accepts: bool = True
    manager: str = ""
    age: float = 0.0


@dataclass
class Autoscaler:
    minimum: int = 2
    maximum: int = 20
    original: int = 2
    lifted: bool = False
    floor: int = 0


@dataclass
class World:
    spec: CanarySpec
    versions: dict[str, Version] = field(default_factory=dict)
    stable: str = "v1"
    replicas: int = 4
    surge: int = 1
    unavailable: int = 0
    recreate: bool = False
    routed: bool = True
    route_count: int = 1
    hpa: Autoscaler | None = None
    flags: list[Flag] = field(default_factory=list)
    gitops: str = ""
    policy: bool = True  # template changes of an adopted Deployment are held
    capacity: int = 1_000  # canary pods that find a node

    def __post_init__(self) -> None:
        self.now = START
        self.template = self.stable
        self.versions.setdefault(self.stable, Version(self.stable))
        self.paused = False
        self.held: str | None = None
        self.hold_off = False
        self.adopted = False
        self.exists = True
        self.sets: dict[str, Pods] = {self.stable: Pods(self.replicas, self.replicas)}
        self.canaries: dict[str, Pods] = {}
        self.service_revision: str | None = None
        self.routes = [Route(f"checkout{i or ''}") for i in range(self.route_count)] if self.routed else []
        self.failed: dict[str, m.RememberFailure] = {}
        self.stored: dict[str, str] = {}
        self.stable_by: dict[str, tuple[float, str]] = {}
        self.status = CanaryStatus()
        self.permits: tuple[m.Permit, ...] = ()
        self.problems: tuple[m.Problem, ...] = ()
        self.command: m.Command | None = None
        self.exposure: dict[str, float] = {}
        self.metrics_down = False
        self.deleting = False
        self.finalized = False
        self.broken: set[type[m.Action]] = set()  # actions that fail
        self.events: list[m.Event] = []
        self.acted: list[m.Actions] = []
        self.last: m.Decision | None = None
        self.waits: list[str] = []  # reasons, in the order of their first pass
        self.checks: list[Callable[[World, m.Observed, CanaryStatus, m.Decision], None]] = []
        self.crash_after: int | None = None  # actions until the daemon dies; -1 = before the status is written
        self.node_free = True
        self._proven = False
        self.mood = "calm"  # what the evidence makes of the weight: calm | leaning | incident | hopeless
        self.lag = 2  # ticks by which the judge is behind
        self.shown: list[int] = []  # the weight of each tick

    @property
    def phase(self) -> str:
        return self.status.phase

    # People.

    def apply(self, revision: str) -> None:
        """Somebody changes the template; the hold policy does what it does."""
        if revision not in self.versions:
            self.versions[revision] = Version(revision)
        if revision == self.template:
            return
        self.template = revision
        if self.policy and self.adopted and not self.hold_off and not (self.paused and not self.held):
            self.paused, self.held = True, "true"

    def say(self, verb: str, revision: str | None = None, *, raw: str | None = None, expires: float | None = None, **more: object) -> World:
        rollout = self.status.rollout
        about = revision or (rollout.revision if rollout else self.template)
        text = raw or f"{verb}@{about}#{self.now}"
        if verb in ACCOUNTABLE:
            expires, more = (self.now + 600 if expires is None else expires), {"why": "the till is down", **more}
        self.command = m.Command(verb=verb, revision=about, raw=text, by="ada", expires=expires, **more)  # type: ignore[arg-type]
        return self

    def taken(self, weight: int | None, manager: str) -> None:
        """Another manager writes the weight of every route."""
        for route in self.routes:
            route.weight, route.manager = weight, manager

    @property
    def weight(self) -> int | None:
        return self.routes[0].weight

    def unpause(self) -> None:
        self.paused, self.held = False, None

    def scale(self, replicas: int) -> None:
        self.replicas = replicas

    # What is seen.

    def observe(self) -> m.Observed:
        rollout = self.status.rollout
        mine = self.canaries.get(rollout.revision) if rollout else None
        return m.Observed(
            workload=self._workload() if self.exists else None,
            canary=self._canary_view(rollout.revision, mine) if rollout and mine is not None else None,
            service_revision=self.service_revision if self.routed else (rollout.revision if rollout and mine else None),
            strays=tuple(r for r in self.canaries if rollout is None or r != rollout.revision),
            pod_ratio=not self.routed,
            routes=tuple(
                m.RouteView(kind="HTTPRoute", name=r.name, weight=r.weight, accepted=r.accepted, manager=r.manager) for r in self.routes
            ),
            flags=tuple(self._flag_view(f) for f in self.flags) if rollout else (),
            autoscaler=m.AutoscalerView(name="checkout", minimum=self.hpa.minimum, maximum=self.hpa.maximum) if self.hpa else None,
            floor_written=self.hpa is not None and self.hpa.lifted,
            judge=self._judge(rollout.revision) if rollout and rollout.judge_from else None,
            permits=self.permits,
            command=self.command,
            problems=self.problems,
            restore=self._undo(),
            records=tuple(self._record(r) for r in self.stored),
            gitops=self.gitops,
            generation=1,
            deleting=self.deleting,
        )

    def _record(self, revision: str) -> m.RecordView:
        image, failure = self.versions[revision].image, self.failed.get(revision)
        at, by = self.stable_by.get(revision, (0.0, ""))
        return m.RecordView(
            revision=revision,
            images=(image,) if image else (),
            stable_at=stamp(at) if at else "",
            stable_by=by,
            failed_at=stamp(START) if failure else "",
            failed_for=failure.reason if failure else "",
            sentence=failure.sentence if failure else "",
        )

    def _undo(self) -> tuple[RestoreEntry, ...]:
        if self.hpa is None or not self.hpa.lifted:
            return ()
        entry = RestoreEntry(
            api_version="autoscaling/v2",
            kind="HorizontalPodAutoscaler",
            namespace="shop",
            name="checkout",
            pointer="/spec/minReplicas",
            original=str(self.hpa.original),
            written=str(self.hpa.floor),
        )
        return (entry,)

    def _workload(self) -> m.WorkloadView:
        active = tuple(
            m.ReplicaSetView(name=f"checkout-{r}", revision=r, replicas=p.replicas, available=p.available)
            for r, p in self.sets.items()
            if p.replicas
        )
        available = sum(p.available for p in self.sets.values())
        mine = self.sets.get(self.template, Pods())
        complete = mine.replicas == mine.available == self.replicas and all(
            r == self.template or not p.replicas for r, p in self.sets.items()
        )
        if self.paused:
            complete = len(active) == 1 and available >= self.replicas
        image = self.versions[self.template].image
        return m.WorkloadView(
            revision=self.template,
            replicas=self.replicas,
            available=available,
            complete=complete,
            paused=self.paused,
            held=self.held,
            hold_off=self.hold_off,
            adopted=self.adopted,
            active=active,
            max_surge=0 if self.recreate else self.surge,
            keeps_serving=not self.recreate and (self.unavailable or (0 if self.surge else 1)) < self.replicas,
            images=(image,) if image else (),
        )

    def _canary_view(self, revision: str, pods: Pods) -> m.CanaryView:
        version = self.versions[revision]
        words = "" if version.starts else "pod x: CrashLoopBackOff"
        return m.CanaryView(
            revision=revision, replicas=pods.replicas, available=pods.available, failing=words, fatal=version.fatal and pods.replicas > 0
        )

    def _flag_view(self, flag: Flag) -> m.FlagView:
        before = next((f for f in self.status.flags if f.name == flag.name), None)
        percent = (before.written if before else None) if flag.error else flag.percent  # a source that is away shows nothing
        return m.FlagView(
            name=flag.name,
            key=flag.key,
            source="flagd",
            percent=percent,
            cohorts=tuple(Share(cohort=name, percent=share) for name, share in flag.cohorts.items()),
            seen=flag.percent is not None and flag.age >= flag.settles and not flag.error,
            gated=flag.gated,
            error=flag.error,
            missing=flag.missing,
            retryable=not flag.missing,
            drift=flag.drift,  # type: ignore[arg-type]
            plain=flag.plain,
            original=str(flag.people),
            open=flag.open,
        )

    def _judge(self, revision: str) -> m.JudgeView:
        seconds = self.exposure.get(revision, 0.0)
        kind = "provider" if self.metrics_down else self.versions[revision].judge
        requests = int(seconds * 10)
        bad = kind == "bad"
        metric = m.MetricView(
            name="errors",
            canary_events=requests // 20 if bad else requests // 800,
            canary_total=requests,
            baseline_events=requests // 80,
            baseline_total=requests * 10,
            log_worse=seconds / 5 if bad else -1.0,
            log_fine=-1.0 if bad else seconds / 30,
            bound="at most 0.3 pp worse (95 % sure)",
        )
        base = m.JudgeView(action="Hold", code="Leaning", text="errors: not decided", metrics=(metric,), canary_requests=requests)
        rungs = plan_of(self.spec_in_force(), gitops=False).ramp if self.routed else ()
        if rungs:
            base = self._moved(base, rungs, climbs=kind == "good")
        if kind in ("nodata", "provider"):
            code = "NoData" if kind == "nodata" else "ProviderError"
            return msgspec.structs.replace(base, code=code, text="no samples" if kind == "nodata" else "Prometheus does not answer")
        everything = bool(self.routes) and all(r.weight == 100 for r in self.routes)
        if everything:  # nothing is left to compare with
            return msgspec.structs.replace(base, action="Advance", code="NoWeight", text="all requests are on one version")
        if bad and seconds > 25:
            return msgspec.structs.replace(base, action="Rollback", code="Worse", text="errors are worse", culprit="errors")
        if base.action == "Inconclusive" or self.mood != "calm":
            return base
        if kind == "good" and seconds > 200 and (not rungs or (base.weight or 0) >= rungs[-1]):
            return msgspec.structs.replace(base, action="Promote", code="Proven", text="no harm within 1 pp: proven")
        if kind == "good" and seconds > 15:
            return msgspec.structs.replace(base, action="Advance", code="Leaning", text="no sign of harm")
        return base

    def _moved(self, base: m.JudgeView, rungs: tuple[int, ...], *, climbs: bool) -> m.JudgeView:
        """The view with a wish for the weight: it follows from a tick some time ago, as the real one does."""
        ticks = self.shown[: -self.lag] if self.lag else self.shown
        if not ticks:
            return msgspec.structs.replace(base, wanted_weight=1)
        seen = ticks[-1]
        held = len(ticks) >= 3 and ticks[-3:] == [seen] * 3
        above = next((r for r in rungs if r > seen), seen)
        if self.mood in ("incident", "hopeless"):
            final = self.mood == "hopeless"
            return msgspec.structs.replace(
                base, action="Inconclusive" if final else "Hold", code="BothWorsened", text="both sickened", wanted_weight=0, weight=seen
            )
        if self.mood == "leaning":
            return msgspec.structs.replace(base, code="LeaningBad", text="the evidence leans", wanted_weight=min(seen, 1), weight=seen)
        wish = 1 if seen == 0 else above if held and climbs else seen
        return msgspec.structs.replace(base, text="nothing speaks against it", wanted_weight=wish, weight=seen)

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

    def spec_in_force(self) -> CanarySpec:
        rollout = self.status.rollout
        return msgspec.convert(rollout.spec, CanarySpec) if rollout and rollout.spec else self.spec

    def act(self, action: m.Actions) -> None:
        if type(action) in self.broken:
            return
        self.acted.append(action)
        match action:
            case m.Adopt(adopted=adopted):
                self.adopted = adopted
            case m.StoreTemplate(revision=revision, role=role, by=by):
                if revision in self.stored or revision == self.template:
                    if role == "stable":
                        if self.stored.get(revision) != "stable":
                            self.stable_by[revision] = (self.now, by)
                        self.stored = dict.fromkeys(self.stored, "candidate")
                    self.stored[revision] = role
            case m.RememberFailure(revision=revision):
                if revision in self.stored:
                    self.failed.setdefault(revision, action)
            case m.ForgetFailure(revision=revision):
                self.failed.pop(revision, None)
            case m.DropFinalizer():
                self.finalized = True
            case _:
                self._act_on_workload(action)

    def _act_on_workload(self, action: m.Actions) -> None:
        match action:
            case m.PauseWorkload():
                self.paused, self.held = True, "true"
            case m.ReleaseHold(revision=revision):
                if self.template == revision:
                    self.unpause()
            case m.PutTemplate(revision=revision, expected=expected):
                if self.template == expected and revision in self.stored:
                    self.template, self.paused, self.held = revision, True, "true"
            case m.RestoreTemplate(revision=revision, expected=expected):
                if self.template == expected and revision in self.stored:
                    self.template = revision
                    self.unpause()
            case m.ResizeReplicaSets(sizes=sizes):
                for name, size in sizes:
                    self.sets.setdefault(name.removeprefix("checkout-"), Pods()).replicas = size
            case m.EnsureCanary(revision=revision, replicas=replicas):
                self.canaries.setdefault(revision, Pods()).replicas = replicas
                self.service_revision = revision
            case m.DeleteCanary():
                self.canaries.clear()
            case _:
                self._act_on_exposure(action)

    def _act_on_exposure(self, action: m.Actions) -> None:
        match action:
            case m.SetWeight(weight=weight):
                for route in self.routes:
                    if route.weight != weight:
                        route.weight, route.accepted, route.age, route.manager = weight, False, 0.0, ""
            case m.RestoreRoutes():
                for route in self.routes:
                    if route.weight is not None:
                        route.weight, route.accepted, route.age, route.manager = None, False, 0.0, ""
            case m.LiftFloor(minimum=minimum):
                if self.hpa:
                    self.hpa.minimum, self.hpa.lifted, self.hpa.floor = max(self.hpa.minimum, minimum), True, minimum
            case m.RestoreFloor():
                if self.hpa:
                    self.hpa.minimum, self.hpa.lifted = self.hpa.original, False
            case _:
                self._act_on_flags(action)

    def _act_on_flags(self, action: m.Actions) -> None:
        named = {f.name: f for f in self.flags if not f.error}
        match action:
            case m.SetFlag(name=name, percent=percent, cohorts=cohorts, gated=gated, enforced=enforced) if name in named:
                self._write(named[name], percent, cohorts, gated=gated, enforced=enforced)
            case m.FinishFlag(name=name, percent=percent, cohorts=cohorts) if name in named:
                self._write(named[name], percent, cohorts, gated=False)
            case m.ZeroFlags(names=which):
                for flag in (f for f in named.values() if which is None or f.name in which):
                    if flag.percent or any(flag.cohorts.values()):
                        self._write(flag, 0, tuple(Share(cohort=c, percent=0) for c in flag.cohorts), gated=flag.gated)
            case m.RestoreFlags(names=which):
                for flag in (f for f in named.values() if which is None or f.name in which):
                    flag.percent, flag.drift, flag.gated, flag.cohorts = None, None, True, {}
            case m.ReleaseFlags(names=which):
                for flag in (f for f in named.values() if which is None or f.name in which):
                    flag.people, flag.percent, flag.gated = (flag.percent if flag.percent is not None else flag.people), None, True
            case _:
                pass

    def _write(self, flag: Flag, percent: int, cohorts: tuple[Share, ...] = (), *, gated: bool, enforced: bool = False) -> None:
        shares = {share.cohort: share.percent or 0 for share in cohorts}
        if flag.drift is None or percent == 0 or enforced:
            if (flag.percent, flag.gated, flag.cohorts) != (percent, gated, shares):
                flag.age = 0.0
            flag.percent, flag.gated, flag.drift, flag.cohorts = percent, gated, None, shares
            flag.writes.append({"all": percent, **shares})

    # Everybody else, and time.

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self._native()
        for revision, pods in self.sets.items():
            self._start(revision, pods, len(self.sets) * 1_000)
        for revision, pods in self.canaries.items():
            self._start(revision, pods, self.capacity)
        for route in self.routes:
            route.age += seconds
            route.accepted = route.accepts and route.age >= 0.5
        for flag in self.flags:
            flag.age += seconds
        rollout = self.status.rollout
        if rollout is not None and rollout.exposures:
            self.shown.append(rollout.exposures[-1].weight)
        elif rollout is None or rollout.judge_from is None:
            self.shown.clear()
        for revision, pods in self.canaries.items():
            weighted = any((r.weight or 0) > 0 for r in self.routes) if self.routes else True
            if weighted and pods.available:
                self.exposure[revision] = self.exposure.get(revision, 0.0) + seconds

    def _start(self, revision: str, pods: Pods, room: int) -> None:
        pods.available = min(pods.available, pods.replicas)
        if self.versions[revision].starts and not self.versions[revision].fatal:
            pods.available = min(pods.replicas, room, pods.available + 2)

    def _native(self) -> None:
        """One sync of the native controllers of Deployment and HPA."""
        if self.hpa and 0 < self.replicas < self.hpa.minimum:
            self.replicas = self.hpa.minimum
        if self.paused:
            self._native_scale()
        elif self.recreate:
            old = [p for r, p in self.sets.items() if r != self.template and p.replicas]
            for pods in old:
                pods.replicas = pods.available = 0
            if not old:
                self.sets.setdefault(self.template, Pods()).replicas = self.replicas
        else:
            self._native_roll()

    def _native_scale(self) -> None:
        active = [p for p in self.sets.values() if p.replicas]
        if len(active) == 1:
            active[0].replicas = self.replicas
        elif not active and self.replicas:
            newest = list(self.sets)[-1]  # of the ReplicaSets that exist, the newest-created one (trap A3)
            self.sets[newest].replicas = self.replicas
        elif len(active) > 1 and self.replicas == 0:
            for pods in active:
                pods.replicas = 0

    def _native_roll(self) -> None:
        new = self.sets.setdefault(self.template, Pods())
        total = sum(p.replicas for p in self.sets.values())
        if new.replicas > self.replicas:
            new.replicas = self.replicas
        new.replicas += max(0, min(self.replicas + self.surge - total, self.replicas - new.replicas))
        ready = sum(p.available for p in self.sets.values())
        spare = max(0, ready - (self.replicas - (self.unavailable or (0 if self.surge else 1))))
        for revision, pods in self.sets.items():
            if revision == self.template:
                continue
            dead = pods.replicas - pods.available
            gone = min(pods.replicas, dead + spare)
            spare -= max(0, gone - dead)
            pods.replicas -= gone
            pods.available = min(pods.available, pods.replicas)

    def kill_canary_pods(self, number: int) -> None:
        for pods in self.canaries.values():
            pods.available = max(0, pods.available - number)

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
        assert all(r.weight is None for r in self.routes), self.routes
        assert not self.canaries, self.canaries
        assert all(f.percent is None for f in self.flags), self.flags
        assert self.hpa is None or (self.hpa.minimum == self.hpa.original and not self.hpa.lifted), self.hpa

    def told(self, reason: str) -> list[str]:
        return [e.message for e in self.events if e.reason == reason]


def _stored(status: CanaryStatus) -> CanaryStatus:
    """What a restarted daemon would read: through JSON, with every bound of the schema checked."""
    return msgspec.json.decode(msgspec.json.encode(status), type=CanaryStatus)


def peak(spec: CanarySpec) -> int:
    return plan_of(spec, gitops=False).peak


__all__ = ["Autoscaler", "Crash", "Flag", "Pods", "Route", "Version", "World", "peak", "replace"]
