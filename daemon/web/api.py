"""The daemon's HTTP API: the state of releases, and what may be said to them, for portals and pipelines without kubectl.

    GET  /api/v1/canaries                                     all (needs `list` on canaries)
    GET  /api/v1/namespaces/NS/canaries                       of a namespace
    GET  /api/v1/namespaces/NS/canaries/NAME                  one (needs `get`)
    POST /api/v1/namespaces/NS/canaries/NAME/VERB             promote, abort, ... (needs VERB), bound to `revision`
    POST /api/v1/abort, /api/v1/namespaces/NS/abort           every release under way there (needs `abort` on each)
    POST /api/v1/kill, /api/v1/namespaces/NS/kill             the flags that are named: every release that moves one (needs `kill` on each)
    POST /api/v1/namespaces/NS/flagsources/NAME/changed       news of a flag service (flagnews.py; needs that source's secret)

Any replica answers: state is read from the API server, and a verb is the same annotation that `linnet` writes, which the leading
replica carries out. Every answer is JSON; a refusal has `reason`, `message` and, where there is one, `wayOut`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from daemon.api import names
from daemon.api.status import CanaryStatus
from daemon.kube.errors import KubeError
from daemon.rollout import commands, killing
from daemon.web.answers import Refused, answer, refusals
from daemon.web.identity import Reviewer, User

log = logging.getLogger("linnet.web")

EXPIRES: Final = 600.0  # seconds; a verb found later was meant for another situation
LONGEST_WAIT: Final = 30.0
LOOK_EVERY: Final = 0.25
Body = TypeVar("Body", "Said", "Killed")
BODY_LIMIT: Final = 16 * 1024


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One Canary as the API server has it."""

    namespace: str
    name: str
    workload: str
    status: CanaryStatus

    @property
    def revision(self) -> str | None:
        """What a verb is about: the revision under way, else the newest that was seen."""
        return self.status.rollout.revision if self.status.rollout is not None else self.status.observed_revision


class Releases(Protocol):
    """Where Canaries are read and annotated."""

    async def list(self, namespace: str | None) -> Sequence[Release]: ...

    async def get(self, namespace: str, name: str) -> Release: ...

    async def annotate(self, namespace: str, name: str, annotations: dict[str, str]) -> None: ...


class Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a verb. `revision` guards against a release that is not the one the caller looked at."""

    revision: str | None = None
    reason: str = ""
    step: str = ""
    weight: int | None = None
    to: str = ""
    wait: float = 0.0  # seconds to wait until it is carried out


class Killed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a kill: which flags, by name or by key at their source, and why."""

    flags: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    reason: str


class Api:
    """The handlers. `now` is the time of day."""

    def __init__(self, releases: Releases, reviewer: Reviewer, now: Callable[[], float] = time.time) -> None:
        self._releases = releases
        self._reviewer = reviewer
        self._now = now

    def application(self) -> web.Application:
        app = web.Application(middlewares=[refusals], client_max_size=BODY_LIMIT)
        base = "/api/v1/namespaces/{namespace}"
        app.router.add_get("/api/v1/canaries", self.list)
        app.router.add_get(f"{base}/canaries", self.list)
        app.router.add_get(f"{base}/canaries/{{name}}", self.get)
        app.router.add_post(f"{base}/canaries/{{name}}/{{verb}}", self.say)
        app.router.add_post(f"{base}/abort", self.abort_all)
        app.router.add_post("/api/v1/abort", self.abort_all)
        app.router.add_post(f"{base}/kill", self.kill)
        app.router.add_post("/api/v1/kill", self.kill)
        return app

    async def list(self, request: web.Request) -> web.Response:
        namespace = request.match_info.get("namespace")
        await self._allowed(request, "list", namespace)
        return answer({"items": [shown(release) for release in await self._releases.list(namespace)]})

    async def get(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        await self._allowed(request, "get", namespace, name)
        return answer(shown(await self._releases.get(namespace, name)))

    async def say(self, request: web.Request) -> web.Response:
        """202 once it is written; with `wait`, 200 once the leading replica carried it out."""
        namespace, name, verb = (request.match_info[key] for key in ("namespace", "name", "verb"))
        if verb not in commands.VERBS:
            raise Refused(404, f"there is no verb {verb!r}", f"there are {', '.join(commands.VERBS)}")
        user = await self._allowed(request, verb, namespace, name)
        said = await _body(request, Said)
        if verb in commands.NEED_A_REASON and not said.reason.strip():
            raise Refused(400, f"{verb} needs a reason", 'send {"reason": "..."}: it is kept with the release')
        raw = await self._write(await self._releases.get(namespace, name), verb, said, user)
        heard = await self._heard(namespace, name, raw, min(said.wait, LONGEST_WAIT))
        return answer({"action": raw, "carriedOut": heard is not None} | ({"canary": shown(heard)} if heard else {}), 200 if heard else 202)

    async def abort_all(self, request: web.Request) -> web.Response:
        """Every release under way in a namespace, or in all of them, as far as the caller may; what was refused is listed."""
        user, under_way = await self._under_way(request, "abort")
        results = await asyncio.gather(*(self._one_of_many(release, "abort", "aborted", Said(), user) for release in under_way))
        return answer({"items": results}, 202 if all(r["aborted"] for r in results) else 207)

    async def kill(self, request: web.Request) -> web.Response:
        """Every release that moves one of these flags, all at the same time; a flag that none moves is listed, and left alone."""
        user, under_way = await self._under_way(request, "kill")
        body = await _body(request, Killed)
        if not body.reason.strip():
            raise Refused(400, "kill needs a reason", killing.UNREASONED)
        meant = [release for release in under_way if killing.named(release.status, body.flags)]
        unmoved = killing.unmoved([release.status for release in meant], body.flags)
        if not meant:
            raise Refused(
                404, f"no release under way moves {', '.join(unmoved)}", "a flag at rest is its people's: turn it off at its source"
            )
        said = Said(reason=body.reason)
        results = await asyncio.gather(*(self._one_of_many(release, "kill", "killed", said, user) for release in meant))
        done = not unmoved and all(r["killed"] for r in results)
        return answer({"items": results, "notMoved": [*unmoved]}, 202 if done else 207)

    async def _under_way(self, request: web.Request, verb: str) -> tuple[User, tuple[Release, ...]]:
        namespace = request.match_info.get("namespace")
        user = await self._allowed(request, "list", namespace)
        found = await self._releases.list(namespace)
        return user, tuple(r for r in found if verb in commands.possible(r.status.phase))

    async def _one_of_many(self, release: Release, verb: str, done: str, said: Said, user: User) -> dict[str, Any]:
        found: dict[str, Any] = {"namespace": release.namespace, "name": release.name, "revision": release.revision}
        if verb == "kill":
            found["flags"] = [*killing.driven(release.status).values()]
        try:
            if not await self._reviewer.may(user, verb, release.namespace, release.name):
                raise Refused(403, f"{user.username} may not {verb} it")
            await self._write(release, verb, said, user)
        except (Refused, KubeError) as problem:
            return found | {done: False, "message": str(problem)}
        return found | {done: True}

    async def _write(self, release: Release, verb: str, said: Said, user: User) -> str:
        here = release.revision
        if here is None:
            raise Refused(409, f"Canary {release.name} is {release.status.phase}: no revision is known yet", "wait until it is adopted")
        if said.revision is not None and said.revision != here:
            raise Refused(409, f"revision {said.revision} is not at hand: it is {here}", "look again, then say it to that one")
        if verb not in commands.possible(release.status.phase):
            can = ", ".join(commands.possible(release.status.phase)) or "nothing; it goes on by itself"
            raise Refused(409, f"a Canary that is {release.status.phase} cannot be told to {verb}", f"it can be told: {can}")
        raw = commands.written(
            verb,
            here,
            by=user.username,
            until=self._now() + EXPIRES,
            nonce=secrets.token_hex(3),
            step=said.step,
            weight=said.weight,
            to=said.to,
            why=said.reason,
        )
        stamped = {names.ACTION: raw, names.ACTION_BY: f"{user.username} {raw}"}
        await self._releases.annotate(release.namespace, release.name, stamped)
        log.info("%s of %s/%s %s said by %s", verb, release.namespace, release.name, here, user.username)
        return raw

    async def _heard(self, namespace: str, name: str, raw: str, patience: float) -> Release | None:
        ends = asyncio.get_running_loop().time() + patience
        while asyncio.get_running_loop().time() < ends:
            seen = await self._releases.get(namespace, name)
            if seen.status.last_action == raw[: commands.REMEMBERED]:
                return seen
            await asyncio.sleep(LOOK_EVERY)
        return None

    async def _allowed(self, request: web.Request, verb: str, namespace: str | None, name: str | None = None) -> User:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused(401, "no token", "send Authorization: Bearer TOKEN, such as that of kubectl create token")
        user = await self._reviewer.user(token.strip())
        if user is None:
            raise Refused(401, "the API server does not know this token", "it may have expired: get a new one")
        if not await self._reviewer.may(user, verb, namespace, name):
            where = f"in namespace {namespace}" if namespace else "in all namespaces"
            raise Refused(403, f"{user.username} may not {verb} canaries {where}", f"ask for the verb {verb} on canaries of linnet.dev")
        return user


def shown(release: Release) -> dict[str, Any]:
    """What a portal needs of one Canary: its status as it is, and which verbs make sense now."""
    return {
        "namespace": release.namespace,
        "name": release.name,
        "workload": release.workload,
        "revision": release.revision,
        "verbs": [*commands.possible(release.status.phase)],
        "status": msgspec.to_builtins(release.status),
    }


async def _body(request: web.Request, kind: type[Body]) -> Body:
    raw = await request.read()
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.DecodeError as problem:
        example = '{"flags": ["..."], "reason": "..."}' if kind is Killed else '{"revision": "...", "wait": seconds}, or nothing'
        raise Refused(400, f"the body cannot be read: {problem}", f"send {example}") from problem
