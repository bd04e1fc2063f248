"""The one interface between the daemon and every flag system.

A provider is bound to one source and one owner. Every method ends within `DEADLINE` seconds, with a value or a `FlagError`.
Methods are idempotent: after a crash the caller repeats the last one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from flags.model import Capabilities, Changes, Converged, Desired, Evaluations, FlagRef, Result, State, Waiting

DEADLINE = 5.0


class FlagProvider(Protocol):
    """One flag system. `tests/unit/flags/contract.py` is what each implementation passes."""

    @property
    def capabilities(self) -> Capabilities:
        """What this provider can do."""
        ...

    async def read(self, flag: FlagRef) -> State:
        """What is there now. Raises Missing, Invalid, Forbidden or Retryable."""
        ...

    async def check(self, flag: FlagRef, desired: Desired) -> None:
        """Whether `apply` would take the flag, without writing anything: raises what it would raise. A flag that is ours passes."""
        ...

    async def apply(self, flag: FlagRef, desired: Desired, expected: Desired | None) -> Result:
        """Write `desired`. `expected` is what we wrote last, from status; None takes the flag, preflight included.

        Raises Drifted, and writes nothing, when the flag is neither `expected` nor already `desired`.
        """
        ...

    async def verify(self, flag: FlagRef, desired: Desired, since: float) -> Converged | Waiting:
        """Whether SDKs can be taken to have what was written at `since` (Unix seconds)."""
        ...

    async def zero(self, flag: FlagRef) -> Result:
        """Rollback: nobody gets the flag through us any more. No preflight, no drift check, one or two calls."""
        ...

    async def restore(self, flag: FlagRef, original: str) -> Result:
        """Put back what the first `apply` found, as far as people did not change it since, and give the flag up."""
        ...

    async def release(self, flag: FlagRef, *, hand_over: bool = False) -> Result:
        """Give the flag up as it is: after a promotion it belongs to its people again.

        With `hand_over` nothing there says any more that it ever was Linnet's; without, a title may tell where it came from.
        """
        ...


@runtime_checkable
class ChangeFeed(Protocol):
    """What a provider has besides where one request tells which of all flags of its source changed: the others need no reading."""

    async def changes(self, since: str) -> Changes:
        """Since the `cursor` of an earlier answer; empty is the first question."""
        ...


@runtime_checkable
class UsageMetrics(Protocol):
    """What a provider has besides where SDKs report how often they found a flag on and off."""

    async def usage(self, flag: FlagRef) -> tuple[Evaluations, ...]:
        """Of the hour at hand and the one before; an app that reported nothing may be missing. One request."""
        ...


class HttpReply(Protocol):
    """What came back; any status."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class HttpClient(Protocol):
    """How a flag service is reached, given by the daemon: TLS, proxy and limits are its business.

    It raises `TimeoutError` after `deadline` seconds and `OSError` for any other failure of the transport, and follows no redirect.
    """

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        """One request."""
        ...


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True):
    """A Kubernetes object by name."""

    api_version: str
    kind: str
    namespace: str
    name: str


class ObjectStore(Protocol):
    """Kubernetes objects as plain JSON, given by the daemon. Failures are raised as Missing, Forbidden, Conflict or Retryable."""

    @property
    def manager(self) -> str:
        """The field manager under which `patch` writes."""
        ...

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        """The live object, managedFields included."""
        ...

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Apply a JSON Patch and return the new object. Conflict when a `test` failed or the object moved."""
        ...
