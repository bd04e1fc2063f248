"""Why: what a request asks for is decided in one place: the resource, the caller, the options, the form of the answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from aiohttp import web

from daemon.sandbox import errors as err
from daemon.sandbox import protobuf, table
from daemon.sandbox.errors import JSON, ApiError
from daemon.sandbox.resources import Registry, Resource
from daemon.sandbox.store import Caller

_PATCHES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_VALIDATION = ("Ignore", "Strict", "Warn")


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a date stays the text it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a path names."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


def target(registry: Registry, path: str) -> Target | None:
    """The resource of a path, None when it is no resource path; 404 when the resource is not served."""
    parts = [p for p in path.split("/") if p]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in ("status", "finalize") and len(rest) == 3):
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if resource is None or len(rest) > 3 or bool(namespace) > resource.namespaced:
        raise err.no_such_path()
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise err.no_such_path()
    if len(rest) > 1 and resource.namespaced and not namespace:
        raise err.no_such_path()
    return Target(resource=resource, namespace=namespace, name=rest[1] if len(rest) > 1 else "", subresource=subresource)


def _refused(kind: str, error: err.FieldError) -> ApiError:
    return err.invalid(kind, "meta.k8s.io", "", [error])


def dry_run(values: list[str], kind: str) -> bool:
    """Whether nothing may be stored; anything but `All` is refused."""
    if not values:
        return False
    if values != ["All"]:
        shown = msgspec.json.encode(values).decode()
        raise _refused(kind, err.FieldError("dryRun", "FieldValueNotSupported", f'Unsupported value: {shown}: supported values: "All"'))
    return True


def caller(request: web.Request, users: Mapping[str, str], kind: str) -> Caller:
    """Who asks, under which manager: `fieldManager`, else the first word of the User-Agent."""
    query = request.query
    user = user_of(request, users)
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATION:
        raise _refused(kind, err.unsupported("fieldValidation", validation, _VALIDATION))
    manager = query.get("fieldManager") or request.headers.get("User-Agent", "").split("/")[0][:128] or "unknown"
    if len(manager) > 128:
        raise _refused(kind, err.too_long("fieldManager", 128))
    return Caller(
        user=user,
        groups=groups_of(user),
        manager=manager,
        dry_run=dry_run(query.getall("dryRun", []), kind),
        field_validation=validation,
    )


def user_of(request: web.Request, users: Mapping[str, str]) -> str:
    """The user of the token; without one `admin`, since kubectl sends no token over plain HTTP."""
    header = request.headers.get("Authorization", "")
    return users.get(header.removeprefix("Bearer ").strip(), "system:anonymous") if header else "admin"


def groups_of(user: str) -> tuple[str, ...]:
    """The groups of a username: those of service accounts are in their name."""
    if user == "system:anonymous":
        return ("system:unauthenticated",)
    parts = user.split(":")
    if user.startswith("system:serviceaccount:") and len(parts) == 4:
        return ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}", "system:authenticated")
    return ("system:masters", "system:authenticated") if user == "admin" else ("system:authenticated",)


def patch_kind(request: web.Request, resource: Resource) -> str:
    """The kind of a patch by its content type; custom resources have no strategic merge."""
    kind = _PATCHES.get(request.content_type)
    if kind is None or (kind == "strategic" and resource.custom):
        accepted = ", ".join(t for t, k in _PATCHES.items() if not (k == "strategic" and resource.custom))
        raise ApiError(
            415, "UnsupportedMediaType", f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    manager, force = request.query.get("fieldManager"), request.query.get("force")
    if kind == "apply" and not manager:
        raise _refused("PatchOptions", err.required("fieldManager", "is required for apply patch"))
    if kind != "apply" and force is not None:
        raise _refused("PatchOptions", err.field_forbidden("force", "may not be specified for non-apply patch"))
    return kind


async def body(request: web.Request, *, resource: Resource | None = None) -> Any:
    """The decoded body, JSON or YAML; 400 says what could not be read."""
    raw = await request.read()
    kind = resource.kind if resource else "object"
    if request.content_type == protobuf.MEDIA_TYPE and raw:
        return protobuf.decode(raw)
    if request.content_type == "application/cbor":
        accepted = f"application/json, application/yaml, {protobuf.MEDIA_TYPE}"
        said = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise ApiError(415, "UnsupportedMediaType", said)
    if not raw:
        why = "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
        raise err.bad_request(f"the object provided is unrecognized (must be of type {kind}): {why}")
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as e:
        if "yaml" not in request.content_type:
            why = f"couldn't get version/kind; json parse error: {e}"
            raise err.bad_request(f"the object provided is unrecognized (must be of type {kind}): {why}") from None
    try:
        return yaml.load(raw, Loader=_Loader)  # a safe loader, told to leave dates alone
    except yaml.YAMLError as e:
        raise err.bad_request(f"error decoding YAML: {e}") from None


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The form in which the client wants objects: whole, as a Table, or their metadata alone."""

    form: str  # "", "Table", "PartialObjectMetadata"
    include: str = "Metadata"

    def one(self, resource: Resource, obj: JSON, now: dt.datetime, *, head: bool = True) -> JSON:
        if self.form == "Table":
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return table.table(resource, [obj], meta, now, include=self.include, head=head)
        return table.partial(obj) if self.form == "PartialObjectMetadata" else obj

    def many(self, resource: Resource, items: list[JSON], meta: JSON, now: dt.datetime) -> JSON:
        if self.form == "Table":
            return table.table(resource, items, meta, now, include=self.include)
        if self.form == "PartialObjectMetadata":
            bare = [table.partial(o) for o in items]
            return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": bare}
        if not resource.custom:
            items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in items]
        return {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta, "items": items}


def shape(request: web.Request) -> Shape:
    """The first form of the Accept header that the sandbox can give."""
    for part in request.headers.get("Accept", "").split(","):
        media, *options = (p.strip() for p in part.split(";"))
        wanted = dict(o.split("=", 1) for o in options if "=" in o)
        if media not in ("application/json", "*/*", "application/*"):
            continue
        form = wanted.get("as", "").removesuffix("List")
        if not form:
            break
        if form in ("Table", "PartialObjectMetadata"):
            return Shape(form=form, include=request.query.get("includeObject") or "Metadata")
    return Shape(form="")
