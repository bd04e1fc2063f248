"""What the demo puts into its cluster: the shop as a careful team would write it, and what Linnet needs to know about it."""

import base64
import json
from typing import Any

from daemon.api import crds, names
from daemon.api.kinds import KINDS
from daemon.cli.demo.script import (
    APP,
    CATALOGUE,
    DRAIN,
    FIRST_TAG,
    HOST,
    NAMESPACE,
    STEPS,
    WARM_UP,
    DemoOptions,
    Release,
    UnleashPlace,
    releases,
)
from daemon.sandbox.podspec import Image

Object = dict[str, Any]

SLACK_HOST = "hooks.slack.com"
TEAMS_HOST = "prod-00.westeurope.logic.azure.com"
# Addresses as Slack and Teams hand them out; nobody's, and in the sandbox a local inbox answers for both hosts.
WEBHOOKS = {
    "slack": f"https://{SLACK_HOST}/services/T00000000/B00000000/000000000000000000000000",
    "teams": f"https://{TEAMS_HOST}/workflows/{'0' * 32}/triggers/manual/paths/invoke?api-version=2016-06-01&sig={'0' * 43}",
}


def images(options: DemoOptions) -> tuple[Image, ...]:
    """The builds. What is wrong with one is baked into its image, as in life."""
    return tuple(_image(release) for release in releases(options))


def _image(release: Release) -> Image:
    env = {"SHOP_FLAG": release.flag, "SHOP_ERROR_PERCENT": f"{release.error_percent:g}"}
    entrypoint = ("{python}", "-m", "daemon.sandbox.shop", "--version", "{tag}")
    return Image(name=f"{APP}:{release.tag}", entrypoint=entrypoint, env=env)


def definitions() -> list[Object]:
    """Linnet's own kinds and the namespace of its catalogue, as the chart brings them."""
    return [*(crds.crd(kind) for kind in KINDS), _plain("v1", "Namespace", CATALOGUE)]


def _plain(api: str, kind: str, name: str, namespace: str | None = None, **body: Any) -> Object:
    metadata: Object = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}


def catalogue(options: DemoOptions) -> list[Object]:
    """The profile (steps and times), the sources of metrics and flags, and who is told."""
    steps = [{"weight": weight, "dwell": {"minDuration": f"{seconds}s"}} for weight, seconds in STEPS]
    profile = {
        "strategy": {"ramp": "Steps"},
        "steps": steps,
        "traffic": {"drain": f"{DRAIN}s"},
        "analysis": {"interval": "1s", "warmUp": f"{WARM_UP}s"},
    }
    encoded = {name: base64.b64encode(url.encode()).decode() for name, url in WEBHOOKS.items()}
    return [
        _plain("v1", "Namespace", NAMESPACE),
        _ours("CanaryProfile", "demo", profile),
        _ours("MetricSource", "default", {"type": "Scrape", "scrape": {"port": "http", "interval": "1s"}}),
        *_flag_source(options.unleash),
        _plain("v1", "Secret", "webhooks", NAMESPACE, type="Opaque", data=encoded),
        *(_ours("Notifier", name, {"urlSecretRef": {"name": "webhooks", "key": name}}) for name in WEBHOOKS),
    ]


def _flag_source(place: UnleashPlace | None) -> list[Object]:
    if place is None:
        flagd = {"configMapRef": {"name": "flags", "key": "flags.json"}, "settle": "1s"}
        return [_ours("FlagSource", "default", {"type": "Flagd", "flagd": flagd})]
    tokens = {"token": place.token, "backend": place.client_token}
    unleash = {
        "url": place.url,
        "project": place.project,
        "environment": place.environment,
        "tokenSecretRef": {"name": "unleash", "key": "token"},
        "witnessTokenSecretRef": {"name": "unleash", "key": "backend"},
        "settle": "2s",
    }
    data = {name: base64.b64encode(text.encode()).decode() for name, text in tokens.items()}
    return [
        _plain("v1", "Secret", "unleash", NAMESPACE, type="Opaque", data=data),
        _ours("FlagSource", "default", {"type": "Unleash", "unleash": unleash}),
    ]


def _ours(kind: str, name: str, spec: Object) -> Object:
    return _plain(names.API_VERSION, kind, name, NAMESPACE, spec=spec)


def shop(options: DemoOptions, gateway: str, gateway_namespace: str) -> list[Object]:
    """Deployment, Service, route and flag file; Linnet is asked in by annotations."""
    parents = [{"name": gateway, "namespace": gateway_namespace}]
    rules = [{"backendRefs": [{"name": APP, "port": 80}]}]
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return [
        _plain("v1", "ConfigMap", "flags", NAMESPACE, data={"flags.json": json.dumps({"flags": _flags(options)}, indent=2)}),
        _plain("v1", "Service", APP, NAMESPACE, spec={"selector": {"app": APP}, "ports": ports}),
        _plain(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            APP,
            NAMESPACE,
            spec={"parentRefs": parents, "hostnames": [HOST], "rules": rules},
        ),
        _deployment(options.unleash),
    ]


def _flags(options: DemoOptions) -> Object:
    off = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    return {release.flag: off for release in releases(options)}


def _flag_env(place: UnleashPlace | None) -> list[Object]:
    if place is None:
        return [{"name": "FLAGS_FILE", "value": "/etc/flags/flags.json"}]
    token = {"secretKeyRef": {"name": "unleash", "key": "backend"}}
    return [{"name": "UNLEASH_URL", "value": place.url}, {"name": "UNLEASH_TOKEN", "valueFrom": token}]


def _deployment(place: UnleashPlace | None) -> Object:
    labels = {"app": APP}
    container = {
        "name": APP,
        "image": f"{APP}:{FIRST_TAG}",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "TRACK", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{names.TRACK}']"}}},
            *_flag_env(place),
        ],
        "volumeMounts": [{"name": "flags", "mountPath": "/etc/flags"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        # The gateway hears of a pod's end a moment after the pod does, and later on a busy machine.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    }
    found = _plain(
        "apps/v1",
        "Deployment",
        APP,
        NAMESPACE,
        spec={
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "volumes": [{"name": "flags", "configMap": {"name": "flags"}}]},
            },
        },
    )
    found["metadata"]["annotations"] = {names.PROFILE: "demo", names.ROUTE: f"httproute/{APP}", names.NOTIFY: ",".join(WEBHOOKS)}
    return found
