"""A cluster that is quick enough for a test of each rule: the sandbox's API server and controllers, and what stands around them on paper.

Real are the API server (HTTP, CRDs, CEL, the chart's hold policies, owners of fields) and the native controllers; pods are ready
as soon as a script allows, the gateway accepts routes by writing their status, and each pod's metrics page shows what a script says.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from aiohttp import web

from daemon.api.crds import crd
from daemon.api.kinds import KINDS
from daemon.sandbox.cluster import hold_policies
from daemon.sandbox.controllers.access import NODES, PODS, SECRETS, Access
from daemon.sandbox.controllers.manager import controllers
from daemon.sandbox.controllers.objects import labels_of, meta, name_of, status_of, terminating, timestamp
from daemon.sandbox.controllers.runtime import Key, Runner
from daemon.sandbox.furnish import furnished
from daemon.sandbox.kubelet import NODE
from daemon.sandbox.server import ApiServer
from daemon.sandbox.store import Caller, Store
from tests.serving import serving

Object = dict[str, Any]
T = TypeVar("T")

ROOT = Path(__file__).parents[3]
POLICIES = ROOT / "charts/linnet/files/hold-policies.yaml"
ROUTE_CRD = ROOT / "daemon/sandbox/gatewayapi/gateway.networking.k8s.io_httproutes.yaml"
LINNET = "system:serviceaccount:linnet-system:linnet"
CATALOGUE = "linnet-system"
SHOP = "shop"
ROUTES = "httproutes.gateway.networking.k8s.io"
DEADLINE = 20.0
RATE = 4000  # requests a second that each pod counts


class Node:
    """Pods are running at once and ready when `ready` says so; those deleted end at once."""

    name = "paper-node"

    def __init__(self, access: Access) -> None:
        self._api = access
        self.ready: Callable[[Object], bool] = lambda _pod: True
        self._addresses = 1

    def start(self) -> Iterable[Key]:
        if self._api.get(NODES, "", NODE) is None:
            self._api.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        return []

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == PODS and event != "DELETED":
            yield meta(obj)["namespace"], name_of(obj)

    def sync(self, key: Key) -> float | None:
        pod = self._api.get(PODS, *key)
        if pod is None or not pod["spec"].get("nodeName"):
            return None
        if terminating(pod):
            self._api.delete(PODS, pod, grace=0)
            return None
        status = dict(status_of(pod))
        if not status.get("podIP"):
            self._addresses += 1
            status |= {"podIP": f"127.9.{self._addresses // 250}.{self._addresses % 250 + 1}", "startTime": timestamp()}
        state = "True" if self.ready(pod) else "False"
        conditions = [c for c in status.get("conditions") or [] if c["type"] != "Ready"]
        before = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
        if before is None or before["status"] != state:
            status["conditions"] = [*conditions, {"type": "Ready", "status": state, "lastTransitionTime": timestamp()}]
        status["phase"] = "Running"
        if status != status_of(pod):
            self._api.update(PODS, pod | {"status": status}, subresource="status")
        return None


class Gateway:
    """Reports on every HTTPRoute what a gateway reports: accepted, and whether its backends exist."""

    name = "paper-gateway"

    def __init__(self, access: Access) -> None:
        self._api = access
        self.accepts: Callable[[Object], bool] = lambda _route: True
        self.controller = "paper.test/gateway"

    def start(self) -> Iterable[Key]:
        return []

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == ROUTES and event != "DELETED":
            yield meta(obj)["namespace"], name_of(obj)
        elif resource == "services":
            for route in self._api.list(ROUTES, meta(obj)["namespace"]):
                yield meta(route)["namespace"], name_of(route)

    def sync(self, key: Key) -> float | None:
        route = self._api.get(ROUTES, *key)
        if route is None:
            return None
        backends = [b for rule in route["spec"].get("rules") or [] for b in rule.get("backendRefs") or []]
        resolved = all(self._api.get("services", key[0], b["name"]) for b in backends)
        conditions = [self._condition(route, "Accepted", self.accepts(route)), self._condition(route, "ResolvedRefs", resolved)]
        parents = [
            {"parentRef": ref, "controllerName": self.controller, "conditions": conditions} for ref in route["spec"].get("parentRefs") or []
        ]
        if not _said(status_of(route).get("parents"), parents):
            self._api.update(ROUTES, route | {"status": {"parents": parents}}, subresource="status")
        return None

    def _condition(self, route: Object, kind: str, good: bool) -> Object:
        return {
            "type": kind,
            "status": "True" if good else "False",
            "reason": kind if good else "Refused",
            "message": "" if good else "the script says so",
            "observedGeneration": meta(route)["generation"],
            "lastTransitionTime": timestamp(),
        }


def _said(old: Any, new: list[Object]) -> bool:
    def plain(parents: Any) -> Any:
        return [[(c["type"], c["status"], c["observedGeneration"]) for c in p["conditions"]] for p in parents or []]

    return bool(plain(old) == plain(new))


class Pages:
    """Every pod's metrics page, and a Prometheus' query API: what was asked is kept, what is answered is a script's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.port = 0
        self.errors: Callable[[Object], float] = lambda _pod: 0.001
        self.status = 200
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []  # path, headers, form
        self.matrix: list[Object] = []
        self.answer: Callable[[Object], list[Object]] | None = None  # form -> matrix
        self.counters: Callable[[str], tuple[int, int]] | None = None  # address -> total, errors, instead of the pods'
        self.text: Callable[[str], str] | None = None  # address -> the whole page

    def pod(self, address: str) -> Object | None:
        return next((p for p in self._store.state(PODS).values() if status_of(p).get("podIP") == address), None)

    async def page(self, request: web.Request) -> web.Response:
        transport = request.transport
        address = transport.get_extra_info("sockname")[0] if transport else ""
        self.asked.append((request.path, dict(request.headers), {"address": address}))
        if self.text is not None:
            return web.Response(text=self.text(address), status=self.status)
        if self.counters is not None:
            return web.Response(text=_page(*self.counters(address)), status=self.status)
        pod = self.pod(address)
        if pod is None or self.status != 200:
            return web.Response(status=self.status if pod else 404)
        started = dt.datetime.fromisoformat(status_of(pod)["startTime"]).timestamp()
        total = int((time.time() - started) * RATE)
        return web.Response(text=_page(total, int(total * self.errors(pod))))

    async def query(self, request: web.Request) -> web.Response:
        form = {k: str(v) for k, v in (await request.post()).items()}
        self.asked.append((request.path, dict(request.headers), form))
        found = self.matrix if self.answer is None else self.answer(form)
        named = [s for s in found if s["metric"].get("__name__", "") in form["query"]]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": named}}, status=self.status)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/{base:.*}api/v1/query", self.query)
        app.router.add_get("/{page:.*}", self.page)
        async with serving(app, host="0.0.0.0") as url:  # every pod has an address of its own in 127/8
            self.port = int(url.rpartition(":")[2])
            yield


def _page(total: int, bad: int) -> str:
    lines = (f'http_requests_total{{code="200"}} {total - bad}', f'http_requests_total{{code="500"}} {bad}')
    return "\n".join(("# TYPE http_requests_total counter", *lines)) + "\n"


class Cluster:
    """The API server and what works on it; `history` has every change of every object since the start."""

    def __init__(self, root: Path) -> None:
        self.store = furnished()
        self.server = ApiServer(self.store, users={"admin": "admin"})
        self.node = Node(Access(self.store, "paper-node"))
        self.gateway = Gateway(Access(self.store, "paper-gateway", manager="paper-gateway"))
        self.pages = Pages(self.store)
        self.history: list[tuple[str, str, Object]] = []
        self.kubeconfig = root / "kubeconfig"
        self._changed: set[asyncio.Event] = set()

    @asynccontextmanager
    async def running(self, *, policies: bool = True, kinds: bool = True) -> AsyncIterator[Cluster]:
        async with AsyncExitStack() as stack:
            stack.callback(self.store.subscribe(self._note))
            await stack.enter_async_context(self.server)
            await stack.enter_async_context(self.pages.serving())
            self.kubeconfig.write_text(self.server.kubeconfig(LINNET))
            self.load(
                *(crd(kind) for kind in KINDS if kinds), yaml.load(ROUTE_CRD.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            )
            self.load(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in (SHOP, CATALOGUE)))
            if policies:
                self.load(*hold_policies(POLICIES, [LINNET]))
            runner = Runner(Access(self.store, "sandbox"), [*controllers(self.store), self.node, self.gateway])
            task = asyncio.create_task(runner.run())
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _note(self, event: str, resource: str, obj: Object) -> None:
        self.history.append((event, resource, obj))
        for changed in self._changed:
            changed.set()

    def load(self, *objects: Object) -> None:
        self.store.load(objects, user=Caller(user="admin", manager="setup"))

    # What people do.

    def apply(self, *objects: Object, user: str = "alice", force: bool = False) -> None:
        """Server-side apply, as kubectl does it; a conflict of owners is an error."""
        for obj in objects:
            resource = self.store.registry.by_kind(obj["apiVersion"], obj["kind"])
            assert resource is not None, obj["kind"]
            namespace = obj["metadata"].setdefault("namespace", SHOP)
            caller = Caller(user=user, manager="kubectl")
            self.store.patch(resource, namespace, obj["metadata"]["name"], "apply", obj, user=caller, force=force)

    def patch(self, resource: str, name: str, body: Any, *, namespace: str = SHOP, user: str = "alice") -> Object:
        return self.store.patch(resource, namespace, name, "merge", body, user=Caller(user=user, manager="edit"))

    def delete(self, resource: str, name: str, *, namespace: str = SHOP) -> None:
        self.store.delete(resource, namespace, name, user="alice")

    def secret(self, name: str, namespace: str = SHOP, **values: str) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": values}
        if self.store.peek(SECRETS, namespace, name) is None:
            self.store.create(SECRETS, body, user="alice")
        else:
            self.store.patch(SECRETS, namespace, name, "merge", {"stringData": values}, user="alice")

    # What is there.

    def find(self, resource: str, name: str, namespace: str = SHOP) -> Object | None:
        return self.store.peek(resource, namespace, name)

    def get(self, resource: str, name: str, namespace: str = SHOP) -> Object:
        found = self.find(resource, name, namespace)
        assert found is not None, f"{resource} {namespace}/{name} is not there"
        return found

    def list(self, resource: str, namespace: str | None = SHOP, **labels: str) -> list[Object]:
        return [o for o in self.store.list(resource, namespace) if labels.items() <= labels_of(o).items()]

    async def until(self, ask: Callable[[], T | None], what: str = "", deadline: float = DEADLINE) -> T:
        """Until `ask` answers something true, asked again after every change of any object."""
        changed = asyncio.Event()
        self._changed.add(changed)
        try:
            async with asyncio.timeout(deadline):
                while not (found := ask()):
                    await changed.wait()
                    changed.clear()
                return found
        except TimeoutError:
            raise AssertionError(f"still not after {deadline:g} s: {what or ask}") from None
        finally:
            self._changed.discard(changed)
