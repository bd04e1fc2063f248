"""Gathers what the sentence before a release speaks of: the resolved objects, what was measured, and the planner's word on time."""

from functools import lru_cache
from typing import Final

import msgspec

from analyzers import planner
from analyzers.errors import AnalysisError
from analyzers.options import JudgeConfig, MetricConfig
from daemon.api.status import Forecast
from daemon.control.measuring import candidates, interval_of, is_error_ratio, judge_config
from daemon.control.resolved import Resolved
from daemon.rollout.model import Observed
from daemon.rollout.outlook import ALL, Expectation, Outlook, climb, describe, expect
from daemon.rollout.steps import RolloutPlan, plan_of

MOST_ERRORS: Final = 0.99


def outlook(resolved: Resolved, seen: Observed, forecast: Forecast | None) -> str:
    """Service, route, steps, flags, coverage, metrics, kind of hold, expected time."""
    plan = plan_of(resolved.spec, gitops=bool(seen.gitops))
    found = Outlook(
        plan=plan,
        service=resolved.service.name if resolved.service else "",
        routes=tuple(s.route for s in resolved.scopes),
        flags=tuple(f.key for f in resolved.flags),
        metrics=tuple(m.name for m in (*resolved.metrics, *([resolved.restarts] if resolved.restarts else ()))) or plan.background,
        source=", ".join(f"{s.item.spec.type} {s.item.name}" for s in resolved.sources) or "no source",
        interval=interval_of(resolved),
        gitops=seen.gitops,
        forecast=forecast,
        expectation=_expectation(resolved, plan, forecast),
        ramped=bool(plan.ramp) and not resolved.pod_ratio,
    )
    return describe(found)


def _expectation(resolved: Resolved, plan: RolloutPlan, forecast: Forecast | None) -> Expectation | None:
    """None where it cannot be told; only a part of the requests is split where not all pass the route."""
    if forecast is None or not forecast.requests_per_second:
        return None
    try:
        metrics = tuple(candidates(m, resolved)[0] for m in resolved.metrics)
        config = judge_config(resolved, tuple(m for m in metrics if is_error_ratio(m)))
    except (AnalysisError, ValueError):
        return None
    rate, errors = forecast.requests_per_second, min(MOST_ERRORS, (forecast.error_percent or 0.0) / 100)
    covered = (forecast.coverage_percent or ALL) / ALL
    partly = len(config.metrics) < len(metrics)
    if config.ramp is not None:
        minutes = planner.expected_minutes(config, rate * covered, {m.name: errors for m in config.metrics})
        return msgspec.structs.replace(climb(plan, None if minutes is None else minutes * 60), partly=partly)

    def seconds_to_prove(weight: int) -> float | None:
        times = [_prove(config, metric, weight / ALL * covered, rate, errors) for metric in config.metrics]
        found = [t for t in times if t is not None]
        return max(found) if found and len(found) == len(times) else None

    found = expect(plan, rate * covered, seconds_to_prove, config.warm_up_seconds + config.scrape_seconds / 2)
    return msgspec.structs.replace(found, partly=partly)


@lru_cache(maxsize=4096)
def _prove(config: JudgeConfig, metric: MetricConfig, share: float, rate: float, errors: float) -> float | None:
    """Seconds of this share until an equal canary is proven fine by this metric; asked in every pass at rest."""
    minutes = planner.plan(config, share, rate, errors, metric=metric).prove_minutes
    return None if minutes is None else minutes * 60
