"""Objects that the tests write."""

from __future__ import annotations

import copy
from typing import Any

JSON = dict[str, Any]


def configmap(name: str = "one", data: JSON | None = None, **meta: Any) -> JSON:
    obj: JSON = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}}
    return obj if data is None else {**obj, "data": data}


def template(app: str = "web", **container: Any) -> JSON:
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": "app:1", **container}]}}


def deployment(name: str = "web", **spec: Any) -> JSON:
    """A Deployment without pods, so that controllers have little to do with it."""
    body = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


def service(name: str = "web", **spec: Any) -> JSON:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def pod(name: str = "pod", **spec: Any) -> JSON:
    body = {"automountServiceAccountToken": False, "containers": [{"name": "app", "image": "app:1"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": body}


def widget(name: str = "w", **spec: Any) -> JSON:
    return {"apiVersion": "conformance.linnet.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 5, **spec}}


def changed(obj: JSON, path: str, value: Any = None) -> JSON:
    """A copy with one place set, or removed where the value is None; the path is dotted, numbers are positions."""
    out = copy.deepcopy(obj)
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    at: Any = out
    for part in parents:
        at = at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return out


def owners(obj: JSON) -> dict[tuple[str, str, str], Any]:
    """The managers of an object: (manager, operation, subresource) -> fields."""
    entries = obj["metadata"].get("managedFields") or []
    return {(e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"] for e in entries}
