"""The EndpointSlice controller: which pods a Service reaches, and whether each may get traffic.

The conditions decide what a gateway sends: `ready` only for a ready pod that is not leaving, `serving` for one that still answers
while it drains, `terminating` once it was deleted. Pods that spell a named port differently land in slices of their own.
"""

import json
from collections.abc import Iterable, Sequence

from daemon.sandbox.controllers.access import ENDPOINTSLICES, PODS, SERVICES, Access
from daemon.sandbox.controllers.objects import (
    Object,
    labels_of,
    meta,
    name_of,
    namespace_of,
    pod_ready,
    random_suffix,
    status_of,
    terminating,
    uid_of,
)
from daemon.sandbox.controllers.runtime import Key

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
MAX_ENDPOINTS = 100


class EndpointSliceController:
    name = "endpointslice-controller"

    def __init__(self, access: Access) -> None:
        self._api = access

    def start(self) -> Iterable[Key]:
        return [(namespace_of(s), name_of(s)) for s in self._api.list(SERVICES)]

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == SERVICES:
            yield namespace_of(obj), name_of(obj)
        elif resource == ENDPOINTSLICES and labels_of(obj).get(MANAGED_BY) == MANAGER:
            yield namespace_of(obj), labels_of(obj).get(SERVICE_NAME, "")
        elif resource == PODS:
            # A pod whose labels moved away concerns its former Service too: all of the namespace are looked at, which is cheap here.
            yield from ((namespace_of(s), name_of(s)) for s in self._api.list(SERVICES, namespace_of(obj)))

    def sync(self, key: Key) -> float | None:
        service = self._api.get(SERVICES, *key)
        if service is None or terminating(service) or not service["spec"].get("selector"):
            return None
        pods = [p for p in self._api.list(PODS, key[0]) if selected(service, p)]
        existing = [
            s
            for s in self._api.list(ENDPOINTSLICES, key[0])
            if labels_of(s).get(SERVICE_NAME) == key[1] and labels_of(s).get(MANAGED_BY) == MANAGER and not terminating(s)
        ]
        self._reconcile(service, existing, desired_slices(service, pods))
        return None

    def _reconcile(self, service: Object, existing: list[Object], wanted: Sequence[Object]) -> None:
        """Reuse a slice with the same ports before making one; what is left over goes."""
        spare = sorted(existing, key=name_of)
        for content in wanted:
            found = next((s for s in spare if s.get("ports") == content["ports"]), spare[0] if spare else None)
            if found is None:
                self._api.create(ENDPOINTSLICES, _new_slice(service, content))
                continue
            spare.remove(found)
            if any(found.get(field) != content[field] for field in ("ports", "endpoints")):
                self._api.update(ENDPOINTSLICES, found | content)
        for leftover in spare:
            self._api.delete(ENDPOINTSLICES, leftover)


def selected(service: Object, pod: Object) -> bool:
    """Does the Service choose this pod: its labels match, it has an address and has not ended."""
    wanted = service["spec"]["selector"].items() <= labels_of(pod).items()
    status = status_of(pod)
    return bool(wanted and status.get("podIP") and status.get("phase") not in {"Succeeded", "Failed"})


def endpoint(service: Object, pod: Object) -> Object:
    serving = pod_ready(pod) or bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "addresses": [status_of(pod)["podIP"]],
        "conditions": {"ready": serving and not terminating(pod), "serving": serving, "terminating": terminating(pod)},
        "targetRef": {"kind": "Pod", "name": name_of(pod), "namespace": namespace_of(pod), "uid": uid_of(pod)},
        "nodeName": pod["spec"].get("nodeName"),
    }


def target_port(port: Object, pod: Object) -> int | None:
    """The number a service port means at this pod, or None where the pod does not name it."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    for container in pod["spec"].get("containers") or ():
        for offered in container.get("ports") or ():
            if offered.get("name") == target and offered.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(offered["containerPort"])
    return None


def _ports(service: Object, pod: Object) -> list[Object]:
    found = []
    for port in service["spec"].get("ports") or ():
        number = target_port(port, pod)
        if number is not None:
            entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            found.append(entry | ({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}))
    return found


def desired_slices(service: Object, pods: Sequence[Object]) -> list[Object]:
    """Ports and endpoints of every slice; a Service without pods still has one, empty."""
    groups: dict[str, tuple[list[Object], list[Object]]] = {}
    for pod in sorted(pods, key=name_of):
        ports = _ports(service, pod)
        groups.setdefault(json.dumps(ports, sort_keys=True), (ports, []))[1].append(endpoint(service, pod))
    slices = []
    for ports, endpoints in groups.values():
        chunks = [endpoints[i : i + MAX_ENDPOINTS] for i in range(0, len(endpoints), MAX_ENDPOINTS)]
        slices += [{"ports": ports, "endpoints": chunk} for chunk in chunks]
    return slices or [{"ports": [], "endpoints": []}]


def _new_slice(service: Object, content: Object) -> Object:
    headless = {"service.kubernetes.io/headless": ""} if service["spec"].get("clusterIP") == "None" else {}
    reference = {"apiVersion": "v1", "kind": "Service", "name": name_of(service), "uid": uid_of(service)}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name_of(service)}-{random_suffix()}",
            "generateName": f"{name_of(service)}-",
            "namespace": meta(service)["namespace"],
            "labels": labels_of(service) | headless | {SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER},
            "ownerReferences": [reference | {"controller": True, "blockOwnerDeletion": True}],
        },
        "addressType": "IPv4",
        **content,
    }
