"""The flags of a rollout: providers by source, read when a rollout needs them, written under the rules of `flags`.

A flag's percentage lives at its source; what is here is only how recently it was read. Nothing is read while nothing is released.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from daemon.api import names
from daemon.api.quantities import parse_duration
from daemon.api.status import FlagStatus
from daemon.control.resolve import FlagUse, Resolved
from daemon.kube import errors as kube_errors
from daemon.kube.client import Client
from daemon.kube.objects import RawObject
from daemon.kube.patch import Operation
from daemon.kube.resources import CONFIG_MAPS
from daemon.rollout.clock import epoch
from daemon.rollout.model import FlagView
from flags.errors import Conflict, Drifted, Exposed, FlagError, Forbidden, Missing, Retryable
from flags.model import Converged, Desired, FlagRef, Gate, Owner, State
from flags.provider import FlagProvider, ObjectRef
from flags.registry import Ports, build

log = logging.getLogger("linnet.flagging")

FRESH: Final = 10.0  # seconds for which a reading counts, if nothing was written since
GATE: Final = Gate(attribute="track", value=names.TRACK_CANARY)


class KubeObjects:
    """ConfigMaps for the flagd provider: the `ObjectStore` of the flags package."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def manager(self) -> str:
        return self._client.field_manager

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        return await self._guarded("GET", ref, None)

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return await self._guarded("PATCH", ref, operations)

    async def _guarded(self, verb: str, ref: ObjectRef, operations: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
        what = f"{ref.kind} {ref.namespace}/{ref.name}"
        try:
            path = CONFIG_MAPS.path(ref.namespace, ref.name)
            if operations is None:
                body = await self._client.transport.request("GET", path, deadline=4.0, attempts=1)
            else:
                wire = [Operation(op=o["op"], path=o["path"], value=o.get("value")) for o in operations]
                await self._client.json_patch(CONFIG_MAPS.with_model(RawObject), ref.namespace, ref.name, wire, deadline=4.0)
                body = await self._client.transport.request("GET", path, deadline=4.0, attempts=1)
        except kube_errors.NotFound as e:
            raise Missing(f"{what} does not exist") from e
        except kube_errors.Forbidden as e:
            raise Forbidden(f"{what}: Linnet may not {verb.lower()} it") from e
        except (kube_errors.PatchTestFailed, kube_errors.Conflict) as e:
            raise Conflict(f"{what} changed meanwhile") from e
        except kube_errors.KubeError as e:
            raise Retryable(f"{what}: {e.message}") from e
        found: dict[str, Any] = msgspec.json.decode(body)
        return found


class _Reading(msgspec.Struct, frozen=True):
    at: float
    views: tuple[FlagView, ...]


class FlagBoard:
    """Reads and writes the flags of all rollouts."""

    def __init__(self, client: Client, cluster: str, clock: Callable[[], float] = time.time) -> None:
        self._ports = Ports(objects=KubeObjects(client))
        self._cluster = cluster
        self._clock = clock
        self._readings: dict[tuple[str, str], _Reading] = {}
        self._open: dict[tuple[str, str], set[str]] = {}  # flags that everybody has anyway; asked again after a restart

    def _provider(self, resolved: Resolved, use: FlagUse) -> FlagProvider:
        canary, source = resolved.canary, use.source
        owner = Owner(cluster=self._cluster, namespace=canary.namespace, name=canary.name, uid=canary.metadata.uid)
        flagd = source.spec.flagd
        if flagd is None:
            raise Missing(f"FlagSource {source.name} has no flagd block")
        options = {
            "namespace": flagd.config_map_ref.namespace or source.namespace,
            "config_map": flagd.config_map_ref.name,
            "key": flagd.config_map_ref.key,
            "settle": parse_duration(flagd.settle) if flagd.settle else 90.0,
        }
        return build("flagd", options, owner, self._ports)

    def forget(self, key: tuple[str, str]) -> None:
        """The rollout is over."""
        self._readings.pop(key, None)
        self._open.pop(key, None)

    def stale(self, key: tuple[str, str]) -> None:
        """The next `views` reads again."""
        self._readings.pop(key, None)

    async def views(self, resolved: Resolved) -> tuple[FlagView, ...]:
        """Every flag as its source has it; an error is part of the view, never an exception."""
        key = resolved.canary.key
        reading = self._readings.get(key)
        if reading is None or self._clock() - reading.at > FRESH or any(not v.seen or v.error for v in reading.views):
            views = [await self._view(resolved, use) for use in resolved.flags]
            reading = self._readings[key] = _Reading(self._clock(), tuple(views))
        return reading.views

    async def _view(self, resolved: Resolved, use: FlagUse) -> FlagView:
        flag = FlagRef(key=use.key, source=use.source.name)
        before = _status(resolved, use.name)
        base = FlagView(name=use.name, key=use.key, source=use.source.name)
        if use.name in self._open.get(resolved.canary.key, ()):
            return msgspec.structs.replace(base, open=True, seen=True)
        try:
            provider = self._provider(resolved, use)
            state = await provider.read(flag)
            if not state.own:
                return msgspec.structs.replace(base, original=state.original)
            seen = await self._seen(provider, flag, state, before)
        except FlagError as e:
            percent = before.written if before else None
            drift = e.direction if isinstance(e, Drifted) and e.direction != "other" else None
            return msgspec.structs.replace(base, percent=percent, error=str(e), retryable=e.retryable, drift=drift)
        return msgspec.structs.replace(
            base, percent=state.percent, gated=state.gate is not None, seen=seen, drift=_drift(state, before), original=state.original
        )

    async def _seen(self, provider: FlagProvider, flag: FlagRef, state: State, before: FlagStatus | None) -> bool:
        if before is None or before.written_at is None or state.percent is None:
            return False
        desired = Desired(percent=state.percent, gate=state.gate)
        return isinstance(await provider.verify(flag, desired, epoch(before.written_at)), Converged)

    async def set_percent(self, resolved: Resolved, name: str, percent: int, *, gated: bool = True) -> None:
        """Writes a share. Drifted is left for the next reading to report; nothing is overwritten.

        A flag that everybody has already needs no gate, and proves nothing: it is left alone, and the next view says so.
        """
        use = next(u for u in resolved.flags if u.name == name)
        before = _status(resolved, name)
        gate = GATE if gated else None
        expected = None if before is None or before.written is None else Desired(percent=before.written, gate=GATE)
        self.stale(resolved.canary.key)
        flag = FlagRef(key=use.key, source=use.source.name)
        try:
            await self._provider(resolved, use).apply(flag, Desired(percent=percent, gate=gate), expected)
        except Exposed as e:
            log.info("%s/%s: %s", *resolved.canary.key, e)
            self._open.setdefault(resolved.canary.key, set()).add(name)

    async def zero(self, resolved: Resolved) -> None:
        """Every flag to 0; each is tried, the first failure is raised at the end."""
        await self._each(resolved, lambda provider, flag, _: provider.zero(flag))

    async def restore(self, resolved: Resolved) -> None:
        """Every flag as it was found, where something was recorded."""
        await self._each(
            resolved,
            lambda provider, flag, before: provider.restore(flag, before.original) if before and before.original is not None else None,
        )

    async def release(self, resolved: Resolved) -> None:
        await self._each(resolved, lambda provider, flag, _: provider.release(flag))

    async def _each(self, resolved: Resolved, call: Callable[[FlagProvider, FlagRef, FlagStatus | None], Any]) -> None:
        self.stale(resolved.canary.key)
        failure: FlagError | None = None
        for use in resolved.flags:
            try:
                pending = call(self._provider(resolved, use), FlagRef(key=use.key, source=use.source.name), _status(resolved, use.name))
                if pending is not None:
                    await pending
            except Drifted:
                continue  # a person's hand is newer than ours
            except FlagError as e:
                failure = failure or e
        if failure is not None:
            raise failure


def _status(resolved: Resolved, name: str) -> FlagStatus | None:
    return next((f for f in resolved.canary.status.flags if f.name == name), None)


def _drift(state: State, before: FlagStatus | None) -> Literal["lower", "higher"] | None:
    """What a person made of the flag since we wrote it; our own write in flight is no drift."""
    if before is None or before.written is None or state.percent is None or state.percent in (before.written, before.wanted):
        return None
    return "lower" if state.percent < before.written else "higher"
