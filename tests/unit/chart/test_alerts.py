"""The chart's alerts in a real Prometheus, fed what kube-state-metrics exports: they must speak while the daemon does not."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.testbed import build
from tests.unit.chart.rendered import Chart, one

pytestmark = pytest.mark.cluster

HELD = 'kube_deployment_annotations{namespace="shop",deployment="checkout",annotation_linnet_dev_held="policy"} 1'
UNMARKED = 'kube_deployment_annotations{namespace="shop",deployment="cart"} 1'
PAUSED = "\n".join(f'kube_deployment_spec_paused{{namespace="shop",deployment="{name}"}} 1' for name in ("checkout", "cart"))
ROLLING = 'kube_deployment_spec_paused{namespace="shop",deployment="checkout"} 0'


def lease(age: float) -> str:
    return f'kube_lease_renew_time{{namespace="linnet",lease="linnet"}} {time.time() - age}'


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Exporter:
    """A page of metrics that a test may change."""

    def __init__(self) -> None:
        exporter = self
        self.page = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (exporter.page + "\n").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named as in the base class
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


class Prometheus:
    """Asks the running Prometheus, and changes what it scrapes."""

    def __init__(self, url: str, exporter: Exporter) -> None:
        self.url, self.exporter, self.shown = url, exporter, 0

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return json.loads(answer.read())["data"]

    def query(self, expression: str) -> list[dict[str, str]]:
        return [row["metric"] for row in self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))["result"]]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 40
        while True:
            try:
                if condition():
                    return
            except OSError:  # not listening yet
                pass
            assert time.monotonic() < deadline, what
            time.sleep(0.1)

    def show(self, *lines: str) -> None:
        """Returns once a scrape has brought these lines."""
        self.shown += 1
        self.exporter.page = "\n".join([*lines, f"page {self.shown}"])
        self.until(lambda: bool(self.query(f"page == {self.shown}")), f"page {self.shown} was not scraped")


@pytest.fixture(scope="module")
def rule(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = one(Chart(tmp_path_factory.mktemp("helm")).render({"prometheusRule": {"enabled": True}}), "PrometheusRule", "linnet")
    spec: dict[str, Any] = found["spec"]
    return spec


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, rule: dict[str, Any]) -> Iterator[Prometheus]:
    """Prometheus with the chart's rules (without their patience) and one target."""
    if build.missing({"prometheus"}):
        pytest.skip("Prometheus is not built: run `python -m tests.testbed.build`")
    here = tmp_path_factory.mktemp("prometheus")
    exporter = Exporter()
    serving = threading.Thread(target=exporter.server.serve_forever)
    serving.start()
    groups = [{**group, "rules": [{**alert, "for": "0s"} for alert in group["rules"]]} for group in rule["groups"]]
    (here / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    target = {"job_name": "ksm", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}]}
    config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}}
    (here / "config.yaml").write_text(yaml.safe_dump({**config, "rule_files": ["rules.yaml"], "scrape_configs": [target]}))
    port = _free_port()
    options = [f"--config.file={here / 'config.yaml'}", f"--storage.tsdb.path={here / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (here / "log").open("wb") as log:
        process = subprocess.Popen([str(build.bin_dir() / "prometheus"), *options], stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://127.0.0.1:{port}", exporter)
    finally:
        process.terminate()
        process.wait(20)
        exporter.server.shutdown()
        exporter.server.server_close()
        serving.join()


def _firing(prometheus: Prometheus, rule: dict[str, Any]) -> dict[str, list[str]]:
    """Alert -> the Deployments its expression finds now."""
    alerts = [alert for group in rule["groups"] for alert in group["rules"]]
    found = {alert["alert"]: prometheus.query(alert["expr"]) for alert in alerts}
    return {name: sorted(row.get("deployment", "") for row in rows) for name, rows in found.items() if rows}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (lambda: (HELD, UNMARKED, PAUSED, lease(5)), {}),
        (lambda: (HELD, UNMARKED, PAUSED, lease(90)), {"LinnetHeldWithoutLeader": ["checkout"], "LinnetNoLeader": [""]}),
        (lambda: (HELD, UNMARKED, PAUSED), {"LinnetHeldWithoutLeader": ["checkout"], "LinnetNoLeader": [""]}),
        (lambda: (HELD, ROLLING, lease(90)), {"LinnetNoLeader": [""]}),
        (lambda: (UNMARKED, PAUSED, lease(90)), {"LinnetNoLeader": [""]}),
        (lambda: (PAUSED, lease(5)), {"LinnetHoldsAreInvisible": [""]}),
    ],
    ids=["a-leader-lives", "the-lease-is-old", "there-is-no-lease", "released-by-hand", "the-owner-s-pause", "annotations-not-exported"],
)
def test_which_alerts_a_cluster_raises(
    prometheus: Prometheus, rule: dict[str, Any], page: Callable[[], tuple[str, ...]], expected: dict[str, list[str]]
) -> None:
    """A Deployment that is held while nobody leads is named; an owner's pause and a living leader raise nothing."""
    prometheus.show(*page())
    assert _firing(prometheus, rule) == expected


def test_two_kube_state_metrics_do_not_break_the_join(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    """During a roll of kube-state-metrics each series is there twice; the alert still fires once."""
    twice = [line.replace("{", f'{{pod="{pod}",') for pod in "ab" for line in (HELD, *PAUSED.splitlines())]
    prometheus.show(*twice, lease(90))
    assert _firing(prometheus, rule)["LinnetHeldWithoutLeader"] == ["checkout"]


def test_a_firing_alert_carries_the_way_out(prometheus: Prometheus) -> None:
    """Prometheus loads the rules without a complaint and fills the Deployment's name into the command that releases it."""
    prometheus.show(HELD, PAUSED, lease(90))

    def described() -> bool:
        found = [alert for alert in prometheus.get("/api/v1/alerts")["alerts"] if alert["labels"]["alertname"] == "LinnetHeldWithoutLeader"]
        return (
            bool(found)
            and "kubectl annotate deploy checkout -n shop linnet.dev/hold=off --overwrite" in found[0]["annotations"]["description"]
        )

    prometheus.until(described, "no alert with the command")
    health = {rule["health"] for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]}
    assert health == {"ok"}
