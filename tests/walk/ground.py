"""What a walk stands on: an API server with its records, a daemon that may be killed, and how a shop is written down there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from tests.testbed.gateway import http_route
from tests.testbed.nodes import shop
from tests.walk.people import People
from tests.walk.plan import Plan
from tests.witness.audit import Event

Object = dict[str, Any]
API = "linnet.dev/v1alpha1"
ACCOUNT = "system:serviceaccount:linnet-system:linnet"
FLAG_FILE = {"flags": {"new-checkout": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}}}
METRIC = {"name": "errors", "preset": "HTTPErrorRatio", "rollbackIfWorseBy": "2pp", "promoteIfWithin": "10pp"}


class Ground(Protocol):
    """The paper cluster and the real one."""

    alive_since: float

    def people(self, namespace: str) -> People: ...

    def source(self) -> Object:
        """The spec of the MetricSource."""
        ...

    def watch(self, namespace: str, take: Callable[[Event], None]) -> None:
        """Calls `take` with each accepted write of a namespace, from the beginning."""
        ...

    async def open(self, namespace: str) -> None: ...

    async def close(self, namespace: str) -> None: ...

    async def kill(self) -> None:
        """The daemon dies as by SIGKILL, and is started again."""
        ...

    async def tick(self, seconds: float) -> None:
        """Waits, so that records can come."""
        ...


def image(brings: str) -> tuple[str, dict[str, str]]:
    """The image of a version, and what else makes it what it is."""
    return {
        "bad-30": ("shop:bad-30", {}),
        "broken": ("nowhere:v1", {}),
        "crash": ("shop:v1", {"PORT": "none"}),
    }.get(brings, ("shop:v1", {}))


def manifest(plan: Plan, brings: str, number: int) -> Object:
    """The Deployment as its team would apply it: no `replicas` where an autoscaler has them."""
    name, env = image(brings)
    deployment, _ = shop(image=name, replicas=plan.replicas, startup_seconds=0, pre_stop=0, env={"RELEASE": str(number), **env})
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 2
    if plan.scaled:
        del deployment["spec"]["replicas"]
    return deployment


def service(plan: Plan) -> Object:
    return shop()[1]


def route(host: str) -> Object:
    return http_route("shop", host, {"shop": None})


def autoscaler(plan: Plan) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": 1,
        "maxReplicas": plan.replicas + 3,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
    }
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "shop"}, "spec": spec}


def flag_objects() -> list[Object]:
    flagd = {"configMapRef": {"name": "flags", "key": "flags.json"}, "settle": "0s"}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags"}, "data": {"flags.json": json.dumps(FLAG_FILE, indent=2)}},
        {"apiVersion": API, "kind": "FlagSource", "metadata": {"name": "flagd"}, "spec": {"type": "Flagd", "flagd": flagd}},
    ]


def canary(plan: Plan) -> Object:
    spec: Object = {
        "workloadRef": {"name": "shop"},
        "strategy": {"ramp": "Steps"},
        "steps": [{"weight": 20, "dwell": {"minDuration": "500ms"}}, {"weight": 50, "dwell": {"minDuration": "500ms"}}],
        "analysis": {"interval": "1s", "warmUp": "1ms", "metrics": [METRIC], "deadline": "30s"},
        "progressDeadline": "12s",
        "traffic": {"drain": "200ms"},
        "onRollback": "Hold" if plan.number % 3 == 0 else "Restore",
    }
    if plan.flags:
        spec["flags"] = [{"name": "new-checkout", "sourceRef": {"name": "flagd"}}]
    return {"apiVersion": API, "kind": "Canary", "metadata": {"name": "shop"}, "spec": spec}


def metric_source(spec: Object) -> Object:
    return {"apiVersion": API, "kind": "MetricSource", "metadata": {"name": "default"}, "spec": spec}


def freeze() -> Object:
    return {"apiVersion": API, "kind": "Freeze", "metadata": {"name": "sale"}, "spec": {"reason": "the sale"}}
