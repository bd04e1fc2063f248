"""The hold: writes of single leaves into the user's Deployment, each with a `test` of what was decided on.

Everything here either takes effect on exactly the template that was judged, or refuses (workload-traps A2). A pause of ours is
taken back by removing the field: setting it to false would leave us its owner, and the user's next apply a conflict.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from daemon.api import names
from daemon.kube import errors, owners
from daemon.kube.client import Client
from daemon.kube.objects import Deployment
from daemon.kube.patch import Operation, add, at_version, pointer, remove, replace, test
from daemon.kube.resources import DEPLOYMENTS
from daemon.workloads.errors import Moved

ANNOTATIONS: Final = pointer("metadata", "annotations")
PAUSED: Final = pointer("spec", "paused")
TEMPLATE: Final = pointer("spec", "template")


def _mark(key: str) -> str:
    return pointer("metadata", "annotations", key)


async def _patch(client: Client, item: Deployment, operations: list[Operation]) -> Deployment:
    try:
        return await client.json_patch(DEPLOYMENTS, item.namespace, item.name, operations)
    except (errors.PatchTestFailed, errors.Conflict) as e:
        raise Moved(f"Deployment {item.namespace}/{item.name} changed meanwhile: {e}") from e


async def adopt(client: Client, item: Deployment, canary: str | None) -> Deployment:
    """Puts our mark on the Deployment, or takes it off (`canary` None). The hold policies look for it."""
    have = item.metadata.annotation(names.CANARY_MARK)
    if canary is None:
        marks = [k for k in (names.CANARY_MARK, *names.HOLD_MARKS) if item.metadata.annotation(k)]
        return await _patch(client, item, [remove(_mark(k)) for k in marks]) if marks else item
    if have == canary:
        return item
    return await _patch(client, item, [*_with_annotations(item), add(_mark(names.CANARY_MARK), canary)])


def _with_annotations(item: Deployment) -> list[Operation]:
    """An `add` below a map that does not exist is refused: the map first, guarded against a race."""
    return [] if item.metadata.annotations else [at_version(item.metadata.resource_version), add(ANNOTATIONS, {})]


def _unmark(item: Deployment) -> list[Operation]:
    """What the hold wrote beside the pause."""
    return [remove(_mark(key)) for key in names.HOLD_MARKS if item.metadata.annotation(key)]


async def release(client: Client, item: Deployment) -> Deployment:
    """Un-pauses, if and only if the template is the one in `item`. A newer one that landed meanwhile stays held."""
    operations = [test(TEMPLATE, item.spec.template)]
    if item.spec.paused:
        operations.append(remove(PAUSED))
    return await _patch(client, item, [*operations, *_unmark(item)])


async def pause(client: Client, item: Deployment) -> Deployment:
    """`hold: Always`: the Deployment stays paused between releases, marked as ours."""
    return await _patch(
        client,
        item,
        [
            test(TEMPLATE, item.spec.template),
            *_with_annotations(item),
            add(_mark(names.HELD_MARK), names.HELD_ALWAYS),
            add(PAUSED, value=True),
        ],
    )


async def restore_template(client: Client, item: Deployment, template: Mapping[str, Any]) -> Deployment:
    """Writes a stored template back over the one in `item`, and un-pauses in the same write.

    A pause of the owner's (no held mark) is left alone.
    """
    ours = item.spec.paused and item.metadata.annotation(names.HELD_MARK)
    return await _put(client, item, template, [remove(PAUSED), *_unmark(item)] if ours else [])


async def put_template(client: Client, item: Deployment, template: Mapping[str, Any], by: str) -> Deployment:
    """Writes a stored template over the one in `item`, held in the same write: what people go back to rolls by a decision, not by itself.

    Whose word it was (`by`) is the author of what is held now.
    """
    held = item.metadata.annotation(names.HELD_MARK)
    marks = [] if held else [add(_mark(names.HELD_MARK), names.HELD_BY_POLICY)]
    return await _put(
        client, item, template, [add(PAUSED, value=True), *_with_annotations(item), *marks, add(_mark(names.AUTHOR_MARK), by)]
    )


async def _put(client: Client, item: Deployment, template: Mapping[str, Any], beside: list[Operation]) -> Deployment:
    """One patch on exactly the template in `item`; its owners get the leaves back after it."""
    recorded = owners.record(item.metadata)
    written = await _patch(client, item, [test(TEMPLATE, item.spec.template), replace(TEMPLATE, dict(template)), *beside])
    await owners.give_back(client, DEPLOYMENTS, item.namespace, item.name, recorded, written=written)
    return written


async def holds(client: Client, item: Deployment) -> bool:
    """Whether a template change of this Deployment would be held: a dry run of one, so that nothing has to be readable but it."""
    template = msgspec.json.decode(item.spec.template)
    probe = pointer("spec", "template", "metadata", "annotations")  # a template always has metadata: its labels are required
    annotations = {**((template.get("metadata") or {}).get("annotations") or {}), f"{names.GROUP}/probe": "hold"}
    asking = Client(client.transport, field_manager=f"{client.field_manager}-probe", dry_run=True)
    operations = [*_with_annotations(item), add(_mark(names.CANARY_MARK), "probe"), add(probe, annotations)]
    seen = await asking.json_patch(DEPLOYMENTS, item.namespace, item.name, operations)
    return seen.spec.paused
