"""Whether people meet the flags of a release, from what SDKs report to the source.

Metrics judge what the canary did; a flag that its code never asked for did nothing, and is not proven fine by that. Only the source knows:
one request for each flag and minute, while a step with the flag on waits or counts, until there is nothing more to learn of the step.

A reading of the counts is taken once every report of evaluations from before the change must have arrived; what is added afterwards is of
the change alone. Nothing here stops a release or delays a write: a source that cannot tell, or does not answer, leaves it unknown.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from daemon.api.status import FlagStatus, FlagUsage
from daemon.control.resolved import FlagUse, Resolved
from daemon.control.standing import flag_plan
from daemon.kube.store import Key
from daemon.rollout import lockstep
from daemon.rollout.model import FlagView
from daemon.rollout.sentence import count, flag_shares, percent
from daemon.rollout.turn import EXPOSED
from flags.errors import FlagError
from flags.model import Evaluations, FlagRef
from flags.plan import Mode
from flags.provider import FlagProvider, UsageMetrics
from flags.usage import REPORTED, Bounds, Count, Finding, bounds, grown, judged, together

log = logging.getLogger("linnet.flagusage")

PATIENCE: Final = 2.0  # seconds for all flags of a Canary together: a pass waits for it
Provide = Callable[[FlagUse], Awaitable[FlagProvider]]


class _Window:
    """One share of one flag, from when it was seen."""

    def __init__(self, meant: object, now: float) -> None:
        self.meant = meant
        self.due = now + REPORTED
        self.rows: tuple[Evaluations, ...] | None = None
        self.counts: dict[str, Count] = {}
        self.weight = 100  # the least that the canary had
        self.done = False


class UsageBoard:
    """The counts of the flags of all releases."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[Key, dict[str, _Window]] = {}

    def forget(self, key: Key) -> None:
        self._windows.pop(key, None)

    def again_in(self, key: Key) -> float | None:
        """When there is something to ask next."""
        due = [w.due for w in self._windows.get(key, {}).values() if not w.done]
        return max(1.0, min(due) - self._clock()) if due else None

    async def add(self, resolved: Resolved, views: Sequence[FlagView], provide: Provide) -> tuple[FlagView, ...]:
        """The views with what is new about their flags."""
        key, uses = resolved.canary.key, {use.name: use for use in resolved.flags}
        before = self._windows.get(key, {})
        windows = {v.name: self._window(resolved, v, before.get(v.name)) for v in views if _met(resolved, v)}
        self._windows[key] = windows
        due = [v for v in views if v.name in windows and not windows[v.name].done and windows[v.name].due <= self._clock()]
        if not due:
            return tuple(views)
        found: dict[str, FlagUsage] = {}

        async def ask(view: FlagView) -> None:
            window = windows[view.name]
            window.due = self._clock() + REPORTED
            usage = await _ask(resolved, view, uses[view.name], window, provide)
            if usage is not None:
                found[view.name] = usage

        try:
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
                for view in due:
                    tasks.create_task(ask(view))
        except TimeoutError:
            log.info("%s/%s: usage metrics did not answer within %g s", *key, PATIENCE)
        return tuple(msgspec.structs.replace(v, usage=found.get(v.name)) for v in views)

    def _window(self, resolved: Resolved, view: FlagView, known: _Window | None) -> _Window:
        rollout = resolved.canary.status.rollout
        step, weight = (rollout.step, rollout.weight_reached) if rollout is not None else (0, 0)
        meant = (step, view.percent, view.cohorts, view.gated)
        window = known if known is not None and known.meant == meant else _Window(meant, self._clock())
        window.weight = min(window.weight, weight)
        return window


def _met(resolved: Resolved, view: FlagView) -> bool:
    """Whether somebody should meet the flag now: SDKs have it, and behind a gate requests reach the canary."""
    status = resolved.canary.status
    if status.rollout is None or status.phase not in EXPOSED or not view.seen or view.error or view.drift or view.open:
        return False
    return lockstep.on(view) and (_mode(resolved, view) != "Gated" or status.rollout.weight_reached > 0)


def _mode(resolved: Resolved, view: FlagView) -> Mode:
    return flag_plan(resolved, view.name).mode


async def _ask(resolved: Resolved, view: FlagView, use: FlagUse, window: _Window, provide: Provide) -> FlagUsage | None:
    """What is to be said anew; None where nothing is."""
    try:
        provider = await provide(use)
        if not isinstance(provider, UsageMetrics):
            window.done = True
            return None
        rows = await provider.usage(FlagRef(key=use.key, source=use.source.name))
    except FlagError as problem:
        window.done = not problem.retryable
        return FlagUsage(found="Unknown", message=f"usage metrics: {problem}"[:1000]) if window.done else None
    if window.rows is None:
        window.rows = rows
        return None
    window.counts, window.rows = together(window.counts, grown(window.rows, rows)), rows
    most = max((share.percent or 0 for share in view.cohorts), default=0)
    expected = bounds(_mode(resolved, view), view.percent or 0, most, window.weight)
    finding = judged(window.counts, expected)
    window.done = finding.found == "Confirmed"
    before = next((f for f in resolved.canary.status.flags if f.name == view.name), None)
    if finding.found == "Counting" and not finding.yes and before is not None and before.usage is not None:
        return None  # too little to take back what was found at another share
    return FlagUsage(found=finding.found, yes=finding.yes, no=finding.no, message=words(view, before, finding, expected))


def words(view: FlagView, status: FlagStatus | None, finding: Finding, expected: Bounds) -> str:
    """What people read of it."""
    at = f"flag {view.key}" if status is None else f"flag {view.key} at {flag_shares(status)}"
    apps = f" by {', '.join(finding.apps[:5])}" if finding.apps else ""
    total = finding.yes + finding.no
    evaluated = f"{at} was evaluated {count(total)} times{apps}"
    if finding.found == "ExposureMismatch":
        low, high = (f"{100 * part:.3g}" for part in (expected.low, expected.high))
        span = f"at most {high}" if expected.mixed else high if low == high else f"{low} to {high}"
        return f"{evaluated}, and was on in {percent(finding.yes, total)} of them, where {span} % was to be expected"
    if finding.found != "NoExposure":
        return ""
    if not total:
        return f"{at} was never evaluated, as far as SDKs report it: the canary proves nothing of it"
    track = "; perhaps the app does not hand its track (LINNET_TRACK) to the SDK" if expected.mixed else ""
    return f"{evaluated}, and was never on: the canary proves nothing of it{track}"
