"""Why: the small decisions about one object that every write shares: may it be opened, is it the same, is it finished."""

from __future__ import annotations

import datetime as dt
from typing import Any

from daemon.sandbox import conform, custom, defaults, schema
from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON, ApiError, FieldError
from daemon.sandbox.patching import clone
from daemon.sandbox.resources import Resource
from daemon.sandbox.schema import Node
from daemon.sandbox.strategy import needs_version

_GC: frozenset[str] = frozenset({"foregroundDeletion", "orphan"})


def node_of(resource: Resource) -> Node:
    """The type of a resource's objects."""
    found = resource.schema or schema.of_kind(resource.api_version, resource.kind)
    if found is None:
        raise err.no_such_path()
    return found


def opened(resource: Resource, obj: Any) -> JSON:
    """The object with its metadata, refused where it is of another kind than the endpoint's."""
    if not isinstance(obj, dict):
        raise err.bad_request("the object provided is unrecognized (must be of type " + resource.kind + ")")
    version, kind = obj.setdefault("apiVersion", resource.api_version), obj.setdefault("kind", resource.kind)
    if (version, kind) != (resource.api_version, resource.kind):
        raise err.bad_request(
            f"{kind} in version {str(version).rpartition('/')[2]!r} cannot be handled as a {resource.kind}: "
            f"the endpoint serves {resource.api_version} {resource.kind}"
        )
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    return obj


def with_type(config: Any) -> Any:
    """An applied configuration must say what it is."""
    if not isinstance(config, dict) or not config.get("apiVersion") or not config.get("kind"):
        known = config if isinstance(config, dict) else {}
        raise err.bad_request(f"invalid object type: {known.get('apiVersion', '/')}, Kind={known.get('kind', '')}")
    return config


def at_version(resource: Resource, obj: JSON) -> JSON:
    """A custom object as the requested version shows it; without conversion only the apiVersion differs."""
    obj["apiVersion"] = resource.api_version
    return obj


def decoded(resource: Resource, obj: JSON, caller: Any) -> JSON:
    """The object in the form that the server keeps, defaults included; unknown fields as `fieldValidation` asks."""
    if resource.custom:
        node = node_of(resource)
        unknown = custom.prune(node, obj)
        custom.apply_defaults(node, obj)
    else:
        decoder = conform.Decoder()
        obj = decoder.decode(node_of(resource), obj)
        unknown = decoder.unknown
        defaults.apply_defaults(resource.key, obj)
    _report_unknown(resource, unknown, caller)
    return obj


def decoded_config(resource: Resource, config: JSON, caller: Any) -> JSON:
    """An applied configuration: nothing filled in; unknown fields of built-in kinds are refused, as they have no type to merge by."""
    node = node_of(resource)
    if resource.custom:
        _report_unknown(resource, custom.prune(node, config), caller)
        return config
    decoder = conform.Decoder()
    decoder.decode(node, config)
    if decoder.unknown:
        name = config["metadata"].get("name", "")
        fields = "; ".join(f".{u.removeprefix('unknown field ').strip(chr(34))}: field not declared in schema" for u in decoder.unknown)
        where = f"{config['metadata'].get('namespace', '')}/{name}; {resource.api_version}, Kind={resource.kind}"
        raise ApiError(500, "", f"failed to create typed patch object ({where}): {fields}")
    return config


def _report_unknown(resource: Resource, unknown: list[str], caller: Any) -> None:
    if not unknown or caller.field_validation == "Ignore":
        return
    if caller.field_validation == "Warn":
        caller.warnings.extend(unknown)
        return
    group, version = resource.group, resource.version
    kind = f"{resource.kind} in version {version!r} cannot be handled as a {resource.kind}".replace("'", '"')
    raise err.bad_request(f"{kind}: strict decoding error: {', '.join(unknown)}" if group or version else unknown[0])


def completed(resource: Resource, obj: JSON) -> JSON:
    """The object once more in the form of its type, after strategies and policies have touched it."""
    if resource.custom:
        custom.apply_defaults(node_of(resource), obj)
        return obj
    obj = conform.Decoder().decode(node_of(resource), obj)
    defaults.apply_defaults(resource.key, obj)
    return obj


def refuse(resource: Resource, obj: JSON, errors: list[FieldError]) -> None:
    if errors:
        raise err.invalid(resource.kind, resource.group, obj["metadata"].get("name", ""), errors)


def check_identity(resource: Resource, new: JSON, old: JSON, *, put: bool) -> None:
    """The object is the one that the writer meant, at the version that the writer saw."""
    meta, before = new["metadata"], old["metadata"]
    name = before["name"]
    if meta.get("name", name) != name:
        raise err.bad_request(f"the name of the object ({meta.get('name')}) does not match the name on the URL ({name})")
    meta["name"] = name
    if resource.namespaced:
        if meta.get("namespace", before["namespace"]) != before["namespace"]:
            raise err.bad_request("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = before["namespace"]
    if meta.get("uid") and meta["uid"] != before["uid"]:
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
        raise err.conflict(resource.plural, resource.group, name, why)
    version = meta.get("resourceVersion")
    if put and not version and needs_version(resource):
        errors = [err.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")]
        raise err.invalid(resource.plural, resource.group, name, errors)
    if version and version != before["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise err.conflict(resource.plural, resource.group, name, why)
    meta["resourceVersion"] = before["resourceVersion"]


def _timeless(obj: JSON) -> JSON:
    meta = obj["metadata"]
    managed = [{k: v for k, v in e.items() if k != "time"} for e in meta.get("managedFields") or ()]
    return {**obj, "apiVersion": "", "metadata": {**meta, "managedFields": managed, "resourceVersion": ""}}


def same(new: JSON, old: JSON) -> bool:
    """Whether a write changes nothing but times of managers, and so is no write."""
    return _timeless(new) == _timeless(old)


def check_preconditions(resource: Resource, old: JSON, uid: str | None, version: str | None) -> None:
    meta = old["metadata"]
    if uid and uid != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta['uid']}"
        raise err.conflict(resource.plural, resource.group, meta["name"], why)
    if version and version != meta["resourceVersion"]:
        why = f"Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {meta['resourceVersion']}"
        raise err.conflict(resource.plural, resource.group, meta["name"], why)


def _grace(resource: Resource, obj: JSON, asked: int | None) -> int:
    """Seconds until the object may go: only pods that run somewhere get any."""
    if resource.key != "pods":
        return 0
    running = obj["spec"].get("nodeName") and (obj.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    if not running:
        return 0
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30)) if asked is None else asked


def _finalizers(meta: JSON, propagation: str | None) -> list[str]:
    kept: list[str] = [*(meta.get("finalizers") or [])]
    if propagation is not None:
        kept = [f for f in kept if f not in _GC]
        if propagation == "Foreground":
            kept.append("foregroundDeletion")
        elif propagation == "Orphan":
            kept.append("orphan")
    return kept


def marked_deleted(resource: Resource, old: JSON, propagation: str | None, grace: int | None, now: dt.datetime) -> JSON:
    """The object with what a DELETE writes into it before it goes."""
    new: JSON = clone(old)
    meta = new["metadata"]
    meta["finalizers"] = _finalizers(meta, propagation)
    if not meta["finalizers"]:
        del meta["finalizers"]
    wait = _grace(resource, new, grace)
    before = meta.get("deletionGracePeriodSeconds")
    if meta.get("deletionTimestamp") and (before is None or wait >= before):
        return new
    if not meta.get("deletionTimestamp") and "generation" in meta:
        meta["generation"] += 1
    when = now.astimezone(dt.UTC) + dt.timedelta(seconds=wait)
    meta["deletionTimestamp"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    meta["deletionGracePeriodSeconds"] = wait
    if resource.key == "namespaces":
        meta.pop("deletionGracePeriodSeconds")
        new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
    return new


def finished(resource: Resource, obj: JSON) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (resource.key == "namespaces" and (obj.get("spec") or {}).get("finalizers"))
