"""A cluster for the command line: the sandbox's API server and controllers, pods that only pretend, a gateway that nods.

The daemon runs in the test's own loop when a test asks for it; commands run in a thread, as a user's process would.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from daemon.api import crds
from daemon.api.kinds import KINDS
from daemon.api.profiles import documents
from daemon.cli.main import main
from daemon.control.daemon import Daemon, Options
from daemon.sandbox import gateway as gateways
from daemon.sandbox.cluster import hold_policies
from daemon.sandbox.server import ApiServer
from tests.sandbox.workbench import Bench, on_paper, service, web

Object = dict[str, Any]

LINNET = str(Path(sys.executable).with_name("linnet"))
DAEMON = "system:serviceaccount:linnet-system:linnet"
POLICIES = Path(__file__).parents[3] / "charts" / "linnet" / "files" / "hold-policies.yaml"
ROUTES = "httproutes.gateway.networking.k8s.io"
CANARIES = "canaries.linnet.dev"


def canary(name: str = "web", **spec: Any) -> Object:
    base: Object = {
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "strategy": {"ramp": "Steps"},
        "steps": [{"weight": 20, "dwell": {"minDuration": "1h"}}],
        "onRollback": "Hold",
    }
    return {"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary", "metadata": {"name": name, "namespace": "default"}, "spec": base | spec}


def route(name: str = "web") -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "parentRefs": [{"name": "gate", "namespace": "default"}],
            "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
        },
    }


def metric_source(url: str | None = None) -> Object:
    """A Prometheus at `url`; without one, the pods' own pages, which nobody has to be there for."""
    found = {"type": "Prometheus", "prometheus": {"url": url}} if url else {"type": "Scrape", "scrape": {"port": 9}}
    return {
        "apiVersion": "linnet.dev/v1alpha1",
        "kind": "MetricSource",
        "metadata": {"name": "default", "namespace": "linnet-system"},
        "spec": {**found, "allowedNamespaces": ["*"]},
    }


class World:
    """The cluster, and the words of a user's shell."""

    def __init__(self, bench: Bench, server: ApiServer, kubeconfig: Path) -> None:
        self.bench = bench
        self.server = server
        self.kubeconfig = kubeconfig

    def apply(self, *objects: Object) -> None:
        for item in objects:
            self.bench.apply(item)

    def canary(self, name: str = "web") -> Object:
        found = self.bench.store.get(CANARIES, "default", name)
        assert found is not None
        return found

    def status(self, name: str = "web") -> Object:
        found: Object = (self.bench.store.get(CANARIES, "default", name) or {}).get("status") or {}
        return found

    def route(self, name: str = "web") -> Object:
        found = self.bench.store.get(ROUTES, "default", name)
        assert found is not None
        return found

    async def phase(self, *phases: str, name: str = "web") -> Object:
        try:
            await self.bench.until(lambda: self.status(name).get("phase") in phases)
        except AssertionError:
            seen = self.status(name)
            raise AssertionError(f"{name} is not {phases} but {seen.get('phase')}: {seen.get('waiting')}") from None
        return self.status(name)

    async def run(self, *arguments: str, as_file: Path | None = None, stdin: str | None = None) -> Result:
        """`linnet ...` as the admin of the cluster."""
        words = [
            *arguments,
            *([] if arguments[0] == "lint" and "--live" not in arguments else ["--kubeconfig", str(as_file or self.kubeconfig)]),
        ]
        return await asyncio.to_thread(CliRunner().invoke, main, words, input=stdin)

    async def spawn(self, *arguments: str) -> tuple[int, str]:
        """`linnet ...` as a process of its own: what runs beside other commands, which share this process' output."""
        command = (LINNET, *arguments, "--kubeconfig", str(self.kubeconfig))
        started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        output, _ = await started.communicate()
        return started.returncode or 0, output.decode()

    @contextlib.asynccontextmanager
    async def daemon(self) -> AsyncIterator[None]:
        """A leading daemon under the chart's account, while the block runs."""
        path = self.kubeconfig.with_name("daemon")
        path.write_text(self.server.kubeconfig(DAEMON))
        task = asyncio.create_task(Daemon(Options(kubeconfig=str(path), metrics_address="127.0.0.1:0")).run())
        try:
            yield
        finally:
            ended = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not ended, task

    async def adopted(self) -> None:
        await self.phase("Idle")
        await self.bench.until(lambda: "linnet.dev/canary" in (self.bench.deployment()["metadata"].get("annotations") or {}), "marked")

    async def releasing(self, *extra: Object, **spec: Any) -> None:
        """The shop's Deployment adopted, a new template held, and its canary at 20 %; `spec` goes into the Canary."""
        self.apply(service(), route(), metric_source(), *extra, web("app:v1", 3), canary(**spec))
        await self.bench.until(self.bench.rolled_out, "rolled out")
        await self.adopted()
        self.bench.set_image("web", "app:v2")
        await self.phase("Progressing")
        await self.bench.until(lambda: self.status().get("weight") == 20, "weight 20")


def nod(bench: Bench) -> None:
    """A gateway that accepts each route at once."""
    loop = asyncio.get_running_loop()

    def accept(name: str) -> None:
        found = bench.store.get(ROUTES, "default", name)
        if found is None:
            return
        generation = found["metadata"]["generation"]
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": kind,
                "message": "",
                "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parent = {"name": "gate", "namespace": "default", "group": "gateway.networking.k8s.io", "kind": "Gateway"}
        parents = [{"parentRef": parent, "controllerName": "test/gate", "conditions": conditions}]
        if (found.get("status") or {}).get("parents") != parents:
            found["status"] = {"parents": parents}
            bench.store.update(ROUTES, found, user="gate", subresource="status")

    def changed(event: str, resource: str, obj: Object) -> None:
        if resource == ROUTES and event != "DELETED":
            loop.call_soon(accept, obj["metadata"]["name"])

    bench.store.subscribe(changed)


@contextlib.asynccontextmanager
async def world(root: Path, *, policies: bool = True) -> AsyncIterator[World]:
    async with on_paper() as bench:
        store = bench.store
        store.load([crds.crd(kind) for kind in KINDS], user="admin")
        store.load(list(gateways.crds()), user="admin")
        for name in ("default", "linnet-system"):
            if store.get("namespaces", "", name) is None:
                store.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, user="admin")
        store.load([d | {"metadata": d["metadata"] | {"namespace": "linnet-system"}} for d in documents()], user="admin")
        if policies:
            store.load(hold_policies(POLICIES, [DAEMON]), user="admin")
        nod(bench)
        async with ApiServer(store) as server:
            kubeconfig = root / "admin"
            kubeconfig.write_text(server.kubeconfig())
            yield World(bench, server, kubeconfig)


def manifests(*objects: Object) -> str:
    return yaml.safe_dump_all(objects, sort_keys=False)
