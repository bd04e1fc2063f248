"""Contour's `HTTPProxy`: weights of a route's services, and of a TCP proxy's. A mirror has no share.

A service without a weight counts 0 beside others that have one; where none has, all get the same.
"""

from typing import Any, Final

import msgspec

from daemon.kube.objects import untyped
from daemon.kube.resources import custom
from daemon.rollout.pick import Pick
from daemon.traffic.dialect import Backend, Dialect, Rank, Rule, Rules
from daemon.traffic.httproute import cookie
from daemon.traffic.router import RouteObject
from flags.buckets import pattern


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


def narrow(route: Rule, pick: Pick, stable: Backend, canary: Backend) -> Rule | None:  # noqa: ARG001 - no copies here, so nothing for stable
    """The same route under more conditions, with the mirrors that its owner has."""
    canary.pop("weight", None)  # alone, it has everything
    known = route.get("conditions") or []
    taken = {str((c.get(kind) or {}).get("name", "")).lower() for c in known for kind in ("header", "queryParameter")}
    wanted = {name.lower() for name in (*dict(pick.headers), *dict(pick.query), pick.by) if name}
    if taken & wanted or (pick.cookies and "cookie" in taken):
        return None
    more = [{"header": {"name": name, "exact": value}} for name, value in pick.headers]
    more += [{"header": {"name": pick.by, "regex": pattern(pick.buckets)}}] if pick.buckets else []
    more += [{"header": {"name": "Cookie", "regex": cookie(*c)}} for c in pick.cookies]
    more += [{"queryParameter": {"name": name, "exact": value}} for name, value in pick.query]
    mirrors = [s for s in route.get("services") or () if s.get("mirror")]
    return route | {"conditions": [*known, *more], "services": [canary, *mirrors]}


def ranks(route: Rule) -> list[Rank]:
    """What is not an exact value counts as one of its own: it may meet anything else."""
    known: list[dict[str, Any]] = route.get("conditions") or []
    path = [{kind: c[kind] for kind in ("prefix", "exact", "regex") if kind in c} for c in known]
    headers = [(str(c["header"].get("name", "")).lower(), str(c["header"].get("exact", ""))) for c in known if "header" in c]
    query = [(str(c["queryParameter"].get("name", "")), str(c["queryParameter"].get("exact", ""))) for c in known if "queryParameter" in c]
    path = [p for p in path if p] or [{"prefix": "/"}]
    return [Rank(path=msgspec.json.encode(path, order="deterministic").decode(), headers=tuple(headers), query=tuple(query))]


def copies(route: Rule) -> list[str]:
    return [str(s.get("name", "")) for s in route.get("services") or () if s.get("mirror")]


def cannot(_: RouteObject, pick: Pick) -> str:
    return "an HTTPProxy tells no methods apart, and would copy what changes something as well: name an HTTPRoute" if pick.mirror else ""


def hosts(proxy: RouteObject) -> frozenset[str]:
    """A proxy without a host is included by another: its requests are not known here."""
    return frozenset(filter(None, [((untyped(proxy.spec) or {}).get("virtualhost") or {}).get("fqdn")])) or frozenset({proxy.name})


HTTP_PROXY: Final = Dialect(
    resource=custom("projectcontour.io", "v1", "httpproxies", "HTTPProxy", RouteObject),
    backends=("/spec/routes/*/services", "/spec/tcpproxy/services"),
    unset=0,
    even=True,
    aside="mirror",
    rules=Rules(path="/spec/routes", backends="services", narrow=narrow, ranks=ranks, copies=copies, cannot=cannot, hosts=hosts),
    accepted=accepted,
)
