"""What every router offers: look, record what a write would change, write a weight, put everything back.

A router is one module, one line in `registry`, and one pass of the contract test. Weights are integers, percent to the canary; what is
not the canary's stays as its owner wrote it.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from daemon.api.routers import CustomRouter
from daemon.api.status import RestoreEntry
from daemon.kube.objects import KubeObject
from daemon.kube.objects.parts import EMPTY
from daemon.rollout.model import Problem, RouteView
from daemon.rollout.pick import Pick


class RouteObject(KubeObject, frozen=True):
    """Any kind of route, its parts as they came."""

    spec: msgspec.Raw = EMPTY
    status: msgspec.Raw = EMPTY


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """One route of one Canary: which object, and which backends in it are stable and canary."""

    namespace: str
    name: str
    stable: str  # the user's Service
    canary: str  # our Service
    port: int | None = None  # the Service port that is split; None where there is only one
    kind: str = "HTTPRoute"
    custom: CustomRouter | None = None  # how the owner describes a kind that is not in the registry
    picks: tuple[Pick, ...] = ()  # what the steps want to reach the canary beside its weight
    buckets: str = ""  # the header by which the weight is a share of users and not of requests; empty: at random

    @property
    def route(self) -> str:
        """As people call it."""
        return f"{self.kind} {self.name}"


class Router(Protocol):
    """One kind of route object."""

    kind: str

    def names(self, scope: Scope) -> bool:
        """Whether the route splits requests to the stable Service."""
        ...

    def problems(self, scope: Scope) -> list[Problem]:
        """Why this route cannot be moved, before anything is touched; empty where it can."""
        ...

    def view(self, scope: Scope, undo: Sequence[RestoreEntry]) -> RouteView | None:
        """The route as the cache has it; None where it does not exist. `undo`: what is recorded of our writes."""
        ...

    def record(self, scope: Scope) -> list[RestoreEntry]:
        """The undo log of a first write, to be stored before it."""
        ...

    def stable_of(self, entry: RestoreEntry) -> str:
        """The stable Service that a line of the undo log speaks of."""
        ...

    async def set_weight(self, scope: Scope, weight: int, pick: Pick | None = None, *, rehearse: bool = False) -> None:
        """`weight` percent to the canary and what is picked besides, its backend added where missing. Nothing is written where that is so.

        `pick`: None takes away what was picked before. `rehearse`: the API server is asked whether it would take the write, and nothing is stored.
        """
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
