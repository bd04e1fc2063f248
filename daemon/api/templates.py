"""From an `AnalysisTemplate` as it is written to the metrics that are measured: args filled in, defaults applied, faults named."""

import fnmatch
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from analyzers.templates import args, paths
from analyzers.templates.errors import ArgError, PathError
from analyzers.templates.metric import RETAINED, Metric, OnNoData, Range, check
from daemon.api import jobs
from daemon.api.analysis import PROVIDERS, AnalysisTemplateSpec, TemplateMetric, TemplateUse, ThresholdRange
from daemon.api.fields import wire
from daemon.api.jobs import JobCheck
from daemon.api.quantities import parse_duration

SHORTEST: Final = 1.0  # seconds between two measurements: a template is no load test
JOB_SHORTEST: Final = 10.0
_COUNTS: Final = {
    # field on the wire: (field of a Metric, its least value)
    "count": ("count", 1),
    "failureLimit": ("failure_limit", -1),
    "inconclusiveLimit": ("inconclusive_limit", 0),
    "consecutiveErrorLimit": ("consecutive_error_limit", 0),
    "consecutiveSuccessLimit": ("consecutive_success_limit", 0),
}
_STAND_IN: Final = "1"  # for the value of an arg that is not known yet


class Fault(NamedTuple):
    """What is wrong: the path below the template's spec, the value, the message with the way out."""

    path: str
    value: Any
    message: str


def declared(spec: AnalysisTemplateSpec) -> dict[str, bool]:
    """Args to whether they have a value of their own."""
    return {a.name: a.value is not None or a.value_from is not None for a in spec.args or []}


def stand_ins(spec: AnalysisTemplateSpec) -> dict[str, str]:
    """A value for each arg before any release has given one."""
    return {a.name: a.value if a.value is not None else _STAND_IN for a in spec.args or []}


def with_use(spec: AnalysisTemplateSpec, use: TemplateUse) -> AnalysisTemplateSpec:
    """The template with what a release says of its one metric."""
    if (use.interval is None and use.threshold_range is None) or len(spec.metrics) != 1:
        return spec
    metric = spec.metrics[0]
    if use.interval is not None:
        metric = msgspec.structs.replace(metric, interval=use.interval)
    if use.threshold_range is not None:
        metric = msgspec.structs.replace(metric, threshold_range=use.threshold_range, success_condition=None, failure_condition=None)
    return msgspec.structs.replace(spec, metrics=[metric])


def fill(metric: TemplateMetric, values: Mapping[str, str]) -> TemplateMetric:
    """The metric with its args filled in; ArgError where one has no value or makes no sense in its place."""
    try:
        return msgspec.convert(args.fill(msgspec.to_builtins(metric), values), TemplateMetric)
    except msgspec.ValidationError as error:
        raise ArgError(f"metric {metric.name} with its args filled in cannot be read: {error}") from error


def metric_of(spec: AnalysisTemplateSpec, metric: TemplateMetric) -> Metric:
    """How a metric (its args filled in) is measured and judged."""
    counts = {}
    for field, (name, least) in _COUNTS.items():
        value = getattr(metric, name)
        if value is not None:
            counts[name] = args.whole_number(value, f"{field} of metric {metric.name}", least=least)
    return Metric(
        name=metric.name,
        interval=None if metric.interval is None else max(SHORTEST, parse_duration(metric.interval)),
        initial_delay=parse_duration(metric.initial_delay) if metric.initial_delay else 0.0,
        success=metric.success_condition,
        failure=metric.failure_condition,
        range=_range(metric.threshold_range),
        on_no_data=OnNoData(metric.on_no_data or "Wait"),
        dry_run=any(fnmatch.fnmatchcase(metric.name, _glob(d.metric_name)) for d in spec.dry_run or []),
        retention=next(
            (r.limit for r in spec.measurement_retention or [] if fnmatch.fnmatchcase(metric.name, _glob(r.metric_name))), RETAINED
        ),
        **counts,
    )


def _range(wanted: ThresholdRange | None) -> Range | None:
    return None if wanted is None else Range(min=wanted.min, max=wanted.max)


def _glob(pattern: str) -> str:
    """`.*`, which Argo's regular expressions ask for, means the same as `*`."""
    return pattern.replace(".*", "*")


def faults(spec: AnalysisTemplateSpec) -> Iterator[Fault]:
    """Everything wrong with a template that shows without a release."""
    names = [m.name for m in spec.metrics]
    for index, arg in enumerate(spec.args or []):
        if arg.value is not None and arg.value_from is not None:
            yield Fault(f"args[{index}]", arg.name, f"arg {arg.name!r} has value and valueFrom: keep one")
    for text in args.undeclared(declared(spec), msgspec.to_builtins(spec.metrics)):
        yield Fault("metrics", None, text)
    patterns = [(f"dryRun[{i}]", d.metric_name) for i, d in enumerate(spec.dry_run or [])]
    patterns += [(f"measurementRetention[{i}]", r.metric_name) for i, r in enumerate(spec.measurement_retention or [])]
    for place, pattern in patterns:
        if not fnmatch.filter(names, _glob(pattern)):
            text = f"{pattern!r} is no metric of this template: there are {', '.join(names)}; * stands for any characters"
            yield Fault(f"{place}.metricName", pattern, text)
    for index, metric in enumerate(spec.metrics):
        yield from (Fault(f"metrics[{index}]{f.path}", f.value, f.message) for f in _metric_faults(spec, metric))


def _metric_faults(spec: AnalysisTemplateSpec, metric: TemplateMetric) -> Iterator[Fault]:
    provider = metric.provider
    given = [wire(name) for name in PROVIDERS if getattr(provider, name) is not None]
    if len(given) != 1:
        yield Fault(".provider", None, f"needs exactly one of {', '.join(map(wire, PROVIDERS))}, not {' and '.join(given) or 'none'}")
    open_counts = any(isinstance(getattr(metric, name), str) for name, _ in _COUNTS.values())
    wrong = list(_count_faults(metric))
    yield from wrong
    if wrong:
        return
    values = stand_ins(spec) | dict.fromkeys(args.used(msgspec.to_builtins(metric)) - set(stand_ins(spec)), _STAND_IN)
    try:
        filled = fill(metric, values)
        built = metric_of(spec, filled)
    except ArgError as error:
        yield Fault("", None, str(error))
        return
    for field, text in check(built):
        if not (open_counts and field in ("count", "interval")):
            yield Fault(f".{field}", getattr(built, field, None), text)
    if metric.interval is not None and parse_duration(metric.interval) < SHORTEST:
        yield Fault(".interval", metric.interval, f"{metric.interval} is shorter than {SHORTEST:g}s: leave it out for one measurement")
    web = filled.provider.web
    if filled.provider.job is not None:
        yield from _job_faults(spec, metric, filled.provider.job)
    if web is not None and provider.web is not None:
        yield from _web_faults(web.url, web.json_path, fixed=not provider.web.url.lstrip().startswith("{{"))


def _count_faults(metric: TemplateMetric) -> Iterator[Fault]:
    for field, (name, least) in _COUNTS.items():
        value = getattr(metric, name)
        if value is None or (isinstance(value, str) and args.used(value)):
            continue
        try:
            args.whole_number(value, field, least=least)
        except ArgError as error:
            yield Fault(f".{field}", value, str(error))


def _job_faults(spec: AnalysisTemplateSpec, metric: TemplateMetric, job: JobCheck) -> Iterator[Fault]:
    yield from (Fault(f".provider.job{f.path}", f.value, f.message) for f in jobs.faults(job))
    for field, value in (
        ("successCondition", metric.success_condition),
        ("failureCondition", metric.failure_condition),
        ("thresholdRange", metric.threshold_range),
        ("onNoData", metric.on_no_data),
    ):
        if value is not None:
            yield Fault(f".{field}", None, "goes without a job, whose exit code is the answer: leave it out")
    if metric.interval is not None and parse_duration(metric.interval) < JOB_SHORTEST:
        yield Fault(".interval", metric.interval, f"{metric.interval} is shorter than {JOB_SHORTEST:g}s, too short to run a Job each time")
    for name in secret_args(metric, [a.name for a in spec.args or [] if a.value_from is not None]):
        yield Fault(".provider.job", name, secret_in_job(name))


def secret_args(metric: TemplateMetric, secret: Collection[str]) -> list[str]:
    """Args from Secrets that a job's text asks for: everybody who may read Jobs would read them."""
    return sorted(args.used(msgspec.to_builtins(metric.provider.job)) & set(secret)) if metric.provider.job is not None else []


def secret_in_job(name: str) -> str:
    return f"puts arg {name!r} from a Secret into a Job, where it could be read: let the container read it by env.valueFrom.secretKeyRef"


def _web_faults(url: str, path: str | None, *, fixed: bool) -> Iterator[Fault]:
    problem = address_problem(url) if fixed else None
    if problem:
        yield Fault(".provider.web.url", None, problem)
    try:
        paths.parse(path or "")
    except PathError as error:
        yield Fault(".provider.web.jsonPath", path, str(error))


def address_problem(url: str) -> str | None:
    """Why a web check may not ask there, as far as the text alone tells."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return "is not an address: write http://host:port/path"
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        return "must begin with http:// or https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "has a user or a password in it: send them in a header whose value is an arg from a Secret"
    return None
