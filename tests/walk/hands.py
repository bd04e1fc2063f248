"""What gets in the way of a release: deletions, scalings, other managers, verbs, at the keyboard or by a program."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tests.walk import ground as g
from tests.walk.people import People, Refused
from tests.walk.plan import Move, Plan
from tests.witness.folded import notes, stored_versions, version
from tests.witness.promises import Promises

Object = dict[str, Any]
WORDS = "until=2099-01-01T00:00:00Z;why=the till is down"


class Hands:
    """One shop's people, what they know, and what they do."""

    people: People

    def __init__(self, ground: g.Ground, plan: Plan, namespace: str) -> None:
        self.ground, self.plan, self.namespace = ground, plan, namespace
        self.seen = Promises(namespace, linnet=g.ACCOUNT)
        self._number = 0
        self._wanted = g.manifest(plan, "good", 0)  # what Git has
        self._stable = self._wanted
        self._said = 0
        self._failed: list[Object] = []
        self._moves: dict[str, Callable[[Move], Awaitable[None]]] = {
            "kill": self._kill,
            "scale": self._scale,
            "scale-to-zero": self._scale_to_zero,
            "minimum": self._minimum,
            "maximum": self._maximum,
            "delete-canary-deployment": self._delete_canary_deployment,
            "delete-canary-pods": self._delete_canary_pods,
            "delete-pods": self._delete_pods,
            "delete-route": self._delete_route,
            "delete-canary": self._delete_canary,
            "delete-deployment": self._delete_deployment,
            "delete-service": self._delete_service,
            "route-by-hand": self._route_by_hand,
            "apply-route": self._apply_route,
            "apply-stable": self._apply_stable,
            "push-newer": self._push_newer,
            "push-bad": self._push_bad,
            "resume-deployment": self._resume_deployment,
            "hold-off": self._hold_off,
            "restart-held": self._restart,
            "flag-by-hand": self._flag_by_hand,
            "freeze": self._freeze,
        }

    async def _apply_wanted(self, *, force: bool) -> None:
        """The pipeline's apply. At rest nothing of it may be refused (P1): the fields are its own."""
        try:
            await self.people.apply(self._wanted, force=force)
        except Refused as error:
            if error.status != 409 or force:
                self.seen.broken.append(f"P1: the user's apply is refused: {error}")
                return
            if '\\"linnet\\"' in str(error):
                self.seen.broken.append(f"P1: the user's apply is refused: {error}")
            await self.people.apply(self._wanted, force=True)

    async def _quietly(self, call: Awaitable[Any]) -> None:
        with suppress(Refused):
            await call

    async def _say(self, verb: str) -> None:
        """What `linnet VERB` writes, bound to the revision at hand."""
        status = self.seen.status()
        revision = (status.get("rollout") or {}).get("revision") or status.get("observedRevision")
        if status.get("phase") == "Bypassed" and (found := self.seen.deployment()) is not None:
            revision = self._revision(version(found["spec"]["template"])) or revision
        last = notes(self.seen.canary() or {"metadata": {}}).get("linnet.dev/action", "")
        if last.startswith(f"{verb}@{revision}#") and status.get("lastAction") != last[:128]:
            return  # said, and not yet heard
        self._said += 1
        words = f"{verb}@{revision}#by=alice;n={self._said};{WORDS}"
        await self._quietly(self.people.merge("canaries", "shop", {"metadata": {"annotations": {"linnet.dev/action": words}}}))

    def _revision(self, runs: str) -> str:
        return next((r for r, v in stored_versions(self.seen.world, self.namespace).items() if v == runs), "")

    async def _kill(self, move: Move) -> None:
        await self.ground.kill()

    async def _scale(self, move: Move) -> None:
        await self.people.scale("shop", move.number)

    async def _scale_to_zero(self, move: Move) -> None:
        await self.people.scale("shop", 0)
        await self.ground.tick(move.number / 2)

    async def _minimum(self, move: Move) -> None:
        await self.people.merge("horizontalpodautoscalers", "shop", {"spec": {"minReplicas": min(move.number, self.plan.replicas + 3)}})

    async def _maximum(self, move: Move) -> None:
        low = max(self.seen.minimum or 1, 2)
        await self.people.merge(
            "horizontalpodautoscalers", "shop", {"spec": {"maxReplicas": max(low, self.plan.replicas + move.number % 4)}}
        )

    async def _delete_canary_deployment(self, move: Move) -> None:
        for item in self.seen.canaries():
            await self.people.delete("deployments", item["metadata"]["name"])

    async def _delete_canary_pods(self, move: Move) -> None:
        await self._delete_some("?labelSelector=linnet.dev/track%3Dcanary", move.number)

    async def _delete_pods(self, move: Move) -> None:
        await self._delete_some("?labelSelector=app%3Dshop,%21linnet.dev/track", move.number)

    async def _delete_some(self, query: str, most: int) -> None:
        for pod in (await self.people.list("pods", query))[:most]:
            await self._quietly(self.people.delete("pods", pod["metadata"]["name"]))

    async def _delete_route(self, move: Move) -> None:
        await self.people.delete("httproutes", "shop")
        await self.ground.tick(move.number / 4)

    async def _delete_service(self, move: Move) -> None:
        await self.people.delete("services", "shop")

    async def _delete_canary(self, move: Move) -> None:
        await self.people.delete("canaries", "shop")

    async def _delete_deployment(self, move: Move) -> None:
        await self.people.delete("deployments", "shop")

    async def _route_by_hand(self, move: Move) -> None:
        """Somebody sets the canary's weight at the keyboard."""
        route = await self.people.get("httproutes", "shop")
        backends = route["spec"]["rules"][0]["backendRefs"]
        for index, backend in enumerate(backends):
            if backend["name"].endswith("-canary"):
                path = f"/spec/rules/0/backendRefs/{index}/weight"
                await self.people.patch("httproutes", "shop", [{"op": "replace", "path": path, "value": (move.number * 13) % 100}])

    async def _apply_route(self, move: Move) -> None:
        """GitOps heals the route."""
        await self.people.apply(g.route(f"{self.namespace}.test"), force=True)

    async def _apply_stable(self, move: Move) -> None:
        """GitOps applies what serves: a revert."""
        found = self.seen.status().get("stableRevision")
        if self.seen.version_of(found or "") == version(self._stable["spec"]["template"]):
            self._wanted = self._stable
            await self._apply_wanted(force=True)

    async def _push_newer(self, move: Move) -> None:
        self._number += 1
        self._wanted = g.manifest(self.plan, "good", self._number)
        await self._apply_wanted(force=True)

    async def _push_bad(self, move: Move) -> None:
        self._number += 1
        self._wanted = g.manifest(self.plan, "bad-30", self._number)
        self._failed.append(self._wanted)
        await self._apply_wanted(force=True)

    async def _resume_deployment(self, move: Move) -> None:
        """`kubectl rollout resume`: refused while Linnet holds it."""
        await self.people.merge("deployments", "shop", {"spec": {"paused": None}})

    async def _hold_off(self, move: Move) -> None:
        await self.people.merge("deployments", "shop", {"metadata": {"annotations": {"linnet.dev/hold": "off"}}})
        await self._resume_deployment(move)

    async def _restart(self, move: Move | None) -> None:
        """`kubectl rollout restart`, also onto a template that is held."""
        self._said += 1
        stamp = {"kubectl.kubernetes.io/restartedAt": f"2026-01-01T00:00:{self._said % 60:02}Z"}
        await self._quietly(self.people.merge("deployments", "shop", {"spec": {"template": {"metadata": {"annotations": stamp}}}}))

    async def _flag_by_hand(self, move: Move) -> None:
        """Somebody switches the flag off at its source."""
        found = await self.people.get("configmaps", "flags")
        body = json.loads(found["data"]["flags.json"])
        body["flags"]["new-checkout"]["state"] = "DISABLED" if move.number % 2 else "ENABLED"
        await self.people.merge("configmaps", "flags", {"data": {"flags.json": json.dumps(body, indent=2)}})

    async def _freeze(self, move: Move) -> None:
        await self._quietly(self.people.apply(g.freeze()))
        await self.ground.tick(move.number / 3)
        await self._quietly(self.people.delete("freezes", "sale"))
