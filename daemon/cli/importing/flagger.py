"""Flagger's `Canary` as ours, with the Service and the HTTPRoute that Flagger made and would delete with its object."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from daemon.api.quantities import parse_duration
from daemon.cli.importing import queries
from daemon.cli.importing.draft import Draft
from daemon.cli.importing.ledger import Cursor, Ledger
from daemon.cli.importing.peers import Peers

# provider -> what Flagger moves weights in: (group, kind); the object has the name of the Service
ROUTERS: Final = {
    "gatewayapi": ("gateway.networking.k8s.io", "HTTPRoute"),
    "traefik": ("traefik.io", "TraefikService"),
    "contour": ("projectcontour.io", "HTTPProxy"),
    "istio": ("networking.istio.io", "VirtualService"),
    "nginx": ("networking.k8s.io", "Ingress"),
}
_MADE_BY_FLAGGER: Final = "Flagger deletes the {kind} that it made: keep a copy (kubectl get -o yaml), with both Services as its backends"
_BUILT_IN: Final = {"request-success-rate": ("errors", "HTTPErrorRatio"), "request-duration": ("latency", "HTTPLatency")}
_EVENTS: Final = {
    "info": None,
    "warn": ["Paused", "Inconclusive", "RolledBack"],
    "error": ["RolledBack"],
}
_HOOKS: Final = {
    "rollout": "an AnalysisTemplate with a web check does the same; load belongs into a Job of your own",
    "": "an AnalysisTemplate with a web check does the same; load belongs into a Job of your own",
    "post-rollout": "a Notifier of type webhook hears of the end of a release",
    "event": "a Notifier of type webhook hears of each event",
}


# type of a webhook -> where the gate is that asks the same
_GATES: Final = {
    "confirm-rollout": "Start",
    "pre-rollout": "FirstStep",
    "confirm-traffic-increase": "EachStep",
    "confirm-promotion": "Promotion",
    "rollback": "Rollback",
}
_SIGNED: Final = (
    "asked with a signature: put a key into Secret linnet-gates, key signing-key; 403 and 409 keep a gate closed, as any other answer did"
)


def convert(ledger: Ledger, peers: Peers) -> Iterator[Draft]:
    """A Canary, and the objects that Flagger made for it."""
    top = ledger.cursor()
    spec = top.at("spec")
    target = str(spec.at("targetRef").take("name") or ledger.name)
    draft = Draft("Canary", ledger.name, top.at("metadata", "namespace").value)
    for field in ("apiVersion", "kind", "name"):
        draft.put(f"spec.workloadRef.{field}", spec.take("targetRef", field), spec.at("targetRef", field))
    service = str(spec.take("service", "name") or target)
    _traffic(spec, draft, service)
    _steps(spec, draft)
    _metrics(spec, draft, peers, target, service)
    _alerts(spec, draft)
    _hooks(spec, draft)
    if spec.take("progressDeadlineSeconds"):
        draft.put("spec.progressDeadline", f"{int(spec.at('progressDeadlineSeconds').value)}s", spec.at("progressDeadlineSeconds"))
    spec.differs(
        "linnet pause holds a release; Linnet cannot be told to look away from one Deployment but by removing its Canary", "suspend"
    )
    if spec.at("skipAnalysis").value:
        spec.lost("each release is judged; linnet promote ends one by a person's word", "skipAnalysis")
    else:
        spec.take("skipAnalysis")
    yield draft
    yield from _metric_source(spec, draft)
    yield from _service(spec, draft, peers, target, service)
    yield from _http_route(spec, draft, service)


def _traffic(spec: Cursor, draft: Draft, service: str) -> None:
    named = spec.at("service", "name") or spec.at("targetRef", "name")
    draft.put("spec.traffic.serviceRef.name", service, named)
    draft.put("spec.traffic.serviceRef.port", spec.at("service", "port").value, spec.at("service", "port"))
    provider = str(spec.at("provider").value or "")
    family = provider.partition(":")[0]
    if family == "kubernetes":
        spec.differs("without a router requests are split by the share of pods", "provider")
        draft.put("spec.traffic.mode", "PodRatio")
    elif family in ROUTERS:
        group, kind = ROUTERS[family]
        name = spec.take("ingressRef", "name") if kind == "Ingress" else service
        spec.differs("an Ingress of networking.k8s.io is meant", "ingressRef", "apiVersion")
        spec.differs("an Ingress of networking.k8s.io is meant", "ingressRef", "kind")
        draft.put("spec.traffic.routes[0]", {"group": group, "kind": kind, "name": name}, spec.at("provider"))
        if kind == "HTTPRoute":
            spec.take("provider")
        else:
            spec.differs(_MADE_BY_FLAGGER.format(kind=kind), "provider")
    elif provider:
        spec.lost(f"{provider} is not among the routers of this version: requests are split by the share of pods", "provider")


def _steps(spec: Cursor, draft: Draft) -> None:
    analysis = spec.at("analysis")
    interval = str(analysis.take("interval") or "1m")
    draft.put("spec.strategy.ramp", "Steps")
    if analysis.at("iterations").value:
        _iterations(analysis, draft, interval)
        return
    source = analysis.at("stepWeights") if analysis.at("stepWeights").value else analysis.at("stepWeight")
    for index, (weight, origin) in enumerate(_weights(analysis)):
        draft.put(f"spec.steps[{index}].weight", weight, origin)
        draft.put(f"spec.steps[{index}].dwell.minDuration", interval, analysis.at("interval"))
    if source.value is not None:
        analysis.differs(
            "failed checks are not counted: the judge weighs all evidence, and a template tolerates failureLimit failures", "threshold"
        )
    if analysis.at("mirror").value:
        analysis.lost("write a step with mirror before the first weight, where your gateway is known to copy requests", "mirror")
    else:
        analysis.take("mirror")


def _weights(analysis: Cursor) -> Iterator[tuple[int, Cursor]]:
    """The ladder, each weight with the field that says it; the last one ends in the promotion."""
    top = int(analysis.take("maxWeight") or 100)
    listed = analysis.each("stepWeights")
    for entry in listed:
        yield int(entry.take()), entry
    step = int(analysis.take("stepWeight") or 0)
    if listed or step <= 0:
        return
    for number in range(1, math.ceil(top / step) + 1):
        yield min(number * step, 100), analysis.at("stepWeight")


def _iterations(analysis: Cursor, draft: Draft, interval: str) -> None:
    """Iterations with matches are an A/B test, without they are blue-green."""
    count = int(analysis.take("iterations"))
    analysis.differs("failed checks are not counted: the judge weighs all evidence", "threshold")
    matches = analysis.each("match")
    if not matches:
        draft.put("spec.strategy.type", "BlueGreen", analysis.at("iterations"))
        draft.put(
            "spec.steps[0]", {"name": "compare", "weight": 50, "dwell": {"minDuration": _times(interval, count)}}, analysis.at("interval")
        )
        draft.put("spec.steps[1]", {"name": "switch", "weight": 100}, analysis.at("iterations"))
        return
    for index, match in enumerate(matches):
        for header, below in sorted((match.at("headers").value or {}).items()):
            origin = match.at("headers", header)
            if set(below) == {"exact"}:
                origin.take()
                draft.put(f"spec.steps[{index}].match.headers", {header: below["exact"]}, origin)
            else:
                origin.lost("headers are matched by their exact value")
    for step in draft.body["spec"].get("steps", []):
        step["dwell"] = {"minDuration": _times(interval, count)}
    if draft.body["spec"].get("steps"):
        draft.put(f"spec.steps[{len(draft.body['spec']['steps'])}]", {"name": "compare", "weight": 50}, analysis.at("iterations"))
        analysis.differs("matched requests are no sample of everybody's: the versions are compared at 50 % afterwards", "iterations")


def _times(interval: str, count: int) -> str:
    number, unit = interval[:-1], interval[-1:]
    return f"{int(number) * count}{unit}" if number.isdigit() else interval


def _metrics(spec: Cursor, draft: Draft, peers: Peers, target: str, service: str) -> None:
    """Built-ins become presets, compared with the baseline; templates stay thresholds."""
    server = spec.at("metricsServer")
    source = {"sourceRef": {"name": _source_name(draft)}} if server else {}
    built, used = 0, 0
    for metric in spec.each("analysis", "metrics"):
        name = str(metric.take("name"))
        if name in _BUILT_IN and not metric.at("templateRef"):
            label, preset = _BUILT_IN[name]
            draft.put(f"spec.analysis.metrics[{built}]", {"name": label, "preset": preset} | source, metric.at("name"))
            metric.differs(
                "is compared with the baseline, at every scrape: no constant is needed; for an SLO add a template", "thresholdRange"
            )
            metric.differs("is compared with the baseline, at every scrape: no constant is needed", "threshold")
            metric.differs("is looked at after every scrape: analysis.interval", "interval")
            built += 1
        elif metric.at("templateRef"):
            _template_use(spec, metric, draft, used, peers, target, service)
            used += 1
        else:
            metric.lost("inline queries are deprecated in Flagger too: make it a MetricTemplate, then import both", "query")


def _source_name(draft: Draft) -> str:
    return f"{draft.body['metadata']['name']}-prometheus"


def _metric_source(spec: Cursor, draft: Draft) -> Iterator[Draft]:
    server = spec.at("metricsServer")
    if server:
        made = Draft("MetricSource", _source_name(draft), draft.body["metadata"].get("namespace"))
        made.put("spec.type", "Prometheus")
        made.put("spec.prometheus.url", str(server.take()).rstrip("/"), server)
        yield made


def _template_use(spec: Cursor, metric: Cursor, draft: Draft, index: int, peers: Peers, target: str, service: str) -> None:
    where = f"spec.analysis.templates[{index}]"
    name = str(metric.take("templateRef", "name"))
    draft.put(f"{where}.name", name, metric.at("templateRef", "name"))
    metric.differs(
        "templates are looked up in the Canary's namespace, then in the catalogue: put it there, with allowedNamespaces",
        "templateRef",
        "namespace",
    )
    interval = str(metric.take("interval") or "1m")
    draft.put(f"{where}.interval", interval, metric.at("interval"))
    limits = {key: float(value) for key, value in (metric.take("thresholdRange") or {}).items()}
    if not limits and metric.at("threshold").value is not None:
        limits = {"max": float(metric.take("threshold"))}
    draft.put(f"{where}.thresholdRange", limits or None, metric.at("thresholdRange"))
    variables = {str(k): str(v) for k, v in (metric.take("templateVariables") or {}).items()}
    query = peers.query_of(name, str(metric.at("templateRef", "namespace").value or ""))
    wanted = queries.args_of(query) if query is not None else ["namespace", "target", *variables]
    route = str(spec.at("ingressRef", "name").value or service)
    given = queries.values(wanted, workload=target, service=service, route=route, interval=interval, variables=variables)
    draft.put(f"{where}.args", given or None, metric.at("templateVariables"))


def _alerts(spec: Cursor, draft: Draft) -> None:
    for index, alert in enumerate(spec.each("analysis", "alerts")):
        alert.differs("a route of messages has no name of its own", "name")
        draft.put(f"spec.notify[{index}].notifierRef.name", alert.take("providerRef", "name"), alert.at("providerRef", "name"))
        alert.differs("Notifiers are looked up in the Canary's namespace, then in the catalogue", "providerRef", "namespace")
        severity = str(alert.take("severity") or "info")
        draft.put(f"spec.notify[{index}].events", _EVENTS.get(severity), alert.at("severity"))


def _hooks(spec: Cursor, draft: Draft) -> None:
    """Those that are asked become gates; the others have their own ways."""
    made = 0
    for hook in spec.each("analysis", "webhooks"):
        kind = str(hook.at("type").value or "")
        if kind in _GATES and hook.at("name") and hook.at("url"):
            _gate(hook, draft, f"spec.gates[{made}]", _GATES[kind])
            made += 1
        else:
            hook.lost(_HOOKS.get(kind, _HOOKS[""]))


def _gate(hook: Cursor, draft: Draft, where: str, point: str) -> None:
    """Flagger's wait without end, and are not signed."""
    draft.put(f"{where}.name", str(hook.take("name")), hook.at("name"))
    draft.put(f"{where}.at", point, hook.at("type"))
    hook.differs(_SIGNED, "type")
    draft.put(f"{where}.webhook.url", hook.take("url"), hook.at("url"))
    draft.put(f"{where}.webhook.signingKeySecretRef", {"name": "linnet-gates", "key": "signing-key"}, hook.at("url"))
    draft.put(f"{where}.webhook.metadata", hook.take("metadata"), hook.at("metadata"))
    timeout = hook.at("timeout")
    if timeout:
        draft.put(f"{where}.webhook.timeoutSeconds", min(60, max(1, round(parse_duration(str(timeout.take()))))), timeout)
    hook.differs("a receiver that does not say is asked again until the gate's timeout", "retries")
    hook.differs("a gate that stays closed is told once", "muteAlert")
    hook.differs("certificates are always verified: give the chart the CA (trust.caSecret)", "disableTLS")
    if point != "Rollback":
        draft.put(f"{where}.timeout", "24h", hook.at("type"))
        draft.put(f"{where}.onTimeout", "Wait", hook.at("type"))


def _service(spec: Cursor, draft: Draft, peers: Peers, target: str, service: str) -> Iterator[Draft]:
    """Flagger owns the Service that clients call: it goes with Flagger's object."""
    source = spec.at("service")
    if not source.at("port"):
        return
    made = Draft("Service", service, draft.body["metadata"].get("namespace"), api_version="v1")
    port = source.take("port")
    made.put("spec.ports[0].name", source.take("portName", default="http"), source.at("portName"))
    made.put("spec.ports[0].port", int(port), source.at("port"))
    made.put("spec.ports[0].targetPort", source.take("targetPort", default=int(port)), source.at("targetPort"))
    made.put("spec.ports[0].appProtocol", source.take("appProtocol"), source.at("appProtocol"))
    made.put("spec.trafficDistribution", source.take("trafficDistribution"), source.at("trafficDistribution"))
    if source.take("headless"):
        made.put("spec.clusterIP", "None", source.at("headless"))
    for field in ("labels", "annotations"):
        made.put(f"metadata.{field}", source.take("apex", field), source.at("apex", field))
    labels = peers.labels_of(target)
    made.put("spec.selector", labels or {"app": target})
    if labels is None:
        named = spec.at("targetRef", "name")
        named.differs(f"the selector of Service {service} is a guess (app: {target}): the Deployment was not among the files")
    yield made


def _http_route(spec: Cursor, draft: Draft, service: str) -> Iterator[Draft]:
    source = spec.at("service")
    if str(spec.at("provider").value or "").partition(":")[0] != "gatewayapi":
        for field in ("timeout", "backendTimeout", "hosts", "gatewayRefs"):
            source.lost("belongs into the route object, which with Linnet is yours: write it there", field)
        return
    made = Draft("HTTPRoute", service, draft.body["metadata"].get("namespace"), api_version="gateway.networking.k8s.io/v1")
    made.put("spec.parentRefs", source.take("gatewayRefs"), source.at("gatewayRefs"))
    made.put("spec.hostnames", source.take("hosts"), source.at("hosts"))
    matches = [found for match in source.each("match") if (found := _match(match))]
    made.put("spec.rules[0].matches", matches or None, source.at("match"))
    for field, wanted in (("timeout", "request"), ("backendTimeout", "backendRequest")):
        made.put(f"spec.rules[0].timeouts.{wanted}", source.take(field), source.at(field))
    filters = list(_filters(source))
    made.put("spec.rules[0].filters", filters or None, source.at("headers"))
    made.put("spec.rules[0].backendRefs[0]", {"name": service, "port": int(source.at("port").value or 80)}, source.at("port"))
    yield made


def _match(match: Cursor) -> dict[str, Any]:
    """What Gateway API can say of an Istio match; the rest stays unclaimed and is reported."""
    found: dict[str, Any] = {}
    kinds = {"exact": "Exact", "prefix": "PathPrefix", "regex": "RegularExpression"}
    for word, kind in kinds.items():
        if match.at("uri", word):
            found["path"] = {"type": kind, "value": match.take("uri", word)}
    if match.at("method", "exact"):
        found["method"] = match.take("method", "exact")
    for field in ("headers", "queryParams"):
        for name in match.at(field).value or {}:
            for word, kind in (("exact", "Exact"), ("regex", "RegularExpression")):
                if match.at(field, name, word):
                    value = match.take(field, name, word)
                    found.setdefault(field, []).append({"type": kind, "name": name, "value": value})
    return found


def _filters(source: Cursor) -> Iterator[dict[str, Any]]:
    rewrite = source.at("rewrite")
    if rewrite:
        prefix = rewrite.take("type") == "ReplacePrefixMatch"
        path = rewrite.take("uri")
        found: dict[str, Any] = {"hostname": rewrite.take("authority")} if rewrite.at("authority") else {}
        if path:
            kind, field = ("ReplacePrefixMatch", "replacePrefixMatch") if prefix else ("ReplaceFullPath", "replaceFullPath")
            found["path"] = {"type": kind, field: path}
        yield {"type": "URLRewrite", "urlRewrite": found}
    for side, kind in (("request", "RequestHeaderModifier"), ("response", "ResponseHeaderModifier")):
        changes = source.at("headers", side)
        if changes:
            body = {word: [{"name": k, "value": v} for k, v in changes.take(word).items()] for word in ("add", "set") if changes.at(word)}
            yield {"type": kind, kind[0].lower() + kind[1:]: body | ({"remove": changes.take("remove")} if changes.at("remove") else {})}
