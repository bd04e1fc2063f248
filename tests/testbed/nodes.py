"""Starts the node agent on a control plane and gives tests the manifests and records of what runs there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.testbed.controlplane import ControlPlane, Process

ROOT = Path(__file__).resolve().parents[2]
APP = Path(__file__).with_name("app.py")
# Image name -> program. `linnet` is the daemon as its own image starts it; `pause` only waits.
IMAGES: dict[str, list[str]] = {
    "shop:*": [sys.executable, str(APP)],
    "*/shop:*": [sys.executable, str(APP)],
    "pause:*": ["sleep", "infinity"],
    "linnet:*": [sys.executable, "-m", "daemon.cli.main"],
    "*/linnet:*": [sys.executable, "-m", "daemon.cli.main"],
    "linnet-crash:*": [sys.executable, str(APP.with_name("crashing.py"))],
}


class NodeAgent:
    """A running node agent and what it recorded."""

    def __init__(self, plane: ControlPlane, process: Process, state: Path) -> None:
        self.plane = plane
        self.process = process
        self.state = state

    @property
    def requests(self) -> Path:
        """Folder of the app's request logs (JSON lines, one file per process)."""
        return self.state / "logs"

    def logs(self, namespace: str, pod: str) -> str:
        """What the containers of a pod printed (the newest pod of that name)."""
        folders = sorted((self.state / "pods").glob(f"{namespace}_{pod}_*"), key=lambda folder: folder.stat().st_mtime)
        return "".join(path.read_text(errors="replace") for path in sorted(folders[-1].glob("*.log"))) if folders else ""

    def volume(self, namespace: str, pod: str, volume: str) -> Path:
        """The folder of a pod's volume as its containers see it."""
        found = sorted((self.state / "pods").glob(f"{namespace}_{pod}_*/volumes/{volume}"))
        if not found:
            raise FileNotFoundError(f"pod {namespace}/{pod} has no volume {volume!r} on this agent")
        return found[-1]


def start_node_agent(
    plane: ControlPlane,
    *,
    nodes: tuple[str, ...] = ("node-1", "node-2"),
    images: Mapping[str, list[str]] | None = None,
    name: str = "node-agent",
) -> NodeAgent:
    """Registers the nodes; pods that the scheduler binds to them run from now on. `images` add to `IMAGES`."""
    state = plane.directory / name
    state.mkdir()
    table = state / "images.json"
    table.write_text(json.dumps({**(images or {}), **IMAGES}))
    kubeconfig = str(plane.user_kubeconfig("node-agent"))
    command = [sys.executable, "-m", "tests.testbed.nodeagent", "--kubeconfig", kubeconfig, "--state", str(state), "--images", str(table)]
    process = plane.popen([*command, "--nodes", ",".join(nodes)], name=name, cwd=ROOT)
    for node in nodes:
        plane.kubectl("wait", "--for=create", f"node/{node}", "--timeout=30s")
        plane.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=30s")
    return NodeAgent(plane, process, state)


def shop(
    name: str = "shop",
    *,
    image: str = "shop:v1",
    replicas: int = 2,
    env: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    startup_seconds: float = 3,
    flags: str | None = None,
    scrape: bool = True,
    pre_stop: int = 6,
) -> list[dict[str, Any]]:
    """The Deployment and Service of the app as a careful team would write them; `flags` mounts the ConfigMap of that name.

    Endpoints and gateway hear of a pod's end up to a second after the pod does, and on a crowded machine later (four were seen): whoever
    rolls pods outlasts that by `pre_stop`. With 0 pods end at once, which a switch of Linnet's must bear and a native roll cannot.
    """
    labels = {"app": name}
    variables: list[dict[str, Any]] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LINNET_TRACK", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['linnet.dev/track']"}}},
        {"name": "STARTUP_SECONDS", "value": str(startup_seconds)},
        *({"name": key, "value": value} for key, value in (env or {}).items()),
    ]
    container: dict[str, Any] = {
        "name": "shop",
        "image": image,
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": variables,
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 2},
    }
    if pre_stop:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": pre_stop}}}
    pod: dict[str, Any] = {"terminationGracePeriodSeconds": 15, "containers": [container]}
    if flags:
        pod["volumes"] = [{"name": "flags", "configMap": {"name": flags}}]
        container["volumeMounts"] = [{"name": "flags", "mountPath": "/etc/flags"}]
        variables.append({"name": "FLAG_FILE", "value": "/etc/flags/flags.json"})
    marks = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"} if scrape else {}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "annotations": dict(annotations or {})},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels, "annotations": marks}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    return [deployment, service]
