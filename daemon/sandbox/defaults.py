"""Why: users read and patch what the server filled in, so the sandbox fills in the same.

Only defaults that the API documents for the served kinds; each function changes its object in place.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from daemon.sandbox.errors import JSON

_MODE = 0o644


def _set(obj: JSON, **values: Any) -> None:
    for key, value in values.items():
        if obj.get(key) is None:
            obj[key] = value


def _probe(probe: JSON | None) -> None:
    if probe is None:
        return
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _handler(probe)


def _handler(handler: JSON | None) -> None:
    if not handler:
        return
    if "httpGet" in handler:
        _set(handler["httpGet"], path="/", scheme="HTTP")
    if "grpc" in handler:
        _set(handler["grpc"], service="")


def _pull_policy(image: str) -> str:
    name = image.rpartition("/")[2]
    tag = name.partition("@")[0].partition(":")[2]
    return "Always" if "@" not in name and tag in ("", "latest") else "IfNotPresent"


def _container(container: JSON) -> None:
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    for env in container.get("env") or ():
        ref = (env.get("valueFrom") or {}).get("fieldRef")
        if ref:
            _set(ref, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        _probe(container.get(name))
    hooks = container.get("lifecycle") or {}
    _handler(hooks.get("preStop"))
    _handler(hooks.get("postStart"))
    _set(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    _set(container, imagePullPolicy=_pull_policy(container.get("image", "")))


def _volume(volume: JSON) -> None:
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        if kind in volume:
            _set(volume[kind], defaultMode=_MODE)
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        if "fieldRef" in item:
            _set(item["fieldRef"], apiVersion="v1")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if "serviceAccountToken" in source:
            _set(source["serviceAccountToken"], expirationSeconds=3600)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            if "fieldRef" in item:
                _set(item["fieldRef"], apiVersion="v1")
    if "hostPath" in volume:
        _set(volume["hostPath"], type="")


def pod_spec(spec: JSON) -> None:
    _set(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", schedulerName="default-scheduler")
    _set(spec, securityContext={}, terminationGracePeriodSeconds=30)
    if "serviceAccount" in spec or "serviceAccountName" in spec:
        name = spec.get("serviceAccountName") or spec["serviceAccount"]
        spec["serviceAccount"] = spec["serviceAccountName"] = name
    for volume in spec.get("volumes") or ():
        _volume(volume)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _container(container)


def _pod(obj: JSON) -> None:
    spec = obj["spec"]
    pod_spec(spec)
    _set(spec, enableServiceLinks=True)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = container.get("resources") or {}
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    status = obj.setdefault("status", {})
    _set(status, phase="Pending")


def _template(spec: JSON) -> None:
    template = spec.get("template")
    if template is not None and "spec" in template:
        pod_spec(template["spec"])


def _deployment(obj: JSON) -> None:
    spec = obj["spec"]
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    _template(spec)


def _replicaset(obj: JSON) -> None:
    _set(obj["spec"], replicas=1)
    _template(obj["spec"])


def _statefulset(obj: JSON) -> None:
    spec = obj["spec"]
    _set(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady", persistentVolumeClaimRetentionPolicy={})
    _set(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    strategy = spec.setdefault("updateStrategy", {})
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], partition=0)
    _template(spec)


def _daemonset(obj: JSON) -> None:
    spec = obj["spec"]
    _set(spec, revisionHistoryLimit=10)
    strategy = spec.setdefault("updateStrategy", {})
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], maxSurge=0, maxUnavailable=1)
    _template(spec)


def _service(obj: JSON) -> None:
    spec = obj["spec"]
    _set(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "ClientIP":
        _set(spec, sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})
    if spec["type"] != "ExternalName":
        _set(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _set(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _namespace(obj: JSON) -> None:
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


def _secret(obj: JSON) -> None:
    _set(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        obj.setdefault("data", {}).update({k: base64.b64encode(v.encode()).decode() for k, v in plain.items()})


def _hpa(obj: JSON) -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    _set(obj["spec"], minReplicas=1, metrics=[cpu])


def _network_policy(obj: JSON) -> None:
    spec = obj["spec"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            _set(port, protocol="TCP")
    _set(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _endpoint_slice(obj: JSON) -> None:
    for port in obj.get("ports") or ():
        _set(port, name="", protocol="TCP")


def _binding(obj: JSON) -> None:
    _set(obj.get("roleRef") or {}, apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _set(subject, apiGroup="rbac.authorization.k8s.io")


def _policy(obj: JSON) -> None:
    spec = obj["spec"]
    _set(spec, failurePolicy="Fail")
    if obj["kind"] == "MutatingAdmissionPolicy":
        _set(spec, reinvocationPolicy="Never")
    match = spec.get("matchConstraints")
    if match is not None:
        _set(match, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        for rule in match.get("resourceRules") or ():
            _set(rule, scope="*")


def _policy_binding(obj: JSON) -> None:
    match = (obj.get("spec") or {}).get("matchResources")
    if match is not None:
        _set(match, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})


def _crd(obj: JSON) -> None:
    spec = obj["spec"]
    names = spec.get("names") or {}
    kind = names.get("kind", "")
    _set(names, singular=kind.lower(), listKind=f"{kind}List")
    _set(spec, conversion={"strategy": "None"})
    for version in spec.get("versions") or ():
        for column in version.get("additionalPrinterColumns") or ():
            if column.get("priority") == 0:
                del column["priority"]
    _set(obj, status={})
    _set(obj["status"], conditions=None, acceptedNames={"kind": "", "plural": ""}, storedVersions=None)


_BY_RESOURCE: dict[str, Callable[[JSON], None]] = {
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _replicaset,
    "statefulsets.apps": _statefulset,
    "daemonsets.apps": _daemonset,
    "services": _service,
    "namespaces": _namespace,
    "secrets": _secret,
    "horizontalpodautoscalers.autoscaling": _hpa,
    "networkpolicies.networking.k8s.io": _network_policy,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "mutatingadmissionpolicies.admissionregistration.k8s.io": _policy,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _policy,
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": _policy_binding,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _policy_binding,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
}


def apply_defaults(resource: str, obj: JSON) -> None:
    """Fill in what the API documents for this built-in resource."""
    function = _BY_RESOURCE.get(resource)
    if function is not None:
        function(obj)
