"""Pods in the sandbox are processes: they start, get ready, drain, crash and end as a kubelet would have it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.sandbox import nanny
from daemon.sandbox.controllers.access import DEPLOYMENTS, PODS
from daemon.sandbox.controllers.objects import meta, name_of, pod_ready, status_of, terminating, uid_of
from tests.sandbox.workbench import Bench, Object, on_processes, service, web

PROBE = {"readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}}


def env(**values: str) -> list[dict[str, str]]:
    return [{"name": k, "value": v} for k, v in values.items()]


async def ask(pod: Object, path: str = "/") -> Any:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
        http.get(f"http://{status_of(pod)['podIP']}:8080{path}") as response,
    ):
        return await response.json()


def waiting_reason(pod: Object) -> str:
    states = [c["state"].get("waiting") or {} for c in status_of(pod).get("containerStatuses") or ()]
    return str(states[0].get("reason", "")) if states else ""


async def one_pod(bench: Bench) -> Object:
    return await bench.until(lambda: next((p for p in bench.pods() if pod_ready(p) and not terminating(p)), None), "a ready pod")


async def test_each_pod_answers_on_an_address_of_its_own(tmp_path: Path) -> None:
    """The same port on different addresses, and the downward API tells a pod who it is."""
    track = {"name": "TRACK", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['linnet.dev/track']"}}}
    async with on_processes(tmp_path) as bench:
        deployment = web(replicas=2, container={**PROBE, "env": [track, *env(GREETING="hello $(TRACK)")]})
        deployment["spec"]["template"]["metadata"]["labels"]["linnet.dev/track"] = "canary"
        bench.apply(deployment)
        await bench.until(bench.rolled_out)
        answers = [await ask(pod) for pod in bench.pods()]
        assert len({a["ip"] for a in answers}) == 2
        assert {a["env"]["GREETING"] for a in answers} == {"hello canary"}
        assert {a["version"] for a in answers} == {"v1"}


async def test_readiness_opens_and_closes_the_endpoint(tmp_path: Path) -> None:
    """No traffic before the probe succeeds, none after it fails, and the process runs on."""
    async with on_processes(tmp_path) as bench:
        early: list[bool] = []
        bench.store.subscribe(lambda _e, _res, _o: early.extend(e["conditions"]["ready"] for e in bench.endpoints()))
        bench.apply(service())
        bench.apply(web(replicas=1, container={**PROBE, "env": env(READY="0")}))
        await bench.until(lambda: [e["conditions"]["ready"] for e in bench.endpoints()] == [False])
        (pod,) = await bench.until(lambda: [p for p in bench.pods() if status_of(p).get("phase") == "Running"])
        await _serving(pod)
        assert not any(early)
        await ask(pod, "/ready")
        await bench.until(lambda: [e["conditions"]["ready"] for e in bench.endpoints()] == [True])
        await ask(pod, "/unready")
        await bench.until(lambda: [e["conditions"]["ready"] for e in bench.endpoints()] == [False])
        assert status_of(bench.pods()[0])["containerStatuses"][0]["restartCount"] == 0


async def _serving(pod: Object) -> None:
    """Until the pod's process accepts connections: the one thing that no object tells."""
    async with asyncio.timeout(20):
        while True:
            try:
                await ask(pod)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_process_that_dies_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    """First at once, then CrashLoopBackOff; the last state says how it ended."""
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container=PROBE))
        pod = await one_pod(bench)
        with pytest.raises(aiohttp.ClientError):
            await ask(pod, "/exit?3")
        (again,) = await bench.until(lambda: [p for p in bench.pods() if _restarts(p) == 1 and pod_ready(p)])
        assert uid_of(again) == uid_of(pod)
        assert status_of(again)["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
        with pytest.raises(aiohttp.ClientError):
            await ask(pod, "/exit?3")
        await bench.until(lambda: waiting_reason(bench.pods()[0]) == "CrashLoopBackOff")
        await bench.until(lambda: _restarts(bench.pods()[0]) == 2 and pod_ready(bench.pods()[0]))


def _restarts(pod: Object) -> int:
    return int((status_of(pod).get("containerStatuses") or [{}])[0].get("restartCount") or 0)


async def test_a_deleted_pod_drains_before_it_ends(tmp_path: Path) -> None:
    """preStop, then SIGTERM, and a request that was under way is answered; only then does the object go."""
    hook = {"lifecycle": {"preStop": {"httpGet": {"path": "/prestop", "port": 8080}}}}
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container={**PROBE, **hook, "env": env(DRAIN="0.6")}))
        pod = await one_pod(bench)
        lines: list[str] = []
        bench.store.subscribe(lambda _e, res, _o: lines.extend(bench.kubelet.logs("default", name_of(pod)) or []) if res == PODS else None)
        under_way = asyncio.create_task(ask(pod, "/slow?0.5"))
        await bench.until(lambda: True)
        bench.scale("web", 0)
        assert (await under_way)["version"] == "v1"
        await bench.until(lambda: not bench.pods())
        said = [json.loads(line) for line in dict.fromkeys(lines)]
        order = [s.get("path") or s.get("event") for s in said]
        assert order.index("/prestop") < order.index("terminating")


async def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    """The grace period ends every discussion."""
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container={**PROBE, "env": env(STUBBORN="1")}, pod={"terminationGracePeriodSeconds": 1}))
        await one_pod(bench)
        bench.scale("web", 0)
        await bench.until(lambda: not bench.pods())
        assert nanny.marked(bench.family.mark) == []


async def test_a_pod_removed_by_force_is_killed_at_once(tmp_path: Path) -> None:
    """`kubectl delete --force --grace-period=0` leaves no process behind."""
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container={**PROBE, "env": env(STUBBORN="1")}))
        pod = await one_pod(bench)
        bench.change(DEPLOYMENTS, "web", lambda d: d["spec"].update(paused=True))
        bench.delete(PODS, name_of(pod), grace=0)
        await bench.until(lambda: len(bench.pods()) == 1 and uid_of(bench.pods()[0]) != uid_of(pod) and pod_ready(bench.pods()[0]))
        assert len(nanny.marked(bench.family.mark)) == 1


async def test_an_unknown_image_is_a_pull_error(tmp_path: Path) -> None:
    """What a misspelt image looks like on a cluster, with a message that says what the sandbox can run."""
    async with on_processes(tmp_path) as bench:
        bench.apply(web("registry.example/nothing:v1", replicas=1))
        await bench.until(lambda: bench.pods() and waiting_reason(bench.pods()[0]) in {"ErrImagePull", "ImagePullBackOff"})
        await bench.until(lambda: waiting_reason(bench.pods()[0]) == "ImagePullBackOff")
        assert status_of(bench.pods()[0])["phase"] == "Pending"
        message = status_of(bench.pods()[0])["containerStatuses"][0]["state"]["waiting"]["message"]
        assert "app:*" in message


async def test_a_config_map_is_projected_all_at_once(tmp_path: Path) -> None:
    """A pod waits for its ConfigMap, and sees a change of it in the file it reads anyway."""
    mount = {"volumeMounts": [{"name": "flags", "mountPath": "/etc/flags"}], "env": env(FILE="/etc/flags/flags.json")}
    volumes = [{"name": "flags", "configMap": {"name": "flags"}}]
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container={**PROBE, **mount}, pod={"volumes": volumes}))
        await bench.until(lambda: any(e["reason"] == "FailedMount" for e in bench.store.list("events", "default")))
        bench.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags", "namespace": "default"}, "data": {"flags.json": "one"}}
        )
        pod = await one_pod(bench)
        assert (await ask(pod, "/file"))["file"] == "one"
        bench.change("configmaps", "flags", lambda c: c.update(data={"flags.json": "two", "other": "x"}))
        assert (await ask(pod, "/file"))["file"] == "two"


async def test_a_missing_key_keeps_the_container_waiting(tmp_path: Path) -> None:
    """CreateContainerConfigError with the native words; it starts once the ConfigMap is there."""
    entry = {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}}
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container={**PROBE, "env": [entry]}))
        await bench.until(lambda: bench.pods() and waiting_reason(bench.pods()[0]) == "CreateContainerConfigError")
        assert status_of(bench.pods()[0])["containerStatuses"][0]["state"]["waiting"]["message"] == 'configmap "settings" not found'
        bench.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}, "data": {"colour": "red"}}
        )
        assert (await ask(await one_pod(bench)))["env"]["COLOUR"] == "red"


async def test_a_failing_liveness_probe_restarts_the_container(tmp_path: Path) -> None:
    """Killed and started again in the same pod."""
    probes = {
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": 8080},
            "periodSeconds": 1,
            "failureThreshold": 1,
            "initialDelaySeconds": 1,
        }
    }
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container=probes))
        (pod,) = await bench.until(lambda: [p for p in bench.pods() if pod_ready(p)])
        await _serving(pod)
        await ask(pod, "/unready")
        await bench.until(lambda: _restarts(bench.pods()[0]) == 1)


async def test_init_containers_run_first_and_one_after_the_other(tmp_path: Path) -> None:
    """The pod is not initialized before the last one has succeeded."""
    init = [{"name": "first", "image": "sh:1", "args": ["echo first"]}, {"name": "second", "image": "sh:1", "args": ["echo second"]}]
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container=PROBE, pod={"initContainers": init}))
        pod = await one_pod(bench)
        assert bench.kubelet.logs("default", name_of(pod), "second") == ["second"]
        codes = [c["state"]["terminated"]["exitCode"] for c in status_of(pod)["initContainerStatuses"]]
        assert codes == [0, 0]


async def test_a_pod_that_never_restarts_ends_in_its_phase(tmp_path: Path) -> None:
    """Succeeded or Failed, by the exit code."""
    async with on_processes(tmp_path) as bench:
        for name, code in (("good", 0), ("bad", 2)):
            container = {"name": "main", "image": "sh:1", "args": [f"exit {code}"]}
            spec = {"restartPolicy": "Never", "containers": [container]}
            bench.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
        await bench.until(lambda: {name_of(p): status_of(p).get("phase") for p in bench.pods()} == {"good": "Succeeded", "bad": "Failed"})


async def test_leaving_the_sandbox_ends_grandchildren_too(tmp_path: Path) -> None:
    """A container that starts processes of its own leaves none of them behind."""
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=2, container={**PROBE, "env": env(CHILD="1", STUBBORN="1")}))
        await bench.until(bench.rolled_out)
        mark = bench.family.mark
        assert len(nanny.marked(mark)) == 4
    assert nanny.marked(mark) == []


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.sandbox.workbench import on_processes, web

async def main():
    async with on_processes(Path(sys.argv[1])) as bench:
        child = {"env": [{"name": "CHILD", "value": "1"}]}
        bench.apply(web(replicas=2, container=child))
        await bench.until(bench.rolled_out)
        print(bench.family.mark, bench.family.nanny, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_sandbox_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGKILL gives no time to clean up; the nanny does it."""
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert child.stdout is not None
    with child.stdout as out:
        mark, watcher = (await asyncio.to_thread(out.readline)).decode().split()
    assert len(nanny.marked(mark)) >= 2
    child.send_signal(signal.SIGKILL)
    child.wait()
    async with asyncio.timeout(30):
        while _alive(watcher):
            await asyncio.sleep(0.02)
    assert nanny.marked(mark) == []


def _alive(pid: str) -> bool:
    """Is it there and no zombie; its parent is gone, so that nobody can wait for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_readiness_gates_of_others_hold_a_pod_back(tmp_path: Path) -> None:
    """A pod with a readiness gate is ready only when somebody says so."""
    async with on_processes(tmp_path) as bench:
        bench.apply(web(replicas=1, container=PROBE, pod={"readinessGates": [{"conditionType": "example.com/ok"}]}))
        (pod,) = await bench.until(lambda: [p for p in bench.pods() if _container_ready(p)])
        assert not pod_ready(pod)
        pod["status"]["conditions"].append({"type": "example.com/ok", "status": "True"})
        bench.store.update(PODS, pod, user="gatekeeper", subresource="status")
        await bench.until(lambda: pod_ready(bench.pods()[0]))
        assert meta(bench.pods()[0])["name"] == name_of(pod)


def _container_ready(pod: Object) -> bool:
    return any(c["ready"] for c in status_of(pod).get("containerStatuses") or ())
