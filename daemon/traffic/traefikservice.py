"""Traefik's `TraefikService` of type weighted, which an IngressRoute names instead of a Service.

It has no status, so a write counts as taken after Traefik's own throttle (2 s where nobody says another) and some time to spare.
"""

from typing import Final

from daemon.kube.resources import custom
from daemon.traffic.dialect import Dialect
from daemon.traffic.router import RouteObject

TRAEFIK_SERVICE: Final = Dialect(
    resource=custom("traefik.io", "v1alpha1", "traefikservices", "TraefikService", RouteObject),
    backends=("/spec/weighted/services",),
    settle=4.0,
)
