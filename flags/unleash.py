"""Unleash: gradual rollouts over its Admin API, and its own SDK as the witness of what apps see.

Linnet owns strategies of its own beside those of people, and takes a flag back by setting them to 0 %: a strategy that is disabled or
deleted as the last one turns the environment off, and whoever turns it on again then gets a strategy at 100 % that Unleash invents. For
the same reason our strategy stands at 0 % before the environment is switched on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from flags.admission import admit
from flags.calls import within
from flags.errors import Conflict, Drifted, FlagError, Forbidden, Invalid, Missing
from flags.model import (
    EVERYONE,
    Capabilities,
    Changes,
    Converged,
    Desired,
    Evaluations,
    FlagRef,
    Gate,
    Owner,
    Result,
    Share,
    State,
    Waiting,
)
from flags.provider import DEADLINE, HttpClient
from flags.unleash_admin import Admin, UnleashSource
from flags.unleash_checks import Drift, drift, inherited, refuse_exposed, refuse_other, refuse_plan, refuse_rights
from flags.unleash_feed import WIDE, WINDOW, changes, unseen
from flags.unleash_rules import (
    OPERATORS,
    STICKINESS,
    Arm,
    arms,
    closing,
    creation,
    custom_stickiness,
    giving_up,
    handing_over,
    is_as,
    moving,
    taking,
)
from flags.unleash_view import Original, Strategy, View, evaluations, original_from, original_of, spare_for, view
from flags.unleash_witness import Witnesses

_ATTEMPTS = 3


class UnleashProvider:
    """Drives flags of one project and environment for one Canary."""

    def __init__(
        self,
        source: UnleashSource,
        owner: Owner,
        http: HttpClient,
        witnesses: Witnesses | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._owner = owner
        self._mark = owner.mark()
        self._admin = Admin(source, http)
        self._witnesses = witnesses if source.client_token else None
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        """Gates, cohorts and compare-and-set; acknowledged where the source has a token for the witness."""
        return Capabilities(
            name="unleash",
            cohorts=True,
            gates=True,
            compare_and_set=True,
            witnessed=self._witnesses is not None,
            stickiness=STICKINESS,
            on_promotion=("Keep", "Open", "Remove", "HandOver"),
            context_fields=True,
            operators=OPERATORS,
            segments=True,
            buckets=True,
        )

    async def read(self, flag: FlagRef) -> State:
        """What is there now. Who wrote it is asked only where it is not what we wrote last."""
        async with self._deadline("read", flag):
            seen = await self._look(flag)
            own = seen.own(self._mark)
            everyone = next((s for s in own if s.role == EVERYONE), None)
            by = await self._changed_by(flag) if any(s.written != s.parameters.get("rollout") for s in own) else "linnet"
        return State(
            flag=flag,
            enabled=seen.enabled,
            own=bool(own),
            owner=seen.driven[0].mark if seen.driven else None,
            foreign=tuple(s.called for s in seen.foreign),
            revision=seen.revision,
            percent=None if everyone is None else _reaching(everyone, seen),
            gate=None if everyone is None else _gate(everyone),
            written_by=by,
            original=None if own else original_of(seen),
            cohorts=tuple(Share(cohort=s.role, percent=_reaching(s, seen)) for s in own if s.role != EVERYONE),
        )

    async def changes(self, since: str) -> Changes:
        """From the event log; further back where much happened."""
        async with self._deadline("changes", FlagRef(key="*", source="")):
            events = await self._admin.events(WINDOW)
            if since and unseen(since, events) is None:
                events = await self._admin.events(WIDE)
        return changes(since, events, self._source.project, self._source.environment)

    async def usage(self, flag: FlagRef) -> tuple[Evaluations, ...]:
        """As SDKs reported it for this environment."""
        async with self._deadline("usage", flag):
            rows = await self._admin.usage(flag.key)
        return tuple(evaluations(rows, self._source.environment))

    async def check(self, flag: FlagRef, desired: Desired) -> None:
        """Everything that would keep us from taking the flag."""
        admit(flag, desired, self.capabilities)
        async with self._deadline("check", flag):
            seen = await self._look(flag)
            refuse_other(seen, self._owner)
            if not seen.own(self._mark):
                await self._preflight(flag, seen, desired, await self._arms(flag, desired))

    async def apply(self, flag: FlagRef, desired: Desired, expected: Desired | None) -> Result:
        """Write `desired` if the flag is what we left it to be."""
        admit(flag, desired, self.capabilities)
        async with self._deadline("apply", flag):
            for _ in range(_ATTEMPTS):
                seen = await self._look(flag)
                refuse_other(seen, self._owner)
                wanted = await self._arms(flag, desired)
                if self._stands(seen, wanted):
                    return self._result(flag, desired.percent, seen)
                if expected is None:
                    await self._preflight(flag, seen, desired, wanted)
                else:
                    await self._refuse_drift(flag, seen, await self._arms(flag, expected))
                try:
                    await self._write(flag, seen, wanted)
                except Conflict:
                    continue
                original = None if seen.own(self._mark) else original_of(seen)
                return self._result(flag, desired.percent, await self._look(flag), changed=True, original=original)
        raise Conflict(f"flag {flag.key} was written by others {_ATTEMPTS} times while Linnet wrote it.")

    async def verify(self, flag: FlagRef, desired: Desired, since: float) -> Converged | Waiting:
        """Still what we wrote; seen by an SDK, where there is a witness; and settled."""
        async with self._deadline("verify", flag):
            seen = await self._look(flag)
            refuse_other(seen, self._owner)
            wanted = await self._arms(flag, desired)
            await self._refuse_drift(flag, seen, wanted)
            if self._witnesses is not None and any(arm.percent for arm in wanted.values()):
                doubt = await self._witnesses.doubt(self._source, flag.key, desired, wanted)
                if doubt:
                    return Waiting(until=self._clock() + 1, why=doubt)
        until = since + self._source.settle
        if self._clock() >= until:
            return Converged(revision=seen.revision)
        return Waiting(until=until, why=f"SDKs of flag {flag.key} have it after {self._source.settle:g} s at the latest")

    async def zero(self, flag: FlagRef) -> Result:
        """Our strategies to 0 %, whatever they are now. Nothing of ours there means nothing to do."""
        async with self._deadline("zero", flag):
            try:
                seen = await self._look(flag)
            except Missing:
                return Result(flag=flag, changed=False, percent=0, revision="", at=self._clock())
            return self._result(flag, 0, seen, changed=await self._close(flag, seen))

    async def restore(self, flag: FlagRef, original: str) -> Result:
        """Ours at 0 % and given up, the environment off again if it was; what people changed since stays."""
        found = original_from(flag, original)
        async with self._deadline("restore", flag):
            seen = await self._look(flag)
            changed = await self._close(flag, seen)
            if changed:
                seen = await self._look(flag)
            if seen.own(self._mark):
                if seen.enabled and not found.environment and seen.foreign_digest == found.foreign:
                    await self._admin.switch(flag.key, on=False)
                await self._each(seen, lambda s: self._admin.patch(flag.key, s.id, giving_up(s)))
                changed = True
                seen = await self._look(flag)
        return self._result(flag, 0, seen, changed=changed, exact=_exact(seen, found))

    async def release(self, flag: FlagRef, *, hand_over: bool = False) -> Result:
        """Our strategies stay as they are and are nobody's; handed over, they lose our title too."""
        async with self._deadline("release", flag):
            seen = await self._look(flag)
            refuse_other(seen, self._owner)
            own, left = seen.own(self._mark), handing_over if hand_over else giving_up
            await self._each(seen, lambda s: self._admin.patch(flag.key, s.id, left(s)))
            percent = next((s.percent for s in own if s.role == EVERYONE), 0) or 0
            return self._result(flag, percent, await self._look(flag) if own else seen, changed=bool(own))

    async def _look(self, flag: FlagRef) -> View:
        return view(await self._admin.feature(flag.key), flag, self._source.environment)

    async def _arms(self, flag: FlagRef, desired: Desired) -> dict[str, Arm]:
        named = {cohort.segment for cohort in desired.cohorts if cohort.segment is not None}
        known = await self._admin.segments() if named else {}
        for name in sorted(named - known.keys()):
            there = ", ".join(sorted(known)) or "none"
            raise Invalid(field=f"flags[{flag.key}].cohorts.segment", value=name, problem="no such segment", way_out=f"There are: {there}.")
        return arms(flag, desired, self._mark, known)

    async def _preflight(self, flag: FlagRef, seen: View, desired: Desired, wanted: Mapping[str, Arm]) -> None:
        """Everything that makes taking this flag wrong, before the first write."""
        refuse_plan(seen, await self._admin.strategies(flag.key))
        refuse_exposed(seen, wanted)
        source = self._source
        refuse_rights(await self._admin.account(), source.project, source.environment, switch=not seen.enabled)
        field = custom_stickiness(desired)
        if field is not None and field not in (known := await self._admin.context_fields()):
            raise Invalid(
                field=f"flags[{flag.key}].stickiness",
                value=field,
                problem="no context field of Unleash may be used for it",
                way_out=f"Use userId, sessionId or one of: {', '.join(known)}; or allow stickiness for the field in Unleash.",
            )

    def _stands(self, seen: View, wanted: Mapping[str, Arm]) -> bool:
        """Whether all is in force already, as after a crash between our write and the caller's note of it."""
        own = seen.own(self._mark)
        as_wanted = sum(1 for s in own if (arm := wanted.get(s.role)) is not None and is_as(s, arm))
        return len(own) == len(wanted) == as_wanted and drift(seen, wanted, self._mark) is None

    async def _refuse_drift(self, flag: FlagRef, seen: View, expected: Mapping[str, Arm]) -> None:
        found = drift(seen, expected, self._mark)
        if found is not None:
            raise await self._drifted(flag, found)

    async def _drifted(self, flag: FlagRef, found: Drift) -> Drifted:
        by = await self._changed_by(flag)
        return Drifted(f"{found.text}: changed by {by}", direction=found.direction, by=by)

    async def _changed_by(self, flag: FlagRef) -> str:
        """A name for the message; that there is none must not hide what happened."""
        try:
            return await self._admin.changed_by(flag.key) or "somebody"
        except FlagError:
            return "somebody"

    async def _write(self, flag: FlagRef, seen: View, wanted: Mapping[str, Arm]) -> None:
        """Every strategy there at 0 %, then the environment on, then up."""
        own = await self._complete(flag, seen, wanted)
        for role, strategy in own.items():
            if role not in wanted and strategy.percent != 0:
                await self._admin.patch(flag.key, strategy.id, closing(strategy))
        if not seen.enabled and any(arm.percent for arm in wanted.values()):
            await self._admin.switch(flag.key, on=True)
        for role, arm in wanted.items():
            if not is_as(own[role], arm):
                await self._admin.patch(flag.key, own[role].id, moving(own[role], arm))

    async def _complete(self, flag: FlagRef, seen: View, wanted: Mapping[str, Arm]) -> dict[str, Strategy]:
        """Our strategies by role: those that are there, those left by earlier Canaries, and new ones for the rest.

        A POST that timed out may have made one all the same: it is found by its mark and kept, and copies of it are removed.
        """
        own: dict[str, Strategy] = {}
        for strategy in seen.own(self._mark):
            if strategy.role in own:
                await self._drop_copy(flag, strategy)
            else:
                own[strategy.role] = strategy
        left = [s for s in seen.strategies if inherited(s, self._owner)]
        spare = [*left, *(s for s in seen.strategies if s.given_up)]
        for role, arm in wanted.items():
            if role in own:
                continue
            old = spare_for(role, spare, wanted.keys() - own.keys())
            if old is not None:
                spare.remove(old)
                own[role] = await self._admin.patch(flag.key, old.id, taking(old, arm, self._owner))
            else:
                own[role] = await self._admin.create(flag.key, creation(arm, self._owner, len(seen.strategies)))
        for old in left:
            if old in spare:
                await self._admin.patch(flag.key, old.id, giving_up(await self._admin.patch(flag.key, old.id, closing(old))))
        return own

    async def _drop_copy(self, flag: FlagRef, strategy: Strategy) -> None:
        """Never the last strategy: the one it is a copy of stays. Without the right to remove it, it stays too, at 0 %."""
        if strategy.percent != 0:
            await self._admin.patch(flag.key, strategy.id, closing(strategy))
        try:
            await self._admin.remove(flag.key, strategy.id)
        except Forbidden:
            return

    async def _close(self, flag: FlagRef, seen: View) -> bool:
        """Ours to 0 %, all at once; again where somebody wrote in between. True where something was written."""
        changed = False
        for _ in range(_ATTEMPTS):
            refuse_other(seen, self._owner)
            self._refuse_renamed(seen)
            above = [s for s in seen.own(self._mark) if s.percent != 0]
            if not above:
                return changed
            try:
                await _together([self._admin.patch(flag.key, s.id, closing(s)) for s in above])
            except Conflict:
                seen = await self._look(flag)
                continue
            return True
        raise Conflict(f"flag {flag.key} was written by others {_ATTEMPTS} times while Linnet took it back.")

    def _refuse_renamed(self, seen: View) -> None:
        """A person who gave our strategy another title has taken it over."""
        found = next((s for s in seen.foreign if s.parameters.get("linnet", "").startswith(f"{self._mark}@") and s.reach), None)
        if found is not None:
            text = f"{found.called} of flag {seen.key} was Linnet's and was renamed: it is left at {found.reach} %"
            raise Drifted(text, direction="other", by="somebody")

    async def _each(self, seen: View, call: Callable[[Strategy], Awaitable[Strategy]]) -> None:
        for strategy in seen.own(self._mark):
            await call(strategy)

    def _result(
        self, flag: FlagRef, percent: int, seen: View, *, changed: bool = False, original: str | None = None, exact: bool | None = None
    ) -> Result:
        return Result(flag=flag, changed=changed, percent=percent, revision=seen.revision, at=self._clock(), original=original, exact=exact)

    def _deadline(self, verb: str, flag: FlagRef) -> AbstractAsyncContextManager[None]:
        return within(DEADLINE, verb, flag.key, f"Unleash at {self._source.base}")


async def _together(calls: list[Awaitable[Strategy]]) -> None:
    """All of them, also when one fails; then the first failure."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in done:
        if isinstance(outcome, BaseException):
            raise outcome


def _gate(strategy: Strategy) -> Gate | None:
    """The one gate that we write; any other constraint is no gate of ours."""
    for name, operator, values, inverted, _ in strategy.conditions:
        if operator == "IN" and len(values) == 1 and not inverted and len(strategy.constraints) == 1:
            return Gate(attribute=name, value=values[0])
    return None


def _reaching(strategy: Strategy, seen: View) -> int | None:
    return 0 if strategy.disabled or not seen.enabled else strategy.percent


def _exact(seen: View, found: Original) -> bool:
    return seen.enabled == found.environment and seen.foreign_digest == found.foreign
