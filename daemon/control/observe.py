"""From caches to facts: everything a decision is about, gathered in one place, without a request but for flags under way."""

from typing import Final

import msgspec

from daemon.api import names
from daemon.api.status import RestoreEntry
from daemon.control.caches import Caches
from daemon.control.checking import CheckBoard
from daemon.control.flagging import FlagBoard
from daemon.control.gates import GateProbe
from daemon.control.gating import GateBoard
from daemon.control.judging import JudgeBoard
from daemon.control.leave import Leave
from daemon.control.resolved import Resolved
from daemon.kube.objects import Deployment, ObjectMeta
from daemon.rollout import commands
from daemon.rollout.model import AutoscalerView, CanaryView, Command, FlagView, Observed, Permit, Problem, RouteView, WorkloadView
from daemon.rollout.templates import images
from daemon.traffic.router import Scope
from daemon.workloads import floor, gitops
from daemon.workloads.canary import same_ports
from daemon.workloads.readiness import canary_view, newest_view, workload_view
from daemon.workloads.revisions import Revisions, Templates

REMEMBERED: Final = 4096  # Deployments whose GitOps tool is not looked for again until they change


class Observer:
    def __init__(
        self,
        caches: Caches,
        revisions: Revisions,
        templates: Templates,
        flags: FlagBoard,
        judges: JudgeBoard,
        gates: GateProbe,
        checks: CheckBoard | None = None,
        leave: Leave | None = None,
        asked: GateBoard | None = None,
    ) -> None:
        self._caches = caches
        self._revisions = revisions
        self._templates = templates
        self._routers = caches.routers
        self._flags = flags
        self._judges = judges
        self._gates = gates
        self._checks = checks
        self._leave = leave
        self._asked = asked
        self._managers: dict[tuple[str, str], tuple[str, str]] = {}  # of a Deployment: version, GitOps tool

    async def observe(self, resolved: Resolved, undo: tuple[RestoreEntry, ...]) -> Observed:
        """One pass's view. `undo` is the log of our writes into users' objects, less what was restored since."""
        canary, deployment = resolved.canary, resolved.deployment
        if resolved.observed:
            return self._watched(resolved, undo)
        namespace = canary.namespace
        workload = self._workload(deployment) if deployment is not None else None
        mine, strays = self._canaries(resolved)
        rollout = canary.status.rollout
        return Observed(
            workload=workload,
            canary=mine,
            service_revision=self._service_revision(resolved, mine),
            service_stale=self._service_stale(resolved),
            strays=strays,
            pod_ratio=resolved.pod_ratio,
            routes=self._routes(resolved, undo),
            flags=await self._flag_views(resolved),
            gate=await self._gates.fault(resolved),
            autoscaler=self._autoscaler(resolved, undo),
            floor_written=any(e.kind == "HorizontalPodAutoscaler" for e in undo),
            judge=self._judges.view(canary.key, rollout.revision) if rollout is not None else None,
            checks=self._checks.views(canary.key, rollout.revision) if self._checks is not None and rollout is not None else (),
            command=command_of(resolved.canary.metadata),
            permits=self._permits(resolved),
            problems=self._problems(resolved),
            records=self._revisions.records(namespace, deployment.name) if deployment else (),
            restore=undo,
            gitops=self._gitops(deployment),
            flag_plan=resolved.flag_plan,
            generation=canary.metadata.generation,
            deleting=canary.metadata.deletion_timestamp is not None,
            namespace_deleting=False,
        )

    def _permits(self, resolved: Resolved) -> tuple[Permit, ...]:
        rollout = resolved.canary.status.rollout
        leave = self._leave.permits(resolved) if self._leave is not None else ()
        asked = self._asked.permits(resolved.canary.key, rollout.revision) if self._asked is not None and rollout is not None else ()
        return (*leave, *asked)

    def _watched(self, resolved: Resolved, undo: tuple[RestoreEntry, ...]) -> Observed:
        """Of a Canary that only observes: the Deployment's own versions; and what is left of a time when it did more."""
        canary, item = resolved.canary, resolved.deployment
        rollout = canary.status.rollout
        workload = self._workload(item) if item is not None else None
        guarded = names.FINALIZER in (canary.metadata.finalizers or ())
        return Observed(
            workload=workload,
            canary=self._newest(item, workload) if item is not None and workload is not None and not guarded else None,
            strays=self._canaries(resolved)[1] if guarded else (),
            judge=self._judges.view(canary.key, rollout.revision) if rollout is not None else None,
            command=command_of(canary.metadata),
            problems=resolved.problems,
            records=self._revisions.records(item.namespace, item.name) if guarded and item is not None else (),
            floor_written=any(e.kind == "HorizontalPodAutoscaler" for e in undo),
            restore=undo,
            generation=canary.metadata.generation,
            guarded=guarded,
            deleting=canary.metadata.deletion_timestamp is not None,
        )

    def _newest(self, item: Deployment, workload: WorkloadView) -> CanaryView:
        """The pods of the template at hand."""
        sets = {s.name: s for s in workload.active if s.revision == workload.revision}
        pods = tuple(p for s in self._caches.sets_of(item) if s.name in sets for p in self._caches.pods_of_set(s))
        return newest_view(workload.revision, sets.values(), pods)

    def _workload(self, item: Deployment) -> WorkloadView:
        template = self._templates.decode(item.spec.template)
        return workload_view(
            item,
            self._caches.sets_of(item),
            self._caches.pods_of(item),
            self._revisions.name_of(item.namespace, item.name, item.spec.template),
            lambda raw: self._revisions.name_of(item.namespace, item.name, raw),
            images(template),
        )

    def _canaries(self, resolved: Resolved) -> tuple[CanaryView | None, tuple[str, ...]]:
        """The canary of the revision under way, and those of others that still exist."""
        rollout = resolved.canary.status.rollout
        mine: CanaryView | None = None
        strays = []
        for item in self._caches.canary_deployments(resolved.canary.namespace, resolved.canary.name):
            leaving = item.metadata.deletion_timestamp is not None
            if rollout is not None and item.metadata.label(names.REVISION) == rollout.revision and not leaving:
                mine = canary_view(item, self._caches.pods_of(item))
            else:
                strays.append(item.name)
        return mine, tuple(strays)

    def _service_revision(self, resolved: Resolved, mine: CanaryView | None) -> str | None:
        if resolved.canary_service is None:
            return mine.revision if mine is not None else None
        service = self._caches.services.store.get(resolved.canary.namespace, resolved.canary_service)
        return (service.spec.selector or {}).get(names.REVISION) if service is not None else None

    def _service_stale(self, resolved: Resolved) -> bool:
        """Whether there is anything for `EnsureService` to do."""
        mine = self._caches.canary_services(resolved.canary.namespace, resolved.canary.name)
        if resolved.service is None or resolved.canary_service is None:
            return bool(mine)
        return [s.name for s in mine] != [resolved.canary_service] or not same_ports(mine[0], resolved.service)

    def _routes(self, resolved: Resolved, undo: tuple[RestoreEntry, ...]) -> tuple[RouteView, ...]:
        """What is gone shows no weight, so that nothing moves without it; where all are gone there is no route at all."""
        views = [self._routers.of(scope).view(scope, undo) for scope in resolved.scopes]
        if all(v is None for v in views):
            return ()
        return tuple(v or _gone(s) for s, v in zip(resolved.scopes, views, strict=True))

    async def _flag_views(self, resolved: Resolved) -> tuple[FlagView, ...]:
        if not resolved.flags or resolved.canary.status.rollout is None:
            return self._flags.opened(resolved)
        return await self._flags.met(resolved)

    def _autoscaler(self, resolved: Resolved, undo: tuple[RestoreEntry, ...]) -> AutoscalerView | None:
        item = self._caches.autoscaler_of(resolved.deployment) if resolved.deployment else None
        return floor.view(item, undo, names.FIELD_MANAGER) if item is not None else None

    def _gitops(self, item: Deployment | None) -> str:
        """Asked in every pass, and answered by owners that are decoded once for each version of the object."""
        if item is None:
            return ""
        version, found = self._managers.get(item.key, ("", ""))
        if version != item.metadata.resource_version:
            if len(self._managers) >= REMEMBERED:
                self._managers.clear()
            found = gitops.manager_of(item)
            self._managers[item.key] = (item.metadata.resource_version, found)
        return found

    def _problems(self, resolved: Resolved) -> tuple[Problem, ...]:
        deployment = resolved.deployment
        owner_paused = deployment is not None and deployment.spec.paused and not deployment.metadata.annotation(names.HELD_MARK)
        return () if owner_paused else resolved.problems


def _gone(scope: Scope) -> RouteView:
    return RouteView(kind=scope.kind, name=scope.name, weight=None, problem=f"{scope.route} does not exist")


def command_of(metadata: ObjectMeta) -> Command | None:
    """`linnet.dev/action` on the Canary. Who wrote it says the API server where it stamps writers; else the text itself."""
    text = metadata.annotation(names.ACTION)
    found = commands.parse(text) if text else None
    stamped = metadata.annotation(names.ACTION_BY) or ""
    if found is None or not stamped.endswith(f" {text}"):
        return found
    return msgspec.structs.replace(found, by=stamped[: -len(found.raw) - 1][:128])
