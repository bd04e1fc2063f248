"""What the doctor looks at in the cluster itself: kinds, rights, policies, gateway, leader, and what is held without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from daemon.api import names
from daemon.cli.cluster import Cluster, Leader, System
from daemon.cli.findings import RULES, Finding, bad, ok, warn

if TYPE_CHECKING:
    from daemon.kube.objects import Deployment

AT_ONCE: Final = 10
POLICIES: Final = (
    ("mutatingadmissionpolicies", names.HOLD_POLICY),
    ("mutatingadmissionpolicybindings", names.HOLD_POLICY),
    ("validatingadmissionpolicies", names.RELEASE_POLICY),
    ("validatingadmissionpolicybindings", names.RELEASE_POLICY),
)
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
INSTALL: Final = "install the chart, or an admin installs its CRDs once"


async def _get(cluster: Cluster, path: str) -> dict[str, Any] | None:
    """A GET of anything; None where it is not there."""
    from daemon.kube.errors import NotFound

    try:
        found: dict[str, Any] = msgspec.json.decode(await cluster.client.transport.request("GET", path))
    except NotFound:
        return None
    return found


async def kinds(cluster: Cluster) -> list[Finding]:
    """Are all eight kinds served in the version we speak?"""
    from daemon.api.kinds import KINDS

    found = await _get(cluster, f"/apis/{names.API_VERSION}")
    served = {r["name"] for r in (found or {}).get("resources", ())}
    missing = [k.crd for k in KINDS if k.plural not in served]
    if missing:
        return [bad("CRDs", f"missing: {', '.join(missing)}", INSTALL)]
    return [ok("CRDs", f"all {len(KINDS)} kinds of {names.API_VERSION} are served")]


async def rights(cluster: Cluster, system: System, account: str | None) -> list[Finding]:
    """May Linnet do what it must? Asked for the caller in a pod, else for the daemon's account."""
    from daemon.kube.errors import Forbidden

    slots = asyncio.Semaphore(AT_ONCE)
    scopes = cluster.access.namespaces or (None,)
    asked = [(v, r.group, x, ns, "") for r in RULES for x in r.resources for v in r.verbs for ns in scopes]
    asked += [(v, "coordination.k8s.io", "leases", system.lease_namespace, system.lease_name) for v in ("get", "update")]

    async def one(verb: str, group: str, resource: str, namespace: str | None, name: str) -> str:
        async with slots:
            allowed = await _allowed(cluster, account, verb, group, resource, namespace, name)
        return "" if allowed else f"{verb} {resource}{'.' + group if group else ''}{f' in {namespace}' if namespace else ''}"

    who = account or await cluster.whoami()
    try:
        answers = await asyncio.gather(*(one(*question) for question in asked))
    except Forbidden:
        return [warn("rights", f"you may not ask what {who} may do", "run `helm test` of the release, which asks as the daemon")]
    missing = [a for a in answers if a]
    if missing:
        return [bad("rights", f"{who} may not: {', '.join(missing)}", "let the chart make its roles (rbac.create), or add these rules")]
    return [ok("rights", f"{who} may do all {len(asked)} things that the daemon does")]


async def _allowed(cluster: Cluster, account: str | None, verb: str, group: str, resource: str, namespace: str | None, name: str) -> bool:
    resource, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name}
    kind = "SubjectAccessReview" if account else "SelfSubjectAccessReview"
    spec: dict[str, Any] = {"resourceAttributes": {k: v for k, v in attributes.items() if v}}
    if account:
        parts = account.split(":")
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"] if parts[:2] == ["system", "serviceaccount"] else []
        spec |= {"user": account, "groups": [*groups, "system:authenticated"]}
    body = msgspec.json.encode({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec})
    path = f"/apis/authorization.k8s.io/v1/{kind.lower()}s"
    reply = msgspec.json.decode(await cluster.client.transport.request("POST", path, body=body, idempotent=True))
    return bool(reply.get("status", {}).get("allowed"))


async def hold(cluster: Cluster, adopted: list[Deployment]) -> list[Finding]:
    """Are template changes of adopted Deployments held, and can nobody else end a hold? A dry run, and the policies' presence."""
    from daemon.kube.errors import Forbidden

    tried, said = await _tried(cluster, next((d for d in adopted if not d.spec.paused), None))
    try:
        holder, missing = await _rules(cluster)
    except Forbidden:
        way_out = "the daemon asks by a dry run, at the first adopted Deployment"
        return [tried] if tried is not None else [warn("hold", f"the admission policies may not be read{said}", way_out)]
    if tried is None:
        if missing:
            return [bad("hold", f"missing: {', '.join(missing)}", _HOLD)]
        return [ok("hold", f"{holder} is installed; no adopted Deployment at rest to try it on{said}")]
    if tried.level == "OK" and holder:
        tried = ok("hold", f"{tried.message} by {holder}")
    unguarded = [name for name in missing if name.endswith(f"/{names.RELEASE_POLICY}")]
    if tried.level == "OK" and unguarded:
        return [tried, warn("hold", f"anybody may resume what is held: missing: {', '.join(unguarded)}", _HOLD)]
    return [tried]


async def _rules(cluster: Cluster) -> tuple[str, list[str]]:
    """What holds new versions here (empty: nothing), and which of the objects that it takes are missing."""
    missing = [f"{plural}/{name}" for plural, name in POLICIES if await _get(cluster, f"{ADMISSION}/{plural}/{name}") is None]
    if not any(one.startswith("mutating") for one in missing):
        return f"the admission policy {names.HOLD_POLICY}", missing
    hook = await _webhook(cluster)
    if hook is None:
        return "", missing
    guards = [one for one in missing if not one.startswith("mutating")]
    if not hook.get("clientConfig", {}).get("caBundle"):
        return "", [*guards, f"caBundle of mutatingwebhookconfigurations/{names.HOLD_POLICY}, which the leader writes"]
    return "the daemon's webhook (not while no replica answers)", guards


async def _webhook(cluster: Cluster) -> dict[str, Any] | None:
    """The webhook of the hold, as it is registered. Without the chart's webhook its account may not ask."""
    from daemon.kube.errors import Forbidden

    try:
        found = await _get(cluster, f"{ADMISSION}/mutatingwebhookconfigurations/{names.HOLD_POLICY}")
    except Forbidden:
        return None
    return next((hook for hook in (found or {}).get("webhooks") or () if hook["name"].startswith("hold.")), None)


async def _tried(cluster: Cluster, probe: Deployment | None) -> tuple[Finding | None, str]:
    """What a dry run of a template change says for certain; without an answer, why there is none."""
    from daemon.kube.errors import KubeError
    from daemon.workloads.hold import holds

    if probe is None:
        return None, ""
    name = f"{probe.namespace}/{probe.name}"
    try:
        held = await holds(cluster.client, probe)
    except KubeError as e:
        return None, f"; a dry run on {name} failed: {e}"
    if held:
        return ok("hold", f"a dry run of a template change of {name} is held"), ""
    return bad("hold", f"a template change of {name} would roll unjudged", _HOLD), ""


_HOLD: Final = "install the chart's rules of the hold (hold.policies, hold.webhook.enabled), start the daemon, or set spec.hold: Always"


async def gateway(cluster: Cluster) -> list[Finding]:
    found = await _get(cluster, "/apis/gateway.networking.k8s.io/v1")
    if found is None or "httproutes" not in {r["name"] for r in found.get("resources", ())}:
        text = "gateway.networking.k8s.io/v1 HTTPRoute is not served: releases go by share of pods"
        return [warn("gateway", text, "install the Gateway API and a gateway, to split requests")]
    return [ok("gateway", "HTTPRoute v1 is served")]


def leading(leader: Leader, held: list[Deployment]) -> list[Finding]:
    """Who leads, and what is held while nobody does."""
    if leader.live:
        return [ok("leader", leader.text)]
    found = [bad("leader", leader.text, "start the daemon; --catalogue-namespace names where it is installed")]
    for item in held:
        way_out = f"start the daemon, or: linnet release deploy/{item.name} -n {item.namespace}"
        found.append(bad(f"{item.namespace}/{item.name}", "is held, and no daemon lives to judge it", way_out))
    return found
