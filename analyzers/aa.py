"""A service judged against itself: pods of one version play canary and baseline in hours that are over (rule 17 of the notes).

Whatever the judge promises rests on what it assumes of a service: requests that fail on their own, pods that are much alike. Here the
service's own past says how far that holds, before a release is rolled back on the strength of it: nothing was released in these hours, so
each rollback is a mistake. The same hours, with some of the canary's successes counted as errors, say how soon a real one is found.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from analyzers.history import Counts, History, learn
from analyzers.judge import Judge
from analyzers.options import JudgeConfig
from analyzers.past import Window
from analyzers.ticks import Action, ArmCounts, BucketCounts, MetricCounts, Tick

NOT_CHANCE: Final = 0.01
"""So improbable a number of mistakes is no bad luck: the service is not what the judge takes it for."""


class Placebo(msgspec.Struct, frozen=True, kw_only=True):
    """One window with these pods as the canary. `stopped`: seconds until it was rolled back for nothing, and `blamed` the metric;
    `proven`: until it was proven fine; `caught`: until it was rolled back with the errors that were added. None: not in this window.
    """

    canary_pods: int
    pods: int
    stopped: float | None
    blamed: str
    proven: float | None
    caught: float | None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What the windows of one size of canary come to; minutes are medians over those in which it happened."""

    canary_pods: int
    pods: int
    windows: int
    stopped: int
    blamed: tuple[str, ...]
    chance: float
    proven: int
    proven_minutes: float | None
    caught: int
    caught_minutes: float | None

    @property
    def trusted(self) -> bool:
        """Whether as many mistakes may well happen to a judge that keeps its promise."""
        return self.chance >= NOT_CHANCE


def one_version(window: Window) -> tuple[str, ...]:
    """The pods that served from the beginning to the end; none where another version served in between, or fewer than two did."""
    counts = [c for c in (_requests(h) for h in window.history.values()) if c is not None]
    if not counts:
        return ()
    served = np.sum(counts, axis=0)
    third = max(1, served.shape[0] // 3)
    ends = served[:third].sum(axis=0), served[-third:].sum(axis=0)
    active = [u for u, total in zip(window.units, served.sum(axis=0), strict=True) if total > 0]
    whole = [u for u, first, last in zip(window.units, *ends, strict=True) if first > 0 and last > 0]
    same = len({u.rpartition("-")[0] for u in active}) == 1
    return tuple(whole) if same and len(whole) > 1 else ()


def _requests(history: History) -> Counts | None:
    return history.requests if history.buckets is None else history.buckets.sum(axis=2)


def chosen(pods: Sequence[str], number: int, salt: str) -> frozenset[str]:
    """As good as drawn by lot, and the same each time it is asked."""
    return frozenset(sorted(pods, key=lambda pod: hashlib.blake2b(f"{salt}/{pod}".encode(), digest_size=8).digest())[:number])


def play(config: JudgeConfig, before: Window, window: Window, canary: frozenset[str], *, excess: float) -> Placebo:
    """One window under the judge, with what the window before it teaches; then once more with `excess` of the successes as errors."""
    known = tuple(m for m in config.metrics if m.name in window.history)
    weight = 100.0 * len(canary) / len(window.units)
    bare = msgspec.structs.replace(config, metrics=known, ramp=None, ladder=(weight,), split=False, warm_up_seconds=0.0)
    learnt = learn(bare, before.history)
    stopped, blamed, proven = _judged(learnt, window, canary, 0.0)
    caught, _, _ = _judged(learnt, window, canary, excess)
    return Placebo(canary_pods=len(canary), pods=len(window.units), stopped=stopped, blamed=blamed, proven=proven, caught=caught)


def _judged(config: JudgeConfig, window: Window, canary: frozenset[str], excess: float) -> tuple[float | None, str, float | None]:
    """(seconds until rolled back, the metric to blame, seconds until first proven fine)."""
    judge, proven = Judge(config), None
    for tick in ticks(window, canary, excess, weight=config.ladder[0], scrape=config.scrape_seconds):
        answer = judge.tick(tick)
        after = (tick.index + 1) * config.scrape_seconds
        if answer.action is Action.ROLLBACK:
            return after, max(answer.metrics, key=lambda m: max(m.log_e_worse, m.log_e_catastrophe)).name, proven
        if proven is None and answer.action is Action.PROMOTE:
            proven = after
    return None, "", proven


def ticks(window: Window, canary: frozenset[str], excess: float, *, weight: float, scrape: float) -> Iterator[Tick]:
    """The window's increments as two arms. Errors are added evenly: each time that another whole one is due."""
    mine = [i for i, u in enumerate(window.units) if u in canary]
    others = [i for i, u in enumerate(window.units) if u not in canary]
    length = max(len(x) for h in window.history.values() for x in (h.requests, h.buckets) if x is not None)
    due = dict.fromkeys(window.history, 0.0)
    for k in range(length):
        arms, buckets = {}, {}
        for name, h in window.history.items():
            if h.requests is not None and h.events is not None:
                made, failed = int(h.requests[k, mine].sum()), int(h.events[k, mine].sum())
                due[name] += excess * (made - failed)
                added = int(due[name])
                due[name] -= added
                baseline = ArmCounts(int(h.requests[k, others].sum()), int(h.events[k, others].sum()))
                arms[name] = MetricCounts(ArmCounts(made, failed + added), baseline)
            elif h.buckets is not None:
                sums = [tuple(int(x) for x in h.buckets[k, places].sum(axis=0)) for places in (mine, others)]
                buckets[name] = BucketCounts(sums[0], sums[1])
        yield Tick(index=k, at=k * scrape, weight=weight, arms=arms, buckets=buckets, units=(len(mine), len(others)))


def findings(placebos: Sequence[Placebo], *, alpha: float) -> Findings:
    """Of windows with one size of canary; the number of pods is the usual one."""
    stopped = [p for p in placebos if p.stopped is not None]
    proven = [p.proven for p in placebos if p.proven is not None]
    caught = [p.caught for p in placebos if p.caught is not None]
    return Findings(
        canary_pods=round(statistics.median(p.canary_pods for p in placebos)),
        pods=round(statistics.median(p.pods for p in placebos)),
        windows=len(placebos),
        stopped=len(stopped),
        blamed=tuple(sorted({p.blamed for p in stopped})),
        chance=at_least(len(stopped), len(placebos), alpha),
        proven=len(proven),
        proven_minutes=statistics.median(proven) / 60.0 if proven else None,
        caught=len(caught),
        caught_minutes=statistics.median(caught) / 60.0 if caught else None,
    )


def at_least(seen: int, runs: int, chance: float) -> float:
    """P(Bin(runs, chance) >= seen)."""
    return 1.0 - math.fsum(math.comb(runs, k) * chance**k * (1.0 - chance) ** (runs - k) for k in range(seen))
