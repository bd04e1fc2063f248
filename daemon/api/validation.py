"""What is wrong with an object, all at once: for `linnet lint`, the reconciler on the merged spec, and annotations.

`validate` knows what the types cannot say. The CRDs say as much of it as CEL can of one object; some of it (a flag that only the
profile declares, margins that contradict each other) is only known when profile and object have met.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from analyzers.sources.counts import HOLE
from analyzers.templates import paths
from analyzers.templates.errors import PathError
from daemon.api import bluegreen, names, rules, templates
from daemon.api.analysis import AnalysisTemplateSpec, Arg, TemplateUse
from daemon.api.calendar import FreezeSpec
from daemon.api.canary import Analysis, CanarySpec, Flag, Metric, NotifyRoute, Outcome, Outcomes, ReleaseSpec, Step, Traffic, WorkloadRef
from daemon.api.errors import ApiError, FieldError, InvalidObjectError
from daemon.api.fields import Model, wire
from daemon.api.flagservices import generic_source
from daemon.api.flagsonly import flags_only_faults
from daemon.api.kinds import KINDS, CanaryProfileSpec, Kind, R, decode, kind_named
from daemon.api.quantities import parse_duration, parse_margin
from daemon.api.routers import KNOWN
from daemon.api.shares import cohort_faults, share_faults
from daemon.api.sources import METRIC_SOURCES, FlagSourceSpec, HttpAuth, HttpServer, MetricSourceSpec, NotifierSpec, WebSource
from daemon.api.structure import nearest, refuse_planned, structural_errors, unknown_fields
from daemon.api.windows import freeze_faults, window_faults
from flags.errors import Invalid
from flags.generic_view import checked

PRESETS: Final = ("HTTPErrorRatio", "HTTPLatency", "GRPCErrorRatio", "GRPCLatency", "CPUPerRequest", "TraefikErrorRatio")
_NOT_CANARIED: Final = {
    "StatefulSet": "its pods have an identity each and cannot run twice side by side",
    "DaemonSet": "its pods are one for a node and cannot run twice side by side",
    "Job": "it runs to its end and serves no requests",
    "CronJob": "it runs to its end and serves no requests",
    "ReplicaSet": "its template is never rolled out",
    "Pod": "it has no versions",
}

Errors = Iterator[FieldError]


def validate(spec: Model, *, path: str = "spec") -> list[FieldError]:
    """Every semantic and cross-field fault of a spec (of any kind) that is structurally sound.

    For a Canary, pass the spec merged with its profile: what the profile says is then taken into account.
    """
    checks: dict[type[Model], Callable[..., Errors]] = {
        CanarySpec: _canary,
        CanaryProfileSpec: _release,
        MetricSourceSpec: _metric_source,
        FlagSourceSpec: _flag_source,
        AnalysisTemplateSpec: _template,
        FreezeSpec: freeze_faults,
        NotifierSpec: lambda _spec, _path: iter(()),
    }
    check = checks.get(type(spec))
    return list(check(spec, path)) if check else []


def lint(raw: dict[str, Any]) -> list[FieldError]:
    """Everything wrong with one object as a user wrote it: kind, unknown fields, structure, what is planned, and sense."""
    version, name = raw.get("apiVersion"), raw.get("kind")
    if version != names.API_VERSION:
        return [FieldError(path="apiVersion", reason="InvalidValue", value=version, message=f"{version!r} is not {names.API_VERSION}")]
    try:
        kind = kind_named(str(name))
    except ApiError as error:
        near = nearest(str(name), [kind.name for kind in KINDS])
        hint = f"; did you mean {near}?" if near else ""
        return [FieldError(path="kind", reason="InvalidValue", value=name, message=f"{error}{hint}")]
    return [*unknown_fields(kind, raw), *faults(kind, raw)]


def faults(kind: Kind, raw: dict[str, Any]) -> list[FieldError]:
    """What makes an object unusable; an unknown field does not."""
    errors = [*structural_errors(kind, raw), *refuse_planned(kind, raw), *_name_errors(kind, raw)]
    if errors:
        return errors
    try:
        spec: Model = msgspec.convert(raw["spec"], type=kind.spec)
    except msgspec.ValidationError as error:  # a key that is no text, such as the bare `on` of YAML 1.1
        return [_error("spec", None, f"cannot be read: {error}")]
    return validate(spec)


def read(resource: type[R], raw: dict[str, Any]) -> R:
    """The object, or an `InvalidObjectError` with everything that is wrong with it."""
    kind = kind_named(resource.__name__)
    errors = structural_errors(kind, raw)
    if errors:
        raise InvalidObjectError(errors)
    return decode(resource, raw)


def _error(path: str, value: Any, message: str, reason: str = "InvalidValue") -> FieldError:
    return FieldError(path=path, reason=reason, value=value, message=message)


def _name_errors(kind: Kind, raw: dict[str, Any]) -> Errors:
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if kind.name == "Canary" and isinstance(name, str) and len(name) > names.NAME_LIMIT:
        text = f"has {len(name)} characters, more than {names.NAME_LIMIT}; it becomes a label of the canary's objects: choose a shorter one"
        yield _error("metadata.name", name, text)


def _canary(spec: CanarySpec, path: str) -> Errors:
    if spec.flags_only:
        yield from flags_only_faults(spec, path)
    elif spec.workload_ref is None:
        text = "names no workload: say which Deployment is released; only a release of flags alone (traffic.mode: None) goes without"
        yield _error(f"{path}.workloadRef", None, text, "Required")
    else:
        yield from _workload(spec.workload_ref, f"{path}.workloadRef")
    yield from _release(spec, path)
    declared = [flag.name for flag in spec.flags or []]
    yield from _undeclared(spec.steps or [], declared, f"{path}.steps")


def _workload(workload: WorkloadRef, path: str) -> Errors:
    kind = workload.kind or "Deployment"
    if kind != "Deployment":
        why = _NOT_CANARIED.get(kind, "Linnet does not know how it is rolled out")
        text = f"a {kind} is not released by Linnet: {why}; move what serves requests into a Deployment, or put the change behind a flag"
        yield _error(f"{path}.kind", kind, text, "UnsupportedWorkload")
    elif workload.api_version not in (None, "apps/v1"):
        yield _error(
            f"{path}.apiVersion", workload.api_version, f"{workload.api_version!r} has no Deployment: write apps/v1 or leave it out"
        )


def _release(spec: ReleaseSpec, path: str) -> Errors:
    if spec.traffic is not None:
        yield from _traffic(spec.traffic, f"{path}.traffic", profiled=isinstance(spec, CanarySpec) and spec.profile_ref is not None)
    yield from _steps(spec.steps or [], f"{path}.steps")
    if spec.traffic is not None and spec.traffic.mode == "PodRatio" and any(step.scale is not None for step in spec.steps or []):
        yield _error(
            f"{path}.steps", "PodRatio", "a scale step needs a route: by share of pods, canary pods have requests at once; use weight"
        )
    if isinstance(spec, CanaryProfileSpec) and spec.flags:
        yield from _undeclared(spec.steps or [], [flag.name for flag in spec.flags], f"{path}.steps")
    yield from bluegreen.faults(spec, path)
    if spec.strategy is not None:
        yield from _positive(spec.strategy.scale_down_delay, f"{path}.strategy.scaleDownDelay")
    yield from _flags(spec.flags or [], f"{path}.flags")
    yield from share_faults(spec.flags or [], spec.steps or [], f"{path}.steps", f"{path}.flags")
    if spec.analysis is not None:
        yield from _analysis(spec.analysis, f"{path}.analysis")
        if spec.analysis.judge == "TemplatesOnly":
            yield from _templates_only(spec.analysis, spec.steps or [], path)
    yield from window_faults(spec.windows or [], f"{path}.windows")
    yield from _positive(spec.progress_deadline, f"{path}.progressDeadline")
    yield from _notify(spec.notify or [], f"{path}.notify")


def _positive(duration: str | None, path: str) -> Errors:
    if duration is not None and parse_duration(duration) <= 0:
        yield _error(path, duration, f"{duration} must be longer than 0s; leave it out for the default")


def _port(port: int | str | None, path: str) -> Errors:
    if isinstance(port, int) and not 1 <= port <= 65535:
        yield _error(path, port, f"{port} is not a port: a number from 1 to 65535, or a port's name")
    if isinstance(port, str) and not names.is_label(port):
        hint = f"; write the number {port} without quotes" if port.isdigit() else ""
        yield _error(path, port, f"{port!r} is not the name of a port{hint}")


def _traffic(traffic: Traffic, path: str, *, profiled: bool) -> Errors:
    service = traffic.service_ref
    if service is not None:
        if len(service.name) > rules.SERVICE_LIMIT:
            text = f"has {len(service.name)} characters, more than {rules.SERVICE_LIMIT}; the canary's Service is named after it with "
            yield _error(f"{path}.serviceRef.name", service.name, f"{text}{names.CANARY_SUFFIX}: use a Service with a shorter name")
        yield from _port(service.port, f"{path}.serviceRef.port")
    if traffic.mode in ("PodRatio", "None") and traffic.routes:
        routes = ", ".join(route.name for route in traffic.routes)
        text = f"{routes}: routes are moved only in mode Routes, not {traffic.mode}; remove them, or set mode to Routes"
        yield _error(f"{path}.routes", routes, text)
    yield from _routes(traffic, path, profiled=profiled)
    if traffic.mode == "PodRatio" and traffic.identity == "Isolated":
        text = "with mode PodRatio the Service itself reaches canary pods, so they cannot be Isolated; leave identity out"
        yield _error(f"{path}.identity", traffic.identity, text)


def _routes(traffic: Traffic, path: str, *, profiled: bool) -> Errors:
    """Every kind is one that Linnet brings or that `routers` describes, in its own group; a name stands once.

    `profiled`: the profile may describe the kind, which is seen when both are merged.
    """
    described = {router.kind: router.group for router in traffic.routers or []}
    for index, router in enumerate(traffic.routers or []):
        here = f"{path}.routers[{index}]"
        if router.kind in KNOWN:
            text = "needs no description: Linnet brings a router of this kind; remove this entry"
            yield _error(f"{here}.kind", router.kind, f"{router.kind} {text}")
        elif [r.kind for r in traffic.routers or []].index(router.kind) != index:
            yield _error(f"{here}.kind", router.kind, f"{router.kind} is described already, and status tells routes apart by it; keep one")
    known = dict(KNOWN) | described
    for index, route in enumerate(traffic.routes or []):
        here = f"{path}.routes[{index}]"
        if route.kind not in known and profiled:
            continue
        if route.kind not in known:
            there = ", ".join(sorted(known))
            text = f"{route.kind} is no kind of route that this version moves ({there}): describe it in {path}.routers, or name another"
            yield _error(f"{here}.kind", route.kind, text)
        elif route.group != known[route.kind]:
            text = f"{route.group} is not the group of this kind: {route.kind} is of {known[route.kind]}"
            yield _error(f"{here}.group", route.group, text)


def _steps(steps: list[Step], path: str) -> Errors:
    seen: dict[str, int] = {}
    highest, holder = -1, ""
    for index, step in enumerate(steps):
        here = f"{path}[{index}]"
        yield from _step(step, here)
        if step.name is not None:
            if step.name in seen:
                yield _error(f"{here}.name", step.name, f"{step.name!r} is already the name of {path}[{seen[step.name]}]; give it another")
            seen.setdefault(step.name, index)
        if step.weight is not None:
            if step.weight < highest:
                text = f"{step.weight} is below the {highest} of {holder}: weights must not fall; to go back, abort the release"
                yield _error(f"{here}.weight", step.weight, text)
            else:
                highest, holder = step.weight, here


def _step(step: Step, path: str) -> Errors:
    exposes = step.weight is not None or bool(step.flags)
    others = [name for name in rules.STEP_KINDS if getattr(step, name) is not None]
    if step.dwell is not None and not exposes:
        yield _error(f"{path}.dwell", None, "dwell goes with weight or flags; a pause has a duration of its own")
    elif exposes + len(others) != 1:
        found = (["weight/flags"] if exposes else []) + others
        text = (
            f"is {' and '.join(found)} at once: make it {len(found)} steps" if found else "does nothing: give it a weight, flags or a pause"
        )
        yield _error(path, None, f"a step {text}", "NotOneKind")
    if step.dwell is not None:
        if step.dwell.min_duration is None and step.dwell.min_requests is None:
            yield _error(f"{path}.dwell", None, "needs minDuration, minRequests or both; or leave dwell out")
        yield from _positive(step.dwell.min_duration, f"{path}.dwell.minDuration")
    if step.pause is not None:
        yield from _positive(step.pause.duration, f"{path}.pause.duration")
    if step.approval is not None and parse_duration(step.approval.timeout) <= 0:
        yield _error(f"{path}.approval.timeout", step.approval.timeout, "must be longer than 0s: somebody has to read it first")
    if step.analysis is not None:
        yield from _args(step.analysis.args or [], f"{path}.analysis.args")
    for index, flag in enumerate(step.flags or []):
        if flag.percent is None and flag.cohorts is None:
            yield _error(f"{path}.flags[{index}].percent", None, f"is missing: say what share sees {flag.name}, 0 to 100", "Required")


def _undeclared(steps: list[Step], declared: list[str], path: str) -> Errors:
    for index, step in enumerate(steps):
        for position, flag in enumerate(step.flags or []):
            if flag.name not in declared:
                near = nearest(flag.name, declared)
                way_out = f"did you mean {near}?" if near else "declare it there with its source"
                text = f"spec.flags does not declare {flag.name!r}; {way_out}"
                yield _error(f"{path}[{index}].flags[{position}].name", flag.name, text, "UnknownFlag")


def _flags(flags: list[Flag], path: str) -> Errors:
    yield from cohort_faults(flags, path)
    seen: dict[tuple[str, str], str] = {}
    for index, flag in enumerate(flags):
        identity = (flag.source_ref.name if flag.source_ref else "", flag.key or flag.name)
        if identity in seen:
            text = f"{identity[1]!r} is already moved as {seen[identity]!r}: two entries for one key would fight; keep one"
            yield _error(f"{path}[{index}].key", identity[1], text)
        seen.setdefault(identity, flag.name)


def _analysis(analysis: Analysis, path: str) -> Errors:
    for index, metric in enumerate(analysis.metrics or []):
        yield from _metric(metric, f"{path}.metrics[{index}]")
    yield from _positive(analysis.interval, f"{path}.interval")
    yield from _positive(analysis.deadline, f"{path}.deadline")
    if analysis.deadline is not None:
        for name, value in (("interval", analysis.interval), ("warmUp", analysis.warm_up)):
            if value is not None and parse_duration(value) >= parse_duration(analysis.deadline) > 0:
                text = f"{value} must be shorter than the deadline of {analysis.deadline}, or nothing is judged in time"
                yield _error(f"{path}.{name}", value, text)
    if analysis.outcomes is not None:
        yield from _outcomes(analysis.outcomes, f"{path}.outcomes")

    for index, use in enumerate(analysis.templates or []):
        yield from _template_use(use, f"{path}.templates[{index}]")


def _templates_only(analysis: Analysis, steps: list[Step], path: str) -> Errors:
    """Something must measure until the end, and nothing counts requests."""
    measured = any(use.when in (None, "Background") for use in analysis.templates or [])
    if not measured and not (steps and steps[-1].analysis is not None):
        text = "TemplatesOnly needs a template that judges to the end: name one in templates, or make the last step an analysis"
        yield _error(f"{path}.analysis.judge", analysis.judge, text)
    for index, step in enumerate(steps):
        if step.dwell is not None and step.dwell.min_requests is not None:
            text = "counts requests, which only judge Statistical does; use minDuration, or a template that measures them"
            yield _error(f"{path}.steps[{index}].dwell.minRequests", step.dwell.min_requests, text)


def _template_use(use: TemplateUse, path: str) -> Errors:
    yield from _args(use.args or [], f"{path}.args")
    yield from _positive(use.interval, f"{path}.interval")
    wanted = use.threshold_range
    if wanted is not None and wanted.min is None and wanted.max is None:
        yield _error(f"{path}.thresholdRange", None, "needs min, max or both")
    if wanted is not None and wanted.min is not None and wanted.max is not None and wanted.min > wanted.max:
        yield _error(f"{path}.thresholdRange", wanted.min, f"min {wanted.min:g} is above max {wanted.max:g}: no value could pass")


def _args(given: list[Arg], path: str) -> Errors:
    for index, arg in enumerate(given):
        if (arg.value is None) == (arg.value_from is None):
            yield _error(f"{path}[{index}]", arg.name, f"arg {arg.name!r} needs exactly one of value and valueFrom", "NotOneKind")
        source = arg.value_from
        if source is not None and (source.secret_key_ref is None) == (source.field_ref is None):
            yield _error(f"{path}[{index}].valueFrom", arg.name, "needs exactly one of secretKeyRef and fieldRef", "NotOneKind")


def _template(spec: AnalysisTemplateSpec, path: str) -> Errors:
    for fault in templates.faults(spec):
        yield _error(f"{path}.{fault.path}", fault.value, fault.message)


def _metric(metric: Metric, path: str) -> Errors:
    kinds = [name for name in rules.METRIC_KINDS if getattr(metric, name) is not None]
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)} at once; keep one" if kinds else "none of preset, ratio; for errors write preset: HTTPErrorRatio"
        yield _error(path, None, f"metric {metric.name!r} has {found}", "NotOneKind")
    if metric.preset is not None and metric.preset not in PRESETS:
        near = nearest(metric.preset, list(PRESETS))
        way_out = f"did you mean {near}?" if near else f"this version has {', '.join(PRESETS)}; or give a ratio"
        yield _error(f"{path}.preset", metric.preset, f"{metric.preset!r} is not a preset; {way_out}")
    if metric.direction == "HigherIsBetter" and metric.ratio is None:
        yield _error(
            f"{path}.direction", metric.direction, "HigherIsBetter goes with ratio, whose errors then count what is wanted; remove it"
        )
    yield from _margins(metric, path)
    if metric.histogram is not None or metric.gauge is not None or metric.preset in rules.RELATIVE_PRESETS:
        for name, text in (("rollbackIfWorseBy", metric.rollback_if_worse_by), ("promoteIfWithin", metric.promote_if_within)):
            if text is not None and text.endswith("pp"):
                yield _error(f"{path}.{name}", text, f"{text}: percentage points are for shares of requests; write 10% or 1.1x")


def _margins(metric: Metric, path: str) -> Errors:
    given = {"rollbackIfWorseBy": metric.rollback_if_worse_by, "promoteIfWithin": metric.promote_if_within}
    margins = {}
    for name, text in given.items():
        if text is None:
            continue
        try:
            margins[name] = parse_margin(text)
        except ApiError as error:
            yield _error(f"{path}.{name}", text, str(error))
    missing = [name for name, text in given.items() if text is None]
    if len(missing) == 1:
        other = next(name for name in given if name not in missing)
        yield _error(f"{path}.{missing[0]}", None, f"is missing beside {other}: give both margins or neither", "Required")
    if len(margins) == 2:
        tolerated, acceptable = margins["rollbackIfWorseBy"], margins["promoteIfWithin"]
        if tolerated == acceptable or not acceptable.covers(tolerated):
            text = f"{given['promoteIfWithin']} must be wider than rollbackIfWorseBy {given['rollbackIfWorseBy']}, in both its parts"
            yield _error(f"{path}.promoteIfWithin", given["promoteIfWithin"], f"{text}; raise it or lower the other")


def _outcomes(outcomes: Outcomes, path: str) -> Errors:
    fields: dict[str, Outcome | None] = {
        "inconclusive": outcomes.inconclusive,
        "noData": outcomes.no_data,
        "providerError": outcomes.provider_error,
    }
    for name, outcome in fields.items():
        if outcome is None:
            continue
        yield from _positive(outcome.then_after, f"{path}.{name}.thenAfter")
        if outcome.action != "Wait":
            for field, value in (("thenAfter", outcome.then_after), ("then", outcome.then)):
                if value is not None:
                    text = f"goes with action Wait alone, not {outcome.action}; remove it or set action: Wait"
                    yield _error(f"{path}.{name}.{field}", value, text)


def _notify(routes: list[NotifyRoute], path: str) -> Errors:
    seen: set[str] = set()
    for index, route in enumerate(routes):
        name = route.notifier_ref.name
        if name in seen:
            yield _error(
                f"{path}[{index}].notifierRef.name", name, f"{name!r} is named twice; keep one entry with all its events in `events`"
            )
        seen.add(name)


def _metric_source(spec: MetricSourceSpec, path: str) -> Errors:
    yield from _matching(spec.type, {kind: (wire(name), getattr(spec, name)) for kind, name in METRIC_SOURCES.items()}, path)
    for name in METRIC_SOURCES.values():
        block = getattr(spec, name)
        if isinstance(block, HttpServer) and block.auth is not None:
            yield from _auth(block.auth, f"{path}.{name}.auth")
    for name in (spec.prometheus.parameters if spec.prometheus else None) or {}:
        if name in rules.OWN_PARAMETERS:
            yield _error(f"{path}.prometheus.parameters", name, f"{', '.join(rules.OWN_PARAMETERS)} are Linnet's own; remove them")
    if spec.prometheus is not None and spec.prometheus.sig_v4 is not None and spec.prometheus.auth is not None:
        yield _error(f"{path}.prometheus.sigV4", None, "sigV4 signs instead of auth; keep one")
    for name in METRIC_SOURCES.values():
        yield from _positive(getattr(getattr(spec, name), "window", None), f"{path}.{wire(name)}.window")
    if spec.web is not None:
        yield from _counters(spec.web, f"{path}.web")
    if spec.scrape is not None:
        yield from _port(spec.scrape.port, f"{path}.scrape.port")
        yield from _positive(spec.scrape.interval, f"{path}.scrape.interval")


def _counters(block: WebSource, path: str) -> Errors:
    for index, counter in enumerate(block.counters):
        try:
            paths.parse(HOLE.sub("x", counter.json_path or ""))
        except PathError as error:
            yield _error(f"{path}.counters[{index}].jsonPath", counter.json_path, str(error))


def _matching(chosen: str, blocks: dict[str, tuple[str, Model | None]], path: str) -> Errors:
    """The block of the chosen type is there, and no other."""
    for kind, (name, block) in blocks.items():
        if kind == chosen and block is None:
            yield _error(f"{path}.{name}", None, f"is missing: type {kind} needs it", "Required")
        if kind != chosen and block is not None:
            yield _error(f"{path}.{name}", None, f"goes with type {kind}, not {chosen}; remove it or change type")


def _auth(auth: HttpAuth, path: str) -> Errors:
    if (auth.bearer_secret_ref is None) == (auth.basic is None):
        yield _error(path, None, "needs exactly one of bearerSecretRef and basic; without a login leave auth out", "NotOneKind")


def _flag_source(spec: FlagSourceSpec, path: str) -> Errors:
    blocks: dict[str, tuple[str, Model | None]] = {
        "Flagd": ("flagd", spec.flagd),
        "Unleash": ("unleash", spec.unleash),
        "LaunchDarkly": ("launchDarkly", spec.launch_darkly),
        "HTTP": ("http", spec.http),
    }
    yield from _matching(spec.type, blocks, path)
    if spec.flagd is not None and (spec.flagd.config_map_ref is None) == (spec.flagd.feature_flag_ref is None):
        yield _error(f"{path}.flagd", None, "needs exactly one of configMapRef and featureFlagRef", "NotOneKind")
    if spec.http is not None:
        if spec.http.auth is not None:
            yield from _auth(spec.http.auth, f"{path}.http.auth")
        try:
            checked(generic_source(spec.http))
        except Invalid as error:
            field = error.field.removeprefix("FlagSource.spec")
            yield _error(f"{path}{field}", error.value, f"{error.problem}. {error.way_out}")
