"""Templates that were seen: named once, stored whole, remembered when they failed.

A revision's name is given when its template is first seen and stored with it; later it is found by comparing templates as
the native controller does, so that a newer Linnet, or a restart stamp, never makes "a new version" out of an old one. The
stored copy has no owner: it outlives `kubectl replace --force`, a scale to zero and a revision history of none.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from daemon.api import names
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.objects import ControllerRevision
from daemon.kube.patch import Operation, add, pointer, remove
from daemon.kube.resources import CONTROLLER_REVISIONS
from daemon.kube.store import Store
from daemon.rollout.clock import since, stamp
from daemon.rollout.model import RecordView
from daemon.rollout.templates import images, normal

FAILED: Final = f"{names.GROUP}/failed"  # annotation: the sentence of the failure
FAILED_AT: Final = f"{names.GROUP}/failed-at"
FAILED_FOR: Final = f"{names.GROUP}/failed-for"  # annotation: the reason of the rollback, such as Worse
FAILED_DIGESTS: Final = f"{names.GROUP}/failed-digests"  # annotation: what its images were when it failed, as the nodes resolved them
STABLE_AT: Final = f"{names.GROUP}/stable-at"  # annotation: when it last became stable; the newest one is stable
STABLE_BY: Final = f"{names.GROUP}/stable-by"  # annotation: how it became that: Proven, Adopted, Person, ...
MEMORY: Final = 90 * 86_400.0  # seconds for which a failure is remembered
WORKLOAD: Final = f"{names.GROUP}/workload"  # label: the Deployment's name
KEPT: Final = 12  # templates kept for one workload, stable and the one under way aside

_TEMPLATE_CACHE_LIMIT: Final = 4096


class Templates:
    """Decoded templates by their bytes: a pass compares a few, and they hardly ever change."""

    def __init__(self) -> None:
        self._known: dict[bytes, dict[str, Any]] = {}

    def decode(self, raw: msgspec.Raw) -> dict[str, Any]:
        key = bytes(raw)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _TEMPLATE_CACHE_LIMIT:
                self._known.clear()
            found = self._known[key] = msgspec.json.decode(key)
        return found


def digest(template: Mapping[str, Any], taken: Iterable[str] = ()) -> str:
    """A short name for a template that has none yet; `taken` names belong to other templates."""
    text = msgspec.json.encode(normal(template), order="deterministic")
    full = hashlib.sha256(text).hexdigest()
    used = set(taken)
    for start in range(len(full) - names.REVISION_LENGTH):
        name = full[start : start + names.REVISION_LENGTH]
        if name not in used:
            return name
    raise ValueError("no free revision name")  # 59 names taken by other templates of one workload: cannot happen


class Revisions:
    """The stored templates of all workloads."""

    def __init__(self, client: Client, store: Store[ControllerRevision], templates: Templates, now: Callable[[], float]) -> None:
        self._client = client
        self._store = store
        self._templates = templates
        self._now = now

    def of(self, namespace: str, workload: str) -> tuple[ControllerRevision, ...]:
        return self._store.by("workload", f"{namespace}/{workload}")

    def name_of(self, namespace: str, workload: str, template: msgspec.Raw) -> str:
        """The revision of `template`: the stored one's name, or the name it will be stored under."""
        wanted = normal(self._templates.decode(template))
        stored = self.of(namespace, workload)
        for item in stored:
            if normal(self.template(item)) == wanted:
                return item.metadata.label(names.REVISION)
        return digest(self._templates.decode(template), (i.metadata.label(names.REVISION) for i in stored))

    def known(self, namespace: str, workload: str, template: msgspec.Raw) -> str | None:
        """Like `name_of`, but None for a template that was never stored."""
        wanted = normal(self._templates.decode(template))
        found = (i.metadata.label(names.REVISION) for i in self.of(namespace, workload) if normal(self.template(i)) == wanted)
        return next(found, None)

    def template(self, item: ControllerRevision) -> dict[str, Any]:
        """The pod template in a stored revision."""
        data = self._templates.decode(item.data)
        template: dict[str, Any] = data.get("template") or {}
        return template

    def stored(self, namespace: str, workload: str, revision: str) -> ControllerRevision | None:
        return next((i for i in self.of(namespace, workload) if i.metadata.label(names.REVISION) == revision), None)

    def stable(self, namespace: str, workload: str) -> ControllerRevision | None:
        """What was taken as stable last."""
        items = (i for i in self.of(namespace, workload) if i.metadata.label(names.ROLE) == "stable")
        return max(items, key=lambda i: i.metadata.annotation(STABLE_AT), default=None)

    def records(self, namespace: str, workload: str) -> tuple[RecordView, ...]:
        """Every stored revision and what became of it. A failure that is older than the memory reaches counts no more."""
        return tuple(self._record(i) for i in self.of(namespace, workload))

    def _record(self, item: ControllerRevision) -> RecordView:
        note = item.metadata.annotation
        failed = note(FAILED_AT) if self._remembered(item) else ""
        return RecordView(
            revision=item.metadata.label(names.REVISION),
            images=images(self.template(item)),
            stable_at=note(STABLE_AT),
            stable_by=note(STABLE_BY),
            failed_at=failed,
            failed_for=note(FAILED_FOR) if failed else "",
            sentence=note(FAILED) if failed else "",
            digests=tuple(d for d in note(FAILED_DIGESTS).split(",") if d) if failed else (),
        )

    def _remembered(self, item: ControllerRevision) -> bool:
        failed = item.metadata.annotation(FAILED_AT)
        return bool(failed) and since(failed, self._now()) < MEMORY

    async def store(
        self, namespace: str, workload: str, canary: str, revision: str, role: str, template: Mapping[str, Any] | None, by: str = ""
    ) -> None:
        """Keeps `template` under its name with its role. Idempotent; the former stable needs no write to be one no more."""
        found = self.stored(namespace, workload, revision)
        if found is None:
            if template is None:
                raise ValueError(f"revision {revision} of {namespace}/{workload} is not stored and has no template")
            await self._create(namespace, workload, canary, revision, role, template, by)
        elif role == "stable" and found is not self.stable(namespace, workload):
            marks = {**(found.metadata.annotations or {}), **_stable_marks(by, self._now())}
            await self._patch(found, [add(pointer("metadata", "labels", names.ROLE), role), add(pointer("metadata", "annotations"), marks)])
        await self._prune(namespace, workload, keep=revision)

    async def _create(
        self, namespace: str, workload: str, canary: str, revision: str, role: str, template: Mapping[str, Any], by: str
    ) -> None:
        body = {
            "metadata": {
                "name": object_name(workload, revision),
                "namespace": namespace,
                "labels": {WORKLOAD: label_value(workload), names.OWNER: label_value(canary), names.REVISION: revision, names.ROLE: role},
                "annotations": {WORKLOAD: workload, **(_stable_marks(by, self._now()) if role == "stable" else {})},
            },
            "revision": 1,
            # The API server compares `data` byte by byte on each later patch, with its keys sorted.
            "data": msgspec.Raw(msgspec.json.encode({"template": dict(template)}, order="sorted")),
        }
        try:
            self._store.put(await self._client.create(CONTROLLER_REVISIONS, namespace, body))
        except errors.AlreadyExists:
            return  # a pass before the cache had it

    async def _patch(self, item: ControllerRevision, operations: list[Operation]) -> None:
        self._store.put(await self._client.json_patch(CONTROLLER_REVISIONS, item.namespace, item.name, operations))

    async def remember_failure(
        self, namespace: str, workload: str, revision: str, sentence: str, reason: str = "", digests: Iterable[str] = ()
    ) -> None:
        """The evidence goes with the template. One that failed so long ago that it was forgotten fails anew."""
        item = self.stored(namespace, workload, revision)
        if item is None or self._remembered(item):
            return
        failure = {FAILED: sentence, FAILED_AT: stamp(self._now()), FAILED_FOR: reason, FAILED_DIGESTS: ",".join(digests)}
        kept = {k: v for k, v in (item.metadata.annotations or {}).items() if k not in failure}
        marks = {**kept, **{k: v for k, v in failure.items() if v}}
        await self._patch(item, [add(pointer("metadata", "annotations"), marks)])

    async def forget_failure(self, namespace: str, workload: str, revision: str) -> None:
        item = self.stored(namespace, workload, revision)
        if item is None or not item.metadata.annotation(FAILED_AT):
            return
        written = (FAILED, FAILED_AT, FAILED_FOR, FAILED_DIGESTS)
        await self._patch(item, [remove(pointer("metadata", "annotations", key)) for key in written if item.metadata.annotation(key)])

    async def _prune(self, namespace: str, workload: str, *, keep: str) -> None:
        """The oldest templates that are neither stable, nor failed and recent, nor under way."""
        stable = self.stable(namespace, workload)
        spare = [i for i in self.of(namespace, workload) if i is not stable and i.metadata.label(names.REVISION) != keep]
        # Recent failures first, then what was stable last: that is what an undo looks for.
        spare.sort(
            key=lambda i: (
                i.metadata.annotation(FAILED_AT) if self._remembered(i) else "",
                i.metadata.annotation(STABLE_AT),
                i.metadata.creation_timestamp or "",
            ),
            reverse=True,
        )
        for item in spare[KEPT:]:
            await self._client.delete(CONTROLLER_REVISIONS, namespace, item.name, uid=item.metadata.uid)
            self._store.drop(item.key)

    async def forget_all(self, namespace: str, workload: str, canary: str | None = None) -> None:
        """Every stored template of a workload that Linnet gives up; with `canary` those that were stored for it, failures aside:
        a new Canary of the same workload must not try again what failed under the old one.
        """
        for item in self.of(namespace, workload):
            if canary is not None and (item.metadata.label(names.OWNER) != label_value(canary) or self._remembered(item)):
                continue
            await self._client.delete(CONTROLLER_REVISIONS, namespace, item.name, uid=item.metadata.uid)
            self._store.drop(item.key)


def _stable_marks(by: str, now: float) -> dict[str, str]:
    return {STABLE_AT: stamp(now), STABLE_BY: by or "Unknown"}


def object_name(workload: str, revision: str) -> str:
    return f"{workload}-linnet-{revision}"


def label_value(name: str) -> str:
    """A name as a label value: object names may be longer than labels allow."""
    if len(name) <= names.NAME_LIMIT:
        return name
    return f"{name[:52]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def by_workload(item: ControllerRevision) -> list[str]:
    """Index of the store: namespace/workload."""
    workload = item.metadata.annotation(WORKLOAD)
    return [f"{item.namespace}/{workload}"] if workload else []
