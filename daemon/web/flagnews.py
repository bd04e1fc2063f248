"""`POST /api/v1/namespaces/NS/flagsources/NAME/changed`: a flag service says that something changed, so that nobody waits for the next poll.

Who sends is known by a secret that the FlagSource names, for a flag service has no token of the cluster. What is sent is never believed: at
most it narrows which releases look again, and they read the flag where it lives. So the worst that a thief of the secret can do is to have
flags read. What did not arrive is found by the poll; Unleash sends once and does not try again.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from aiohttp import web

from daemon.web.answers import Refused, answer

log = logging.getLogger("linnet.web")

READ_AT_MOST: Final = 64 * 1024  # bytes of a body; a longer one says no more than that something changed
_SCHEME: Final = "bearer "


class News(Protocol):
    """Which secret a source's sender shows, and what is done with what it says."""

    async def secret(self, namespace: str, name: str) -> str | None:
        """None where there is no such source, or it names no secret. Raises `KubeError` where the API server cannot say."""
        ...

    async def changed(self, namespace: str, name: str, key: str | None) -> int:
        """Has the releases look again that move this flag of the source, or any of its flags; how many there are."""
        ...


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    """Of Unleash's event: the flag it is about, if it is about one."""

    feature_name: str | None = msgspec.field(default=None, name="featureName")


class FlagNews:
    """The handler. `count` hears of each request how it ended: Told, Idle, Refused."""

    def __init__(self, news: News, count: Callable[[str], None] = lambda _outcome: None) -> None:
        self._news = news
        self._count = count

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/api/v1/namespaces/{namespace}/flagsources/{name}/changed", self.hear)

    async def hear(self, request: web.Request) -> web.Response:
        """200 with how many releases look again; 401 to whoever does not have the secret, whether or not there is such a source."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        secret = await self._news.secret(namespace, name)
        shown = request.headers.get("Authorization", "")
        if not _same(shown, secret):
            self._count("Refused")
            log.warning("news of FlagSource %s/%s refused: %s", namespace, name, "no secret" if secret is None else "a wrong secret")
            raise Refused(
                401,
                "this is not the secret of that FlagSource",
                "send as Authorization the value in the Secret that its webhookSecretRef names",
            )
        told = await self._news.changed(namespace, name, await _flag(request))
        self._count("Told" if told else "Idle")
        return answer({"told": told})


def _same(shown: str, secret: str | None) -> bool:
    """In a time that says nothing of where they differ; an empty secret lets nobody in."""
    given = shown[len(_SCHEME) :].strip() if shown.lower().startswith(_SCHEME) else shown.strip()
    return bool(secret) and hmac.compare_digest(given.encode(errors="replace"), (secret or "").encode())


async def _flag(request: web.Request) -> str | None:
    """The flag that the body names; None where it names none, or is not understood."""
    raw = await _beginning(request)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=_Event).feature_name
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def _beginning(request: web.Request) -> bytes | None:
    """All of the body; None where it is longer than is read."""
    raw = b""
    while chunk := await request.content.read(READ_AT_MOST + 1 - len(raw)):
        raw += chunk
        if len(raw) > READ_AT_MOST:
            return None
    return raw
