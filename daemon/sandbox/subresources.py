"""Why: scale, eviction, binding, log and token are requests of their own kind on an object that is something else."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from daemon.sandbox import errors as err
from daemon.sandbox import patching
from daemon.sandbox import requests as rq
from daemon.sandbox.errors import JSON, ApiError
from daemon.sandbox.requests import Target
from daemon.sandbox.selectors import as_text, from_object
from daemon.sandbox.store import Caller, Store
from daemon.sandbox.table import json_path


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def scale_of(target: Target, obj: JSON) -> JSON:
    """The Scale of a workload or of a custom resource that has one."""
    paths = target.resource.scale or {}
    replicas = json_path(obj, paths.get("specReplicasPath", ".spec.replicas"))
    current = json_path(obj, paths.get("statusReplicasPath", ".status.replicas"))
    selector: Any = (obj.get("spec") or {}).get("selector") if not paths else json_path(obj, paths.get("labelSelectorPath", ".none"))
    meta = {k: obj["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in obj["metadata"]}
    status: JSON = {"replicas": current or 0}
    text = as_text(selector) if isinstance(selector, dict) else selector
    if text:
        status["selector"] = text
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}


class Subresources:
    """Answers the requests to subresources other than status."""

    def __init__(self, store: Store, users: dict[str, str], logs: Callable[[str, str, str], bytes] | None) -> None:
        self._store, self._users, self._logs = store, users, logs

    async def handle(self, request: web.Request, target: Target) -> web.Response:
        obj = self._store.peek(target.resource, target.namespace, target.name)
        if obj is None:
            raise err.not_found(target.resource.plural, target.resource.group, target.name)
        kind, method = target.subresource, request.method
        if kind == "scale" and method in ("GET", "PUT", "PATCH"):
            return _json(scale_of(target, obj)) if method == "GET" else await self._scale(request, target, obj)
        if kind == "log" and method == "GET":
            return self._log(request, target, obj)
        if kind == "finalize" and method == "PUT":
            self._store.finalize_namespace(target.name)
            return _json(obj)
        actions = {"eviction": self._evict, "binding": self._bind, "token": self._token}
        if method == "POST" and kind in actions:
            return await actions[kind](request, target, obj)
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})

    async def _scale(self, request: web.Request, target: Target, obj: JSON) -> web.Response:
        caller = rq.caller(request, self._users, "UpdateOptions" if request.method == "PUT" else "PatchOptions")
        scale = scale_of(target, obj)
        if request.method == "PUT":
            wanted = await rq.body(request)
        else:
            kind = rq.patch_kind(request, target.resource)
            change = await rq.body(request)
            wanted = patching.json_patch(scale, change) if kind == "json" else patching.merge_patch(scale, change)
        if not isinstance(wanted, dict):
            raise err.bad_request("the object provided is unrecognized (must be of type Scale)")
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            wrong = err.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise err.invalid("Scale", "autoscaling", target.name, [wrong])
        version = (wanted.get("metadata") or {}).get("resourceVersion")
        path = (target.resource.scale or {}).get("specReplicasPath", ".spec.replicas").strip(".").split(".")
        patch: JSON = {"metadata": {"resourceVersion": version}} if version else {}
        at = patch
        for part in path[:-1]:
            at = at.setdefault(part, {})
        at[path[-1]] = replicas
        patched = self._store.patch(target.resource, target.namespace, target.name, "merge", patch, user=caller, subresource="scale")
        return _json(scale_of(target, patched))

    def _log(self, request: web.Request, target: Target, obj: JSON) -> web.Response:
        names = [c["name"] for c in obj["spec"]["containers"]]
        container = request.query.get("container") or names[0]
        if container not in names:
            raise err.bad_request(f"container {container} is not valid for pod {target.name}")
        text = self._logs(target.namespace, target.name, container) if self._logs else b""
        tail = request.query.get("tailLines")
        if tail is not None and tail.isdigit():
            text = b"".join(text.splitlines(keepends=True)[-int(tail) :] if int(tail) else [])
        return web.Response(body=text, content_type="text/plain")

    async def _evict(self, request: web.Request, target: Target, obj: JSON) -> web.Response:
        """Delete a pod, unless a PodDisruptionBudget has nothing to spare."""
        caller = rq.caller(request, self._users, "CreateOptions")
        eviction = await rq.body(request)
        options = eviction.get("deleteOptions") or {}
        if options.get("dryRun"):
            caller = replace(caller, dry_run=True)
        budgets = [b for b in self._store.list("poddisruptionbudgets.policy", target.namespace) if self._guards(b, obj)]
        if len(budgets) > 1:
            said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise ApiError(500, "InternalError", f"Internal error occurred: {said}", {"causes": [{"message": said}]})
        for budget in budgets:
            self._spend(budget, target, caller)
        grace = options.get("gracePeriodSeconds")
        uid = (options.get("preconditions") or {}).get("uid")
        self._store.delete("pods", target.namespace, target.name, user=caller, grace=grace, uid=uid)
        return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)

    def _guards(self, budget: JSON, pod: JSON) -> bool:
        return from_object((budget.get("spec") or {}).get("selector"))(pod["metadata"].get("labels") or {})

    def _spend(self, budget: JSON, target: Target, caller: Caller) -> None:
        status = budget.get("status") or {}
        if status.get("disruptionsAllowed", 0) < 1:
            why = f"The disruption budget {budget['metadata']['name']} needs {status.get('desiredHealthy', 0)} healthy pods and has"
            cause = {"reason": "DisruptionBudget", "message": f"{why} {status.get('currentHealthy', 0)} currently"}
            said = "Cannot evict pod as it would violate the pod's disruption budget."
            raise ApiError(429, "TooManyRequests", said, {"causes": [cause]})
        status["disruptionsAllowed"] -= 1
        status.setdefault("disruptedPods", {})[target.name] = self._store.now()
        budget["status"] = status
        self._store.update("poddisruptionbudgets.policy", budget, user=caller, subresource="status")

    async def _bind(self, request: web.Request, target: Target, obj: JSON) -> web.Response:
        caller = rq.caller(request, self._users, "CreateOptions")
        binding = await rq.body(request)
        node = (binding.get("target") or {}).get("name")
        if not node:
            raise err.invalid("Binding", "", target.name, [err.required("target.name")])
        if obj["spec"].get("nodeName"):
            why = f"pod {target.name} is already assigned to node {obj['spec']['nodeName']!r}"
            raise err.conflict("pods/binding", "", target.name, why)
        self._store.patch("pods", target.namespace, target.name, "merge", {"spec": {"nodeName": node}}, user=caller, subresource="binding")
        return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)

    async def _token(self, request: web.Request, target: Target, _obj: JSON) -> web.Response:
        """A token of a ServiceAccount, which from now on names its user."""
        review = await rq.body(request)
        spec = review.get("spec") or {}
        seconds = int(spec.get("expirationSeconds") or 3600)
        token = secrets.token_urlsafe(32)
        self._users[token] = f"system:serviceaccount:{target.namespace}:{target.name}"
        ends = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"token": token, "expirationTimestamp": ends}
        meta = {"name": target.name, "namespace": target.namespace}
        return _json(
            {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": meta, "spec": spec, "status": status}, 201
        )
