"""Typed verbs over the transport: what to send for each of Kubernetes' ways of reading and writing.

Writes come in four kinds, and the caller must choose: `create` (never onto a foreign object), `apply` (server-side, for whole
objects of our own), `json_patch` (one leaf inside an object of someone else's, guarded by `test`), `merge_patch` (status). `replace`
exists for Leases. `dry_run` makes every write a question.
"""

import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from daemon.kube import errors
from daemon.kube.objects import KubeObject, ObjectMeta, detach
from daemon.kube.patch import Operation, encode_operations
from daemon.kube.resources import Resource
from daemon.kube.transport import Transport

T = TypeVar("T", bound=KubeObject)
Body = Mapping[str, Any] | msgspec.Struct | bytes

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML, and both old and new servers know this type


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """An object that does not fit its struct: named, so that it can be reported instead of vanishing."""

    namespace: str
    name: str
    message: str


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list, or the whole of it."""

    items: tuple[T, ...]
    resource_version: str
    continue_: str = ""
    rejected: tuple[Rejected, ...] = ()


class _ListMeta(msgspec.Struct, frozen=True):
    resourceVersion: str = ""  # noqa: N815  wire name
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()
    items: tuple[msgspec.Raw, ...] | None = None
    kind: str = ""


class _Named(msgspec.Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()


@functools.cache
def _decoder(model: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(model)


def decode(model: type[T], body: bytes | msgspec.Raw) -> T:
    """An object of that model; BadResponse when the bytes are something else."""
    try:
        return detach(_decoder(model).decode(body))  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise errors.BadResponse(f"the reply is no {model.__name__}: {e}: {bytes(body)[:120]!r}") from e


def identify(body: bytes | msgspec.Raw) -> ObjectMeta:
    """The metadata of an object whose rest cannot be read; empty when even that is broken."""
    try:
        found: _Named = _decoder(_Named).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ObjectMeta()
    return found.metadata


def encode(body: Body) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


class Client:
    """The verbs. One per process (or per field manager); it holds no state but its options."""

    def __init__(self, transport: Transport, *, field_manager: str = "linnet", dry_run: bool = False) -> None:
        self.transport = transport
        self.field_manager = field_manager
        self.dry_run = dry_run

    def _write(self, **more: str | int | bool | None) -> dict[str, str | int | bool | None]:
        return {"fieldManager": self.field_manager, "dryRun": "All" if self.dry_run else None, **more}

    async def get(
        self, resource: Resource[T], namespace: str | None, name: str, *, deadline: float | None = None, attempts: int | None = None
    ) -> T:
        path = resource.path(namespace, name)
        return decode(resource.model, await self.transport.request("GET", path, deadline=deadline, attempts=attempts))

    async def find(self, resource: Resource[T], namespace: str | None, name: str, *, deadline: float | None = None) -> T | None:
        """`get`, with None for an object that does not exist."""
        try:
            return await self.get(resource, namespace, name, deadline=deadline)
        except errors.NotFound:
            return None

    async def page(
        self,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int | None = 250,
        token: str = "",
        deadline: float | None = None,
    ) -> Page[T]:
        """One page of a list. Gone means that the token is too old: start again without one."""
        params = {
            "labelSelector": label_selector or None,
            "fieldSelector": field_selector or None,
            "limit": limit,
            "continue": token or None,
        }
        path = resource.collection(namespace)
        return _page(resource, await self.transport.request("GET", path, params=params, deadline=deadline), path)

    async def pages(
        self, resource: Resource[T], namespace: str | None = None, *, limit: int = 250, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[Page[T]]:
        """Page after page; each is its own call with its own deadline."""
        token = ""
        while True:
            page = await self.page(
                resource, namespace, limit=limit, token=token, label_selector=label_selector, field_selector=field_selector
            )
            yield page
            token = page.continue_
            if not token:
                return

    async def list(
        self, resource: Resource[T], namespace: str | None = None, *, label_selector: str = "", field_selector: str = "", limit: int = 250
    ) -> Page[T]:
        """The whole list, read in pages. A token that expires on the way starts it again once, unpaged."""
        pager = self.pages(resource, namespace, limit=limit, label_selector=label_selector, field_selector=field_selector)
        try:
            pages = [page async for page in pager]
        except errors.Gone:
            pages = [await self.page(resource, namespace, limit=None, label_selector=label_selector, field_selector=field_selector)]
        return Page(
            items=tuple(item for page in pages for item in page.items),
            resource_version=pages[-1].resource_version,
            rejected=tuple(r for page in pages for r in page.rejected),
        )

    async def create(
        self,
        resource: Resource[T],
        namespace: str | None,
        body: Body,
        *,
        dry_run: bool | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> T:
        """AlreadyExists when the name is taken: a foreign object is never touched. `dry_run`: nothing is stored, this once."""
        path = resource.collection(namespace)
        content = _with_kind(resource, body)
        params = self._write() | ({"dryRun": "All"} if dry_run else {})
        return decode(
            resource.model,
            await self.transport.request("POST", path, params=params, body=content, deadline=deadline, attempts=attempts),
        )

    async def replace(self, resource: Resource[T], body: T, *, deadline: float | None = None, attempts: int | None = None) -> T:
        """PUT of a whole object of ours; its resourceVersion makes a lost race a Conflict. Never for structs that are partial."""
        path = resource.path(body.namespace or None, body.name)
        content = _with_kind(resource, body)
        return decode(
            resource.model,
            await self.transport.request("PUT", path, params=self._write(), body=content, deadline=deadline, attempts=attempts),
        )

    async def delete(
        self,
        resource: Resource[Any],
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
        grace_seconds: int | None = None,
        deadline: float | None = None,
    ) -> bool:
        """False when it was gone already. With `uid`, a namesake that was created meanwhile is a Conflict, not a victim."""
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if self.dry_run:
            options["dryRun"] = ["All"]
        try:
            await self.transport.request("DELETE", resource.path(namespace, name), body=encode(options), deadline=deadline)
        except errors.NotFound:
            return False
        return True

    async def apply(
        self,
        resource: Resource[T],
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        force: bool,
        subresource: str = "",
        deadline: float | None = None,
    ) -> T:
        """Server-side apply of the fields in `body` under our manager. `force` takes fields over, so it is never a default."""
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        whole["metadata"] = {**whole.get("metadata", {}), "name": name, **({"namespace": namespace} if namespace else {})}
        path = resource.path(namespace, name, subresource)
        return await self._patch(resource, path, encode(whole), APPLY_PATCH, force=force, deadline=deadline)

    async def json_patch(
        self,
        resource: Resource[T],
        namespace: str | None,
        name: str,
        operations: Sequence[Operation],
        *,
        subresource: str = "",
        dry_run: bool | None = None,
        deadline: float | None = None,
    ) -> T:
        """All operations or none. PatchTestFailed when a `test` does not hold. `dry_run`: nothing is stored, this once."""
        path = resource.path(namespace, name, subresource)
        return await self._patch(resource, path, encode_operations(operations), JSON_PATCH, dry_run=dry_run, deadline=deadline)

    async def merge_patch(
        self, resource: Resource[T], namespace: str | None, name: str, patch: Body, *, subresource: str = "", deadline: float | None = None
    ) -> T:
        """RFC 7386: maps merge, null removes, lists replace. With a resourceVersion inside, a lost race is a Conflict."""
        return await self._patch(resource, resource.path(namespace, name, subresource), encode(patch), MERGE_PATCH, deadline=deadline)

    async def patch_status(
        self,
        resource: Resource[T],
        namespace: str | None,
        name: str,
        status: Mapping[str, Any],
        *,
        resource_version: str,
        deadline: float | None = None,
    ) -> T:
        """Merge `status` into /status of exactly that version of the object."""
        patch = {"metadata": {"resourceVersion": resource_version}, "status": status}
        return await self.merge_patch(resource, namespace, name, patch, subresource="status", deadline=deadline)

    async def _patch(
        self,
        resource: Resource[T],
        path: str,
        body: bytes,
        content_type: str,
        *,
        force: bool | None = None,
        dry_run: bool | None = None,
        deadline: float | None = None,
    ) -> T:
        # An apply says what shall be, so saying it twice is harmless; a JSON Patch may hit its own result.
        reply = await self.transport.request(
            "PATCH",
            path,
            params=self._write(force=force or None) | ({"dryRun": "All"} if dry_run else {}),
            body=body,
            content_type=content_type,
            deadline=deadline,
            idempotent=content_type == APPLY_PATCH,
        )
        return decode(resource.model, reply)


def _with_kind(resource: Resource[Any], body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, KubeObject):
        return msgspec.json.encode(msgspec.structs.replace(body, api_version=resource.api_version, kind=resource.kind))
    if isinstance(body, msgspec.Struct):
        return msgspec.json.encode(body)
    return msgspec.json.encode({"apiVersion": resource.api_version, "kind": resource.kind, **body})


def _page(resource: Resource[T], body: bytes, what: str) -> Page[T]:
    try:
        found: _List = _decoder(_List).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise errors.BadResponse(f"GET {what}: the reply is no list: {e}: {body[:120]!r}") from e
    if not found.kind.endswith("List"):
        raise errors.BadResponse(f"GET {what}: the reply is a {found.kind or 'nameless thing'}, not a list")
    items: list[T] = []
    rejected: list[Rejected] = []
    for raw in found.items or ():
        try:
            items.append(decode(resource.model, raw))
        except errors.BadResponse as e:
            meta = identify(raw)
            rejected.append(Rejected(namespace=meta.namespace, name=meta.name, message=e.message))
    return Page(
        items=tuple(items), resource_version=found.metadata.resourceVersion, continue_=found.metadata.continue_, rejected=tuple(rejected)
    )
