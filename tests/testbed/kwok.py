"""Nodes and pods by the hundred, without processes: kwok answers for nodes that carry its annotation and for the pods on them."""

from __future__ import annotations

from typing import Any

from tests.testbed import build
from tests.testbed.controlplane import ADDRESS, ControlPlane, Process

MARK = {"kwok.x-k8s.io/node": "fake"}
CAPACITY = {"cpu": "256", "memory": "1Ti", "pods": "1000"}
# A pod template with this in its spec runs on kwok's nodes and nowhere else.
PLACEMENT: dict[str, Any] = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
}


def _node(number: int) -> dict[str, Any]:
    name = f"kwok-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": MARK, "labels": {"type": "kwok", "kubernetes.io/hostname": name}},
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": CAPACITY, "allocatable": CAPACITY},
    }


def start_kwok(plane: ControlPlane, nodes: int = 2) -> Process:
    """kwok and its nodes `kwok-0` ... ; their pods are Ready a moment after they are bound (1,000 a node)."""
    stages = build.share_dir() / "kwok" / "stages.yaml"
    options = [
        f"--kubeconfig={plane.user_kubeconfig('kwok')}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--cidr=10.244.0.1/16",
        f"--node-ip={ADDRESS}",
        f"--config={stages}",
    ]
    process = plane.popen([str(build.bin_dir() / "kwok"), *options], name="kwok")
    plane.apply(*(_node(number) for number in range(nodes)))
    plane.kubectl("wait", "--for=condition=Ready", "node", "-l", "type=kwok", "--timeout=60s", timeout=70)
    # With the lifecycle controller absent nobody takes the "not ready" taint off a new node.
    plane.kubectl("taint", "nodes", "-l", "type=kwok", "node.kubernetes.io/not-ready-", check=False)
    return process
