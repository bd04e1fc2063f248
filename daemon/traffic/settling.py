"""When a write counts as taken by a gateway that reports nothing, and who wrote last: what an object without a status still tells."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from daemon.kube import owners
from daemon.kube.objects import KubeObject, untyped

LONG_AGO: Final = 60.0  # seconds after which no difference of clocks makes a write look recent
_NEVER: Final = object()


class Settling:
    """A stated time from each change, as it was first seen here."""

    def __init__(self, settle: float, clock: Callable[[], float]) -> None:
        self._settle = settle
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[Any, float]] = {}  # of each route: what it said last, since when

    def of(self, key: tuple[str, str], said: Any, item: KubeObject | None) -> tuple[bool, str]:
        """`said`: what a gateway would act on. `item`: the object that says so; None where there is nothing to be taken, or no more."""
        now = self._clock()
        known, since = self._seen.get(key, (_NEVER, now))
        if known is _NEVER and item is None:
            since = now - self._settle
        elif known is _NEVER or known != said:
            since = now
        self._seen[key] = (said, since)
        long_ago = item is not None and now - last_write(item) >= max(self._settle, LONG_AGO)
        if now - since >= self._settle or long_ago:
            return True, ""
        return False, f"it reports nothing: {self._settle:g} s are waited for the gateway to take it"


def managed(item: KubeObject) -> list[dict[str, Any]]:
    return untyped(item.metadata.managed_fields) or []


def last_write(item: KubeObject) -> float:
    """When anybody last wrote into the object, by the API server's clock; 0 where that is not said."""
    times = [str(e["time"]) for e in managed(item) if e.get("time")]
    return datetime.fromisoformat(max(times)).timestamp() if times else 0.0


def last_manager(item: KubeObject, own: str, paths: Sequence[Sequence[str]]) -> str:
    """Who wrote one of these paths last, `own` aside."""
    owning = [e for e in managed(item) if e.get("manager") != own and not e.get("subresource") and any(owners.owns(e, p) for p in paths)]
    owning.sort(key=lambda e: e.get("time") or "")
    return str(owning[-1]["manager"]) if owning else ""
