"""What runs pods, and what says how many: Deployments, their ReplicaSets and stored templates, autoscalers and budgets."""

from msgspec import Raw

from daemon.kube.objects.parts import EMPTY, Condition, KubeObject, LabelSelector, Part


class RollingUpdate(Part, frozen=True, rename="camel"):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DeploymentStrategy(Part, frozen=True, rename="camel"):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Part, frozen=True, rename="camel"):
    replicas: int | None = None
    paused: bool = False
    selector: LabelSelector = LabelSelector()
    strategy: DeploymentStrategy = DeploymentStrategy()
    min_ready_seconds: int = 0
    progress_deadline_seconds: int | None = None
    revision_history_limit: int | None = None
    template: Raw = EMPTY


class DeploymentStatus(Part, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    collision_count: int | None = None
    conditions: tuple[Condition, ...] | None = None


class Deployment(KubeObject, frozen=True):
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class ReplicaSetSpec(Part, frozen=True, rename="camel"):
    replicas: int | None = None
    min_ready_seconds: int = 0
    selector: LabelSelector = LabelSelector()
    template: Raw = EMPTY


class ReplicaSetStatus(Part, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    conditions: tuple[Condition, ...] | None = None


class ReplicaSet(KubeObject, frozen=True):
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class ControllerRevision(KubeObject, frozen=True):
    revision: int = 0
    data: Raw = EMPTY


class ScaleTargetRef(Part, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class HorizontalPodAutoscalerSpec(Part, frozen=True, rename="camel"):
    scale_target_ref: ScaleTargetRef = ScaleTargetRef()
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: Raw = EMPTY


class HorizontalPodAutoscalerStatus(Part, frozen=True, rename="camel"):
    observed_generation: int | None = None
    current_replicas: int = 0
    desired_replicas: int = 0
    conditions: tuple[Condition, ...] | None = None


class HorizontalPodAutoscaler(KubeObject, frozen=True):
    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()


class PodDisruptionBudgetSpec(Part, frozen=True, rename="camel"):
    selector: LabelSelector | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class PodDisruptionBudgetStatus(Part, frozen=True, rename="camel"):
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0


class PodDisruptionBudget(KubeObject, frozen=True):
    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()


class PersistentVolumeClaimSpec(Part, frozen=True, rename="camel"):
    access_modes: tuple[str, ...] | None = None


class PersistentVolumeClaim(KubeObject, frozen=True):
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()


class JobStatus(Part, frozen=True, rename="camel"):
    active: int = 0
    conditions: tuple[Condition, ...] | None = None


class Job(KubeObject, frozen=True):
    status: JobStatus = JobStatus()
