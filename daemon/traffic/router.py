"""What every router offers: look, record what a write would change, write a weight, put everything back.

A router is one module with one class, one line in `registry`, and one pass of the contract test. Weights are integers, percent to
the canary; what is not the canary's stays as its owner wrote it.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from daemon.api.status import RestoreEntry
from daemon.rollout.model import RouteView


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """One route of one Canary: which object, and which backends in it are stable and canary."""

    namespace: str
    name: str
    stable: str  # the user's Service
    canary: str  # our Service
    port: int | None = None  # the Service port that is split; None where there is only one


class Router(Protocol):
    """One kind of route object."""

    kind: str

    def view(self, scope: Scope, undo: Sequence[RestoreEntry]) -> RouteView | None:
        """The route as the cache has it; None where it does not exist. `undo`: what is recorded of our writes."""
        ...

    def record(self, scope: Scope) -> list[RestoreEntry]:
        """The undo log of a first write, to be stored before it."""
        ...

    async def set_weight(self, scope: Scope, weight: int) -> None:
        """`weight` percent to the canary, its backend added where missing. Nothing is written where that is so already."""
        ...

    async def restore(self, scope: Scope, undo: Sequence[RestoreEntry]) -> None:
        """Every leaf as recorded, its owners too; what others changed meanwhile stays theirs."""
        ...


class RouterError(Exception):
    """Root of this package's errors."""

    def __init__(self, message: str, *, reason: str = "RouteInvalid", retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
