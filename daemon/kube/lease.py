"""Leader election by a coordination.k8s.io Lease, such that two never work at the same time.

The library's election keeps its leading task running after a reset or a hung API server. The rules here:

- Time is measured on a monotonic clock that also counts suspend, never on the wall clock. What the Lease says about time is for
  people and for other candidates; we judge a foreign Lease by how long *we* have seen it unchanged.
- A renewal counts from the moment before its request was sent. When none has counted for `renew_deadline`, the leading work is
  cancelled and awaited, and between that and `lease_duration` nobody can have taken over. Each call's deadline ends before that point.
- Work that does not end in that time leaves one safe way: ending the process (`on_overrun`).
- On an orderly exit the work is awaited first, then the Lease is released, so the next leader need not wait for its expiry.

`confirmed_within` is the fence for single writes: is the last renewal that counted younger than so many seconds?
"""

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from daemon.kube import errors, times
from daemon.kube.backoff import Rng
from daemon.kube.client import Client
from daemon.kube.objects import Lease, LeaseSpec, ObjectMeta
from daemon.kube.resources import LEASES

log = logging.getLogger("linnet.kube.lease")


def boottime() -> float:
    """Seconds since boot including suspend, where the platform can tell: a laptop or a paused VM must not believe its old Lease."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All times in seconds."""

    lease_duration: int = 15
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    call_deadline: float = 4.0
    release_deadline: float = 2.0
    jitter: float = 0.2
    check_period: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.retry_period < self.renew_deadline < self.lease_duration:
            raise ValueError(
                f"retryPeriod {self.retry_period:g} s < renewDeadline {self.renew_deadline:g} s < leaseDuration {self.lease_duration} s must hold"
            )
        if not 0 < self.call_deadline < self.renew_deadline:
            raise ValueError(f"callDeadline {self.call_deadline:g} s must be below renewDeadline {self.renew_deadline:g} s")


DEFAULTS = LeaseOptions()


def _end_process() -> None:
    os._exit(70)


class LeaderElector:
    """`await run(work)`: wait to lead, run `work` while leading, start over when leadership was lost.

    Returns (or raises) when the work itself does; cancel it to stop. Identity must be unique to the process.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        options: LeaseOptions = DEFAULTS,
        clock: Callable[[], float] = boottime,
        now: Callable[[], datetime] = times.now,
        rng: Rng = random.random,
        on_overrun: Callable[[], None] = _end_process,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._options = options
        self._clock = clock
        self._now = now
        self._rng = rng
        self._on_overrun = on_overrun
        self._on_change = on_change
        self._observed: Lease | None = None
        self._observed_at = 0.0
        self._renewed_at: float | None = None
        self._leading = False
        self.last_error: errors.KubeError | None = None

    @property
    def leading(self) -> bool:
        """Whether the work may run at this moment."""
        return self._leading and self.confirmed_within(self._options.renew_deadline)

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen."""
        return (self._observed.spec.holder_identity or "") if self._observed else ""

    def confirmed_within(self, seconds: float) -> bool:
        """The fence before a write that must not come from a deposed leader."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < seconds

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._acquire()
            if await self._lead(work):
                return
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        return self._options.retry_period * (1.0 + self._options.jitter * self._rng())

    async def _acquire(self) -> None:
        log.info("%s waits to lead by %s/%s", self._identity, self._namespace, self._name)
        while not await self._try(self._options.call_deadline):  # noqa: ASYNC110  another process holds the condition
            await asyncio.sleep(self._pause())

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run the work until it ends (True) or leadership is lost (False). The work has ended when this returns, whatever happens."""
        self._set_leading(leading=True)
        task = asyncio.create_task(_awaited(work), name=f"leading work of {self._identity}")
        lost = False
        try:
            lost = not await self._renew_while(task)
        finally:
            try:
                await self._stop(task)
            finally:
                self._set_leading(leading=False)
                if not lost:
                    await self._release()
                self._renewed_at = None
        if not lost:
            if task.cancelled():
                raise RuntimeError("the leading work cancelled itself")
            task.result()
            return True
        log.warning("%s lost %s/%s: %s", self._identity, self._namespace, self._name, self._why())
        if not task.cancelled() and task.exception() is not None:
            log.error("the leading work failed while it was stopped", exc_info=task.exception())
        return False

    async def _renew_while(self, task: "asyncio.Task[None]") -> bool:
        """Renew until the work ends by itself (True) or no renewal has counted for too long, or another holds the Lease (False)."""
        o = self._options
        next_at = self._clock() + self._pause()
        while not task.done():
            left = self._left(o.renew_deadline)
            if left <= 0:
                return False
            if self._clock() >= next_at:
                await self._try(min(o.call_deadline, left))
                if self._holds_another():
                    return False
                next_at = self._clock() + self._pause()
                continue
            # In short slices, so that a clock that jumped over a suspend is seen at once.
            await asyncio.wait({task}, timeout=max(0.0, min(o.check_period, left, next_at - self._clock())))
        return True

    async def _stop(self, task: "asyncio.Task[None]") -> None:
        """Cancel and await the work. Our own cancellation has to wait for it: the work must never outlive the Lease."""
        task.cancel()
        interrupted: asyncio.CancelledError | None = None
        reported = False
        while not task.done():
            left = self._left(self._options.lease_duration)
            if left <= 0 and not reported:
                reported = True
                log.critical("the leading work did not end before the Lease %s/%s expired", self._namespace, self._name)
                self._on_overrun()
            try:
                await asyncio.wait({task}, timeout=max(left, 0.0) if not reported else None)
            except asyncio.CancelledError as e:
                interrupted = e
        if interrupted is not None:
            raise interrupted

    def _left(self, limit: float) -> float:
        return limit if self._renewed_at is None else self._renewed_at + limit - self._clock()

    async def _try(self, limit: float) -> bool:
        """One attempt to hold the Lease, within `limit`. True when it is ours, counted from before the first request."""
        began = self._clock()
        try:
            async with asyncio.timeout(limit):
                held = await self._claim(limit)
        except TimeoutError as e:
            self.last_error = e if isinstance(e, errors.Timeout) else errors.Timeout(f"the Lease did not answer within {limit:g} s")
            return False
        except errors.KubeError as e:
            self.last_error = e
            if not isinstance(e, errors.Conflict):
                log.warning("Lease %s/%s: %s", self._namespace, self._name, e.message)
            return False
        if held:
            self._renewed_at = began
            self.last_error = None
        return held

    async def _claim(self, limit: float) -> bool:
        if self._leading and self._observed is not None and self.holder == self._identity:
            try:
                self._observe(await self._put(self._observed, limit))
            except (errors.Conflict, errors.NotFound):
                pass  # somebody touched or deleted it: look before judging
            else:
                return True
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name, deadline=limit, attempts=1)
        except errors.NotFound:
            # Deleted under a leader that we saw alive: it will make it anew, or its time has to pass first.
            return False if self._held_by_another() else await self._create(limit)
        self._observe(lease)
        if self._held_by_another():
            return False
        self._observe(await self._put(lease, limit))
        return True

    async def _create(self, limit: float) -> bool:
        lease = Lease(metadata=ObjectMeta(name=self._name, namespace=self._namespace), spec=self._spec(None))
        self._observe(await self._client.create(LEASES, self._namespace, lease, deadline=limit, attempts=1))
        return True

    async def _put(self, lease: Lease, limit: float) -> Lease:
        return await self._client.replace(LEASES, msgspec.structs.replace(lease, spec=self._spec(lease.spec)), deadline=limit, attempts=1)

    def _spec(self, before: LeaseSpec | None) -> LeaseSpec:
        """The Lease as ours; taking it over counts a transition."""
        now = times.micro_time(self._now())
        kept = before if before is not None and before.holder_identity == self._identity else None
        transitions = (before.lease_transitions or 0) if before is not None else 0
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=self._options.lease_duration,
            acquire_time=(kept.acquire_time if kept else None) or now,
            renew_time=now,
            lease_transitions=transitions + (1 if before is not None and kept is None else 0),
        )

    def _observe(self, lease: Lease) -> None:
        if self._observed is None or self._observed.metadata.resource_version != lease.metadata.resource_version:
            self._observed, self._observed_at = lease, self._clock()

    def _held_by_another(self) -> bool:
        """Whether a foreign holder may still be alive: it is, until we have seen its Lease unchanged for the whole of its duration."""
        if not self.holder or self.holder == self._identity or self._observed is None:
            return False
        duration = self._observed.spec.lease_duration_seconds or self._options.lease_duration
        return self._clock() - self._observed_at <= duration

    def _holds_another(self) -> bool:
        return bool(self.holder) and self.holder != self._identity

    async def _release(self) -> None:
        """Hand the Lease over at once. Failing is harmless: then it expires."""
        lease = self._observed
        if lease is None or self.holder != self._identity:
            return
        spec = msgspec.structs.replace(lease.spec, holder_identity="", lease_duration_seconds=1, renew_time=times.micro_time(self._now()))
        limit = self._options.release_deadline
        with contextlib.suppress(errors.KubeError, TimeoutError):
            async with asyncio.timeout(limit):
                self._observe(await self._client.replace(LEASES, msgspec.structs.replace(lease, spec=spec), deadline=limit, attempts=1))

    def _set_leading(self, *, leading: bool) -> None:
        self._leading = leading
        log.info("%s %s %s/%s", self._identity, "leads by" if leading else "leads no more by", self._namespace, self._name)
        if self._on_change is not None:
            self._on_change(leading)

    def _why(self) -> str:
        return self.last_error.message if self.last_error else f"{self.holder or 'nobody'} holds it"


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()
