"""The three calls of LaunchDarkly's REST API that a provider needs, and what its refusals mean.

Changes are semantic patches: instructions that are applied together or not at all. Without the suffix of the content type they would be
read as a JSON patch. Limits are not published, so what the headers of a 429 say is kept: until then nobody is asked.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from flags.calls import ask, decoded, first_line, refusal
from flags.errors import FlagError, Forbidden, Invalid, Retryable
from flags.provider import HttpClient, HttpReply

API_VERSION = "20240415"
SEMANTIC = "application/json; domain-model=launchdarkly.semanticpatch"
_URL = "FlagSource.spec.launchDarkly.url"
Instructions = list[dict[str, Any]]


class LaunchDarklySource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the flags are. `context_kind` is the kind of context whose key decides the share; `settle` how long the slowest SDK takes."""

    token: str
    project: str
    environment: str
    url: str = "https://app.launchdarkly.com"
    context_kind: str = "user"
    settle: float = 15.0

    def __repr__(self) -> str:
        # The token may not get into a message or a log.
        return f"LaunchDarklySource(url={self.base!r}, project={self.project!r}, environment={self.environment!r})"

    @property
    def base(self) -> str:
        return self.url.rstrip("/").removesuffix("/api/v2")


class Limits:
    """Until when each account may not be asked, by what it said itself. Shared by all providers of a process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def wait(self, source: LaunchDarklySource) -> float:
        """Seconds until it may be asked again."""
        return max(0.0, self._until.get((source.base, source.token), 0.0) - self.clock())

    def heed(self, source: LaunchDarklySource, headers: Mapping[str, str]) -> float:
        """Notes what the answer says, and gives the seconds to wait."""
        said = {name.lower(): value for name, value in headers.items()}
        until = self.clock() + 1.0
        try:
            if "retry-after" in said:
                until = self.clock() + float(said["retry-after"])
            elif "x-ratelimit-reset" in said:
                until = float(said["x-ratelimit-reset"]) / 1000
        except ValueError:
            pass
        self._until[source.base, source.token] = min(until, self.clock() + 60.0)  # a clock that is off must not silence us for ever
        return self.wait(source)


class Api:
    """Calls about flags of one project and environment."""

    def __init__(self, source: LaunchDarklySource, http: HttpClient, limits: Limits) -> None:
        self._source, self._http, self._limits = source, http, limits
        self._who = f"LaunchDarkly at {source.base}"

    async def flag(self, key: str) -> dict[str, Any]:
        url = f"{self._place(key)}?env={quote(self._source.environment, safe='')}"
        return await self._call("GET", url, f"read flag {key}")

    async def patch(self, key: str, instructions: Instructions, comment: str, *, preview: bool = False) -> dict[str, Any]:
        """The flag as it is after the patch. With `preview` nothing is changed, and everything is refused that would be."""
        body = {"environmentKey": self._source.environment, "comment": comment, "instructions": instructions}
        url = f"{self._place(key)}?dryRun=true" if preview else self._place(key)
        return await self._call("PATCH", url, f"change flag {key}", json.dumps(body).encode())

    async def audit(self, limit: int) -> list[dict[str, Any]]:
        """The newest entries of the account's audit log."""
        found = await self._call("GET", f"{self._source.base}/api/v2/auditlog?limit={limit}", "read the audit log")
        try:
            entries: list[dict[str, Any]] = [{"_id": entry["_id"], "target": entry.get("target")} for entry in found["items"]]
        except (KeyError, TypeError, AttributeError) as e:
            raise Retryable(f"{self._who}: read the audit log: its answer is none") from e
        return entries

    def _place(self, key: str) -> str:
        return f"{self._source.base}/api/v2/flags/{quote(self._source.project, safe='')}/{quote(key, safe='')}"

    async def _call(self, method: str, url: str, what: str, data: bytes | None = None) -> dict[str, Any]:
        if (wait := self._limits.wait(self._source)) > 0:
            raise Retryable(f"{self._who}: {what}: its rate limit is used up for another {wait:.0f} s")
        headers = {"Authorization": self._source.token, "LD-API-Version": API_VERSION}
        if data is not None:
            headers["Content-Type"] = SEMANTIC
        reply = await ask(self._http, method, url, who=self._who, what=what, headers=headers, data=data)
        if not 200 <= reply.status < 300:
            raise self._refused(reply, what)
        found: dict[str, Any] = decoded(reply, who="LaunchDarkly", what=what, url_field=_URL, url=self._source.base)
        return found

    def _refused(self, reply: HttpReply, what: str) -> FlagError:
        said = first_line(reply.body, "message", "code")
        match reply.status:
            case 405:
                return Forbidden(
                    f"{self._who}: {what}: approvals are required in environment {self._source.environment} (405: {said}). "
                    "Give the token's role the action bypassRequiredApproval there, or leave the flag out of the Canary."
                )
            case 400:
                way_out = (
                    "If a scheduled change or an approval of the flag is pending, withdraw it or wait for it: Linnet never overrides it."
                )
                return Invalid(field=what, value=400, problem=said or "LaunchDarkly refused it", way_out=way_out)
            case 429:
                wait = self._limits.heed(self._source, reply.headers)
                return Retryable(f"{self._who}: {what}: 429: its rate limit is used up for {wait:.0f} s")
            case status:
                return refusal(status, said, who=self._who, what=what, url_field=_URL, url=self._source.base)
