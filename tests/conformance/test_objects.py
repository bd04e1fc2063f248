"""Creating, reading, replacing; what the server fills in; generation, dry run and conflicts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conformance.client import Api
from tests.conformance.objects import changed, configmap, deployment, owners, pod, service


async def test_a_created_object_has_an_identity(api: Api) -> None:
    """uid, resourceVersion and creationTimestamp are the server's; what the writer sends of them is ignored."""
    created = (await api.create("configmaps", configmap(uid="mine", creationTimestamp="2001-01-01T00:00:00Z"))).must(201)
    meta = created["metadata"]
    assert meta["namespace"] == api.ns
    assert len(meta["uid"]) == 36
    assert int(meta["resourceVersion"]) > 0
    assert meta["creationTimestamp"] > "2020"
    assert (await api.get("configmaps", "one")).must(200) == created


async def test_a_name_can_be_generated(api: Api) -> None:
    """The prefix and five letters."""
    names = {(await api.create("configmaps", {"metadata": {"generateName": "cm-"}})).must(201)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(n.startswith("cm-") and len(n) == 8 for n in names)


async def test_a_name_is_taken_once(api: Api) -> None:
    """409 AlreadyExists."""
    (await api.create("configmaps", configmap())).must(201)
    answer = await api.create("configmaps", configmap())
    assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.body["message"] == 'configmaps "one" already exists'


@pytest.mark.parametrize(
    ("resource", "message"), [("configmaps", 'configmaps "none" not found'), ("deployments", 'deployments.apps "none" not found')]
)
async def test_what_is_not_there_is_not_found(api: Api, resource: str, message: str) -> None:
    """404 with the group in the resource's name."""
    answer = await api.get(resource, "none")
    assert (answer.status, answer.body["reason"], answer.body["message"]) == (404, "NotFound", message)
    assert (await api.delete(resource, "none")).status == 404


async def test_nothing_is_created_in_a_namespace_that_is_not_there(api: Api) -> None:
    """404 for the namespace."""
    answer = await api.elsewhere("c-none").create("configmaps", configmap())
    assert (answer.status, answer.body["message"]) == (404, 'namespaces "c-none" not found')


async def test_an_unknown_resource_is_not_found(api: Api) -> None:
    """404 with a Status."""
    answer = await api.raw("GET", f"/apis/apps/v1/namespaces/{api.ns}/nonsense")
    assert (answer.status, answer.body["reason"]) == (404, "NotFound")


async def test_a_method_that_makes_no_sense_is_refused(api: Api) -> None:
    """405 for a POST to an object."""
    answer = await api.raw("POST", api.path("configmaps", "one"), configmap())
    assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")


async def test_an_update_at_the_right_version_succeeds(api: Api) -> None:
    """And gives a new resourceVersion."""
    created = (await api.create("configmaps", configmap(data={"a": "1"}))).must(201)
    updated = (await api.put("configmaps", {**created, "data": {"a": "2"}})).must(200)
    assert updated["data"] == {"a": "2"}
    assert updated["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]


async def test_an_update_at_a_stale_version_conflicts(api: Api) -> None:
    """409 with the words that clients know."""
    created = (await api.create("configmaps", configmap(data={"a": "1"}))).must(201)
    (await api.put("configmaps", {**created, "data": {"a": "2"}})).must(200)
    answer = await api.put("configmaps", {**created, "data": {"a": "3"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert answer.body["message"] == (
        'Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply your changes to the latest version and try again'
    )


async def test_of_many_writers_at_one_version_one_wins(api: Api) -> None:
    """Optimistic concurrency: exactly one success."""
    created = (await api.create("configmaps", configmap(data={"a": "0"}))).must(201)
    answers = await asyncio.gather(*(api.put("configmaps", {**created, "data": {"a": str(i)}}) for i in range(1, 9)))
    assert sorted(a.status for a in answers) == [200] + [409] * 7


async def test_an_update_without_a_version_overwrites(api: Api) -> None:
    """Where the kind allows it."""
    (await api.create("configmaps", configmap(data={"a": "1"}))).must(201)
    assert (await api.put("configmaps", configmap(data={"b": "2"}))).must(200)["data"] == {"b": "2"}


async def test_an_update_that_changes_nothing_writes_nothing(api: Api) -> None:
    """The resourceVersion stays, whoever asks."""
    created = (await api.create("configmaps", configmap(data={"a": "1"}))).must(201)
    again = (await api.put("configmaps", created, fieldManager="other")).must(200)
    assert again["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_an_update_of_another_identity_conflicts(api: Api) -> None:
    """A uid in the object is a precondition."""
    created = (await api.create("configmaps", configmap())).must(201)
    answer = await api.put("configmaps", changed(created, "metadata.uid", "00000000-0000-0000-0000-000000000000"))
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


async def test_an_update_under_another_name_is_refused(api: Api) -> None:
    """400: name and path must agree."""
    (await api.create("configmaps", configmap())).must(201)
    answer = await api.raw("PUT", api.path("configmaps", "one"), configmap("two"))
    assert (answer.status, answer.body["message"]) == (400, "the name of the object (two) does not match the name on the URL (one)")


async def test_an_update_of_nothing_is_not_found(api: Api) -> None:
    """A PUT creates nothing."""
    assert (await api.put("deployments", deployment("none"))).status == 404


async def test_a_dry_run_stores_nothing(api: Api) -> None:
    """Create, patch and delete answer as if, and leave everything as it is."""
    created = (await api.create("configmaps", configmap(data={"a": "1"}), dryRun="All")).must(201)
    assert created["metadata"]["uid"]
    assert (await api.get("configmaps", "one")).status == 404
    before = (await api.create("configmaps", configmap(data={"a": "1"}))).must(201)
    assert (await api.patch("configmaps", "one", "merge", {"data": {"a": "2"}}, dryRun="All")).must(200)["data"] == {"a": "2"}
    (await api.delete("configmaps", "one", dryRun="All")).must(200)
    (await api.apply("configmaps", configmap("two"), "ann", dryRun="All")).must(201)
    assert (await api.get("configmaps", "one")).must(200) == before
    assert (await api.get("configmaps", "two")).status == 404


async def test_a_dry_run_is_validated(api: Api) -> None:
    """It is there to learn what would be refused."""
    assert (await api.create("configmaps", configmap("Bad_"), dryRun="All")).status == 422
    answer = await api.create("configmaps", configmap(), dryRun="Some")
    assert (answer.status, answer.fields) == (422, ["dryRun"])


FILLED: list[tuple[str, str, Any, str, Any]] = [
    ("strategy", "deployments", deployment(), "spec.strategy", {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
    ("replicas", "deployments", changed(deployment(), "spec.replicas"), "spec.replicas", 1),
    ("history", "deployments", deployment(), "spec.revisionHistoryLimit", 10),
    ("deadline", "deployments", deployment(), "spec.progressDeadlineSeconds", 600),
    ("grace", "deployments", deployment(), "spec.template.spec.terminationGracePeriodSeconds", 30),
    ("restart", "deployments", deployment(), "spec.template.spec.restartPolicy", "Always"),
    ("dns", "deployments", deployment(), "spec.template.spec.dnsPolicy", "ClusterFirst"),
    ("scheduler", "deployments", deployment(), "spec.template.spec.schedulerName", "default-scheduler"),
    ("security", "deployments", deployment(), "spec.template.spec.securityContext", {}),
    ("pull-a-tag", "deployments", deployment(), "spec.template.spec.containers.0.imagePullPolicy", "IfNotPresent"),
    ("resources", "deployments", deployment(), "spec.template.spec.containers.0.resources", {}),
    ("messages", "deployments", deployment(), "spec.template.spec.containers.0.terminationMessagePath", "/dev/termination-log"),
    ("false-vanishes", "deployments", deployment(paused=False), "spec.paused", None),
    ("zero-vanishes", "deployments", deployment(minReadySeconds=0), "spec.minReadySeconds", None),
    ("session", "services", service(ports=[{"port": 80}]), "spec.sessionAffinity", "None"),
    ("type", "services", service(ports=[{"port": 80}]), "spec.type", "ClusterIP"),
    ("port", "services", service(ports=[{"port": 80}]), "spec.ports.0", {"port": 80, "protocol": "TCP", "targetPort": 80}),
    ("family", "services", service(ports=[{"port": 80}]), "spec.ipFamilyPolicy", "SingleStack"),
    ("phase", "pods", pod(), "status.phase", "Pending"),
    ("class", "pods", pod(), "status.qosClass", "BestEffort"),
    ("secret-type", "secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}}, "type", "Opaque"),
    ("secret-data", "secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}}, "data", {"a": "Yg=="}),
    ("hpa", "horizontalpodautoscalers", {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}}}, "spec.minReplicas", 1),
    ("policy-types", "networkpolicies", {"metadata": {"name": "n"}, "spec": {"podSelector": {}}}, "spec.policyTypes", ["Ingress"]),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "obj", "path", "value"), [f[1:] for f in FILLED], ids=[f[0] for f in FILLED])
async def test_what_the_server_fills_in(api: Api, resource: str, obj: Any, path: str, value: Any) -> None:
    """Documented defaults, and plain zero values left out."""
    at: Any = (await api.create(resource, obj)).must(201)
    for part in path.split("."):
        at = at[int(part)] if part.isdigit() else at.get(part)
    assert at == value


CONTAINER: list[tuple[str, dict[str, Any], str, Any]] = [
    ("latest-is-pulled", {"image": "app"}, "imagePullPolicy", "Always"),
    ("digest", {"image": "app@sha256:" + "0" * 64}, "imagePullPolicy", "IfNotPresent"),
    ("port-protocol", {"ports": [{"containerPort": 80}]}, "ports", [{"containerPort": 80, "protocol": "TCP"}]),
    ("quantities-canonical", {"resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}}, "resources", {"limits": {"cpu": "500m", "memory": "1Gi"}}),
    ("probe", {"readinessProbe": {"httpGet": {"port": 80}}}, "readinessProbe", {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}),
    ("field-ref", {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}, "env", [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]),
    ("empty-lists-vanish", {"args": [], "env": []}, "args", None),
]  # fmt: skip


@pytest.mark.parametrize(("container", "key", "value"), [c[1:] for c in CONTAINER], ids=[c[0] for c in CONTAINER])
async def test_what_the_server_fills_in_of_a_container(api: Api, container: dict[str, Any], key: str, value: Any) -> None:
    """In a template, so that controllers and admission add nothing."""
    obj = changed(deployment(), "spec.template.spec.containers", [{"name": "app", "image": "app:1", **container}])
    created = (await api.create("deployments", obj)).must(201)
    assert created["spec"]["template"]["spec"]["containers"][0].get(key) == value


GENERATIONS: list[tuple[str, dict[str, Any], int]] = [
    ("spec", {"spec": {"minReadySeconds": 3}}, 1),
    ("annotation", {"metadata": {"annotations": {"a": "b"}}}, 1),
    ("label", {"metadata": {"labels": {"a": "b"}}}, 0),
    ("nothing", {"spec": {"revisionHistoryLimit": 10}}, 0),
    ("status", {"status": {"replicas": 7}}, 0),
]


@pytest.mark.parametrize(("patch", "more"), [g[1:] for g in GENERATIONS], ids=[g[0] for g in GENERATIONS])
async def test_the_generation_of_a_deployment(api: Api, patch: dict[str, Any], more: int) -> None:
    """It counts changes of the spec and of annotations; a dry run shows what would be, undisturbed by controllers."""
    (await api.create("deployments", deployment())).must(201)
    before = (await api.patch("deployments", "web", "merge", {}, dryRun="All")).must(200)["metadata"]["generation"]
    after = (await api.patch("deployments", "web", "merge", patch, dryRun="All")).must(200)["metadata"]["generation"]
    assert after - before in ({more} if more == 0 else {more, more + 1})


async def test_the_limits_of_a_pod_are_its_requests(api: Api) -> None:
    """In a pod, not in a template: where nothing else is asked for."""
    limits = {"cpu": "1", "memory": "1Gi"}
    container = {"name": "app", "image": "app:1", "resources": {"limits": limits, "requests": {"cpu": "500m"}}}
    created = (await api.create("pods", pod(containers=[container]))).must(201)
    assert created["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert created["status"]["qosClass"] == "Burstable"


async def test_scale_reads_and_writes_the_replicas(api: Api) -> None:
    """With a manager of its own subresource."""
    (await api.create("deployments", deployment())).must(201)
    scale = (await api.get("deployments", "web", "scale")).must(200)
    assert (scale["kind"], scale["apiVersion"], scale["status"]["selector"]) == ("Scale", "autoscaling/v1", "app=web")
    scaled = (await api.patch("deployments", "web", "merge", {"spec": {"replicas": 3}}, sub="scale", fieldManager="scaler")).must(200)
    assert scaled["spec"]["replicas"] == 3
    after = (await api.get("deployments", "web")).must(200)
    assert after["spec"]["replicas"] == 3
    assert owners(after)["scaler", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}


async def test_status_of_a_deployment_is_its_own_endpoint(api: Api) -> None:
    """The main endpoint ignores status, the subresource ignores the spec."""
    budget = {
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"x": "y"}}},
        "status": {"expectedPods": 7},
    }
    assert (await api.create("poddisruptionbudgets", budget)).must(201)["status"]["expectedPods"] == 0
    obj = deployment()
    (await api.create("deployments", obj)).must(201)
    after = (await api.patch("deployments", "web", "merge", {"spec": {"replicas": 9}, "status": {"collisionCount": 3}}, sub="status")).must(
        200
    )
    assert (after["spec"]["replicas"], after["status"]["collisionCount"]) == (0, 3)


async def test_an_event_is_seen_in_both_groups(api: Api) -> None:
    """One storage, two names for its fields."""
    about = {"kind": "Pod", "namespace": api.ns, "name": "p", "apiVersion": "v1"}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "message": "hello", "type": "Normal"}
    (await api.create("events", event)).must(201)
    other = (await api.raw("GET", f"/apis/events.k8s.io/v1/namespaces/{api.ns}/events/e")).must(200)
    assert (other["note"], other["regarding"]["name"], other["apiVersion"]) == ("hello", "p", "events.k8s.io/v1")
