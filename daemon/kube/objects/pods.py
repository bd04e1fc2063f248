"""Pods: readiness, restarts and addresses, and why a container is not running."""

import msgspec

from daemon.kube.objects.parts import Condition, KubeObject, Part, condition


class ContainerPort(Part, frozen=True, rename="camel"):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Part, frozen=True, rename="camel"):
    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] | None = None


class PodSpec(Part, frozen=True, rename="camel"):
    node_name: str = ""
    containers: tuple[Container, ...] = ()


class StateWaiting(Part, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""


class StateTerminated(Part, frozen=True, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class StateRunning(Part, frozen=True, rename="camel"):
    started_at: str | None = None


class ContainerState(Part, frozen=True, rename="camel"):
    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StateTerminated | None = None


class ContainerStatus(Part, frozen=True, rename="camel"):
    name: str = ""
    image: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(Part, frozen=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: str | None = None
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(KubeObject, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        found = condition(self.status.conditions, "Ready")
        return found is not None and found.status == "True"

    @property
    def restarts(self) -> int:
        return sum(c.restart_count for c in self.status.container_statuses or ())
