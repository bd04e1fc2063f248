"""What is wrong with an object, all at once: for `linnet lint`, the reconciler on the merged spec, and annotations.

`validate` knows what the types cannot say. The CRDs say as much of it as CEL can of one object; some of it (a flag that only the
profile declares, margins that contradict each other) is only known when profile and object have met.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from daemon.api import bluegreen, names, observing, picks, rules
from daemon.api.aligned import aligned_faults
from daemon.api.analysis import AnalysisTemplateSpec
from daemon.api.analysis_faults import analysis_faults, args_faults, template_faults, templates_only_faults
from daemon.api.approvals import approval_faults
from daemon.api.bounds import port_faults, positive
from daemon.api.calendar import FreezeSpec
from daemon.api.canary import CanarySpec, Flag, NotifyRoute, ReleaseSpec, Step, Traffic, WorkloadRef
from daemon.api.errors import ApiError, Errors, FieldError, InvalidObjectError, fault
from daemon.api.fields import Model
from daemon.api.flagsonly import flags_only_faults
from daemon.api.gates import all_gate_faults, gate_faults
from daemon.api.groups import ReleaseGroupSpec, group_faults
from daemon.api.kinds import KINDS, CanaryProfileSpec, Kind, R, decode, kind_named
from daemon.api.routers import KNOWN
from daemon.api.shares import cohort_faults, share_faults
from daemon.api.source_faults import flag_source_faults, metric_source_faults
from daemon.api.sources import FlagSourceSpec, MetricSourceSpec, NotifierSpec
from daemon.api.structure import nearest, refuse_planned, structural_errors, unknown_fields
from daemon.api.windows import digest_faults, freeze_faults, window_faults

_NOT_CANARIED: Final = {
    "StatefulSet": "its pods have an identity each and cannot run twice side by side",
    "DaemonSet": "its pods are one for a node and cannot run twice side by side",
    "Job": "it runs to its end and serves no requests",
    "CronJob": "it runs to its end and serves no requests",
    "ReplicaSet": "its template is never rolled out",
    "Pod": "it has no versions",
}


def validate(spec: Model, *, path: str = "spec") -> list[FieldError]:
    """Every semantic and cross-field fault of a spec (of any kind) that is structurally sound.

    For a Canary, pass the spec merged with its profile: what the profile says is then taken into account.
    """
    checks: dict[type[Model], Callable[..., Errors]] = {
        CanarySpec: _canary,
        CanaryProfileSpec: _release,
        MetricSourceSpec: metric_source_faults,
        FlagSourceSpec: flag_source_faults,
        AnalysisTemplateSpec: template_faults,
        FreezeSpec: freeze_faults,
        ReleaseGroupSpec: group_faults,
        NotifierSpec: digest_faults,
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
        return [fault("spec", None, f"cannot be read: {error}")]
    return validate(spec)


def read(resource: type[R], raw: dict[str, Any]) -> R:
    """The object, or an `InvalidObjectError` with everything that is wrong with it."""
    kind = kind_named(resource.__name__)
    errors = structural_errors(kind, raw)
    if errors:
        raise InvalidObjectError(errors)
    return decode(resource, raw)


def _name_errors(kind: Kind, raw: dict[str, Any]) -> Errors:
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if kind.name == "Canary" and isinstance(name, str) and len(name) > names.NAME_LIMIT:
        text = f"has {len(name)} characters, more than {names.NAME_LIMIT}; it becomes a label of the canary's objects: choose a shorter one"
        yield fault("metadata.name", name, text)


def _canary(spec: CanarySpec, path: str) -> Errors:
    if spec.flags_only:
        yield from flags_only_faults(spec, path)
    elif spec.workload_ref is None:
        text = "names no workload: say which Deployment is released; only a release of flags alone (traffic.mode: None) goes without"
        yield fault(f"{path}.workloadRef", None, text, "Required")
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
        yield fault(f"{path}.kind", kind, text, "UnsupportedWorkload")
    elif workload.api_version not in (None, "apps/v1"):
        yield fault(
            f"{path}.apiVersion", workload.api_version, f"{workload.api_version!r} has no Deployment: write apps/v1 or leave it out"
        )


def _release(spec: ReleaseSpec, path: str) -> Errors:
    if spec.traffic is not None:
        yield from _traffic(spec.traffic, f"{path}.traffic", profiled=isinstance(spec, CanarySpec) and spec.profile_ref is not None)
    yield from _steps(spec.steps or [], f"{path}.steps")
    if spec.traffic is not None and spec.traffic.mode == "PodRatio" and any(step.scale is not None for step in spec.steps or []):
        yield fault(
            f"{path}.steps", "PodRatio", "a scale step needs a route: by share of pods, canary pods have requests at once; use weight"
        )
    if isinstance(spec, CanaryProfileSpec) and spec.flags:
        yield from _undeclared(spec.steps or [], [flag.name for flag in spec.flags], f"{path}.steps")
    yield from picks.pick_faults(spec, f"{path}.steps")
    yield from aligned_faults(spec, path)
    yield from bluegreen.faults(spec, path)
    yield from observing.faults(spec, path)
    if spec.strategy is not None:
        yield from positive(spec.strategy.scale_down_delay, f"{path}.strategy.scaleDownDelay")
    yield from _flags(spec.flags or [], f"{path}.flags")
    yield from share_faults(spec.flags or [], spec.steps or [], f"{path}.steps", f"{path}.flags")
    if spec.analysis is not None:
        yield from analysis_faults(spec.analysis, f"{path}.analysis")
        if spec.analysis.judge == "TemplatesOnly":
            yield from templates_only_faults(spec.analysis, spec.steps or [], path)
    yield from window_faults(spec.windows or [], f"{path}.windows")
    flags_only = spec.traffic is not None and spec.traffic.mode == "None"
    yield from all_gate_faults(spec.gates or [], f"{path}.gates", flags_only=flags_only)
    yield from positive(spec.progress_deadline, f"{path}.progressDeadline")
    yield from _notify(spec.notify or [], f"{path}.notify")


def _traffic(traffic: Traffic, path: str, *, profiled: bool) -> Errors:
    service = traffic.service_ref
    if service is not None:
        if len(service.name) > rules.SERVICE_LIMIT:
            text = f"has {len(service.name)} characters, more than {rules.SERVICE_LIMIT}; the canary's Service is named after it with "
            yield fault(f"{path}.serviceRef.name", service.name, f"{text}{names.CANARY_SUFFIX}: use a Service with a shorter name")
        yield from port_faults(service.port, f"{path}.serviceRef.port")
    if traffic.mode in ("PodRatio", "None") and traffic.routes:
        routes = ", ".join(route.name for route in traffic.routes)
        text = f"{routes}: routes are moved only in mode Routes, not {traffic.mode}; remove them, or set mode to Routes"
        yield fault(f"{path}.routes", routes, text)
    yield from _routes(traffic, path, profiled=profiled)
    if traffic.mode == "PodRatio" and traffic.identity == "Isolated":
        text = "with mode PodRatio the Service itself reaches canary pods, so they cannot be Isolated; leave identity out"
        yield fault(f"{path}.identity", traffic.identity, text)


def _routes(traffic: Traffic, path: str, *, profiled: bool) -> Errors:
    """Every kind is one that Linnet brings or that `routers` describes, in its own group; a name stands once.

    `profiled`: the profile may describe the kind, which is seen when both are merged.
    """
    described = {router.kind: router.group for router in traffic.routers or []}
    for index, router in enumerate(traffic.routers or []):
        here = f"{path}.routers[{index}]"
        if router.kind in KNOWN:
            text = "needs no description: Linnet brings a router of this kind; remove this entry"
            yield fault(f"{here}.kind", router.kind, f"{router.kind} {text}")
        elif [r.kind for r in traffic.routers or []].index(router.kind) != index:
            yield fault(f"{here}.kind", router.kind, f"{router.kind} is described already, and status tells routes apart by it; keep one")
    known = dict(KNOWN) | described
    for index, route in enumerate(traffic.routes or []):
        here = f"{path}.routes[{index}]"
        if route.kind not in known and profiled:
            continue
        if route.kind not in known:
            there = ", ".join(sorted(known))
            text = f"{route.kind} is no kind of route that this version moves ({there}): describe it in {path}.routers, or name another"
            yield fault(f"{here}.kind", route.kind, text)
        elif route.group != known[route.kind]:
            text = f"{route.group} is not the group of this kind: {route.kind} is of {known[route.kind]}"
            yield fault(f"{here}.group", route.group, text)


def _steps(steps: list[Step], path: str) -> Errors:
    seen: dict[str, int] = {}
    highest, holder = -1, ""
    for index, step in enumerate(steps):
        here = f"{path}[{index}]"
        yield from _step(step, here)
        if step.name is not None:
            if step.name in seen:
                yield fault(f"{here}.name", step.name, f"{step.name!r} is already the name of {path}[{seen[step.name]}]; give it another")
            seen.setdefault(step.name, index)
        if step.weight is not None:
            if step.weight < highest:
                text = f"{step.weight} is below the {highest} of {holder}: weights must not fall; to go back, abort the release"
                yield fault(f"{here}.weight", step.weight, text)
            else:
                highest, holder = step.weight, here


def _step(step: Step, path: str) -> Errors:
    yield from picks.step_faults(step, path)
    exposes = step.weight is not None or bool(step.flags)
    others = [name for name in rules.STEP_KINDS if getattr(step, name) is not None]
    if step.dwell is not None and not exposes and not picks.picks(step):
        yield fault(f"{path}.dwell", None, "dwell goes with weight, flags, match or mirror; a pause has a duration of its own")
    elif exposes + len(others) != 1:
        found = (["weight/flags"] if exposes else []) + others
        text = (
            f"is {' and '.join(found)} at once: make it {len(found)} steps" if found else "does nothing: give it a weight, flags or a pause"
        )
        yield fault(path, None, f"a step {text}", "NotOneKind")
    if step.dwell is not None:
        if step.dwell.min_duration is None and step.dwell.min_requests is None:
            yield fault(f"{path}.dwell", None, "needs minDuration, minRequests or both; or leave dwell out")
        if step.weight == 100 and step.dwell.min_requests is not None:
            text = "requests are counted where two versions are compared, and at weight 100 there is one; say minDuration"
            yield fault(f"{path}.dwell.minRequests", step.dwell.min_requests, text)
        yield from positive(step.dwell.min_duration, f"{path}.dwell.minDuration")
    if step.pause is not None:
        yield from positive(step.pause.duration, f"{path}.pause.duration")
    if step.approval is not None:
        yield from approval_faults(step.approval, f"{path}.approval")
    if step.gate is not None:
        yield from gate_faults(step.gate, f"{path}.gate")
    if step.analysis is not None:
        yield from args_faults(step.analysis.args or [], f"{path}.analysis.args")
    for index, flag in enumerate(step.flags or []):
        if flag.percent is None and flag.cohorts is None:
            yield fault(f"{path}.flags[{index}].percent", None, f"is missing: say what share sees {flag.name}, 0 to 100", "Required")


def _undeclared(steps: list[Step], declared: list[str], path: str) -> Errors:
    for index, step in enumerate(steps):
        for position, flag in enumerate(step.flags or []):
            if flag.name not in declared:
                near = nearest(flag.name, declared)
                way_out = f"did you mean {near}?" if near else "declare it there with its source"
                text = f"spec.flags does not declare {flag.name!r}; {way_out}"
                yield fault(f"{path}[{index}].flags[{position}].name", flag.name, text, "UnknownFlag")


def _flags(flags: list[Flag], path: str) -> Errors:
    yield from cohort_faults(flags, path)
    seen: dict[tuple[str, str], str] = {}
    for index, flag in enumerate(flags):
        identity = (flag.source_ref.name if flag.source_ref else "", flag.key or flag.name)
        if identity in seen:
            text = f"{identity[1]!r} is already moved as {seen[identity]!r}: two entries for one key would fight; keep one"
            yield fault(f"{path}[{index}].key", identity[1], text)
        seen.setdefault(identity, flag.name)


def _notify(routes: list[NotifyRoute], path: str) -> Errors:
    seen: set[str] = set()
    for index, route in enumerate(routes):
        name = route.notifier_ref.name
        if name in seen:
            yield fault(
                f"{path}[{index}].notifierRef.name", name, f"{name!r} is named twice; keep one entry with all its events in `events`"
            )
        seen.add(name)
