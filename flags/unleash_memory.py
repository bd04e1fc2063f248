"""A cache for Unleash's SDK that needs no file system: its own writes files, on the calling thread, and leaves them behind when killed."""

from typing import Any


class Memory:
    """The SDK's cache without files: the container's root is read-only."""

    bootstrapped = False

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}

    def set(self, key: str, value: Any) -> None:
        self._held[key] = value

    def mset(self, data: dict[str, Any]) -> None:
        self._held.update(data)

    def get(self, key: str, default: Any = None) -> Any:
        return self._held.get(key, default)

    def exists(self, key: str) -> bool:
        return key in self._held

    def destroy(self) -> None:
        self._held.clear()
