"""What there is in the small world of the rollout tests, and what people do to it.

Kept apart from how Linnet sees it (`world_seen`) and from what the writes and time make of it (`world_moves`), so that a search over
states can replace one of the three and keep the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import msgspec

from daemon.api.canary import CanarySpec
from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from daemon.rollout.commands import ACCOUNTABLE

START = 1_760_000_000.0


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
    picked: str = ""
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
    touched: bool = False
    follows: bool = True  # the autoscaler's controller runs

    def take(self, minimum: int) -> None:
        """Somebody sets the minimum."""
        self.minimum, self.touched = minimum, self.lifted
        self.original = self.original if self.lifted else minimum


@dataclass
class WorldFacts:
    """Everything that a pass of the daemon could see or change."""

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
        self.authors: tuple[str, ...] = ()  # of what is held
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

    def say(self, verb: str, revision: str | None = None, *, raw: str | None = None, expires: float | None = None, **more: object) -> Self:
        rollout = self.status.rollout
        about = revision or (rollout.revision if rollout else self.template)
        text = raw or f"{verb}@{about}#{self.now}"
        if verb in ACCOUNTABLE:
            expires, more = (self.now + 600 if expires is None else expires), {"why": "the till is down", **more}
        self.command = m.Command(verb=verb, revision=about, raw=text, expires=expires, **{"by": "ada", **more})  # type: ignore[arg-type]
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

    def spec_in_force(self) -> CanarySpec:
        rollout = self.status.rollout
        return msgspec.convert(rollout.spec, CanarySpec) if rollout and rollout.spec else self.spec
