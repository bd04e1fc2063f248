"""What the judge costs: `python -m bench.judge_cost [--json]`. CPU of a tick, of 200 releases at once, bytes of state, time to import.

A tick has four metrics (two shares, a histogram of 12 buckets, a gauge) and tells of 20 pods. CPU time is asked, so a busy machine does
not change the figure much; the import is that of a fresh interpreter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Final

import msgspec
import numpy as np

from analyzers.judge import Judge
from bench.judge_policies import configured, tick_of
from bench.judge_world import SCRAPE, Run, Service, past

RELEASES: Final = 200
TICKS: Final = 200
IMPORTED: Final = """
import sys, time
begun = time.process_time()
import numpy
numpy_done = time.process_time()
import analyzers.judge, analyzers.history, analyzers.planner
done = time.process_time()
print(1000 * (numpy_done - begun), 1000 * (done - numpy_done), int("scipy.stats" in sys.modules))
"""


def measure() -> dict[str, float]:
    rng = np.random.default_rng(1)
    service = Service(conversion=0.03)
    config = configured(service, past(service, rng))
    judge, world = Judge(config), Run(service, rng)
    made = [tick_of(world.observe(20.0), (2, 20)) for _ in range(TICKS)]
    begun = time.process_time()
    for one in made:
        judge.tick(one)
    tick = 1000.0 * (time.process_time() - begun) / TICKS
    parts = [p for s in judge.state.metrics.values() for p in (s.ratio, s.histogram, s.gauge) if p is not None]
    numpy_ms, ours_ms, scipy = (float(x) for x in _imported())
    return {
        "tickMilliseconds": round(tick, 3),
        "percentOfOneCoreFor200Releases": round(RELEASES * tick / 1000.0 / SCRAPE * 100.0, 2),
        "largestTestStateBytes": max(len(msgspec.json.encode(p)) for p in parts),
        "judgeStateBytes": len(msgspec.json.encode(judge.state)),
        "importNumpyMilliseconds": round(numpy_ms, 1),
        "importAnalyzersMilliseconds": round(ours_ms, 1),
        "importsScipyStats": scipy,
    }


def _imported() -> list[str]:
    return subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=120).stdout.split()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.judge_cost", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object only")
    said = parser.parse_args(arguments)
    found = measure()
    if said.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<34}{value:>12}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
