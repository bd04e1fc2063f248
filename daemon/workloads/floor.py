"""The stable floor: while traffic is away, an autoscaler must not shrink what has to take it all back (workload-traps A6)."""

from collections.abc import Iterable

import msgspec

from daemon.api.status import RestoreEntry
from daemon.kube import errors, owners
from daemon.kube.client import Client
from daemon.kube.objects import HorizontalPodAutoscaler
from daemon.kube.patch import Operation, add, pointer, remove, replace, test
from daemon.kube.resources import HORIZONTAL_POD_AUTOSCALERS as HPAS
from daemon.rollout.model import AutoscalerView
from daemon.workloads.errors import Moved

MINIMUM = pointer("spec", "minReplicas")


def view(item: HorizontalPodAutoscaler, undo: Iterable[RestoreEntry], own: str) -> AutoscalerView:
    """`own`: our field manager. `undo`: the log of our writes, with the owners before the first of them."""
    entry = next((e for e in undo if (e.kind, e.name) == (HPAS.kind, item.name)), None)
    return AutoscalerView(
        name=item.name,
        minimum=1 if item.spec.min_replicas is None else item.spec.min_replicas,
        maximum=item.spec.max_replicas,
        touched=entry is not None and touched(item, entry, own),
    )


def touched(item: HorizontalPodAutoscaler, entry: RestoreEntry, own: str) -> bool:
    """Whether somebody else has set the minimum since our first write."""
    return owners.written_since(item.metadata, entry.owners or "[]", ("spec", "minReplicas"), own)


def undo(item: HorizontalPodAutoscaler) -> RestoreEntry:
    """What `restore` needs; to be stored before `lift`."""
    return RestoreEntry(
        api_version=HPAS.api_version,
        kind=HPAS.kind,
        namespace=item.namespace,
        name=item.name,
        pointer=MINIMUM,
        original=None if item.spec.min_replicas is None else str(item.spec.min_replicas),
        owners=owners.record(item.metadata),
    )


def noted(entries: tuple[RestoreEntry, ...], item: HorizontalPodAutoscaler, minimum: int) -> tuple[RestoreEntry, ...]:
    """The undo log with the minimum that is about to be written; what was found first stays."""
    known = next((e for e in entries if (e.kind, e.name) == (HPAS.kind, item.name)), None)
    entry = msgspec.structs.replace(known or undo(item), written=str(minimum))
    return (*entries, entry) if known is None else tuple(entry if e is known else e for e in entries)


async def lift(client: Client, item: HorizontalPodAutoscaler, minimum: int) -> None:
    """minReplicas is at least `minimum`, never above the owner's maximum."""
    wanted = min(minimum, item.spec.max_replicas) if item.spec.max_replicas else minimum
    have = item.spec.min_replicas
    if have is not None and have >= wanted:
        return
    guard = [test(MINIMUM, have)] if have is not None else []
    await _patch(client, item, [*guard, add(MINIMUM, wanted)])


async def restore(client: Client, item: HorizontalPodAutoscaler, entry: RestoreEntry) -> None:
    """The minimum as it was, then its owners. A value that someone else has set meanwhile is theirs and stays."""
    original = None if entry.original is None else msgspec.json.decode(entry.original, type=int)
    if item.spec.min_replicas != original and not touched(item, entry, client.field_manager):
        change = remove(MINIMUM) if original is None else replace(MINIMUM, original)
        await _patch(client, item, [test(MINIMUM, item.spec.min_replicas), change])
    await owners.give_back(client, HPAS, item.namespace, item.name, entry.owners or "[]")


async def _patch(client: Client, item: HorizontalPodAutoscaler, operations: list[Operation]) -> None:
    try:
        await client.json_patch(HPAS, item.namespace, item.name, operations)
    except (errors.PatchTestFailed, errors.Conflict) as e:
        raise Moved(f"HorizontalPodAutoscaler {item.namespace}/{item.name} changed meanwhile: {e}") from e
