"""`make walk`: releases by the hundred, drawn from a seed, against the daemon as it is shipped.

    python -m tests.walk --seed 7 --releases 500 [--shops 8]
    python -m tests.walk --replay TRACE.json         a plan that was printed before

Ends with 1 and the shortest plan found that still breaks a promise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.walk.paper import PaperGround
from tests.walk.plan import ALONE, Plan, draw, read
from tests.walk.run import Failure, shortest, walk


async def main(options: argparse.Namespace) -> int:
    began = time.monotonic()
    if options.replay:
        plans = [read(json.loads(options.replay.read_text()))]
    else:
        each = -(-options.releases // options.shops)
        without = () if options.kills else ALONE
        plans = [draw(options.seed, number, each, without=without) for number in range(options.shops)]
    print(f"seed {options.seed}: {sum(len(p.releases) for p in plans)} releases in {len(plans)} shops", flush=True)
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="linnet-walk-") as folder:
        async with PaperGround(Path(folder)).ready() as ground:
            failures: list[Failure] = []

            def tell(failure: Failure) -> None:
                failures.append(failure)
                print(f"\n{failure}", flush=True)

            try:
                async with asyncio.timeout(options.minutes * 60):
                    await walk(ground, plans, ends, "w", stop=not options.keep_going, tell=tell)
            except TimeoutError:
                print(f"stopped after {options.minutes:g} minutes")
            kept = ground.tracebacks()
        print(
            f"{sum(ends.values())} releases in {time.monotonic() - began:.0f} s: {dict(ends.most_common())}; {len(kept)} tracebacks in the log"
        )
        if not failures:
            return 0
        await _shrink(failures[0], options)
    return 1


async def _shrink(failure: Failure, options: argparse.Namespace) -> None:
    if not options.shrink:
        return

    async def again(plan: Plan) -> Failure | None:
        with tempfile.TemporaryDirectory(prefix="linnet-walk-") as folder:
            async with PaperGround(Path(folder)).ready() as ground:
                return next(iter(await walk(ground, [plan], Counter(), "s")), None)

    found, tries = await shortest(failure, again, options.shrink)
    print(f"\nthe shortest of {tries} tries:\n{found}\n{json.dumps(found.plan.plain())}")


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make walk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--releases", type=int, default=500)
    parser.add_argument("--shops", type=int, default=8, help="how many walk side by side")
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--shrink", type=int, default=12, help="how often a failure is played again to shorten it")
    parser.add_argument("--minutes", type=float, default=60.0, help="stops then, whatever is left of the plan")
    parser.add_argument("--keep-going", action="store_true", help="the other shops go on after a failure")
    parser.add_argument("--no-kills", dest="kills", action="store_false")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(options())))
