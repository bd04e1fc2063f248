"""A hundred applications, their Canaries, and the daemon outside the cluster with the rights of the chart's ServiceAccount."""

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.testbed.controlplane import ControlPlane, Process
from tests.testbed.kwok import PLACEMENT, start_kwok
from tests.testbed.linnet import CHART, SYSTEM

ROOT: Final = Path(__file__).resolve().parents[1]
ACCOUNT: Final = f"system:serviceaccount:{SYSTEM}:linnet"
METRICS_PORT: Final = 19090
DAEMON_PORT: Final = 18080
WEIGHTS: Final = (5, 10, 20, 35, 50)
REPLICAS: Final = 2
SOURCE = {"type": "Prometheus", "prometheus": {"url": f"http://127.0.0.1:{METRICS_PORT}"}, "allowedNamespaces": ["*"]}


def app_name(number: int) -> str:
    """Of one width, so that no name begins with another one."""
    return f"app-{number:03d}"


class Fleet:
    """`size` applications over `spread` namespaces; every step of a rollout lasts `dwell` seconds at least."""

    def __init__(self, plane: ControlPlane, *, size: int, spread: int, dwell: float) -> None:
        self.plane = plane
        self.names = {app_name(n): f"bench-{n % spread}" for n in range(size)}
        self.namespaces = sorted(set(self.names.values()))
        self.dwell = dwell
        self.daemon: Process | None = None

    # -- building ----------------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """CRDs, policies and rights from the chart (its pods stay away), nodes, stubs, applications; no Canary yet."""
        plane = self.plane
        plane.install_gateway_api()
        values = json.dumps({"replicas": 0, "image": {"repository": "linnet", "tag": "bench"}, "hold": {"policies": True}})
        plane.helm("upgrade", "--install", "linnet", str(CHART), "-n", SYSTEM, "--create-namespace", "-f", "-", input=values)
        start_kwok(plane)
        stubs = [sys.executable, "-m", "bench.stubs", "--kubeconfig", str(plane.user_kubeconfig("bench")), "--port", str(METRICS_PORT)]
        plane.popen(stubs, name="stubs", cwd=ROOT)
        for namespace in self.namespaces:
            plane.kubectl("create", "namespace", namespace)
            plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s")
        plane.apply({**_object("linnet.dev/v1alpha1", "MetricSource", "default", SYSTEM), "spec": SOURCE})
        plane.apply(*(o for name, namespace in self.names.items() for o in _app(name, namespace)))
        self.await_all(self._complete, "every Deployment is complete", 180.0)

    def adopt(self) -> None:
        self.plane.apply(*(_canary(name, namespace, self.dwell) for name, namespace in self.names.items()))

    def start_daemon(self, profile: Path | None) -> Process:
        """`linnet run` as it is; with `profile` under cProfile, for whoever looks for hot spots."""
        config = self.plane.service_account_kubeconfig(SYSTEM, "linnet")
        command = [sys.executable, *(["-m", "cProfile", "-o", str(profile)] if profile else []), "-m", "daemon.cli.main", "run"]
        command += ["--kubeconfig", str(config), "--metrics-address", f"127.0.0.1:{DAEMON_PORT}", "--log-format", "json"]
        self.daemon = self.plane.popen(command, name="daemon", cwd=ROOT, env={"PYTHONPATH": str(ROOT), "NO_PROXY": "*"})
        return self.daemon

    # -- driving -----------------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """A new image for every application, by whoever deploys."""
        for namespace in self.namespaces:
            self.plane.kubectl("set", "image", "deployment", "-l", "bench=app", "app=registry.example/app:v2", "-n", namespace)

    def canaries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.plane.json("get", "canaries.linnet.dev", "-A")["items"]
        return found

    def phases(self) -> Counter[str]:
        return Counter((c.get("status") or {}).get("phase", "-") for c in self.canaries())

    def await_phase(self, *phases: str, timeout: float) -> None:
        self.await_all(lambda: set(self.phases()) <= set(phases), f"every Canary is {' or '.join(phases)}", timeout)

    def await_forecast(self, timeout: float) -> None:
        """Adoption ends with one look at the service's own traffic: until that is written, nothing is at rest."""

        def measured() -> bool:
            return all("requestsPerSecond" in ((c.get("status") or {}).get("forecast") or {}) for c in self.canaries())

        self.await_all(measured, "the traffic of every Canary is measured", timeout)

    def await_all(self, check: Any, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not check():
            if self.daemon is not None and self.daemon.popen.poll() is not None:
                raise RuntimeError(f"the daemon ended:\n{self.daemon.tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not after {timeout:.0f} s; {dict(self.phases())}\n{self.daemon.tail() if self.daemon else ''}")
            time.sleep(2.0)

    def _complete(self) -> bool:
        items = self.plane.json("get", "deployments", "-A", "-l", "bench=app")["items"]
        return all((d.get("status") or {}).get("availableReplicas") == REPLICAS for d in items)

    def daemon_pid(self) -> int:
        """Of Python itself: what was started is a wrapper that entered the network namespace, and may have become it."""
        if self.daemon is None:
            raise RuntimeError("no daemon was started")
        return _last_child(self.daemon.popen.pid)


def _last_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = children.read_text().split() if children.exists() else []
    return _last_child(int(found[0])) if found else pid


class Meter:
    """CPU and resident memory of one process, from /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._tick = os.sysconf("SC_CLK_TCK")
        self.peak_mb = 0.0
        self.restart()

    def restart(self) -> None:
        self._since, self._used = time.monotonic(), self._cpu()

    def sample(self) -> None:
        text = Path(f"/proc/{self._pid}/status").read_text()
        rss = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
        self.peak_mb = max(self.peak_mb, rss / 1024)

    @property
    def cpu_percent(self) -> float:
        """Of one core, since the last restart."""
        return 100.0 * (self._cpu() - self._used) / (time.monotonic() - self._since)

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / self._tick


# -- manifests -------------------------------------------------------------------------------------------------------------------


def _object(version: str, kind: str, name: str, namespace: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def _app(name: str, namespace: str) -> list[dict[str, Any]]:
    labels = {"app": name}
    container = {"name": "app", "image": "registry.example/app:v1", "ports": [{"name": "http", "containerPort": 8080}]}
    deployment = _object("apps/v1", "Deployment", name, namespace)
    deployment["metadata"]["labels"] = {"bench": "app"}
    deployment["spec"] = {
        "replicas": REPLICAS,
        "selector": {"matchLabels": labels},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], **PLACEMENT}},
    }
    service = _object("v1", "Service", name, namespace)
    service["spec"] = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    route = _object("gateway.networking.k8s.io/v1", "HTTPRoute", name, namespace)
    route["spec"] = {
        "parentRefs": [{"name": "web", "namespace": SYSTEM}],
        "hostnames": [f"{name}.test"],
        "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
    }
    return [deployment, service, route]


def _canary(name: str, namespace: str, dwell: float) -> dict[str, Any]:
    canary = _object("linnet.dev/v1alpha1", "Canary", name, namespace)
    steps = [{"weight": weight, "dwell": {"minDuration": f"{dwell:.0f}s"}} for weight in WEIGHTS]
    canary["spec"] = {"workloadRef": {"name": name}, "steps": steps, "analysis": {"interval": "15s"}}
    return canary
