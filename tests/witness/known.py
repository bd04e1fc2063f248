"""What the records of one namespace say so far: what its user wants, what counts as fine, what failed, and what was ready when.

Beside `promises`, which asks; here nothing is judged.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tests.witness.audit import Event
from tests.witness.folded import REVISION, TRACK, Folded, Object, labels, notes, share, stored_versions, version

RACE = 4.0  # seconds between what one writer does and what another can know of it, on a machine that has other things to do
NAME = "shop"
VERBS_OF_PEOPLE = ("promote", "override", "hotfix", "undo")
# Ends that say nothing against a version: what somebody took away, or a newer version overtook.
BLAMELESS = ("Superseded", "Withdrawn", "ScaledToZero", "Bypassed", "Deleted", "WorkloadMissing")


class Known:
    """One shop, learnt write by write."""

    def __init__(self, namespace: str, *, linnet: str, name: str = NAME) -> None:
        self.namespace, self.linnet, self.name = namespace, linnet, name
        self.world = Folded()
        self.broken: list[str] = []
        self.trace: deque[str] = deque(maxlen=150)
        self.fine: set[str] = set()  # versions that may roll: stable ones, proven ones, and what a person let go
        self.failed: dict[str, str] = {}  # version -> why
        self.seen_by_users: set[str] = set()  # versions that had requests
        self.route: Object | None = None  # the rules as its user applied them
        self.minimum: int | None = None  # of the autoscaler, as its user wants it
        self.flags: Any = None
        self._adopted = self._kept_flags = False
        self._now = 0.0
        self._ready: deque[tuple[float, int, int, int]] = deque()  # time, ready canaries, ready stables, wanted stables
        self._taken: tuple[float, int] | None = None  # when somebody changed our share, and what they left
        self._foreign_route = 0.0
        self._foreign_scaler = 0.0
        self._foreign_pods = 0.0
        self._aborted: float | None = None
        self._overdue: set[str] = set()
        self.alive_since = 0.0  # when the daemon that runs now was started

    # What stands.

    def deployment(self) -> Object | None:
        return self.world.get("deployments", self.namespace, self.name)

    def canary(self) -> Object | None:
        return self.world.get("canaries", self.namespace, self.name)

    def status(self) -> Object:
        return (self.canary() or {}).get("status") or {}

    def weight(self) -> int | None:
        return share(self.world.get("httproutes", self.namespace, self.name))

    def canaries(self) -> list[Object]:
        return [d for d in self.world.all("deployments", self.namespace) if labels(d).get(TRACK) == "canary"]

    def version_of(self, revision: str) -> str:
        return stored_versions(self.world, self.namespace).get(revision, "")

    def _adoption(self) -> bool:
        """Linnet answers for this Deployment: it carries its mark."""
        found = self.deployment()
        return found is not None and "linnet.dev/canary" in notes(found)

    # What people do, and what is so learnt.

    def _learn(self, event: Event, before: Object | None, after: Object | None) -> None:
        theirs = event.user != self.linnet
        if event.resource == "httproutes":
            self._learn_route(event, before, after, theirs=theirs)
        elif event.resource == "horizontalpodautoscalers" and theirs and after is not None:
            if before is None or before["spec"].get("minReplicas") != after["spec"].get("minReplicas"):
                self.minimum, self._foreign_scaler = after["spec"].get("minReplicas"), event.finished if before is not None else 0.0
        elif event.resource == "configmaps" and event.name == "flags" and theirs and after is not None:
            self.flags = after.get("data")
        elif event.resource == "canaries":
            self._learn_canary(event, before, after, theirs=theirs)
        elif event.resource == "deployments":
            self._learn_deployment(event, before, after, theirs=theirs)
        elif event.resource == "pods" and event.verb == "delete" and not event.user.startswith("system:"):
            self._foreign_pods = event.finished
        if event.resource in ("deployments", "httproutes"):
            self._note_ready()

    def _learn_route(self, event: Event, before: Object | None, after: Object | None, *, theirs: bool) -> None:
        weight = share(after)
        if theirs and event.subresource != "status" and ((before or {}).get("spec") != (after or {}).get("spec")):
            self._foreign_route = event.finished
            if isinstance(event.request, dict) and "parentRefs" in (event.request.get("spec") or {}):
                self.route = event.request["spec"]  # applied whole; a hand on a weight alone is not what its user wants for good
            was = share(before)
            # A backend without a share that is dropped, as by one apply of everything, takes nothing from anybody.
            if (was or weight) and was != weight and self.status().get("rollout"):
                self._taken = (event.finished, weight or 0)
        if weight:
            selector = (self.world.get("services", self.namespace, f"{self.name}-canary") or {"spec": {}})["spec"].get("selector") or {}
            self.seen_by_users.add(self.version_of(selector.get(REVISION, "")))

    def _learn_canary(self, event: Event, before: Object | None, after: Object | None, *, theirs: bool) -> None:
        if after is None:
            self._adopted = False
            return
        said = notes(after).get("linnet.dev/action", "")
        if theirs and said and (before is None or notes(before).get("linnet.dev/action") != said):
            verb, _, rest = said.partition("@")
            revision = rest.partition("#")[0]
            if verb in VERBS_OF_PEOPLE:
                self.fine.add(self.version_of(revision))
            if verb in ("override", "retry"):
                self.failed.pop(self.version_of(revision), None)
            self._taken = None
        status = after.get("status") or {}
        if not status.get("rollout"):
            self._taken = None
        if status.get("stableRevision") and not self._adopted:
            self._adopted = True
            self.fine.add(self.version_of(status["stableRevision"]))
        self._learn_verdict(event, status)

    def _learn_verdict(self, event: Event, status: Object) -> None:
        rollout = status.get("rollout") or {}
        reason = rollout.get("rollbackReason")
        if rollout and status.get("phase") == "RollingBack":
            if self._aborted is None:
                self._aborted = event.finished
            if reason not in BLAMELESS and not rollout.get("overridden"):
                self.failed.setdefault(self.version_of(rollout["revision"]), str(reason))
        else:
            self._aborted = None
        if rollout.get("promoteReason") in ("Proven", "Hotfix", "Owner"):
            self.fine.add(self.version_of(rollout["revision"]))

    def _learn_deployment(self, event: Event, before: Object | None, after: Object | None, *, theirs: bool) -> None:
        if after is None or event.name != self.name:
            return
        runs = version(after["spec"]["template"])
        marked = before is not None and "linnet.dev/canary" in notes(before)
        off = notes(after).get("linnet.dev/hold") == "off"
        if theirs and event.subresource == "" and (not marked or off):
            self.fine.add(runs)  # nothing of Linnet's holds this: created anew, given up by Linnet, or let go by its owner

    def _note_ready(self) -> None:
        found = self.deployment()
        wanted = found["spec"].get("replicas", 1) if found else 0
        stable = ((found or {}).get("status") or {}).get("availableReplicas", 0)
        ready = sum((c.get("status") or {}).get("availableReplicas", 0) for c in self.canaries())
        self._ready.append((self._now, ready, stable, wanted))
        while len(self._ready) > 1 and self._ready[1][0] < self._now - RACE:
            self._ready.popleft()  # the first of those kept is what stood when the window began
