"""The testbed proves itself before anything that runs on it is believed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.testbed import netns
from tests.testbed.controlplane import ControlPlane, ControlPlaneError, Process
from tests.testbed.gateway import Gateway, await_answer, http_route
from tests.testbed.kwok import PLACEMENT
from tests.testbed.loadgen import start_load
from tests.testbed.nodes import ROOT, NodeAgent, shop
from tests.testbed.prometheus import Prometheus
from tests.witness.audit import Audit
from tests.witness.requests import app_records, compare

pytestmark = pytest.mark.cluster

HOLD = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NAME}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], resources: [deployments], operations: [UPDATE]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
  matchConditions: [{name: changed, expression: "object.spec.template != oldObject.spec.template"}]
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{spec: Object.spec{paused: true}}"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME}
"""


def eventually(check: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Waits for a state of the cluster that has no event of its own to wait for."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not after {timeout:.0f} s")
        time.sleep(0.2)


def test_the_control_plane_answers_and_tells_its_versions(control_plane: ControlPlane) -> None:
    """Every part of the control plane answers over the wire and is the version that was built."""
    versions = control_plane.versions()
    assert versions["kube-apiserver"] == versions["kubectl"] == control_plane.version
    assert versions["etcd"].startswith("3.")


def test_rbac_binds_a_service_account_and_the_audit_log_names_it(control_plane: ControlPlane, namespace: str) -> None:
    """A token of a ServiceAccount may do only what its Role says, and each of its requests is found under its name."""
    since = time.time()
    control_plane.kubectl("create", "serviceaccount", "robot", "-n", namespace)
    control_plane.kubectl("create", "role", "reader", "-n", namespace, "--verb=get,list", "--resource=configmaps")
    control_plane.kubectl("create", "rolebinding", "reader", "-n", namespace, "--role=reader", f"--serviceaccount={namespace}:robot")
    robot = control_plane.service_account_kubeconfig(namespace, "robot")
    control_plane.kubectl("get", "configmaps", kubeconfig=robot)
    refused = control_plane.kubectl("create", "configmap", "x", kubeconfig=robot, check=False)
    assert "cannot create resource" in refused.stderr
    mine = Audit.read(control_plane.audit_log, since=since).by(f"system:serviceaccount:{namespace}:robot")
    assert [event.target for event in mine.forbidden()] == [f"create configmaps {namespace}/"]  # refused before its body was read
    assert ("list", "configmaps") in mine.reads().counts()
    assert len(mine.writes()) == 0


def test_a_mutating_admission_policy_holds_a_changed_deployment(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> None:
    """CEL in the API server pauses a Deployment in the very write that changes its template, so no pod of the new one starts."""
    control_plane.apply(*shop(startup_seconds=0, replicas=1), namespace=namespace)
    control_plane.kubectl("rollout", "status", "deployment/shop", "-n", namespace, "--timeout=60s")
    control_plane.kubectl("apply", "-f", "-", input=HOLD.replace("NAME", namespace))
    try:

        def held() -> bool:
            # A new policy is in force a moment after it is stored; each try is a change of its own.
            control_plane.kubectl("set", "env", "deployment/shop", f"TRY={time.time_ns()}", "-n", namespace)
            return bool(control_plane.json("get", "deployment/shop", "-n", namespace)["spec"].get("paused"))

        eventually(held, "the policy pauses the Deployment")
        before = {one["metadata"]["name"] for one in control_plane.json("get", "replicasets", "-n", namespace)["items"]}
        control_plane.kubectl("set", "image", "deployment/shop", "shop=shop:v2", "-n", namespace)
        seen = control_plane.json("get", "deployment/shop", "-n", namespace)
        generation = seen["metadata"]["generation"]
        control_plane.kubectl("wait", f"--for=jsonpath={{.status.observedGeneration}}={generation}", "deployment/shop", "-n", namespace)
        after = {one["metadata"]["name"] for one in control_plane.json("get", "replicasets", "-n", namespace)["items"]}
        assert after == before
    finally:
        control_plane.kubectl("delete", "-f", "-", input=HOLD.replace("NAME", namespace))


def test_traffic_follows_route_weights_and_both_records_agree(
    control_plane: ControlPlane, node_agent: NodeAgent, gateway: Gateway, namespace: str
) -> None:
    """At weights 90 and 10 a tenth of the requests reach the second version, and client and app tell the same story of each."""
    host = f"{namespace}.test"
    control_plane.apply(*shop("one", image="shop:v1", replicas=1), *shop("two", image="shop:v2", replicas=1), namespace=namespace)
    control_plane.apply(http_route("shop", host, {"one": 90, "two": 10}), namespace=namespace)
    for name in ("one", "two"):
        control_plane.kubectl("wait", "--for=condition=Available", f"deployment/{name}", "-n", namespace, "--timeout=60s", timeout=70)
    await_answer(gateway, host)
    eventually(lambda: any(sorted(parts.values()) == [10, 90] for parts in gateway.weights().values()), "Traefik has both weights")
    load = start_load(control_plane, gateway.url, host, rate=100, limit=500).await_total(500)
    assert load.outcomes() == {"200": 500}
    assert load.by("kept") == {"True": 250, "False": 250}
    assert 40 <= load.by("version")["v2"] <= 60
    agreement = compare(load.records, app_records(node_agent.requests))
    assert agreement.whole, str(agreement)
    assert agreement.agreed == 500


def test_a_rolling_update_under_load_fails_no_request(
    control_plane: ControlPlane, node_agent: NodeAgent, gateway: Gateway, namespace: str
) -> None:
    """Slow starts, readiness, preStop and draining work together: pods are replaced at 60 requests/s and nobody notices."""
    host = f"{namespace}.test"
    control_plane.apply(*shop(replicas=2, startup_seconds=1), http_route("shop", host, {"shop": None}), namespace=namespace)
    control_plane.kubectl("rollout", "status", "deployment/shop", "-n", namespace, "--timeout=60s", timeout=70)
    await_answer(gateway, host)
    stream = start_load(control_plane, gateway.url, host, rate=60)
    stream.await_total(60)
    control_plane.kubectl("set", "image", "deployment/shop", "shop=shop:v2", "-n", namespace)
    control_plane.kubectl("rollout", "status", "deployment/shop", "-n", namespace, "--timeout=90s", timeout=100)
    eventually(lambda: len(control_plane.json("get", "pods", "-n", namespace)["items"]) == 2, "the old pods are gone")
    load = stream.stop()
    assert load.failures() == []
    assert set(load.by("version")) == {"v1", "v2"}
    agreement = compare(load.records, app_records(node_agent.requests))
    assert agreement.whole, str(agreement)


def test_an_update_without_a_readiness_probe_is_seen_to_fail_requests(
    control_plane: ControlPlane, node_agent: NodeAgent, gateway: Gateway, namespace: str
) -> None:
    """The twin of the test above: with the probe left out the same update loses requests, and both records say so."""
    host = f"{namespace}.test"
    deployment, service = shop(replicas=1, startup_seconds=2)
    del deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    control_plane.apply(deployment, service, http_route("shop", host, {"shop": None}), namespace=namespace)
    await_answer(gateway, host)
    stream = start_load(control_plane, gateway.url, host, rate=60)
    stream.await_total(60)
    control_plane.kubectl("set", "image", "deployment/shop", "shop=shop:v2", "-n", namespace)
    eventually(lambda: stream.so_far().by("version")["v2"] > 0, "the new version answers")
    eventually(lambda: stream.so_far().records[-1]["outcome"] == "200", "it is ready")
    load = stream.stop()
    assert load.outcomes()["503"] > 10
    agreement = compare(load.records, app_records(node_agent.requests))
    assert agreement.different == []
    assert agreement.agreed > load.outcomes()["503"]


def test_a_request_being_served_outlives_sigterm(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> None:
    """A deleted pod finishes the two-second request it holds before its process ends."""
    control_plane.apply(*shop(replicas=1, startup_seconds=0), namespace=namespace)
    control_plane.kubectl("wait", "--for=condition=Available", "deployment/shop", "-n", namespace, "--timeout=60s", timeout=70)
    pod = control_plane.json("get", "pods", "-n", namespace)["items"][0]
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    slow = control_plane.popen(["curl", "-sS", "-w", "%{http_code}", f"http://{address}:8080/slow?sleep=5"], name=f"slow-{namespace}")
    control_plane.kubectl("delete", "pod", name, "-n", namespace, timeout=40)
    assert slow.popen.wait(10) == 0
    assert slow.tail().endswith("200")
    assert f"pods {namespace}/{name}" in " ".join(Audit.read(control_plane.audit_log).by("node-agent").on("pods", name).writes().order())


def test_a_changed_config_map_reaches_the_files_of_a_running_pod(
    control_plane: ControlPlane, node_agent: NodeAgent, namespace: str
) -> None:
    """The app answers by the flag file that is mounted into it; changing the ConfigMap changes its answers without a restart."""

    def flags(variant: str) -> dict[str, object]:
        flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": variant}
        text = json.dumps({"flags": {"new-checkout": flag}})
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags"}, "data": {"flags.json": text}}

    control_plane.apply(flags("off"), *shop(replicas=1, startup_seconds=0, flags="flags"), namespace=namespace)
    control_plane.kubectl("wait", "--for=condition=Available", "deployment/shop", "-n", namespace, "--timeout=60s", timeout=70)
    pod = control_plane.json("get", "pods", "-n", namespace)["items"][0]

    def flag() -> bool:
        answer = control_plane.run_in_netns(["curl", "-sS", f"http://{pod['status']['podIP']}:8080/"], check=True)
        return bool(json.loads(answer.stdout)["flag"])

    assert flag() is False
    control_plane.apply(flags("on"), namespace=namespace)
    eventually(flag, "the flag is on")
    assert control_plane.json("get", "pods", "-n", namespace)["items"][0]["status"]["containerStatuses"][0]["restartCount"] == 0
    assert not Path("/etc/flags").exists()


def test_a_crashing_container_is_restarted_and_says_so(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> None:
    """A container that ends is started again with a back-off, and its status says how often and why it waits."""
    container = {"name": "bad", "image": "pause:1", "command": ["sh", "-c", "exit 3"]}
    control_plane.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": {"containers": [container]}}, namespace=namespace
    )

    def status() -> dict[str, object]:
        found = control_plane.json("get", "pod", "bad", "-n", namespace)["status"].get("containerStatuses") or [{}]
        return dict(found[0])

    eventually(lambda: "CrashLoopBackOff" in json.dumps(status().get("state")), "the container waits in CrashLoopBackOff")
    eventually(lambda: int(str(status()["restartCount"])) >= 2, "it was started again")
    assert '"exitCode": 3' in json.dumps(status()["lastState"])


def test_an_unknown_image_keeps_its_pod_pending_with_the_reason(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> None:
    """An image without a program is what a registry without the image is: the pod waits and names it."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lost"}, "spec": {"containers": [{"name": "c", "image": "nowhere:v9"}]}}
    control_plane.apply(pod, namespace=namespace)
    path = "{.status.containerStatuses[0].state.waiting.reason}"
    control_plane.kubectl("wait", f"--for=jsonpath={path}=ErrImagePull", "pod/lost", "-n", namespace, "--timeout=30s")
    assert control_plane.json("get", "pod", "lost", "-n", namespace)["status"]["phase"] == "Pending"


def test_a_pod_reaches_the_api_server_as_its_service_account(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> None:
    """The token, the CA and the namespace are where a client in a cluster looks for them, and the token is the pod's own."""
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    call = "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
    script = f"curl -sS --cacert {where}/ca.crt -H \"Authorization: Bearer $(cat {where}/token)\" -H 'Content-Type: application/json' -d '{body}' \"{call}\""
    locked = {"readOnlyRootFilesystem": True}
    container = {"name": "c", "image": "pause:1", "command": ["sh", "-c", f"touch /nope; {script}"], "securityContext": locked}
    spec = {"restartPolicy": "Never", "containers": [container]}
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "who"}, "spec": spec}, namespace=namespace)
    control_plane.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/who", "-n", namespace, "--timeout=30s", timeout=40)
    printed = node_agent.logs(namespace, "who")
    assert f"system:serviceaccount:{namespace}:default" in printed
    assert "Read-only file system" in printed


def test_init_containers_and_sidecars_run_in_their_order(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> None:
    """An init container ends before the main one starts, a sidecar runs beside it, and the Pod is done when the main one is."""
    mount = [{"name": "work", "mountPath": "/srv/shared"}]
    first = {"name": "first", "image": "pause:1", "command": ["sh", "-c", "echo from-init > /srv/shared/f"], "volumeMounts": mount}
    beside = {"name": "beside", "image": "pause:1", "restartPolicy": "Always"}
    main = {"name": "main", "image": "pause:1", "command": ["sh", "-c", "cat /srv/shared/f"], "volumeMounts": mount}
    spec = {
        "restartPolicy": "Never",
        "initContainers": [first, beside],
        "containers": [main],
        "volumes": [{"name": "work", "emptyDir": {}}],
    }
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "steps"}, "spec": spec}, namespace=namespace)
    control_plane.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/steps", "-n", namespace, "--timeout=30s", timeout=40)
    assert "from-init" in node_agent.logs(namespace, "steps")
    assert not Path("/srv/shared").exists()


def test_a_container_that_fails_its_liveness_probe_is_restarted(control_plane: ControlPlane, node_agent: NodeAgent, namespace: str) -> None:
    """A probe run in the container's own root decides over its life, and readiness follows."""
    script = "test -f /tmp/again || touch /tmp/alive; touch /tmp/again; sleep 1; rm -f /tmp/alive; exec sleep infinity"
    probe = {"exec": {"command": ["test", "-f", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 2}
    container = {"name": "c", "image": "pause:1", "command": ["sh", "-c", script], "livenessProbe": probe, "readinessProbe": probe}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sick"}, "spec": spec}, namespace=namespace)
    control_plane.kubectl("wait", "--for=condition=Ready", "pod/sick", "-n", namespace, "--timeout=20s")
    control_plane.kubectl("wait", "--for=condition=Ready=false", "pod/sick", "-n", namespace, "--timeout=20s")

    def restarts() -> int:
        return int(control_plane.json("get", "pod", "sick", "-n", namespace)["status"]["containerStatuses"][0]["restartCount"])

    eventually(lambda: restarts() >= 1, "the container was restarted")
    assert not Path("/tmp/alive").exists()


def test_what_a_killed_test_run_left_behind_is_removed_by_the_next() -> None:
    """A namespace names its owner; with the owner gone, its processes and the namespace go."""
    reason = netns.unavailable()
    if reason:
        pytest.skip(reason)
    script = (
        "import os, subprocess; from tests.testbed import netns; name = netns.create();"
        "left = subprocess.Popen(netns.command(name, 'sleep', '600'), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        "print(name, left.pid, flush=True); os._exit(9)"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False).stdout
    name, left = printed.split()
    netns.sweep()  # a run beside this one may have been faster: what counts is that it is gone
    eventually(lambda: not netns.FOLDER.joinpath(name).exists(), "the namespace is gone")
    eventually(
        lambda: not Path(f"/proc/{left}").exists() or "sleep" not in Path(f"/proc/{left}/cmdline").read_text(), "its process has ended"
    )


def test_prometheus_sees_the_gateway_and_the_pods(
    control_plane: ControlPlane, node_agent: NodeAgent, gateway: Gateway, prometheus: Prometheus, namespace: str
) -> None:
    """What clients sent is found in both counters: Traefik's by Service and the app's by pod."""
    host = f"{namespace}.test"
    control_plane.apply(
        *shop(image="shop:bad-50", replicas=1, startup_seconds=0), http_route("shop", host, {"shop": 100}), namespace=namespace
    )
    control_plane.kubectl("wait", "--for=condition=Available", "deployment/shop", "-n", namespace, "--timeout=60s", timeout=70)
    eventually(lambda: prometheus.value(f'up{{job="pods",namespace="{namespace}"}}') == 1, "Prometheus scrapes the pod")
    eventually(lambda: any(namespace in name for name in gateway.weights()), "Traefik has the route")
    load = start_load(control_plane, gateway.url, host, rate=100, limit=300).await_total(300)
    assert set(load.outcomes()) == {"200", "500"}
    assert prometheus.await_value(f'http_requests_total{{namespace="{namespace}"}}', 300) == 300
    errors = prometheus.value(f'http_requests_total{{namespace="{namespace}",code="500"}}')
    assert errors == load.outcomes()["500"]
    assert prometheus.await_value(f'traefik_service_requests_total{{service=~".*-svc-{namespace}-shop-.*"}}', 300) == 300


def test_kwok_runs_pods_by_the_hundred_beside_real_ones(
    control_plane: ControlPlane, node_agent: NodeAgent, kwok: Process, namespace: str
) -> None:
    """A hundred pods become Ready on kwok's nodes while a pod without their placement runs on the node agent's."""
    template = {"metadata": {"labels": {"app": "many"}}, "spec": {"containers": [{"name": "c", "image": "pause:1"}], **PLACEMENT}}
    spec = {"replicas": 100, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    control_plane.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec}, namespace=namespace)
    control_plane.apply(*shop(replicas=1, startup_seconds=0), namespace=namespace)
    for name in ("many", "shop"):
        control_plane.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=90s", timeout=100)
    pods = control_plane.json("get", "pods", "-n", namespace)["items"]
    kinds = {one["metadata"]["labels"]["app"]: one["spec"]["nodeName"].rstrip("0123456789") for one in pods}
    assert kinds == {"many": "kwok-", "shop": "node-"}


def test_helm_installs_a_chart_on_it(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """Helm 4 creates, lists and removes a release."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 0.1.0\n")
    (tmp_path / "templates" / "cm.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n")
    control_plane.helm("install", "tiny", str(tmp_path), "-n", namespace)
    assert [one["name"] for one in json.loads(control_plane.helm("list", "-n", namespace, "-o", "json").stdout)] == ["tiny"]
    control_plane.helm("uninstall", "tiny", "-n", namespace)
    with pytest.raises(ControlPlaneError, match="not found"):
        control_plane.kubectl("get", "configmap", "tiny", "-n", namespace)
