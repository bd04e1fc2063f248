"""All leave from outside, for one Canary, in one list: what follows its annotations, freezes, release windows, its groups, and its turn."""

import time
from collections.abc import Callable, Iterator

from daemon.api.windows import known_zone
from daemon.control import groups
from daemon.control.caches import Caches
from daemon.control.following import following
from daemon.control.line import Line
from daemon.control.resolved import Resolved
from daemon.rollout import timetable
from daemon.rollout.model import Permit


class Leave:
    def __init__(self, caches: Caches, catalogue: str, line: Line, clock: Callable[[], float] = time.time) -> None:
        self._caches = caches
        self._catalogue = catalogue
        self._line = line
        self._clock = clock

    def permits(self, resolved: Resolved) -> tuple[Permit, ...]:
        """Without a request; a permit that withholds nothing is left out, but for a turn that has come."""
        now = self._clock()
        follows, turn = following(resolved), self._line.permit(resolved, now)
        return (
            *([follows] if follows is not None else []),
            *self._freezes(resolved, now),
            # One of an unknown zone is a fault that keeps the Canary from starting anything.
            *timetable.window_permits([w for w in resolved.spec.windows or () if known_zone(w.time_zone)], now),
            *groups.permits(self._caches, resolved.canary),
            *([turn] if turn is not None else []),
        )

    def _freezes(self, resolved: Resolved, now: float) -> Iterator[Permit]:
        """Those that reach the Canary's namespace and mean its labels, or its Deployment's."""
        canary, deployment = resolved.canary, resolved.deployment
        labels = {**((deployment.metadata.labels if deployment else None) or {}), **(canary.metadata.labels or {})}
        for item in sorted(self._caches.freezes.store, key=lambda f: f.key):
            meant = timetable.reaches(item.spec, own=item.namespace, namespace=canary.namespace, catalogue=self._catalogue, labels=labels)
            found = timetable.freeze_permit(f"{item.namespace}/{item.name}", item.spec, now) if meant else None
            if found is not None:
                yield found
