"""The API server's own record of who did what, in what order, and what was refused.

It is written by the API server and knows nothing of Linnet, so it can testify against it: requests counted by user and verb, writes in
their order, refusals by RBAC, reads while idle.

    audit = Audit.read(plane.audit_log)
    for event in audit.by("system:serviceaccount:linnet:linnet").writes().on("httproutes"): ...
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, overload

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, kw_only=True)
class Event:
    """One request as the API server saw it; `time` is when it came in (Unix seconds)."""

    time: float
    finished: float
    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    stage: str
    agent: str
    uri: str
    request: Any
    response: Any

    @property
    def write(self) -> bool:
        return self.verb in WRITES

    @property
    def target(self) -> str:
        """`patch deployments/scale shop/checkout`: for messages and comparisons of order."""
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.verb} {resource or self.uri} {where}".strip()


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def parse(line: str) -> Event:
    """One line of the log."""
    raw = json.loads(line)
    ref = raw.get("objectRef") or {}
    response = raw.get("responseObject")
    # The name of an object created with generateName, or by a POST to the collection, is only in the answer.
    named = (response or raw.get("requestObject") or {}).get("metadata") or {} if raw["verb"] == "create" else {}
    return Event(
        time=_time(raw["requestReceivedTimestamp"]),
        finished=_time(raw["stageTimestamp"]),
        user=(raw.get("user") or {}).get("username", ""),
        verb=raw["verb"],
        group=ref.get("apiGroup", ""),
        resource=ref.get("resource", ""),
        subresource=ref.get("subresource", ""),
        namespace=ref.get("namespace", ""),
        name=ref.get("name", "") or named.get("name", ""),
        code=(raw.get("responseStatus") or {}).get("code", 0),
        stage=raw["stage"],
        agent=raw.get("userAgent", ""),
        uri=raw["requestURI"],
        request=raw.get("requestObject"),
        response=response,
    )


class Audit:
    """An ordered selection of events; every filter gives a smaller one."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    @classmethod
    def read(cls, path: Path, *, since: float = 0.0, until: float = float("inf")) -> Audit:
        """Finished requests, and watches from their opening, that came in within the window; in order of arrival."""
        with path.open() as file:
            events = [parse(line) for line in file if line.endswith("\n") and line.strip()]
        # A watch shows twice: opened (ResponseStarted) and closed (ResponseComplete). Only its opening is a request.
        kept = [one for one in events if since <= one.time < until and not (one.verb == "watch" and one.stage == "ResponseComplete")]
        return cls(sorted(kept, key=lambda one: one.time))

    def where(self, keep: Callable[[Event], bool]) -> Audit:
        return Audit([one for one in self.events if keep(one)])

    def between(self, since: float, until: float = float("inf")) -> Audit:
        return self.where(lambda one: since <= one.time < until)

    def by(self, *users: str) -> Audit:
        """Requests of these users (`name*` matches what begins with it)."""
        whole = {user for user in users if not user.endswith("*")}
        starts = tuple(user[:-1] for user in users if user.endswith("*"))
        return self.where(lambda one: one.user in whole or (bool(starts) and one.user.startswith(starts)))

    def without(self, *resources: str) -> Audit:
        return self.where(lambda one: one.resource not in resources)

    def on(self, resource: str, name: str | None = None, *, namespace: str | None = None, subresource: str | None = None) -> Audit:
        """Requests on one resource (plural); without `subresource` the object itself and all below it."""

        def keep(one: Event) -> bool:
            here = one.resource == resource and (name is None or one.name == name) and (namespace is None or one.namespace == namespace)
            return here and (subresource is None or one.subresource == subresource)

        return self.where(keep)

    def writes(self) -> Audit:
        """Writes that were accepted."""
        return self.where(lambda one: one.write and one.code < 400)

    def reads(self) -> Audit:
        return self.where(lambda one: not one.write)

    def forbidden(self) -> Audit:
        """Refused by RBAC (an admission refusal is a 403 too: it is told apart by the message where the body was kept)."""
        return self.where(lambda one: one.code == 403)

    def counts(self) -> Counter[tuple[str, str]]:
        """How many by (verb, resource)."""
        return Counter((one.verb, f"{one.resource}/{one.subresource}" if one.subresource else one.resource) for one in self.events)

    def order(self) -> list[str]:
        """`Event.target` of each, in order."""
        return [one.target for one in self.events]

    def first(self, keep: Callable[[Event], bool]) -> Event | None:
        return next((one for one in self.events if keep(one)), None)

    def granted(self) -> set[tuple[str, str, str]]:
        """The (verb, group, resource) that were used with success: what RBAC had to allow."""
        return {
            (one.verb, one.group, f"{one.resource}/{one.subresource}" if one.subresource else one.resource)
            for one in self.events
            if one.code < 400
        }

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Audit: ...
    def __getitem__(self, index: int | slice) -> Event | Audit:
        return Audit(self.events[index]) if isinstance(index, slice) else self.events[index]
