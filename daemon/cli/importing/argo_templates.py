"""Argo's `AnalysisTemplate` and `ClusterAnalysisTemplate`: the fields are the same, a few habits are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from daemon.api import jobs
from daemon.cli.importing.draft import Draft
from daemon.cli.importing.ledger import Cursor, Ledger
from daemon.cli.importing.peers import Peers

_AS_IT_IS: Final = (
    "interval",
    "initialDelay",
    "count",
    "successCondition",
    "failureCondition",
    "failureLimit",
    "inconclusiveLimit",
    "consecutiveErrorLimit",
    "consecutiveSuccessLimit",
)
_NO_CONDITION: Final = "has no condition: any answer is a success, as with Argo Rollouts; say what is good in successCondition"
_EXPRESSION: Final = (
    "the condition decides on NaN and empty results, as with Argo Rollouts; drop onNoData: Evaluate to wait for data instead"
)


def convert(ledger: Ledger, _: Peers) -> Iterator[Draft]:
    """One template, and a MetricSource for each Prometheus that it names."""
    top = ledger.cursor()
    spec = top.at("spec")
    namespace = top.at("metadata", "namespace").value
    made = Draft("AnalysisTemplate", ledger.name, namespace)
    if ledger.kind == "ClusterAnalysisTemplate":
        top.differs("belongs into the catalogue namespace (linnet-system), where its allowedNamespaces count", "kind")
        made.put("spec.allowedNamespaces", ["*"])
    sources: dict[str, Draft] = {}
    for index, arg in enumerate(spec.each("args")):
        where = f"spec.args[{index}]"
        made.put(f"{where}.name", arg.take("name"), arg.at("name"))
        if arg.at("value").value is not None:
            made.put(f"{where}.value", str(arg.take("value")), arg.at("value"))
        elif arg.at("valueFrom", "secretKeyRef"):
            made.put(f"{where}.valueFrom.secretKeyRef", arg.take("valueFrom", "secretKeyRef"), arg.at("valueFrom", "secretKeyRef"))
        elif arg.at("valueFrom"):
            arg.lost("the release that uses the template gives it: analysis.templates[].args", "valueFrom")
    for index, metric in enumerate(spec.each("metrics")):
        _metric(metric, made, f"spec.metrics[{index}]", sources, namespace)
    _patterns(spec, made)
    yield made
    yield from sources.values()


def _metric(metric: Cursor, made: Draft, where: str, sources: dict[str, Draft], namespace: str | None) -> None:
    made.put(f"{where}.name", metric.take("name"), metric.at("name"))
    for field in _AS_IT_IS:
        made.put(f"{where}.{field}", metric.take(field), metric.at(field))
    conditions = [metric.at(field) for field in ("successCondition", "failureCondition") if metric.at(field)]
    if not conditions and not metric.at("provider", "job"):
        metric.differs(_NO_CONDITION, "name")
    for condition in conditions:
        condition.differs(_EXPRESSION)
        made.put(f"{where}.onNoData", "Evaluate")
    prometheus, web, job = (metric.at("provider", kind) for kind in ("prometheus", "web", "job"))
    if prometheus:
        _prometheus(prometheus, made, f"{where}.provider.prometheus", sources, namespace)
    elif web:
        _web(web, made, f"{where}.provider.web")
    elif job:
        _job(job, made, f"{where}.provider.job")


def _prometheus(source: Cursor, made: Draft, where: str, sources: dict[str, Draft], namespace: str | None) -> None:
    made.put(f"{where}.query", source.take("query"), source.at("query"))
    source.differs("a query has as long as the interval of the analysis", "timeout")
    address = source.at("address")
    if not address:
        return
    known = next(
        (name for name, draft in sources.items() if draft.body["spec"]["prometheus"]["url"] == str(address.value).rstrip("/")), None
    )
    name = known or (f"{made.body['metadata']['name']}-source" + (f"-{len(sources) + 1}" if sources else ""))
    made.put(f"{where}.sourceRef.name", name, address)
    address.take()
    if known is None:
        draft = sources[name] = Draft("MetricSource", name, namespace)
        draft.put("spec.type", "Prometheus")
        draft.put("spec.prometheus.url", str(address.value).rstrip("/"), address)


def _web(web: Cursor, made: Draft, where: str) -> None:
    for field in ("url", "method", "body", "jsonPath"):
        made.put(f"{where}.{field}", web.take(field), web.at(field))
    timeout = web.at("timeoutSeconds")
    if timeout:
        made.put(f"{where}.timeoutSeconds", int(timeout.take()), timeout)
    headers = [{"key": str(h.take("key")), "value": str(h.take("value"))} for h in web.each("headers")]
    made.put(f"{where}.headers", headers or None, web.at("headers"))
    if web.at("jsonBody"):
        web.lost("write it as text into body", "jsonBody")


def _job(job: Cursor, made: Draft, where: str) -> None:
    """The same Job, bounded: Argo's may run for ever, and are tried six times more where they do not say how often."""
    spec = dict(job.take("spec") or {})
    _bounded(job, spec)
    pod = job.at("spec", "template", "spec")
    if pod.at("restartPolicy").value == "OnFailure":
        pod.differs("is Never, so that the log of what failed is kept; backoffLimit tries again", "restartPolicy")
        spec["template"] = {**spec["template"], "spec": {**pod.value, "restartPolicy": "Never"}}
    made.put(f"{where}.spec", spec, job.at("spec"))
    for field in ("labels", "annotations"):
        made.put(f"{where}.metadata.{field}", job.take("metadata", field), job.at("metadata", field))


def _bounded(job: Cursor, spec: dict[str, Any]) -> None:
    for field in jobs.TAKEN:
        if spec.pop(field, None) is not None:
            job.lost(jobs.TAKEN[field], "spec", field)
    for field, (least, most, default) in jobs.BOUNDS.items():
        value = spec.get(field)
        if isinstance(value, int) and not least <= value <= most:
            spec[field] = min(max(value, least), most)
            job.differs(f"is {spec[field]}: Linnet takes {least} to {most}", "spec", field)
        elif value is None and field == "backoffLimit":
            spec[field] = most
        elif value is None and field == "activeDeadlineSeconds":
            job.differs(f"activeDeadlineSeconds is {default}: a Job without a deadline would hold the release", "spec", "template")


def _patterns(spec: Cursor, made: Draft) -> None:
    for field in ("dryRun", "measurementRetention"):
        for index, entry in enumerate(spec.each(field)):
            pattern = entry.at("metricName")
            pattern.differs("is the name of a metric, where * stands for any characters; Argo Rollouts takes an unanchored expression")
            made.put(f"spec.{field}[{index}].metricName", str(pattern.value), pattern)
            if entry.at("limit"):
                made.put(f"spec.{field}[{index}].limit", int(entry.take("limit")), entry.at("limit"))
