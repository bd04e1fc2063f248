"""What Istio's DestinationRules say of one host: its connections' TLS, limits, outlier detection, balancing. Pure.

They are found by host. A canary that gets requests under another host than the stable version's gets none of the stable version's, and
nobody would say so: mutual TLS to a workload that wants it, or the ejection of broken pods, would be gone for the canary alone.
"""

from collections.abc import Iterable
from typing import Any

from daemon.kube.objects import untyped
from daemon.traffic.router import RouteObject

Policy = dict[str, Any]
ROOT = "istio-system"  # whose rules hold where a namespace has none of its own, unless the mesh says another


def of(rules: Iterable[RouteObject], namespace: str, service: str, subset: str = "") -> Policy | None:
    """The trafficPolicy for a Service, and a subset of it; empty where none is said. None: the subset is nowhere."""
    known = [(_length(match), rule, match) for rule in rules if (match := _host(rule, namespace, service)) is not None]
    for place in dict.fromkeys((namespace, ROOT)):
        here = [(length, rule) for length, rule, _ in known if rule.namespace == place]
        if here:
            best = max(length for length, _ in here)
            return _policy([rule for length, rule in here if length == best], subset)
    return None if subset else {}


def _policy(rules: list[RouteObject], subset: str) -> Policy | None:
    """Of several for one host, the oldest is heard first, as Istio merges them."""
    rules = sorted(rules, key=lambda r: (r.metadata.creation_timestamp or "", r.name))
    specs: list[dict[str, Any]] = [untyped(rule.spec) or {} for rule in rules]
    policy: Policy = next((s["trafficPolicy"] for s in specs if s.get("trafficPolicy")), {})
    if not subset:
        return policy
    named = next((one for s in specs for one in s.get("subsets") or () if one.get("name") == subset), None)
    return None if named is None else {**policy, **(named.get("trafficPolicy") or {})}


def _host(rule: RouteObject, namespace: str, service: str) -> str | None:
    """The rule's host, where it fits the Service: a name without a dot is of the rule's own namespace."""
    written = str((untyped(rule.spec) or {}).get("host", ""))
    if "." not in written and written != "*":
        return written if written == service and rule.namespace == namespace else None
    head = f"{service}.{namespace}.svc."
    if written.startswith("*"):
        tail = written.removeprefix("*")
        domain = tail.partition(".svc.")[2]
        full = head + domain if domain else f"{head}cluster.local"
        return written if full.endswith(tail) else None
    return written if written.startswith(head) else None


def _length(host: str) -> int:
    """Whole names go before wildcards, and the longest before the others."""
    return len(host) if host.startswith("*") else 1000 + len(host)
