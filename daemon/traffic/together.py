"""Several routes of one Canary move together, or not at all.

Up: every route is asked first whether it would take the write (a dry run), and only then is any written; should one refuse all the same,
those already written go back to what they were. Down: each on its own, because ending an exposure may not wait for a route that is stuck.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from daemon.api.status import RestoreEntry
from daemon.kube.errors import KubeError
from daemon.rollout.pick import Pick
from daemon.traffic.registry import Routers
from daemon.traffic.router import RouterError, Scope


class _Move(msgspec.Struct, frozen=True):
    """A route, and where it is or is to go."""

    scope: Scope
    before: int  # percent
    picked: Pick | None  # what reached the canary besides


async def move(routers: Routers, scopes: Sequence[Scope], undo: Sequence[RestoreEntry], weight: int, pick: Pick | None = None) -> None:
    """`weight` percent, and what is picked, on all of them. RouterError names the route that did not move."""
    moves = [_as_it_is(routers, scope, undo) for scope in scopes]
    if pick is None and all(m.before >= weight for m in moves):
        await _each(routers, [_Move(m.scope, weight, None) for m in moves])
        return
    if len(moves) > 1:
        for one in moves:
            await _named(routers, one.scope, weight, pick, rehearse=True)
    written: list[_Move] = []
    for one in moves:
        try:
            await _named(routers, one.scope, weight, pick)
        except (RouterError, KubeError, TimeoutError):
            with suppress(RouterError, KubeError, TimeoutError):  # what could not be put back, the next pass sees and says
                await _each(routers, written)
            raise
        written.append(one)


async def give_back(routers: Routers, scopes: Sequence[Scope], undo: Sequence[RestoreEntry]) -> None:
    """Every route as it was recorded; one that cannot be restored keeps none of the others from it."""
    problem: Exception | None = None
    for scope in scopes:
        try:
            await routers.of(scope).restore(scope, undo)
        except (RouterError, KubeError, TimeoutError) as e:
            problem = problem or e
    if problem is not None:
        raise problem


async def _each(routers: Routers, moves: Sequence[_Move]) -> None:
    """Each for itself, to what its move says; the first problem is raised once all were tried."""
    problem: Exception | None = None
    for one in moves:
        try:
            await _named(routers, one.scope, one.before, one.picked)
        except (RouterError, KubeError, TimeoutError) as e:
            problem = problem or e
    if problem is not None:
        raise problem


async def _named(routers: Routers, scope: Scope, weight: int, pick: Pick | None, *, rehearse: bool = False) -> None:
    """With the route's name in whatever the API server says of it."""
    try:
        await routers.of(scope).set_weight(scope, weight, pick, rehearse=rehearse)
    except KubeError as e:
        refused = f"{scope.route} did not take {pick.words if pick else f'{weight} %'}{', so no route was moved' if rehearse else ''}: {e}"
        raise RouterError(refused, reason="RouteRefused", retryable=True) from e


def _as_it_is(routers: Routers, scope: Scope, undo: Sequence[RestoreEntry]) -> _Move:
    view = routers.of(scope).view(scope, undo)
    if view is None:
        return _Move(scope, 0, None)
    return _Move(scope, view.weight or 0, next((p for p in scope.picks if p.words == view.picked), None))
