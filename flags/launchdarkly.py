"""LaunchDarkly: rules of our own in a flag, by semantic patch.

Built from the vendor's documentation and held to it by a contract server, the vendor's own models and the vendor's own SDK; **not run against
the service**. Semantic patches have no compare-and-set, so each answer's version is looked at: where somebody wrote in the same moment, our
share goes back to 0 and the release is told, rather than guess what the other hand meant.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec.structs import replace

from flags.admission import admit
from flags.calls import within
from flags.errors import Busy, Conflict, Direction, Drifted, Exposed, Missing
from flags.launchdarkly_api import Api, Instructions, LaunchDarklySource, Limits
from flags.launchdarkly_feed import WINDOW, changes
from flags.launchdarkly_rules import (
    OPERATORS,
    RELEASED,
    Arm,
    Original,
    Rule,
    View,
    adding,
    arms,
    covering,
    gate_of,
    ordered,
    original_from,
    original_of,
    reach,
    serving,
    view,
)
from flags.model import EVERYONE, Capabilities, Changes, Converged, Desired, FlagRef, Owner, Result, Share, State, Waiting
from flags.provider import DEADLINE, HttpClient

CAN = Capabilities(
    name="launchDarkly",
    cohorts=True,
    gates=True,
    compare_and_set=False,
    witnessed=False,
    stickiness=("targetingKey",),
    on_promotion=("Keep", "Open", "Remove", "HandOver"),
    operators=OPERATORS,
)


class LaunchDarklyProvider:
    """Drives flags of one project and environment for one Canary."""

    def __init__(
        self,
        source: LaunchDarklySource,
        owner: Owner,
        http: HttpClient,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._mark = owner.mark()
        self._comment = f"Linnet: {owner.namespace}/{owner.name} of {owner.cluster}"
        self._api = Api(source, http, limits or Limits(clock))
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        """Gates and cohorts; who was faster is noticed after the write, not before."""
        return CAN

    async def read(self, flag: FlagRef) -> State:
        """What is there now."""
        async with self._deadline("read", flag):
            seen = await self._look(flag)
        own = seen.own(self._mark)
        everyone = next((rule for rule in own if rule.role == EVERYONE), None)
        return State(
            flag=flag,
            enabled=seen.on,
            own=bool(own),
            owner=seen.driven[0].mark if seen.driven else None,
            foreign=tuple(rule.called for rule in seen.foreign),
            revision=str(seen.version),
            percent=None if everyone is None else everyone.whole if seen.on else 0,
            gate=None if everyone is None else gate_of(everyone),
            written_by="somebody",
            original=None if own else original_of(seen),
            cohorts=tuple(Share(cohort=rule.role, percent=rule.whole if seen.on else 0) for rule in own if rule.role != EVERYONE),
        )

    async def changes(self, since: str) -> Changes:
        """From the audit log, which an access token may read with the role Reader."""
        async with self._deadline("changes", FlagRef(key="*", source="")):
            entries = await self._api.audit(WINDOW)
        return changes(since, entries, self._source.project, self._source.environment)

    async def check(self, flag: FlagRef, desired: Desired) -> None:
        """Everything that would keep us from taking the flag; the service itself is asked by a dry run."""
        admit(flag, desired, CAN)
        wanted = self._arms(flag, desired)
        async with self._deadline("check", flag):
            seen = await self._look(flag)
            self._refuse_other(seen)
            if not seen.own(self._mark):
                self._refuse_exposed(seen, wanted, desired)
                await self._api.patch(flag.key, [adding(seen, arm) for arm in wanted], self._comment, preview=True)

    async def apply(self, flag: FlagRef, desired: Desired, expected: Desired | None) -> Result:
        """Write `desired` if the flag is what we left it to be."""
        admit(flag, desired, CAN)
        wanted = self._arms(flag, desired)
        async with self._deadline("apply", flag):
            seen = await self._look(flag)
            self._refuse_other(seen)
            own = seen.own(self._mark)
            if self._stands(seen, wanted):
                return self._result(flag, desired.percent, seen)
            if expected is None:
                self._refuse_exposed(seen, wanted, desired)
            else:
                self._refuse_drift(seen, self._arms(flag, expected))
            after = await self._write(flag, seen, wanted)
        return self._result(flag, desired.percent, after, changed=True, original=None if own else original_of(seen))

    async def verify(self, flag: FlagRef, desired: Desired, since: float) -> Converged | Waiting:
        """Still what we wrote, and long enough ago: SDKs stream, and reconnect after a while."""
        async with self._deadline("verify", flag):
            seen = await self._look(flag)
        self._refuse_other(seen)
        self._refuse_drift(seen, self._arms(flag, desired))
        until = since + self._source.settle
        if self._clock() >= until:
            return Converged(revision=str(seen.version))
        return Waiting(until=until, why=f"SDKs have flag {flag.key} after {self._source.settle:g} s at the latest")

    async def zero(self, flag: FlagRef) -> Result:
        """Our rules to nobody, whatever they are now, in one patch."""
        async with self._deadline("zero", flag):
            try:
                seen = await self._look(flag)
            except Missing:
                return Result(flag=flag, changed=False, percent=0, revision="", at=self._clock())
            self._refuse_other(seen)
            if not any(rule.share for rule in seen.own(self._mark)):
                return self._result(flag, 0, seen)
            return self._result(flag, 0, await self._close(flag, seen), changed=True)

    async def restore(self, flag: FlagRef, original: str) -> Result:
        """Our rules away, targeting off again if it was; what people changed since stays."""
        found = original_from(flag, original)
        async with self._deadline("restore", flag):
            seen = await self._look(flag)
            self._refuse_other(seen)
            own = seen.own(self._mark)
            if own:
                away: Instructions = [{"kind": "removeRule", "ruleId": rule.id} for rule in own]
                if seen.on and not found.on and seen.foreign_digest == found.foreign:
                    away.insert(0, {"kind": "turnFlagOff"})
                seen = await self._patch(flag, away)
        return self._result(flag, 0, seen, changed=bool(own), exact=_exact(seen, found))

    async def release(self, flag: FlagRef, *, hand_over: bool = False) -> Result:
        """Our rules stay as they are, and are people's; handed over, their description is the cohort's name alone."""
        async with self._deadline("release", flag):
            seen = await self._look(flag)
            self._refuse_other(seen)
            own = seen.own(self._mark)
            note = "" if hand_over else f"{RELEASED}: "
            signed: Instructions = [{"kind": "updateRuleDescription", "ruleId": r.id, "description": f"{note}{r.role}"} for r in own]
            after = await self._patch(flag, signed) if signed else seen
        percent = next((rule.whole for rule in own if rule.role == EVERYONE), 0) or 0
        return self._result(flag, percent, after, changed=bool(own))

    def _arms(self, flag: FlagRef, desired: Desired) -> tuple[Arm, ...]:
        return arms(flag, desired, self._mark, self._source.context_kind)

    async def _look(self, flag: FlagRef) -> View:
        return view(await self._api.flag(flag.key), flag, self._source.environment)

    async def _patch(self, flag: FlagRef, instructions: Instructions) -> View:
        return view(await self._api.patch(flag.key, instructions, self._comment), flag, self._source.environment)

    async def _write(self, flag: FlagRef, seen: View, wanted: Sequence[Arm]) -> View:
        """Rules that serve nobody first; then signed, in order and at their shares, with targeting on, all at once."""
        kind = self._source.context_kind
        places, missing, spare = self._placed(seen, wanted)
        if missing:
            before = seen
            seen = await self._patch(flag, [adding(seen, arm) for arm in missing])
            known = {rule.id for rule in before.rules}
            fresh = [rule for rule in seen.rules if rule.id not in known]
            places.update({arm.role: rule for arm in missing for rule in fresh if rule.clauses == frozenset(arm.clauses)})
            if seen.version != before.version + 1 or len(fresh) != len(missing):
                raise Conflict(f"flag {flag.key} was written by somebody while Linnet added its rules, which serve nobody yet.")
        version = seen.version
        chosen = {arm.role: places[arm.role] for arm in wanted}
        instructions: Instructions = [{"kind": "removeRule", "ruleId": rule.id} for rule in spare]
        left = replace(seen, rules=tuple(rule for rule in seen.rules if rule not in spare))
        instructions += ordered(left, [rule.id for rule in chosen.values()])
        for arm in wanted:
            instructions += serving(seen, chosen[arm.role], arm.percent, kind)
        if not seen.on and any(arm.percent for arm in wanted):
            instructions.append({"kind": "turnFlagOn"})
        after = await self._patch(flag, instructions)
        if after.version != version + 1:
            await self._close(flag, after)
            text = (
                f"flag {flag.key} in {seen.where} was written by somebody in the same moment as by Linnet, which took its share back to 0"
            )
            raise Drifted(text, direction="other", by="somebody")
        return after

    def _placed(self, seen: View, wanted: Sequence[Arm]) -> tuple[dict[str, Rule], list[Arm], list[Rule]]:
        """Rules of ours by role; arms that have none yet; and ours that nobody wants."""
        own = list(seen.own(self._mark))
        found = {arm.role: rule for arm in wanted for rule in reversed(own) if rule.clauses == frozenset(arm.clauses)}
        return found, [arm for arm in wanted if arm.role not in found], [rule for rule in own if rule not in found.values()]

    async def _close(self, flag: FlagRef, seen: View) -> View:
        instructions: Instructions = []
        for rule in seen.own(self._mark):
            instructions += serving(seen, rule, 0, self._source.context_kind)
        return await self._patch(flag, instructions) if instructions else seen

    def _stands(self, seen: View, wanted: Sequence[Arm]) -> bool:
        own = {rule.role: rule for rule in seen.own(self._mark)}
        same = all(
            (r := own.get(arm.role)) is not None and r.whole == arm.percent and r.clauses == frozenset(arm.clauses) for arm in wanted
        )
        return same and len(seen.own(self._mark)) == len(wanted) and self._drift(seen, wanted) is None

    def _refuse_exposed(self, seen: View, wanted: Sequence[Arm], desired: Desired) -> None:
        moving = [arm for arm in wanted if arm.percent] or list(wanted)
        for arm in moving:
            found = reach(seen, arm)
            if found < max(1, arm.percent):
                continue
            hiding = covering(seen, arm)
            by = hiding.called if hiding else "the default rule"
            once = "" if seen.on else " as soon as targeting is on"
            whom = "everybody" if arm.role == EVERYONE else f"cohort {arm.role}"
            text = f"flag {seen.key} in {seen.where} reaches {found:g} % of {whom} without Linnet{once}, by {by}"
            raise Exposed(
                f"{text}: a share of {arm.percent} % would prove nothing. Lower that first, or leave the flag out of this Canary."
            )
        released = next((rule for rule in seen.foreign if rule.share and rule.description.startswith(RELEASED)), None)
        if desired.gate is not None and released is not None:
            text = f"flag {seen.key} in {seen.where} is on for {released.share:g} % of everybody since an earlier promotion"
            raise Exposed(f"{text}; a gate would take it from them. Leave the flag out of this Canary, or remove {released.called} first.")

    def _refuse_drift(self, seen: View, expected: Sequence[Arm]) -> None:
        found = self._drift(seen, expected)
        if found is not None:
            raise Drifted(f"{found[1]}: changed by somebody", direction=found[0], by="somebody")

    def _drift(self, seen: View, expected: Sequence[Arm]) -> tuple[Direction, str] | None:
        if not any(arm.percent for arm in expected):
            return None
        if not seen.on:
            return "lower", f"targeting of flag {seen.key} was switched off in {seen.where}"
        own = {rule.role: rule for rule in seen.own(self._mark)}
        found = [drift for arm in expected if (drift := _moved(seen, own.get(arm.role), arm)) is not None]
        order = ("lower", "higher", "other")
        return min(found, key=lambda item: order.index(item[0]), default=None)

    def _refuse_other(self, seen: View) -> None:
        other = next((rule for rule in seen.driven if rule.mark != self._mark), None)
        if other is None:
            return
        text = f"flag {seen.key} in {seen.where} is driven by Canary {other.mark} (cluster/namespace/name/uid), by its {other.called}"
        raise Busy(f"{text}. Wait for it, or if that Canary is gone: remove that rule in LaunchDarkly.", owner=str(other.mark))

    def _result(
        self, flag: FlagRef, percent: int, seen: View, *, changed: bool = False, original: str | None = None, exact: bool | None = None
    ) -> Result:
        at, revision = self._clock(), str(seen.version)
        return Result(flag=flag, changed=changed, percent=percent, revision=revision, at=at, original=original, exact=exact)

    def _deadline(self, verb: str, flag: FlagRef) -> AbstractAsyncContextManager[None]:
        return within(DEADLINE, verb, flag.key, f"LaunchDarkly at {self._source.base}")


def _moved(seen: View, rule: Rule | None, arm: Arm) -> tuple[Direction, str] | None:
    """What became of one rule, and of the place where it stands."""
    if rule is None:
        return ("lower", f"the rule of flag {seen.key} for {arm.role} was removed or renamed in {seen.where}") if arm.percent else None
    if rule.whole != arm.percent:
        direction: Direction = "other" if rule.whole is None else "lower" if rule.share < arm.percent else "higher"
        return direction, f"{rule.called} of flag {seen.key} is at {rule.share:g} %, not at {arm.percent} %"
    if rule.clauses != frozenset(arm.clauses):
        return "other", f"{rule.called} of flag {seen.key} has other clauses than Linnet wrote"
    above = seen.rules[: seen.rules.index(rule)]
    hiding = next((one for one in above if one.mark is None and one.clauses <= rule.clauses), None)
    if hiding is not None and arm.percent:
        direction = "higher" if hiding.share > arm.percent else "lower"
        return direction, f"{rule.called} of flag {seen.key} never matches any more: {hiding.called} was put before it"
    if arm.percent and seen.otherwise >= arm.percent:
        return "higher", f"flag {seen.key} was opened for {seen.otherwise:g} % of everybody in {seen.where} by the default rule"
    return None


def _exact(seen: View, found: Original) -> bool:
    return seen.on == found.on and seen.foreign_digest == found.foreign
