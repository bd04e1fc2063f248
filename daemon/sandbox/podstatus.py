"""The status a kubelet reports: phase, conditions and container states, with the native reasons. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.sandbox.controllers.objects import Object, condition_of, status_of, terminating, timestamp


@dataclass(kw_only=True)
class ContainerView:
    """What is known of one container now."""

    name: str
    image: str
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""

    def status(self) -> Object:
        return {
            "name": self.name,
            "image": self.image,
            "imageID": f"sandbox://{self.image}" if self.container_id else "",
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        } | ({"containerID": self.container_id} if self.container_id else {})


def phase_of(pod: Object, containers: Sequence[ContainerView], *, initialized: bool) -> str:
    """Pending until every container was started, then Running until all ended for good."""
    if not initialized:
        failed = pod["spec"].get("restartPolicy") == "Never" and any(_exit_code(c) for c in containers)
        return "Failed" if failed else "Pending"
    if any("waiting" in c.state and not c.last_state for c in containers):
        return "Pending"
    if all("terminated" in c.state for c in containers):
        codes = [_exit_code(c) for c in containers]
        if terminating(pod) or pod["spec"].get("restartPolicy") == "Never":
            return "Failed" if any(codes) else "Succeeded"
        if pod["spec"].get("restartPolicy") == "OnFailure" and not any(codes):
            return "Succeeded"
    return "Running"


def _exit_code(container: ContainerView) -> int:
    return int((container.state.get("terminated") or {}).get("exitCode") or 0)


def build(pod: Object, init: Sequence[ContainerView], containers: Sequence[ContainerView], *, pod_ip: str, host_ip: str) -> Object:
    """The status to write; conditions of others (readiness gates, the scheduler's) are kept."""
    before = status_of(pod)
    initialized = all((c.state.get("terminated") or {}).get("exitCode") == 0 for c in init)
    status: Object = dict(before)
    status |= {
        "phase": phase_of(pod, containers if initialized else init, initialized=initialized),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "startTime": before.get("startTime") or timestamp(),
        "containerStatuses": [c.status() for c in containers],
        "qosClass": before.get("qosClass") or "BestEffort",
    }
    if init:
        status["initContainerStatuses"] = [c.status() for c in init]
    status["conditions"] = _conditions(pod, status["phase"], containers, initialized=initialized)
    return status


def _conditions(pod: Object, phase: str, containers: Sequence[ContainerView], *, initialized: bool) -> list[Object]:
    before = status_of(pod)
    unready = [c.name for c in containers if not c.ready]
    ended = {"reason": "PodCompleted"} if phase == "Succeeded" else {"reason": "PodFailed"} if phase == "Failed" else None
    names = f"containers with unready status: [{' '.join(unready)}]"
    lacking = ended or ({"reason": "ContainersNotReady", "message": names} if unready else None)
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    closed = [g for g in gates if (condition_of(before, g) or {}).get("status") != "True"]
    gated = (
        {"reason": "ReadinessGatesNotReady", "message": f'the status of pod readiness gate "{closed[0]}" is not "True"'} if closed else None
    )
    wanted = {
        "PodReadyToStartContainers": None,
        "Initialized": None if initialized else {"reason": "ContainersNotInitialized"},
        "Ready": lacking or gated,
        "ContainersReady": lacking,
        "PodScheduled": None,
    }
    kept = [c for c in before.get("conditions") or [] if c["type"] not in wanted]
    return [*(_condition(before, kind, why) for kind, why in wanted.items()), *kept]


def _condition(before: Object, kind: str, why: Object | None) -> Object:
    status = "False" if why else "True"
    current = condition_of(before, kind) or {}
    moment = current["lastTransitionTime"] if current.get("status") == status else timestamp()
    return {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": moment, **(why or {})}
