"""Which templates a release is checked with, when, and what is wrong with them: found before anything is touched."""

from typing import Any, Final, Literal

import msgspec

from analyzers.templates import args as arguments
from analyzers.templates import paths
from analyzers.templates.errors import ArgError, PathError
from daemon.api import templates
from daemon.api.analysis import AnalysisTemplateSpec, Arg, QueryCheck, TemplateMetric, TemplateUse
from daemon.api.canary import CanarySpec
from daemon.control import objects as ours
from daemon.control.catalogue import Catalogue
from daemon.rollout.model import Problem

Moment = Literal["Background", "BeforeFirstStep", "Step"]
HIDDEN: Final = arguments.BLOT  # stands for a Secret's value wherever that is not needed
LARGEST: Final = 16_384  # bytes of a template: each is kept with what it measured
ROOTS: Final = ("metadata", "spec", "status")


class CheckUse(msgspec.Struct, frozen=True, kw_only=True):
    """One template of a release: its moment, and what the release puts into it."""

    id: str
    name: str
    moment: Moment
    step: int | None = None
    given: tuple[Arg, ...] = ()
    namespace: str = ""  # of the template: where its own Secrets are
    spec: AnalysisTemplateSpec | None = None


def uses(spec: CanarySpec) -> list[tuple[CheckUse, TemplateUse]]:
    """Every template that a release names, in the order of their moments."""
    found = []
    for use in (spec.analysis.templates if spec.analysis else None) or []:
        moment: Moment = "BeforeFirstStep" if use.when == "BeforeFirstStep" else "Background"
        found.append((CheckUse(id=f"{moment.lower()}/{use.name}", name=use.name, moment=moment, given=tuple(use.args or ())), use))
    for index, step in enumerate(spec.steps or []):
        if step.analysis is not None:
            use = TemplateUse(name=step.analysis.name, args=step.analysis.args)
            check = CheckUse(id=f"step-{index}/{use.name}", name=use.name, moment="Step", step=index, given=tuple(use.args or ()))
            found.append((check, use))
    return found


def checks_of(catalogue: Catalogue, canary: ours.Canary, spec: CanarySpec, problems: list[Problem]) -> tuple[CheckUse, ...]:
    """The templates with their text as it is now. What is wrong goes to `problems`.

    A release under way keeps those that it began with: of these only the names and the args are needed.
    """
    under_way = canary.status.rollout is not None
    found = []
    for check, use in uses(spec):
        item = catalogue.template(canary.namespace, check.name)
        if isinstance(item, Problem):
            problems.append(item)
            found += [check] if under_way else []
            continue
        whole = templates.with_use(item.spec, use)
        ready = msgspec.structs.replace(check, spec=whole, namespace=item.namespace)
        wrong = _faults(ready, use, item)
        if wrong:
            problems.append(
                Problem(reason="TemplateInvalid", message=wrong[0], way_out="correct it; linnet lint says all that is wrong", unhold=True)
            )
            found += [ready] if under_way else []
            continue
        problems += _sources(catalogue, canary, whole)
        problems += _jobs(catalogue, whole)
        found.append(ready)
    return tuple(found)


def gate_problems(catalogue: Catalogue, spec: CanarySpec) -> list[Problem]:
    """Gates that ask for Jobs where none are made."""
    asking = any(g.job is not None for g in spec.gates or []) or any(
        s.gate is not None and s.gate.job is not None for s in spec.steps or []
    )
    return _no_jobs("a gate") if asking and not catalogue.jobs else []


def _faults(check: CheckUse, use: TemplateUse, item: ours.AnalysisTemplate) -> list[str]:
    where = f"AnalysisTemplate {item.namespace}/{item.name}"
    spec = check.spec or item.spec
    found = [f"{where}: spec.{f.path}: {f.message}" for f in templates.faults(spec)]
    found += arguments.mismatched(item.name, templates.declared(spec), [a.name for a in check.given])
    if (use.interval is not None or use.threshold_range is not None) and len(spec.metrics) != 1:
        found.append(f"{where} has {len(spec.metrics)} metrics: interval and thresholdRange of a release go with a template of one")
    if len(msgspec.json.encode(spec)) > LARGEST:
        found.append(f"{where} is larger than {LARGEST} bytes: split it")
    found += [f"{where}: {text}" for text in _paths(check)]
    given = [a.name for a in check.given if a.value_from is not None and a.value_from.secret_key_ref is not None]
    found += [f"{where}: metric {m.name} {templates.secret_in_job(n)}" for m in spec.metrics for n in templates.secret_args(m, given)]
    if found:
        return found
    try:
        metrics = [templates.metric_of(spec, templates.fill(m, public_values(check, {}))) for m in spec.metrics]
    except ArgError as error:
        return [f"{where}: {error}"]
    endless = [m.name for m in metrics if m.measurements is None and not m.consecutive_success_limit and not m.dry_run]
    if endless and check.moment != "Background":
        found.append(f"{where}: metric {endless[0]} measures without end, and a step would wait for ever: give it a count")
    return found


def _paths(check: CheckUse) -> list[str]:
    found = []
    for arg in check.given:
        ref = arg.value_from.field_ref if arg.value_from else None
        if ref is None:
            continue
        try:
            steps = paths.parse(ref.field_path)
        except PathError as error:
            found.append(f"arg {arg.name!r}: {error}")
            continue
        if not steps or steps[0] not in ROOTS:
            found.append(f"arg {arg.name!r}: fieldPath {ref.field_path!r} must begin with metadata, spec or status of the Canary")
    return found


def _sources(catalogue: Catalogue, canary: ours.Canary, spec: AnalysisTemplateSpec) -> list[Problem]:
    found = []
    named = {(kind, check.source_ref.name if check.source_ref else "default") for m in spec.metrics for kind, check in _queries(m)}
    for kind, name in sorted(named):
        source = catalogue.metric_source(canary.namespace, name)
        if isinstance(source, Problem):
            found.append(source)
        elif source.spec.type != kind:
            found.append(
                Problem(
                    reason="SourceUnsuitable",
                    message=f"MetricSource {name} is of type {source.spec.type}, which a query for {kind} cannot be asked",
                    way_out=f"name one of type {kind} in the template's sourceRef",
                    unhold=True,
                )
            )
    return found


def _jobs(catalogue: Catalogue, spec: AnalysisTemplateSpec) -> list[Problem]:
    asking = next((m.name for m in spec.metrics if m.provider.job is not None), None)
    if asking is None or catalogue.jobs:
        return []
    return _no_jobs(f"metric {asking}")


def _no_jobs(who: str) -> list[Problem]:
    message = f"{who} asks for a Job, and this Linnet makes none"
    return [Problem(reason="JobsNotEnabled", message=message, way_out="set jobs.enabled in the chart's values", unhold=True)]


def _queries(metric: TemplateMetric) -> list[tuple[str, QueryCheck]]:
    found = metric.provider.query
    return [found] if found is not None else []


def public_values(check: CheckUse, canary: dict[str, Any]) -> dict[str, str]:
    """The args' values, with Secrets hidden; a field that is not there yet stands for itself."""
    spec = check.spec
    values = {a.name: a.value if a.value is not None else HIDDEN for a in (spec.args if spec else None) or []}
    for arg in check.given:
        ref = arg.value_from.field_ref if arg.value_from else None
        if arg.value is not None:
            values[arg.name] = arg.value
        elif ref is not None:
            values[arg.name] = field_value(canary, ref.field_path) if canary else "1"
        else:
            values[arg.name] = HIDDEN
    return values


def field_value(canary: dict[str, Any], path: str) -> str:
    """A field of the Canary as text; ArgError where it is not there or is no single value."""
    try:
        found = paths.follow(paths.parse(path), canary)
    except Exception as error:
        raise ArgError(f"fieldPath {path!r} leads nowhere in the Canary: {error}") from error
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise ArgError(f"fieldPath {path!r} is no single value of the Canary")
    return str(found)
