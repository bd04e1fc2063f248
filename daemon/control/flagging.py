"""The flags of a rollout: providers by source, read when a rollout needs them, written under the rules of `flags`.

A flag's percentage lives at its source; what is here is only how recently it was read, and written. Sources are asked at the same
time, and one that hung is left alone for a while: no abort waits for it twice. Nothing is read while nothing is released.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from daemon.api import names
from daemon.api.status import FlagStatus
from daemon.control.flagsources import FlagSources
from daemon.control.flagusage import UsageBoard
from daemon.control.flagwatch import FlagWatch
from daemon.control.resolved import FlagUse, Resolved
from daemon.control.standing import Standing, flag_plan, standing, taken_from_us, written
from daemon.kube.store import Key
from daemon.rollout import shares
from daemon.rollout.clock import epoch
from daemon.rollout.model import FlagView, Problem
from daemon.rollout.shares import WHOLE
from daemon.rollout.steps import plan_of
from flags.errors import Drifted, Exposed, FlagError, Missing, Retryable
from flags.model import Converged, Desired, FlagRef, Owner, Share, Waiting
from flags.provider import DEADLINE, ChangeFeed, FlagProvider

log = logging.getLogger("linnet.flagging")

FRESH: Final = 10.0  # seconds for which a reading counts, if nothing was written since
LOOK_AGAIN: Final = 15.0  # seconds until a flag that cannot be moved is asked for again: nothing watched tells of its coming
HUNG: Final = 1.0  # seconds of a failed call from which on its source counts as hanging
REST: Final = (2.0, 15.0)  # seconds for which a hanging source is left alone, at first and at most
T = TypeVar("T")


class _Reading(msgspec.Struct, frozen=True):
    """A flag as it was read; `position` is where its source's changes stood before, None where the source cannot tell of any."""

    at: float
    view: FlagView
    position: int | None
    meant: object  # what the spec and the status said of the flag, and the last news of it

    def waits(self, now: float) -> bool:
        """Whether something is due that no source tells of: an SDK that has seen a write by now, an answer, a hand taken away."""
        view = self.view
        unwritten = view.percent is None and view.drift is None and not view.open
        return bool(view.error) or not (view.seen or unwritten or (view.settles_at or 0.0) > now)


class _Checked(msgspec.Struct, frozen=True):
    at: float
    problems: tuple[Problem, ...]


class FlagBoard:
    """Reads and writes the flags of all rollouts."""

    def __init__(self, sources: FlagSources, cluster: str, clock: Callable[[], float] = time.time) -> None:
        self._sources = sources
        self._cluster = cluster
        self._clock = clock
        self._watch = FlagWatch(clock)
        self._usage = UsageBoard(clock)
        self._readings: dict[Key, dict[str, _Reading]] = {}
        self._checked: dict[Key, _Checked] = {}
        self._open: dict[Key, set[str]] = {}  # flags that everybody has anyway; asked again after a restart
        self._stood: dict[tuple[Key, str], Standing] = {}  # the last reading
        self._landed: dict[tuple[Key, str], tuple[Desired, float]] = {}  # what stands at a source, and since when at the earliest
        self._refused: dict[tuple[Key, str], Desired] = {}  # what a source would not take
        self._hung: dict[Key, tuple[float, float]] = {}  # source -> not to be asked before, and for how long it was left alone

    async def _provider(self, resolved: Resolved, use: FlagUse) -> FlagProvider:
        canary = resolved.canary
        owner = Owner(cluster=self._cluster, namespace=canary.namespace, name=canary.name, uid=canary.metadata.uid)
        return await self._sources.provider(use.source, owner)

    def forget(self, key: Key) -> None:
        """The Canary is gone."""
        self.rest(key)
        self._open.pop(key, None)
        self._checked.pop(key, None)

    def rest(self, key: Key) -> None:
        """No rollout is under way. What was found of flags before the next one stays."""
        self._readings.pop(key, None)
        self._usage.forget(key)
        for flag in [k for k in (*self._stood, *self._landed, *self._refused) if k[0] == key]:
            self._stood.pop(flag, None)
            self._landed.pop(flag, None)
            self._refused.pop(flag, None)

    def stale(self, key: Key) -> None:
        """The next `views` reads again."""
        self._readings.pop(key, None)

    # Before a release.

    async def problems(self, resolved: Resolved) -> tuple[Problem, ...]:
        """Why flags of the next release could not be moved, found before anything is written.

        A source that may answer later is no reason not to start: the first step waits for it, and not for ever.
        """
        key = resolved.canary.key
        checked = self._checked.get(key)
        # A release starts on what is so now; only what keeps it from starting is believed for a while.
        believed = checked is not None and (checked.problems or resolved.canary.status.phase == "Pending")
        if checked is None or not believed or self._clock() - checked.at > FRESH:
            found: dict[str, Problem] = {}
            self._open.pop(key, None)

            async def check(use: FlagUse) -> None:
                problem = await self._check(resolved, use)
                if problem is not None:
                    found[use.name] = problem

            await self._by_source(resolved.flags, check)
            checked = self._checked[key] = _Checked(self._clock(), tuple(found[u.name] for u in resolved.flags if u.name in found))
        return checked.problems

    async def _check(self, resolved: Resolved, use: FlagUse) -> Problem | None:
        desired = plan_of(resolved.spec, gitops=False).steps[0].flags[use.name]
        try:
            provider = await self._provider(resolved, use)
            await self._call(use, lambda: provider.check(_ref(use), desired))
        except FlagError as e:
            if isinstance(e, Exposed) and not resolved.spec.flags_only:  # without pods nothing would be left to release
                log.info("%s/%s: %s", *resolved.canary.key, e)
                self._open.setdefault(resolved.canary.key, set()).add(use.name)
            elif not e.retryable:
                way_out = f"Linnet looks again every {LOOK_AGAIN:g} s; or leave flag {use.name} out of the release"
                return Problem(reason=e.reason, message=str(e).rstrip("."), way_out=way_out)
        return None

    def again_in(self, key: Key) -> float | None:
        """When to ask again for a flag that stood in the way of a release, or whether anybody meets it."""
        checked = self._checked.get(key)
        blocked = checked is not None and checked.problems and self._clock() - checked.at < 2 * LOOK_AGAIN
        return LOOK_AGAIN if blocked else self._usage.again_in(key)

    def opened(self, resolved: Resolved) -> tuple[FlagView, ...]:
        """The flags that everybody has already, as far as that is known before the first step."""
        known = self._open.get(resolved.canary.key, set())
        return tuple(
            FlagView(name=u.name, key=u.key, source=u.source.name, open=True, seen=True) for u in resolved.flags if u.name in known
        )

    # While there is one.

    async def met(self, resolved: Resolved) -> tuple[FlagView, ...]:
        """The views, with what SDKs report of the flags that people should meet now."""
        views = await self.views(resolved)
        return await self._usage.add(resolved, views, lambda use: self._provider(resolved, use))

    async def views(self, resolved: Resolved) -> tuple[FlagView, ...]:
        """Every flag as its source has it; an error is part of the view, never an exception."""
        key, now = resolved.canary.key, self._clock()
        readings = self._readings.setdefault(key, {})
        positions, failed = await self._positions(resolved)
        plans = {plan.name: plan for plan in plan_of(resolved.spec, gitops=False).flags}
        news = resolved.canary.metadata.annotation(names.FLAG_NEWS)
        meant = {u.name: (plans.get(u.name), _status(resolved, u.name), news) for u in resolved.flags}
        again = [
            u for u in resolved.flags if u.source.key not in failed and not self._holds(readings.get(u.name), u, meant, positions, now)
        ]
        found = {u.name: _failed(resolved, u, failed[u.source.key]) for u in resolved.flags if u.source.key in failed}

        async def look(use: FlagUse) -> None:
            found[use.name] = await self._view(resolved, use)

        await self._by_source(again, look)
        for use in again:
            view = found.setdefault(use.name, _failed(resolved, use, _unanswered(use)))
            readings[use.name] = _Reading(now, view, positions.get(use.source.key), meant[use.name])
        return tuple(found[u.name] if u.name in found else readings[u.name].view for u in resolved.flags)

    async def _positions(self, resolved: Resolved) -> tuple[dict[Key, int | None], dict[Key, FlagError]]:
        """Where the changes of each source stand; and the sources that do not answer, each asked once for all its flags."""
        positions: dict[Key, int | None] = {}
        failed: dict[Key, FlagError] = {}

        async def ask(use: FlagUse) -> None:
            try:
                provider = await self._provider(resolved, use)
                feed = provider.changes if isinstance(provider, ChangeFeed) else None
                positions[use.source.key] = await self._call(use, lambda: self._watch.position(use.source, feed, FRESH))
            except Retryable as problem:
                failed[use.source.key] = problem
            except FlagError:
                positions[use.source.key] = None  # each flag says what is wrong

        await self._by_source(list({u.source.key: u for u in resolved.flags}.values()), ask)
        return positions, failed

    def _holds(
        self, reading: _Reading | None, use: FlagUse, meant: Mapping[str, object], positions: Mapping[Key, int | None], now: float
    ) -> bool:
        """Whether the flag need not be read again."""
        if reading is None or reading.waits(now) or reading.meant != meant[use.name]:
            return False
        if reading.position is None or positions.get(use.source.key) is None:
            return now - reading.at <= FRESH
        return not self._watch.changed(use.source, use.key, reading.position)

    async def _view(self, resolved: Resolved, use: FlagUse) -> FlagView:
        before = _status(resolved, use.name)
        base = FlagView(name=use.name, key=use.key, source=use.source.name)
        if use.name in self._open.get(resolved.canary.key, ()):
            return msgspec.structs.replace(base, open=True, seen=True)
        try:
            provider = await self._provider(resolved, use)
            state = await self._call(use, lambda: provider.read(_ref(use)))
            if not state.own:
                if taken_from_us(before):
                    gone = standing(flag_plan(resolved, use.name), state, before)
                    return await self._call(use, lambda: self._changed(base, use, provider, gone))
                await self._refusal(resolved, use, provider)
                return msgspec.structs.replace(base, original=state.original)
            base = msgspec.structs.replace(
                base,
                percent=WHOLE if state.percent is None else state.percent,
                cohorts=state.cohorts,
                gated=state.gate is not None,
                original=state.original,
            )
            stands = standing(flag_plan(resolved, use.name), state, before)
            self._stood[resolved.canary.key, use.name] = stands
            if not stands.ours:
                return await self._call(use, lambda: self._changed(base, use, provider, stands))
            seen = await self._call(use, lambda: self._seen(resolved, use, provider, stands, before))
        except Drifted as e:
            return msgspec.structs.replace(base, drift=e.direction, changed=str(e))
        except FlagError as e:
            return _failed(resolved, use, e)
        return msgspec.structs.replace(
            base,
            seen=isinstance(seen, Converged),
            settles_at=seen.until if isinstance(seen, Waiting) else None,
            doubt=seen.why if isinstance(seen, Waiting) else "",
        )

    async def _changed(self, base: FlagView, use: FlagUse, provider: FlagProvider, stands: Standing) -> FlagView:
        """A person's hand on the flag, in the provider's words where it has any."""
        direction, words = stands.change(base.key)
        try:
            await provider.verify(_ref(use), stands.written, 0.0)
        except Drifted as e:
            direction, words = e.direction, str(e)
        return msgspec.structs.replace(base, drift=direction, changed=words, plain=stands.plain)

    async def _refusal(self, resolved: Resolved, use: FlagUse, provider: FlagProvider) -> None:
        """Raises what kept the last write from being taken, as long as it still would."""
        refused = self._refused.get((resolved.canary.key, use.name))
        if refused is not None:
            await self._call(use, lambda: provider.check(_ref(use), refused))
            del self._refused[resolved.canary.key, use.name]

    async def _seen(
        self, resolved: Resolved, use: FlagUse, provider: FlagProvider, stands: Standing, before: FlagStatus | None
    ) -> Converged | Waiting | None:
        """That the SDKs have it, or when they will. What was meant a minute ago may have been written a second ago: that is what counts."""
        if before is None or before.written_at is None:
            return None
        since = epoch(before.written_at)
        if not (before.seen and stands.read == stands.written):
            landed, at = self._landed.get((resolved.canary.key, use.name), (None, 0.0))
            if landed != stands.read:
                at = self._clock()
                self._landed[resolved.canary.key, use.name] = (stands.read, at)
            since = max(since, at)
        return await provider.verify(_ref(use), stands.read, since)

    async def set_shares(
        self, resolved: Resolved, name: str, wanted: Mapping[str, int], *, gated: bool = True, enforced: bool = False
    ) -> None:
        """Writes shares. Drifted is left for the next reading to report; nothing is overwritten but what is to be `enforced`.

        A flag that everybody has already needs no gate, and proves nothing: it is left alone, and the next view says so.
        """
        key = resolved.canary.key
        use = next(u for u in resolved.flags if u.name == name)
        before = _status(resolved, name)
        expected = None if before is None or before.written is None else self._expected(resolved, before, enforced=enforced)
        self.stale(key)
        provider = await self._provider(resolved, use)
        desired = shares.at(flag_plan(resolved, name).unreached, wanted, gated=gated)
        try:
            await self._call(use, lambda: provider.apply(_ref(use), desired, expected))
        except FlagError as e:
            if isinstance(e, Exposed) and not resolved.spec.flags_only:
                log.info("%s/%s: %s", *resolved.canary.key, e)
                self._open.setdefault(key, set()).add(name)
                return
            if not e.retryable:
                self._refused[key, name] = desired
            raise
        else:
            self._landed[key, name] = (desired, self._clock())

    def _expected(self, resolved: Resolved, before: FlagStatus, *, enforced: bool) -> Desired:
        """What must be there for a write: what was read, as far as it is ours or to be lowered; else what we wrote."""
        stood = self._stood.get((resolved.canary.key, before.name))
        if stood is not None and (stood.ours or enforced):
            return stood.read
        return written(flag_plan(resolved, before.name), before)

    async def zero(self, resolved: Resolved, only: Sequence[str] | None = None) -> None:
        """These flags to 0; each is tried, the first failure is raised at the end."""
        await self._each(resolved, only, lambda provider, flag, _: provider.zero(flag))

    async def restore(self, resolved: Resolved, only: Sequence[str] | None = None) -> None:
        """These flags as they were found, where something was recorded."""

        async def put_back(provider: FlagProvider, flag: FlagRef, before: FlagStatus | None) -> None:
            if before is not None and before.original is not None:
                await provider.restore(flag, before.original)

        await self._each(resolved, only, put_back)

    async def release(self, resolved: Resolved, only: Sequence[str] | None = None) -> None:
        """Given up as they are, as the owner chose for each."""

        async def give_up(provider: FlagProvider, flag: FlagRef, before: FlagStatus | None) -> None:
            over = before is not None and flag_plan(resolved, before.name).on_promotion == "HandOver"
            await provider.release(flag, hand_over=over)

        await self._each(resolved, only, give_up)

    async def _each(
        self,
        resolved: Resolved,
        only: Sequence[str] | None,
        call: Callable[[FlagProvider, FlagRef, FlagStatus | None], Awaitable[object]],
    ) -> None:
        """One call for each of the flags that were taken."""
        self.stale(resolved.canary.key)
        uses = [u for u in resolved.flags if _status(resolved, u.name) and (only is None or u.name in only)]
        failures: dict[str, FlagError] = {u.name: _unanswered(u) for u in uses}

        async def one(use: FlagUse) -> None:
            try:
                provider = await self._provider(resolved, use)
                await self._call(use, lambda: call(provider, _ref(use), _status(resolved, use.name)))
            except Drifted:
                failures.pop(use.name)  # a person's hand is newer than ours
            except FlagError as e:
                failures[use.name] = e
            else:
                failures.pop(use.name)

        await self._by_source(uses, one)
        if failures:
            raise next(iter(failures.values()))

    # Sources.

    async def _by_source(self, uses: Sequence[FlagUse], work: Callable[[FlagUse], Awaitable[None]]) -> None:
        """Sources at the same time, the flags of one too, but those of one file one after the other; all of it within the deadline of a call."""
        groups: dict[tuple[Key, str], list[FlagUse]] = {}
        for use in uses:
            # Two writes of one object at the same time would only be in each other's way.
            groups.setdefault((use.source.key, "" if use.source.spec.type == "Flagd" else use.name), []).append(use)

        async def one(group: list[FlagUse]) -> None:
            for use in group:
                await work(use)

        try:
            async with asyncio.timeout(DEADLINE + HUNG), asyncio.TaskGroup() as tasks:
                for group in groups.values():
                    tasks.create_task(one(group))
        except TimeoutError:
            return  # what was not reached is for the caller to say

    async def _call(self, use: FlagUse, call: Callable[[], Awaitable[T]]) -> T:
        """A call to a source that is not known to hang."""
        source, now = use.source.key, self._clock()
        until, rest = self._hung.get(source, (0.0, 0.0))
        if now < until:
            raise _unanswered(use)
        try:
            answer = await call()
        except Retryable:
            if self._clock() - now >= HUNG:
                rest = min(max(REST[0], 2 * rest), REST[1])
                self._hung[source] = (self._clock() + rest, rest)
            raise
        self._hung.pop(source, None)
        return answer


def _ref(use: FlagUse) -> FlagRef:
    return FlagRef(key=use.key, source=use.source.name)


def _unanswered(use: FlagUse) -> Retryable:
    return Retryable(f"flag source {use.source.name} did not answer about flag {use.key} in time")


def _failed(resolved: Resolved, use: FlagUse, error: FlagError) -> FlagView:
    """A flag whose source says nothing of use: it is taken to be what was written last."""
    before = _status(resolved, use.name)
    return FlagView(
        name=use.name,
        key=use.key,
        source=use.source.name,
        percent=before.written if before else None,
        cohorts=tuple(Share(cohort=c.name, percent=c.written) for c in before.cohorts) if before else (),
        gated=flag_plan(resolved, use.name).unreached.gate is not None and not (before is not None and before.opened),
        error=str(error),
        missing=isinstance(error, Missing),
        retryable=error.retryable,
    )


def _status(resolved: Resolved, name: str) -> FlagStatus | None:
    return next((f for f in resolved.canary.status.flags if f.name == name), None)
