"""List, then watch, for ever: the only way this daemon reads what it needs often.

The library's watch reconnects hundreds of times a second on an empty reply, yields the lines of an HTML error page as events and
retries an expired version with the same version. The rules here, each with a fault test:

- A list is paged; the store is made equal to it, with a delete told for each object that vanished unseen.
- The watch starts at the list's version; bookmarks move it on. 410, as HTTP status or in the stream, means: list again.
- Between two connections there is a pause with jitter, growing from 0.8 to 30 s while nothing works. Only a connection that held for
  a while may be followed at once, so requests are bounded whatever the server does.
- The server is asked to end a watch after 240-300 s, and a silence beyond the inactivity limit (bookmarks come each minute) ends it
  from our side, so a half-open socket costs about a minute, not for ever.
- An object that does not fit its struct is kept at its last good version and listed in `rejected`; it is never taken for deleted.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from daemon.kube import errors
from daemon.kube.backoff import Backoff, Rng
from daemon.kube.client import Client, Page, Rejected, decode, identify
from daemon.kube.objects import KubeObject
from daemon.kube.resources import Resource
from daemon.kube.store import IndexFunction, Key, Store

log = logging.getLogger("linnet.kube.informer")

T = TypeVar("T", bound=KubeObject)


class InformerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All times in seconds."""

    page_size: int = 250
    backoff: Backoff = Backoff(first=0.8, limit=30.0)
    watch_seconds: tuple[int, int] = (240, 300)
    inactivity: float = 75.0
    healthy_after: float = 10.0
    list_deadline: float = 30.0


DEFAULTS = InformerOptions()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct, frozen=True):
    class Meta(msgspec.Struct, frozen=True):
        resourceVersion: str = ""  # noqa: N815  wire name

    metadata: Meta = Meta()


_EVENT = msgspec.json.Decoder(_Event)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)


class Reflector(Generic[T]):
    """Keeps a store equal to one namespace (or all) of one kind. `run` never returns; cancel it."""

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        store: Store[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[T], T] | None = None,
        options: InformerOptions = DEFAULTS,
        rng: Rng = random.random,
    ) -> None:
        self._client = client
        self._resource = resource
        self._store = store
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._transform = transform
        self._options = options
        self._rng = rng
        self._version = ""
        self._heard = False
        self.synced = asyncio.Event()
        self.last_error: errors.KubeError | None = None
        self.rejected: dict[Key, Rejected] = {}

    @property
    def what(self) -> str:
        return f"{self._resource.plural} in {self._namespace or 'all namespaces'}"

    async def run(self) -> None:
        """List and watch until cancelled; no error ends it, and none makes it spin."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began, self._heard = loop.time(), False
            failed = await self._attempt()
            held = loop.time() - began >= self._options.healthy_after
            # Events that do arrive deserve a shorter wait; a list alone does not, or a server that says 410 would be listed to death.
            failures = 0 if held else min(failures + 1, 3 if self._heard else 64)
            if failed is not None:
                self._note(failed, failures)
            asked = failed.retry_after if failed is not None and failed.retry_after else 0.0
            pause = max(asked, self._options.backoff.delay(failures, self._rng))
            if pause:
                await asyncio.sleep(pause)

    async def _attempt(self) -> errors.KubeError | None:
        """One list (when needed) and one watch. The error that ended it, or None for an orderly end."""
        try:
            if not self._version:
                await self._list()
            await self._watch()
        except errors.Gone as e:
            self._version = ""
            return e
        except errors.KubeError as e:
            return e
        return None

    def _note(self, e: errors.KubeError, failures: int) -> None:
        quiet = isinstance(e, errors.Timeout) and failures == 0  # silence on an idle kind is normal
        if not quiet:
            self.last_error = e
        log.log(logging.DEBUG if quiet or failures < 2 else logging.WARNING, "watching %s: %s", self.what, e.message)

    async def _list(self) -> None:
        o = self._options
        selectors = {"label_selector": self._label_selector, "field_selector": self._field_selector}
        pages: list[Page[T]] = []
        token = ""
        limit: int | None = o.page_size
        while not pages or token:
            try:
                page = await self._client.page(
                    self._resource, self._namespace, limit=limit, token=token, deadline=o.list_deadline, **selectors
                )
            except errors.Gone:
                if not token:
                    raise
                # The list outlived its snapshot: once more, in one piece.
                pages, token, limit = [], "", None
                continue
            pages.append(page)
            token = page.continue_
        self._adopt(pages)

    def _adopt(self, pages: Sequence[Page[T]]) -> None:
        items = [self._transform(item) if self._transform else item for page in pages for item in page.items]
        self.rejected = {(r.namespace, r.name): r for page in pages for r in page.rejected}
        for r in self.rejected.values():
            log.warning("%s %s/%s cannot be read: %s", self._resource.kind, r.namespace, r.name, r.message)
        self._store.replace(items, namespace=self._namespace, keep=self.rejected)
        self._version = pages[-1].resource_version
        if not self._version:
            raise errors.BadResponse(f"the list of {self.what} has no resourceVersion")
        self.last_error = None
        self.synced.set()

    async def _watch(self) -> None:
        low, high = self._options.watch_seconds
        params: dict[str, str | int | bool | None] = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            "timeoutSeconds": low + int((high - low) * self._rng()),
            "labelSelector": self._label_selector or None,
            "fieldSelector": self._field_selector or None,
        }
        path = self._resource.collection(self._namespace)
        async with self._client.transport.stream(path, params=params, inactivity=self._options.inactivity) as lines:
            async for line in lines:
                self._take(line)
                self._heard = True
                self.last_error = None

    def _take(self, line: bytes) -> None:
        try:
            event = _EVENT.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise errors.BadResponse(f"watching {self.what}: a line is no event: {line[:120]!r}") from e
        match event.type:
            case "ADDED" | "MODIFIED":
                self._put(event.object)
            case "DELETED":
                meta = identify(event.object)
                self._store.drop((meta.namespace, meta.name))
                self.rejected.pop((meta.namespace, meta.name), None)
                self._move_to(meta.resource_version)
            case "BOOKMARK":
                self._move_to(_bookmark(event.object))
            case "ERROR":
                status = errors.parse_status(bytes(event.object)) or errors.Status(message=str(bytes(event.object)[:200]))
                raise errors.from_status(status, what=f"watching {self.what}")
            case other:
                raise errors.BadResponse(f"watching {self.what}: event type {other!r} is unknown")

    def _put(self, raw: msgspec.Raw) -> None:
        try:
            item = decode(self._resource.model, raw.copy())
        except errors.BadResponse as e:
            meta = identify(raw)
            if not meta.name:
                raise
            log.warning("%s %s/%s cannot be read: %s", self._resource.kind, meta.namespace, meta.name, e.message)
            self.rejected[meta.namespace, meta.name] = Rejected(namespace=meta.namespace, name=meta.name, message=e.message)
            self._move_to(meta.resource_version)
            return
        self.rejected.pop(item.key, None)
        self._store.put(self._transform(item) if self._transform else item)
        self._move_to(item.metadata.resource_version)

    def _move_to(self, version: str) -> None:
        if version:
            self._version = version


def _bookmark(raw: msgspec.Raw) -> str:
    try:
        return _BOOKMARK.decode(raw).metadata.resourceVersion
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise errors.BadResponse(f"a bookmark cannot be read: {bytes(raw)[:120]!r}") from e


class Informer(Generic[T]):
    """One store fed by one reflector for the whole cluster, or by one for each namespace.

    `run` belongs into a TaskGroup; `await wait_synced(deadline)` before the first read.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        *,
        namespaces: Sequence[str] = (),
        label_selector: str = "",
        field_selector: str = "",
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        transform: Callable[[T], T] | None = None,
        options: InformerOptions = DEFAULTS,
        rng: Rng = random.random,
    ) -> None:
        self.resource = resource
        self.store: Store[T] = Store(indexes)
        scopes: Sequence[str | None] = tuple(dict.fromkeys(namespaces)) or (None,)
        self.reflectors = tuple(
            Reflector(
                client,
                resource,
                self.store,
                namespace=scope,
                label_selector=label_selector,
                field_selector=field_selector,
                transform=transform,
                options=options,
                rng=rng,
            )
            for scope in scopes
        )

    @property
    def synced(self) -> bool:
        return all(r.synced.is_set() for r in self.reflectors)

    @property
    def last_error(self) -> errors.KubeError | None:
        """Why it is not synced, or what keeps the watch from working just now."""
        return next((r.last_error for r in self.reflectors if r.last_error), None)

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        return tuple(x for r in self.reflectors for x in r.rejected.values())

    async def wait_synced(self, deadline: float) -> None:
        """Until every reflector has listed once; Timeout with the reason when it takes longer."""
        try:
            async with asyncio.timeout(deadline):
                for reflector in self.reflectors:
                    await reflector.synced.wait()
        except TimeoutError as e:
            why = self.last_error
            raise errors.Timeout(
                f"{self.resource.plural} were not listed within {deadline:g} s: {why.message if why else 'no reply'}"
            ) from e

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors:
                group.create_task(reflector.run(), name=f"reflector {reflector.what}")
