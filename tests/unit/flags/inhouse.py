"""A flag service such as a company has written for itself, running, with the people who use it.

Two dialects of one service: one takes whole documents and answers 412 by ETag, the other takes actions and answers 409 by a version of its
own. Who is in is the service's business alone: it throws SHA-1 of flag and user.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from flags.generic import GenericProvider
from flags.generic_view import GenericSource, Reading, Writing
from flags.model import FlagRef, Owner
from flags.provider import FlagProvider
from tests.unit.flags.caller import Caller

FLAG = FlagRef(key="new-checkout", source="inhouse")
ME = Owner(cluster="prod", namespace="shop", name="checkout", uid="uid-1")
RIVAL = Owner(cluster="prod", namespace="shop", name="checkout-eu", uid="uid-2")
TOKEN = "Bearer of-the-house"


class Service:
    """`flags` is what people see in it."""

    def __init__(self) -> None:
        self.flags: dict[str, dict[str, Any]] = {
            key: {"share": {"percent": 0}, "on": True, "version": 1} for key in ("new-checkout", "other")
        }
        self.deaf = False
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application()
        app.router.add_get("/api/flags/{key}", self._read)
        app.router.add_put("/api/flags/{key}", self._put)
        app.router.add_post("/api/flags/{key}/{action}", self._act)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/api"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def person(self, key: str, **change: Any) -> None:
        """Somebody edits, and signs."""
        self.flags[key].update(change, editor="bob")
        self.flags[key]["version"] += 1

    def is_on(self, key: str, user: str | None, context: dict[str, str]) -> bool:
        """What the company's own library would say."""
        flag = self.flags[key]
        share = flag["share"]
        if not flag["on"] or (share.get("gate") and context.get("track") != share["gate"]):
            return False
        arms = [share["percent"], *(c["percent"] for c in share.get("cohorts") or [] if _within(c, context))]
        bucket = int(hashlib.sha1(f"{key}/{user}".encode()).hexdigest()[:8], 16) / 2**32 * 100
        return any(percent == 100 or (user is not None and bucket < percent) for percent in arms)

    async def _read(self, request: web.Request) -> web.Response:
        flag = self._find(request)
        return web.json_response(flag, headers={"ETag": f'"{flag["version"]}"'})

    async def _put(self, request: web.Request) -> web.Response:
        flag, sent = self._find(request), await request.json()
        if request.headers.get("If-Match") not in (None, f'"{flag["version"]}"'):
            raise web.HTTPPreconditionFailed(text=json.dumps({"error": "somebody was faster"}))
        if set(sent) != {"share", "labels"} or not isinstance(sent["share"]["percent"], int):
            raise web.HTTPUnprocessableEntity(text=json.dumps({"error": "share.percent must be a number"}))
        return self._took(flag, sent)

    async def _act(self, request: web.Request) -> web.Response:
        flag, sent = self._find(request), await request.json()
        if sent.get("version") is not None and str(sent["version"]) != str(flag["version"]):
            raise web.HTTPConflict(text=json.dumps({"message": "stale version"}))
        match request.match_info["action"]:
            case "off":
                return self._took(flag, {"share": {**flag["share"], "percent": 0, "cohorts": []}})
            case "share":
                return self._took(flag, {"share": sent["share"], "labels": {"driver": sent["driver"]}})
            case _:
                raise web.HTTPNotFound

    def _took(self, flag: dict[str, Any], change: dict[str, Any]) -> web.Response:
        if not self.deaf:
            flag.update(change, editor="linnet")
            flag["version"] += 1
        return web.json_response({"ok": True})

    def _find(self, request: web.Request) -> dict[str, Any]:
        if request.headers.get("Authorization") != TOKEN:
            raise web.HTTPUnauthorized(text=json.dumps({"message": "who are you?"}))
        key = request.match_info["key"]
        if key not in self.flags:
            raise web.HTTPNotFound(text=json.dumps({"message": f"no flag {key}"}))
        return self.flags[key]


READ = Reading(
    path="/flags/{{flag}}",
    percent="/share/percent",
    owner="/labels/driver",
    gate="/share/gate",
    cohorts="/share/cohorts",
    enabled="/on",
    revision="/version",
    changed_by="/editor",
)
SHARE = '{"percent": "{{percent}}", "gate": "{{gate}}", "cohorts": "{{cohorts}}"}'


def by_document(url: str, settle: float = 0.0) -> GenericSource:
    """PUT of the whole, ETag, no request of its own for zero."""
    put = Writing(path="/flags/{{flag}}", body=f'{{"share": {SHARE}, "labels": {{"driver": "{{{{owner}}}}"}}}}')
    return GenericSource(url=url, headers={"Authorization": TOKEN}, read=READ, set=put, conditional="ETag", settle=settle)


def by_action(url: str, settle: float = 30.0) -> GenericSource:
    """POST of what to do, a version in the body, a switch for zero."""
    body = f'{{"share": {SHARE}, "driver": "{{{{owner}}}}", "version": "{{{{revision}}}}"}}'
    write = Writing(path="/flags/{{flag}}/share", body=body, method="POST")
    off = Writing(path="/flags/{{flag}}/off", body='{"reason": "linnet rolls {{flag}} back"}', method="POST")
    headers = {"Authorization": TOKEN}
    return GenericSource(url=url, headers=headers, read=READ, set=write, zero=off, conditional="Revision", settle=settle)


class InhouseWorld:
    """The service and two Canaries, for the contract."""

    def __init__(self, service: Service, source: GenericSource) -> None:
        self.service, self.source, self.flag = service, source, FLAG
        self.now, self.settle = 1_000.0, source.settle
        self.caller = Caller()
        self.provider: FlagProvider = self.driver(ME)
        self.rival: FlagProvider = self.driver(RIVAL)

    def driver(self, owner: Owner) -> GenericProvider:
        return GenericProvider(self.source, owner, self.caller, lambda: self.now)

    def on(self, ids: tuple[str, ...], track: str | None, **properties: str) -> set[str]:
        context = {**properties, **({} if track is None else {"track": track})}
        return {name for name in ids if self.service.is_on(FLAG.key, name, context)}

    def on_anonymous(self, track: str | None) -> bool:
        return self.service.is_on(FLAG.key, None, {} if track is None else {"track": track})

    def snapshot(self) -> bytes:
        """All but who wrote last, and how often: what was not there is as good as empty."""
        kept = {
            key: {name: value for name, value in flag.items() if name not in ("version", "editor")}
            for key, flag in self.service.flags.items()
        }
        for flag in kept.values():
            flag["labels"] = {key: value for key, value in flag.get("labels", {}).items() if value}
            flag["share"] = {key: value for key, value in flag["share"].items() if value or key == "percent"}
        return json.dumps(kept, sort_keys=True).encode()

    def person_sets(self, percent: int) -> None:
        self.service.person(FLAG.key, share={**self.service.flags[FLAG.key]["share"], "percent": percent})

    def person_disables(self) -> None:
        self.service.person(FLAG.key, on=False)

    def person_opens_for_all(self) -> None:
        self.service.person(FLAG.key, share={"percent": 100})

    def person_edits_another_flag(self) -> None:
        self.service.person("other", share={"percent": 7})

    def another_flag_edited(self) -> bool:
        percent: int = self.service.flags["other"]["share"]["percent"]
        return percent == 7

    def calls(self) -> int:
        return len(self.caller.calls)

    def race(self, write: Callable[[], Awaitable[None]]) -> None:
        self.caller.before["PUT" if self.source.conditional == "ETag" else "POST"] = write

    def hang(self) -> None:
        self.caller.hanging = True


def _within(cohort: dict[str, Any], context: dict[str, str]) -> bool:
    return all(context.get(c["attribute"]) in c["values"] for c in cohort["constraints"])
