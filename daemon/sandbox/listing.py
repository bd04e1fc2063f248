"""Why: lists are read in pages and at revisions; a page must come from the same past as the one before it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

import msgspec
from aiohttp import web

from daemon.sandbox import errors as err
from daemon.sandbox import objects
from daemon.sandbox.errors import JSON, ApiError
from daemon.sandbox.eventlog import Key
from daemon.sandbox.legacy_events import shown
from daemon.sandbox.patching import clone
from daemon.sandbox.requests import Target
from daemon.sandbox.resources import Resource
from daemon.sandbox.selectors import parse_fields, parse_labels
from daemon.sandbox.store import Store

Predicate = Callable[[JSON], bool]


def predicate(request: web.Request, target: Target) -> Predicate:
    """What the request selects: its namespace, its label and its field selector, and the name where the path has one."""
    labels = parse_labels(request.query.get("labelSelector"))
    fields = parse_fields(
        request.query.get("fieldSelector"), target.resource.key, target.resource.selectable, custom=target.resource.custom
    )
    namespace, name = target.namespace, target.name

    def test(obj: JSON) -> bool:
        meta = obj["metadata"]
        return (
            (not namespace or meta.get("namespace") == namespace)
            and (not name or meta["name"] == name)
            and (labels is None or labels(meta.get("labels") or {}))
            and (fields is None or fields(obj))
        )

    return test


def revision(text: str | None, field: str = "resourceVersion") -> int:
    """A resourceVersion parameter as a number; empty is 0."""
    if not text:
        return 0
    if not text.isdigit():
        raise err.bad_request(f'invalid {field}: "{text}" is not a number')
    return int(text)


def not_yet(wanted: int, current: int) -> ApiError:
    """The refusal of a revision that is still to come."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    details = {"causes": causes, "retryAfterSeconds": 1}
    return ApiError(504, "Timeout", f"Timeout: Too large resource version: {wanted}, current: {current}", details)


def served(resource: Resource, obj: JSON) -> JSON:
    """The object as this version of its resource shows it."""
    if resource.storage == "events":
        return shown(obj)
    if resource.custom and obj["apiVersion"] != resource.api_version:
        return objects.at_version(resource, clone(obj))
    return obj


def _decode_continue(text: str) -> tuple[int, Key]:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return int(token["rv"]), (str(token["ns"]), str(token["name"]))
    except (binascii.Error, ValueError, KeyError, TypeError, msgspec.DecodeError):
        raise err.bad_request(f"invalid continue token: continue key is not valid: {text!r}") from None


def _encode_continue(at: int, key: Key) -> str:
    token = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": at, "ns": key[0], "name": key[1]})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _state(store: Store, request: web.Request, resource: Resource) -> tuple[dict[Key, JSON], int, Key | None]:
    """The objects to list, their revision, and the key after which to go on."""
    query = request.query
    live, match = store.state(resource.key), query.get("resourceVersionMatch")
    wanted = revision(query.get("resourceVersion"))
    if query.get("continue"):
        at, after = _decode_continue(query["continue"])
        return store.log.rewind(resource.key, live, at), at, after
    if match and not query.get("resourceVersion"):
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise err.invalid("ListOptions", "meta.k8s.io", "", [err.field_forbidden("resourceVersionMatch", why)])
    if wanted > store.revision:
        raise not_yet(wanted, store.revision)
    if match == "Exact":
        return store.log.rewind(resource.key, live, wanted), wanted, None
    return live, store.revision, None


def page(store: Store, request: web.Request, target: Target) -> tuple[list[JSON], JSON]:
    """One page of objects and the metadata of the list."""
    test = predicate(request, target)
    state, at, after = _state(store, request, target.resource)
    found = [(key, obj) for key, obj in sorted(state.items()) if (after is None or key > after) and test(obj)]
    limit = revision(request.query.get("limit"), "limit")
    meta: JSON = {"resourceVersion": str(at)}
    if limit and len(found) > limit:
        meta["continue"] = _encode_continue(at, found[limit - 1][0])
        if not request.query.get("labelSelector") and not request.query.get("fieldSelector"):
            meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return [served(target.resource, obj) for _, obj in found], meta
