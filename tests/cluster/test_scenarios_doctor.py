"""The doctor against what it is made for: a real Prometheus beside a real gateway, and the rights of the chart's own account."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.scenario import ANALYSIS, API, Shop, canary
from tests.testbed.controlplane import ADDRESS
from tests.testbed.gateway import Gateway
from tests.testbed.linnet import Linnet, eventually
from tests.testbed.prometheus import PORT, Prometheus, start_prometheus

pytestmark = pytest.mark.cluster

DOCTOR = "linnet-doctor"
LINNET = str(Path(sys.executable).with_name("linnet"))
SOURCE = {
    "apiVersion": API,
    "kind": "MetricSource",
    "metadata": {"name": "default"},
    "spec": {"type": "Prometheus", "prometheus": {"url": f"http://{ADDRESS}:{PORT}"}},
}
METRICS = [
    {"name": "errors", "preset": "HTTPErrorRatio"},
    {"name": "gateway", "preset": "TraefikErrorRatio"},
    {"name": "orders", "ratio": {"errors": "orders_failed_total", "total": "orders_total"}},
]


@pytest.fixture
def prometheus(linnet: Linnet, gateway: Gateway) -> Iterator[Prometheus]:
    """One that scrapes the pods and the gateway, for as long as the test needs it: others start their own at the same address."""
    started = start_prometheus(linnet.plane, gateway=gateway.metrics)
    yield started
    started.stop()


def examined(shop: Shop) -> list[dict[str, Any]]:
    """What the doctor says as an admin, in the shop's namespace."""
    command = [LINNET, "doctor", "-o", "json", "--kubeconfig", str(shop.plane.kubeconfig), "-n", shop.namespace]
    found: list[dict[str, Any]] = json.loads(shop.plane.run_in_netns(command, timeout=70.0, check=False).stdout)
    return found


def about(shop: Shop, kind: str, found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The findings on one object of the shop's, by what they begin with."""
    name = {"Canary": "shop", "MetricSource": "default"}[kind]
    return {" ".join(f["message"].split()[:2]).strip(":"): f for f in found if f["what"] == f"{kind} {shop.namespace}/{name}"}


def test_doctor_names_the_metrics_that_prometheus_has_and_the_one_that_it_has_not(front: Shop, prometheus: Prometheus) -> None:
    """The app's counter and the gateway's are found; one that nobody exports is said with what there is; then Prometheus is gone."""
    front.open(adopted=False, source=SOURCE, replicas=1, startup_seconds=0)
    front.apply(canary(analysis={**ANALYSIS, "metrics": METRICS}))
    front.load(40)
    prometheus.await_value(f'http_requests_total{{namespace="{front.namespace}"}}', 40)
    prometheus.await_value(f'traefik_service_requests_total{{service=~".*-svc-{front.namespace}-shop-.*"}}', 40)
    found = examined(front)
    assert about(front, "MetricSource", found)["answers"]["level"] == "OK"
    said = about(front, "Canary", found)
    for metric, counter in (("errors", "http_requests_total"), ("gateway", "traefik_service_requests_total")):
        line = said[f"metric {metric}"]
        assert line["level"] == "OK" and f"found {counter}" in line["message"], line
    orders = said["metric orders"]
    assert orders["level"] == "WARN" and "orders_total" in orders["message"], orders
    assert "http_requests_total" in orders["wayOut"] and "traefik_service_requests_total" in orders["wayOut"], orders
    prometheus.stop()
    gone = [f for f in examined(front) if f["what"] == f"MetricSource {front.namespace}/default"]
    assert [f["level"] for f in gone] == ["FAIL"] and "Unreachable" in gone[0]["message"], gone


def helm_test(shop: Shop) -> tuple[bool, str]:
    """`helm test` as a user types it: whether it passed, and what the doctor's pod wrote."""
    linnet = shop.linnet
    done = linnet.plane.helm("test", linnet.release, "-n", linnet.namespace, "--timeout=90s", check=False)
    return done.returncode == 0, shop.agent.logs(linnet.namespace, DOCTOR)


def test_helm_test_finds_everything_in_place_and_names_a_right_that_is_taken_away(front: Shop, linnet: Linnet) -> None:
    """As the chart's account, in its pod: rights, hold, leader and this shop's objects are fine; without one rule that rule is named."""
    front.open(replicas=1, startup_seconds=0)
    _, said = helm_test(front)
    for line in ("OK   CRDs", "OK   rights", "OK   gateway", "OK   hold", "OK   leader", f"OK   Canary {front.namespace}/shop"):
        assert line in said, said
    assert f"FAIL Canary {front.namespace}/shop" not in said, said
    role = linnet.plane.json("get", "clusterrole", "linnet")
    rules = [rule for rule in role["rules"] if rule["resources"] != ["persistentvolumeclaims"]]  # no Canary here has one: no 403
    assert len(rules) == len(role["rules"]) - 1
    grant(linnet, rules)
    try:
        passed, said = eventually(lambda: (found := helm_test(front)) and "FAIL rights" in found[1] and found, "the missing right", 20)
    finally:
        grant(linnet, role["rules"])
    assert not passed
    assert "get persistentvolumeclaims" in said, said


def grant(linnet: Linnet, rules: list[dict[str, Any]]) -> None:
    patch = json.dumps([{"op": "replace", "path": "/rules", "value": rules}])
    linnet.plane.kubectl("patch", "clusterrole", "linnet", "--type=json", "-p", patch)
