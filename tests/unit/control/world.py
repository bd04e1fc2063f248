"""The daemon, whole and in the test's own loop, on a cluster on paper; and a shop for it to release.

Times that only spare people's eyes or open connections are shortened here; what is tested for its length is
tested apart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from daemon.api import names
from daemon.control.daemon import Daemon, Options
from tests.unit.control.cluster import CATALOGUE, ROUTES, SHOP, Cluster
from tests.unit.control.cluster import Object as Object

CANARIES = "canaries.linnet.dev"
RUNS = "analysisruns.linnet.dev"
DEPLOYMENTS = "deployments.apps"
REVISIONS = "controllerrevisions.apps"
HPAS = "horizontalpodautoscalers.autoscaling"
CONFIGMAPS = "configmaps"
EVENTS = "events"
WRITES = ("POST", "PATCH", "PUT", "DELETE")

STEPS = [{"weight": 20, "dwell": {"minDuration": "1ms"}}, {"weight": 50, "dwell": {"minDuration": "1ms"}}]
METRIC = {"name": "errors", "preset": "HTTPErrorRatio", "rollbackIfWorseBy": "2pp", "promoteIfWithin": "10pp"}
DRAIN = {"drain": "100ms"}
ANALYSIS = {"interval": "1s", "warmUp": "1ms", "metrics": [METRIC]}


def linnet(kind: str, name: str, spec: Object, *, namespace: str = SHOP, **metadata: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": spec,
    }


def canary(name: str = "web", **spec: Any) -> Object:
    """Releases the Deployment of its name in two steps without dwell."""
    return linnet(
        "Canary",
        name,
        {
            "workloadRef": {"name": name},
            "strategy": {"ramp": "Steps"},
            "steps": STEPS,
            "analysis": ANALYSIS,
            **spec,
            "traffic": DRAIN | spec.get("traffic", {}),
        },
    )


def deployment(name: str = "web", image: str = "app:v1", replicas: int = 3, *, annotations: Object | None = None, **spec: Any) -> Object:
    pod = {"containers": [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": SHOP, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            **spec,
        },
    }


def service(name: str = "web", app: str | None = None, **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {"selector": {"app": app or name}, "ports": ports, **spec},
    }


def route(name: str = "web", *services: str, rules: list[Object] | None = None) -> Object:
    backends = [{"name": s, "port": 80} for s in services or (name,)]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {"parentRefs": [{"name": "web", "namespace": "gateway"}], "rules": rules or [{"backendRefs": backends}]},
    }


def autoscaler(name: str = "web", low: int = 1, high: int = 10) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high},
    }


FLAG_FILE = {"flags": {"new": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}}}


def flag_file(name: str = "flags", key: str = "flags.json", namespace: str = SHOP, *flags: str) -> Object:
    body = {"flags": dict.fromkeys(flags or ("new", "other"), FLAG_FILE["flags"]["new"])}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {key: json.dumps(body, indent=2)}}


def flag_source(called: str = "default", settle: str = "0s", **ref: Any) -> Object:
    return linnet(
        "FlagSource", called, {"type": "Flagd", "flagd": {"configMapRef": {"name": "flags", "key": "flags.json", **ref}, "settle": settle}}
    )


ACCOUNT = "#by=alice;until=2099-01-01T00:00:00Z;why=the till is down"  # what an override must say


class World(Cluster):
    """A cluster with Linnet on it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.daemon = Daemon(Options())
        self.metrics_url = ""

    # Linnet.

    @asynccontextmanager
    async def linnet(self, *, wait: bool = True, **options: Any) -> AsyncIterator[Daemon]:
        """The daemon while the block runs; it may be started again."""
        address = f"127.0.0.1:{free_port()}"
        self.metrics_url = f"http://{address}"
        given = {"leader_election": False, "metrics_address": address, "catalogue_namespace": CATALOGUE, **options}
        self.daemon = Daemon(Options(kubeconfig=str(self.kubeconfig), **given))
        with quickly():
            task = asyncio.create_task(self.daemon.run())
            try:
                while wait and self.daemon.missing() and not task.done():
                    await asyncio.sleep(0.005)
                yield self.daemon
            finally:
                ended = task.done()
                task.cancel()
                [outcome] = await asyncio.gather(task, return_exceptions=True)
        if ended or not isinstance(outcome, asyncio.CancelledError):
            raise AssertionError("the daemon ended by itself") from outcome if isinstance(outcome, BaseException) else None

    def requests(self, *methods: str) -> int:
        """How many requests of these methods the daemon has sent."""
        found = self.daemon.metrics.requests.collect()
        return sum(
            int(s.value) for m in found for s in m.samples if s.name.endswith("_total") and s.labels["method"] in (methods or WRITES)
        )

    # The shop.

    def open(self, *extra: Object, canary_spec: Object | None = None, **deployed: Any) -> None:
        """Deployment, Service, HTTPRoute, the pods' own pages as metric source, and a Canary."""
        pages = linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": self.pages.port}})
        self.apply(service(), route(), pages, *extra, deployment(**deployed), canary(**(canary_spec or {})))

    def release(self, image: str, name: str = "web") -> None:
        """A new image, by `kubectl set image`."""
        containers = [{"name": "main", "image": image}]
        body = {"spec": {"template": {"spec": {"containers": containers}}}}
        self.store.patch(DEPLOYMENTS, SHOP, name, "strategic", body, user="alice")

    def say(self, verb: str, name: str = "web") -> None:
        """promote, abort, pause, resume or override of the revision at hand."""
        found = self.status(name).get("rollout")
        revision = found["revision"] if found else self.status(name)["observedRevision"]
        self.patch(
            CANARIES, name, {"metadata": {"annotations": {names.ACTION: f"{verb}@{revision}{ACCOUNT if verb == 'override' else ''}"}}}
        )

    def status(self, name: str = "web") -> Object:
        found = self.find(CANARIES, name)
        return (found or {}).get("status") or {}

    def phase(self, name: str = "web") -> str:
        return str(self.status(name).get("phase", ""))

    async def phases(self, *wanted: str, name: str = "web") -> Object:
        await self.until(lambda: self.phase(name) in wanted, f"{name} is {' or '.join(wanted)}")
        return self.status(name)

    async def adopted(self, name: str = "web") -> None:
        """At rest, with the mark on the Deployment: the next template change is held."""
        mark = names.CANARY_MARK
        await self.until(
            lambda: self.phase(name) == "Idle" and mark in (self.get(DEPLOYMENTS, name)["metadata"].get("annotations") or {}),
            f"{name} is adopted",
        )

    async def weighs(self, weight: int, name: str = "web") -> None:
        """The route sends this share to the canary, and the Canary says so."""
        await self.until(lambda: self.share(name) == weight and self.status(name).get("weight") == weight, f"{name} at {weight} %")

    def share(self, name: str = "web") -> int | None:
        """Percent of a route's first rule that goes to the canary; None where its backend is not in it."""
        backends = self.get(ROUTES, name)["spec"]["rules"][0]["backendRefs"]
        found = next((b for b in backends if b["name"].endswith("-canary")), None)
        return None if found is None else int(found.get("weight", 1))

    def events(self, reason: str | None = None, about: str | None = None) -> list[Object]:
        """Events told by Linnet, the oldest first."""
        told = [e for e in self.store.list(EVENTS, None) if e.get("reportingComponent", "").startswith("linnet.dev/")]
        told.sort(key=lambda e: str(e.get("eventTime") or ""))
        return [e for e in told if reason in (None, e.get("reason")) and about in (None, e["involvedObject"]["kind"])]

    def kinds(self) -> set[str]:
        """Every resource that there ever was an object of."""
        return {resource for _, resource, _ in self.history}

    async def told(self, reason: str, about: str | None = None) -> str:
        """The words of the first Event of this reason."""
        found = await self.until(lambda: self.events(reason, about), f"an Event {reason}")
        return str(found[0]["message"])

    async def told_any(self, words: str) -> str:
        """The first Event with these words."""
        found = await self.until(lambda: [e for e in self.events() if words in e["message"]], f"an Event that says {words!r}")
        return str(found[0]["message"])


@contextmanager
def quickly() -> Any:
    with (
        mock.patch("daemon.control.reconcile.SHOWN_WITHIN", 0.1),
        mock.patch("daemon.control.flagging.FRESH", 0.3),
        mock.patch("daemon.control.flagging.LOOK_AGAIN", 0.5),
    ):
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def a_world(root: Path, *, policies: bool = True, **options: Any) -> AsyncIterator[World]:
    """Cluster and daemon while the block runs."""
    logging.getLogger("linnet").setLevel(logging.DEBUG)
    world = World(root)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.running(policies=policies))
        await stack.enter_async_context(world.linnet(**options))
        yield world
