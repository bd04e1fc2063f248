"""From live objects to the facts that decisions are about: what is complete, what is available, what fails and in whose words."""

from collections.abc import Callable, Iterable
from math import ceil, floor
from typing import Final

import msgspec

from daemon.api import names
from daemon.kube.objects import Deployment, Pod, ReplicaSet, condition
from daemon.rollout.model import CanaryView, ReplicaSetView, WorkloadView

FATAL: Final = frozenset(
    {"CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "RunContainerError"}
)
CRASHES: Final = 3  # restarts of one container before a crash loop counts as fatal


def workload_view(
    item: Deployment,
    sets: Iterable[ReplicaSet],
    pods: Iterable[Pod],
    revision: str,
    name_of: Callable[[msgspec.Raw], str | None],
    images: tuple[str, ...],
) -> WorkloadView:
    """The user's Deployment with the ReplicaSets it owns."""
    replicas = 1 if item.spec.replicas is None else item.spec.replicas
    status = item.status
    active = tuple(
        ReplicaSetView(
            name=s.name,
            revision=name_of(s.spec.template),
            replicas=s.spec.replicas or 0,
            available=s.status.available_replicas,
        )
        for s in sets
        if (s.spec.replicas or 0) > 0 or s.status.replicas > 0
    )
    current = status.observed_generation >= item.metadata.generation
    complete = current and status.updated_replicas == replicas == status.available_replicas == status.replicas
    if item.spec.paused:
        complete = current and len(active) == 1 and status.available_replicas >= replicas
    return WorkloadView(
        revision=revision,
        replicas=replicas,
        available=status.available_replicas,
        complete=complete,
        paused=item.spec.paused,
        held=item.metadata.annotation(names.HELD_MARK) or None,
        authors=tuple(filter(None, (item.metadata.annotation(names.AUTHOR_MARK) or "").split("\n"))),
        hold_off=item.metadata.annotation(names.HOLD) == "off",
        adopted=bool(item.metadata.annotation(names.CANARY_MARK)),
        active=active,
        max_surge=surge(item, replicas),
        keeps_serving=keeps_serving(item, replicas),
        failing=_failing(item, pods),
        images=images,
    )


def _share(value: int | str | None, replicas: int, *, up: bool) -> int:
    if value is None:
        value = "25%"
    if isinstance(value, int):
        return value
    exact = replicas * int(value.rstrip("%")) / 100
    return ceil(exact) if up else floor(exact)


def surge(item: Deployment, replicas: int) -> int:
    """maxSurge in pods, rounded as the native controller does."""
    if item.spec.strategy.type == "Recreate":
        return 0
    rolling = item.spec.strategy.rolling_update
    return _share(rolling.max_surge if rolling else None, replicas, up=True)


def keeps_serving(item: Deployment, replicas: int) -> bool:
    """Whether a native roll never leaves this Deployment without ready pods (workload-traps A7)."""
    if item.spec.strategy.type == "Recreate":
        return False
    rolling = item.spec.strategy.rolling_update
    unavailable = _share(rolling.max_unavailable if rolling else None, replicas, up=False)
    if unavailable == 0 and surge(item, replicas) == 0:
        unavailable = 1  # the native controller's way out of a dead lock
    return unavailable < replicas


def _failing(item: Deployment, pods: Iterable[Pod]) -> str:
    words = [trouble(p) for p in pods]
    replica_failure = condition(item.status.conditions, "ReplicaFailure")
    if replica_failure is not None and replica_failure.status == "True":
        words.insert(0, replica_failure.message)
    progressing = condition(item.status.conditions, "Progressing")
    if progressing is not None and progressing.reason == "ProgressDeadlineExceeded":
        words.append(progressing.message)
    return next((w for w in words if w), "")


def trouble(pod: Pod) -> str:
    """Why a pod is not ready, in the kubelet's or the scheduler's own words; empty where nothing is wrong."""
    if pod.metadata.deletion_timestamp is not None or pod.ready:
        return ""
    scheduled = condition(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return f"pod {pod.name}: {scheduled.reason}: {scheduled.message}"
    for container in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        waiting = container.state.waiting
        if waiting is not None and waiting.reason in FATAL:
            last = container.last_state.terminated
            ended = f" (last exit {last.exit_code}, {last.reason})" if last is not None else ""
            return f"pod {pod.name}, container {container.name}: {waiting.reason}: {waiting.message}{ended}"
    return ""


def fatal(pod: Pod) -> bool:
    """Whether waiting longer is pointless: the image cannot be had, or the container ended again and again."""
    if pod.metadata.deletion_timestamp is not None:
        return False
    for container in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        waiting = container.state.waiting
        if waiting is None or waiting.reason not in FATAL:
            continue
        if waiting.reason != "CrashLoopBackOff" or container.restart_count >= CRASHES:
            return True
    return False


def canary_view(item: Deployment, pods: Iterable[Pod]) -> CanaryView:
    """The canary Deployment. Available means available, minReadySeconds included."""
    own = tuple(pods)
    return CanaryView(
        revision=item.metadata.label(names.REVISION),
        replicas=item.spec.replicas or 0,
        available=item.status.available_replicas
        if item.status.observed_generation >= item.metadata.generation
        else min(item.status.available_replicas, item.spec.replicas or 0),
        failing=_failing(item, own),
        fatal=any(fatal(p) for p in own),
    )


def newest_view(revision: str, sets: Iterable[ReplicaSetView], pods: Iterable[Pod]) -> CanaryView:
    """The newest version in a rolling update, seen as a canary is."""
    own, found = tuple(pods), tuple(sets)
    return CanaryView(
        revision=revision,
        replicas=sum(s.replicas for s in found),
        available=sum(s.available for s in found),
        failing=next((t for p in sorted(own, key=lambda p: not fatal(p)) if (t := trouble(p))), ""),
        fatal=any(fatal(p) for p in own),
    )
