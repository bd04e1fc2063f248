"""Why: kubectl, Traefik, Helm and the daemon talk HTTP; this is the API server in front of a `Store`.

    async with ApiServer(furnished(), users={"s3cret": "admin"}) as server:
        server.url                                   # http://127.0.0.1:PORT
        server.kubeconfig("s3cret")                  # the text of a kubeconfig for that user

Plain HTTP on loopback and nobody is refused: a token only says who is asking. kubectl sends no token over plain HTTP; who sends none
is `admin`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
from aiohttp import web

from daemon.sandbox import discovery, reviews
from daemon.sandbox import errors as err
from daemon.sandbox import requests as rq
from daemon.sandbox.errors import JSON, ApiError
from daemon.sandbox.legacy_events import stored
from daemon.sandbox.listing import page, served
from daemon.sandbox.requests import Target
from daemon.sandbox.store import Caller, Store
from daemon.sandbox.subresources import Subresources
from daemon.sandbox.watching import Watch, flag

log = structlog.get_logger("linnet.sandbox")
Handler = Callable[[web.Request, Target], Awaitable[web.StreamResponse]]
LogSource = Callable[[str, str, str], bytes]  # namespace, pod, container -> what it has printed

MAX_BODY = 3 * 1024 * 1024
_RETURNS_OBJECT = frozenset({"pods", "services", "serviceaccounts"})
_PROPAGATION = ("Foreground", "Background", "Orphan")


def answer(body: Any, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    """A JSON answer, with what the client should be warned of."""
    response = web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
    for warning in dict.fromkeys(warnings or ()):
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{text}"')
    return response


class ApiServer:
    """Serves one store on loopback."""

    def __init__(
        self,
        store: Store,
        *,
        users: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        bookmark_every: float = 30.0,
        logs: LogSource | None = None,
    ) -> None:
        self.store = store
        self.users = dict(users or {"admin": "admin"})
        self.host, self.port = host, port
        self._bookmark_every = bookmark_every
        self._sub = Subresources(store, self.users, logs)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; port 0 takes a free one."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def token(self, user: str) -> str:
        """A token for a user: the one it has, else a new one."""
        for known, name in self.users.items():
            if name == user:
                return known
        fresh = secrets.token_urlsafe(24)
        self.users[fresh] = user
        return fresh

    def kubeconfig(self, user: str = "admin", namespace: str = "default") -> str:
        """A kubeconfig that kubectl, the daemon and Traefik can use."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url}}],
            "users": [{"name": user, "user": {"token": self.token(user)}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user, "namespace": namespace}}],
            "current-context": "sandbox",
        }
        return msgspec.json.format(msgspec.json.encode(config)).decode() + "\n"

    # -- routing ------------------------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            found = rq.target(self.store.registry, request.path)
            if found is None:
                return self._meta(request)
            return await self._dispatch(request, found)
        except ApiError as e:
            return answer(e.status(), e.code)
        except web.HTTPRequestEntityTooLarge:
            return answer(ApiError(413, "RequestEntityTooLarge", f"Request entity is too large: limit is {MAX_BODY}").status(), 413)
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as e:
            log.exception("request failed", method=request.method, path=request.path)
            said = f"Internal error occurred: {type(e).__name__}: {e}"
            return answer(ApiError(500, "InternalError", said, {"causes": [{"message": str(e)}]}).status(), 500)

    async def _dispatch(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.subresource not in ("", "status"):
            return await self._sub.handle(request, target)
        if target.resource.verbs == ("create",):
            return await self._review(request, target)
        handlers: dict[tuple[str, bool], Handler] = {
            ("GET", True): self._get,
            ("GET", False): self._list,
            ("POST", False): self._create,
            ("PUT", True): self._update,
            ("PATCH", True): self._patch,
            ("DELETE", True): self._delete,
            ("DELETE", False): self._delete_collection,
        }
        method = "GET" if request.method == "HEAD" else request.method
        handler = handlers.get((method, bool(target.name)))
        if handler is None or (target.subresource == "status" and method in ("POST", "DELETE")):
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})
        return await handler(request, target)

    def _meta(self, request: web.Request) -> web.Response:
        """Paths that name no resource: health, version, discovery, OpenAPI."""
        path, registry = request.path.rstrip("/") or "/", self.store.registry
        parts = path.strip("/").split("/")
        aggregated = "g=apidiscovery.k8s.io" in request.headers.get("Accept", "") and "v=v2" in request.headers["Accept"].replace(
            "v=v2beta1", ""
        )
        found: Any = None
        if path in ("/healthz", "/livez", "/readyz") or path.startswith(("/livez/", "/readyz/")):
            return web.Response(text="ok")
        if path == "/version":
            found = discovery.VERSION
        elif path in ("/api", "/apis") and aggregated:
            found = discovery.aggregated(registry, core=path == "/api")
            return web.Response(
                body=msgspec.json.encode(found),
                headers={"Content-Type": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"},
            )
        elif path == "/api":
            found = discovery.versions(f"{self.host}:{self.port}")
        elif path == "/apis":
            found = discovery.groups(registry)
        elif parts[0] == "api" and len(parts) == 2:
            found = discovery.resource_list(registry, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            found = discovery.group(registry, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            found = discovery.resource_list(registry, parts[1], parts[2])
        elif path == "/openapi/v3":
            found = discovery.openapi_index(registry)
        elif parts[:2] == ["openapi", "v3"] and len(parts) in (4, 5):
            found = discovery.openapi(registry, *(("", parts[3]) if len(parts) == 4 else (parts[3], parts[4])))
        if found is None:
            return web.Response(text="404 page not found\n", status=404)
        return answer(found)

    async def _review(self, request: web.Request, target: Target) -> web.Response:
        caller = rq.caller(request, self.users, "CreateOptions")
        return answer(reviews.answered(target.resource, await rq.body(request, resource=target.resource), caller), 201)

    # -- verbs --------------------------------------------------------------------------------------------------------------------

    def _shown(self, request: web.Request, target: Target, obj: JSON, status: int = 200, caller: Caller | None = None) -> web.Response:
        obj = served(target.resource, obj)
        shaped = rq.shape(request).one(target.resource, obj, dt.datetime.now(dt.UTC))
        return answer(shaped, status, caller.warnings if caller else None)

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        if flag(request, "watch"):
            return await self._list(request, target)
        obj = self.store.peek(target.resource, target.namespace, target.name)
        if obj is None:
            raise err.not_found(target.resource.plural, target.resource.group, target.name)
        return self._shown(request, target, obj)

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        if flag(request, "watch"):
            return await self._watch(request, target)
        items, meta = page(self.store, request, target)
        return answer(rq.shape(request).many(target.resource, items, meta, dt.datetime.now(dt.UTC)))

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        watch = Watch(self.store, request, target, rq.shape(request), bookmark_every=self._bookmark_every)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):  # a client that was killed says no goodbye
            async for line in watch.lines():
                await response.write(line)
            await response.write_eof()
        return response

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        caller = rq.caller(request, self.users, "CreateOptions")
        obj = await self._object(request, target)
        created = self.store.create(self._kept(target), obj, user=caller)
        return self._shown(request, target, created, 201, caller)

    async def _update(self, request: web.Request, target: Target) -> web.Response:
        caller = rq.caller(request, self.users, "UpdateOptions")
        obj = await self._object(request, target)
        name = obj["metadata"].setdefault("name", target.name)
        if name != target.name:
            raise err.bad_request(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
        updated = self.store.update(self._kept(target), obj, user=caller, subresource=target.subresource)
        return self._shown(request, target, updated, 200, caller)

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        kind = rq.patch_kind(request, target.resource)
        caller = rq.caller(request, self.users, "PatchOptions")
        patch = await self._patch_body(request)
        existed = self.store.peek(target.resource, target.namespace, target.name) is not None
        patched = self.store.patch(
            self._kept(target),
            target.namespace,
            target.name,
            kind,
            patch,
            user=caller,
            subresource=target.subresource,
            force=flag(request, "force"),
        )
        return self._shown(request, target, patched, 200 if existed else 201, caller)

    async def _patch_body(self, request: web.Request) -> Any:
        try:
            return await rq.body(request)
        except ApiError as e:
            raise err.bad_request(f"error decoding patch: {e.message}") from None

    def _kept(self, target: Target) -> Any:
        """The resource under which the object is kept."""
        return self.store.registry.by_key("events") if target.resource.storage else target.resource

    async def _object(self, request: web.Request, target: Target) -> JSON:
        """The object of the body, in the namespace of the path."""
        obj = await rq.body(request, resource=target.resource)
        if not isinstance(obj, dict):
            raise err.bad_request(f"the object provided is unrecognized (must be of type {target.resource.kind})")
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}
        if target.resource.namespaced and obj["metadata"].setdefault("namespace", target.namespace) != target.namespace:
            raise err.bad_request("the namespace of the provided object does not match the namespace sent on the request")
        return stored(obj) if target.resource.storage else obj

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        caller, options = await self._delete_options(request)
        resource = target.resource
        gone = self.store.delete(resource, target.namespace, target.name, user=caller, **options)
        ended = self.store.peek(resource, target.namespace, target.name) is None
        if ended and resource.key not in _RETURNS_OBJECT:
            details: JSON = {"name": target.name, "group": resource.group, "kind": resource.plural, "uid": gone["metadata"]["uid"]}
            if not resource.group:
                del details["group"]
            return answer(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}, 200, caller.warnings
            )
        return self._shown(request, target, gone, 200, caller)

    async def _delete_options(self, request: web.Request) -> tuple[Caller, dict[str, Any]]:
        options: Any = await rq.body(request) if await request.read() else {}
        if not isinstance(options, dict):
            raise err.bad_request("DeleteOptions must be an object")
        caller = rq.caller(request, self.users, "DeleteOptions")
        if options.get("dryRun"):
            rq.dry_run(options["dryRun"], "DeleteOptions")
            caller = Caller(user=caller.user, groups=caller.groups, manager=caller.manager, dry_run=True, warnings=caller.warnings)
        policy = options.get("propagationPolicy") or request.query.get("propagationPolicy")
        if policy is not None and policy not in _PROPAGATION:
            listed = ", ".join(f'"{p}"' for p in (*_PROPAGATION, "nil"))
            wrong = err.FieldError(
                "propagationPolicy", "FieldValueNotSupported", f'Unsupported value: "{policy}": supported values: {listed}'
            )
            raise err.invalid("DeleteOptions", "meta.k8s.io", "", [wrong])
        grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
        preconditions = options.get("preconditions") or {}
        return caller, {
            "propagation": policy,
            "uid": preconditions.get("uid"),
            "resource_version": preconditions.get("resourceVersion"),
            "grace": None if grace is None else max(0, int(grace)),
        }

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        caller, options = await self._delete_options(request)
        items, meta = page(self.store, request, target)
        for obj in items:
            if self.store.peek(target.resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) is not None:
                self.store.delete(target.resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], user=caller, **options)
        return answer(rq.shape(request).many(target.resource, items, meta, dt.datetime.now(dt.UTC)))
