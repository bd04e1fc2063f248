"""Why: `kubectl get` prints what the server says a row is; users look at the sandbox through it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from daemon.sandbox.errors import JSON
from daemon.sandbox.resources import Resource
from daemon.sandbox.selectors import as_text

Cell = Callable[[JSON], Any]
Column = tuple[str, str, int, Cell]  # name, type, priority (0 is always shown), value

_NONE = "<none>"


def age(text: str | None, now: dt.datetime) -> str:
    """How long ago, in kubectl's short form: 45s, 3m7s, 5h12m, 3d."""
    if not text:
        return "<unknown>"
    seconds = max(0, int((now - dt.datetime.fromisoformat(text)).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if days < 8 and hours % 24 else f"{days}d" if days < 730 else f"{days // 365}y"


def _at(obj: JSON, path: str, default: Any = None) -> Any:
    value: Any = obj
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return default if value is None else value


def _name(obj: JSON) -> Any:
    return obj["metadata"]["name"]


def _containers(path: str, field: str) -> Cell:
    return lambda o: ",".join(str(c.get(field, "")) for c in _at(o, path, []))


def _selector(path: str) -> Cell:
    def cell(obj: JSON) -> str:
        value = _at(obj, path)
        if not value:
            return _NONE
        plain = not ({"matchLabels", "matchExpressions"} & set(value))
        return ",".join(f"{k}={v}" for k, v in sorted(value.items())) if plain else as_text(value) or _NONE

    return cell


def _deployment_ready(obj: JSON) -> str:
    return f"{_at(obj, 'status.readyReplicas', 0)}/{_at(obj, 'spec.replicas', 0)}"


def _pod_ready(obj: JSON) -> str:
    statuses = _at(obj, "status.containerStatuses", [])
    return f"{sum(bool(s.get('ready')) for s in statuses)}/{len(_at(obj, 'spec.containers', []))}"


def _pod_status(obj: JSON) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    reason = _at(obj, "status.reason") or _at(obj, "status.phase", "")
    for status in _at(obj, "status.containerStatuses", []):
        state = status.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        reason = waiting.get("reason") or ended.get("reason") or (f"ExitCode:{ended['exitCode']}" if "exitCode" in ended else reason)
    return str(reason)


def _restarts(obj: JSON) -> str:
    return str(sum(int(s.get("restartCount", 0)) for s in _at(obj, "status.containerStatuses", [])))


def _ports(obj: JSON) -> str:
    shown = []
    for port in _at(obj, "spec.ports", []):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(shown) or _NONE


def _node_status(obj: JSON) -> str:
    ready = next((c for c in _at(obj, "status.conditions", []) if c.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return word + (",SchedulingDisabled" if _at(obj, "spec.unschedulable") else "")


def _address(kind: str) -> Cell:
    return lambda o: next((a.get("address") for a in _at(o, "status.addresses", []) if a.get("type") == kind), _NONE)


def _targets(obj: JSON) -> str:
    shown = []
    for metric in _at(obj, "spec.metrics", []):
        source = metric.get("resource") or {}
        target = (source.get("target") or {}).get("averageUtilization")
        if target is not None:
            shown.append(f"{source.get('name')}: <unknown>/{target}%")
    return ", ".join(shown) or _NONE


def _endpoint_ports(obj: JSON) -> str:
    return ",".join(str(p.get("port", "*")) for p in obj.get("ports") or ()) or "<unset>"


def _endpoint_addresses(obj: JSON) -> str:
    found = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more or "<unset>"


def _subjects(kind: str) -> Cell:
    def cell(obj: JSON) -> str:
        found = [s for s in obj.get("subjects") or () if s.get("kind") == kind]
        return ", ".join(f"{s['namespace']}/{s['name']}" if s.get("namespace") else s["name"] for s in found)

    return cell


def _owner(obj: JSON) -> str:
    ref = next((r for r in obj["metadata"].get("ownerReferences") or () if r.get("controller")), None)
    return f"{ref['kind'].lower()}/{ref['name']}" if ref else _NONE


def _about(obj: JSON) -> str:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


_NAME: Column = ("Name", "string", 0, _name)
_AGE: Column = ("Age", "age", 0, lambda o: o["metadata"].get("creationTimestamp"))
_TEMPLATE: list[Column] = [
    ("Containers", "string", 1, _containers("spec.template.spec.containers", "name")),
    ("Images", "string", 1, _containers("spec.template.spec.containers", "image")),
]
_SELECTS: Column = ("Selector", "string", 1, _selector("spec.selector"))


def _plain(name: str, path: str, kind: str = "string", default: Any = "", priority: int = 0) -> Column:
    return (name, kind, priority, lambda o: _at(o, path, default))


_COLUMNS: dict[str, list[Column]] = {
    "pods": [
        _NAME, ("Ready", "string", 0, _pod_ready), ("Status", "string", 0, _pod_status), ("Restarts", "string", 0, _restarts), _AGE,
        _plain("IP", "status.podIP", default=_NONE, priority=1), _plain("Node", "spec.nodeName", default=_NONE, priority=1),
        _plain("Nominated Node", "status.nominatedNodeName", default=_NONE, priority=1), ("Readiness Gates", "string", 1, lambda _o: _NONE),
    ],
    "deployments.apps": [
        _NAME, ("Ready", "string", 0, _deployment_ready), _plain("Up-to-date", "status.updatedReplicas", default=0),
        _plain("Available", "status.availableReplicas", default=0), _AGE, *_TEMPLATE, _SELECTS,
    ],
    "replicasets.apps": [
        _NAME, _plain("Desired", "spec.replicas", "integer", 0), _plain("Current", "status.replicas", "integer", 0),
        _plain("Ready", "status.readyReplicas", "integer", 0), _AGE, *_TEMPLATE, _SELECTS,
    ],
    "statefulsets.apps": [_NAME, ("Ready", "string", 0, _deployment_ready), _AGE, *_TEMPLATE],
    "daemonsets.apps": [
        _NAME, _plain("Desired", "status.desiredNumberScheduled", "integer", 0),
        _plain("Current", "status.currentNumberScheduled", "integer", 0), _plain("Ready", "status.numberReady", "integer", 0),
        _plain("Up-to-date", "status.updatedNumberScheduled", "integer", 0), _plain("Available", "status.numberAvailable", "integer", 0),
        ("Node Selector", "string", 0, _selector("spec.template.spec.nodeSelector")), _AGE, *_TEMPLATE, _SELECTS,
    ],
    "controllerrevisions.apps": [_NAME, ("Controller", "string", 0, _owner), _plain("Revision", "revision"), _AGE],
    "services": [
        _NAME, _plain("Type", "spec.type"), _plain("Cluster-IP", "spec.clusterIP", default=_NONE),
        _plain("External-IP", "spec.externalName", default=_NONE), ("Port(s)", "string", 0, _ports), _AGE, _SELECTS,
    ],
    "configmaps": [_NAME, ("Data", "string", 0, lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ())), _AGE],
    "secrets": [_NAME, _plain("Type", "type"), ("Data", "string", 0, lambda o: len(o.get("data") or ())), _AGE],
    "namespaces": [_NAME, _plain("Status", "status.phase"), _AGE],
    "nodes": [
        _NAME, ("Status", "string", 0, _node_status), ("Roles", "string", 0, lambda _o: _NONE), _AGE,
        _plain("Version", "status.nodeInfo.kubeletVersion"), ("Internal-IP", "string", 1, _address("InternalIP")),
        ("External-IP", "string", 1, _address("ExternalIP")), _plain("OS-Image", "status.nodeInfo.osImage", default="<unknown>", priority=1),
        _plain("Kernel-Version", "status.nodeInfo.kernelVersion", default="<unknown>", priority=1),
        _plain("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", default="<unknown>", priority=1),
    ],
    "events": [
        ("Last Seen", "age", 0, lambda o: o.get("lastTimestamp") or o.get("eventTime") or o["metadata"].get("creationTimestamp")),
        _plain("Type", "type"), _plain("Reason", "reason"), ("Object", "string", 0, _about),
        _plain("Subobject", "involvedObject.fieldPath", priority=1), _plain("Source", "source.component", priority=1),
        _plain("Message", "message"), ("First Seen", "age", 1, lambda o: o.get("firstTimestamp") or o["metadata"].get("creationTimestamp")),
        _plain("Count", "count", default=1, priority=1), ("Name", "string", 1, _name),
    ],
    "poddisruptionbudgets.policy": [
        _NAME, ("Min Available", "string", 0, lambda o: str(_at(o, "spec.minAvailable", "N/A"))),
        ("Max Unavailable", "string", 0, lambda o: str(_at(o, "spec.maxUnavailable", "N/A"))),
        _plain("Allowed Disruptions", "status.disruptionsAllowed", "integer", 0), _AGE,
    ],
    "horizontalpodautoscalers.autoscaling": [
        _NAME, ("Reference", "string", 0, lambda o: f"{_at(o, 'spec.scaleTargetRef.kind')}/{_at(o, 'spec.scaleTargetRef.name')}"),
        ("Targets", "string", 0, _targets), ("MinPods", "string", 0, lambda o: str(_at(o, "spec.minReplicas", "<unset>"))),
        _plain("MaxPods", "spec.maxReplicas"), _plain("Replicas", "status.currentReplicas", default=0), _AGE,
    ],
    "endpointslices.discovery.k8s.io": [
        _NAME, _plain("AddressType", "addressType"), ("Ports", "string", 0, _endpoint_ports), ("Endpoints", "string", 0, _endpoint_addresses), _AGE,
    ],
    "leases.coordination.k8s.io": [_NAME, _plain("Holder", "spec.holderIdentity"), _AGE],
    "ingresses.networking.k8s.io": [
        _NAME, _plain("Class", "spec.ingressClassName", default=_NONE),
        ("Hosts", "string", 0, lambda o: ",".join(r.get("host", "*") for r in _at(o, "spec.rules", [])) or "*"), ("Address", "string", 0, lambda _o: ""),
        ("Ports", "string", 0, lambda o: "80, 443" if _at(o, "spec.tls") else "80"), _AGE,
    ],
    "networkpolicies.networking.k8s.io": [_NAME, ("Pod-Selector", "string", 0, _selector("spec.podSelector")), _AGE],
    "rolebindings.rbac.authorization.k8s.io": [
        _NAME, ("Role", "string", 0, lambda o: f"{_at(o, 'roleRef.kind')}/{_at(o, 'roleRef.name')}"), _AGE,
        ("Users", "string", 1, _subjects("User")), ("Groups", "string", 1, _subjects("Group")), ("ServiceAccounts", "string", 1, _subjects("ServiceAccount")),
    ],
    "customresourcedefinitions.apiextensions.k8s.io": [_NAME, _plain("Created At", "metadata.creationTimestamp", "date")],
    "mutatingadmissionpolicies.admissionregistration.k8s.io": [
        _NAME, ("Mutations", "integer", 0, lambda o: len(_at(o, "spec.mutations", []))), _plain("ParamKind", "spec.paramKind.kind", default="<unset>"), _AGE,
    ],
    "validatingadmissionpolicies.admissionregistration.k8s.io": [
        _NAME, ("Validations", "integer", 0, lambda o: len(_at(o, "spec.validations", []))), _plain("ParamKind", "spec.paramKind.kind", default="<unset>"), _AGE,
    ],
}  # fmt: skip
_COLUMNS["clusterrolebindings.rbac.authorization.k8s.io"] = _COLUMNS["rolebindings.rbac.authorization.k8s.io"]
for _policy in ("mutating", "validating"):
    _COLUMNS[f"{_policy}admissionpolicybindings.admissionregistration.k8s.io"] = [
        _NAME, _plain("PolicyName", "spec.policyName"), _plain("ParamRef", "spec.paramRef.name", default="<unset>"), _AGE,
    ]  # fmt: skip

_STEP = re.compile(r"\.([\w-]+|\\\.)|\[(?:'([^']+)'|\"([^\"]+)\"|(\d+)|(\*)|\?\(@\.(\w+)\s*==\s*['\"]([^'\"]*)['\"]\))\]")


def json_path(obj: Any, path: str) -> Any:
    """The first value at a CRD column's path: fields, quoted fields, positions, and the filter `[?(@.type=="Ready")]`."""
    found = [obj]
    for m in _STEP.finditer(path.replace("\\.", "\0")):
        name = (m[1] or m[2] or m[3] or "").replace("\0", ".")
        if name:
            found = [v[name] for v in found if isinstance(v, dict) and name in v]
        elif m[4] is not None:
            found = [v[int(m[4])] for v in found if isinstance(v, list) and int(m[4]) < len(v)]
        elif m[5]:
            found = [i for v in found if isinstance(v, list) for i in v]
        else:
            found = [i for v in found if isinstance(v, list) for i in v if isinstance(i, dict) and str(i.get(m[6])) == m[7]]
    return found[0] if found else None


def _custom_cell(path: str, kind: str) -> Cell:
    def cell(obj: JSON) -> Any:
        value = json_path(obj, path)
        if kind == "string" and value is not None and not isinstance(value, str):
            import msgspec

            return msgspec.json.encode(value).decode()
        return value

    return cell


def columns(resource: Resource) -> list[Column]:
    """The columns of a resource; a custom one without any shows its age."""
    if not resource.custom:
        return _COLUMNS.get(resource.key, [_NAME, _AGE])
    own: list[Column] = [
        (c["name"], "age" if c["type"] == "date" else c["type"], c.get("priority", 0), _custom_cell(c["jsonPath"], c["type"]))
        for c in resource.columns
    ]
    return [_NAME, *(own or [_AGE])]


def table(resource: Resource, items: list[JSON], meta: JSON, now: dt.datetime, *, include: str = "Metadata", head: bool = True) -> JSON:
    """The Table of some objects; `include` says what each row carries: Metadata, Object or None."""
    shown = columns(resource)
    definitions = [
        {
            "name": name,
            "type": ("date" if resource.custom else "string") if kind == "age" else kind,
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": priority,
        }
        for name, kind, priority, _ in shown
    ]
    rows = []
    for obj in items:
        row: JSON = {"cells": [age(cell(obj), now) if kind == "age" else cell(obj) for _, kind, _, cell in shown]}
        if include == "Metadata":
            row["object"] = partial(obj)
        elif include == "Object":
            row["object"] = obj
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": definitions if head else [],
        "rows": rows,
    }


def partial(obj: JSON) -> JSON:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
