"""What is wrong with how a release is judged: metrics of no kind, margins that contradict each other, templates that could never end it."""

from typing import Final

from daemon.api import rules, templates
from daemon.api.analysis import AnalysisTemplateSpec, Arg, TemplateUse
from daemon.api.bounds import positive
from daemon.api.canary import Analysis, Metric, Outcome, Outcomes, Step
from daemon.api.errors import ApiError, Errors, fault
from daemon.api.quantities import parse_duration, parse_margin
from daemon.api.structure import nearest

PRESETS: Final = (
    "HTTPErrorRatio",
    "HTTPLatency",
    "GRPCErrorRatio",
    "GRPCLatency",
    "CPUPerRequest",
    "QueueAge",
    "Restarts",
    "TraefikErrorRatio",
    "EnvoyErrorRatio",
    "EnvoyLatency",
)


def analysis_faults(analysis: Analysis, path: str) -> Errors:
    for index, metric in enumerate(analysis.metrics or []):
        yield from _metric(metric, f"{path}.metrics[{index}]")
    yield from _restarts(analysis.metrics or [], f"{path}.metrics")
    yield from positive(analysis.interval, f"{path}.interval")
    yield from positive(analysis.deadline, f"{path}.deadline")
    if analysis.deadline is not None:
        for name, value in (("interval", analysis.interval), ("warmUp", analysis.warm_up)):
            if value is not None and parse_duration(value) >= parse_duration(analysis.deadline) > 0:
                text = f"{value} must be shorter than the deadline of {analysis.deadline}, or nothing is judged in time"
                yield fault(f"{path}.{name}", value, text)
    if analysis.outcomes is not None:
        yield from _outcomes(analysis.outcomes, f"{path}.outcomes")

    for index, use in enumerate(analysis.templates or []):
        yield from _template_use(use, f"{path}.templates[{index}]")


def templates_only_faults(analysis: Analysis, steps: list[Step], path: str) -> Errors:
    """Something must measure until the end, and nothing counts requests."""
    measured = any(use.when in (None, "Background") for use in analysis.templates or [])
    if not measured and not (steps and steps[-1].analysis is not None):
        text = "TemplatesOnly needs a template that judges to the end: name one in templates, or make the last step an analysis"
        yield fault(f"{path}.analysis.judge", analysis.judge, text)
    for index, step in enumerate(steps):
        if step.dwell is not None and step.dwell.min_requests is not None:
            text = "counts requests, which only judge Statistical does; use minDuration, or a template that measures them"
            yield fault(f"{path}.steps[{index}].dwell.minRequests", step.dwell.min_requests, text)


def _template_use(use: TemplateUse, path: str) -> Errors:
    yield from args_faults(use.args or [], f"{path}.args")
    yield from positive(use.interval, f"{path}.interval")
    wanted = use.threshold_range
    if wanted is not None and wanted.min is None and wanted.max is None:
        yield fault(f"{path}.thresholdRange", None, "needs min, max or both")
    if wanted is not None and wanted.min is not None and wanted.max is not None and wanted.min > wanted.max:
        yield fault(f"{path}.thresholdRange", wanted.min, f"min {wanted.min:g} is above max {wanted.max:g}: no value could pass")


def args_faults(given: list[Arg], path: str) -> Errors:
    for index, arg in enumerate(given):
        if (arg.value is None) == (arg.value_from is None):
            yield fault(f"{path}[{index}]", arg.name, f"arg {arg.name!r} needs exactly one of value and valueFrom", "NotOneKind")
        source = arg.value_from
        if source is not None and (source.secret_key_ref is None) == (source.field_ref is None):
            yield fault(f"{path}[{index}].valueFrom", arg.name, "needs exactly one of secretKeyRef and fieldRef", "NotOneKind")


def template_faults(spec: AnalysisTemplateSpec, path: str) -> Errors:
    for found in templates.faults(spec):
        yield fault(f"{path}.{found.path}", found.value, found.message)


def _metric(metric: Metric, path: str) -> Errors:
    kinds = [name for name in rules.METRIC_KINDS if getattr(metric, name) is not None]
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)} at once; keep one" if kinds else "none of preset, ratio; for errors write preset: HTTPErrorRatio"
        yield fault(path, None, f"metric {metric.name!r} has {found}", "NotOneKind")
    if metric.preset is not None and metric.preset not in PRESETS:
        near = nearest(metric.preset, list(PRESETS))
        way_out = f"did you mean {near}?" if near else f"this version has {', '.join(PRESETS)}; or give a ratio"
        yield fault(f"{path}.preset", metric.preset, f"{metric.preset!r} is not a preset; {way_out}")
    if metric.direction == "HigherIsBetter" and metric.ratio is None:
        yield fault(
            f"{path}.direction", metric.direction, "HigherIsBetter goes with ratio, whose errors then count what is wanted; remove it"
        )
    yield from _margins(metric, path)
    if metric.histogram is not None or metric.gauge is not None or metric.preset in rules.RELATIVE_PRESETS:
        for name, text in (("rollbackIfWorseBy", metric.rollback_if_worse_by), ("promoteIfWithin", metric.promote_if_within)):
            if text is not None and text.endswith("pp"):
                yield fault(f"{path}.{name}", text, f"{text}: percentage points are for shares of requests; write 10% or 1.1x")


def _restarts(metrics: list[Metric], path: str) -> Errors:
    """It has margins and a source of its own, and proves nothing by itself."""
    found = [(index, m) for index, m in enumerate(metrics) if m.preset == "Restarts"]
    for index, metric in found:
        for name, value in (
            ("sourceRef", metric.source_ref and metric.source_ref.name),
            ("armLabels", metric.arm_labels and metric.arm_labels.canary),
            ("lag", metric.lag),
            ("rollbackIfWorseBy", metric.rollback_if_worse_by),
            ("promoteIfWithin", metric.promote_if_within),
        ):
            if value is not None:
                text = "goes not with preset Restarts: the pods' own status tells them, and its margins are its own; remove it"
                yield fault(f"{path}[{index}].{name}", value, text)
    if len(found) > 1:
        yield fault(f"{path}[{found[1][0]}].preset", "Restarts", "Restarts is there twice; keep one")
    if found and len(found) == len(metrics):
        text = "Restarts ends a release and proves none fine: name a metric of what the pods do beside it, such as preset: HTTPErrorRatio"
        yield fault(f"{path}[{found[0][0]}].preset", "Restarts", text)


def _margins(metric: Metric, path: str) -> Errors:
    given = {"rollbackIfWorseBy": metric.rollback_if_worse_by, "promoteIfWithin": metric.promote_if_within}
    margins = {}
    for name, text in given.items():
        if text is None:
            continue
        try:
            margins[name] = parse_margin(text)
        except ApiError as error:
            yield fault(f"{path}.{name}", text, str(error))
    missing = [name for name, text in given.items() if text is None]
    if len(missing) == 1:
        other = next(name for name in given if name not in missing)
        yield fault(f"{path}.{missing[0]}", None, f"is missing beside {other}: give both margins or neither", "Required")
    if len(margins) == 2:
        tolerated, acceptable = margins["rollbackIfWorseBy"], margins["promoteIfWithin"]
        if tolerated == acceptable or not acceptable.covers(tolerated):
            text = f"{given['promoteIfWithin']} must be wider than rollbackIfWorseBy {given['rollbackIfWorseBy']}, in both its parts"
            yield fault(f"{path}.promoteIfWithin", given["promoteIfWithin"], f"{text}; raise it or lower the other")


def _outcomes(outcomes: Outcomes, path: str) -> Errors:
    fields: dict[str, Outcome | None] = {
        "inconclusive": outcomes.inconclusive,
        "noData": outcomes.no_data,
        "providerError": outcomes.provider_error,
    }
    for name, outcome in fields.items():
        if outcome is None:
            continue
        yield from positive(outcome.then_after, f"{path}.{name}.thenAfter")
        if outcome.action != "Wait":
            for field, value in (("thenAfter", outcome.then_after), ("then", outcome.then)):
                if value is not None:
                    text = f"goes with action Wait alone, not {outcome.action}; remove it or set action: Wait"
                    yield fault(f"{path}.{name}.{field}", value, text)
