"""The judge's reasons as structured values: a stable code, a clause for people, and the numbers behind it.

The one sentence of a rollout is built elsewhere, from these; the clauses here are complete on their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from analyzers.options import JudgeConfig
from analyzers.stats.combine import Share
from analyzers.ticks import Assignment, Code, MetricEvidence, Problem, Reason, Tick

if TYPE_CHECKING:
    from analyzers.metric_judge import MetricJudge, Weighed

FEW_PODS: Final = "few pods: bound widened to"


class Reasons:
    """Builds the reasons of one tick."""

    def __init__(self, config: JudgeConfig, tick: Tick) -> None:
        self._config, self._tick = config, tick

    def worse(self, guilty: Share | None, total: float, metrics: Mapping[str, MetricJudge[Weighed]]) -> Reason:
        name = guilty.metric if guilty else next(iter(metrics))
        line = metrics[name].line()
        need = 1.0 / self._config.alpha
        odds = math.exp(min(total, 690.0))
        return Reason(
            code=Code.WORSE_THAN_TOLERATED,
            metric=name,
            text=f"{compared(line)}; {_odds(odds)} : 1 against 'no worse than tolerated', {_odds(need)} : 1 needed",
            numbers={
                "odds": odds, "odds_needed": need, "canary_errors": line.canary_errors, "canary_requests": line.canary_requests,
                "baseline_errors": line.baseline_errors, "baseline_requests": line.baseline_requests,
            },
        )  # fmt: skip

    def leaning(self, total: float) -> Reason:
        odds = math.exp(min(total, 690.0))
        return Reason(code=Code.LEANING_BAD, text=f"the evidence leans against the canary ({odds:.2g} : 1)", numbers={"odds": odds})

    def split_broken(self, share: float) -> Reason:
        return Reason(
            code=Code.SPLIT_BROKEN,
            text=f"the canary gets {share * 100:.3g} % of the requests where {self._tick.weight:g} % was set: nothing can be concluded from such a split",
            numbers={"share_percent": share * 100.0, "weight": self._tick.weight},
        )

    def not_random(self) -> Reason:
        how = "copies of requests" if self._tick.assignment is Assignment.MIRRORED else "selected requests"
        return Reason(code=Code.NOT_RANDOM, text=f"the canary gets {how} only: bad news count, good ones do not")

    def too_few_units(self) -> Reason:
        canaries = self._tick.units[0] if self._tick.units else 1
        return Reason(
            code=Code.TOO_FEW_UNITS,
            text=f"with {canaries} canary pods a slow node cannot be told from a slow release: more pods, or `strictness: Widen`",
            numbers={"canary_units": float(canaries)},
        )

    def baking(self, metrics: Mapping[str, MetricJudge[Weighed]]) -> Reason:
        ramp = self._config.ramp
        minutes = _minutes(ramp.bake_seconds) if ramp else ""
        within = f"every metric is within its bound{_widened(metrics)}"
        return Reason(code=Code.BAKING, text=f"{within}; the release bakes at the top weight until {minutes} are over")

    def over_budget(self, risk: float, budget: float) -> Reason:
        text = f"at the next weight up to {risk:.0f} requests could fail in a minute before it is noticed, {budget:g} are allowed"
        return Reason(code=Code.RISK_BUDGET, text=text, numbers={"risk": risk, "budget": budget})

    def proven(self, metrics: Mapping[str, MetricJudge[Weighed]]) -> Reason:
        return Reason(
            code=Code.PROVEN_FINE,
            text=f"every metric is within its bound ({100 - self._config.max_bad_promotion_percent:g} % sure){_widened(metrics)}",
            numbers={"sure_percent": 100.0 - self._config.max_bad_promotion_percent},
        )

    def more(self, missing: Iterable[str], metrics: Mapping[str, MetricJudge[Weighed]]) -> Reason:
        lines = [metrics[n].line() for n in missing]
        known = [line.seconds_needed for line in lines if line.seconds_needed is not None]
        numbers = {"seconds_needed": max(known)} if len(known) == len(lines) and known else {}
        about = f", about {_minutes(numbers['seconds_needed'])} more at this pace" if numbers else ""
        return Reason(
            code=Code.MORE_EVIDENCE_NEEDED,
            text=f"nothing speaks against the canary; not yet proven: {', '.join(missing)}{about}",
            numbers=numbers,
        )

    def deadline(self, missing: Iterable[str], metrics: Mapping[str, MetricJudge[Weighed]]) -> Reason:
        numbers: dict[str, float] = {"minutes": self._config.deadline_seconds / 60.0}
        bounds = []
        for name in missing:
            line = metrics[name].line()
            if line.kind != "Ratio":
                bounds.append(f"{name}: not proven within its bound")
            elif line.excess_upper_pp is None:
                bounds.append(f"{name}: no bound could be shown in {line.canary_requests} canary requests")
            else:
                numbers[f"{name}.excess_upper_pp"] = line.excess_upper_pp
                bounds.append(f"{name}: at most {line.excess_upper_pp:g} pp worse, shown in {line.canary_requests} canary requests")
            if line.seconds_needed:
                numbers[f"{name}.seconds_needed"] = line.seconds_needed
        what = "; ".join(bounds) or "all metrics are proven, but something else held the release"
        return Reason(code=Code.DEADLINE, text=f"undecided after {_minutes(self._config.deadline_seconds)}: {what}", numbers=numbers)

    def both_worsened(self, *, final: bool) -> Reason:
        text = "the baseline sickened within five minutes of a higher canary weight"
        more = " for the second time, and it stays at 0" if final else "; weight 0 until it is calm, then one more try"
        return Reason(code=Code.BOTH_WORSENED, text=text + more, numbers={"weight": self._tick.weight})

    def no_canary_traffic(self, expected: float) -> Reason:
        return Reason(
            code=Code.NO_CANARY_TRAFFIC,
            text=f"the canary received nothing where about {expected:.0f} requests were expected",
            numbers={"expected": expected},
        )

    def problem(self, problem: Problem) -> Reason:
        return Reason(code=Code.DATA_PROBLEM, text=f"{problem.kind}: {problem.text}", metric=problem.metric)

    def baseline_sick(self, names: list[str]) -> Reason:
        return Reason(code=Code.BASELINE_SICK, text=f"the baseline is not (yet) calm: {', '.join(names)}", metric=names[0])

    def no_comparison(self) -> Reason:
        if self._tick.weight <= 0:
            return Reason(code=Code.NO_WEIGHT, text="the canary has no traffic weight")
        return Reason(code=Code.NO_CONTROL, text="all traffic is on the canary: there is nothing to compare it with")

    def warming_up(self) -> Reason:
        return Reason(
            code=Code.WARMING_UP,
            text="the canary's pods are warming up: only an outage counts",
            numbers={"seconds": self._config.warm_up_seconds},
        )

    def settling(self) -> Reason:
        return Reason(code=Code.SETTLING, text=f"the weight changed less than {self._config.settle_scrapes} scrapes ago")

    def no_traffic(self) -> Reason:
        return Reason(code=Code.NO_TRAFFIC, text="no requests to compare in this interval")


def few_pods(lines: Iterable[MetricEvidence]) -> str:
    """A clause for people: which bounds are not those that the owner wrote down, since so few pods cannot prove these."""
    found = [f"{line.widened} ({line.name})" for line in lines if line.widened]
    return f"{FEW_PODS if len(found) == 1 else FEW_PODS.replace('bound', 'bounds')} {', '.join(found)}" if found else ""


def bound_in_force(line: MetricEvidence) -> str:
    """The same of one metric alone."""
    return f"{FEW_PODS} {line.widened}" if line.widened else ""


def _widened(metrics: Mapping[str, MetricJudge[Weighed]]) -> str:
    said = few_pods(m.line() for m in metrics.values())
    return f"; {said}" if said else ""


def compared(line: MetricEvidence) -> str:
    """Both arms in the words of the metric's kind."""
    name, n_c, n_b = line.name, line.canary_requests, line.baseline_requests
    x_c, x_b = line.canary_errors, line.baseline_errors
    if line.kind == "Gauge":
        more = ((line.ratio_low or 1.0) - 1.0) * 100.0
        return f"{name}: {abs(more):.0f} % {'more' if more >= 0 else 'less'} than on the baseline"
    if line.kind == "Histogram":
        slow = f"{share(x_c, n_c)} of {n_c} canary requests took longer than {line.boundary:g} s"
        return f"{name}: {slow}, {share(x_b, n_b)} on the baseline"
    if line.kind == "Restarts":
        return f"{name}: the canary's pods restarted {times(x_c)} in {pod_time(n_c)}, the baseline's {times(x_b)} in {pod_time(n_b)}"
    if line.worse == "Lower":
        return f"{name}: {x_c} of {n_c} on the canary ({share(x_c, n_c)}), {x_b} of {n_b} on the baseline ({share(x_b, n_b)})"
    return f"{name}: {x_c} of {n_c} canary requests failed, {x_b} of {n_b} on the baseline"


def times(number: int) -> str:
    """'once', '7 times'."""
    return "once" if number == 1 else f"{number} times"


def pod_time(seconds: int) -> str:
    """Pods times time, as it is said: '40 s of a pod', '12 pod-minutes', '3.5 pod-hours'."""
    if seconds < 120:
        return f"{seconds} pod-seconds"
    return f"{seconds / 60:.0f} pod-minutes" if seconds < 7200 else f"{seconds / 3600:.3g} pod-hours"


def share(events: int, total: int) -> str:
    """A part of all with as many digits as it needs: 0.11 %, 4.9 %, 12 %."""
    percent = 100.0 * events / max(total, 1)
    digits = 0 if percent == 0 or percent >= 10 else 1 if percent >= 1 else 2
    return f"{percent:.{digits}f} %"


def _odds(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}".replace(",", " ") if value < 1e6 else f"{value:.1e}"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
