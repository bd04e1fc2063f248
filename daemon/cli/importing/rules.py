"""What is said of the fields that no code reads, one line each; what is in no table is reported as having no counterpart."""

from __future__ import annotations

from typing import Final

from daemon.cli.importing.ledger import Outcome, Rule

_SEEN: Final = "is what the other controller observed; Linnet observes for itself"
_ROUTE: Final = "belongs into the route object, which with Linnet is yours: write it there"


def _rules(outcome: Outcome, *pairs: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple(Rule(pattern=pattern, outcome=outcome, text=text) for pattern, text in pairs)


COMMON: Final = (
    *_rules("Differs", ("status", _SEEN)),
    *_rules("Differs", ("metadata", "labels and annotations of the other tool's object are not carried over: set those you need")),
)

FLAGGER_CANARY: Final = (
    *_rules(
        "Differs",
        (
            "spec.autoscalerRef",
            "Linnet finds the autoscaler by its target, keeps its lower bound up while traffic is away, and restores it",
        ),
        ("spec.revertOnDeletion", "deleting a Canary always gives back what it changed"),
        ("spec.service.portDiscovery", "the canary's Service copies every port of yours: list them in the Service"),
        ("spec.service.primary", "there is no primary Service: your own keeps its name, labels and annotations"),
        ("spec.service.canary", "the canary's Service copies the labels and annotations of your Service"),
        ("spec.service.unmanagedMetadata", "Linnet writes no metadata into your Service"),
        ("spec.analysis.primaryReadyThreshold", "weight follows ready capacity pod by pod; no threshold is needed"),
        ("spec.analysis.canaryReadyThreshold", "weight follows ready capacity pod by pod; no threshold is needed"),
        ("spec.analysis.stepWeightPromotion", "after a promotion traffic returns in steps of ready capacity by itself"),
    ),
    *_rules(
        "NoCounterpart",
        ("spec.upstreamRef", "Gloo is not among the routers of this version"),
        ("spec.routeRef", "APISIX is not among the routers of this version"),
        ("spec.service.trafficPolicy", "belongs into an Istio DestinationRule of your own: Flagger deletes the one that it made"),
        ("spec.service.retries", _ROUTE),
        ("spec.service.corsPolicy", _ROUTE),
        ("spec.service.mirror", _ROUTE),
        ("spec.service.gateways", _ROUTE),
        ("spec.service.delegation", _ROUTE),
        ("spec.service.rewrite", _ROUTE),
        ("spec.service.headers", _ROUTE),
        ("spec.service.match", _ROUTE),
        ("spec.service.meshName", "AWS App Mesh ended on 2026-09-30"),
        ("spec.service.backends", "AWS App Mesh ended on 2026-09-30"),
        ("spec.analysis.sessionAffinity", "sessions are not pinned to a version in this version of Linnet; the share of requests holds"),
        ("spec.analysis.mirrorWeight", "requests are not mirrored in this version of Linnet"),
        ("spec.analysis.match[].sourceLabels", "Linnet matches what a gateway sees: headers and cookies"),
        ("spec.analysis.match[].queryParams", "Linnet matches what a gateway sees: headers and cookies"),
    ),
)

_POD: Final = "only the pod template and its size are the workload's; Linnet's canary takes them from the Deployment"
ROLLOUT: Final = (
    *_rules(
        "Differs",
        ("spec.restartAt", "use kubectl rollout restart, or linnet restart while a release is held"),
        ("spec.rollbackWindow", "going back to the stable version never needs a window: it ends the release without a canary"),
        ("spec.progressDeadlineAbort", "a release whose pods do not come up is always rolled back"),
        ("spec.analysis", "AnalysisRuns are kept by Linnet's own bounds"),
        ("spec.workloadRef.scaleDown", "the Deployment itself serves stable: scale it up before the Rollout goes"),
        ("spec.strategy.canary.maxSurge", "is the Deployment's own: set strategy.rollingUpdate there"),
        ("spec.strategy.canary.maxUnavailable", "is the Deployment's own: set strategy.rollingUpdate there"),
        ("spec.strategy.canary.canaryService", "Linnet keeps a Service of its own for the canary; this one can go when the Rollout goes"),
        ("spec.strategy.canary.dynamicStableScale", "stable always keeps the capacity to take all traffic back"),
        ("spec.strategy.canary.minPodsPerReplicaSet", "the canary has the pods that its share needs, at least one"),
        ("spec.strategy.canary.replicaProgressThreshold", "weight follows ready capacity pod by pod; no threshold is needed"),
        ("spec.strategy.canary.scaleDownDelayRevisionLimit", "one canary at a time: there is nothing to limit"),
        (
            "spec.strategy.canary.scaleDownDelaySeconds",
            "old pods go by the Deployment's own rolling update; for the canary see traffic.drain",
        ),
        ("spec.strategy.canary.abortScaleDownDelaySeconds", "after an abort the canary's pods outlive their share by traffic.drain"),
        ("spec.strategy.canary.trafficRouting.managedRoutes", "Linnet names what it adds to a route by itself"),
        ("spec.strategy.canary.pingPong", "stable keeps its own Service and name: there are no roles to swap"),
    ),
    *_rules(
        "NoCounterpart",
        ("spec.strategy.canary.canaryMetadata", "pods carry linnet.dev/track, which they can read by the downward API"),
        ("spec.strategy.canary.stableMetadata", "Linnet changes nothing about stable pods"),
        ("spec.strategy.canary.antiAffinity", "write it into the pod template; Linnet does not change where pods may run"),
        ("spec.strategy.blueGreen.antiAffinity", "write it into the pod template; Linnet does not change where pods may run"),
        ("spec.strategy.blueGreen.activeMetadata", "pods carry linnet.dev/track, which they can read by the downward API"),
        ("spec.strategy.blueGreen.previewMetadata", "pods carry linnet.dev/track, which they can read by the downward API"),
        (
            "spec.strategy.canary.steps[].experiment",
            "experiments are not part of Linnet: the judge compares canary and baseline all the time",
        ),
        ("spec.strategy.canary.steps[].plugin", "Linnet runs no plugins: call what it did by an AnalysisTemplate with a web check"),
        ("spec.strategy.canary.steps[].setMirrorRoute", "requests are not mirrored in this version of Linnet"),
        ("spec.strategy.canary.trafficRouting.appMesh", "AWS App Mesh ended on 2026-09-30"),
        ("spec.strategy.canary.trafficRouting", "this router is not in this version of Linnet"),
    ),
)

TEMPLATE: Final = _rules(
    "NoCounterpart",
    ("spec.templates", "templates do not name others: list each in the Canary's analysis.templates"),
    ("spec.metrics[].provider.plugin", "Linnet runs no plugins: ask the service by a web check"),
    ("spec.metrics[].provider.prometheus.rangeQuery", "queries are instant: put the range into the query, as in rate(x[5m])"),
    ("spec.metrics[].provider.prometheus.authentication", "belongs into a MetricSource: spec.prometheus.auth"),
    ("spec.metrics[].provider.prometheus.headers", "belongs into a MetricSource: spec.prometheus.headers"),
    ("spec.metrics[].provider.prometheus.insecure", "give the MetricSource the CA instead: spec.prometheus.caSecretRef"),
    ("spec.metrics[].provider.web.authentication", "send the token in a header whose value is an arg from a Secret"),
    ("spec.metrics[].provider.web.insecure", "Linnet always verifies the server's certificate"),
    ("spec.metrics[].provider", "this provider is not in this version of Linnet: ask the service by a web check, or by Prometheus"),
)

METRIC_TEMPLATE: Final = _rules(
    "NoCounterpart",
    ("spec.provider.insecureSkipVerify", "give the MetricSource the CA instead: spec.prometheus.caSecretRef"),
    ("spec.provider.region", "is said by a MetricSource of type CloudWatch: spec.cloudWatch.sigV4.region"),
)

ALERT_PROVIDER: Final = _rules(
    "NoCounterpart",
    ("spec.channel", "a webhook's channel is fixed where it was made; apprise's slack:// address names one"),
    ("spec.username", "a webhook's name is fixed where it was made; apprise's slack:// address names one"),
    ("spec.proxy", "the daemon's proxy is set once, by HTTPS_PROXY in the chart"),
)

EXPERIMENT: Final = _rules(
    "NoCounterpart", ("spec", "experiments are not part of Linnet: the judge compares canary and baseline all the time")
)
ANALYSIS_RUN: Final = _rules("Differs", ("spec", "is a record of the other controller's; Linnet keeps evidence of its own"))
