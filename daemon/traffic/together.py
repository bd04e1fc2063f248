"""Several routes of one Canary move together, or not at all.

Up: every route is asked first whether it would take the write (a dry run), and only then is any written; should one refuse all the same,
those already written go back to what they were. Down: each on its own, because ending an exposure may not wait for a route that is stuck.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from daemon.api.status import RestoreEntry
from daemon.kube.errors import KubeError
from daemon.traffic.registry import Routers
from daemon.traffic.router import RouterError, Scope


class _Move(msgspec.Struct, frozen=True):
    scope: Scope
    before: int | None  # percent; None where the canary's backend is not in it


async def move(routers: Routers, scopes: Sequence[Scope], undo: Sequence[RestoreEntry], weight: int) -> None:
    """`weight` percent on all of them. RouterError names the route that did not move."""
    moves = [_Move(scope, _weight(routers, scope, undo)) for scope in scopes]
    if all((m.before or 0) >= weight for m in moves):
        await _each(routers, moves, weight)
        return
    if len(moves) > 1:
        for one in moves:
            await _named(routers, one.scope, weight, rehearse=True)
    written: list[_Move] = []
    for one in moves:
        try:
            await _named(routers, one.scope, weight)
        except (RouterError, KubeError, TimeoutError):
            with suppress(RouterError, KubeError, TimeoutError):  # what could not be put back, the next pass sees and says
                await _each(routers, written, None)
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


async def _each(routers: Routers, moves: Sequence[_Move], weight: int | None) -> None:
    """Each for itself; the first problem is raised once all were tried. Without a weight, each goes back to what it was."""
    problem: Exception | None = None
    for one in moves:
        try:
            await _named(routers, one.scope, (one.before or 0) if weight is None else weight)
        except (RouterError, KubeError, TimeoutError) as e:
            problem = problem or e
    if problem is not None:
        raise problem


async def _named(routers: Routers, scope: Scope, weight: int, *, rehearse: bool = False) -> None:
    """With the route's name in whatever the API server says of it."""
    try:
        await routers.of(scope).set_weight(scope, weight, rehearse=rehearse)
    except KubeError as e:
        refused = f"{scope.route} did not take {weight} %{', so no route was moved' if rehearse else ''}: {e}"
        raise RouterError(refused, reason="RouteRefused", retryable=True) from e


def _weight(routers: Routers, scope: Scope, undo: Sequence[RestoreEntry]) -> int | None:
    view = routers.of(scope).view(scope, undo)
    return view.weight if view is not None else None
