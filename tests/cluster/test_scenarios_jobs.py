"""Jobs as the evidence of a release, on a real API server with the native Job controller and pods that run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.scenario import API, Object, Shop
from tests.cluster.stage import scenario
from tests.testbed.linnet import eventually
from tests.witness.audit import Audit

pytestmark = pytest.mark.cluster

JOBS = "/apis/batch/v1/namespaces/{}/jobs"
STEPS = [{"weight": 20, "dwell": {"minDuration": "1s"}}]


def template(name: str, script: str, env: list[Object] | None = None, **job: Any) -> Object:
    """A shell script whose exit code is the answer; its args are the release's."""
    container = {"name": "check", "image": "pause:1", "command": ["sh", "-c", script], "env": env or []}
    spec = {"template": {"spec": {"containers": [container]}}, **job}
    metrics = [{"name": "run", "provider": {"job": {"spec": spec}}}]
    args = [{"name": "exit"}]
    return {"apiVersion": API, "kind": "AnalysisTemplate", "metadata": {"name": name}, "spec": {"args": args, "metrics": metrics}}


def judged(name: str, code: int) -> Object:
    use = {"name": name, "args": [{"name": "exit", "value": str(code)}]}
    return {"judge": "TemplatesOnly", "templates": [use]}


def jobs(shop: Shop) -> list[Object]:
    found: list[Object] = json.loads(shop.plane.request(JOBS.format(shop.namespace)))["items"]
    return found


@scenario
def test_a_job_alone_promotes_and_its_failure_rolls_back_with_the_last_line_of_its_log(shop: Shop) -> None:
    """No metric source is asked; the Secret that the Job prints is in no sentence; each release had one Job, made by the daemon."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "till"}, "stringData": {"key": "open-sesame"}}
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "till", "key": "key"}}}]
    checked = template("smoke", "echo trying; echo cart is empty, key $KEY; exit {{args.exit}}", env)
    shop.open({"steps": STEPS, "analysis": judged("smoke", 0)}, extra=[secret, checked])
    shop.push("v2")
    passed = shop.await_verdict("Pass")
    assert "template smoke: run: Job shop-" in passed["sentence"], passed["sentence"]
    assert "succeeded" in passed["sentence"], passed["sentence"]
    shop.kubectl("patch", "canaries.linnet.dev", "shop", "--type=merge", "-p", '{"spec":{"analysis":{"templates":[{"name":"smoke","args":[{"name":"exit","value":"1"}]}]}}}')  # fmt: skip
    shop.push("v3")
    failed = shop.await_verdict("Fail")
    assert "ended with exit code 1: trying / cart is empty, key ***" in failed["sentence"], failed["sentence"]
    made = Audit.read(shop.plane.audit_log, since=shop.since).by(shop.linnet.account).on("jobs", namespace=shop.namespace)
    assert [one.verb for one in made.writes()] == ["create", "create"]
    shop.assert_clean()


@scenario
def test_an_abort_ends_a_running_job_and_its_pod(shop: Shop) -> None:
    """What the Job was to say is of no use any more."""
    checked = template("slow", "sleep 600; exit {{args.exit}}")
    shop.open({"steps": STEPS, "analysis": judged("slow", 0)}, extra=[checked])
    shop.push("v2")
    eventually(lambda: any((one.get("status") or {}).get("active") for one in jobs(shop)), "the Job's pod is there")
    shop.await_weight(20)
    shop.order("abort")
    shop.await_verdict("Fail")
    eventually(lambda: not jobs(shop), "the Job is gone")
    eventually(lambda: all("job-name" not in (p["metadata"].get("labels") or {}) for p in shop.items("pods")), "its pod is gone")
    shop.assert_clean()
