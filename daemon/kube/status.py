"""Writing status, and only when it says something new.

An idle object must cost no write. The wanted status is compared with what the object holds; only what differs is sent, as a merge
patch on /status that carries the resourceVersion the decision was based on. Somebody else's write in between is a Conflict, which is
surfaced: the caller decides again from the new object rather than overwriting what it never saw.
"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from daemon.kube.client import Client
from daemon.kube.objects import KubeObject
from daemon.kube.patch import merge_diff
from daemon.kube.resources import Resource

T = TypeVar("T", bound=KubeObject)
StatusLike = Mapping[str, Any] | msgspec.Struct | msgspec.Raw | bytes | None


class StatusWriter(Generic[T]):
    """For one kind."""

    def __init__(self, client: Client, resource: Resource[T]) -> None:
        self._client = client
        self._resource = resource

    async def write(self, item: T, current: StatusLike, wanted: StatusLike, *, deadline: float | None = None) -> T | None:
        """Make the status of exactly this version of `item` what is wanted. None when it is that already: nothing was sent."""
        patch = difference(current, wanted)
        if not patch:
            return None
        return await self._client.patch_status(
            self._resource,
            item.namespace or None,
            item.name,
            patch,
            resource_version=item.metadata.resource_version,
            deadline=deadline,
        )


def difference(current: StatusLike, wanted: StatusLike) -> dict[str, Any]:
    """The merge patch from one status to another, both compared as the JSON they are on the wire."""
    return merge_diff(_wire(current), _wire(wanted))


def _wire(status: StatusLike) -> dict[str, Any]:
    if status is None:
        return {}
    body = bytes(status) if isinstance(status, msgspec.Raw | bytes) else msgspec.json.encode(status)
    found: Any = msgspec.json.decode(body) if body else {}
    if not isinstance(found, dict):
        if found is None:
            return {}
        raise TypeError(f"a status is a JSON object, not {type(found).__name__}")
    cleaned: dict[str, Any] = _without_nulls(found)
    return cleaned


def _without_nulls(value: Any) -> Any:
    """A null and an absent field mean the same to Kubernetes, and a merge patch can only write the latter."""
    if isinstance(value, dict):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    if isinstance(value, list):
        return [_without_nulls(below) for below in value]
    return value
