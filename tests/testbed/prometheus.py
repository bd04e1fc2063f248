"""Real Prometheus on the test cluster: it finds pods through the API server and scrapes them and the gateway."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

import yaml

from tests.testbed import build, netns
from tests.testbed.controlplane import ADDRESS, ControlPlane, ControlPlaneError, Process
from tests.testbed.envoy import COUNTERS

PORT = 9090


class Prometheus:
    """A running Prometheus at `url`."""

    def __init__(self, plane: ControlPlane, command: list[str], port: int) -> None:
        self.plane = plane
        self.url = f"http://{ADDRESS}:{port}"
        self._command = command
        self.process: Process = plane.popen(command, name="prometheus")

    def _get(self, path: str) -> bytes:
        def fetch() -> bytes:
            try:
                with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                    body: bytes = answer.read()
            except urllib.error.HTTPError as error:
                with error:  # not ready yet: its connection is still open
                    raise OSError(f"{path}: {error.code}") from None
            return body

        return netns.call(self.plane.netns, fetch)

    @property
    def version(self) -> str:
        return str(json.loads(self._get("/api/v1/status/buildinfo"))["data"]["version"])

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query; the vector's samples."""
        answer = json.loads(self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def value(self, expression: str) -> float:
        """The sum of a query's samples (0 for none)."""
        return sum(float(sample["value"][1]) for sample in self.query(expression))

    def await_value(self, expression: str, least: float, timeout: float = 30.0) -> float:
        """Until the query gives at least `least`."""
        deadline = time.monotonic() + timeout
        while (found := self.value(expression)) < least:
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"{expression} is {found} after {timeout:.0f} s, expected at least {least}\n{self.process.tail()}")
            time.sleep(0.25)
        return found

    def await_ready(self, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._get("/-/ready")
            except OSError as error:
                if time.monotonic() > deadline or self.process.popen.poll() is not None:
                    raise ControlPlaneError(f"Prometheus is not ready: {error}\n{self.process.tail()}") from error
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """As an outage: the data stay."""
        self.process.stop(10)

    def restart(self) -> None:
        self.process = self.plane.popen(self._command, name="prometheus")
        self.await_ready()


def _config(plane: ControlPlane, interval: str, gateway: str | None, impact: str | None, envoys: Sequence[str]) -> dict[str, Any]:
    credentials = {
        "api_server": plane.url,
        "authorization": {"credentials": "prometheus-token"},
        "tls_config": {"ca_file": str(plane.ca)},
    }
    mark = "__meta_kubernetes_pod_annotation_prometheus_io_"
    pods = {
        "job_name": "pods",
        "kubernetes_sd_configs": [{"role": "pod", **credentials}],
        "relabel_configs": [
            {"source_labels": [mark + "scrape"], "action": "keep", "regex": "true"},
            {"source_labels": ["__meta_kubernetes_pod_phase"], "action": "keep", "regex": "Running"},
            {"source_labels": ["__meta_kubernetes_pod_ip", mark + "port"], "separator": ":", "target_label": "__address__"},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            {"source_labels": ["__meta_kubernetes_pod_label_app"], "target_label": "app"},
        ],
    }
    jobs: list[dict[str, Any]] = [pods]
    if gateway:
        jobs.append({"job_name": "traefik", "static_configs": [{"targets": [gateway]}]})
    if envoys:
        jobs.append({"job_name": "envoy", "metrics_path": COUNTERS, "static_configs": [{"targets": list(envoys)}]})
    if impact:
        path = "/internal-backstage/impact/metrics"
        jobs.append({"job_name": "unleash", "metrics_path": path, "static_configs": [{"targets": [impact]}]})
    return {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": jobs}


def start_prometheus(
    plane: ControlPlane,
    *,
    gateway: str | None = None,
    envoys: Sequence[str] = (),
    impact: str | None = None,
    interval: str = "1s",
    port: int = PORT,
) -> Prometheus:
    """Starts it; `gateway` is the host:port of Traefik's metrics, `envoys` of Envoys', `impact` of an Unleash with impact metrics.

    Pods ask for it by the annotations `prometheus.io/scrape` and `/port`.
    """
    config = plane.directory / f"prometheus-{port}.yaml"
    config.write_text(yaml.safe_dump(_config(plane, interval, gateway, impact, envoys)))
    data = plane.directory / f"prometheus-{port}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={ADDRESS}:{port}", "--log.level=warn"]
    prometheus = Prometheus(plane, [str(build.bin_dir() / "prometheus"), *options], port)
    prometheus.await_ready()
    return prometheus
