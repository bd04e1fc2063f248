"""The routes that Canaries name, kept by informers like everything else; but a kind is watched only once somebody names it.

A cluster serves few of the kinds that can be moved, and a watch on a kind that is not served is a 404 for ever. Only the discovered kinds
are looked for from the start, because a Canary that names no route is given those of them that name its Service.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.informer import Informer
from daemon.kube.objects import PartialObject
from daemon.kube.resources import Resource
from daemon.kube.store import Handler, Store, by_namespace
from daemon.traffic.router import RouteObject

Routes = Resource[RouteObject]
ASKED_AGAIN: Final = 30.0  # seconds after which a kind that was named and is not served is looked for once more
READ_WITHIN: Final = 5.0  # seconds that a pass waits for a kind that was named for the first time


class _Kind:
    """One kind: its informer, and what is known of it so far."""

    def __init__(self, informer: Informer[RouteObject]) -> None:
        self.informer = informer
        self.absent = ""  # why it cannot be watched
        self.known = asyncio.Event()  # it is read, or known to be absent
        self.named = asyncio.Event()  # a Canary speaks of it


class RouteInformers:
    """`run` belongs into a TaskGroup."""

    def __init__(self, client: Client, namespaces: Sequence[str], discovered: Iterable[Routes]) -> None:
        self._client = client
        self._namespaces = tuple(namespaces)
        self._kinds: dict[Routes, _Kind] = {}
        self._unwatched: asyncio.Queue[_Kind] = asyncio.Queue()
        self._handlers: list[Handler[RouteObject]] = []
        self._stops: list[Callable[[], None]] = []
        self._readers: list[Callable[[], None]] = []
        self.discovered = tuple(discovered)
        for resource in self.discovered:
            self._kind(resource)

    def _kind(self, resource: Routes) -> _Kind:
        found = self._kinds.get(resource)
        if found is None:
            namespaces = self._namespaces if resource.namespaced else ()
            informer = Informer(self._client, resource, namespaces=namespaces, indexes={"namespace": by_namespace})
            found = self._kinds[resource] = _Kind(informer)
            self._stops += [informer.store.add_handler(handler) for handler in self._handlers]
            self._unwatched.put_nowait(found)
        return found

    def informer(self, resource: Routes) -> Informer[RouteObject]:
        """The kind is watched from now on."""
        return self._kind(resource).informer

    def store(self, resource: Routes) -> Store[RouteObject]:
        return self.informer(resource).store

    def trouble(self, resource: Routes) -> str:
        """Why nothing can be said of the routes of this kind; empty where they are in the cache."""
        kind = self._kind(resource)
        kind.named.set()
        if kind.absent or kind.informer.synced:
            return kind.absent
        why = kind.informer.last_error
        return f"its {resource.plural} cannot be read: {why.message}" if why is not None else f"its {resource.plural} are being read"

    @property
    def synced(self) -> bool:
        """Whether the discovered kinds are in the cache, as far as they are served."""
        return all((kind := self._kind(r)).absent or kind.informer.synced for r in self.discovered)

    async def read(self, resources: Iterable[Routes], within: float = READ_WITHIN) -> None:
        """Until these kinds are in the cache, or known not to be served; at most for `within` seconds."""
        try:
            async with asyncio.timeout(within):
                for resource in resources:
                    await self._kind(resource).known.wait()
        except TimeoutError:
            return  # `trouble` says why

    async def wait_synced(self, deadline: float) -> None:
        """For the discovered kinds; Timeout with the reason when it takes longer."""
        await self.read(self.discovered, deadline)
        for resource in self.discovered:
            if not self._kind(resource).known.is_set():
                await self._kind(resource).informer.wait_synced(0)

    def add_handler(self, handler: Handler[RouteObject], read: Callable[[], None]) -> Callable[[], None]:
        """Hear of every change of a route of any kind, and when a kind was read for the first time. Returns the way to stop."""
        self._handlers.append(handler)
        self._readers.append(read)
        self._stops += [kind.informer.store.add_handler(handler) for kind in self._kinds.values()]

        def stop() -> None:
            self._handlers.remove(handler)
            self._readers.remove(read)
            while self._stops:
                self._stops.pop()()

        return stop

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                kind = await self._unwatched.get()
                group.create_task(self._watch(kind), name=f"routes {kind.informer.resource.plural}")

    async def _watch(self, kind: _Kind) -> None:
        while not await self._served(kind):
            kind.known.set()
            await kind.named.wait()
            await asyncio.sleep(ASKED_AGAIN)
        async with asyncio.TaskGroup() as group:
            group.create_task(kind.informer.run(), name=f"informer {kind.informer.resource.plural}")
            for reflector in kind.informer.reflectors:
                await reflector.synced.wait()
            kind.known.set()
            for read in tuple(self._readers):
                read()

    async def _served(self, kind: _Kind) -> bool:
        resource = kind.informer.resource
        namespace = self._namespaces[0] if self._namespaces and resource.namespaced else None
        try:
            await self._client.page(resource.with_model(PartialObject), namespace, limit=1)
        except errors.NotFound:
            kind.absent = f"{resource.kind} ({resource.api_version}) is not served by this cluster"
            return False
        except errors.KubeError:
            pass  # the informer says what is wrong, and tries again
        kind.absent = ""
        return True
