"""Admission policies in CEL: mutating and refusing, with parameters, conditions and failure policies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.conformance.client import Answer, Api
from tests.conformance.objects import configmap, deployment

GROUP = "/apis/admissionregistration.k8s.io/v1"
JSON = dict[str, Any]


def _rules(group: str, resource: str, *operations: str) -> JSON:
    return {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": list(operations)}]}


CONFIGMAPS = _rules("", "configmaps", "CREATE", "UPDATE")


@dataclass(frozen=True)
class Policies:
    """Installs policies that concern one namespace, and waits until they do."""

    api: Api
    made: list[str]

    async def install(self, kind: str, spec: JSON, **binding: Any) -> str:
        """A policy and its binding; gives their name."""
        name, plural = f"{self.api.ns}-{len(self.made)}", f"{kind.lower()}admissionpolicies"
        here = {"matchLabels": {"kubernetes.io/metadata.name": self.api.ns}}
        bound: JSON = {"policyName": name, "matchResources": {"namespaceSelector": here}, **binding}
        if kind == "Validating":
            bound.setdefault("validationActions", ["Deny"])
        for resource, body in ((plural, spec), (plural.replace("policies", "policybindings"), bound)):
            (await self.api.raw("POST", f"{GROUP}/{resource}", {"metadata": {"name": name}, "spec": body})).must(201)
            self.made.append(f"{GROUP}/{resource}/{name}")
        return name

    async def deny(self, spec: JSON, ask: Callable[[], Any], **binding: Any) -> Answer:
        """Install a validating policy; the answer of `ask` once it is refused."""
        await self.install("Validating", {"failurePolicy": "Fail", "matchConstraints": CONFIGMAPS, **spec}, **binding)
        answers: list[Answer] = []

        async def kept() -> Answer:
            answers.append(await ask())
            return Answer(599 if answers[-1].status >= 400 else answers[-1].status, None, {})

        await self.api.eventually(kept, 599)
        return answers[-1]

    async def mutate(self, spec: JSON, **binding: Any) -> None:
        """Install a mutating policy, with a mark by which it is seen to work."""
        marked = {
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": 'Object{metadata: Object.metadata{labels: {"mutated": "yes"}}}'},
        }
        spec = {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": CONFIGMAPS, **spec}
        await self.install("Mutating", {**spec, "mutations": [*spec["mutations"], marked]}, **binding)

    async def mutated(self, ask: Callable[[], Any]) -> JSON:
        """The object of `ask` once it carries the mark."""
        answers: list[Answer] = []

        async def kept() -> Answer:
            answers.append(await ask())
            labels = (answers[-1].body.get("metadata") or {}).get("labels") or {}
            return Answer(299 if "mutated" in labels else answers[-1].status, None, {})

        await self.api.eventually(kept, 299)
        body: JSON = answers[-1].body
        return body


@pytest_asyncio.fixture
async def policies(api: Api) -> AsyncIterator[Policies]:
    made: list[str] = []
    yield Policies(api, made)
    for path in made:
        await api.raw("DELETE", path)


async def _try(api: Api, data: JSON, **query: Any) -> Answer:
    return await api.create("configmaps", configmap(data=data), dryRun="All", **query)


DENIED: list[tuple[str, JSON, JSON, JSON]] = [
    ("expression", {"validations": [{"expression": "object.data.a != 'bad'"}]}, {"a": "bad"}, {"a": "good"}),
    ("has", {"validations": [{"expression": "has(object.data.a)"}]}, {"b": "x"}, {"a": "x"}),
    ("in", {"validations": [{"expression": "!('a' in object.data)"}]}, {"a": "x"}, {"b": "x"}),
    ("all", {"validations": [{"expression": "object.data.all(k, k.startsWith('x'))"}]}, {"a": "", "xa": ""}, {"xa": ""}),
    ("exists", {"validations": [{"expression": "object.data.exists(k, object.data[k] == '1')"}]}, {"a": "2"}, {"a": "2", "b": "1"}),
    ("size", {"validations": [{"expression": "size(object.data) < 3 && object.data.a.size() < 3"}]}, {"a": "xxx"}, {"a": "xx"}),
    ("matches", {"validations": [{"expression": "object.data.a.matches('^[0-9]+$')"}]}, {"a": "x1"}, {"a": "11"}),
    ("int", {"validations": [{"expression": "int(object.data.a) % 2 == 0"}]}, {"a": "3"}, {"a": "4"}),
    ("ternary", {"validations": [{"expression": "has(object.data.b) ? object.data.b == 'ok' : object.data.a == 'ok'"}]}, {"a": "ok", "b": "no"}, {"a": "ok"}),
    ("either-side-decides", {"validations": [{"expression": "object.data.nope == '1' || object.data.a == 'ok'"}]}, {"a": "no"}, {"a": "ok"}),
    ("variables", {"variables": [{"name": "v", "expression": "object.data.a + '!'"}], "validations": [{"expression": "variables.v != 'bad!'"}]}, {"a": "bad"}, {"a": "good"}),
    ("match-condition", {"matchConditions": [{"name": "c", "expression": "'guard' in object.data"}], "validations": [{"expression": "false"}]}, {"guard": ""}, {"a": ""}),
    ("request", {"validations": [{"expression": "request.operation != 'CREATE' || request.namespace == 'x' || 'a' in object.data"}]}, {"b": ""}, {"a": ""}),
    ("split-and-join", {"validations": [{"expression": "object.data.a.split(',').map(x, x.trim()).join('-') != 'b-d'"}]}, {"a": "b, d"}, {"a": "b, c"}),
    ("namespace-object", {"validations": [{"expression": "namespaceObject.metadata.name != request.namespace || has(object.data.a)"}]}, {"b": ""}, {"a": ""}),
    ("quantity", {"validations": [{"expression": "quantity(object.data.a).isLessThan(quantity('1Gi'))"}]}, {"a": "2G"}, {"a": "1G"}),
    ("ip", {"validations": [{"expression": "!isIP(object.data.a)"}]}, {"a": "10.0.0.1"}, {"a": "10.0.0"}),
    ("duration", {"validations": [{"expression": "duration(object.data.a) < duration('1h')"}]}, {"a": "90m"}, {"a": "45m"}),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "bad", "good"), [d[1:] for d in DENIED], ids=[d[0] for d in DENIED])
async def test_a_validating_policy_refuses(policies: Policies, spec: JSON, bad: JSON, good: JSON) -> None:
    """What its expression denies, and nothing else."""
    refused = await policies.deny(spec, lambda: _try(policies.api, bad))
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    (await _try(policies.api, good)).must(201)


async def test_a_refusal_names_policy_binding_and_message(policies: Policies) -> None:
    """In the words of the server."""
    spec = {"validations": [{"expression": "object.data.a != 'bad'", "message": "held by a test"}]}
    refused = await policies.deny(spec, lambda: _try(policies.api, {"a": "bad"}))
    name = f"{policies.api.ns}-0"
    assert refused.body["message"] == (
        f"configmaps \"one\" is forbidden: ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: held by a test"
    )


async def test_a_message_may_be_an_expression_and_a_refusal_a_403(policies: Policies) -> None:
    """`messageExpression` and `reason`."""
    rule = {
        "expression": "object.data.a != 'bad'",
        "messageExpression": "'a was ' + object.data.a",
        "message": "unused",
        "reason": "Forbidden",
    }
    refused = await policies.deny({"validations": [rule]}, lambda: _try(policies.api, {"a": "bad"}))
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"].endswith("denied request: a was bad")


async def test_a_failing_expression_refuses_unless_failures_are_ignored(policies: Policies) -> None:
    """`failurePolicy`."""
    spec = {"validations": [{"expression": "object.data.nope == '1'"}]}
    refused = await policies.deny(spec, lambda: _try(policies.api, {"a": ""}))
    assert "resulted in error: no such key: nope" in refused.body["message"]
    (await policies.api.raw("DELETE", policies.made[1])).must(200)
    both = {"failurePolicy": "Ignore", "validations": [*spec["validations"], {"expression": "object.data.a != 'bad'"}]}
    await policies.deny(both, lambda: _try(policies.api, {"a": "bad", "nope": "1"}))
    await policies.api.eventually(lambda: _try(policies.api, {"a": "good"}), 201)


async def test_a_warning_does_not_refuse(policies: Policies) -> None:
    """`validationActions: [Warn]`."""
    await policies.install(
        "Validating",
        {"matchConstraints": CONFIGMAPS, "validations": [{"expression": "false", "message": "careful"}]},
        validationActions=["Warn"],
    )

    async def warned() -> Answer:
        answer = await _try(policies.api, {"a": ""})
        assert answer.status == 201
        return Answer(299 if any("careful" in w for w in answer.warnings) else 201, None, {})

    await policies.api.eventually(warned, 299)


async def test_an_update_sees_the_old_object(policies: Policies) -> None:
    """`oldObject`, and null at creation."""
    (await policies.api.create("configmaps", configmap(data={"a": "1"}))).must(201)
    spec = {"validations": [{"expression": "oldObject == null || object.data.a == oldObject.data.a", "message": "a is fixed"}]}
    refused = await policies.deny(spec, lambda: policies.api.patch("configmaps", "one", "merge", {"data": {"a": "2"}}, dryRun="All"))
    assert "a is fixed" in refused.body["message"]
    (await policies.api.patch("configmaps", "one", "merge", {"data": {"b": "2"}})).must(200)


async def test_a_delete_can_be_refused(policies: Policies) -> None:
    """`object` is null then."""
    (await policies.api.create("configmaps", configmap(data={"keep": ""}))).must(201)
    spec = {"matchConstraints": _rules("", "configmaps", "DELETE"), "validations": [{"expression": "!('keep' in oldObject.data)"}]}
    refused = await policies.deny(spec, lambda: policies.api.delete("configmaps", "one", dryRun="All"))
    assert refused.status == 422


async def test_parameters_are_read_from_an_object(policies: Policies) -> None:
    """`paramKind` and `paramRef`: as the hold's list of usernames."""
    (await policies.api.create("configmaps", configmap("params", data={"forbidden": "bad"}))).must(201)
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "!has(object.data.a) || object.data.a != params.data.forbidden"}],
    }
    ref = {"name": "params", "namespace": policies.api.ns, "parameterNotFoundAction": "Deny"}
    await policies.deny(spec, lambda: _try(policies.api, {"a": "bad"}), paramRef=ref)
    await policies.api.eventually(lambda: _try(policies.api, {"a": "good"}), 201)


async def test_a_policy_can_tell_users_apart(policies: Policies) -> None:
    """`request.userInfo`."""
    spec = {"validations": [{"expression": f"request.userInfo.username != '{policies.api.user}'"}]}
    assert (await policies.deny(spec, lambda: _try(policies.api, {}))).status == 422


MUTATIONS: list[tuple[str, JSON, JSON, JSON]] = [
    ("apply", {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{data: {'b': 'new'}}"}}, {"a": "1"}, {"a": "1", "b": "new"}),
    ("apply-conditional", {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "'a' in object.data ? Object{data: {'b': object.data.a}} : Object{}"}}, {"a": "1"}, {"a": "1", "b": "1"}),
    ("patch-add", {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data/b', value: 'new'}]"}}, {"a": "1"}, {"a": "1", "b": "new"}),
    ("patch-escaped", {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('x.y'), value: 'new'}]"}}, {"a": "1"}, {"a": "1", "x.y": "new"}),
    ("patch-remove", {"patchType": "JSONPatch", "jsonPatch": {"expression": "has(object.data.b) ? [JSONPatch{op: 'remove', path: '/data/b'}] : []"}}, {"a": "1", "b": "2"}, {"a": "1"}),
    ("patch-test", {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'test', path: '/data/a', value: '1'}, JSONPatch{op: 'replace', path: '/data/a', value: '2'}]"}}, {"a": "1"}, {"a": "2"}),
]  # fmt: skip


@pytest.mark.parametrize(("mutation", "data", "after"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS])
async def test_a_mutating_policy_changes_the_object(policies: Policies, mutation: JSON, data: JSON, after: JSON) -> None:
    """By apply configuration and by JSON Patch."""
    await policies.mutate({"mutations": [mutation]})
    assert (await policies.mutated(lambda: _try(policies.api, data)))["data"] == after


async def test_a_template_change_is_held_in_the_write_that_makes_it(policies: Policies) -> None:
    """The hold: paused and marked in one write, only where the template changes, through every kind of write."""
    api = policies.api
    hold = 'Object{metadata: Object.metadata{annotations: {"linnet.dev/held": "true"}}, spec: Object.spec{paused: true}}'
    spec = {
        "matchConstraints": _rules("apps", "deployments", "UPDATE"),
        "matchConditions": [{"name": "changed", "expression": "object.spec.template != oldObject.spec.template"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": hold}}],
    }
    await policies.mutate(spec)
    (await api.create("deployments", deployment(), fieldManager="ann")).must(201)
    image = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}}
    held = await policies.mutated(lambda: api.patch("deployments", "web", "strategic", image, dryRun="All"))
    assert (held["spec"]["paused"], held["metadata"]["annotations"]["linnet.dev/held"]) == (True, "true")
    other = (await api.patch("deployments", "web", "merge", {"spec": {"minReadySeconds": 3}})).must(200)
    assert "paused" not in other["spec"]
    applied = await policies.mutated(lambda: api.apply("deployments", {**deployment(), **image}, "bob", force="true", dryRun="All"))
    assert applied["spec"]["paused"] is True


BROKEN: list[tuple[str, str, JSON, str]] = [
    ("does-not-compile", "validatingadmissionpolicies", {"matchConstraints": CONFIGMAPS, "validations": [{"expression": "object.data ="}]}, "spec.validations[0].expression"),
    ("no-validations", "validatingadmissionpolicies", {"matchConstraints": CONFIGMAPS}, "spec.validations"),
    ("no-rules", "validatingadmissionpolicies", {"matchConstraints": {}, "validations": [{"expression": "true"}]}, "spec.matchConstraints.resourceRules"),
    ("mutation-does-not-compile", "mutatingadmissionpolicies", {"matchConstraints": CONFIGMAPS, "reinvocationPolicy": "Never", "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{"}}]}, "spec.mutations[0].applyConfiguration.expression"),
    ("binding-without-actions", "validatingadmissionpolicybindings", {"policyName": "x"}, "spec.validationActions"),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "spec", "field"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
async def test_a_broken_policy_is_refused_when_it_is_written(api: Api, resource: str, spec: JSON, field: str) -> None:
    """422, and the field is named."""
    answer = await api.raw("POST", f"{GROUP}/{resource}", {"metadata": {"name": f"{api.ns}-broken"}, "spec": spec}, dryRun="All")
    assert answer.status == 422
    assert field in answer.fields, answer.body
