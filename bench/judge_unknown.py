"""How the judge does on releases it was not made with: `python -m bench.judge_unknown [--json --runs 2000]`.

Prints, for good and bad releases, what went wrong and what stayed undecided, over all and for each setting of the service and of the
harness (bench/unknown.py), so that a setting in which the judge is worse than elsewhere shows.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from analyzers.history import learn
from analyzers.judge import Judge
from analyzers.options import JudgeConfig, MetricConfig, RampConfig, latency, usage
from analyzers.ticks import Action, ArmCounts, BucketCounts, GaugeValues, MetricCounts, SplitCounts, Tick
from bench.judge import commit_seed
from bench.unknown import Interval, Side, Stream, Unknown, draw, past

STEPS: Final = (5.0, 10.0, 25.0, 50.0)
STEP_SECONDS: Final = 180.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    unknown: Unknown
    outcome: str
    minutes: float
    harm: float
    why: str
    seed: int

    @property
    def wrong(self) -> bool:
        return self.outcome == ("promote" if self.unknown.bad else "rollback")

    @property
    def undecided(self) -> bool:
        return self.outcome == "undecided"


def options(u: Unknown, rng: np.random.Generator) -> JudgeConfig:
    made = {"errors": MetricConfig(name="errors"), "latency": latency("latency", u.edges), "usage": usage("usage")}
    config = JudgeConfig(
        metrics=tuple(made[name] for name in u.metrics),
        scrape_seconds=u.scrape,
        ramp=None if u.steps else RampConfig(),
        ladder=STEPS if u.steps else (),
        split=u.tells_split,
    )
    return learn(config, past(u, rng))


def tick_of(u: Unknown, seen: Interval) -> Tick:
    c, b = seen.canary, seen.baseline
    share = 100.0 * c.requests / max(1, c.requests + b.requests)
    return Tick(
        index=seen.index,
        at=seen.index * u.scrape,
        weight=share if u.share_as_weight and seen.weight > 0 else seen.weight,
        arms={"errors": MetricCounts(ArmCounts(c.requests, c.errors), ArmCounts(b.requests, b.errors))} if "errors" in u.metrics else {},
        buckets={"latency": BucketCounts(_some(c), _some(b))} if "latency" in u.metrics else {},
        gauges={"usage": GaugeValues(c.usage, b.usage)} if "usage" in u.metrics else {},
        split=SplitCounts(c.requests, b.requests) if u.tells_split else None,
        units=(seen.canary_pods, u.pods) if u.tells_pods else None,
    )


def _some(side: Side) -> tuple[int, ...] | None:
    return side.buckets if side.requests else None


def play(seed: int) -> Ended:
    """One draw, until the judge ends it or an hour is over."""
    rng = np.random.default_rng([seed, 20261123])
    u = draw(rng)
    judge = Judge(options(u, rng))
    stream, harm, outcome, k, why = Stream(u, rng), 0.0, "", 0, ""
    wanted, held = (STEPS[0] if u.steps else judge.config.start_percent), 0
    for k in range(u.horizon):  # noqa: B007 - the last one is asked for below
        seen = stream.observe(wanted)
        harm += seen.harm
        if seen.lost:
            continue
        answer = judge.tick(tick_of(u, seen))
        why = str(answer.code)
        if answer.action in {Action.ROLLBACK, Action.PROMOTE, Action.INCONCLUSIVE} and (
            answer.action is not Action.PROMOTE or _over(u, wanted, held)
        ):
            outcome = {Action.ROLLBACK: "rollback", Action.PROMOTE: "promote"}.get(answer.action, "undecided")
            break
        wanted, held = _next(u, wanted, held + 1, answer.action, answer.wanted_weight)
    if outcome == "promote":
        harm += stream.harm_after_promotion() if u.bad else 0.0
    return Ended(unknown=u, outcome=outcome or "undecided", minutes=(k + 1) * u.scrape / 60.0, harm=harm, why=why, seed=seed)


def _over(u: Unknown, wanted: float, held: int) -> bool:
    """Steps promote after the last one's time; a ramp when the judge says so."""
    return not u.steps or (wanted >= STEPS[-1] and held * u.scrape >= STEP_SECONDS)


def _next(u: Unknown, wanted: float, held: int, action: Action, wish: float | None) -> tuple[float, int]:
    if not u.steps:
        return (wanted if wish is None else wish), held
    if wish is not None and wish < wanted and not u.deaf:
        return wish, 0
    if action in {Action.ADVANCE, Action.PROMOTE} and held * u.scrape >= STEP_SECONDS and wanted < STEPS[-1]:
        return next(s for s in STEPS if s > wanted), 0
    return wanted, held


SETTINGS: Final[dict[str, Callable[[Unknown], str]]] = {
    "scrape": lambda u: f"{u.scrape:g} s",
    "rps": lambda u: f"1e{math.floor(math.log10(u.rps)):+d}",
    "effect": lambda u: u.effect,
    "errors": lambda u: "none" if not u.errors else f"1e{math.floor(math.log10(u.errors)):+d}",
    "clumps": lambda u: u.clumps,
    "buckets": lambda u: str(len(u.edges)),
    "metrics": lambda u: "+".join(u.metrics),
    "history": lambda u: u.history,
    "pods told": lambda u: str(u.tells_pods),
    "pods": lambda u: "scaled" if u.scaled else str(u.canary_pods),
    "split": lambda u: str(u.tells_split),
    "late": lambda u: str(u.late),
    "gaps": lambda u: str(u.gaps > 0),
    "lag": lambda u: str(u.lag),
    "weight": lambda u: "share" if u.share_as_weight else "set",
    "control": lambda u: ("deaf steps" if u.deaf else "steps") if u.steps else "ramp",
    "traffic": lambda u: u.traffic if u.traffic != "jump" else f"x 1e{round(math.log10(u.jump)):+d}",
    "incident": lambda u: u.incident,
    "cold start": lambda u: str(u.cold > 0),
    "onset": lambda u: "gradual" if u.gradual else "late" if u.onset else "start",
}


def figures(found: Iterable[Ended]) -> dict[str, Any]:
    ends = list(found)
    return {
        "runs": len(ends),
        "wrong": sum(e.wrong for e in ends),
        "undecided": sum(e.undecided for e in ends),
        "harm": round(math.exp(statistics.fmean(math.log1p(e.harm) for e in ends)), 1) if ends else 0.0,
        "minutes": round(statistics.fmean(e.minutes for e in ends), 1) if ends else 0.0,
    }


def by_setting(ends: list[Ended]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        name: {value: figures(e for e in ends if of(e.unknown) == value) for value in sorted({of(e.unknown) for e in ends})}
        for name, of in SETTINGS.items()
    }


def _show(title: str, ends: list[Ended]) -> None:
    f = figures(ends)
    print(f"\n{title}: {f['runs']} runs, wrong {f['wrong']}, undecided {f['undecided']}, harm {f['harm']}, {f['minutes']} min")
    for name, values in by_setting(ends).items():
        cells = [f"{v} {_percent(x, 'wrong')}/{_percent(x, 'undecided')} of {x['runs']}" for v, x in values.items()]
        print(f"  {name:<11}" + "; ".join(cells))


def _percent(f: dict[str, Any], what: str) -> str:
    return f"{100.0 * f[what] / f['runs']:.1f}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.judge_unknown", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--runs", type=int, default=400, help="draws")
    parser.add_argument("--seed", type=int, default=None, help="of the draws; default: from the commit")
    parser.add_argument("--list", action="store_true", help="print every run that went wrong, with its seed")
    said = parser.parse_args(arguments)
    if said.runs < 1:
        parser.error("--runs must be at least 1")
    seed = commit_seed() if said.seed is None else said.seed
    ends = [play(seed + i) for i in range(said.runs)]
    good, bad = [e for e in ends if not e.unknown.bad], [e for e in ends if e.unknown.bad]
    print(f"seed {seed}; in each cell: percent wrong/undecided of runs")
    _show("good releases (wrong: rolled back)", good)
    _show("bad releases (wrong: promoted)", bad)
    for e in ends if said.list else []:
        if e.wrong or e.undecided:
            print(f"{'WRONG' if e.wrong else 'open '} {e.seed} {e.outcome} {e.minutes:.0f} min {e.why} {e.unknown}")
    if said.json:
        print(
            json.dumps(
                {"seed": seed, "good": figures(good), "bad": figures(bad), "settings": {"good": by_setting(good), "bad": by_setting(bad)}}
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
