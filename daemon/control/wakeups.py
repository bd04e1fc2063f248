"""What wakes whom: a Canary is looked at when anything it speaks of changes, and never otherwise.

An idle Canary costs nothing, because nothing here polls: each handler turns a changed object into the keys of those it concerns.
"""

from collections.abc import Callable
from typing import Any

from daemon.api import names
from daemon.control.caches import QUEUED, Caches
from daemon.control.objects import Canary
from daemon.kube.informer import Informer
from daemon.kube.objects import KubeObject
from daemon.kube.queue import WorkQueue
from daemon.kube.store import Key


class Wakeups:
    """Feeds the queues of the two controllers from the caches."""

    def __init__(self, caches: Caches, canaries: WorkQueue[Key], adoptions: WorkQueue[Key], groups: WorkQueue[Key], catalogue: str) -> None:
        self._caches = caches
        self._groups = groups
        self._canaries = canaries
        self._adoptions = adoptions
        self._catalogue = catalogue

    def subscribe(self) -> list[Callable[[], None]]:
        """Hear of every change from now on, and of what is there already. Returns the ways to stop."""
        caches = self._caches
        neighbours: tuple[Informer[Any], ...] = (
            caches.services,
            caches.autoscalers,
            caches.policies,
            caches.profiles,
            caches.metric_sources,
            caches.flag_sources,
            caches.templates,
            caches.freezes,
        )
        return [
            self._on(caches.canaries, self._canary),
            caches.canaries.store.add_handler(self._stake, replay=False),
            self._on(caches.groups, self._group),
            self._on(caches.deployments, self._deployment),
            self._on(caches.replica_sets, self._owned),
            self._on(caches.pods, self._owned),
            *(self._on(informer, self._neighbour) for informer in neighbours),
            *([self._on(caches.namespaces, self._line)] if caches.namespaces is not None else []),
            *([self._on(caches.jobs, self._owned)] if caches.jobs is not None else []),
            caches.routes.add_handler(_changed(self._neighbour), self._everyone),
        ]

    def _on(self, informer: Informer[Any], wake: Callable[[KubeObject], None]) -> Callable[[], None]:
        return informer.store.add_handler(_changed(wake))

    def _everyone(self) -> None:
        for found in self._caches.canaries.store:
            self._canaries.add(found.key)

    def _canary(self, item: KubeObject) -> None:
        self._canaries.add(item.key)
        for found in self._caches.groups.store.by("member", f"{item.namespace}/{item.name}"):
            self._groups.add(found.key)

    def _group(self, item: KubeObject) -> None:
        """Its members, and whoever else speaks of them: a Canary may be in one group only."""
        for found in self._caches.groups.store.by("namespace", item.namespace):
            self._groups.add(found.key)
        for canary in self._caches.canaries.store.by("namespace", item.namespace):
            self._canaries.add(canary.key)

    def _stake(self, old: Canary | None, new: Canary | None) -> None:
        """A release that began, ended, joined the line or left it: those who wait have another place, or their turn."""
        if new is None or (old is not None and _staked(old) != _staked(new)):
            self._line()

    def _line(self, _: KubeObject | None = None) -> None:
        for found in self._caches.canaries.store.by("release", QUEUED):
            self._canaries.add(found.key)

    def _deployment(self, item: KubeObject) -> None:
        if self._ours(item):
            return
        self._adoptions.add(item.key)
        self._of_workload(item.namespace, item.name)

    def _owned(self, item: KubeObject) -> None:
        """A ReplicaSet or Pod: the canary's carry our label, those of stable are found by their Deployment, Pods through their ReplicaSet."""
        controller = item.metadata.controller()
        if controller is None or self._ours(item):
            return
        if controller.kind == "ReplicaSet":
            between = self._caches.replica_sets.store.get(item.namespace, controller.name)
            controller = between.metadata.controller() if between is not None else None
        if controller is not None and controller.kind == "Deployment":
            self._of_workload(item.namespace, controller.name)

    def _neighbour(self, item: KubeObject) -> None:
        """What any Canary of the namespace may speak of; in the catalogue, any Canary at all."""
        canaries = self._caches.canaries.store
        for found in canaries if item.namespace == self._catalogue else canaries.by("namespace", item.namespace):
            self._canaries.add(found.key)

    def _ours(self, item: KubeObject) -> bool:
        owner = item.metadata.label(names.OWNER)
        if owner:
            self._canaries.add((item.namespace, owner))
        return bool(owner)

    def _of_workload(self, namespace: str, name: str) -> None:
        for found in self._caches.canaries.store.by("workload", f"{namespace}/{name}"):
            self._canaries.add(found.key)


def _staked(item: Canary) -> tuple[bool, str | None, str | None]:
    status = item.status
    waiting = status.waiting.reason if status.waiting is not None and status.queued_since else None
    return status.rollout is not None, status.queued_since, waiting


def _changed(wake: Callable[[KubeObject], None]) -> Callable[[KubeObject | None, KubeObject | None], None]:
    """One handler for an object that came, changed or went: which of the three it was is for the pass to find."""

    def changed(old: KubeObject | None, new: KubeObject | None) -> None:
        item = new or old
        if item is not None:
            wake(item)

    return changed
