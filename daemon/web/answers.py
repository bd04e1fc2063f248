"""How every handler of the HTTP API answers: JSON that nothing on the way keeps, and a refusal that says what and what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from daemon.kube.errors import KubeError, NotFound

_STATUSES: Final = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 503: "Unavailable"}


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, way_out: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.way_out = status, message, way_out


def answer(body: dict[str, Any], status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=msgspec.json.encode(body) + b"\n", status=status, content_type="application/json", headers=headers)


@web.middleware
async def refusals(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Every failure becomes JSON that says what and what to do; a fault of ours shows nothing of itself."""
    try:
        return await handler(request)
    except Refused as refused:
        return _refusal(refused.status, refused.message, refused.way_out)
    except NotFound as missing:
        return _refusal(404, str(missing), "look at /api/v1/canaries")
    except KubeError as problem:
        return _refusal(503, f"the API server does not answer: {problem}", "try again")
    except web.HTTPException as plain:
        return _refusal(plain.status, plain.reason, "see the reference of the HTTP API")


def _refusal(status: int, message: str, way_out: str = "") -> web.Response:
    body = {"reason": _STATUSES.get(status, "Error"), "message": message} | ({"wayOut": way_out} if way_out else {})
    refusal = answer(body, status)
    if status == 401:
        refusal.headers["WWW-Authenticate"] = "Bearer"
    return refusal
