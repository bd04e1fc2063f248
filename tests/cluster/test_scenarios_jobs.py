"""Jobs as the evidence of a release, and gates, on a real API server with the native Job controller and pods that run."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.cluster.scenario import API, Object, Shop, canary
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


class Desk:
    """A receiver of gates on the cluster's own network: it says no until a test says otherwise, and only to who signed."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.open = False
        self.asked: list[Object] = []
        self.strangers = 0
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not is_from_linnet(desk.key, dict(self.headers), body):
                    desk.strangers += 1
                    self.send_error(401)
                    return
                desk.asked.append(json.loads(body))
                said = b"go ahead" if desk.open else b"not before the demo"
                self.send_response(200 if desk.open else 403)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
                return

        self._server = ThreadingHTTPServer(("10.99.0.1", 0), Handler)
        self.url = f"http://10.99.0.1:{self._server.server_port}/desk"
        threading.Thread(target=self._server.serve_forever, name="desk", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def is_from_linnet(key: str, headers: dict[str, str], body: bytes) -> bool:
    """What the page tells receivers to check."""
    stamp = headers.get("Linnet-Timestamp", "")
    wanted = hmac.new(key.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers.get("Linnet-Signature", ""), f"v1={wanted}")


def migration(code: int, said: str) -> Object:
    container = {"name": "migrate", "image": "pause:1", "command": ["sh", "-c", f"echo {said}; exit {code}"]}
    return {"name": "migrate", "at": "Start", "timeout": "5m", "job": {"spec": {"template": {"spec": {"containers": [container]}}}}}


@scenario
def test_a_migration_comes_before_every_canary_pod_and_a_desk_before_half_of_the_traffic(shop: Shop) -> None:
    """Order from the audit log: the Job ends, then the canary is made. A desk's no holds the share; its yes lets it go on, on record."""
    desk = Desk("a signing key")
    try:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "desk"}, "stringData": {"key": desk.key}}
        hook = {"url": desk.url, "signingKeySecretRef": {"name": "desk", "key": "key"}}
        steps = [*STEPS, {"name": "desk", "gate": {"timeout": "10m", "webhook": hook}}, {"weight": 50, "dwell": {"minDuration": "1s"}}]
        checked = template("smoke", "exit {{args.exit}}")
        spec = {"steps": steps, "gates": [migration(0, "done")], "analysis": judged("smoke", 0)}
        shop.open(spec, extra=[secret, checked])
        shop.push("v2")
        waiting = shop.until(lambda s: "not before the demo" in (s.get("waiting") or {}).get("message", ""), "the desk's no is shown")
        assert waiting["waiting"]["reason"] == "Gate"
        assert "linnet skip|abort shop" in waiting["waiting"]["wayOut"]
        assert shop.weights() == {"shop": 80, "shop-canary": 20}
        desk.open = True
        shop.await_verdict("Pass")
        assert {one["gate"] for one in desk.asked} == {"step 2"}
        assert desk.strangers == 0
        assert "go ahead" in shop.await_event("Resumed", kind="Canary") or any("go ahead" in e["note"] for e in shop.events("Resumed"))
        made = [one for one in shop.writes() if one.resource in ("jobs", "deployments") and one.verb == "create"]
        assert [one.resource for one in made][:2] == ["jobs", "deployments"], made
        shop.apply(canary("shop", **{**spec, "gates": [migration(3, "no such table")]}))
        shop.push("v3")
        failed = shop.await_verdict("Fail")
        assert "no such table" in failed["sentence"], failed["sentence"]
        assert shop.image() == "shop:v2"
        shop.assert_clean()
    finally:
        desk.close()
