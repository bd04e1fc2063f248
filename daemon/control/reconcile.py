"""One pass over one Canary: read from caches, decide once, write the intent to status, act, tell.

The status goes first, so that whatever is written into the cluster was intended by a stored status: a crash between any two
writes leaves a world from which the next pass goes on.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from daemon.api import names
from daemon.api.conditions import (
    conditions,
    due_condition,
    gate_condition,
    observed_condition,
    pending_condition,
    source_condition,
    usage_conditions,
)
from daemon.api.status import CanaryStatus, Condition, RestoreEntry
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.checking import CheckBoard
from daemon.control.execute import Executor
from daemon.control.flagging import FlagBoard
from daemon.control.gating import GateBoard
from daemon.control.judging import JudgeBoard
from daemon.control.line import Line
from daemon.control.newsworthy import NUMBERS_EVERY, needed, shown
from daemon.control.observe import Observer
from daemon.control.outlook import outlook
from daemon.control.permits import HoldProbe
from daemon.control.prospects import Prospects
from daemon.control.resolve import Resolver
from daemon.control.resolved import FLOOR, Resolved, gated
from daemon.control.sources import untried
from daemon.control.tell import Teller
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.controller import Result
from daemon.kube.patch import add, at_version, pointer
from daemon.kube.status import StatusWriter
from daemon.kube.store import Key
from daemon.rollout import lockstep, reminders
from daemon.rollout.clock import stamp
from daemon.rollout.decide import decide
from daemon.rollout.flagsonly import startable
from daemon.rollout.leave import OWNED
from daemon.rollout.model import Actions, Decision, Observed, RestoreFloor, RestoreRoutes
from daemon.traffic.router import RouterError
from daemon.workloads.errors import WorkloadError
from flags.errors import FlagError

log = logging.getLogger("linnet.reconcile")

SHOWN_WITHIN: Final = 3.0  # seconds until people see what is waited for
JUDGED: Final = frozenset({"Starting", "Progressing", "Paused", "Inconclusive", "Promoting", "Settling", "Observing"})
WORDS: Final = ("Promoting", "Inconclusive", "Observed")  # news that the evidence is stored with
STUCK: Final = frozenset({"ScaledToZero", "PausedByOwner", "NothingServes"})  # waits at rest that only the owner can end


class _Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A status that was decided on a version of the Canary and is not written yet; all of it can be found again."""

    version: str
    since: float
    due: float  # when it is written at the latest
    status: CanaryStatus


class Reconciler:
    def __init__(
        self,
        *,
        client: Client,
        caches: Caches,
        resolver: Resolver,
        observer: Observer,
        executor: Executor,
        judges: JudgeBoard,
        checks: CheckBoard,
        gates: GateBoard,
        flags: FlagBoard,
        probe: HoldProbe,
        prospects: Prospects,
        line: Line,
        teller: Teller,
        clock: Callable[[], float] = time.time,
        ended: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._client = client
        self._caches = caches
        self._resolver = resolver
        self._observer = observer
        self._executor = executor
        self._judges = judges
        self._checks = checks
        self._gates = gates
        self._flags = flags
        self._probe = probe
        self._prospects = prospects
        self._line = line
        self._teller = teller
        self._clock = clock
        self._ended = ended
        self._writer = StatusWriter(client, ours.CANARIES)
        self._restored: dict[Key, set[tuple[str, str]]] = {}
        self._pending: dict[Key, _Pending] = {}

    async def reconcile(self, key: Key) -> Result | None:
        canary = self._caches.canaries.store.get(*key)
        if canary is None:
            self._forget(key)
            return None
        if self._unguarded(canary):
            canary = await self._with_finalizer(canary)
        stored, canary = canary, self._latest(canary)
        resolved = await self._resolve(canary)
        undo = self._undo(canary)
        seen = await self._observer.observe(resolved, undo)
        now = self._clock()
        before = canary.status
        decision = decide(resolved.spec, before, seen, now, name=canary.name)
        if before.rollout is None and decision.status.rollout is not None:
            self._line.begins(key)  # before anything is awaited: another worker may decide meanwhile
        undo = self._executor.record(resolved, decision.actions, undo)
        status = self._complete(resolved, decision, undo, seen, now)
        canary = await self._write(stored, status, now)
        self._line.begun(key)
        self._log(resolved, decision)
        resolved = msgspec.structs.replace(resolved, canary=canary)
        self._teller.tell(resolved, decision)
        trouble = await self._act(resolved, decision)
        await self._judge(resolved, decision, seen, before)
        await self._checks.follow(resolved, decision.status)
        self._gates.follow(resolved, decision.status)
        return self._next(key, decision, trouble=trouble)

    def _next(self, key: Key, decision: Decision, *, trouble: bool) -> Result | None:
        """When to look again: soon after a failure or a write, for what is not yet written, or when the decision says."""
        pending = self._pending.get(key)
        due = max(0.05, pending.due - self._clock()) if pending is not None else None
        times = [t for t in (decision.again_in, due, self._probe.again_in(key[0]), self._flags.again_in(key)) if t is not None]
        if trouble:
            times.append(1.0)
        elif decision.actions:
            times.append(2.0)
        return Result(requeue_after=min(times)) if times else None

    def _unguarded(self, canary: ours.Canary) -> bool:
        """Whether it may write something that a deletion would have to take back, and carries no finalizer yet."""
        going = canary.metadata.deletion_timestamp is not None
        return not going and names.FINALIZER not in (canary.metadata.finalizers or ()) and not self._resolver.observes(canary)

    async def _with_finalizer(self, canary: ours.Canary) -> ours.Canary:
        """A deletion must first take the route back (promise P10)."""
        finalizers = [*(canary.metadata.finalizers or ()), names.FINALIZER]
        operations = [at_version(canary.metadata.resource_version), add(pointer("metadata", "finalizers"), finalizers)]
        written = await self._client.json_patch(ours.CANARIES, canary.namespace, canary.name, operations)
        self._caches.canaries.store.put(written)
        return written

    async def _resolve(self, canary: ours.Canary) -> Resolved:
        resolved = await self._resolver.read(canary)
        if canary.status.phase in ("Pending", "Idle", "Observing") and canary.status.rollout is None and not resolved.problems:
            problem = await self._probe.problem(resolved)
            if problem is not None:
                resolved = msgspec.structs.replace(resolved, problems=(problem,))
        if canary.status.rollout is None and resolved.flags and not resolved.problems and _about_to_start(resolved):
            resolved = msgspec.structs.replace(resolved, problems=await self._flags.problems(resolved))
        return resolved

    def _undo(self, canary: ours.Canary) -> tuple[RestoreEntry, ...]:
        done = self._restored.get(canary.key, set())
        return tuple(e for e in canary.status.restore if (e.kind, e.name) not in done)

    def _complete(self, resolved: Resolved, decision: Decision, undo: tuple[RestoreEntry, ...], seen: Observed, now: float) -> CanaryStatus:
        """The core's status with what the shell adds: conditions, the undo log, the outlook."""
        status, canary = decision.status, resolved.canary
        waiting = status.waiting
        stuck = (
            waiting.reason
            if waiting is not None
            and status.phase in ("Pending", "Idle", "Observing")
            and (seen.problems or seen.workload is None or waiting.reason in STUCK)
            else None
        )
        sentence = f"{waiting.message}. {waiting.way_out}".rstrip(". ") if stuck and waiting is not None else status.sentence
        forecast, plan = status.forecast, status.plan
        if status.phase == "Idle" and not resolved.problems and not resolved.spec.flags_only:
            forecast = self._prospects.forecast(resolved)
            plan = outlook(resolved, seen, forecast)
        return msgspec.structs.replace(
            status,
            restore=list(undo),
            plan=plan,
            forecast=forecast,
            conditions=[
                *conditions(
                    canary.status.conditions,
                    # A release that waits for leave is one, though nothing of it is there yet.
                    phase="Starting" if status.phase == "Idle" and waiting is not None and waiting.reason in OWNED else status.phase,
                    verdict=status.verdict,
                    sentence=sentence or (waiting.message if waiting else "") or plan,
                    generation=canary.metadata.generation,
                    revision=status.observed_revision,
                    now=stamp(now),
                    refused=stuck,
                ),
                *_of_flags(resolved, status, now),
                *_of_sources(resolved, status, now),
            ],
        )

    def _latest(self, canary: ours.Canary) -> ours.Canary:
        """The Canary with what the last pass found and did not think worth a write yet."""
        pending = self._pending.get(canary.key)
        if pending is None or pending.version != canary.metadata.resource_version:
            return canary
        return msgspec.structs.replace(canary, status=pending.status)

    async def _write(self, stored: ours.Canary, status: CanaryStatus, now: float) -> ours.Canary:
        """Writes what a restart needs at once, what people read within seconds, and numbers alone once a minute."""
        key, version = stored.key, stored.metadata.resource_version
        if status == stored.status:
            self._pending.pop(key, None)
            return stored
        before = self._pending.get(key)
        since = before.since if before is not None and before.version == version else now
        old, new = stored.status, status
        if new.rollout is not None and all(e in old.restore for e in new.restore):
            # What was restored would only be restored again after a crash, which changes nothing.
            new = msgspec.structs.replace(new, restore=old.restore)
        patience = NUMBERS_EVERY if shown(new, now) == shown(old, now) else SHOWN_WITHIN
        if needed(new, now) == needed(old, now) and now - since < patience:
            self._pending[key] = _Pending(version=version, since=since, due=since + patience, status=status)
            return msgspec.structs.replace(stored, status=status)
        self._pending.pop(key, None)
        # A status that was never written has no phase yet, whatever the struct's default says: then all of it is news.
        current = stored.status if stored.status.observed_generation is not None else None
        written = await self._writer.write(stored, current, status)
        if written is None:
            return stored
        self._restored.pop(key, None)
        self._caches.canaries.store.put(written)
        return written

    async def _act(self, resolved: Resolved, decision: Decision) -> bool:
        """Each action on its own: a flag source that hangs must not keep a weight from being written. True if one failed."""
        failed = False
        for action in _urgent_first(decision.actions):
            try:
                await self._executor.run(resolved, action)
            except (WorkloadError, RouterError, FlagError, errors.KubeError, TimeoutError) as e:
                failed = True
                log.warning("%s/%s: %s: %s", *resolved.canary.key, type(action).__name__, e)
            else:
                if isinstance(action, RestoreRoutes | RestoreFloor):
                    floor = isinstance(action, RestoreFloor)
                    self._restored.setdefault(resolved.canary.key, set()).update(
                        (e.kind, e.name) for e in resolved.canary.status.restore if (e.kind == FLOOR) is floor
                    )
        return failed

    async def _judge(self, resolved: Resolved, decision: Decision, seen: Observed, before: CanaryStatus) -> None:
        status = decision.status
        rollout = status.rollout
        key = resolved.canary.key
        if rollout is None or status.phase not in JUDGED:
            if rollout is None or status.phase == "RollingBack":
                await self._judges.store(resolved, force=True)
            if rollout is None:
                self._judges.forget(key)
                self._flags.rest(key)
            return
        analysis = resolved.spec.analysis
        if analysis is not None and analysis.judge == "TemplatesOnly":
            return
        if status.phase != "Starting" or seen.canary is not None:
            self._judges.follow(resolved, fresh=before.rollout is None or before.rollout.judge_from is None)
        await self._judges.store(resolved, force=any(e.reason in WORDS for e in decision.events))

    def _log(self, resolved: Resolved, decision: Decision) -> None:
        before, after = resolved.canary.status, decision.status
        for event in decision.events:
            log.info("%s/%s %s: %s", *resolved.canary.key, event.reason, event.message)
        if before.rollout is not None and after.rollout is None and after.history:
            self._ended(after.history[0].outcome)
        if decision.actions:
            log.debug(
                "%s/%s %s -> %s: %s", *resolved.canary.key, before.phase, after.phase, ", ".join(type(a).__name__ for a in decision.actions)
            )

    def _forget(self, key: Key) -> None:
        self._judges.forget(key)
        self._checks.drop(key)
        self._gates.drop(key)
        self._flags.forget(key)
        self._prospects.forget(key)
        self._restored.pop(key, None)
        self._pending.pop(key, None)


def _of_flags(resolved: Resolved, status: CanaryStatus, now: float) -> list[Condition]:
    """The conditions of those Canaries whose flags have a gate, do not come back, or are met by nobody."""
    before, generation = resolved.canary.status.conditions, resolved.canary.metadata.generation
    revision, at, found = status.observed_revision, stamp(now), []
    if resolved.observed:
        told = status.verdict
        return (
            []
            if told is None
            else [observed_condition(before, told.reason, told.sentence, generation=generation, revision=told.revision, now=at)]
        )
    if gated(resolved.spec):
        found.append(gate_condition(before, phase=status.phase, waiting=status.waiting, generation=generation, revision=revision, now=at))
    late = lockstep.pending(status, now)
    if late:
        found.append(pending_condition(before, late, generation=generation, revision=revision, now=at))
    if status.rollout is not None and status.rollout.rollback is None:
        found += usage_conditions(before, status.flags, generation=generation, revision=revision, now=at)
    overdue = reminders.due(status, now)
    if overdue:
        found.append(due_condition(before, overdue, generation=generation, revision=revision, now=at))
    return found


def _of_sources(resolved: Resolved, status: CanaryStatus, now: float) -> list[Condition]:
    """What the doctor says of them too: who relies on a verdict should know how far its sources were tried."""
    told = untried(resolved)
    if not told:
        return []
    before, generation = resolved.canary.status.conditions, resolved.canary.metadata.generation
    return [source_condition(before, told, generation=generation, revision=status.observed_revision, now=stamp(now))]


def _about_to_start(resolved: Resolved) -> bool:
    """Whether sources of flags are asked: an idle Canary costs no request."""
    if resolved.spec.flags_only:
        return startable(resolved.canary.status, resolved.flag_plan)
    item = resolved.deployment
    held = item is not None and item.spec.paused and bool(item.metadata.annotation(names.HELD_MARK))
    return held or resolved.canary.status.phase == "Pending"


def _urgent_first(actions: tuple[Actions, ...]) -> list[Actions]:
    """Weight before flags: a flag source may take its five seconds, and the weight alone ends a gated exposure."""
    order = {"SetWeight": 0, "ZeroFlags": 1}
    return sorted(actions, key=lambda a: order.get(type(a).__name__, -1 if type(a).__name__ == "StoreTemplate" else 2))
