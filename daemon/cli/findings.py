"""What the doctor says: one line each, its weight, and the way out. Beside it, the rights of the chart as data to ask about."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

Level = Literal["OK", "WARN", "FAIL"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One line. A way out belongs to everything that is not OK."""

    level: Level
    what: str
    message: str
    way_out: str = ""

    def __str__(self) -> str:
        tail = f"; {self.way_out}" if self.way_out else ""
        return f"{self.level:<4} {self.what}: {self.message}{tail}"


def ok(what: str, message: str) -> Finding:
    return Finding(level="OK", what=what, message=message)


def warn(what: str, message: str, way_out: str) -> Finding:
    return Finding(level="WARN", what=what, message=message, way_out=way_out)


def bad(what: str, message: str, way_out: str) -> Finding:
    return Finding(level="FAIL", what=what, message=message, way_out=way_out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of the chart's Role: who needs it is said there."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]


_READ: Final = ("get", "list", "watch")
_SEEN: Final = ("list", "watch")  # kept by an informer, never read one by one

# As in charts/linnet/templates/_rbac.tpl, `linnet.rules`; a test compares the two.
RULES: Final = (
    Rule(
        group="linnet.dev",
        resources=("canaryprofiles", "metricsources", "flagsources", "notifiers", "freezes", "releasegroups", "analysistemplates"),
        verbs=_SEEN,
    ),
    Rule(group="linnet.dev", resources=("canaries",), verbs=(*_SEEN, "create", "patch", "delete")),
    Rule(group="linnet.dev", resources=("canaries/status", "notifiers/status", "releasegroups/status"), verbs=("patch",)),
    Rule(group="linnet.dev", resources=("analysisruns",), verbs=("get", "list", "create", "patch", "delete")),
    Rule(group="apps", resources=("deployments",), verbs=(*_READ, "create", "patch", "delete")),
    Rule(group="apps", resources=("replicasets",), verbs=(*_SEEN, "patch")),
    Rule(group="apps", resources=("controllerrevisions",), verbs=(*_SEEN, "create", "patch", "delete")),
    Rule(group="", resources=("pods",), verbs=_SEEN),
    Rule(group="", resources=("services",), verbs=(*_READ, "create", "patch", "delete")),
    Rule(group="", resources=("configmaps",), verbs=("get", "patch")),
    Rule(group="core.openfeature.dev", resources=("featureflags",), verbs=("get", "patch")),
    Rule(group="", resources=("secrets",), verbs=("get",)),
    Rule(group="", resources=("persistentvolumeclaims",), verbs=("get",)),
    Rule(group="autoscaling", resources=("horizontalpodautoscalers",), verbs=(*_READ, "patch")),
    Rule(group="networking.k8s.io", resources=("networkpolicies",), verbs=_SEEN),
    Rule(group="gateway.networking.k8s.io", resources=("httproutes", "grpcroutes"), verbs=(*_READ, "patch")),
    Rule(group="traefik.io", resources=("traefikservices",), verbs=(*_READ, "patch")),
    Rule(group="projectcontour.io", resources=("httpproxies",), verbs=(*_READ, "patch")),
    Rule(group="networking.istio.io", resources=("virtualservices",), verbs=(*_READ, "patch")),
    Rule(group="networking.istio.io", resources=("destinationrules",), verbs=_SEEN),
    Rule(group="networking.k8s.io", resources=("ingresses",), verbs=(*_SEEN, "create", "patch", "delete")),
    Rule(group="events.k8s.io", resources=("events",), verbs=("create", "patch")),
)
