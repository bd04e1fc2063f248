"""What is refused, and which fields the refusal names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.client import Api
from tests.conformance.objects import changed, configmap, deployment, pod, service

D = deployment()
C0 = "spec.template.spec.containers.0"
LONG = "a" * 64

DEPLOYMENTS: list[tuple[str, Any, list[str]]] = [
    ("name-with-capitals", changed(D, "metadata.name", "Web"), ["metadata.name"]),
    ("name-with-underscore", changed(D, "metadata.name", "we_b"), ["metadata.name"]),
    ("name-too-long", changed(D, "metadata.name", "a" * 254), ["metadata.name"]),
    ("no-name", changed(D, "metadata", {}), ["metadata.name"]),
    ("label-value-with-space", changed(D, "metadata.labels", {"a": "b c"}), ["metadata.labels"]),
    ("label-value-too-long", changed(D, "metadata.labels", {"a": LONG}), ["metadata.labels"]),
    ("label-key-with-space", changed(D, "metadata.labels", {"a b": "c"}), ["metadata.labels"]),
    ("label-key-too-long", changed(D, "metadata.labels", {LONG: "c"}), ["metadata.labels"]),
    ("label-prefix-wrong", changed(D, "metadata.labels", {"A_b/c": "c"}), ["metadata.labels"]),
    ("annotation-key-wrong", changed(D, "metadata.annotations", {"a b": "c"}), ["metadata.annotations"]),
    (
        "owner-without-uid",
        changed(D, "metadata.ownerReferences", [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]),
        ["metadata.ownerReferences.uid"],
    ),
    ("finalizer-unqualified", changed(D, "metadata.finalizers", ["bad"]), ["metadata.finalizers[0]"]),
    ("no-selector", changed(D, "spec.selector"), ["spec.selector", "spec.template.metadata.labels"]),
    ("no-template", changed(D, "spec.template"), ["spec.template.metadata.labels", "spec.template.spec.containers"]),
    ("selector-misses-template", changed(D, "spec.selector.matchLabels", {"app": "x"}), ["spec.template.metadata.labels"]),
    ("negative-replicas", changed(D, "spec.replicas", -1), ["spec.replicas"]),
    ("no-containers", changed(D, "spec.template.spec.containers", []), ["spec.template.spec.containers"]),
    ("no-image", changed(D, f"{C0}.image"), ["spec.template.spec.containers[0].image"]),
    ("no-container-name", changed(D, f"{C0}.name"), ["spec.template.spec.containers[0].name"]),
    ("container-name-wrong", changed(D, f"{C0}.name", "A_b"), ["spec.template.spec.containers[0].name"]),
    (
        "container-twice",
        changed(D, "spec.template.spec.containers", [{"name": "a", "image": "x"}] * 2),
        ["spec.template.spec.containers[1].name"],
    ),
    ("port-too-high", changed(D, f"{C0}.ports", [{"containerPort": 99999}]), ["spec.template.spec.containers[0].ports[0].containerPort"]),
    (
        "port-name-too-long",
        changed(D, f"{C0}.ports", [{"containerPort": 80, "name": "sixteen-letters-"}]),
        ["spec.template.spec.containers[0].ports[0].name"],
    ),
    (
        "mount-of-no-volume",
        changed(D, f"{C0}.volumeMounts", [{"name": "x", "mountPath": "/x"}]),
        ["spec.template.spec.containers[0].volumeMounts[0].name"],
    ),
    ("env-without-name", changed(D, f"{C0}.env", [{"name": ""}]), ["spec.template.spec.containers[0].env[0].name"]),
    ("volume-twice", changed(D, "spec.template.spec.volumes", [{"name": "v"}, {"name": "v"}]), ["spec.template.spec.volumes[1].name"]),
    ("volume-name-wrong", changed(D, "spec.template.spec.volumes", [{"name": "V_"}]), ["spec.template.spec.volumes[0].name"]),
    ("restart-never", changed(D, "spec.template.spec.restartPolicy", "Never"), ["spec.template.spec.restartPolicy"]),
    ("strategy-unknown", changed(D, "spec.strategy", {"type": "Foo"}), ["spec.strategy"]),
    (
        "no-surge-no-unavailable",
        changed(D, "spec.strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        ["spec.strategy.rollingUpdate.maxUnavailable"],
    ),
    (
        "recreate-with-surge",
        changed(D, "spec.strategy", {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
        ["spec.strategy.rollingUpdate"],
    ),
    ("surge-no-percentage", changed(D, "spec.strategy", {"rollingUpdate": {"maxSurge": "x"}}), ["spec.strategy.rollingUpdate.maxSurge"]),
    (
        "deadline-below-min-ready",
        changed(changed(D, "spec.progressDeadlineSeconds", 5), "spec.minReadySeconds", 9),
        ["spec.progressDeadlineSeconds"],
    ),
    ("negative-history", changed(D, "spec.revisionHistoryLimit", -1), ["spec.revisionHistoryLimit"]),
    (
        "request-above-limit",
        changed(D, f"{C0}.resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        ["spec.template.spec.containers[0].resources.requests"],
    ),
    ("pull-policy-unknown", changed(D, f"{C0}.imagePullPolicy", "Foo"), ["spec.template.spec.containers[0].imagePullPolicy"]),
]


@pytest.mark.parametrize(("obj", "fields"), [(o, f) for _, o, f in DEPLOYMENTS], ids=[n for n, _, _ in DEPLOYMENTS])
async def test_a_wrong_deployment_is_refused_and_its_fields_are_named(api: Api, obj: Any, fields: list[str]) -> None:
    """422 Invalid, one cause for each wrong field."""
    answer = await api.create("deployments", obj)
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert sorted(set(answer.fields)) == sorted(fields)
    assert answer.body["details"]["kind"] == "Deployment"


OTHERS: list[tuple[str, str, Any, list[str]]] = [
    ("service-without-ports", "services", service(), ["spec.ports"]),
    ("service-port-zero", "services", service(ports=[{"port": 0}]), ["spec.ports[0].port", "spec.ports[0].targetPort"]),
    ("service-ports-without-names", "services", service(ports=[{"port": 1}, {"port": 2}]), ["spec.ports[0].name", "spec.ports[1].name"]),
    ("service-type-unknown", "services", service(ports=[{"port": 1}], type="Foo"), ["spec.type"]),
    ("service-port-name-wrong", "services", service(ports=[{"port": 1, "name": "A"}]), ["spec.ports[0].name"]),
    ("configmap-key-with-space", "configmaps", configmap(data={"a b": "c"}), ["data[a b]"]),
    ("lease-duration-zero", "leases", {"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 0}}, ["spec.leaseDurationSeconds"]),
    ("revision-without-data", "controllerrevisions", {"metadata": {"name": "r"}, "revision": 1}, ["data"]),
    ("pod-without-containers", "pods", pod(containers=[]), ["spec.containers"]),
    ("pod-restart-policy-unknown", "pods", pod(restartPolicy="Foo"), ["spec.restartPolicy"]),
    ("budget-with-both", "poddisruptionbudgets", {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "maxUnavailable": 1}}, ["spec"]),
    ("slice-without-type", "endpointslices", {"metadata": {"name": "e"}, "endpoints": []}, ["addressType"]),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "obj", "fields"), [o[1:] for o in OTHERS], ids=[o[0] for o in OTHERS])
async def test_other_wrong_objects_are_refused_and_their_fields_are_named(api: Api, resource: str, obj: Any, fields: list[str]) -> None:
    """422 Invalid, one cause for each wrong field."""
    answer = await api.create(resource, obj)
    assert answer.status == 422
    assert sorted(set(answer.fields)) == sorted(fields)


MALFORMED: list[tuple[str, str, Any, int]] = [
    ("replicas-as-text", "deployments", changed(D, "spec.replicas", "x"), 400),
    ("containers-as-object", "deployments", changed(D, "spec.template.spec.containers", {"a": 1}), 400),
    ("data-as-number", "configmaps", configmap(data={"a": 1}), 400),
    ("secret-not-base64", "secrets", {"metadata": {"name": "s"}, "data": {"a": "!!"}}, 400),
    ("other-kind", "deployments", {**D, "kind": "Foo"}, 400),
    ("other-version", "deployments", {**D, "apiVersion": "v1"}, 400),
    ("other-namespace", "deployments", changed(D, "metadata.namespace", "elsewhere"), 400),
    ("no-json", "deployments", "{bad", 400),
    ("no-body", "deployments", "", 400),
    ("quantity-wrong", "deployments", changed(D, f"{C0}.resources", {"requests": {"cpu": "abc"}}), 400),
]


@pytest.mark.parametrize(("resource", "obj", "status"), [m[1:] for m in MALFORMED], ids=[m[0] for m in MALFORMED])
async def test_what_cannot_be_decoded_is_a_bad_request(api: Api, resource: str, obj: Any, status: int) -> None:
    """400 BadRequest, before any validation."""
    answer = await api.create(resource, obj)
    assert (answer.status, answer.body["reason"]) == (status, "BadRequest")


async def test_a_selector_cannot_be_changed(api: Api) -> None:
    """The update names spec.selector as immutable."""
    (await api.create("deployments", D)).must(201)
    wider = {"spec": {"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}}}}
    answer = await api.patch("deployments", "web", "merge", wider)
    assert answer.status == 422
    assert answer.fields == ["spec.selector"]


async def test_a_cluster_address_cannot_be_changed(api: Api) -> None:
    """A Service keeps the address it was given."""
    (await api.create("services", service(ports=[{"port": 80}]))).must(201)
    answer = await api.patch("services", "web", "merge", {"spec": {"clusterIP": "10.100.9.9"}})
    assert answer.status == 422
    assert answer.fields == ["spec.clusterIPs[0]"]


async def test_the_spec_of_a_pod_cannot_be_changed_except_its_image(api: Api) -> None:
    """An image may be set; a grace period may not."""
    (await api.create("pods", pod())).must(201)
    image = {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}
    assert (await api.patch("pods", "pod", "strategic", image)).must(200)["spec"]["containers"][0]["image"] == "app:2"
    answer = await api.patch("pods", "pod", "merge", {"spec": {"terminationGracePeriodSeconds": 3}})
    assert (answer.status, answer.fields) == (422, ["spec"])


async def test_the_data_of_a_revision_cannot_be_changed(api: Api) -> None:
    """A ControllerRevision is written once."""
    revision = {"metadata": {"name": "r"}, "revision": 1, "data": {"spec": {"image": "app:1"}}}
    (await api.create("controllerrevisions", revision)).must(201)
    answer = await api.patch("controllerrevisions", "r", "merge", {"data": {"spec": {"image": "app:2"}}})
    assert (answer.status, answer.fields) == (422, ["data"])
    assert (await api.patch("controllerrevisions", "r", "merge", {"revision": 2})).must(200)["revision"] == 2


async def test_an_immutable_configmap_keeps_its_data(api: Api) -> None:
    """Once immutable, neither the data nor the mark can be changed."""
    (await api.create("configmaps", {**configmap(data={"a": "1"}), "immutable": True})).must(201)
    assert (await api.patch("configmaps", "one", "merge", {"data": {"a": "2"}})).fields == ["data"]
    assert (await api.patch("configmaps", "one", "merge", {"immutable": None})).fields == ["immutable"]


@pytest.mark.parametrize(
    ("mode", "status", "warned"), [("Strict", 400, False), ("Warn", 201, True), ("Ignore", 201, False), (None, 201, True)]
)
async def test_an_unknown_field_is_refused_warned_of_or_ignored(api: Api, mode: str | None, status: int, warned: bool) -> None:
    """`fieldValidation` decides; without it the server warns. The field is never stored."""
    query = {} if mode is None else {"fieldValidation": mode}
    answer = await api.create("deployments", changed(D, "spec.foo", 1), **query)
    assert answer.status == status
    assert any("unknown field" in w and "spec.foo" in w for w in answer.warnings) is warned
    if status == 400:
        assert 'strict decoding error: unknown field "spec.foo"' in answer.body["message"]
    else:
        assert "foo" not in answer.body["spec"]


async def test_an_unknown_validation_mode_is_refused(api: Api) -> None:
    """`fieldValidation=Foo` is no mode."""
    answer = await api.create("configmaps", configmap(), fieldValidation="Foo")
    assert (answer.status, answer.fields) == (422, ["fieldValidation"])
