"""Contour's `HTTPProxy`: weights of a route's services, and of a TCP proxy's. A mirror has no share.

A service without a weight counts 0 beside others that have one; where none has, all get the same.
"""

from typing import Any, Final

from daemon.kube.objects import untyped
from daemon.kube.resources import custom
from daemon.traffic.dialect import Dialect
from daemon.traffic.router import RouteObject


def accepted(proxy: RouteObject) -> tuple[bool, str]:
    """Contour's one condition, `Valid`, on this generation; else what it says is wrong."""
    conditions: list[dict[str, Any]] = (untyped(proxy.status) or {}).get("conditions") or []
    valid = next((c for c in conditions if c.get("type") == "Valid"), None)
    if valid is None or valid.get("observedGeneration", 0) < proxy.metadata.generation:
        return False, f"Contour has not reported on generation {proxy.metadata.generation} yet"
    if valid.get("status") == "True":
        return True, ""
    wrong = [f"{e.get('reason', '')}: {e.get('message', '')}" for e in valid.get("errors") or ()]
    return False, "; ".join(wrong) or f"{valid.get('reason', '')}: {valid.get('message', '')}"


HTTP_PROXY: Final = Dialect(
    resource=custom("projectcontour.io", "v1", "httpproxies", "HTTPProxy", RouteObject),
    backends=("/spec/routes/*/services", "/spec/tcpproxy/services"),
    unset=0,
    even=True,
    aside="mirror",
    accepted=accepted,
)
