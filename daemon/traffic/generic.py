"""The router of a kind that Linnet does not bring, as its owner describes it in `spec.traffic.routers`: no code for an unlisted gateway.

The description becomes a dialect, so such a route is moved, watched and put back by the very code that moves the listed ones.
"""

from typing import Any, Final

from daemon.api.quantities import parse_duration
from daemon.api.routers import CustomRouter, RouteReady
from daemon.kube.objects import untyped
from daemon.kube.patch import lookup
from daemon.kube.resources import custom
from daemon.traffic.dialect import Accepted, Dialect
from daemon.traffic.router import RouteObject

SETTLE: Final = "5s"


def dialect_of(router: CustomRouter) -> Dialect:
    return Dialect(
        resource=custom(router.group, router.version, router.resource, router.kind, RouteObject),
        backends=tuple(f"/{path}" for path in router.backends),
        service=f"/{router.service or 'name'}",
        weight=router.weight or "weight",
        port=f"/{router.port or 'port'}",
        unset=1 if router.unset is None else router.unset,
        hosts=True,
        accepted=_ready(router.ready) if router.ready is not None else None,
        settle=parse_duration(router.settle or SETTLE),
    )


def _ready(ready: RouteReady) -> Accepted:
    def accepted(route: RouteObject) -> tuple[bool, str]:
        document: dict[str, Any] = {"status": untyped(route.status) or {}}
        said = lookup(document, f"/{ready.path}", None)
        if ready.generation is not None:
            seen = lookup(document, f"/{ready.generation}", None)
            if not isinstance(seen, int) or seen < route.metadata.generation:
                return False, f"its gateway has not reported on generation {route.metadata.generation} yet"
        if str(said) != ready.value:
            return False, f"{ready.path} is {said}, not {ready.value}"
        return True, ""

    return accepted
