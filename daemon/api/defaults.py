"""What holds where a user says nothing: the profile's word first, then Linnet's.

Not in the CRDs: a default written into the object by the API server would look like the user's own word and hide the profile.
"""

from typing import Any, Final, TypeVar

import msgspec

from daemon.api.bluegreen import is_blue_green
from daemon.api.canary import (
    Analysis,
    CanarySpec,
    Dwell,
    Flag,
    Metric,
    NotifyRoute,
    Outcome,
    Outcomes,
    ServiceRef,
    Step,
    Strategy,
    Traffic,
    WorkloadRef,
)
from daemon.api.fields import LocalRef, Model
from daemon.api.kinds import CanaryProfileSpec
from daemon.api.quantities import format_duration, parse_duration, parse_margin
from daemon.api.rules import LATENCY_PRESETS

__all__ = ["DEFAULT_SOURCE", "DWELL", "effective", "format_duration", "merge", "parse_duration", "parse_margin"]

DEFAULT_SOURCE: Final = "default"  # name of the MetricSource and FlagSource that are meant when none is named
DWELL: Final = Dwell(min_duration="2m")
WEIGHTS: Final = (5, 15, 50)
BAKE: Final = "15m"  # with an adaptive ramp
ERRORS: Final = Metric(name="errors", preset="HTTPErrorRatio")
RESTARTS: Final = Metric(name="restarts", preset="Restarts")
METRICS: Final = [ERRORS, RESTARTS]
TOLERATED: Final = "1.1x+0.02pp"
ACCEPTABLE: Final = "1.25x+0.3pp"
RELATIVE: Final = {"latency": ("1.05x", "1.25x"), "usage": ("1.1x", "1.25x"), "age": ("1.5x", "2x"), "wanted": ("1.05x", "1.1x")}

_OUTCOMES: Final = Outcomes(
    inconclusive=Outcome(action="Wait", then_after="24h", then="Rollback"),
    no_data=Outcome(action="Wait", then_after="30m", then="Rollback"),
    provider_error=Outcome(action="Wait", then_after="30m", then="Rollback"),
)
WORKLOAD: Final = WorkloadRef(name="unnamed", api_version="apps/v1", kind="Deployment")
_BUILT_IN: Final = CanarySpec(
    mode="Enforce",
    hold="Auto",
    traffic=Traffic(mode="Auto", identity="Auto", drain="10s"),
    strategy=Strategy(type="Canary", ramp="Adaptive", baseline="Stable", placement="SideBySide"),
    steps=[Step(weight=weight) for weight in WEIGHTS],
    analysis=Analysis(
        judge="Statistical",
        metrics=METRICS,
        max_false_rollback_percent=1.0,
        max_bad_promotion_percent=5.0,
        interval="15s",
        warm_up="60s",
        deadline="1h",
        outcomes=_OUTCOMES,
    ),
    progress_deadline="10m",
    on_rollback="Auto",
)
# Structs whose fields only make sense together: the nearer word replaces the whole.
_ATOMIC: Final = (Outcome, LocalRef, ServiceRef)

M = TypeVar("M", bound=Model)


def merge(spec: CanarySpec, profile: CanaryProfileSpec | None) -> CanarySpec:
    """`spec` over `profile`: scalars override, lists replace, structs merge; unset and empty mean the same.

    Metrics and flags that name no source get the profile's.
    """
    if profile is None:
        return spec
    shared = {name: getattr(profile, name) for name in CanaryProfileSpec.__struct_fields__ if name in CanarySpec.__struct_fields__}
    merged = _over(spec, CanarySpec(workload_ref=spec.workload_ref, **shared))
    if profile.metric_source_ref is not None:
        analysis = merged.analysis or Analysis()
        metrics = [_sourced(metric, profile.metric_source_ref) for metric in analysis.metrics or METRICS]
        merged = msgspec.structs.replace(merged, analysis=msgspec.structs.replace(analysis, metrics=metrics))
    if profile.flag_source_ref is not None and merged.flags:
        merged = msgspec.structs.replace(merged, flags=[_sourced(flag, profile.flag_source_ref) for flag in merged.flags])
    return merged


def effective(spec: CanarySpec) -> CanarySpec:
    """The merged spec with every built field filled in: what a rollout snapshots and acts on."""
    full = _over(spec, _BUILT_IN)
    if is_blue_green(spec):
        full = _blue_green(spec, full)
    analysis, traffic, strategy = full.analysis, full.traffic, full.strategy
    if analysis is None or traffic is None or strategy is None:
        raise AssertionError("the built-in spec fills all of them")
    if full.flags_only:
        strategy = msgspec.structs.replace(strategy, ramp="Steps")  # what evidence moves by itself is a weight
    by_evidence = strategy.ramp == "Adaptive" and analysis.judge != "TemplatesOnly"
    return msgspec.structs.replace(
        full,
        workload_ref=None if spec.workload_ref is None else _over(spec.workload_ref, WORKLOAD),
        traffic=traffic,
        strategy=strategy,
        steps=[_with_dwell(step, by_evidence=by_evidence) for step in full.steps or []],
        flags=[_full_flag(flag, gated=not full.flags_only) for flag in full.flags or []],
        analysis=msgspec.structs.replace(
            analysis,
            # What no judge looks at is not asked for; a profile may still name metrics for those who compare.
            metrics=[] if analysis.judge == "TemplatesOnly" else [_full_metric(metric) for metric in analysis.metrics or []],
            outcomes=_full_outcomes(analysis.outcomes or _OUTCOMES),
            bake=analysis.bake or (BAKE if by_evidence else None),
        ),
        notify=[_full_route(route) for route in full.notify or []],
    )


def _blue_green(spec: CanarySpec, full: CanarySpec) -> CanarySpec:
    """A stop to compare at where a judge compares, and all requests on the new version at the end: said here, where the owner did not."""
    compared = full.analysis is None or full.analysis.judge != "TemplatesOnly"
    steps = spec.steps or ([Step(name="compare", weight=50)] if compared else [])
    if all(step.weight != 100 for step in steps):
        steps = [*steps, Step(name=_free("switch", steps), weight=100)]
    return msgspec.structs.replace(full, steps=steps, strategy=msgspec.structs.replace(full.strategy or Strategy(), ramp="Steps"))


def _free(name: str, steps: list[Step]) -> str:
    return name if all(step.name != name for step in steps) else f"{name}-all"


def _over(upper: M, lower: M) -> M:
    """`upper`, with what it leaves out taken from `lower`."""
    changes: dict[str, Any] = {}
    for name in upper.__struct_fields__:
        ours, theirs = getattr(upper, name), getattr(lower, name)
        if ours is None or ours == []:
            if theirs is not None and theirs != ours:
                changes[name] = theirs
        elif isinstance(ours, Model) and type(ours) is type(theirs) and not isinstance(ours, _ATOMIC):
            changes[name] = _over(ours, theirs)
    return msgspec.structs.replace(upper, **changes)


S = TypeVar("S", Metric, Flag)


def is_restarts(metric: Metric) -> bool:
    """What the pods themselves tell: it has no source, and margins of its own."""
    return metric.preset == "Restarts"


def _sourced(entry: S, source: LocalRef) -> S:
    if isinstance(entry, Metric) and is_restarts(entry):
        return entry
    return entry if entry.source_ref is not None else msgspec.structs.replace(entry, source_ref=source)


def _with_dwell(step: Step, *, by_evidence: bool) -> Step:
    """An exposure without a dwell would be over before anything was measured, unless the evidence itself moves the weight."""
    exposes = step.weight is not None or step.flags
    return msgspec.structs.replace(step, dwell=DWELL) if exposes and step.dwell is None and not by_evidence else step


def _full_flag(flag: Flag, *, gated: bool) -> Flag:
    sourced = _sourced(flag, LocalRef(name=DEFAULT_SOURCE))
    return _over(sourced, Flag(name=flag.name, key=flag.name, mode="Gated" if gated else "Independent", on_promotion="Keep"))


def _full_metric(metric: Metric) -> Metric:
    if is_restarts(metric):
        return metric
    sourced = _sourced(metric, LocalRef(name=DEFAULT_SOURCE))
    if metric.rollback_if_worse_by is None and metric.promote_if_within is None:
        tolerated, acceptable = _usual_margins(metric)
        return msgspec.structs.replace(sourced, rollback_if_worse_by=tolerated, promote_if_within=acceptable)
    return sourced


def _full_outcomes(outcomes: Outcomes) -> Outcomes:
    """A wait without an end gets the built-in one: every waiting state has a deadline."""
    changes = {}
    for name in ("inconclusive", "no_data", "provider_error"):
        outcome, built_in = getattr(outcomes, name), getattr(_OUTCOMES, name)
        if outcome.action == "Wait":
            changes[name] = _over(outcome, built_in)
    return msgspec.structs.replace(outcomes, **changes)


def _full_route(route: NotifyRoute) -> NotifyRoute:
    if route.on:
        return route
    return msgspec.structs.replace(route, on=["Started", "Step", "Paused", "Promoted", "RolledBack", "Inconclusive", "Observed"])


def has_usual_margins(metric: Metric) -> bool:
    """Whether its margins are Linnet's: those that an owner wrote down are kept to the letter."""
    return (metric.rollback_if_worse_by, metric.promote_if_within) in (_usual_margins(metric), (None, None))


def _usual_margins(metric: Metric) -> tuple[str, str]:
    """By what is measured: a share of failures, a duration, what a request takes, a share of wanted outcomes."""
    if metric.histogram is not None or metric.preset in LATENCY_PRESETS:
        return RELATIVE["latency"]
    if metric.preset == "QueueAge":
        return RELATIVE["age"]
    if metric.gauge is not None or metric.preset == "CPUPerRequest":
        return RELATIVE["usage"]
    return RELATIVE["wanted"] if metric.direction == "HigherIsBetter" else (TOLERATED, ACCEPTABLE)
