"""Argo's `Rollout` as a Deployment and a Canary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from daemon.cli.importing.draft import Draft
from daemon.cli.importing.ledger import Cursor, Ledger
from daemon.cli.importing.peers import Peers

_SUBSCRIBE: Final = "notifications.argoproj.io/subscribe."
_EVENTS: Final = {
    "on-rollout-updated": ["Started"],
    "on-rollout-step-completed": ["Step"],
    "on-rollout-completed": ["Promoted"],
    "on-rollout-aborted": ["RolledBack"],
    "on-rollout-paused": ["Paused"],
    "on-analysis-run-failed": ["RolledBack"],
    "on-analysis-run-error": ["Inconclusive"],
}
_GATEWAY_PLUGIN: Final = "argoproj-labs/gatewayAPI"


def convert(ledger: Ledger, _: Peers) -> Iterator[Draft]:
    """The Deployment (unless the Rollout refers to one) and its Canary."""
    top = ledger.cursor()
    spec = top.at("spec")
    namespace = top.at("metadata", "namespace").value
    name = str(spec.at("workloadRef", "name").value or ledger.name)
    draft = Draft("Canary", ledger.name, namespace)
    draft.put(
        "spec.workloadRef.apiVersion", spec.take("workloadRef", "apiVersion", default="apps/v1"), spec.at("workloadRef", "apiVersion")
    )
    draft.put("spec.workloadRef.kind", spec.take("workloadRef", "kind", default="Deployment"), spec.at("workloadRef", "kind"))
    draft.put("spec.workloadRef.name", name, spec.at("workloadRef", "name"))
    spec.take("workloadRef", "name")
    if spec.at("progressDeadlineSeconds").value:
        draft.put("spec.progressDeadline", f"{spec.take('progressDeadlineSeconds')}s", spec.at("progressDeadlineSeconds"))
    canary, green = spec.at("strategy", "canary"), spec.at("strategy", "blueGreen")
    if green:
        _blue_green(green, draft)
    else:
        _canary(canary, draft)
    _subscriptions(top, draft)
    if not spec.at("workloadRef"):
        yield _deployment(spec, ledger, namespace)
    elif spec.at("paused").value is not None:
        spec.differs("linnet pause holds a release", "paused")
    yield draft


def _deployment(spec: Cursor, ledger: Ledger, namespace: str | None) -> Draft:
    made = Draft("Deployment", ledger.name, namespace, api_version="apps/v1")
    for field in ("replicas", "selector", "template", "minReadySeconds", "revisionHistoryLimit"):
        made.put(f"spec.{field}", spec.take(field), spec.at(field))
    if spec.at("paused").value:
        spec.lost("linnet pause holds a release; a manifest that sets paused would end, or become, the hold", "paused")
    else:
        spec.take("paused")
    return made


def _canary(canary: Cursor, draft: Draft) -> None:
    draft.put("spec.strategy.ramp", "Steps")
    service = canary.at("stableService") or canary.at("trafficRouting", "alb", "rootService")
    if service:
        draft.put("spec.traffic.serviceRef.name", service.take(), service)
    _routes(canary.at("trafficRouting"), draft)
    number = 0
    for step in canary.each("steps"):
        number = _step(step, draft, number)
    _analysis(canary.at("analysis"), draft, "Background", 0)


def _routes(routing: Cursor, draft: Draft) -> None:
    """What this version has no router for is taken out again by lint, and told there."""
    found: list[tuple[dict[str, Any], Cursor]] = []
    for name, origin in _named(routing.at("plugins", _GATEWAY_PLUGIN), "httpRoute", "httpRoutes"):
        found.append(({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}, origin))
    for name, origin in _named(routing.at("plugins", _GATEWAY_PLUGIN), "grpcRoute", "grpcRoutes"):
        found.append(({"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": name}, origin))
    for name, origin in _named(routing.at("nginx"), "stableIngress", "stableIngresses"):
        found.append(({"group": "networking.k8s.io", "kind": "Ingress", "name": name}, origin))
    for name, origin in _named(routing.at("istio"), "virtualService", "virtualServices"):
        found.append(({"group": "networking.istio.io", "kind": "VirtualService", "name": name}, origin))
    traefik = routing.at("traefik", "weightedTraefikServiceName")
    if traefik:
        found.append(({"group": "traefik.io", "kind": "TraefikService", "name": traefik.take()}, traefik))
    for index, (route, origin) in enumerate(found):
        draft.put(f"spec.traffic.routes[{index}]", route, origin)
    if routing and not found:
        routing.lost("this router is not in this version of Linnet")
    spaces = routing.at("plugins", _GATEWAY_PLUGIN, "namespace")
    if spaces:
        spaces.differs("routes are those of the Canary's own namespace")


def _named(place: Cursor, one: str, several: str) -> Iterator[tuple[str, Cursor]]:
    """Routes named alone or in a list, as a bare name or as an object with one."""
    for entry in [place.at(one), *place.each(several)]:
        if isinstance(entry.value, str):
            yield str(entry.take()), entry
        elif isinstance(entry.value, dict) and entry.at("name"):
            yield str(entry.take("name")), entry.at("name")


def _step(step: Cursor, draft: Draft, number: int) -> int:
    """One step; several words in one entry of Argo's become several steps of ours."""
    where = "spec.steps[{}]"
    if step.at("setWeight").value is not None:
        draft.put(f"{where.format(number)}.weight", int(step.take("setWeight")), step.at("setWeight"))
        number += 1
    if step.at("pause").value is not None:
        number = _pause(step.at("pause"), draft, where, number)
    scale = step.at("setCanaryScale")
    if scale.at("weight").value is not None:
        draft.put(f"{where.format(number)}.scale", int(scale.take("weight")), scale.at("weight"))
        number += 1
    elif scale:
        scale.lost("the canary's size follows its share; a scale step takes a percentage")
    for use in step.each("analysis", "templates"):
        _use(use, step.at("analysis"), draft, f"{where.format(number)}.analysis")
        number += 1
    return _header_route(step.at("setHeaderRoute"), draft, where, number)


def _pause(pause: Cursor, draft: Draft, where: str, number: int) -> int:
    """A pause of a known length is the time that the weight before it is kept; an open one waits for a person."""
    duration = pause.take("duration")
    pause.take()
    before = draft.body["spec"].get("steps", [])[-1:]
    if duration is not None and before and set(before[0]) in ({"weight"}, {"match"}):
        draft.put(f"{where.format(number - 1)}.dwell.minDuration", _duration(duration), pause)
        return number
    draft.put(f"{where.format(number)}.pause", {"duration": _duration(duration)} if duration is not None else {}, pause)
    return number + 1


def _header_route(route: Cursor, draft: Draft, where: str, number: int) -> int:
    headers = {}
    for match in route.each("match"):
        exact = match.at("headerValue", "exact")
        if exact:
            headers[str(match.take("headerName"))] = str(exact.take())
        else:
            match.lost("headers are matched by their exact value")
    if not headers:
        return number
    route.differs("a match lasts for its step and needs no name", "name")
    draft.put(f"{where.format(number)}.match.headers", headers, route.at("match"))
    return number + 1


def _duration(value: int | str) -> str:
    text = str(value)
    return f"{text}s" if text.isdigit() else text


def _analysis(place: Cursor, draft: Draft, when: str, first: int) -> int:
    for index, use in enumerate(place.each("templates"), first):
        where = f"spec.analysis.templates[{index}]"
        _use(use, place, draft, where)
        draft.put(f"{where}.when", when if when != "Background" else None, use)
        first = index + 1
    if place.at("startingStep").value is not None:
        place.differs("a background template runs from the first exposure on", "startingStep")
    return first


def _use(use: Cursor, place: Cursor, draft: Draft, where: str) -> None:
    draft.put(f"{where}.name", use.take("templateName"), use.at("templateName"))
    if use.at("clusterScope").value is not None:
        use.differs("a template is looked up in the Canary's namespace, then in the catalogue", "clusterScope")
    given = []
    for arg in place.each("args"):
        value = _argument(arg)
        if value is not None:
            given.append(value)
    draft.put(f"{where}.args", given or None, place.at("args"))
    place.differs("say it in the AnalysisTemplate: dryRun", "dryRun")
    place.differs("say it in the AnalysisTemplate: measurementRetention", "measurementRetention")
    place.differs("AnalysisRuns of Linnet carry the Canary's name and revision", "analysisRunMetadata")


def _argument(arg: Cursor) -> dict[str, Any] | None:
    name = str(arg.take("name"))
    if arg.at("value").value is not None:
        return {"name": name, "value": str(arg.take("value"))}
    path = arg.at("valueFrom", "fieldRef", "fieldPath")
    if path:
        if str(path.value).startswith("metadata."):
            return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": str(path.take())}}}
        path.lost("only fields of the Canary can be named, such as metadata.name or status.stableRevision")
        return None
    arg.at("valueFrom", "podTemplateHashValue").lost("pods of the canary are told by the label linnet.dev/track: canary")
    return None


def _blue_green(green: Cursor, draft: Draft) -> None:
    """Without steps Linnet compares at 50 % and switches then; a person who approved before the switch does so in a step."""
    draft.put("spec.strategy.type", "BlueGreen", green.at("activeService"))
    draft.put("spec.strategy.ramp", "Steps")
    draft.put("spec.traffic.serviceRef.name", green.take("activeService"), green.at("activeService"))
    if green.at("scaleDownDelaySeconds").value:
        draft.put("spec.strategy.scaleDownDelay", f"{green.take('scaleDownDelaySeconds')}s", green.at("scaleDownDelaySeconds"))
    if green.at("autoPromotionEnabled").value is False:
        by_hand = green.at("autoPromotionEnabled")
        by_hand.take()
        steps: list[dict[str, Any]] = [
            {"name": "preview", "pause": {}},
            {"name": "compare", "weight": 50},
            {"name": "switch", "weight": 100},
        ]
        for index, step in enumerate(steps):
            draft.put(f"spec.steps[{index}]", step, by_hand)
        green.differs("a pause without an end waits for linnet resume", "autoPromotionSeconds")
    else:
        green.differs("the switch waits for a proof: Linnet compares both versions at 50 % first", "autoPromotionEnabled")
        green.differs("the switch waits for a proof and needs no time of its own", "autoPromotionSeconds")
    green.differs("the canary's Service, <name>-canary, reaches the preview", "previewService")
    green.differs("the preview has as many pods as stable from the start", "previewReplicaCount")
    for field in ("abortScaleDownDelaySeconds", "scaleDownDelayRevisionLimit", "maxUnavailable"):
        green.differs("one new version at a time: there is nothing to set", field)
    count = _analysis(green.at("prePromotionAnalysis"), draft, "BeforeFirstStep", 0)
    _analysis(green.at("postPromotionAnalysis"), draft, "AfterPromotion", count)


def _subscriptions(top: Cursor, draft: Draft) -> None:
    """Subscriptions by annotation; channels of one service are one Notifier each."""
    targets: dict[str, tuple[list[str], Cursor]] = {}
    for key in top.at("metadata", "annotations").value or {}:
        if not str(key).startswith(_SUBSCRIBE):
            continue
        trigger, _, service = str(key)[len(_SUBSCRIBE) :].partition(".")
        here = top.at("metadata", "annotations", key)
        events = _EVENTS.get(trigger)
        if events is None:
            here.lost(f"{trigger} has no event of Linnet's: there are Started, Step, Paused, Promoted, RolledBack and Inconclusive")
            continue
        here.differs(f"needs a Notifier for each channel, named {service}-<channel>, whose Secret holds its address")
        for channel in str(here.value or "default").split(";"):
            name = "-".join(part for part in (service, channel.strip().lower().lstrip("#")) if part)
            targets.setdefault(name, ([], here))[0].extend(events)
    for index, (name, (events, origin)) in enumerate(sorted(targets.items())):
        draft.put(f"spec.notify[{index}]", {"notifierRef": {"name": name}, "events": sorted(set(events))}, origin)
