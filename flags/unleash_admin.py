"""The part of Unleash's Admin API that a provider needs, one method a call, each with a deadline.

There is no management client for Unleash; and health endpoints stay green while its database is gone and every call hangs for a minute.
So the deadline is ours, and nothing is believed but the answer to the call itself.
"""

import json
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from flags.calls import ask, decoded
from flags.errors import Missing
from flags.provider import HttpClient
from flags.unleash_errors import URL, problem
from flags.unleash_rules import Operations
from flags.unleash_view import Strategy


class UnleashSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the flags are. `client_token` lets the witness see what SDKs see; `settle` is how long the slowest SDK takes to refresh."""

    url: str
    token: str
    environment: str
    project: str = "default"
    client_token: str | None = None
    settle: float = 30.0

    def __repr__(self) -> str:
        # Neither token may get into a message or a log.
        return f"UnleashSource(url={self.base!r}, project={self.project!r}, environment={self.environment!r})"

    @property
    def base(self) -> str:
        """The address that people know, whether they gave that of the API or of the server."""
        return self.url.rstrip("/").removesuffix("/api")


class Admin:
    """Calls on one project and environment."""

    def __init__(self, source: UnleashSource, http: HttpClient) -> None:
        self._source = source
        self._http = http

    async def feature(self, flag: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("GET", self._feature(flag), f"read flag {flag}")
        return found

    async def strategies(self, flag: str) -> list[Strategy]:
        """With the release plan that a strategy belongs to, which the flag itself does not tell."""
        return msgspec.convert(await self._call("GET", f"{self._place(flag)}/strategies", f"read flag {flag}"), list[Strategy])

    async def create(self, flag: str, body: dict[str, Any]) -> Strategy:
        answer = await self._call("POST", f"{self._place(flag)}/strategies", f"add a strategy to flag {flag}", body)
        return msgspec.convert(answer, Strategy)

    async def patch(self, flag: str, strategy: str, operations: Operations) -> Strategy:
        path = f"{self._place(flag)}/strategies/{quote(strategy)}"
        return msgspec.convert(await self._call("PATCH", path, f"change a strategy of flag {flag}", operations), Strategy)

    async def remove(self, flag: str, strategy: str) -> None:
        await self._call("DELETE", f"{self._place(flag)}/strategies/{quote(strategy)}", f"remove a strategy of flag {flag}")

    async def switch(self, flag: str, *, on: bool) -> None:
        verb = "on" if on else "off"
        await self._call("POST", f"{self._place(flag)}/{verb}", f"switch flag {flag} {verb} in {self._source.environment}")

    async def account(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("GET", "/api/admin/user", "read the account of the token")
        return found

    async def segments(self) -> dict[str, int]:
        """Segment ids by name."""
        answer = await self._call("GET", "/api/admin/segments", "list segments")
        return {str(item["name"]): int(item["id"]) for item in answer["segments"]}

    async def context_fields(self) -> list[str]:
        """Context fields that may decide a bucket."""
        answer = await self._call("GET", "/api/admin/context", "list context fields")
        return sorted(str(item["name"]) for item in answer if item.get("stickiness"))

    async def changed_by(self, flag: str) -> str | None:
        """Who changed the flag in this environment last, by Unleash's event log."""
        query = urlencode({"feature": f"IS:{flag}", "environment": f"IS:{self._source.environment}", "limit": 1})
        answer = await self._call("GET", f"/api/admin/search/events?{query}", f"read the events of flag {flag}")
        found = answer["events"]
        return str(found[0]["createdBy"]) if found else None

    async def events(self, limit: int) -> list[dict[str, Any]]:
        """The newest events of the whole Unleash: those of segments belong to no project."""
        found: list[dict[str, Any]] = (await self._call("GET", f"/api/admin/search/events?limit={limit}", "read the event log"))["events"]
        return found

    async def usage(self, flag: str) -> list[dict[str, Any]]:
        """How often SDKs found it on and off, by app, environment and hour. The last hour alone would lose what is reported at its end."""
        path = f"/api/admin/client-metrics/features/{quote(flag, safe='')}/raw?hoursBack=2"
        answer = await self._call("GET", path, f"read the usage metrics of flag {flag}")
        found = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise Missing(f"Unleash at {self._source.base} has no usage metrics of flag {flag}")
        return found

    def _feature(self, flag: str) -> str:
        return f"/api/admin/projects/{quote(self._source.project, safe='')}/features/{quote(flag, safe='')}"

    def _place(self, flag: str) -> str:
        return f"{self._feature(flag)}/environments/{quote(self._source.environment, safe='')}"

    async def _call(self, method: str, path: str, what: str, body: object = None) -> Any:
        url = self._source.base
        headers = {"Authorization": self._source.token, "Accept": "application/json"}
        data = None
        if method != "GET":
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode() if body is not None else b"{}"
        reply = await ask(self._http, method, url + path, who=f"Unleash at {url}", what=what, headers=headers, data=data)
        if not 200 <= reply.status < 300:
            raise problem(reply.status, reply.body, what, url)
        return decoded(reply, who="Unleash", what=what, url_field=URL, url=url)
