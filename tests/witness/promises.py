"""The promises, asked of other people's records after each write: P1 to P6 and P8 to P10 of one shop in one namespace.

    watched = Promises("shop-ns", linnet="system:serviceaccount:linnet-system:linnet")
    for event in records: watched.take(event)
    watched.rest()        # once a release is over: everything of the user's is what its user made of it
    watched.broken        # sentences; empty is well

A checker that computed with the daemon's own code would share its mistakes: everything here is made of the answers of the API server.
What two writers do at the same moment is nobody's fault: for `RACE` seconds either order counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.witness.audit import Event
from tests.witness.folded import (
    OWNER,
    TRACK,
    Object,
    carried,
    foreign_fields,
    labels,
    notes,
    owner,
    plain,
    rules,
    seconds,
    share,
    told,
    version,
)
from tests.witness.known import NAME, RACE, Known

BOUND = 60.0  # seconds for new requests to be off the canary, a new daemon's start included
OVERTIME = 90.0  # seconds that a wait may outlast its own deadline
# Waits for a person, or for what its owner wrote down: they have no end of their own.
FOR_PEOPLE = frozenset(
    [
        "PausedByOwner",
        "PausedByPerson",
        "PausedByStep",
        "ScaledToZero",
        "KnownBad",
        "Bypassed",
        "StableLost",
        "Inconclusive",
        "Rejected",
        "Approval",
        "ApprovalOverdue",
        "HoldOff",
        "PermitFreeze",
        "WorkloadMissing",
        "Queue",
    ]
)
MINE = ("events", "leases", "analysisruns", "tokenreviews", "subjectaccessreviews")


class Promises(Known):
    """What was broken in one namespace, in the order in which it was seen."""

    def __init__(self, namespace: str, *, linnet: str, name: str = NAME) -> None:
        super().__init__(namespace, linnet=linnet, name=name)
        self._rules: tuple[Callable[[Event, Object | None, Object | None], None], ...] = (
            self._p8_own,
            self._p2_weight,
            self._p2_floor,
            self._p3_order,
            self._p3_bound,
            self._p4_proof,
            self._p4_immutable,
            self._p6_waits,
            self._p8_fight,
            self._p9_memory,
            self._p10_roll,
            self._p10_leave,
        )

    # The records.

    def take(self, event: Event) -> None:
        """One accepted write of this namespace."""
        self._now = max(self._now, event.finished)
        before, after = self.world.take(event)
        if before is after and event.verb != "delete":
            return
        self._tell(event, after)
        self._learn(event, before, after)
        for rule in self._rules:
            rule(event, before, after)

    def _says(self, promise: str, what: str) -> None:
        self.broken.append(f"{promise}: {what}")
        self.trace.append(f"!!! {promise}: {what}")

    def _tell(self, event: Event, after: Object | None) -> None:
        line = told(event, after, self.linnet)
        if line and not any(said.endswith(line) for said in list(self.trace)[-3:]):
            self.trace.append(f"{event.finished % 1000:7.2f} {line}")

    # P2: weight implies ready capacity.

    def _p2_weight(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.resource != "httproutes" or event.user != self.linnet or not (weight := share(after)) or not self._ready:
            return
        if self._now - self._foreign_pods < RACE:
            return
        most = max(carried(ready, stable, wanted) for ready in {r[1] for r in self._ready} for _, _, stable, wanted in self._ready)
        if weight > most:
            self._says(
                "P2",
                f"{weight} % was written on {self._ready[-1][1]} ready canary pods of {self._ready[-1][3]} that serve all: {most} % at most",
            )

    def _p2_floor(self, event: Event, before: Object | None, after: Object | None) -> None:
        scaler = self.world.get("horizontalpodautoscalers", self.namespace, self.name)
        if event.resource != "httproutes" or event.user != self.linnet or scaler is None or not self._ready:
            return
        if not share(after) or (share(before) or 0) >= (share(after) or 0) or self._meddled_with_scaler():
            return
        needed = min(min(wanted for *_, wanted in self._ready), scaler["spec"]["maxReplicas"])
        if scaler["spec"].get("minReplicas", 1) < needed:
            self._says(
                "P2",
                f"{share(after)} % leave stable while its autoscaler may shrink it from {needed} to {scaler['spec'].get('minReplicas', 1)}",
            )

    def _meddled_with_scaler(self) -> bool:
        started = ((self.status().get("rollout") or {}).get("startedAt")) or ""
        return not started or self._foreign_scaler >= seconds(started) - RACE

    # P3: off the canary first, then pods; and soon.

    def _p3_order(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.user != self.linnet or not (self.weight() or 0) or self._now - self._foreign_route < RACE:
            return
        took = ""
        if event.resource == "deployments" and before is not None and labels(before).get(TRACK) == "canary":
            if after is None or after["metadata"].get("deletionTimestamp"):
                took = f"{event.name} was deleted"
            elif not after["spec"].get("replicas"):
                took = f"{event.name} was scaled to 0"
        elif event.resource == "services" and event.name == f"{self.name}-canary" and before is not None:
            if after is None:
                took = f"Service {event.name} was deleted"
            elif before["spec"].get("selector") != after["spec"].get("selector"):
                took = f"Service {event.name} selects others"
        if took:
            self._says("P3", f"{took} while a route sends the canary {self.weight()} %")

    def _p3_bound(self, event: Event, before: Object | None, after: Object | None) -> None:
        if self._aborted is None or not self.weight():
            return
        waiting = (self.status().get("waiting") or {}).get("reason")
        since = max(self._aborted, self.alive_since, self._foreign_route)
        if self._now - since > BOUND and waiting != "StableCapacity":
            self._says("P3", f"the canary still has {self.weight()} % {self._now - since:.0f} s after its release was ended")
            self._aborted = None

    # P4: evidence of this version, and of nothing else.

    def _p4_proof(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.resource != "canaries" or event.user != self.linnet or after is None:
            return
        rollout = self.status().get("rollout") or {}
        was = (((before or {}).get("status") or {}).get("rollout") or {}).get("promoteReason")
        reason = rollout.get("promoteReason")
        if not reason or was == reason:
            return
        runs = self.version_of(rollout["revision"])
        if reason == "Proven" and (not runs or runs not in self.seen_by_users):
            self._says("P4", f"{runs or rollout['revision']} counts as proven, and no request ever reached it")
        if reason == "Proven" and runs.partition(":")[2].startswith("bad"):
            self._says("P4", f"{runs}, which fails, counts as proven")
        if reason in ("Person", "Override", "Hotfix") and runs not in self.fine:
            self._says("P4", f"{runs} is promoted by a person's word ({reason}), and nobody said it")

    def _p4_immutable(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.resource != "deployments" or before is None or after is None or labels(before).get(TRACK) != "canary":
            return
        if before["spec"]["template"] != after["spec"]["template"] and event.user == self.linnet:
            self._says("P4", f"the template of {event.name} was changed: two versions behind one name")

    # P6: every wait says what for, until when, and how out.

    def _p6_waits(self, event: Event, before: Object | None, after: Object | None) -> None:
        waiting = self.status().get("waiting") or {}
        if event.resource == "canaries" and event.user == self.linnet and waiting:
            if not (waiting.get("message") and waiting.get("wayOut")):
                self._says("P6", f"the wait {waiting['reason']} says no {'way out' if waiting.get('message') else 'reason'}")
            if not waiting.get("until") and waiting["reason"] not in FOR_PEOPLE and self.status().get("rollout"):
                self._says("P6", f"the wait {waiting['reason']} has no end: {waiting.get('message')}")
        until = waiting.get("until")
        if until and waiting["reason"] not in FOR_PEOPLE and self._now - max(seconds(until), self.alive_since) > OVERTIME:
            key = f"{waiting['reason']} {until}"
            if key not in self._overdue and not self._told(waiting["reason"]):
                self._overdue.add(key)
                self._says(
                    "P6", f"the wait {waiting['reason']} was to end {self._now - seconds(until):.0f} s ago: {waiting.get('message')}"
                )

    def _told(self, reason: str) -> bool:
        """A wait past its end that people were told of: the way back or the last stage of a promotion does not end, and cannot."""
        rollout = self.status().get("rollout") or {}
        return bool(rollout.get("told")) and (self.status().get("phase") in ("RollingBack", "Promoting", "Settling"))

    # P8: only what is its own, and no fights.

    def _p8_own(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.user != self.linnet or event.resource in MINE or event.resource == "controllerrevisions":
            return
        found = before or after
        if found is None or OWNER in labels(found) or (event.resource == "canaries" and event.subresource == "status"):
            return
        if event.verb in ("create", "delete"):
            self._says("P8", f"{event.target} is not Linnet's to {event.verb}")
            return
        operations = event.request if isinstance(event.request, list) else None
        if operations is None:
            self._says("P8", f"{event.target}: not by JSON Patch: {json.dumps(event.request)[:200]}")
            return
        tested = {o["path"] for o in operations if o["op"] == "test"}
        written = [o["path"] for o in operations if o["op"] != "test"]
        if all(p.startswith("/metadata/annotations/linnet.dev~1") for p in written) or event.resource in ("canaries", "replicasets"):
            return
        if not tested:
            self._says("P8", f"{event.target} without a test: {json.dumps(operations)[:300]}")
        rolls = event.resource == "deployments" and any(p.startswith(("/spec/paused", "/spec/template")) for p in written)
        if rolls and "/spec/template" not in tested:
            self._says("P8", f"{event.target}: {written} without a test of the template")

    def _p8_fight(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.resource != "httproutes" or event.user != self.linnet or self._taken is None:
            return
        at, left = self._taken
        if (share(after) or 0) > left and (share(after) or 0) > (share(before) or 0) and self._now - at > RACE:
            self._says("P8", f"somebody left the canary {left} %, and Linnet wrote {share(after)} % over it without a word from anyone")

    # P9: what failed is remembered.

    def _p9_memory(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.resource != "deployments" or event.verb != "create" or event.user != self.linnet or after is None:
            return
        runs = version(after["spec"]["template"])
        rollout = self.status().get("rollout") or {}
        if runs in self.failed and not rollout.get("overridden"):
            self._says("P9", f"{runs} failed ({self.failed[runs]}) and is tried again, and nobody asked for it")

    # P5, P10: what was not judged fine does not roll, whoever is away or deleted.

    def _p10_roll(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.resource != "replicasets" or after is None or owner(after) != f"Deployment/{self.name}" or not self._adopted:
            return
        now, was = after["spec"].get("replicas") or 0, ((before or {"spec": {}})["spec"].get("replicas")) or 0
        runs = version(after["spec"]["template"])
        if now > was and runs not in self.fine and self._adoption():
            self._says("P10", f"{runs} rolls ({was} -> {now} pods), and it was not judged fine")

    def _p10_leave(self, event: Event, before: Object | None, after: Object | None) -> None:
        if event.resource != "canaries" or before is None or after is not None or not (before.get("status") or {}).get("stableRevision"):
            return
        found = self.deployment()
        if found is None:
            return
        runs = version(found["spec"]["template"])
        if runs not in self.fine and not found["spec"].get("paused"):
            self._says("P10", f"the Canary is gone and {runs}, which was not judged fine, rolls")
        self._as_before()

    # P1: at rest.

    def rest(self) -> None:
        """A release is over, and nobody else is at work: nothing of the user's is otherwise than its user made it."""
        status, found = self.status(), self.deployment()
        if found is None:
            self._says("P1", "the Deployment is not there")
            return
        held = status.get("phase") == "Held"
        if bool(found["spec"].get("paused")) != held:
            self._says("P1", f"at rest, {status.get('phase')}, and the Deployment is {'paused' if not held else 'not held'}")
        if ("linnet.dev/held" in notes(found)) != held:
            self._says("P1", f"at rest, {status.get('phase')}, and the mark of a hold is {'left' if not held else 'missing'}")
        runs = version(found["spec"]["template"])
        if not held and runs not in self.fine:
            self._says("P10", f"{runs} serves, and it was not judged fine")
        self._as_before()

    def _as_before(self) -> None:
        found = self.deployment()
        route = self.world.get("httproutes", self.namespace, self.name)
        if route is not None and self.route is not None and rules(route["spec"]) != rules(self.route):
            self._says(
                "P1", f"the route is not what its user applied: {json.dumps(rules(route['spec']))} for {json.dumps(rules(self.route))}"
            )
        scaler = self.world.get("horizontalpodautoscalers", self.namespace, self.name)
        if scaler is not None and scaler["spec"].get("minReplicas") != self.minimum:
            self._says("P1", f"the autoscaler's minimum is {scaler['spec'].get('minReplicas')}, its user wants {self.minimum}")
        flags = self.world.get("configmaps", self.namespace, "flags")
        if flags is not None and ((self.status().get("history") or [{}])[0]).get("outcome") == "Promoted":
            # A promoted flag is what the release made of it, and Linnet's to change again.
            self.flags, self._kept_flags = flags.get("data"), True
        if flags is not None and self.flags is not None and plain(flags.get("data")) != plain(self.flags):
            self._says(
                "P1", f"the flags are not what their user wrote: {json.dumps(flags.get('data'))[:600]} for {json.dumps(self.flags)[:600]}"
            )
        for item in (found, route, scaler, flags):
            owned = foreign_fields(item) if item is not None else []
            for fields in [] if item is flags and self._kept_flags else owned:
                self._says("P1", f"Linnet still owns fields of {item['kind'] if item else ''}: {fields[:300]}")
        if self.canaries():
            self._says("P1", f"a canary is left: {[c['metadata']['name'] for c in self.canaries()]}")
