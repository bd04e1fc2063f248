"""One shop's way through its plan: pushes, disturbances at their moments, and people who put right what they broke.

The walker sees the cluster through the same records as the checker, and never asks the daemon.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from tests.walk import ground as g
from tests.walk.hands import Hands
from tests.walk.people import Refused
from tests.walk.plan import Move, Plan, Release
from tests.witness.audit import Event
from tests.witness.folded import notes, version

Object = dict[str, Any]
SETTLES = 150.0  # seconds without any news of a release that is not over, while everybody does their part
PATIENCE = 5.0  # seconds that everything stands still before a disturbance that is still to come is waited for no more
LOOK = 0.1


class Broken(Exception):
    """A promise was broken; the sentences."""


class Walker(Hands):
    """`walk` plays the plan; raises `Broken` at the first release that broke a promise."""

    def __init__(self, ground: g.Ground, plan: Plan, namespace: str) -> None:
        super().__init__(ground, plan, namespace)
        self.done: list[Release] = []
        self.ends: Counter[str] = Counter()

    def take(self, event: Event) -> None:
        self.seen.alive_since = self.ground.alive_since
        try:
            self.seen.take(event)
        except Exception as error:
            self.seen.broken.append(f"the checker itself: {error!r} at {event.target}")  # and not the API server's fault
            raise

    async def walk(self) -> None:
        await self.ground.open(self.namespace)
        self.ground.watch(self.namespace, self.take)
        try:
            async with self.ground.people(self.namespace) as people:
                self.people = people
                await self._open()
                for release in self.plan.releases:
                    self.done.append(release)
                    self.seen.trace.clear()
                    await self._play(release)
                    self._judge()
        finally:
            await self.ground.close(self.namespace)

    def _judge(self) -> None:
        if self.seen.broken:
            raise Broken("\n".join(self.seen.broken))

    async def _open(self) -> None:
        plan, apply = self.plan, self.people.apply
        for obj in (g.metric_source(self.ground.source()), g.service(plan), g.route(f"{self.namespace}.test"), self._wanted):
            await apply(obj)
        if plan.scaled:
            await apply(g.autoscaler(plan))
        for obj in g.flag_objects() if plan.flags else ():
            await apply(obj)
        await apply(g.canary(plan))
        await self._until(self._at_rest, "adopted")

    # One release.

    async def _play(self, release: Release) -> None:
        await self._push(release)
        over = asyncio.Event()
        moves = [asyncio.create_task(self._move(move, over)) for move in release.moves]
        try:
            await self._settled(over, moves)
        finally:
            over.set()
            for task in moves:
                task.cancel()
            outcomes = await asyncio.gather(*moves, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        self.seen.rest()
        verdict = (self.seen.status().get("history") or [{"outcome": "none"}])[0]["outcome"]
        self.ends[verdict] += 1

    async def _push(self, release: Release) -> None:
        brings = release.brings
        if brings == "stable":
            self._wanted = self._stable
        elif brings == "failed-before" and self._failed:
            self._wanted = self._failed[0]
        elif brings == "restart":
            await self._restart(None)
            return
        else:
            self._number += 1
            self._wanted = g.manifest(self.plan, brings, self._number)
            if brings in ("bad-30", "broken", "crash"):
                self._failed.append(self._wanted)
        await self._apply_wanted(force=False)

    async def _move(self, move: Move, over: asyncio.Event) -> None:
        """Waits for its moment, and acts; a moment that never comes is none."""
        while not self._moment(move.when):
            if over.is_set():
                return
            await self.ground.tick(LOOK / 2)
        await self.ground.tick(move.delay)
        self.seen.trace.append(f"        >>> {move}")
        with suppress(Refused):  # a policy said no, or what it is about has gone
            await (self._moves[move.what](move) if move.what in self._moves else self._say(move.what))

    def _moment(self, when: str) -> bool:
        status, weight = self.seen.status(), self.seen.weight()
        phase, rollout = status.get("phase"), status.get("rollout") or {}
        return {
            "pushed": True,
            "starting": phase == "Starting",
            "exposed": bool(weight),
            "half": (weight or 0) >= 50,
            "promoting": phase == "Promoting",
            "rolling": rollout.get("promotion") == "Rolling",
            "returning": rollout.get("promotion") in ("Returning", "Cleaning"),
            "back": phase == "RollingBack",
            "held": phase == "Held",
        }[when]

    # Until it is over; people put right what stands in the way, as the way out says.

    async def _settled(self, over: asyncio.Event, moves: list[asyncio.Task[None]]) -> None:
        quiet, stood = 0, 0.0
        last: object = None
        async with Deadline(SETTLES) as deadline:
            while quiet < 4:
                if deadline.expired:
                    self._stuck("ends")
                    return
                await self.ground.tick(LOOK * 2)
                now = asyncio.get_running_loop().time()
                if (stands := self._stands()) != last:
                    last, stood = stands, now
                    deadline.again()
                if any(not t.done() for t in moves) and not self._at_rest() and now - stood < PATIENCE:
                    await self._help(patient=True)
                    continue
                over.set()
                quiet = quiet + 1 if self._at_rest() and all(t.done() for t in moves) else 0
                if not quiet:
                    await self._help(patient=False)

    def _stands(self) -> object:
        status, found = self.seen.status(), self.seen.deployment() or {}
        rollout = status.get("rollout") or {}
        return (
            status.get("phase"),
            (status.get("waiting") or {}).get("reason"),
            rollout.get("step"),
            rollout.get("promotion"),
            self.seen.weight(),
            found.get("status"),
        )

    async def _until(self, check: Callable[[], bool], what: str) -> None:
        async with Deadline(SETTLES) as deadline:
            while not check():
                if deadline.expired:
                    self._stuck(what)
                    return
                await self.ground.tick(LOOK)

    def _stuck(self, what: str) -> None:
        status = self.seen.status()
        brief = {k: status.get(k) for k in ("phase", "stableRevision", "observedRevision", "waiting", "lastAction")}
        rollout = {k: v for k, v in (status.get("rollout") or {}).items() if k != "spec"}
        self.seen.broken.append(f"P6: not {what} after {SETTLES:g} s: {json.dumps([brief, rollout])}")

    def _at_rest(self) -> bool:
        """No release under way, and what Git has is what the Canary speaks of."""
        status, found = self.seen.status(), self.seen.deployment()
        if found is None or status.get("rollout") or status.get("phase") not in ("Idle", "Held") or self.seen.canaries():
            return False
        wait = (status.get("waiting") or {}).get("reason")
        if wait not in (None, "KnownBad") or found["metadata"].get("deletionTimestamp"):
            return False
        marked = "linnet.dev/canary" in notes(found)
        speaks = (
            {status.get("stableRevision"), status.get("observedRevision")}
            if status["phase"] == "Idle"
            else {status.get("observedRevision")}
        )
        runs = version(found["spec"]["template"])
        known = runs in {self.seen.version_of(r or "") for r in speaks}
        whole = (found.get("status") or {}).get("availableReplicas", 0) >= found["spec"].get("replicas", 1) or status["phase"] == "Held"
        calm = status["phase"] == "Held" or not found["spec"].get("paused")
        rules = self.seen.weight() is None and self.seen.world.get("httproutes", self.namespace, "shop") is not None
        return bool(marked and known and whole and calm and rules and not self._off(found))

    def _off(self, found: Object) -> bool:
        return notes(found).get("linnet.dev/hold") == "off"

    async def _help(self, *, patient: bool) -> None:
        """One thing that somebody would put right. `patient`: disturbances are still to come, so nothing is put right before its time."""
        status, found = self.seen.status(), self.seen.deployment()
        get = self.seen.world.get
        waiting = (status.get("waiting") or {}).get("reason")
        if found is None:
            await self._apply_wanted(force=True)
        elif get("services", self.namespace, "shop") is None:
            await self.people.apply(g.service(self.plan))
        elif get("httproutes", self.namespace, "shop") is None:
            await self.people.apply(g.route(f"{self.namespace}.test"))
        elif self.seen.canary() is None:
            await self.people.apply(g.canary(self.plan))
        elif not found["spec"].get("replicas", 1):
            await self.people.scale("shop", self.plan.replicas)
        elif patient:
            return
        elif get("freezes", self.namespace, "sale") is not None:
            await self._quietly(self.people.delete("freezes", "sale"))
        elif self._off(found):
            await self.people.merge("deployments", "shop", {"metadata": {"annotations": {"linnet.dev/hold": None}}})
        elif status.get("phase") == "Paused" or waiting in ("RouteTakenBack", "FlagTakenBack", "FloorTakenBack"):
            await self._say("resume")
        elif status.get("phase") == "Inconclusive":
            await self._say("abort")
        elif status.get("phase") == "Bypassed":
            await self._say("override")
        elif waiting and status.get("rollout") and waiting.startswith("Flag"):
            await self._say("abort")


class Deadline:
    """`expired` once the time is over: what is asked between two looks, so that nothing is cut off in the middle of a write."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        self.again()
        return self

    def again(self) -> None:
        self._ends = asyncio.get_running_loop().time() + self._seconds

    async def __aexit__(self, *error: object) -> None:
        return None

    @property
    def expired(self) -> bool:
        return asyncio.get_running_loop().time() > self._ends
