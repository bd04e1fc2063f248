"""The cache that reconcilers read instead of the API server.

Objects are frozen and shared. A handler hears of each change exactly once as `(old, new)`: a create is (None, new), a delete is
(old, None), and an object that was deleted and created again between two looks is told as a delete and a create, because its uid is
what our records speak of. Indexes are kept up to date in the same step, so a handler never sees an index that lags behind.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from daemon.kube.objects import KubeObject

log = logging.getLogger("linnet.kube.store")

T = TypeVar("T", bound=KubeObject)
Key = tuple[str, str]
IndexFunction = Callable[[T], Iterable[str]]
Handler = Callable[[T | None, T | None], None]


class Store(Generic[T]):
    """Objects of one kind by (namespace, name), with indexes. A reflector writes to it, and whoever got a newer object as the answer
    to a write of its own.
    """

    def __init__(self, indexes: Mapping[str, IndexFunction[T]] | None = None) -> None:
        self._objects: dict[Key, T] = {}
        self._functions = dict(indexes or {})
        self._indexes: dict[str, dict[str, set[Key]]] = {name: {} for name in self._functions}
        self._entries: dict[Key, dict[str, tuple[str, ...]]] = {}
        self._handlers: list[Handler[T]] = []

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get((namespace, name))

    def by(self, index: str, key: str) -> tuple[T, ...]:
        """All objects that the index function filed under `key`, sorted by namespace and name."""
        return tuple(self._objects[k] for k in sorted(self._indexes[index].get(key, ())))

    def index_keys(self, index: str) -> frozenset[str]:
        return frozenset(self._indexes[index])

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def keys(self) -> frozenset[Key]:
        return frozenset(self._objects)

    def add_handler(self, handler: Handler[T], *, replay: bool = True) -> Callable[[], None]:
        """Hear of every change from now on; with `replay`, of what is there already too. Returns the way to stop."""
        self._handlers.append(handler)
        if replay:
            for item in self:
                self._tell(handler, None, item)
        return lambda: self._handlers.remove(handler) if handler in self._handlers else None

    def put(self, item: T) -> None:
        """Store one object. The version we have already is no change, and an older one is old news: a watch brings what was there
        before our own write after the answer to that write, and taking it for the present would look like someone undoing us.
        """
        old = self._objects.get(item.key)
        if old is not None and old.metadata.uid != item.metadata.uid:
            self.drop(item.key)
            old = None
        if old is not None and not _newer(old.metadata.resource_version, item.metadata.resource_version):
            return
        self._objects[item.key] = item
        self._file(item.key, item)
        self._notify(old, item)

    def drop(self, key: Key) -> None:
        """Forget one object; unknown keys are no news."""
        old = self._objects.pop(key, None)
        if old is not None:
            self._file(key, None)
            self._notify(old, None)

    def replace(self, items: Iterable[T], *, namespace: str | None = None, keep: Iterable[Key] = ()) -> None:
        """Make the store equal to a list. What is missing from it was deleted unseen and is told as a delete.

        `namespace` limits what the list speaks for; `keep` are keys that exist but could not be read, whose last good version stays.
        """
        listed = {item.key: item for item in items}
        spared = set(keep)
        for key in sorted(self._objects):
            if key not in listed and key not in spared and (namespace is None or key[0] == namespace):
                self.drop(key)
        for item in listed.values():
            self.put(item)

    def _file(self, key: Key, item: T | None) -> None:
        for name, values in self._entries.pop(key, {}).items():
            for value in values:
                keys = self._indexes[name][value]
                keys.discard(key)
                if not keys:
                    del self._indexes[name][value]
        if item is None or not self._functions:
            return
        entries = {name: self._values(name, function, item) for name, function in self._functions.items()}
        self._entries[key] = entries
        for name, values in entries.items():
            for value in values:
                self._indexes[name].setdefault(value, set()).add(key)

    def _values(self, name: str, function: IndexFunction[T], item: T) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(function(item)))
        except Exception:
            log.exception("index %s failed for %s/%s; it is not filed there", name, item.namespace, item.name)
            return ()

    def _notify(self, old: T | None, new: T | None) -> None:
        for handler in tuple(self._handlers):
            self._tell(handler, old, new)

    def _tell(self, handler: Handler[T], old: T | None, new: T | None) -> None:
        """One broken handler must cost neither the others nor the watch."""
        try:
            handler(old, new)
        except Exception:
            item = new or old
            log.exception("a handler failed on %s", item.key if item else None)


def _newer(old: str, new: str) -> bool:
    """Whether `new` is later. Versions are numbers that rise (Kubernetes promises so since 1.35); any other text only differs."""
    if old.isdecimal() and new.isdecimal():
        return int(new) > int(old)
    return new != old


def by_owner(item: KubeObject) -> list[str]:
    """Index function: uids of the owners."""
    return [ref.uid for ref in item.metadata.owner_references or ()]


def by_namespace(item: KubeObject) -> list[str]:
    """Index function: the namespace."""
    return [item.namespace]
