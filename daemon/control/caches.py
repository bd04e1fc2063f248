"""Every object the daemon reads often, kept by informers: an idle Canary costs no request.

Secrets and ConfigMaps are not here: they are read one by one, when needed, by name.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from daemon.api import names
from daemon.control import objects as ours
from daemon.kube import resources as res
from daemon.kube.client import Client
from daemon.kube.informer import Informer
from daemon.kube.objects import (
    Deployment,
    HorizontalPodAutoscaler,
    Job,
    KubeObject,
    Namespace,
    NetworkPolicy,
    Pod,
    ReplicaSet,
    Service,
)
from daemon.kube.store import by_namespace
from daemon.traffic.informers import RouteInformers
from daemon.traffic.registry import Routers, discovered
from daemon.workloads.revisions import by_workload, label_value

UNDER_WAY: Final = "under way"
QUEUED: Final = "queued"


def _by_workload_ref(item: ours.Canary) -> list[str]:
    """The Canary that holds and releases a workload; one for flags alone does neither."""
    return [] if item.spec.flags_only or not item.spec.workload else [f"{item.namespace}/{item.spec.workload}"]


def _by_release(item: ours.Canary) -> list[str]:
    if item.status.rollout is not None:
        return [UNDER_WAY] if item.status.rollout.observed is None else []
    return [QUEUED] if item.status.queued_since else []


def _by_member(item: ours.ReleaseGroup) -> list[str]:
    """Of the spec, and of a release that began with another one."""
    return [f"{item.namespace}/{name}" for name in item.names]


def _by_our_owner(item: KubeObject) -> list[str]:
    owner = item.metadata.label(names.OWNER)
    return [f"{item.namespace}/{owner}"] if owner else []


def _by_controller(item: KubeObject) -> list[str]:
    owner = item.metadata.controller()
    return [f"{item.namespace}/{owner.name}"] if owner else []


def _by_target(item: HorizontalPodAutoscaler) -> list[str]:
    target = item.spec.scale_target_ref
    return [f"{item.namespace}/{target.name}"] if target.kind == "Deployment" else []


class Caches:
    """One informer a kind; Namespaces only where they may set a cap of their own, Jobs only where they may be made."""

    def __init__(self, client: Client, namespaces: Sequence[str], catalogue: str, *, caps: bool = False, jobs: bool = False) -> None:
        scope = tuple(namespaces)
        wide = tuple(dict.fromkeys((*scope, catalogue))) if scope else ()
        self.canaries: Informer[ours.Canary] = Informer(
            client,
            ours.CANARIES,
            namespaces=scope,
            indexes={"workload": _by_workload_ref, "namespace": by_namespace, "release": _by_release},
        )
        self.profiles: Informer[ours.Profile] = Informer(client, ours.PROFILES, namespaces=wide)
        self.metric_sources: Informer[ours.MetricSource] = Informer(client, ours.METRIC_SOURCES, namespaces=wide)
        self.flag_sources: Informer[ours.FlagSource] = Informer(client, ours.FLAG_SOURCES, namespaces=wide)
        self.notifiers: Informer[ours.Notifier] = Informer(client, ours.NOTIFIERS, namespaces=wide)
        self.freezes: Informer[ours.Freeze] = Informer(client, ours.FREEZES, namespaces=wide)
        self.groups: Informer[ours.ReleaseGroup] = Informer(
            client, ours.RELEASE_GROUPS, namespaces=scope, indexes={"member": _by_member, "namespace": by_namespace}
        )
        self.templates: Informer[ours.AnalysisTemplate] = Informer(client, ours.ANALYSIS_TEMPLATES, namespaces=wide)
        self.deployments: Informer[Deployment] = Informer(client, res.DEPLOYMENTS, namespaces=scope, indexes={"ours": _by_our_owner})
        self.replica_sets: Informer[ReplicaSet] = Informer(
            client, res.REPLICA_SETS, namespaces=scope, indexes={"controller": _by_controller}
        )
        self.pods: Informer[Pod] = Informer(
            client, res.PODS, namespaces=scope, indexes={"controller": _by_controller, "ours": _by_our_owner}
        )
        self.services: Informer[Service] = Informer(
            client, res.SERVICES, namespaces=scope, indexes={"namespace": by_namespace, "ours": _by_our_owner}
        )
        self.revisions = Informer(
            client, res.CONTROLLER_REVISIONS, namespaces=scope, label_selector=names.OWNER, indexes={"workload": by_workload}
        )
        self.autoscalers: Informer[HorizontalPodAutoscaler] = Informer(
            client, res.HORIZONTAL_POD_AUTOSCALERS, namespaces=scope, indexes={"target": _by_target}
        )
        self.policies: Informer[NetworkPolicy] = Informer(
            client, res.NETWORK_POLICIES, namespaces=scope, indexes={"namespace": by_namespace}
        )
        self.namespaces: Informer[Namespace] | None = Informer(client, res.NAMESPACES) if caps else None
        self.jobs: Informer[Job] | None = (
            Informer(client, res.JOBS, namespaces=scope, label_selector=names.OWNER, indexes={"ours": _by_our_owner}) if jobs else None
        )
        self.routes = RouteInformers(client, scope, discovered())
        self.routers = Routers(client, self.routes)

    def required(self) -> tuple[Informer[Any], ...]:
        return (
            self.canaries,
            self.profiles,
            self.metric_sources,
            self.flag_sources,
            self.notifiers,
            self.freezes,
            self.groups,
            self.templates,
            self.deployments,
            self.replica_sets,
            self.pods,
            self.services,
            self.revisions,
            self.autoscalers,
            self.policies,
            *([self.namespaces] if self.namespaces is not None else []),
            *([self.jobs] if self.jobs is not None else []),
        )

    @property
    def synced(self) -> bool:
        return all(i.synced for i in self.required()) and self.routes.synced

    async def run(self) -> None:
        """Belongs into a TaskGroup."""
        async with asyncio.TaskGroup() as group:
            for informer in self.required():
                group.create_task(informer.run(), name=f"informer {informer.resource.plural}")
            group.create_task(self.routes.run(), name="informers of routes")

    async def wait_synced(self, deadline: float) -> None:
        async with asyncio.timeout(deadline):
            for informer in self.required():
                await informer.wait_synced(deadline)
            await self.routes.wait_synced(deadline)

    # Questions that several modules ask.

    def sets_of(self, deployment: Deployment) -> tuple[ReplicaSet, ...]:
        return self.replica_sets.store.by("controller", f"{deployment.namespace}/{deployment.name}")

    def pods_of_set(self, item: ReplicaSet) -> tuple[Pod, ...]:
        return self.pods.store.by("controller", f"{item.namespace}/{item.name}")

    def pods_of(self, deployment: Deployment) -> tuple[Pod, ...]:
        return tuple(p for s in self.sets_of(deployment) for p in self.pods_of_set(s))

    def canary_deployments(self, namespace: str, owner: str) -> tuple[Deployment, ...]:
        return self.deployments.store.by("ours", f"{namespace}/{owner}")

    def canary_services(self, namespace: str, owner: str) -> tuple[Service, ...]:
        """Every Service that was made for this Canary; more than one after its Service was renamed."""
        return self.services.store.by("ours", f"{namespace}/{label_value(owner)}")

    def autoscaler_of(self, deployment: Deployment) -> HorizontalPodAutoscaler | None:
        found = self.autoscalers.store.by("target", f"{deployment.namespace}/{deployment.name}")
        return found[0] if found else None
