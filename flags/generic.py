"""A flag service of one's own behind HTTP, without code: its FlagSource says how a flag is read, set and taken back.

The service keeps the share, and beside it one text that says who drives the flag. After a write the flag is read back: a template that
the service takes and does not act on is found before any traffic moves.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from flags import generic_templates as templates
from flags.admission import admit
from flags.calls import ask, decoded, first_line, refusal, within
from flags.compare import drift, exposes, shown, told
from flags.errors import Busy, Conflict, Drifted, Exposed, Invalid, Missing
from flags.generic_view import FIELD, GenericSource, View, Writing, checked, original_from, original_of, values, view
from flags.model import Capabilities, Converged, Desired, FlagRef, Owner, Result, Share, State, Waiting
from flags.provider import DEADLINE, HttpClient

_ATTEMPTS = 3
_NOBODY = Desired(percent=0)


class GenericProvider:
    """Drives flags of one service for one Canary."""

    def __init__(self, source: GenericSource, owner: Owner, http: HttpClient, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._mark = owner.mark()
        self._http = http
        self._clock = clock
        self._who = f"flag service at {source.base}"
        self._can = checked(source)

    @property
    def capabilities(self) -> Capabilities:
        """What the templates of the source make possible."""
        return self._can

    async def read(self, flag: FlagRef) -> State:
        """What is there now."""
        async with self._deadline("read", flag):
            seen = await self._look(flag)
        own = seen.owner == self._mark
        mine = seen.now if own else None
        return State(
            flag=flag,
            enabled=seen.enabled,
            own=own,
            owner=seen.owner or None,
            foreign=(),
            revision=seen.revision,
            percent=None if mine is None else mine.percent if seen.enabled else 0,
            gate=None if mine is None else mine.gate,
            written_by="linnet" if own else seen.changed_by,
            original=None if own else original_of(seen),
            cohorts=() if mine is None else tuple(Share(cohort=c.name, percent=c.percent if seen.enabled else 0) for c in mine.cohorts),
        )

    async def check(self, flag: FlagRef, desired: Desired) -> None:
        """Everything that would keep us from taking the flag."""
        admit(flag, desired, self._can)
        async with self._deadline("check", flag):
            seen = await self._look(flag)
        self._refuse_other(seen)
        if seen.owner != self._mark:
            self._preflight(seen, desired)

    async def apply(self, flag: FlagRef, desired: Desired, expected: Desired | None) -> Result:
        """Write `desired` if the flag is what we left it to be, and read it back."""
        admit(flag, desired, self._can)
        async with self._deadline("apply", flag):
            for _ in range(_ATTEMPTS):
                seen = await self._look(flag)
                self._refuse_other(seen)
                own = seen.owner == self._mark
                if own and seen.enabled and seen.now == desired:
                    return self._result(flag, seen, changed=False)
                if expected is None:
                    self._preflight(seen, desired)
                else:
                    self._refuse_drift(seen, expected)
                try:
                    await self._write("set", self._source.set, seen, desired, self._mark)
                except Conflict:
                    continue
                after = await self._look(flag)
                self._refuse_deaf(after, desired)
                return self._result(flag, after, changed=True, original=None if own else original_of(seen))
        raise Conflict(f"flag {flag.key} was written by others {_ATTEMPTS} times while Linnet wrote it.")

    async def verify(self, flag: FlagRef, desired: Desired, since: float) -> Converged | Waiting:
        """Still what we wrote, and long enough ago."""
        async with self._deadline("verify", flag):
            seen = await self._look(flag)
        self._refuse_other(seen)
        self._refuse_drift(seen, desired)
        until = since + self._source.settle
        if self._clock() >= until:
            return Converged(revision=seen.revision)
        return Waiting(until=until, why=f"apps have flag {flag.key} after {self._source.settle:g} s at the latest")

    async def zero(self, flag: FlagRef) -> Result:
        """To nobody, whatever it is now. Not ours means nothing to do."""
        async with self._deadline("zero", flag):
            for _ in range(_ATTEMPTS):
                try:
                    seen = await self._look(flag)
                except Missing:
                    return Result(flag=flag, changed=False, percent=0, revision="", at=self._clock())
                self._refuse_other(seen)
                if seen.owner != self._mark or (seen.now is not None and not exposes(seen.now)):
                    return self._result(flag, seen, changed=False)
                gate = None if seen.now is None else seen.now.gate
                try:
                    await self._write("zero", self._source.zero or self._source.set, seen, Desired(percent=0, gate=gate), self._mark)
                except Conflict:
                    continue
                return Result(flag=flag, changed=True, percent=0, revision="", at=self._clock())
        raise Conflict(f"flag {flag.key} was written by others {_ATTEMPTS} times while Linnet took it back.")

    async def restore(self, flag: FlagRef, original: str) -> Result:
        """The share that was found, and nobody's."""
        found = original_from(flag, original)
        async with self._deadline("restore", flag):
            return await self._give_up(flag, lambda _: found, found)

    async def release(self, flag: FlagRef, *, hand_over: bool = False) -> Result:
        """As it is, and nobody's: without an owner nothing there is Linnet's any more."""
        async with self._deadline("release", flag):
            return await self._give_up(flag, lambda seen: seen.now or _NOBODY)

    async def _give_up(self, flag: FlagRef, leave: Callable[[View], Desired], original: Desired | None = None) -> Result:
        for _ in range(_ATTEMPTS):
            seen = await self._look(flag)
            self._refuse_other(seen)
            changed = seen.owner == self._mark
            if changed:
                try:
                    await self._write("set", self._source.set, seen, leave(seen), "")
                except Conflict:
                    continue
                seen = await self._look(flag)
            return self._result(flag, seen, changed=changed, exact=None if original is None else seen.now == original and not seen.owner)
        raise Conflict(f"flag {flag.key} was written by others {_ATTEMPTS} times while Linnet gave it up.")

    def _preflight(self, seen: View, desired: Desired) -> None:
        """Everything that makes taking this flag wrong, before the first write."""
        if not seen.enabled:
            way_out = "Switch it on, at 0 %."
            raise Invalid(field=f"flags[{seen.key}]", value="off", problem=f"the {self._who} has it switched off", way_out=way_out)
        if seen.now is None:
            way_out = "Set it to a whole percentage first."
            raise Invalid(field=f"flags[{seen.key}].percent", value=seen.found, problem="it is no whole percentage", way_out=way_out)
        if exposes(seen.now) and seen.now.gate is None and (desired.gate is not None or drift(seen.now, desired) == "higher"):
            text = f"flag {seen.key} at {self._source.base} is on for {shown(seen.now)} without Linnet"
            raise Exposed(f"{text}; a canary would take it from them. Set it to 0 first, or leave the flag out of this Canary.")

    def _refuse_drift(self, seen: View, expected: Desired) -> None:
        by = seen.changed_by
        if not seen.enabled:
            raise Drifted(f"flag {seen.key} was switched off by {by}", direction="lower", by=by)
        if seen.owner != self._mark:
            raise Drifted(f"flag {seen.key} was given to nobody by {by}", direction="other", by=by)
        moved = drift(seen.now, expected)
        if moved is None:
            return
        found = told(seen.now) if seen.now else f"at {seen.found!r}"
        raise Drifted(f"flag {seen.key} is {found}, not {told(expected)}: changed by {by}", direction=moved, by=by)

    def _refuse_deaf(self, after: View, desired: Desired) -> None:
        """The service took the request and has something else."""
        if after.owner == self._mark and after.now == desired:
            return
        has = f"it has {told(after.now) if after.now else repr(after.found)} of owner {after.owner or 'nobody'}"
        way_out = "Mend the templates of set and the pointers of read."
        raise Invalid(field=f"{FIELD}.set", value=told(desired), problem=f"the {self._who} took it, and {has}", way_out=way_out)

    def _refuse_other(self, seen: View) -> None:
        if seen.owner and seen.owner != self._mark:
            text = f"flag {seen.key} at {self._source.base} is driven by Canary {seen.owner}"
            raise Busy(f"{text}. Wait for it, or if that Canary is gone: clear its owner there.", owner=seen.owner)

    async def _look(self, flag: FlagRef) -> View:
        what = f"read flag {flag.key}"
        path = templates.fill_path(self._source.read.path, {"flag": flag.key, "percent": 0, "revision": ""})
        reply = await ask(self._http, "GET", self._source.base + path, who=self._who, what=what, headers=self._headers())
        if not 200 <= reply.status < 300:
            raise self._refusal(reply.status, reply.body, what)
        document = decoded(reply, who="a flag service", what=what, url_field=f"{FIELD}.url", url=self._source.base)
        return view(self._source, flag, document, reply.headers)

    async def _write(self, verb: str, writing: Writing, seen: View, desired: Desired, owner: str) -> None:
        filled = values(seen, desired, owner)
        headers = {**self._headers(), "Content-Type": "application/json"}
        if self._source.conditional == "ETag" and seen.tag:
            headers["If-Match"] = seen.tag
        data = json.dumps(templates.fill(templates.body(f"{FIELD}.{verb}.body", writing.body), filled)).encode()
        url, what = self._source.base + templates.fill_path(writing.path, filled), f"{verb} flag {seen.key}"
        reply = await ask(self._http, writing.method, url, who=self._who, what=what, headers=headers, data=data)
        if not 200 <= reply.status < 300:
            raise self._refusal(reply.status, reply.body, what)

    def _refusal(self, status: int, body: bytes, what: str) -> Exception:
        said = first_line(body, "message", "error", "detail", "title")
        return refusal(status, said, who=self._who, what=what, url_field=f"{FIELD}.url", url=self._source.base)

    def _headers(self) -> dict[str, str]:
        return {"Accept": "application/json", **self._source.headers}

    def _result(self, flag: FlagRef, seen: View, *, changed: bool, original: str | None = None, exact: bool | None = None) -> Result:
        percent = seen.now.percent if seen.now else 0
        return Result(flag=flag, changed=changed, percent=percent, revision=seen.revision, at=self._clock(), original=original, exact=exact)

    def _deadline(self, verb: str, flag: FlagRef) -> AbstractAsyncContextManager[None]:
        return within(DEADLINE, verb, flag.key, self._who)
