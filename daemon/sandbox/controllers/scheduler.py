"""The scheduler of a cluster with one node: every pod that may run is bound to it.

Only what can keep a pod off the one node is looked at: scheduling gates, another scheduler's name, a nodeSelector that the node
does not satisfy, a cordoned node. Resources, affinity and taints are not weighed; one machine runs it all.
"""

from collections.abc import Iterable

from daemon.sandbox.controllers.access import NODES, PODS, Access
from daemon.sandbox.controllers.objects import Object, condition_of, labels_of, name_of, namespace_of, status_of, terminating, timestamp
from daemon.sandbox.controllers.runtime import Key


class Scheduler:
    name = "default-scheduler"

    def __init__(self, access: Access) -> None:
        self._api = access

    def start(self) -> Iterable[Key]:
        return [(namespace_of(p), name_of(p)) for p in self._api.list(PODS)]

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == PODS and event != "DELETED" and not obj["spec"].get("nodeName"):
            yield namespace_of(obj), name_of(obj)
        elif resource == NODES:
            yield from ((namespace_of(p), name_of(p)) for p in self._api.list(PODS) if not p["spec"].get("nodeName"))

    def sync(self, key: Key) -> float | None:
        pod = self._api.get(PODS, *key)
        if pod is None or pod["spec"].get("nodeName") or terminating(pod) or pod["spec"].get("schedulingGates"):
            return None
        if pod["spec"].get("schedulerName", self.name) != self.name:
            return None
        nodes = self._api.list(NODES)
        fitting = [n for n in nodes if _fits(pod, n)]
        if not fitting:
            self._refuse(pod, nodes)
            return None
        pod["spec"]["nodeName"] = name_of(fitting[0])
        bound = self._api.update(PODS, pod, subresource="binding")
        self._say(bound, "True", "", "")
        message = f"Successfully assigned {namespace_of(pod)}/{name_of(pod)} to {name_of(fitting[0])}"
        self._api.event(bound, "Normal", "Scheduled", message)
        return None

    def _refuse(self, pod: Object, nodes: list[Object]) -> None:
        cordoned = sum(bool((n.get("spec") or {}).get("unschedulable")) for n in nodes)
        why = "node(s) were unschedulable" if cordoned == len(nodes) else "node(s) didn't match Pod's node affinity/selector"
        message = f"0/{len(nodes)} nodes are available: {len(nodes)} {why}." if nodes else "no nodes available to schedule pods"
        if self._say(pod, "False", "Unschedulable", message):
            self._api.event(pod, "Warning", "FailedScheduling", message)

    def _say(self, pod: Object, status: str, reason: str, message: str) -> bool:
        before = condition_of(status_of(pod), "PodScheduled") or {}
        if (before.get("status"), before.get("message", "")) == (status, message):
            return False
        condition = {"type": "PodScheduled", "status": status, "lastProbeTime": None, "lastTransitionTime": timestamp()}
        condition |= {"reason": reason, "message": message} if reason else {}
        current = pod.setdefault("status", {})
        current["conditions"] = [*(c for c in current.get("conditions") or [] if c["type"] != "PodScheduled"), condition]
        current.setdefault("phase", "Pending")
        self._api.update(PODS, pod, subresource="status")
        return True


def _fits(pod: Object, node: Object) -> bool:
    wanted = pod["spec"].get("nodeSelector") or {}
    return not (node.get("spec") or {}).get("unschedulable") and wanted.items() <= labels_of(node).items()
