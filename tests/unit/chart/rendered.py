"""What Helm makes of the chart, as objects: the real Helm, no reimplementation of its templates."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.testbed import build

CHART = Path(__file__).parents[3] / "charts" / "linnet"
POLICY_API = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}

Object = dict[str, Any]


def helm(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Helm with a home of its own; skips where Helm is not built."""
    if build.missing({"helm"}):
        pytest.skip("Helm is not built: run `python -m tests.testbed.build`")
    env = {**os.environ, "HOME": str(home), "HELM_CONFIG_HOME": str(home), "HELM_CACHE_HOME": str(home), "HELM_DATA_HOME": str(home)}
    return subprocess.run(
        [str(build.bin_dir() / "helm"), *arguments], capture_output=True, text=True, timeout=60, check=False, env=env, cwd=CHART
    )


class Chart:
    """Renders the chart as a release `linnet` in a namespace `linnet`."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def try_render(self, values: Object, *, policies: bool = True) -> subprocess.CompletedProcess[str]:
        path = self.home / "values.json"
        path.write_text(json.dumps(values))
        known = ["--api-versions", POLICY_API] if policies else []
        return helm("template", "linnet", str(CHART), "-n", "linnet", "-f", str(path), *known, home=self.home)

    def render(self, values: Object | None = None, *, policies: bool = True) -> list[Object]:
        done = self.try_render(values or {}, policies=policies)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [found for found in objects if found["kind"] in kinds]


def one(objects: list[Object], kind: str, name: str) -> Object:
    [found] = [found for found in of_kind(objects, kind) if found["metadata"]["name"] == name]
    return found
