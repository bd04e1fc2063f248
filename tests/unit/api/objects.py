"""Good objects of every kind, and the table of wrong ones made from them; shared by the unit and the cluster tests."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from daemon.api import names

GOOD: dict[str, dict[str, Any]] = {
    "Canary": {"workloadRef": {"name": "checkout"}},
    "CanaryProfile": {"allowedNamespaces": ["*"]},
    "AnalysisTemplate": {"metrics": [{"name": "up", "provider": {"prometheus": {"query": "up"}}}]},
    "AnalysisRun": {"canaryRef": {"name": "checkout"}, "revision": "7f9c2", "startedAt": "2026-01-01T00:00:00Z"},
    "MetricSource": {"type": "Prometheus", "prometheus": {"url": "http://prometheus.monitoring:9090"}},
    "FlagSource": {"type": "Flagd", "flagd": {"configMapRef": {"name": "flags", "key": "flags.json"}}},
    "Notifier": {"urlSecretRef": {"name": "slack", "key": "url"}},
    "Freeze": {"reason": "the sale"},
    "ReleaseGroup": {"members": [{"name": "api"}, {"name": "web"}]},
}

HALF = {"name": "new-checkout", "percent": 50, "cohorts": [{"name": "beta", "percent": 100}], "mayShrink": False}

WHOSE = {"approvers": 2, "among": ["ada", "bob"], "notByAuthor": True}
HOOK: dict[str, Any] = {
    "url": "https://gates.example/checkout",
    "signingKeySecretRef": {"name": "gates", "key": "key"},
    "timeoutSeconds": 5,
    "metadata": {"team": "shop"},
}
JOB: dict[str, Any] = {
    "metadata": {"labels": {"team": "shop"}, "annotations": {"why": "smoke"}},
    "spec": {"template": {"spec": {"containers": [{"name": "tests", "image": "tests:1"}]}}},
    "inconclusiveExitCodes": [75],
}
FULL_CANARY: dict[str, Any] = {
    "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
    "profileRef": {"name": "web"},
    "mode": "Enforce",
    "hold": "Auto",
    "traffic": {
        "mode": "Routes",
        "serviceRef": {"name": "checkout", "port": "http"},
        "routes": [
            {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "checkout"},
            {"group": "mesh.example.com", "kind": "Split", "name": "checkout"},
        ],
        "routers": [
            {
                "group": "mesh.example.com",
                "kind": "Split",
                "version": "v1",
                "resource": "splits",
                "backends": ["spec/rules/*/to"],
                "service": "ref/name",
                "weight": "share",
                "port": "ref/port",
                "unset": 0,
                "ready": {"path": "status/state", "value": "Ready", "generation": "status/observedGeneration"},
                "settle": "10s",
            }
        ],
        "identity": "Auto",
        "buckets": {"header": "X-Edge-Bucket", "group": "shop"},
        "drain": "20s",
    },
    "strategy": {"type": "Canary", "scaleDownDelay": "5m", "ramp": "Adaptive", "baseline": "Stable", "placement": "SideBySide"},
    "steps": [
        {"name": "copies", "mirror": {"percent": 100, "methods": ["GET", "HEAD"]}, "dwell": {"minDuration": "2m"}},
        {
            "name": "staff",
            "match": {"headers": {"x-group": "staff"}, "cookies": {"beta": "yes"}, "query": {"canary": "1"}},
            "dwell": {"minDuration": "10m"},
        },
        {"name": "smoke", "weight": 5, "dwell": {"minDuration": "2m", "minRequests": 500}},
        {"name": "look", "pause": {"duration": "10m"}},
        {"name": "half", "weight": 50, "flags": [HALF], "dwell": {"minDuration": "10m"}},
        {"name": "flag", "flags": [{"name": "new-checkout", "percent": 100}]},
        {"name": "wait", "pause": {}},
        {"name": "room", "scale": 60},
        {"name": "qa", "gate": {"webhook": HOOK, "timeout": "20m", "onTimeout": "Wait"}},
        {"name": "tests", "gate": {"job": JOB, "timeout": "20m"}},
        {"name": "sign-off", "approval": {"timeout": "24h", "onTimeout": "Wait", **WHOSE}},
        {
            "name": "check",
            "analysis": {
                "name": "smoke",
                "args": [
                    {"name": "service", "value": "checkout"},
                    {"name": "token", "valueFrom": {"secretKeyRef": {"name": "smoke", "key": "token"}}},
                    {"name": "team", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
                ],
            },
        },
    ],
    "gates": [
        {"name": "migrate", "at": "Start", "job": JOB, "timeout": "30m", "onTimeout": "Rollback"},
        {"name": "brake", "at": "Rollback", "webhook": HOOK},
    ],
    "flags": [
        {
            "name": "new-checkout",
            "key": "newCheckout",
            "sourceRef": {"name": "flagd"},
            "mode": "Gated",
            "stickiness": "userId",
            "cohorts": [{"name": "beta", "segment": "b", "constraints": [{"attribute": "plan", "operator": "IN", "values": ["beta"]}]}],
            "onDrift": "Hold",
            "onPromotion": "Keep",
            "removeAfter": "720h",
        }
    ],
    "analysis": {
        "judge": "Statistical",
        "metrics": [
            {"name": "errors", "preset": "HTTPErrorRatio", "rollbackIfWorseBy": "0.5pp", "promoteIfWithin": "1pp"},
            {
                "name": "orders",
                "ratio": {"errors": "orders_failed_total", "total": "orders_total"},
                "sourceRef": {"name": "prometheus"},
                "armLabels": {"stable": 'track="stable"', "canary": 'track="canary"'},
                "rollbackIfWorseBy": "1.1x+0.02pp",
                "promoteIfWithin": "25%+0.3pp",
                "direction": "HigherIsBetter",
                "lag": "5m",
            },
            {"name": "latency", "histogram": "http_request_duration_seconds_bucket"},
            {"name": "queue", "gauge": "queue_length"},
        ],
        "templates": [
            {
                "name": "slo",
                "when": "BeforeFirstStep",
                "interval": "1m",
                "thresholdRange": {"min": 0, "max": 0.01},
                "args": [
                    {"name": "service", "value": "checkout"},
                    {"name": "token", "valueFrom": {"secretKeyRef": {"name": "slo", "key": "token"}}},
                    {"name": "team", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                ],
            }
        ],
        "maxFalseRollbackPercent": 1,
        "maxBadPromotionPercent": 5,
        "interval": "15s",
        "bake": "20m",
        "warmUp": "60s",
        "deadline": "1h",
        "outcomes": {
            "inconclusive": {"action": "Wait", "thenAfter": "24h", "then": "Rollback"},
            "noData": {"action": "Wait", "thenAfter": "45m", "then": "Promote"},
            "providerError": {"action": "Wait", "thenAfter": "1h", "then": "Rollback"},
        },
    },
    "windows": [
        {"timeZone": "Europe/Berlin", "days": ["Mon", "Tue"], "opens": "09:00", "closes": "16:00", "moves": ["Start", "Step"]},
        {"timeZone": "UTC", "opens": "22:00", "closes": "04:00", "moves": ["Promotion"]},
    ],
    "progressDeadline": "10m",
    "onRollback": "Auto",
    "notify": [{"notifierRef": {"name": "slack-payments"}, "events": ["Started", "Paused", "Promoted", "RolledBack"]}],
}

FULL_TEMPLATE: dict[str, Any] = {
    "args": [
        {"name": "service"},
        {"name": "count", "value": "5"},
        {"name": "token", "valueFrom": {"secretKeyRef": {"name": "smoke", "key": "token"}}},
    ],
    "metrics": [
        {
            "name": "success-rate",
            "interval": "30s",
            "initialDelay": "1m",
            "count": "{{args.count}}",
            "successCondition": "len(result) == 0 || result[0] >= 0.95",
            "failureCondition": "result[0] < 0.5",
            "failureLimit": 1,
            "inconclusiveLimit": 1,
            "consecutiveErrorLimit": 5,
            "consecutiveSuccessLimit": 3,
            "onNoData": "Inconclusive",
            "provider": {"prometheus": {"query": 'sum(rate(ok{service="{{args.service}}"}[1m]))', "sourceRef": {"name": "prometheus"}}},
        },
        {
            "name": "smoke",
            "thresholdRange": {"min": 1, "max": 2},
            "provider": {
                "web": {
                    "url": "http://smoke.{{ args.service }}:8080/run?full=1",
                    "method": "POST",
                    "headers": [{"key": "Authorization", "value": "Bearer {{args.token}}"}],
                    "body": "{}",
                    "jsonPath": "{$.data.ok}",
                    "timeoutSeconds": 20,
                }
            },
        },
    ],
    "dryRun": [{"metricName": "smo*"}],
    "measurementRetention": [{"metricName": ".*", "limit": 20}],
    "allowedNamespaces": ["*"],
}

MORE_GOOD: dict[str, list[dict[str, Any]]] = {
    "Canary": [GOOD["Canary"], FULL_CANARY, {"workloadRef": {"name": "w"}, "traffic": {"mode": "PodRatio"}, "flags": [], "steps": []}],
    "CanaryProfile": [
        GOOD["CanaryProfile"],
        {
            **{key: value for key, value in FULL_CANARY.items() if key not in ("workloadRef", "profileRef")},
            "metricSourceRef": {"name": "m"},
        },
        {"steps": [{"weight": 5, "flags": [{"name": "from-the-canary", "percent": 10}]}], "flagSourceRef": {"name": "f"}},
    ],
    "AnalysisTemplate": [GOOD["AnalysisTemplate"], FULL_TEMPLATE],
    "AnalysisRun": [GOOD["AnalysisRun"]],
    "MetricSource": [
        GOOD["MetricSource"],
        {
            "type": "Prometheus",
            "prometheus": {
                "url": "https://mimir.example.com/prometheus",
                "auth": {
                    "basic": {"usernameSecretRef": {"name": "mimir", "key": "user"}, "passwordSecretRef": {"name": "mimir", "key": "pw"}}
                },
                "headers": {"X-Scope-OrgID": "shop"},
            },
            "ingestionDelay": "30s",
            "allowedNamespaces": ["shop", "payments"],
        },
        {"type": "Scrape", "scrape": {"port": "metrics", "path": "/metrics", "interval": "15s"}},
        {"type": "Scrape", "scrape": {"port": 8080}},
    ],
    "FlagSource": [
        GOOD["FlagSource"],
        {
            "type": "Flagd",
            "flagd": {"configMapRef": {"name": "flags", "key": "flags.json", "namespace": "flags"}, "settle": "0s"},
            "allowedNamespaces": ["*"],
            "allowedFlags": ["new-*", "exact"],
        },
        {
            "type": "Unleash",
            "unleash": {
                "url": "https://unleash.example.com",
                "tokenSecretRef": {"name": "unleash", "key": "token"},
                "environment": "production",
                "project": "shop",
                "witnessTokenSecretRef": {"name": "unleash", "key": "backend"},
                "webhookSecretRef": {"name": "unleash", "key": "webhook"},
                "settle": "17s",
            },
        },
        {
            "type": "LaunchDarkly",
            "launchDarkly": {
                "url": "https://app.eu.launchdarkly.com",
                "tokenSecretRef": {"name": "ld", "key": "token"},
                "project": "shop",
                "environment": "production",
                "contextKind": "account",
                "settle": "20s",
            },
        },
        {"type": "Flagd", "flagd": {"featureFlagRef": {"name": "flags", "namespace": "flags"}, "settle": "5s"}},
        {
            "type": "HTTP",
            "http": {
                "url": "https://flags.example.com/api",
                "auth": {"bearerSecretRef": {"name": "flags", "key": "token"}},
                "headers": {"X-Team": "shop"},
                "read": {
                    "path": "/flags/{{flag}}",
                    "percent": "/share/percent",
                    "owner": "/labels/driver",
                    "gate": "/share/gate",
                    "cohorts": "/share/cohorts",
                    "enabled": "/on",
                    "revision": "/version",
                    "changedBy": "/editor",
                },
                "set": {
                    "method": "PUT",
                    "path": "/flags/{{flag}}",
                    "body": '{"share": ["{{percent}}", "{{gate}}", "{{cohorts}}"], "by": "{{owner}}", "v": "{{revision}}"}',
                },
                "zero": {"method": "POST", "path": "/flags/{{flag}}/off", "body": "{}"},
                "conditional": "Revision",
                "settle": "10s",
            },
        },
    ],
    "Freeze": [
        GOOD["Freeze"],
        {
            "reason": "the sale",
            "from": "2026-12-24T18:00:00+01:00",
            "until": "2026-12-27T00:00:00Z",
            "namespaces": ["shop", "*"],
            "selector": {"matchLabels": {"tier": "front"}},
            "hotfixes": "Refused",
        },
    ],
    "ReleaseGroup": [
        GOOD["ReleaseGroup"],
        {"members": [{"name": "web", "after": ["api"]}, {"name": "api"}], "start": "All", "gather": "2m", "deadline": "8h"},
    ],
    "Notifier": [GOOD["Notifier"], {"urlSecretRef": {"name": "slack", "key": "url"}, "allowedNamespaces": ["*"]}],
}


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """One wrong object and how its fault must be told."""

    name: str
    raw: dict[str, Any]
    field: str
    server_field: str
    says: str
    lint_says: str
    server: bool


def make(kind: str, spec: dict[str, Any], name: str = "checkout") -> dict[str, Any]:
    """A whole object."""
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": copy.deepcopy(spec)}


def wrong_objects() -> list[Wrong]:
    table = yaml.safe_load((Path(__file__).parent / "wrong_objects.yaml").read_text(encoding="utf-8"))
    return [_wrong(row) for row in table]


def _wrong(row: dict[str, Any]) -> Wrong:
    spec = {key: value for key, value in {**GOOD[row["kind"]], **row["spec"]}.items() if value is not None}
    return Wrong(
        name=row["name"],
        raw=make(row["kind"], spec),
        field=row["field"],
        server_field=row.get("server_field", row["field"]),
        says=row.get("says", ""),
        lint_says=row.get("lint_says", ""),
        server=row.get("server", True),
    )
