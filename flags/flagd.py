"""flagd: flags as JSON in a ConfigMap or a FeatureFlag object, the provider that needs no server.

Kubernetes gives real compare-and-set (`resourceVersion`), RBAC and an audit trail. What it does not give is an acknowledgement: a mounted
file reaches the SDK when the kubelet syncs it, an object when its watcher hears of it; so a write counts as seen after `settle` seconds.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from flags import splice
from flags.admission import admit
from flags.errors import Busy, Conflict, Missing, Retryable
from flags.flagd_checks import already, foreign, preflight, refuse_drift, restored
from flags.flagd_owners import give_back
from flags.flagd_places import ConfigMapPlace, FeatureFlagPlace, Place
from flags.flagd_rules import OPERATORS, evaluator_name, rule_for, targeting_for
from flags.flagd_view import Original, View, annotation_for, digest, operations, original_from, original_of, put_rule, view, writer_of
from flags.model import Capabilities, Changes, Converged, Desired, FlagRef, Owner, Result, Share, State, Waiting
from flags.provider import DEADLINE, ObjectStore

_ATTEMPTS = 3


class FlagdSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the flags are: a file in a ConfigMap, or a FeatureFlag. `settle` is how long a change may take to reach every pod."""

    namespace: str
    config_map: str | None = None
    key: str = "flags.json"
    feature_flag: str | None = None
    settle: float = 90.0

    def __post_init__(self) -> None:
        if (self.config_map is None) == (self.feature_flag is None):
            raise ValueError("names exactly one of config_map and feature_flag")  # msgspec tells it as a ValidationError

    @property
    def place(self) -> Place:
        if self.feature_flag is not None:
            return FeatureFlagPlace(namespace=self.namespace, name=self.feature_flag)
        return ConfigMapPlace(namespace=self.namespace, name=self.config_map or "", key=self.key)


class FlagdProvider:
    """Drives flags of one ConfigMap for one Canary."""

    def __init__(self, source: FlagdSource, owner: Owner, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._mark = owner.mark()
        self._owner = owner
        self._store = store
        self._clock = clock
        self._place = source.place
        self._ref = self._place.ref

    @property
    def capabilities(self) -> Capabilities:
        """Gates, cohorts and compare-and-set; no acknowledgement."""
        return Capabilities(
            name="flagd",
            cohorts=True,
            gates=True,
            compare_and_set=True,
            witnessed=False,
            stickiness=("targetingKey",),
            on_promotion=("Keep", "Open", "Remove", "HandOver"),
            operators=OPERATORS,
        )

    async def read(self, flag: FlagRef) -> State:
        """What is there now; `original` belongs into the caller's undo log before the first `apply`."""
        async with _deadline("read", flag):
            seen = await self._look(flag)
        return State(
            flag=flag,
            enabled=seen.enabled,
            own=seen.mark == self._mark,
            owner=seen.mark,
            foreign=foreign(seen),
            revision=seen.revision,
            percent=None if seen.wrote is None else seen.wrote.percent,
            gate=None if seen.wrote is None else seen.wrote.gate,
            written_by=writer_of(seen),
            original=None if seen.mark == self._mark else original_of(seen),
            cohorts=() if seen.wrote is None else tuple(Share(cohort=c.name, percent=c.percent) for c in seen.wrote.cohorts),
        )

    async def changes(self, since: str) -> Changes:
        """All flags are in one object: it changed, or none of them did."""
        async with _deadline("changes", FlagRef(key="*", source="")):
            version = _revision(await self._store.get(self._ref))
        return Changes(cursor=version, everything=version != since)

    async def check(self, flag: FlagRef, desired: Desired) -> None:
        """Everything that would keep us from taking the flag."""
        admit(flag, desired, self.capabilities)
        async with _deadline("read", flag):
            seen = await self._look(flag)
        self._refuse_other(seen)
        if seen.mark != self._mark:
            preflight(seen, desired)

    async def apply(self, flag: FlagRef, desired: Desired, expected: Desired | None) -> Result:
        """Write `desired` if the flag is what we left it to be."""
        admit(flag, desired, self.capabilities)

        def change(seen: View) -> tuple[str, str | None]:
            self._refuse_other(seen)
            if seen.mark != self._mark or not already(seen, desired):
                if expected is None:
                    preflight(seen, desired)
                else:
                    refuse_drift(seen, expected)
            text = put_rule(seen.text, flag.key, rule_for(desired, seen.variants))
            if seen.targeting.absent:
                text = splice.put(text, ("flags", flag.key, "targeting"), json.dumps(targeting_for(flag.key, seen.variants)))
            return text, self._mark

        async with _deadline("apply", flag):
            return await self._edit(flag, desired.percent, change)

    async def verify(self, flag: FlagRef, desired: Desired, since: float) -> Converged | Waiting:
        """Still what we wrote, and long enough ago."""
        async with _deadline("verify", flag):
            seen = await self._look(flag)
        self._refuse_other(seen)
        refuse_drift(seen, desired)
        until = since + self._source.settle
        if self._clock() >= until:
            return Converged(revision=seen.revision)
        return Waiting(until=until, why=f"pods have flag {flag.key} of {seen.where} after {self._source.settle:g} s at the latest")

    async def zero(self, flag: FlagRef) -> Result:
        """Our evaluator to 0 %, whatever it is now. Nothing of ours there means nothing to do."""

        def change(seen: View) -> tuple[str, str | None]:
            self._refuse_other(seen)
            if seen.rule is None:
                return seen.text, seen.mark
            gate = None if seen.wrote is None else seen.wrote.gate
            return put_rule(seen.text, flag.key, rule_for(Desired(percent=0, gate=gate), seen.variants)), seen.mark

        async with _deadline("zero", flag):
            try:
                return await self._edit(flag, 0, change)
            except Missing:
                return Result(flag=flag, changed=False, percent=0, revision="", at=self._clock())

    async def restore(self, flag: FlagRef, original: str) -> Result:
        """Take our members out again; with nobody else's edits in between, the file is byte for byte what it was."""
        found = original_from(flag, original)

        def change(seen: View) -> tuple[str, str | None]:
            self._refuse_other(seen)
            return restored(seen, found), None

        async with _deadline("restore", flag):
            result = await self._edit(flag, 0, change, found)
            await self._give_back(flag, found)
        return result

    async def release(self, flag: FlagRef, *, hand_over: bool = False) -> Result:
        """Remove our mark and leave the rule, which no mark tells from anybody's."""

        def change(seen: View) -> tuple[str, str | None]:
            self._refuse_other(seen)
            return seen.text, None

        async with _deadline("release", flag):
            return await self._edit(flag, None, change)

    async def _look(self, flag: FlagRef) -> View:
        return view(await self._store.get(self._ref), self._place, flag.key)

    async def _edit(
        self, flag: FlagRef, percent: int | None, change: Callable[[View], tuple[str, str | None]], original: Original | None = None
    ) -> Result:
        """Read, decide, write with a test on the revision read; again when somebody was faster."""
        for _ in range(_ATTEMPTS):
            seen = await self._look(flag)
            text, mark = change(seen)
            patch = operations(seen, text, mark, keep_annotations=original is None or original.annotations)
            try:
                after = await self._store.patch(self._ref, patch) if patch else None
            except Conflict:
                continue
            return Result(
                flag=flag,
                changed=after is not None,
                percent=percent if percent is not None else seen.wrote.percent if seen.wrote else 0,
                revision=seen.revision if after is None else _revision(after),
                at=self._clock(),
                original=original_of(seen) if mark is not None and seen.mark is None else None,
                exact=None if original is None else digest(text) == original.sha256,
            )
        raise Conflict(f"{self._place.where} was written by others {_ATTEMPTS} times while flag {flag.key} was.")

    async def _give_back(self, flag: FlagRef, original: Original) -> None:
        """Our patches made us owner of what they changed; the user's next server-side apply would conflict."""
        for _ in range(_ATTEMPTS):
            found = await self._store.get(self._ref)
            patch = give_back(found, self._place.owned(evaluator_name(flag.key)), self._store.manager, original.owners)
            if not patch:
                return
            try:
                await self._store.patch(self._ref, patch)
            except Conflict:
                continue
            return
        raise Conflict(f"the owners of {self._place.where} could not be given back yet; flag {flag.key} is restored.")

    def _refuse_other(self, seen: View) -> None:
        if seen.mark is None or seen.mark == self._mark:
            return
        raise Busy(
            f"flag {seen.key} in {seen.where} is driven by Canary {seen.mark}. Wait for it, or if that Canary is gone: "
            f"kubectl -n {self._ref.namespace} annotate {self._ref.kind.lower()} {self._ref.name} {annotation_for(seen.key)}-",
            owner=seen.mark,
        )


@asynccontextmanager
async def _deadline(verb: str, flag: FlagRef) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DEADLINE):
            yield
    except TimeoutError:
        raise Retryable(f"flag source {flag.source} did not {verb} flag {flag.key} within {DEADLINE:g} s") from None


def _revision(found: Mapping[str, Any]) -> str:
    return str((found.get("metadata") or {}).get("resourceVersion", ""))
