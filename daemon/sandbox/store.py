"""Why: one object holds the sandbox's state, and every writer, HTTP client or controller, goes through the same rules of the API.

The interface, for controllers in the same process (all calls are synchronous and never block):

    store.get(res, ns, name) -> dict | None            res is "pods", "deployments.apps", "canaries.linnet.dev"; ns "" if cluster scoped
    store.list(res, ns=None, label_selector=None) -> list[dict]
    store.create(res, obj, user=...) -> dict           defaults, admission, validation, managedFields, uid, generation
    store.update(res, obj, user=..., subresource=None) 409 when obj's resourceVersion is stale; subresource "status" writes status only
    store.patch(res, ns, name, kind, body, user=...)   kind is "json", "merge", "strategic" or "apply"
    store.delete(res, ns, name, user=..., propagation=None, uid=None, grace=None)
    store.subscribe(callback) -> unsubscribe           callback(type, res, obj) after each commit, in order

`user` is a username, or a `Caller` where the field manager (else the username's last part) or dry run matter. What is returned is the
caller's own copy; what a subscriber is given is shared and must not be changed. Refusals are `ApiError`.

Pods are deleted gracefully: `delete` sets deletionTimestamp and deletionGracePeriodSeconds, and the node ends it with `delete(grace=0)`.
`foregroundDeletion` and `orphan` finalizers are put there by `propagation` and taken away by the garbage collector.
"""

from __future__ import annotations

import builtins
import datetime as dt
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from daemon.sandbox import errors as err
from daemon.sandbox import fieldmanager, objects, patching, strategic, strategy, validation
from daemon.sandbox.errors import JSON, ApiError
from daemon.sandbox.eventlog import Event, EventLog, Key
from daemon.sandbox.patching import clone
from daemon.sandbox.resources import Registry, Resource
from daemon.sandbox.selectors import LabelPredicate, parse_labels

# A fresh store starts well above zero, so that a client's small old resourceVersion is too old, as on a server that has been up for long.
_FIRST_REVISION = 1000
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_SERVICE_NETWORK = (10, 96)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who writes, under which field manager, and how strictly; `warnings` collects what the response should say."""

    user: str
    groups: tuple[str, ...] = ()
    manager: str = ""
    dry_run: bool = False
    field_validation: str = "Ignore"
    warnings: list[str] = field(default_factory=list)

    @property
    def field_manager(self) -> str:
        return self.manager or self.user.rpartition(":")[2]


class Admission(Protocol):
    """What the store asks before a write; `daemon.sandbox.admission` answers it."""

    def mutate(self, resource: Resource, obj: JSON, old: JSON | None, caller: Caller, subresource: str) -> JSON: ...

    def validate(self, resource: Resource, obj: JSON | None, old: JSON | None, caller: Caller, subresource: str) -> None: ...


class _Unasked:
    """The admission of a store that nobody has furnished."""

    def mutate(self, resource: Resource, obj: JSON, old: JSON | None, caller: Caller, subresource: str) -> JSON:
        return obj

    def validate(self, resource: Resource, obj: JSON | None, old: JSON | None, caller: Caller, subresource: str) -> None:
        return


def _caller(user: str | Caller) -> Caller:
    return user if isinstance(user, Caller) else Caller(user=user)


class Store:
    """The state of one sandbox; `daemon.sandbox.furnish.furnished` adds what lives on it."""

    def __init__(self, *, window: int = 20_000, clock: Callable[[], dt.datetime] | None = None) -> None:
        self.registry = Registry()
        self.log = EventLog(start=_FIRST_REVISION, window=window)
        self.revision = _FIRST_REVISION
        self._clock = clock or (lambda: dt.datetime.now(dt.UTC))
        self._objects: dict[str, dict[Key, JSON]] = {}
        self._addresses = 1
        self.admission: Admission = _Unasked()

    # -- reading ------------------------------------------------------------------------------------------------------------------

    def _resource(self, res: str | Resource) -> Resource:
        return res if isinstance(res, Resource) else self.registry.by_key(res)

    def now(self, *, micro: bool = False) -> str:
        moment = self._clock().astimezone(dt.UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")

    def state(self, res: str) -> dict[Key, JSON]:
        """The live objects themselves, for readers that change nothing."""
        return self._objects.setdefault(res, {})

    def get(self, res: str | Resource, ns: str, name: str) -> JSON | None:
        found = self.peek(res, ns, name)
        return None if found is None else dict(clone(found))

    def peek(self, res: str | Resource, ns: str, name: str) -> JSON | None:
        """Like `get`, without the copy."""
        return self.state(res if isinstance(res, str) else res.key).get((ns or "", name))

    def list(
        self, res: str | Resource, ns: str | None = None, label_selector: str | JSON | LabelPredicate | None = None
    ) -> builtins.list[JSON]:
        """Copies of the objects, by namespace and name; the selector is text or a metav1.LabelSelector."""
        from daemon.sandbox.selectors import from_object

        key = res if isinstance(res, str) else res.key
        wanted = from_object(label_selector) if isinstance(label_selector, dict) else label_selector
        predicate = parse_labels(wanted) if isinstance(wanted, str) else wanted
        return [
            dict(clone(obj))
            for (namespace, _), obj in sorted(self.state(key).items())
            if ns in (None, namespace) and (predicate is None or predicate(obj["metadata"].get("labels") or {}))
        ]

    def subscribe(self, callback: Callable[[str, str, JSON], None]) -> Callable[[], None]:
        return self.log.subscribe(lambda event: callback(event.type, event.resource, event.obj))

    # -- creating -----------------------------------------------------------------------------------------------------------------

    def create(self, res: str | Resource, obj: JSON, *, user: str | Caller, _managed: bool = False) -> JSON:
        caller, resource = _caller(user), self._resource(res)
        new = objects.opened(resource, clone(obj))
        meta = new["metadata"]
        if meta.get("resourceVersion"):
            raise err.bad_request("resourceVersion should not be set on objects to be created")
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"][:58] + "".join(random.choices(_SUFFIX, k=5))
        self._check_namespace(resource, meta)
        new = objects.decoded(resource, new, caller)
        meta = new["metadata"]
        if not _managed:
            meta["managedFields"] = fieldmanager.track(None, new, self._write(resource, caller, ""))
        new = self.admission.mutate(resource, new, None, caller, "")
        strategy.prepare_create(resource, new, self.now())
        self._allocate(resource, new)
        new = objects.completed(resource, new)
        objects.refuse(resource, new, validation.validate(resource, new, None))
        self.admission.validate(resource, new, None, caller, "")
        key = (meta.get("namespace", ""), new["metadata"]["name"])
        if key in self.state(resource.key):
            raise err.already_exists(resource.plural, resource.group, key[1])
        return self._commit(resource, new, None, caller)

    def _check_namespace(self, resource: Resource, meta: JSON) -> None:
        if not resource.namespaced:
            meta.pop("namespace", None)
            return
        name = meta.get("namespace") or ""
        if not name:
            raise err.bad_request("an empty namespace may not be set during creation")
        namespace = self.peek("namespaces", "", name)
        if namespace is None:
            raise err.not_found("namespaces", "", name)
        if namespace["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {name} because it is being terminated"
            refusal = err.forbidden(resource.plural, resource.group, meta.get("name", ""), why)
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {name} is being terminated", "field": "metadata.namespace"}
            raise ApiError(refusal.code, refusal.reason, refusal.message, {**(refusal.details or {}), "causes": [cause]})

    def _allocate(self, resource: Resource, obj: JSON) -> None:
        """A cluster address for a Service that wants one."""
        if resource.key != "services" or obj["spec"].get("type") == "ExternalName":
            return
        spec = obj["spec"]
        if not spec.get("clusterIP"):
            self._addresses += 1
            a, b = _SERVICE_NETWORK
            spec["clusterIP"] = f"{a}.{b}.{self._addresses // 250 % 250}.{self._addresses % 250 + 1}"
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    # -- changing -----------------------------------------------------------------------------------------------------------------

    def update(self, res: str | Resource, obj: JSON, *, user: str | Caller, subresource: str | None = None) -> JSON:
        resource = self._resource(res)
        new = objects.opened(resource, clone(obj))
        meta = new["metadata"]
        return self._change(
            resource, meta.get("namespace", ""), meta.get("name", ""), lambda _old: new, _caller(user), subresource or "", put=True
        )

    def patch(
        self,
        res: str | Resource,
        ns: str,
        name: str,
        kind: str,
        body: Any,
        *,
        user: str | Caller,
        subresource: str | None = None,
        force: bool = False,
        uid: str | None = None,
    ) -> JSON:
        """Patch one object; an apply creates it where it is not there."""
        resource, caller, sub = self._resource(res), _caller(user), subresource or ""
        if kind == "apply":
            return self._apply(resource, ns, name, body, caller, sub, force=force)
        node = objects.node_of(resource)

        def change(old: JSON) -> JSON:
            if kind == "json":
                return patching.json_patch(old, body)
            if kind == "merge":
                return dict(patching.merge_patch(old, body))
            return strategic.strategic_merge(node, old, body)

        return self._change(resource, ns, name, change, caller, sub)

    def _apply(self, resource: Resource, ns: str, name: str, body: JSON, caller: Caller, sub: str, *, force: bool) -> JSON:
        config = objects.opened(resource, objects.with_type(clone(body)))
        meta = config["metadata"]
        if meta.setdefault("name", name) != name or (resource.namespaced and meta.setdefault("namespace", ns) != ns):
            raise err.bad_request("the name or namespace of the object does not match the one in the URL")
        write = self._write(resource, caller, sub)
        config = objects.decoded_config(resource, config, caller)
        if self.peek(resource, ns, name) is None:
            if sub:
                raise err.not_found(resource.plural, resource.group, name)
            if meta.get("uid"):
                why = f"uid mismatch: the provided object specified uid {meta['uid']}, and no existing object was found"
                raise err.conflict(resource.plural, resource.group, name, why)
            return self.create(resource, fieldmanager.apply(None, config, write, force=force), user=caller, _managed=True)
        return self._change(resource, ns, name, lambda old: fieldmanager.apply(old, config, write, force=force), caller, sub, managed=True)

    def _write(self, resource: Resource, caller: Caller, sub: str) -> fieldmanager.Write:
        return fieldmanager.Write(
            node=objects.node_of(resource),
            manager=caller.field_manager,
            api_version=resource.api_version,
            subresource=sub,
            reset=strategy.ignored_fields(resource, sub),
            now=self.now(),
        )

    def _change(
        self,
        resource: Resource,
        ns: str,
        name: str,
        change: Callable[[JSON], JSON],
        caller: Caller,
        sub: str,
        *,
        put: bool = False,
        managed: bool = False,
    ) -> JSON:
        old = self.peek(resource, ns, name)
        if old is None:
            raise err.not_found(resource.plural, resource.group, name)
        new = objects.opened(resource, change(dict(clone(old)) if resource.custom is False else objects.at_version(resource, clone(old))))
        objects.check_identity(resource, new, old, put=put)
        written = new["metadata"].get("managedFields")  # decoding drops an empty list, which means something here
        new = objects.decoded(resource, new, caller)
        new["metadata"]["managedFields"] = written
        new = strategy.carry_over(resource, new, old, sub)
        if not managed:
            new["metadata"]["managedFields"] = fieldmanager.track(old, new, self._write(resource, caller, sub))
        new = self.admission.mutate(resource, new, old, caller, sub)
        new = strategy.carry_over(resource, new, old, sub) if sub else new
        strategy.bump_generation(resource, new, old)
        new = objects.completed(resource, new)
        objects.refuse(resource, new, validation.validate(resource, new, old, sub))
        self.admission.validate(resource, new, old, caller, sub)
        if objects.same(new, old):
            return dict(clone(old))
        return self._commit(resource, new, old, caller)

    def _commit(self, resource: Resource, new: JSON, old: JSON | None, caller: Caller) -> JSON:
        meta = new["metadata"]
        if not meta.get("managedFields"):
            meta.pop("managedFields", None)
        if caller.dry_run:
            if old is not None:
                meta["resourceVersion"] = old["metadata"]["resourceVersion"]
            return dict(clone(new))
        if old is not None and objects.finished(resource, new):
            return self._remove(resource, new)
        self.revision += 1
        meta["resourceVersion"] = str(self.revision)
        key = (meta.get("namespace", ""), meta["name"])
        self.state(resource.key)[key] = new
        kind = "ADDED" if old is None else "MODIFIED"
        answer = dict(clone(new))
        self.log.append(Event(type=kind, resource=resource.key, revision=self.revision, obj=new, old=old))
        return answer

    # -- deleting -----------------------------------------------------------------------------------------------------------------

    def delete(
        self,
        res: str | Resource,
        ns: str,
        name: str,
        *,
        user: str | Caller,
        propagation: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        grace: int | None = None,
    ) -> JSON:
        """Delete, or mark as being deleted while a grace period or a finalizer is left; gives the object as it then is."""
        resource, caller = self._resource(res), _caller(user)
        old = self.peek(resource, ns, name)
        if old is None:
            raise err.not_found(resource.plural, resource.group, name)
        objects.check_preconditions(resource, old, uid, resource_version)
        self.admission.validate(resource, None, old, caller, "")
        new = objects.marked_deleted(resource, old, propagation, grace, self._clock())
        if caller.dry_run:
            return dict(clone(new))
        if objects.finished(resource, new):
            return self._remove(resource, new)
        if objects.same(new, old):
            return dict(clone(old))
        return self._commit(resource, new, old, caller)

    def _remove(self, resource: Resource, obj: JSON) -> JSON:
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        old = self.state(resource.key).pop(key)
        self.revision += 1
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self.log.append(Event(type="DELETED", resource=resource.key, revision=self.revision, obj=gone, old=old))
        return dict(clone(gone))

    def finalize_namespace(self, name: str) -> None:
        """Take the last finalizer off an emptied Namespace, which ends it."""
        resource = self.registry.by_key("namespaces")
        old = self.state("namespaces")[("", name)]
        new = {**clone(old), "spec": {}}
        if objects.finished(resource, new):
            self._remove(resource, new)

    def gone(self, res: str, ns: str, name: str) -> bool:
        return self.peek(res, ns, name) is None

    def load(self, items: Iterable[JSON], *, user: str | Caller) -> None:
        """Server-side apply of whole objects by their kind, as `linnet sandbox` does with CRDs and charts."""
        caller = _caller(user)
        for item in items:
            resource = self.registry.by_kind(item["apiVersion"], item["kind"])
            if resource is None:
                raise err.no_such_path()
            ns = item["metadata"].get("namespace", "default") if resource.namespaced else ""
            self.patch(resource, ns, item["metadata"]["name"], "apply", item, user=replace(caller), force=True)
