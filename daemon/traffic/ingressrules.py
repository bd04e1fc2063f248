"""Which rules of an Ingress speak for a Service, what they are for another one, and who else claims the same host and path. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from daemon.kube.objects import untyped
from daemon.traffic.router import RouteObject


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """One host and path, and its backend."""

    host: str
    path: str
    type: str
    service: str
    port: dict[str, Any]

    @property
    def claim(self) -> tuple[str, str, str]:
        return self.host, self.path, self.type

    def __str__(self) -> str:
        return f"{self.host or '*'}{self.path}"


def _all(route: RouteObject) -> list[Path]:
    found = []
    for rule in (untyped(route.spec) or {}).get("rules") or ():
        for one in (rule.get("http") or {}).get("paths") or ():
            service = (one.get("backend") or {}).get("service") or {}
            found.append(
                Path(
                    host=rule.get("host", ""),
                    path=one.get("path", "/"),
                    type=one.get("pathType", "ImplementationSpecific"),
                    service=service.get("name", ""),
                    port=service.get("port") or {},
                )
            )
    return found


def paths_of(route: RouteObject, service: str, port: int | None) -> list[Path]:
    """In the order of the object. A port that is written by name is taken to be the one that is split."""
    return [p for p in _all(route) if p.service == service and (port is None or p.port.get("number", port) == port)]


def rules_for(paths: Sequence[Path], service: str) -> list[dict[str, Any]]:
    """The same hosts, paths and ports, another Service."""
    rules: dict[str, list[dict[str, Any]]] = {}
    for one in paths:
        backend = {"service": {"name": service, "port": one.port}}
        rules.setdefault(one.host, []).append({"path": one.path, "pathType": one.type, "backend": backend})
    return [({"host": host} if host else {}) | {"http": {"paths": found}} for host, found in rules.items()]


def clashes(route: RouteObject, ours: Iterable[Path], others: Iterable[RouteObject]) -> str:
    """Who else speaks for one of our hosts and paths; empty where nobody does."""
    mine = _all(route)
    claims = {p.claim for p in ours}
    for one in mine:
        if one.claim in claims and sum(p.claim == one.claim for p in mine) > 1:
            return f"two of its rules fit {one}"
    for other in others:
        for one in _all(other):
            if one.claim in claims:
                return f"Ingress {other.name} has a rule for {one} as well"
    return ""
