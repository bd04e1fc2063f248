"""Who asks, and whether they may: answered by the API server, so that the daemon keeps no accounts and no passwords.

A bearer token of the cluster is looked up by TokenReview, a right by SubjectAccessReview on `canaries` of `linnet.dev`. The same
RBAC then holds for the HTTP API as for kubectl.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from daemon.kube.transport import Transport

REMEMBERED: Final = 10.0  # seconds that the answer to one token is believed; a revoked token works so much longer
KEPT: Final = 1024  # tokens
AT_ONCE: Final = 8  # reviews under way: a flood of invented tokens must not become one at the API server
DEADLINE: Final = 5.0  # seconds
_GROUP: Final = "linnet.dev"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """As the API server knows them."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = {}


class Reviewer:
    """Asks the API server; remembers tokens for a moment by their hash, rights never."""

    def __init__(self, transport: Transport, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, User | None]] = OrderedDict()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def user(self, token: str) -> User | None:
        """Whose token it is; None where it is nobody's. Raises `KubeError` where the API server cannot say."""
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is not None and self._clock() - known[0] < REMEMBERED:
            return known[1]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = (await self._ask("/apis/authentication.k8s.io/v1/tokenreviews", body)).get("status") or {}
        found = msgspec.convert(status["user"], User) if status.get("authenticated") and status.get("user") else None
        self._known[key] = (self._clock(), found)
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found

    async def may(self, user: User, verb: str, namespace: str | None, name: str | None = None) -> bool:
        """Whether `user` may `verb` this Canary; without a name all of the namespace, without a namespace all there are."""
        attributes = {"group": _GROUP, "resource": "canaries", "verb": verb, "namespace": namespace or "", "name": name or ""}
        who = {"user": user.username, "uid": user.uid, "groups": list(user.groups), "extra": user.extra}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {**who, "resourceAttributes": attributes}}
        status = (await self._ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)).get("status") or {}
        return bool(status.get("allowed"))

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._slots:
            # Nothing is made by a review: it may be asked again.
            reply = await self._transport.request("POST", path, body=msgspec.json.encode(body), deadline=DEADLINE, idempotent=True)
        found: dict[str, Any] = msgspec.json.decode(reply, type=dict)
        return found
