"""Why: a write that the real server refuses must be refused here too, with a cause for each field.

This module checks metadata and says which rules belong to which kind; pods and their templates are in `pod_validation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from daemon.sandbox import crds, custom, policy_validation
from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON, FieldError
from daemon.sandbox.names import annotation_key, dns_label, dns_subdomain, label_key, label_value, path_segment
from daemon.sandbox.pod_validation import check_pod, check_template
from daemon.sandbox.resources import Resource
from daemon.sandbox.selectors import from_object

Check = Callable[[JSON, JSON | None], list[FieldError]]

_LABEL_NAMES = frozenset({"namespaces", "services"})
_PATH_NAMES = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_CONFIG_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_CONFIG_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', "
    "regex used for validation is '[-._a-zA-Z0-9]+')"
)
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
MAX_ANNOTATIONS = 256 * 1024
MAX_OBJECT = 1024 * 1024


def validate(resource: Resource, new: JSON, old: JSON | None, subresource: str = "") -> list[FieldError]:
    """Everything that is wrong with a new object, or with a change of `old`."""
    out = _metadata(resource, new, old)
    if resource.custom and resource.schema is not None:
        return out + custom.validate(resource.schema, new, old)
    check = _CHECKS.get(resource.key)
    if check is not None and subresource not in ("status", "binding"):  # a binding is how a pod gets its node
        out += check(new, old)
    return out


# -- metadata ---------------------------------------------------------------------------------------------------------------------


def _metadata(resource: Resource, new: JSON, old: JSON | None) -> list[FieldError]:
    meta = new["metadata"]
    out: list[FieldError] = []
    name = meta.get("name")
    if not name:
        out.append(err.required("metadata.name", "name or generateName is required"))
    elif old is None:
        why = _name_rule(resource)(name)
        if why:
            out.append(err.invalid_value("metadata.name", name, why))
    for key, value in (meta.get("labels") or {}).items():
        out += [err.invalid_value("metadata.labels", key, why) for why in label_key(key)]
        out += [err.invalid_value("metadata.labels", value, why) for why in label_value(value)]
    out += _annotations(meta)
    out += _owners(meta)
    for i, finalizer in enumerate(meta.get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            out.append(err.invalid_value(f"metadata.finalizers[{i}]", finalizer, why))
    if old is not None:
        out += _late_finalizers(meta, old["metadata"])
    return out


def _name_rule(resource: Resource) -> Callable[[str], str]:
    if resource.group == "rbac.authorization.k8s.io" and resource.plural in _PATH_NAMES:
        return path_segment
    return dns_label if resource.key in _LABEL_NAMES else dns_subdomain


def _annotations(meta: JSON) -> list[FieldError]:
    annotations = meta.get("annotations") or {}
    out = [err.invalid_value("metadata.annotations", key, why) for key in annotations for why in annotation_key(key)]
    if sum(len(k) + len(v) for k, v in annotations.items()) > MAX_ANNOTATIONS:
        out.append(err.too_long("metadata.annotations", MAX_ANNOTATIONS))
    return out


def _owners(meta: JSON) -> list[FieldError]:
    out: list[FieldError] = []
    owners = meta.get("ownerReferences") or ()
    for ref in owners:
        lacking = [n for n in ("apiVersion", "kind", "name", "uid") if not ref.get(n)]
        out += [err.invalid_value(f"metadata.ownerReferences.{n}", "", "must not be empty") for n in lacking]
    if sum(bool(ref.get("controller")) for ref in owners) > 1:
        why = "Only one reference can have Controller set to true"
        out.append(err.invalid_value("metadata.ownerReferences", [r.get("name") for r in owners], why))
    return out


def _late_finalizers(meta: JSON, before: JSON) -> list[FieldError]:
    if not before.get("deletionTimestamp"):
        return []
    fresh = [f for f in meta.get("finalizers") or () if f not in (before.get("finalizers") or ())]
    if not fresh:
        return []
    listed = ", ".join(f'"{f}"' for f in fresh)
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [err.field_forbidden("metadata.finalizers", why)]


# -- workloads --------------------------------------------------------------------------------------------------------------------


def non_negative(spec: JSON, name: str, path: str) -> list[FieldError]:
    value = spec.get(name)
    if isinstance(value, int) and value < 0:
        return [err.invalid_value(f"{path}.{name}", value, "must be greater than or equal to 0")]
    return []


def _selector(obj: JSON, old: JSON | None) -> list[FieldError]:
    spec = obj["spec"]
    selector = spec.get("selector")
    out: list[FieldError] = []
    if selector is None:
        out.append(err.required("spec.selector"))
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        out.append(err.invalid_value("spec.selector", selector, "empty selector is invalid for deployment"))
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None or not from_object(selector)(labels or {}):
        shown = labels if labels is not None or "metadata" not in (spec.get("template") or {}) else {}
        out.append(err.invalid_value("spec.template.metadata.labels", shown, "`selector` does not match template `labels`"))
    if old is not None and selector != old["spec"].get("selector"):
        out.append(err.invalid_value("spec.selector", selector, "field is immutable"))
    return out


def _workload(obj: JSON, old: JSON | None) -> list[FieldError]:
    spec = obj["spec"]
    out = non_negative(spec, "replicas", "spec") + _selector(obj, old)
    out += check_template(spec.get("template") or {}, "spec.template")
    return out + non_negative(spec, "minReadySeconds", "spec")


def _deployment(obj: JSON, old: JSON | None) -> list[FieldError]:
    spec = obj["spec"]
    out = _workload(obj, old) + _strategy(spec.get("strategy") or {}) + non_negative(spec, "revisionHistoryLimit", "spec")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        out.append(err.invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return out


def _strategy(strategy: JSON) -> list[FieldError]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        return [err.unsupported("spec.strategy", kind, ("Recreate", "RollingUpdate"))]
    if kind == "Recreate":
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [err.field_forbidden("spec.strategy.rollingUpdate", why)] if rolling else []
    out: list[FieldError] = []
    for name in ("maxUnavailable", "maxSurge"):
        value = (rolling or {}).get(name)
        path = f"spec.strategy.rollingUpdate.{name}"
        if isinstance(value, str) and not re.fullmatch(r"[0-9]+%", value):
            why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            out.append(err.invalid_value(path, value, why))
        elif isinstance(value, int) and value < 0:
            out.append(err.invalid_value(path, value, "must be greater than or equal to 0"))
    if not out and all((rolling or {}).get(n) in (0, "0%") for n in ("maxUnavailable", "maxSurge")):
        out.append(err.invalid_value("spec.strategy.rollingUpdate.maxUnavailable", 0, "may not be 0 when `maxSurge` is 0"))
    return out


# -- services and other kinds -----------------------------------------------------------------------------------------------------


def _port_number(value: Any, path: str) -> list[FieldError]:
    if isinstance(value, int) and not 1 <= value <= 65535:
        return [err.invalid_value(path, value, "must be between 1 and 65535, inclusive")]
    return []


def _service(obj: JSON, old: JSON | None) -> list[FieldError]:
    spec = obj["spec"]
    kind = spec.get("type")
    out: list[FieldError] = []
    ports = spec.get("ports") or []
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        out.append(err.required("spec.ports"))
    if kind not in _SERVICE_TYPES:
        out.append(err.unsupported("spec.type", kind, _SERVICE_TYPES))
    for i, port in enumerate(ports):
        path = f"spec.ports[{i}]"
        if len(ports) > 1 and not port.get("name"):
            out.append(err.required(f"{path}.name"))
        elif port.get("name") and dns_label(port["name"]):
            out.append(err.invalid_value(f"{path}.name", port["name"], dns_label(port["name"])))
        out += _port_number(port.get("port", 0), f"{path}.port") + _port_number(port.get("targetPort"), f"{path}.targetPort")
    if old is not None and kind != "ExternalName" and old["spec"].get("clusterIP") and spec.get("clusterIP") != old["spec"]["clusterIP"]:
        out.append(err.invalid_value("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set"))
    return out


def _data(obj: JSON, old: JSON | None) -> list[FieldError]:
    data = {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}
    out = [err.invalid_value(f"data[{key}]", key, _CONFIG_TEXT) for key in data if not _CONFIG_KEY.match(key)]
    if sum(len(k) + len(v) for k, v in data.items()) > MAX_OBJECT:
        out.append(err.too_long("", MAX_OBJECT))
    if old is not None and old.get("immutable"):
        if any(obj.get(f) != old.get(f) for f in ("data", "binaryData", "stringData")):
            out.append(err.field_forbidden("data", "field is immutable when `immutable` is set"))
        if not obj.get("immutable"):
            out.append(err.field_forbidden("immutable", "field is immutable when `immutable` is set"))
    return out


def _secret(obj: JSON, old: JSON | None) -> list[FieldError]:
    out = _data(obj, old)
    if old is not None and obj.get("type") != old.get("type"):
        out.append(err.invalid_value("type", obj.get("type"), "field is immutable"))
    return out


def _revision(obj: JSON, old: JSON | None) -> list[FieldError]:
    out = [] if "data" in obj else [err.required("data", "data is mandatory")]
    out += non_negative(obj, "revision", "")
    if old is not None and obj.get("data") != old.get("data"):
        out.append(err.invalid_value("data", obj.get("data"), "field is immutable"))
    return out


def _endpoint_slice(obj: JSON, old: JSON | None) -> list[FieldError]:
    kind = obj.get("addressType")
    if kind not in ("IPv4", "IPv6", "FQDN"):
        return [err.required("addressType") if not kind else err.unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))]
    out: list[FieldError] = []
    for i, endpoint in enumerate(obj.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            out.append(err.required(f"endpoints[{i}].addresses", "must contain at least 1 address"))
    if old is not None and kind != old.get("addressType"):
        out.append(err.invalid_value("addressType", kind, "field is immutable"))
    return out


def _lease(obj: JSON, _old: JSON | None) -> list[FieldError]:
    seconds = (obj.get("spec") or {}).get("leaseDurationSeconds")
    if isinstance(seconds, int) and seconds <= 0:
        return [err.invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0")]
    return []


def _hpa(obj: JSON, _old: JSON | None) -> list[FieldError]:
    spec = obj["spec"]
    out: list[FieldError] = []
    low, high = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if low < 1:
        out.append(err.invalid_value("spec.minReplicas", low, "must be greater than or equal to 1"))
    if high < 1:
        out.append(err.invalid_value("spec.maxReplicas", high, "must be greater than 0"))
    if high < low:
        out.append(err.invalid_value("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    return out + [err.required(f"spec.scaleTargetRef.{n}") for n in ("kind", "name") if not (spec.get("scaleTargetRef") or {}).get(n)]


def _budget(obj: JSON, _old: JSON | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        return [err.invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
    return []


def _role_binding(obj: JSON, old: JSON | None) -> list[FieldError]:
    ref = obj.get("roleRef") or {}
    out = [] if ref.get("name") else [err.required("roleRef.name")]
    if old is not None and ref != old.get("roleRef"):
        out.append(err.invalid_value("roleRef", ref, "cannot change roleRef"))
    return out


_CHECKS: dict[str, Check] = {
    "pods": check_pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "daemonsets.apps": _workload,
    "controllerrevisions.apps": _revision,
    "services": _service,
    "configmaps": _data,
    "secrets": _secret,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "leases.coordination.k8s.io": _lease,
    "horizontalpodautoscalers.autoscaling": _hpa,
    "poddisruptionbudgets.policy": _budget,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_binding,
    "mutatingadmissionpolicies.admissionregistration.k8s.io": policy_validation.check_policy,
    "validatingadmissionpolicies.admissionregistration.k8s.io": policy_validation.check_policy,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": policy_validation.check_binding,
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": policy_validation.check_binding,
    crds.CRDS: lambda new, _old: crds.check(new),
}
