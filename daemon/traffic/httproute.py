"""Gateway API `HTTPRoute`: weights of backendRefs. A rule takes part when it names the stable Service.

It can also tell requests apart: by header in every implementation (core of the API), by query, cookie, method and with copies where that
was tried on the implementation itself, whose name stands in the route's status.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from daemon.kube.objects import untyped
from daemon.rollout.pick import Pick
from daemon.traffic.dialect import Backend, Rank, Rule, Rules
from daemon.traffic.gatewayapi import dialect
from daemon.traffic.picking import pairs
from daemon.traffic.router import RouteObject
from flags.buckets import pattern

CONTOUR, TRAEFIK = "projectcontour.io/gateway-controller", "traefik.io/gateway-controller"
REPORTED: Final = (  # by their conformance reports for Gateway API 1.5 and 1.6
    "istio.io/gateway-controller",
    "gateway.envoyproxy.io/gatewayclass-controller",
    "io.cilium/gateway-controller",
)
KNOWN: Final = {
    "a query": (CONTOUR, TRAEFIK, *REPORTED),
    "a cookie": (CONTOUR, TRAEFIK),  # no report speaks of regular expressions
    "buckets of users": (CONTOUR, TRAEFIK),  # nor for any other header
    "copies of requests": (CONTOUR, *REPORTED),
    "copies of a share of the requests": REPORTED,  # Contour copies all of them, whatever the percent says: seen
}
ANYTHING: Final[dict[str, Any]] = {"path": {"type": "PathPrefix", "value": "/"}}  # what a rule without matches means
MOST_RULES: Final = 16
ALL: Final = 100


def narrow(rule: Rule, pick: Pick, stable: Backend, canary: Backend) -> Rule | None:
    """The same rule for the requests that were picked: to the canary, or to stable with copies for the canary."""
    rule.pop("name", None)
    given = rule.get("matches") or [ANYTHING]
    matches = list(_by_method(given, pick) if pick.mirror else _by_content(given, pick))
    if not matches:
        return None
    rule["matches"] = matches
    if not pick.mirror:
        return rule | {"backendRefs": [canary]}
    target = {key: value for key, value in canary.items() if key in ("group", "kind", "name", "namespace", "port")}
    copied = {"backendRef": target} | ({"percent": pick.mirror} if pick.mirror < ALL else {})
    return rule | {"filters": [*(rule.get("filters") or ()), {"type": "RequestMirror", "requestMirror": copied}], "backendRefs": [stable]}


def _by_method(matches: Sequence[dict[str, Any]], pick: Pick) -> Iterator[dict[str, Any]]:
    for match in matches:
        for method in pick.methods:
            if match.get("method", method) == method:
                yield match | {"method": method}


def _by_content(matches: Sequence[dict[str, Any]], pick: Pick) -> Iterator[dict[str, Any]]:
    headers = [{"type": "Exact", "name": name, "value": value} for name, value in pick.headers]
    headers += [{"type": "RegularExpression", "name": pick.by, "value": pattern(pick.buckets)}] if pick.buckets else []
    headers += [{"type": "RegularExpression", "name": "Cookie", "value": cookie(*c)} for c in pick.cookies]
    query = [{"type": "Exact", "name": name, "value": value} for name, value in pick.query]
    for match in matches:
        if _names_of(match, "headers") & {h["name"].lower() for h in headers} or _names_of(match, "queryParams") & dict(pick.query).keys():
            continue  # a name stands once in a match
        yield match | _joined(match, "headers", headers) | _joined(match, "queryParams", query)


def _names_of(match: dict[str, Any], field: str) -> set[str]:
    return {str(e.get("name", "")).lower() if field == "headers" else str(e.get("name", "")) for e in match.get(field) or ()}


def _joined(match: dict[str, Any], field: str, more: list[dict[str, Any]]) -> dict[str, Any]:
    return {field: [*(match.get(field) or ()), *more]} if more else {}


def cookie(name: str, value: str) -> str:
    """One of several in the header, whole, wherever it stands."""
    return f"^(.*; *)?{re.escape(name)}={re.escape(value)}(;.*)?$"


def ranks(rule: Rule) -> list[Rank]:
    return [
        Rank(
            path=msgspec.json.encode(match.get("path") or ANYTHING["path"], order="deterministic").decode(),
            method=match.get("method", ""),
            headers=tuple(pairs(match.get("headers"))),
            query=tuple((e.get("name", ""), e.get("value", "")) for e in match.get("queryParams") or ()),
        )
        for match in rule.get("matches") or [ANYTHING]
    ]


def copies(rule: Rule) -> list[str]:
    mirrors = [f.get("requestMirror") or {} for f in rule.get("filters") or () if f.get("type") == "RequestMirror"]
    return [str((m.get("backendRef") or {}).get("name", "")) for m in mirrors]


def cannot(route: RouteObject, pick: Pick) -> str:
    if len(pick.cookies) > 1:
        return "a match of an HTTPRoute names a header once, and so one cookie"
    asked = {
        "a query": pick.query,
        "a cookie": pick.cookies,
        "buckets of users": pick.buckets,
        "copies of requests": pick.mirror,
        "copies of a share of the requests": pick.mirror % ALL,
    }
    parents = (untyped(route.status) or {}).get("parents") or []
    for what, wanted in asked.items():
        for parent in parents if wanted else ():
            if parent.get("controllerName") not in KNOWN[what]:
                return f"{parent.get('controllerName')} is not known to do it by {what}; known are {', '.join(KNOWN[what])}"
    return "no gateway has reported on it yet" if not parents and any(asked.values()) else ""


def hosts(route: RouteObject) -> frozenset[str]:
    return frozenset((untyped(route.spec) or {}).get("hostnames") or ())


HTTP_ROUTE: Final = msgspec.structs.replace(
    dialect("httproutes", "HTTPRoute"),
    rules=Rules(
        path="/spec/rules",
        backends="backendRefs",
        narrow=narrow,
        ranks=ranks,
        copies=copies,
        cannot=cannot,
        hosts=hosts,
        limit=MOST_RULES,
    ),
)
