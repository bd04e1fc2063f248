"""How many decisions a second of one core: `python -m bench.decide [--json]`.

The mix is what a daemon meets: every pass of a good, a bad, an undecided, an aborted and an overtaken release, recorded in the
small world of the unit tests with flags, a route and an autoscaler, then decided again and again. One core, no I/O.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

from daemon.api.canary import CanarySpec
from daemon.api.status import CanaryStatus
from daemon.rollout.decide import decide
from daemon.rollout.model import Decision, Observed
from tests.unit.rollout.world import Autoscaler, Version, World
from tests.unit.rollout.worlds import flagged, outcomes, releasing

GOAL = 5_000


@dataclass(frozen=True)
class Case:
    """One pass as it was met."""

    spec: CanarySpec
    status: CanaryStatus
    seen: Observed
    now: float


def record() -> list[Case]:
    """Every pass of five releases."""
    cases: list[Case] = []

    def keep(world: World, seen: Observed, before: CanaryStatus, _: Decision) -> None:
        cases.append(Case(world.spec_in_force(), before, seen, world.now))

    def start(judge: str) -> World:
        made = releasing(Version("v2", judge=judge), checked=False, spec=flagged() | outcomes(), hpa=Autoscaler())
        made.checks.append(keep)
        return made

    start("good").settle()
    start("bad").settle()
    start("silent").reach("Inconclusive").seconds(60)
    start("good").reach("Progressing", step=1).seconds(20).say("abort").settle()
    overtaken = start("good").reach("Promoting", promotion="Rolling").seconds(1)
    overtaken.apply("v3")
    overtaken.settle()
    return cases


def measure(cases: list[Case], seconds: float) -> tuple[float, dict[str, float]]:
    """Decisions a second of CPU time over the whole mix, and microseconds by phase; other processes do not count."""
    spent: dict[str, float] = defaultdict(float)
    met: Counter[str] = Counter()
    clock = time.process_time
    began = clock()
    while clock() - began < seconds:
        for case in cases:
            before = clock()
            decide(case.spec, case.status, case.seen, case.now, name="checkout")
            spent[case.status.phase] += clock() - before
            met[case.status.phase] += 1
    total = sum(met.values())
    return total / (clock() - began), {phase: 1e6 * spent[phase] / met[phase] for phase in sorted(spent)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.decide", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure")
    options = parser.parse_args()
    cases = record()
    rate, phases = measure(cases, options.seconds)
    result = {
        "decisions_per_second": round(rate),
        "goal": GOAL,
        "passes": len(cases),
        "microseconds": {p: round(m, 1) for p, m in phases.items()},
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{'phase':<14}{'passes':>8}{'us/decision':>14}")
        count: Counter[str] = Counter(c.status.phase for c in cases)
        for phase, micro in phases.items():
            print(f"{phase:<14}{count[phase]:>8}{micro:>14.1f}")
        print(f"{'all':<14}{len(cases):>8}{1e6 / rate:>14.1f}   {rate:,.0f} decisions/s (goal {GOAL:,})")
    return 0 if rate >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
