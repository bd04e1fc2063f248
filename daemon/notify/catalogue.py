"""Who hears of what: the Notifiers of a Canary, as plain data, and the kinds each wants."""

from collections.abc import Iterable

import msgspec

from daemon.notify.message import Kind


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `spec.notify`: a Notifier, resolved to the namespace it was found in, and the kinds it wants (all when left out)."""

    notifier: str
    namespace: str
    on: tuple[Kind, ...] | None = None

    @property
    def key(self) -> str:
        """Names the Notifier for queues, metrics and logs."""
        return f"{self.namespace}/{self.notifier}"


def routes_for(kind: Kind, routes: Iterable[Route]) -> tuple[str, ...]:
    """The keys of the Notifiers that hear of this kind, each once and in the order written."""
    found: dict[str, None] = {}
    for route in routes:
        if kind == "Test" or route.on is None or kind in route.on:
            found[route.key] = None
    return tuple(found)
