"""Why: kubectl, Helm and client libraries ask the server what it serves before they ask for anything else."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.sandbox import schema
from daemon.sandbox.errors import JSON
from daemon.sandbox.resources import Registry, Resource

VERSION: JSON = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0+linnet-sandbox",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
# What a subresource takes: its kind where that differs from the object's, and its verbs.
_SUBRESOURCES: dict[str, tuple[JSON, tuple[str, ...]]] = {
    "status": ({}, ("get", "patch", "update")),
    "scale": ({"group": "autoscaling", "version": "v1", "kind": "Scale"}, ("get", "patch", "update")),
    "eviction": ({"group": "policy", "version": "v1", "kind": "Eviction"}, ("create",)),
    "binding": ({"group": "", "version": "v1", "kind": "Binding"}, ("create",)),
    "token": ({"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}, ("create",)),
    "log": ({}, ("get",)),
    "finalize": ({}, ("update",)),
}


def _entry(r: Resource) -> JSON:
    out: JSON = {"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": list(r.verbs)}
    if r.short_names:
        out["shortNames"] = list(r.short_names)
    if r.categories:
        out["categories"] = list(r.categories)
    return out


def resource_list(registry: Registry, group: str, version: str) -> JSON | None:
    """`/apis/GROUP/VERSION`, or None when it is not served."""
    served = [r for r in registry if (r.group, r.version) == (group, version)]
    if not served:
        return None
    entries: list[JSON] = []
    for r in served:
        entries.append(_entry(r))
        for name in r.subresources:
            other, verbs = _SUBRESOURCES[name]
            sub = {"name": f"{r.plural}/{name}", "singularName": "", "namespaced": r.namespaced, "kind": r.kind, "verbs": list(verbs)}
            entries.append({**sub, **other})
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def _group(name: str, versions: Iterable[str]) -> JSON:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group(registry: Registry, name: str) -> JSON | None:
    versions = registry.groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def groups(registry: Registry) -> JSON:
    found = [_group(n, v) for n, v in registry.groups().items() if n]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def versions(address: str) -> JSON:
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def _aggregated_resource(r: Resource) -> JSON:
    out: JSON = {
        "resource": r.plural,
        "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
        "scope": "Namespaced" if r.namespaced else "Cluster",
        "singularResource": r.singular,
        "verbs": list(r.verbs),
    }
    if r.short_names:
        out["shortNames"] = list(r.short_names)
    if r.categories:
        out["categories"] = list(r.categories)
    subs = []
    for name in r.subresources:
        other, verbs = _SUBRESOURCES[name]
        kind = other or {"group": r.group, "version": r.version, "kind": r.kind}
        subs.append({"subresource": name, "responseKind": kind, "verbs": list(verbs)})
    if subs:
        out["subresources"] = subs
    return out


def aggregated(registry: Registry, *, core: bool) -> JSON:
    """All groups with all resources in one answer, as `kubectl` asks for them."""
    items = []
    for name, served in registry.groups().items():
        if (name == "") is not core:
            continue
        listed = [
            {
                "version": v,
                "resources": [_aggregated_resource(r) for r in registry if (r.group, r.version) == (name, v)],
                "freshness": "Current",
            }
            for v in served
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


# -- OpenAPI ----------------------------------------------------------------------------------------------------------------------


def _prefix(group_name: str, version: str) -> str:
    return f"apis/{group_name}/{version}" if group_name else f"api/{version}"


def openapi_index(registry: Registry) -> JSON:
    paths = {}
    for name, served in registry.groups().items():
        for version in served:
            prefix = _prefix(name, version)
            paths[prefix] = {"serverRelativeURL": f"/openapi/v3/{prefix}"}
    return {"paths": paths}


def _operations(r: Resource) -> tuple[str, JSON]:
    kind = {"group": r.group, "version": r.version, "kind": r.kind}
    query = [{"name": n, "in": "query", "schema": {"type": "string"}} for n in ("dryRun", "fieldManager", "fieldValidation")]
    base = f"/{_prefix(r.group, r.version)}{'/namespaces/{namespace}' if r.namespaced else ''}/{r.plural}/{{name}}"
    operations = {
        method: {
            "x-kubernetes-action": method,
            "x-kubernetes-group-version-kind": kind,
            "parameters": query,
            "responses": {"200": {"description": "OK"}},
        }
        for method in ("get", "put", "patch", "delete")
    }
    return base, operations


def openapi(registry: Registry, group_name: str, version: str) -> JSON | None:
    """The document of one group and version: enough for kubectl to validate, merge and explain."""
    served = [r for r in registry if (r.group, r.version) == (group_name, version)]
    if not served:
        return None
    schemas: dict[str, JSON] = {}
    paths: JSON = {}
    for r in served:
        base, operations = _operations(r)
        paths[base] = operations
        kind = [{"group": r.group, "version": r.version, "kind": r.kind}]
        if r.custom and r.schema is not None:
            schemas[f"{r.group}.{r.version}.{r.kind}"] = {**r.schema.raw, "x-kubernetes-group-version-kind": kind}
            continue
        name = schema.kinds()[f"{r.api_version}/{r.kind}"]
        _reach(name, schemas)
        schemas[name] = {**schemas[name], "x-kubernetes-group-version-kind": kind}
    info = {"title": "Linnet sandbox", "version": str(VERSION["gitVersion"])}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _reach(name: str, schemas: dict[str, JSON]) -> None:
    if name in schemas:
        return
    schemas[name] = schema.types()[name]
    for other in schema.references(schemas[name]):
        _reach(other, schemas)
