"""Carrying out what was decided: each action compares with what is there and writes only the difference.

Writes into users' objects are recorded in the undo log first; the log is part of the status that is written before the first of
these actions runs. An action that finds the object moved stops there: the next pass decides anew.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from daemon.api import names
from daemon.api.status import RestoreEntry
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.flagging import FlagBoard
from daemon.control.resolved import Resolved
from daemon.kube import owners
from daemon.kube.client import Client
from daemon.kube.objects import Deployment, untyped
from daemon.kube.patch import pointer, remove, test
from daemon.kube.resources import HORIZONTAL_POD_AUTOSCALERS, SERVICES
from daemon.rollout import model as m
from daemon.traffic import together
from daemon.traffic.router import Scope
from daemon.workloads import canary as canaries
from daemon.workloads import floor, hold
from daemon.workloads.errors import WorkloadError
from daemon.workloads.resize import resize
from daemon.workloads.revisions import Revisions, Templates
from flags.model import EVERYONE

log = logging.getLogger("linnet.execute")


class Executor:
    def __init__(self, client: Client, caches: Caches, revisions: Revisions, templates: Templates, flags: FlagBoard) -> None:
        self._client = client
        self._caches = caches
        self._revisions = revisions
        self._templates = templates
        self._routers = caches.routers
        self._flags = flags
        self._verbs: dict[type[m.Action], Callable[[Resolved, Any], Awaitable[None]]] = {
            m.Adopt: self._adopt,
            m.StoreTemplate: self._store_template,
            m.RememberFailure: self._remember,
            m.ForgetFailure: self._forget,
            m.EnsureCanary: self._ensure_canary,
            m.EnsureService: self._ensure_service,
            m.DeleteCanary: self._delete_canary,
            m.SetWeight: self._set_weight,
            m.RestoreRoutes: self._restore_routes,
            m.SetFlag: self._set_flag,
            m.ZeroFlags: self._zero_flags,
            m.RestoreFlags: self._restore_flags,
            m.FinishFlag: self._finish_flag,
            m.ReleaseFlags: self._release_flags,
            m.LiftFloor: self._lift_floor,
            m.RestoreFloor: self._restore_floor,
            m.PauseWorkload: self._pause,
            m.ReleaseHold: self._release_hold,
            m.RestoreTemplate: self._restore_template,
            m.PutTemplate: self._put_template,
            m.ResizeReplicaSets: self._resize,
            m.DropFinalizer: self._drop_finalizer,
        }

    def record(self, resolved: Resolved, actions: tuple[m.Actions, ...], undo: tuple[RestoreEntry, ...]) -> tuple[RestoreEntry, ...]:
        """The undo log with what these actions will change for the first time.

        A route is recorded with the canary that it will point at, in one status write, and once more should somebody change it
        before our first write.
        """
        entries = undo
        for action in actions:
            if isinstance(action, m.SetWeight | m.EnsureCanary):
                for scope in resolved.scopes:
                    entries = self._with_route(entries, scope, writing=isinstance(action, m.SetWeight))
            elif isinstance(action, m.LiftFloor):
                item = self._caches.autoscaler_of(resolved.deployment) if resolved.deployment else None
                if item is not None:
                    entries = floor.noted(entries, item, action.minimum)
        return entries

    def _with_route(self, entries: tuple[RestoreEntry, ...], scope: Scope, *, writing: bool) -> tuple[RestoreEntry, ...]:
        router = self._routers.of(scope)
        known = tuple(e for e in entries if e.kind == router.kind and e.name == scope.name)
        view = router.view(scope, entries)
        if (known and not writing) or view is None or (known and _ours_moved(known, view)):
            return entries
        fresh = tuple(router.record(scope))
        if known and (fresh == known or not fresh or owners.has_manager(fresh[0].owners or "", self._client.field_manager)):
            return entries
        return (*(e for e in entries if e not in known), *fresh)

    async def run(self, resolved: Resolved, action: m.Actions) -> None:
        """One action. WorkloadError, RouterError, FlagError and KubeError pass through to the pass that asked."""
        await self._verbs[type(action)](resolved, action)

    def _deployment(self, resolved: Resolved) -> Deployment:
        if resolved.deployment is None:
            raise WorkloadError("the Deployment is gone", reason="WorkloadMissing", retryable=True)
        return self._caches.deployments.store.get(resolved.deployment.namespace, resolved.deployment.name) or resolved.deployment

    def _keep(self, item: Deployment) -> None:
        """Our own write, seen before the watch brings it."""
        self._caches.deployments.store.put(item)

    def _at(self, resolved: Resolved, revision: str) -> Deployment:
        """The Deployment, if its template is still that of `revision`: else nothing may be written on that ground."""
        item = self._deployment(resolved)
        if self._revisions.name_of(item.namespace, item.name, item.spec.template) != revision:
            raise WorkloadError(f"the template is no longer that of {revision}", reason="Moved", retryable=True)
        return item

    # The Deployment.

    async def _adopt(self, resolved: Resolved, action: m.Adopt) -> None:
        item, mine = self._deployment(resolved), resolved.canary.name
        if action.adopted or item.metadata.annotation(names.CANARY_MARK) == mine:  # a second Canary takes no mark of the first's
            self._keep(await hold.adopt(self._client, item, mine if action.adopted else None))

    async def _store_template(self, resolved: Resolved, action: m.StoreTemplate) -> None:
        item = self._deployment(resolved)
        template = None
        if self._revisions.name_of(item.namespace, item.name, item.spec.template) == action.revision:
            template = self._templates.decode(item.spec.template)
        await self._revisions.store(item.namespace, item.name, resolved.canary.name, action.revision, action.role, template, action.by)

    async def _remember(self, resolved: Resolved, action: m.RememberFailure) -> None:
        item = self._deployment(resolved)
        digests = self._digests(item, action.revision)
        await self._revisions.remember_failure(item.namespace, item.name, action.revision, action.sentence, action.reason, digests)

    def _digests(self, item: Deployment, revision: str) -> list[str]:
        """What the canary's images were, as the nodes resolved them: a tag may be another image tomorrow."""
        mine = self._caches.deployments.store.get(item.namespace, names.canary_workload(item.name, revision))
        pods = self._caches.pods_of(mine) if mine is not None else ()
        return sorted({c.image_id for p in pods for c in p.status.container_statuses or () if c.image_id})[:8]

    async def _forget(self, resolved: Resolved, action: m.ForgetFailure) -> None:
        item = self._deployment(resolved)
        await self._revisions.forget_failure(item.namespace, item.name, action.revision)

    async def _pause(self, resolved: Resolved, _: m.PauseWorkload) -> None:
        self._keep(await hold.pause(self._client, self._deployment(resolved)))

    async def _release_hold(self, resolved: Resolved, action: m.ReleaseHold) -> None:
        item = self._at(resolved, action.revision)
        if item.spec.paused:
            self._keep(await hold.release(self._client, item))

    async def _restore_template(self, resolved: Resolved, action: m.RestoreTemplate) -> None:
        item = self._at(resolved, action.expected)
        stored = self._revisions.stored(item.namespace, item.name, action.revision)
        if stored is None:
            raise WorkloadError(f"the template of stable {action.revision} is not stored", reason="StableLost")
        self._keep(await hold.restore_template(self._client, item, self._revisions.template(stored)))

    async def _put_template(self, resolved: Resolved, action: m.PutTemplate) -> None:
        item = self._at(resolved, action.expected)
        stored = self._revisions.stored(item.namespace, item.name, action.revision)
        if stored is None:
            raise WorkloadError(f"the template of {action.revision} is not stored", reason="NotStored")
        self._keep(await hold.put_template(self._client, item, self._revisions.template(stored), action.by))

    async def _resize(self, resolved: Resolved, action: m.ResizeReplicaSets) -> None:
        await resize(self._client, self._caches.sets_of(self._deployment(resolved)), action.sizes)

    # The canary.

    async def _ensure_canary(self, resolved: Resolved, action: m.EnsureCanary) -> None:
        item = self._deployment(resolved)
        name = names.canary_workload(item.name, action.revision)
        current = self._caches.deployments.store.get(item.namespace, name)
        stored = self._revisions.stored(item.namespace, item.name, action.revision)
        template = self._revisions.template(stored) if stored else self._templates.decode(self._at(resolved, action.revision).spec.template)
        body = canaries.render(item, template, resolved.canary.name, action.revision, action.replicas, resolved.identity)
        if resolved.canary_service is not None:
            await self._pin_service(resolved, action.revision)
        await canaries.ensure(self._client, current, body, action.replicas)

    async def _ensure_service(self, resolved: Resolved, _: m.EnsureService) -> None:
        mine = self._caches.canary_services(resolved.canary.namespace, resolved.canary.name)
        kept = next((s for s in mine if s.name == resolved.canary_service), None)
        await self._pin_service(resolved, (kept.spec.selector or {}).get(names.REVISION) if kept is not None else None)
        for item in mine:
            if item is not kept:
                await self._client.delete(SERVICES, item.namespace, item.name, uid=item.metadata.uid)

    async def _pin_service(self, resolved: Resolved, revision: str | None) -> None:
        service, name = resolved.service, resolved.canary_service
        if service is None or name is None:
            return
        current = self._caches.services.store.get(service.namespace, name)
        body = canaries.render_service(untyped(msgspec.Raw(msgspec.json.encode(service))), name, resolved.canary.name, revision)
        self._caches.services.store.put(await canaries.ensure_service(self._client, service, current, body))

    async def _delete_canary(self, resolved: Resolved, _: m.DeleteCanary) -> None:
        for item in self._caches.canary_deployments(resolved.canary.namespace, resolved.canary.name):
            if item.metadata.deletion_timestamp is None:
                await canaries.delete(self._client, item)

    # Exposure.

    async def _set_weight(self, resolved: Resolved, action: m.SetWeight) -> None:
        await together.move(self._routers, resolved.scopes, resolved.canary.status.restore, action.weight, action.pick)

    async def _restore_routes(self, resolved: Resolved, _: m.RestoreRoutes) -> None:
        await together.give_back(self._routers, resolved.scopes, resolved.canary.status.restore)

    async def _set_flag(self, resolved: Resolved, action: m.SetFlag) -> None:
        wanted = {EVERYONE: action.percent, **{s.cohort: s.percent or 0 for s in action.cohorts}}
        await self._flags.set_shares(resolved, action.name, wanted, gated=action.gated, enforced=action.enforced)

    async def _zero_flags(self, resolved: Resolved, action: m.ZeroFlags) -> None:
        await self._flags.zero(resolved, action.names)

    async def _restore_flags(self, resolved: Resolved, action: m.RestoreFlags) -> None:
        await self._flags.restore(resolved, action.names)

    async def _finish_flag(self, resolved: Resolved, action: m.FinishFlag) -> None:
        wanted = {EVERYONE: action.percent, **{s.cohort: s.percent or 0 for s in action.cohorts}}
        await self._flags.set_shares(resolved, action.name, wanted, gated=False)

    async def _release_flags(self, resolved: Resolved, action: m.ReleaseFlags) -> None:
        await self._flags.release(resolved, action.names)

    # The floor.

    async def _lift_floor(self, resolved: Resolved, action: m.LiftFloor) -> None:
        item = self._caches.autoscaler_of(self._deployment(resolved))
        if item is not None:
            await floor.lift(self._client, item, action.minimum)

    async def _restore_floor(self, resolved: Resolved, _: m.RestoreFloor) -> None:
        for entry in resolved.canary.status.restore:
            if entry.kind != HORIZONTAL_POD_AUTOSCALERS.kind:
                continue
            item = self._caches.autoscalers.store.get(entry.namespace, entry.name)
            if item is not None:
                await floor.restore(self._client, item, entry)

    # The Canary itself.

    async def _drop_finalizer(self, resolved: Resolved, _: m.DropFinalizer) -> None:
        canary = resolved.canary
        await self._revisions.forget_all(canary.namespace, resolved.spec.workload, canary.name)
        await self.let_go(canary)

    async def let_go(self, canary: ours.Canary) -> None:
        """The canary's Services and the finalizer; the stored templates stay."""
        for item in self._caches.canary_services(canary.namespace, canary.name):
            await self._client.delete(SERVICES, item.namespace, item.name, uid=item.metadata.uid)
        finalizers = canary.metadata.finalizers or ()
        if names.FINALIZER in finalizers:
            at = pointer("metadata", "finalizers", finalizers.index(names.FINALIZER))
            await self._client.json_patch(ours.CANARIES, canary.namespace, canary.name, [test(at, names.FINALIZER), remove(at)])


def _ours_moved(known: tuple[RestoreEntry, ...], view: m.RouteView) -> bool:
    """Somebody changed the route and left the backend in it that we had put there: that is nothing to restore."""
    theirs = any(len(msgspec.json.decode(e.original, type=list[Any])) > 1 for e in known if e.original)  # it was in Git before us
    return view.weight is not None and not (theirs and view.weight == 0)
