"""What all routes of the Gateway API have in common: backendRefs with weights, and parents that report on each generation."""

from typing import Any

from daemon.kube.objects import untyped
from daemon.kube.resources import custom
from daemon.traffic.dialect import Dialect
from daemon.traffic.router import RouteObject


def dialect(plural: str, kind: str) -> Dialect:
    """The dialect of one kind of the standard channel."""
    resource = custom("gateway.networking.k8s.io", "v1", plural, kind, RouteObject)
    return Dialect(resource=resource, backends=("/spec/rules/*/backendRefs",), accepted=accepted)


def accepted(route: RouteObject) -> tuple[bool, str]:
    """Whether every parent reports this generation, accepted and with all references resolved; else what they say."""
    wanted = len((untyped(route.spec) or {}).get("parentRefs") or ())
    parents: list[dict[str, Any]] = (untyped(route.status) or {}).get("parents") or []
    if len(parents) < wanted or not parents:
        return False, "no gateway has reported on it yet"
    for parent in parents:
        said = {str(c.get("type")): c for c in parent.get("conditions") or ()}
        name = (parent.get("parentRef") or {}).get("name", "")
        for kind in ("Accepted", "ResolvedRefs"):
            found = said.get(kind)
            if found is None or found.get("observedGeneration", 0) < route.metadata.generation:
                return False, f"parent {name} has not reported on generation {route.metadata.generation} yet"
            if found.get("status") != "True":
                return False, f"parent {name}: {found.get('reason', '')}: {found.get('message', '')}"
    return True, ""
