"""A world small enough to visit all of it: every state is one hashable value in which no instant is absolute.

A state is what is stored and what is observed, nothing else: each pass starts from it as a daemon that was just restarted would. Instants are
kept as ages, no older than the longest time that any rule compares them with, so that two states which can only ever do the same are one.
Words for people (sentences, messages, the history) are left out: nothing is decided by them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from daemon.api.canary import CanarySpec
from daemon.api.status import CanaryStatus, RolloutStatus, Waiting
from daemon.rollout import model as m
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.turn import EXPOSED
from flags.plan import PATIENCE
from tests.unit.rollout.world import START, Autoscaler, Pods, World
from tests.unit.rollout.world_facts import Version

REVISIONS: Final = ("v1", "v2", "v3")
LONG: Final = 1_200  # seconds: the judge's deadline, and the longest of all
STAGE: Final = 620  # the progress deadline, a drain and then some
BASE: Final = stamp(START)
NO_TIME: Final = -1_000_000  # an instant that is not set

# Rules compare these with at most so many seconds; of the others it only matters whether they are set.
_ROLLOUT_AGES: Final = {"stage_started_at": STAGE, "exposed_at": LONG, "reached_at": LONG, "no_data_since": LONG, "abort_at": int(PATIENCE)}
_ROLLOUT_MARKS: Final = ("step_started_at", "checks_from", "judge_from", "paused_at", "proven_at", "flags_zeroed_at", "weight_zeroed_at")
# Waits whose beginning a rule looks at.
_TIMED: Final = {
    "Draining": 10,
    "StableDraining": 10,
    "CanaryLeaving": 1,
    "StableMissing": 10,
    "HoldReleasing": STAGE,
    "FloorRestoring": STAGE,
    "RouteRestoring": STAGE,
    "Settling": STAGE,
    "StableNotReady": STAGE,
    "StableLost": STAGE,
    "PausedByPerson": LONG,
    "PausedByStep": LONG,
    "Approval": LONG,
    "ApprovalOverdue": LONG,
    "PermitFreeze": LONG,
    "PermitGroup": LONG,
}


class State(NamedTuple):
    """One state of the world and of the daemon's memory."""

    template: str
    paused: bool
    held: bool
    adopted: bool
    replicas: int
    sets: tuple[tuple[str, int, int], ...]  # revision, replicas, available; in the order of their creation
    canaries: tuple[tuple[str, int, int], ...]
    service: str | None
    weight: int | None
    accepted: bool
    manager: str
    flag: tuple[int | None, bool, bool, str | None] | None  # percent, gated, seen, drift
    scaler: tuple[int, bool, int, bool] | None  # minimum, lifted, floor, touched
    stored: tuple[tuple[str, str], ...]
    proven: tuple[str, ...]  # revisions that were stable at some time
    failed: tuple[str, ...]
    judge: str  # none | good | bad | nodata
    trouble: str  # what lastingly goes wrong around Linnet; empty = nothing
    status: int  # of the table of bare statuses
    ages: tuple[int, ...]  # seconds since its instants


class SmallWorld(World):
    """The world of the other tests, loaded from a state and stored as one."""

    def __init__(self, spec: CanarySpec, **facts: Any) -> None:
        super().__init__(spec=spec, versions={r: Version(r) for r in REVISIONS}, replicas=2, **facts)
        self._bare: list[CanaryStatus] = []
        self._numbers: dict[bytes, int] = {}
        self._snapshot: dict[str, Any] = msgspec.to_builtins(spec)
        self.opinion = "none"
        self.trouble = ""

    def spec_in_force(self) -> CanarySpec:
        """Nobody edits it here, so the snapshot of a rollout is the same."""
        return self.spec

    def _judge(self, revision: str) -> m.JudgeView:
        return _opinion(self.opinion, everything=bool(self.routes) and all(r.weight == 100 for r in self.routes))

    def bare(self, state: State) -> CanaryStatus:
        """The status of a state without its instants."""
        return self._bare[state.status]

    # Between a state and the world.

    def load(self, state: State) -> None:
        """The world as it is in `state`; it is `START` now."""
        self.now = START
        self.template, self.paused, self.held, self.adopted = state.template, state.paused, "true" if state.held else None, state.adopted
        self.replicas = state.replicas
        self.sets = {r: Pods(n, a) for r, n, a in state.sets}
        self.canaries = {r: Pods(n, a) for r, n, a in state.canaries}
        self.service_revision = state.service
        for route in self.routes:
            route.weight, route.accepted, route.manager, route.age = state.weight, state.accepted, state.manager, 0.0
        for flag in self.flags:
            assert state.flag is not None
            flag.percent, flag.gated, seen, flag.drift = state.flag
            flag.age, flag.writes = flag.settles if seen else 0.0, []
            flag.error = "connection refused" if state.trouble == "flags" else ""
        if self.hpa is not None:
            assert state.scaler is not None
            self.hpa.minimum, self.hpa.lifted, self.hpa.floor, self.hpa.touched = state.scaler
        self.stored = dict(state.stored)
        self.stable_by = dict.fromkeys(state.proven, (START, "Proven"))
        self.failed = {r: m.RememberFailure(revision=r, sentence="it failed", reason="Worse") for r in state.failed}
        self.opinion, self.trouble = state.judge, state.trouble
        self.permits = _PERMITS.get(state.trouble, ())
        for version in self.versions.values():
            version.starts = state.trouble != "pods" or version.name == "v1"
            version.fatal = state.trouble == "crashes" and version.name != "v1"
        self.command, self.events, self.acted, self.waits, self.last = None, [], [], [], None
        self.status = self._with_instants(self._bare[state.status], state.ages)

    def store(self) -> State:
        """The world as a state."""
        number, ages = self._without_instants(self.status)
        route = self.routes[0] if self.routes else None
        flag = self.flags[0] if self.flags else None
        return State(
            template=self.template,
            paused=self.paused,
            held=self.held is not None,
            adopted=self.adopted,
            replicas=self.replicas,
            sets=tuple((r, p.replicas, p.available) for r, p in self.sets.items()),
            canaries=tuple(sorted((r, p.replicas, p.available) for r, p in self.canaries.items())),
            service=self.service_revision,
            weight=route.weight if route else None,
            accepted=route.accepted if route else True,
            manager=route.manager if route else "",
            flag=(flag.percent, flag.gated, flag.percent is not None and flag.age >= flag.settles, flag.drift) if flag else None,
            scaler=_scaler(self.hpa) if self.hpa else None,
            stored=tuple(sorted(self.stored.items())),
            proven=tuple(sorted(self.stable_by)),
            failed=tuple(sorted(self.failed)),
            judge=self.opinion if self.status.rollout is not None else "none",
            trouble=self.trouble,
            status=number,
            ages=ages,
        )

    def _without_instants(self, status: CanaryStatus) -> tuple[int, tuple[int, ...]]:
        ages: list[int] = []
        bare = _bare(status, self.now, ages)
        key = msgspec.json.encode(bare)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._bare)
            self._bare.append(msgspec.json.decode(key, type=CanaryStatus))
        return number, tuple(ages)

    def _with_instants(self, bare: CanaryStatus, ages: tuple[int, ...]) -> CanaryStatus:
        rollout, waiting, verdict = bare.rollout, bare.waiting, bare.verdict
        since, until, said, deadline, *others = ages
        if waiting is not None:
            waiting = msgspec.structs.replace(waiting, since=_at(since), until=_at(until))
        if verdict is not None:
            verdict = msgspec.structs.replace(verdict, at=_at(said))
        if rollout is not None:
            named = {name: _at(age) for name, age in zip(_ROLLOUT_AGES, others, strict=True)}
            rollout = msgspec.structs.replace(rollout, deadline_at=_at(deadline), spec=self._snapshot, **named)
        return msgspec.structs.replace(bare, rollout=rollout, waiting=waiting, verdict=verdict)


def later(state: State, seconds: int) -> State:
    """The same state so many seconds later: every age grows, up to what any rule compares it with."""
    grown = (a if a == NO_TIME else min(a + seconds, most) for a, most in zip(state.ages, _LIMITS, strict=True))
    return state._replace(ages=tuple(grown))


_LIMITS: Final = (LONG, 0, LONG, 0, *_ROLLOUT_AGES.values())  # the first: waiting.since, waiting.until, verdict.at, deadline_at


def _bare(status: CanaryStatus, now: float, ages: list[int]) -> CanaryStatus:
    rollout, waiting, verdict = status.rollout, status.waiting, status.verdict
    timed = _TIMED.get(waiting.reason, 0) if waiting is not None else 0
    ages.append(_age(waiting.since if waiting else None, now, timed))
    ages.append(_age(waiting.until if waiting else None, now, 0))
    ages.append(_age(verdict.at if verdict and status.phase == "Inconclusive" else None, now, LONG))
    judged = status.phase in EXPOSED
    ages.append(_age(rollout.deadline_at if rollout and judged else None, now, 0))
    for name, most in _ROLLOUT_AGES.items():
        matters = judged or name in ("stage_started_at", "abort_at")
        ages.append(_age(getattr(rollout, name), now, most) if rollout and matters else NO_TIME)
    return msgspec.structs.replace(
        status,
        sentence="said" if status.sentence else "",
        last_action=None,
        step=None,
        flags_text=None,
        verdict_text=None,
        arms=[],
        metrics=[],
        history=[],
        waiting=Waiting(reason=waiting.reason) if waiting else None,
        verdict=msgspec.structs.replace(verdict, sentence="", at=None) if verdict else None,
        rollout=_bare_rollout(rollout) if rollout else None,
        routes=[msgspec.structs.replace(r, message="", observed=None, accepted=None) for r in status.routes],
        flags=[msgspec.structs.replace(f, message="", written_at=f.written_at and BASE) for f in status.flags],
    )


def _bare_rollout(rollout: RolloutStatus) -> RolloutStatus:
    marks = {name: BASE for name in _ROLLOUT_MARKS if getattr(rollout, name) is not None}
    return msgspec.structs.replace(
        rollout,
        started_at=BASE,
        rollback_cause="told" if rollout.rollback_cause else "",
        moved="",
        spec=None,
        deadline_at=None,
        exposures=[msgspec.structs.replace(e, since=BASE, foreign="") for e in rollout.exposures[-1:]],
        approvals=[msgspec.structs.replace(a, at=BASE) for a in rollout.approvals],
        **dict.fromkeys(_ROLLOUT_AGES),
        **marks,
    )


@lru_cache(maxsize=4096)
def _since_start(text: str) -> int:
    return round(epoch(text) - START)


def _age(text: str | None, now: float, most: int) -> int:
    return NO_TIME if text is None else min(most, round(now - START) - _since_start(text))


@lru_cache(maxsize=4096)
def _at(age: int) -> str | None:
    return None if age == NO_TIME else stamp(START - age)


_PERMITS: Final = {
    "freeze": (m.Permit(source="Freeze", start=False, advance=False, promote=False, why="frozen", owned=True),),
    "group": (m.Permit(source="Group", start=False, advance=False, promote=False, why="the group is not ready"),),
    "doomed": (m.Permit(source="Group", must_abort=True, why="the group failed"),),
}


@lru_cache
def _opinion(opinion: str, *, everything: bool) -> m.JudgeView:
    base = m.JudgeView(action="Hold", code="Leaning", text="errors: not decided", canary_requests=1_000)
    if opinion == "nodata":
        return msgspec.structs.replace(base, code="NoData", text="no samples")
    if everything:
        return msgspec.structs.replace(base, code="NoControl", text="all traffic is on the canary: there is nothing to compare it with")
    if opinion == "bad":
        return msgspec.structs.replace(base, action="Rollback", code="Worse", text="errors are worse", culprit="errors")
    if opinion == "good":
        return msgspec.structs.replace(base, action="Promote", code="Proven", text="no harm: proven")
    return base


__all__ = ["LONG", "NO_TIME", "REVISIONS", "SmallWorld", "State", "later"]


def _scaler(item: Autoscaler) -> tuple[int, bool, int, bool]:
    return item.minimum, item.lifted, item.floor if item.lifted else 0, item.touched
