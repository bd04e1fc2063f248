"""Why: what a writer may not decide (identity, generation, status through the main endpoint) is set here, for each kind its own way."""

from __future__ import annotations

import uuid
from typing import Any

from daemon.sandbox.errors import JSON
from daemon.sandbox.fieldsets import Path
from daemon.sandbox.resources import Resource

# Kinds whose generation counts changes of what is wanted; in Deployments the annotations count too.
_GENERATIONAL = frozenset({
    "pods", "deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps",
    "poddisruptionbudgets.policy", "networkpolicies.networking.k8s.io", "ingresses.networking.k8s.io", "endpointslices.discovery.k8s.io",
    "ingressclasses.networking.k8s.io", "customresourcedefinitions.apiextensions.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io", "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io", "validatingadmissionpolicybindings.admissionregistration.k8s.io",
})  # fmt: skip
_NEEDS_VERSION = frozenset({
    "leases.coordination.k8s.io", "customresourcedefinitions.apiextensions.k8s.io", "poddisruptionbudgets.policy",
    "mutatingadmissionpolicies.admissionregistration.k8s.io", "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io", "validatingadmissionpolicybindings.admissionregistration.k8s.io",
})  # fmt: skip
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
_NOT_READY = "node.kubernetes.io/not-ready"


def needs_version(resource: Resource) -> bool:
    """Whether an update must say which resourceVersion it replaces."""
    return resource.custom or resource.key in _NEEDS_VERSION


def ignored_fields(resource: Resource, subresource: str) -> frozenset[Path]:
    """What an endpoint ignores, so that nobody comes to own it there."""
    if subresource == "status":
        if resource.custom:
            return frozenset({("f:spec",), ("f:metadata",)})
        return frozenset({("f:spec",)}) | (frozenset({("f:metadata",)}) if resource.key == "deployments.apps" else frozenset())
    return frozenset({("f:status",)}) if resource.has_status else frozenset()


def _fresh_status(resource: Resource, obj: JSON) -> None:
    if resource.custom:
        if resource.has_status:
            obj.pop("status", None)
        return
    if resource.key in ("namespaces", "nodes") or not resource.has_status:
        return
    zeros = {
        "poddisruptionbudgets.policy": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
        "replicasets.apps": {"replicas": 0},
        "statefulsets.apps": {"replicas": 0, "availableReplicas": 0},
        "daemonsets.apps": {"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0},
        "horizontalpodautoscalers.autoscaling": {"currentMetrics": None, "desiredReplicas": 0},
        "services": {"loadBalancer": {}},
        "ingresses.networking.k8s.io": {"loadBalancer": {}},
        "pods": {"phase": "Pending", "qosClass": _qos(obj)},
    }
    obj["status"] = zeros.get(resource.key, {})


def _qos(pod: JSON) -> str:
    containers = [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]
    wants = [c.get("resources") or {} for c in containers]
    if not any(w.get("requests") or w.get("limits") for w in wants):
        return "BestEffort"
    full = all(w.get("limits") and {"cpu", "memory"} <= w["limits"].keys() and w.get("requests", w["limits"]) == w["limits"] for w in wants)
    return "Guaranteed" if full else "Burstable"


def _pod_admission(obj: JSON) -> None:
    """What the built-in admission plugins put into every pod."""
    spec = obj["spec"]
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    have = {(t.get("key"), t.get("effect")) for t in tolerations}
    for key in (_NOT_READY, "node.kubernetes.io/unreachable"):
        if (key, "NoExecute") not in have:
            tolerations.append({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300})


def prepare_create(resource: Resource, obj: JSON, now: str) -> None:
    """Give a new object its identity and an empty status."""
    meta = obj["metadata"]
    for name in (*_SERVER_OWNED, "resourceVersion"):
        meta.pop(name, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now
    if resource.custom or resource.key in _GENERATIONAL:
        meta["generation"] = 1
    _fresh_status(resource, obj)
    if resource.key == "pods":
        _pod_admission(obj)
    elif resource.key == "namespaces":
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}
    elif resource.key == "daemonsets.apps":
        meta.setdefault("annotations", {})["deprecated.daemonset.template.generation"] = "1"


def carry_over(resource: Resource, new: JSON, old: JSON, subresource: str) -> JSON:
    """What this endpoint may change, on top of what it may not."""
    meta = dict(new.get("metadata") or {})
    before = old["metadata"]
    for name in _SERVER_OWNED:
        meta.pop(name, None)
        if name in before:
            meta[name] = before[name]
    if subresource == "status":
        return _status_only(resource, new, old, meta)
    out = {**new, "metadata": meta}
    if resource.has_status and "status" in old:
        out["status"] = old["status"]
    elif resource.has_status:
        out.pop("status", None)
    if resource.key == "namespaces":
        out["spec"] = old["spec"]
    return out


def _status_only(resource: Resource, new: JSON, old: JSON, meta: JSON) -> JSON:
    before = old["metadata"]
    if resource.custom:
        meta = {**before, **{k: meta[k] for k in ("managedFields", "resourceVersion") if k in meta}}
    else:
        for name in ("labels", "ownerReferences"):
            meta.pop(name, None)
            if name in before:
                meta[name] = before[name]
    out = {**old, "metadata": meta}
    if "status" in new:
        out["status"] = new["status"]
    else:
        out.pop("status", None)
    return out


def _wanted(resource: Resource, obj: JSON) -> Any:
    if resource.custom:
        return {k: v for k, v in obj.items() if k not in ("metadata", "apiVersion", "kind") and not (k == "status" and resource.has_status)}
    if resource.key == "endpointslices.discovery.k8s.io":
        return {k: v for k, v in obj.items() if k not in ("metadata", "apiVersion", "kind")} | {"labels": obj["metadata"].get("labels")}
    if resource.key == "deployments.apps":
        return obj.get("spec"), obj["metadata"].get("annotations")
    return obj.get("spec")


def bump_generation(resource: Resource, new: JSON, old: JSON) -> None:
    """Count a change of what is wanted."""
    if (resource.custom or resource.key in _GENERATIONAL) and _wanted(resource, new) != _wanted(resource, old):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
