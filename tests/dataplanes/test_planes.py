"""Every router on a real gateway that reads a real API server: what was asked for is what requests meet.

One journey for each, with many looks on the way, because a gateway takes its time. A write is in force when the router says so, and open
connections and configurations end within `DRAIN` of that: a release waits ten times as long.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import math
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.api import names
from daemon.kube import config
from daemon.kube.client import Client
from daemon.kube.transport import Transport
from daemon.rollout.model import RouteView
from daemon.rollout.pick import Pick, words
from daemon.traffic.informers import RouteInformers
from daemon.traffic.registry import Routers, discovered
from daemon.traffic.router import Router, Scope
from daemon.traffic.virtualservice import DESTINATION_RULES, VIRTUAL_SERVICE, VirtualServiceRouter
from tests.dataplanes import meter
from tests.dataplanes.meter import Seen, Steady, measure
from tests.dataplanes.planes import ADDRESSES, CANARY, PLANES, SEEN, STABLE, Object, Plane
from tests.testbed.contour import Contour
from tests.testbed.controlplane import ControlPlane

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.dataplane,
    # A watch that is cancelled while it connects leaves its socket, or the transport around it, to the collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning"),
]

DRAIN = 1.0
HOST = "split.test"
LOGGED = 40


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """What a cancelled watch has left is collected while its test still says that it may be there, and not at the end of the session."""
    yield
    gc.collect()


def _log(control_plane: ControlPlane) -> Path:
    return control_plane.directory / SEEN


def _service(name: str, namespace: str) -> list[Object]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [ADDRESSES[name]], "conditions": {"ready": True}}],
        },
    ]


class Stand:
    """One route of one kind, moved by its router as the daemon moves it."""

    def __init__(
        self, plane: Plane, cluster: ControlPlane, url: str, namespace: str, client: Client, routers: Routers, informers: RouteInformers
    ) -> None:
        self.plane, self.cluster, self.url, self.namespace = plane, cluster, url, namespace
        self.scope = Scope(
            namespace=namespace, name="web", stable=STABLE, canary=CANARY, kind=plane.router, custom=plane.custom, picks=plane.picks
        )
        self.resource = routers.resource(self.scope)
        self.store = informers.store(self.resource)
        self.router: Router = routers.of(self.scope)
        self.routers = routers
        self.host = f"{namespace}.{HOST}"
        self.objects = plane.objects(namespace, self.host)
        if plane.settle is not None:
            sooner = msgspec.structs.replace(VIRTUAL_SERVICE, settle=plane.settle)
            rules = informers.store(DESTINATION_RULES)
            self.router = VirtualServiceRouter(client, self.store, rules, dialect=sooner)
        self.undo: Any = ()

    def apply(self) -> None:
        self.cluster.apply(*copy.deepcopy(self.objects), server_side=True)

    def live(self) -> Object:
        found: Object = self.cluster.json(
            "get", f"{self.resource.plural}.{self.resource.group}", "web", "-n", self.namespace, "--show-managed-fields"
        )
        return found

    def state(self) -> Any:
        found = self.live()
        owners = [e for e in found["metadata"]["managedFields"] if not e.get("subresource") and e["manager"] == "kubectl"]
        return found["spec"], owners, [e["manager"] for e in found["metadata"]["managedFields"] if e["manager"] == names.FIELD_MANAGER]

    def view(self) -> RouteView | None:
        return self.router.view(self.scope, self.undo)

    async def until(self, ask: Any, what: str, within: float = 30.0) -> float:
        """Seconds until it was so."""
        began = time.monotonic()
        while not ask(self.view()):
            if time.monotonic() > began + within:
                raise AssertionError(f"{self.plane.name}: still not after {within:g} s: {what}: {self.view()}")
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def weigh(self, weight: int) -> float:
        """Written, and taken as the router sees it; the seconds that took."""
        await self.router.set_weight(self.scope, weight)
        took = await self.until(lambda v: v is not None and v.weight == weight and v.accepted, f"{weight} %")
        await asyncio.sleep(DRAIN)
        return took

    async def pick(self, pick: Pick | None) -> None:
        """Beside weight 0, or nothing any more."""
        await self.router.set_weight(self.scope, 0, pick)
        await self.until(lambda v: v is not None and v.picked == words(pick) and v.weight == 0 and v.accepted, words(pick) or "no pick")
        await asyncio.sleep(DRAIN)

    async def logged(self, method: str = "GET", query: str = "", fields: str = "") -> tuple[Counter[str], Counter[str]]:
        """What clients got, and what the versions' own log says, of some requests."""
        run, seen = f"/logged/{uuid.uuid4().hex}", Seen()
        client = meter.Client(self.url, self.host)
        for _ in range(LOGGED):
            await client.ask(f"{run}{query}", seen, method, fields)
        client.close()
        assert seen.failures == [], seen.failures[:3]
        await asyncio.sleep(0.3)  # copies may come after the answer
        lines = [line.split(" ")[0] for line in _log(self.cluster).read_text().splitlines() if run in line]
        return seen.versions, Counter(lines)

    async def ask(self, requests: int) -> Seen:
        seen = await measure(self.url, self.host, requests)
        assert seen.failures == [], seen.failures[:3]
        return seen

    async def share(self, weight: int, requests: int) -> None:
        """Within three standard errors of what was asked for.

        A balancer that draws lots is outside of them in one look of 370, so a deviation has to show in a second, independent look too.
        """
        await self.weigh(weight)
        p = weight / 100
        looks: list[int] = []
        while len(looks) < 2:
            looks.append((await self.ask(requests)).versions[CANARY])
            if abs(looks[-1] - requests * p) <= 3 * math.sqrt(requests * p * (1 - p)):
                return
        raise AssertionError(f"{looks} of {requests} at {weight} %")


@asynccontextmanager
async def a_stand(plane: Plane, cluster: ControlPlane, url: str, namespace: str) -> AsyncIterator[Stand]:
    async with Transport(config.load(str(cluster.kubeconfig))) as transport:
        client = Client(transport, field_manager=names.FIELD_MANAGER)
        informers = RouteInformers(client, [namespace], discovered())
        running = asyncio.create_task(informers.run())
        try:
            stand = Stand(plane, cluster, url, namespace, client, Routers(client, informers), informers)
            cluster.apply(*(o for name in ADDRESSES for o in _service(name, namespace)))
            stand.apply()
            await informers.read([stand.resource], 30)
            async with asyncio.timeout(30):
                while stand.routers.problems(stand.scope):
                    await asyncio.sleep(0.05)
            await stand.until(lambda v: v is not None and v.accepted, "the owner's own route is taken")
            await _answers(stand)
            yield stand
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def _answers(stand: Stand) -> None:
    seen = Seen()
    for _ in range(300):
        seen = await measure(stand.url, stand.host, 1)
        if not seen.failures:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{stand.plane.name} does not answer: {seen.failures}")


@pytest.fixture(params=PLANES, ids=lambda plane: plane.name)
def plane(request: pytest.FixtureRequest) -> Plane:
    found: Plane = request.param
    return found


@pytest.fixture
def url(plane: Plane, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(plane.gateway).url)


async def test_requests_meet_what_was_asked_for(
    plane: Plane, url: str, versions: None, control_plane: ControlPlane, namespace: str
) -> None:
    """Shares within three standard errors; nobody on the wrong side at 0 and 100; no request lost; taken back is seen; restored exactly."""
    async with a_stand(plane, control_plane, url, namespace) as stand:
        before = stand.state()
        stand.undo = stand.router.record(stand.scope)
        took = [await stand.weigh(0)]
        assert (await stand.ask(300)).versions == {STABLE: 300}
        await stand.share(1, 10_000)
        await stand.share(10, 10_000)
        await stand.share(50, 1_000)
        took.append(await stand.weigh(100))
        assert (await stand.ask(300)).versions == {CANARY: 300}
        took.append(await stand.weigh(0))
        assert (await stand.ask(300)).versions == {STABLE: 300}
        print(f"\n{plane.name}: taken within {', '.join(f'{1000 * t:.0f}' for t in took)} ms of the write")
        await _through_changes(stand)
        assert stand.state() == before
        await _taken_back(stand)


async def _through_changes(stand: Stand) -> None:
    """200 requests a second, some held for 2 s, while the weight changes twenty times and the canary is taken away."""
    control, where = stand.cluster, ["-n", stand.namespace]
    async with Steady(stand.url, stand.host) as seen:
        for number in range(20):
            await stand.router.set_weight(stand.scope, (5, 100, 50, 0)[number % 4])
            await asyncio.sleep(0.15)
        await stand.router.restore(stand.scope, stand.undo)
        stand.undo = ()
        await stand.until(lambda v: v is not None and v.weight is None and v.accepted, "it is put back")
        await asyncio.sleep(DRAIN + 2.0)
        await asyncio.to_thread(control.kubectl, "delete", "service,endpointslice", CANARY, *where)
        await asyncio.sleep(1.0)
    assert seen.failures == [], f"{len(seen.failures)} of {seen.total}: {seen.failures[:3]}"
    assert seen.versions[CANARY] > 100 < seen.versions[STABLE]
    assert seen.total >= 200 * 5
    control.apply(*_service(CANARY, stand.namespace))


async def _taken_back(stand: Stand) -> None:
    """A tool that heals writes its own again: seen with its name, and nothing is put back by looking."""
    stand.undo = stand.router.record(stand.scope)
    await stand.weigh(40)
    assert (await stand.ask(100)).versions[CANARY] > 10
    if stand.plane.apart:  # nothing of ours is in the owner's object: it is ours that goes, and a deletion leaves no name
        await asyncio.to_thread(stand.cluster.kubectl, "delete", stand.plane.router, stand.plane.apart, "-n", stand.namespace)
    else:
        body = copy.deepcopy(stand.objects[-1])
        stand.cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=healer", "-f", "-", input=_yaml(body))
    await stand.until(lambda v: v is not None and v.weight is None, "the backend is gone")
    found = stand.view()
    assert found is not None
    assert found.manager == ("" if stand.plane.apart else "healer")
    await stand.until(lambda v: v is not None and v.accepted, "the healer's is taken")
    await asyncio.sleep(DRAIN)
    assert (await stand.ask(100)).versions == {STABLE: 100}


def _asking(pick: Pick) -> tuple[str, str]:
    """How a client shows that it is meant: query and more lines of the head."""
    fields = "".join(f"{name.title()}: {value}\r\n" for name, value in pick.headers)
    fields += f"{pick.by}: {pick.buckets}\r\n" if pick.buckets else ""
    fields += "".join(f"Cookie: a=b; {name}={value}; c=d\r\n" for name, value in pick.cookies)
    return "".join(f"?{name}={value}" for name, value in pick.query), fields


def _nearly(pick: Pick) -> Iterator[tuple[str, str]]:
    """Requests that meet a part of the conditions, or another value."""
    yield "", ""
    if pick.headers:
        yield "", f"{pick.headers[0][0]}: other\r\n"
    for other in (pick.buckets + 1, 100, 10 * pick.buckets, f"0{pick.buckets}") if pick.buckets else ():
        yield "", f"{pick.by}: {other}\r\n"
    if pick.cookies:
        name, value = pick.cookies[0]
        yield "", f"Cookie: x{name}={value}; {name}={value}0\r\n"
        yield "", f"Cookie: {name}={value.replace('.', 'x')}0\r\n"
    if pick.query:
        yield f"?{pick.query[0][0]}=other", ""
    if len(pick.headers) > 1:
        yield "", f"{pick.headers[0][0]}: {pick.headers[0][1]}\r\n"


@pytest.mark.parametrize("plane", [p for p in PLANES if p.picks], ids=lambda plane: plane.name, indirect=True)
async def test_only_requests_that_are_picked_reach_the_canary(
    plane: Plane, url: str, versions: None, control_plane: ControlPlane, namespace: str
) -> None:
    """Each pick for itself: all that match on the canary and nobody else, by the versions' own log; then nobody, and the route as it was."""
    async with a_stand(plane, control_plane, url, namespace) as stand:
        before = stand.state()
        stand.undo = stand.router.record(stand.scope)
        await stand.weigh(0)
        for pick in plane.picks:
            await stand.pick(pick)
            if pick.mirror:
                await _copied(stand, pick)
                continue
            query, fields = _asking(pick)
            assert await stand.logged("GET", query, fields) == ({CANARY: LOGGED}, {CANARY: LOGGED}), pick.words
            for query, fields in _nearly(pick):
                assert await stand.logged("GET", query, fields) == ({STABLE: LOGGED}, {STABLE: LOGGED}), (pick.words, query, fields)
        await stand.router.restore(stand.scope, stand.undo)
        assert stand.state() == before


async def _copied(stand: Stand, pick: Pick) -> None:
    """Everybody gets stable's answer; the canary gets a copy of all that may be sent twice, and of nothing else."""
    answers, served = await stand.logged("GET")
    assert answers == {STABLE: LOGGED}
    assert served == {STABLE: LOGGED, CANARY: LOGGED}, pick.words
    changing = await stand.logged("POST", fields="Content-Length: 0\r\n")
    assert changing == ({STABLE: LOGGED}, {STABLE: LOGGED})


def _yaml(body: Object) -> str:
    import yaml

    return yaml.safe_dump(body)


@pytest.fixture
def stopped(contour: Contour) -> Iterator[Contour]:
    yield contour
    contour.start_controller()


async def test_a_write_that_no_controller_has_read_is_not_in_force(
    stopped: Contour, versions: None, control_plane: ControlPlane, namespace: str
) -> None:
    """Contour is away for a while: the view says so, requests go as before, and once Envoy found it again the share is what was asked for.

    Contour reports the route when it is back, and Envoy asks it again only after a pause of its own: up to half a minute apart.
    """
    plane = next(p for p in PLANES if p.name == "HTTPProxy on Contour")
    async with a_stand(plane, control_plane, stopped.url, namespace) as stand:
        stand.undo = stand.router.record(stand.scope)
        await stand.weigh(0)
        stopped.stop_controller()
        await stand.router.set_weight(stand.scope, 100)
        for _ in range(5):
            await asyncio.sleep(1.0)
            found = stand.view()
            assert found is not None
            assert (found.weight, found.accepted) == (100, False)
            assert "has not reported on generation" in found.problem
        assert (await stand.ask(200)).versions == {STABLE: 200}
        stopped.start_controller()
        await stand.until(lambda v: v is not None and v.accepted, "Contour is back")
        async with asyncio.timeout(60):
            while (await stand.ask(20)).versions != {CANARY: 20}:
                await asyncio.sleep(1.0)
        assert (await stand.ask(200)).versions == {CANARY: 200}
