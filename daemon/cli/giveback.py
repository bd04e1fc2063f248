"""Giving a Canary up without the daemon: the same decisions and the same writes as when it is deleted, driven here to their end.

What differs is only what the owner chose for a template that is held: written back to stable, left held, or let go. Nothing is
forgotten before everything is back: routes, flags, the autoscaler's floor, the marks, the finalizer, in this order.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Literal

import msgspec

from daemon.api import names
from daemon.api.status import CanaryStatus, RestoreEntry
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.catalogue import Catalogue
from daemon.control.execute import Executor
from daemon.control.flagging import FlagBoard
from daemon.control.flagsources import FlagSources
from daemon.control.gates import GateProbe
from daemon.control.http import Http
from daemon.control.judging import JudgeBoard, Ports
from daemon.control.observe import Observer
from daemon.control.resolve import Resolver
from daemon.control.resolved import FLOOR, Resolved
from daemon.control.runs import RunStore
from daemon.control.secrets import SecretReader
from daemon.kube.client import Client
from daemon.kube.errors import Conflict, KubeError, NotFound
from daemon.kube.objects import Deployment
from daemon.kube.patch import add, pointer, remove, test
from daemon.kube.resources import DEPLOYMENTS, SERVICES
from daemon.kube.status import StatusWriter
from daemon.rollout import model as m
from daemon.rollout.decide import decide
from daemon.traffic.router import RouterError
from daemon.workloads import canary as canaries
from daemon.workloads import hold
from daemon.workloads.errors import WorkloadError
from daemon.workloads.revisions import Revisions, Templates, label_value
from flags.errors import FlagError
from flags.model import FlagRef, Owner

Held = Literal["restore", "leave", "release"]
Fate = Literal["given back", "left held", "released", "failed"]

EVERY: Final = 0.5
TROUBLE: Final = (WorkloadError, RouterError, FlagError, KubeError)
HOLD_POINTER: Final = pointer("metadata", "annotations", names.HOLD)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one Deployment."""

    where: str
    fate: Fate
    message: str


class GiveBack:
    """One Canary's way back. Make a new one for each; the Lease is the caller's business."""

    def __init__(self, client: Client, caches: Caches, catalogue: str, held: Held, canary: ours.Canary) -> None:
        self._client = client
        self._caches = caches
        self._held = held
        self._key = canary.key
        self._templates = Templates()
        self._revisions = Revisions(client, caches.revisions.store, self._templates, time.time)
        self._resolver = Resolver(caches, Catalogue(caches, catalogue), self._templates)
        self._writer = StatusWriter(client, ours.CANARIES)
        self._restored: set[tuple[str, str]] = set()
        self._problem = ""
        self._parts: tuple[Observer, Executor] | None = None
        self._http = Http()
        self._sources = FlagSources(client, self._http, SecretReader(client))

    async def run(self, deadline: float) -> Report:
        """To the end, or until `deadline` seconds have passed: then what is left is said."""
        where = f"{self._key[0]}/{self._key[1]}"
        switched: Deployment | None = None
        try:
            async with asyncio.timeout(deadline):
                switched = await self._switch_off()
                while True:
                    fate = await self._pass()
                    if fate is not None:
                        return Report(where=where, fate=fate, message=_TOLD[fate])
                    await asyncio.sleep(EVERY)
        except TimeoutError:
            return Report(
                where=where,
                fate="failed",
                message=f"{self._problem or 'not done'}, after {deadline:.0f} s; run it again, or with a longer --timeout",
            )
        finally:
            if switched is not None:
                await self._switch_back(switched)
            await self._http.close()

    async def _pass(self) -> Fate | None:
        """One look, one decision, its writes. The fate once all is done."""
        canary = self._caches.canaries.store.get(*self._key)
        if canary is None:
            return "given back"
        try:
            return await self._drive(canary)
        except TROUBLE as e:
            self._problem = str(e)
            return None

    async def _drive(self, canary: ours.Canary) -> Fate | None:
        resolved = await self._resolver.read(canary)
        observer, executor = await self._assembled(resolved)
        undo = tuple(e for e in canary.status.restore if (e.kind, e.name) not in self._restored)
        seen = msgspec.structs.replace(await observer.observe(resolved, undo), deleting=True)
        decision = decide(resolved.spec, canary.status, seen, time.time(), name=canary.name)
        if decision.status.waiting is not None:
            self._problem = decision.status.waiting.message
        if self._held != "restore" and _is_held(resolved.deployment) and any(isinstance(a, m.RestoreTemplate) for a in decision.actions):
            return await self._end_held(resolved, executor, undo)
        undo = executor.record(resolved, decision.actions, undo)
        status = msgspec.structs.replace(decision.status, restore=list(undo))
        resolved = msgspec.structs.replace(resolved, canary=await self._write(canary, status))
        if not await self._act(resolved, executor, decision.actions):
            return None
        await self._end(resolved, executor, undo)
        return "given back"

    async def _act(self, resolved: Resolved, executor: Executor, actions: tuple[m.Actions, ...]) -> bool:
        """Each on its own, weight first: a flag source that hangs keeps no weight from being written. True once only the end is left."""
        trouble = False
        for action in sorted(actions, key=lambda a: not isinstance(a, m.SetWeight)):
            if isinstance(action, m.DropFinalizer):
                continue
            try:
                await executor.run(resolved, action)
            except TROUBLE as e:
                trouble, self._problem = True, str(e)
            else:
                self._note(resolved, action)
        return not trouble and any(isinstance(a, m.DropFinalizer) for a in actions)

    async def _write(self, canary: ours.Canary, status: CanaryStatus) -> ours.Canary:
        written = await self._writer.write(canary, canary.status, status)
        if written is None:
            return canary
        self._caches.canaries.store.put(written)
        return written

    def _note(self, resolved: Resolved, action: m.Actions) -> None:
        if isinstance(action, m.RestoreRoutes | m.RestoreFloor):
            floor = isinstance(action, m.RestoreFloor)
            self._restored |= {(e.kind, e.name) for e in resolved.canary.status.restore if (e.kind == FLOOR) is floor}

    async def _assembled(self, resolved: Resolved) -> tuple[Observer, Executor]:
        """The daemon's parts, for this Canary alone; nothing is judged any more, so the judges stay empty."""
        if self._parts is None:
            flags = FlagBoard(self._sources, await self._cluster_name(resolved))
            secrets = SecretReader(self._client)
            judges = JudgeBoard(
                Ports(caches=self._caches, http=self._http, secrets=secrets, runs=RunStore(self._client), wake=lambda _: None)
            )
            gates = GateProbe(self._client, self._caches, self._templates)
            observer = Observer(self._caches, self._revisions, self._templates, flags, judges, gates)
            executor = Executor(self._client, self._caches, self._revisions, self._templates, flags)
            self._parts = observer, executor
        return self._parts

    async def _cluster_name(self, resolved: Resolved) -> str:
        """The cluster's name as the daemon wrote it beside the flags: only under that name are they ours to put back."""
        canary = resolved.canary
        anyone = Owner(cluster="default", namespace=canary.namespace, name=canary.name, uid=canary.metadata.uid)
        tail = anyone.mark().removeprefix(anyone.cluster)
        for use in resolved.flags:
            try:
                provider = await self._sources.provider(use.source, anyone)
                owner = (await provider.read(FlagRef(key=use.key, source=use.source.name))).owner or ""
            except FlagError:
                continue  # said by the write that follows
            if owner.endswith(tail):
                return owner.removesuffix(tail)
        return anyone.cluster

    # The ends.

    async def _end_held(self, resolved: Resolved, executor: Executor, undo: tuple[RestoreEntry, ...]) -> Fate:
        """Exposure is over and the canary gone; the held template is left, or let go, as the owner chose."""
        for action in (m.RestoreFloor(), m.RestoreFlags()):
            await executor.run(resolved, action)
        if self._held == "release":
            item = self._caches.deployments.store.get(self._key[0], resolved.spec.workload)
            if item is not None:
                self._caches.deployments.store.put(await hold.release(self._client, item))
            await executor.run(resolved, m.Adopt(adopted=False))
        await self._end(resolved, executor, undo)
        return "released" if self._held == "release" else "left held"

    async def _end(self, resolved: Resolved, executor: Executor, undo: tuple[RestoreEntry, ...]) -> None:
        """What no decision speaks of because its object could not be found any more, then the finalizer and the status."""
        canary = resolved.canary
        routers, traffic = self._caches.routers, resolved.spec.traffic
        known = {(s.kind, s.name) for s in resolved.scopes}
        for entry in undo:
            if entry.kind != FLOOR and (entry.kind, entry.name) not in known:
                known.add((entry.kind, entry.name))
                scope = routers.scope_of(entry, (traffic.routers if traffic else None) or ())
                await self._caches.routes.read([routers.resource(scope)])
                await routers.of(scope).restore(scope, undo)
        for item in self._caches.canary_deployments(canary.namespace, canary.name):
            await canaries.delete(self._client, item)
        for service in self._caches.services.store.by("namespace", canary.namespace):
            if service.metadata.label(names.OWNER) == label_value(canary.name):
                await self._client.delete(SERVICES, service.namespace, service.name, uid=service.metadata.uid)
        if self._held == "leave" and _is_held(resolved.deployment):
            await executor.let_go(canary)  # the stored templates stay: a later cleanup may still restore
        else:
            await executor.run(resolved, m.DropFinalizer())
        await self._blank_status()

    async def _blank_status(self) -> None:
        """A daemon that is installed again must adopt anew, not go on where this one ended."""
        for _ in range(5):
            canary = await self._client.find(ours.CANARIES, *self._key)
            if canary is None or canary.metadata.deletion_timestamp is not None:
                return
            blank = CanaryStatus(history=canary.status.history, sentence="given back by linnet cleanup: nothing is held or changed")
            try:
                await self._writer.write(canary, canary.status, blank)
            except Conflict:
                continue
            except NotFound:
                return
            return

    # The hold's policies let only Linnet's accounts un-pause; for the time of the cleanup they are switched off here.

    async def _switch_off(self) -> Deployment | None:
        canary = self._caches.canaries.store.get(*self._key)
        item = self._caches.deployments.store.get(self._key[0], canary.spec.workload) if canary is not None else None
        if item is None or item.metadata.annotation(names.HOLD) or not item.metadata.annotation(names.CANARY_MARK):
            return None
        written = await self._client.json_patch(DEPLOYMENTS, item.namespace, item.name, [add(HOLD_POINTER, "off")])
        self._caches.deployments.store.put(written)
        return written

    async def _switch_back(self, item: Deployment) -> None:
        try:
            await self._client.json_patch(DEPLOYMENTS, item.namespace, item.name, [test(HOLD_POINTER, "off"), remove(HOLD_POINTER)])
        except KubeError:
            return  # gone, or a person's word by now


def _is_held(item: Deployment | None) -> bool:
    return item is not None and item.spec.paused and bool(item.metadata.annotation(names.HELD_MARK))


_TOLD: Final[dict[Fate, str]] = {
    "given back": "released on its stable template; routes, flags and autoscaler are as they were",
    "left held": "left held on a template that was not judged fine; linnet release, or cleanup --held=restore, ends it",
    "released": "its held template rolls now, not judged",
}
