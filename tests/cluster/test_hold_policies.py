"""The hold on a real API server: every promise with the policies, the same with the webhook, every harm without either.

The twin of a protection is the same writes after the policies were deleted: if nothing bad happens then, the case proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import yaml

from tests.cluster import hold_cases, hold_writes
from tests.cluster.hold_cases import CASES, Case
from tests.cluster.hold_writes import ADOPTED, BAD, JSON, Api, Seen, Subject, User
from tests.testbed.controlplane import ControlPlane
from tests.testbed.webhook import forget, in_force, knows_mutating_policies, standing_in

pytestmark = pytest.mark.cluster

LINNET = "system:serviceaccount:linnet:linnet"
RBAC = "rbac.authorization.k8s.io"
ACCOUNT: tuple[dict[str, Any], ...] = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "linnet"}},
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "linnet", "namespace": "linnet"}},
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "hold-test"},
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}],
    },
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "hold-test"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "hold-test"},
        "subjects": [{"kind": "ServiceAccount", "name": "linnet", "namespace": "linnet"}],
    },
)
ACCOUNTS = [LINNET, "system:serviceaccount:linnet:linnet-cleanup"]
HOLDERS = ("policies", "webhook", "twin")


class RealApi:
    """The client protocol of the cases over HTTPS: the owner is `alice`, Linnet is its ServiceAccount."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tokens: dict[User, str]) -> None:
        self.session, self.url, self.tokens = session, url, tokens

    async def __call__(
        self, method: str, path: str, *, user: User, body: object = None, content_type: str = JSON
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.tokens[user]}", "Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture(scope="module")
def linnet_token(control_plane: ControlPlane) -> Iterator[str]:
    """A token of a ServiceAccount linnet/linnet that may patch Deployments."""
    control_plane.apply(*ACCOUNT)
    yield control_plane.service_account_token("linnet", "linnet")
    control_plane.kubectl("delete", "clusterrole,clusterrolebinding", "hold-test")
    control_plane.kubectl("delete", "namespace", "linnet", "--wait=false")


@pytest.fixture
async def api(control_plane: ControlPlane, linnet_token: str) -> AsyncIterator[Api]:
    context = ssl.create_default_context(cafile=str(control_plane.ca))
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout) as session:
        yield RealApi(session, control_plane.url, {"owner": "alice-token", "linnet": linnet_token})


@pytest.fixture
async def place(api: Api) -> AsyncIterator[str]:
    """As the fixture `namespace`, without three processes of kubectl for each of a hundred cases."""
    name = f"t-{secrets.token_hex(4)}"
    code, body = await api("POST", "/api/v1/namespaces", user="owner", body={"metadata": {"name": name}})
    assert code == 201, body
    async with asyncio.timeout(30):
        while (await api("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default", user="owner"))[0] != 200:
            await asyncio.sleep(0.02)
    yield name
    await api("DELETE", f"/api/v1/namespaces/{name}", user="owner")


def _await_effect(plane: ControlPlane, *, active: bool) -> None:
    """Policies reach the API server's evaluation a moment after they were written: asks with dry runs until both (or none) act."""
    probe = hold_writes.manifest("probe", annotations={**ADOPTED, "linnet.dev/held": "policy"}, paused=True, replicas=0)
    plane.apply(probe, hold_writes.manifest("probe-free", annotations=ADOPTED, replicas=0), namespace="default")
    change = json.dumps({"spec": {"template": {"metadata": {"annotations": {"probe": str(time.monotonic_ns())}}}}})
    deadline = time.monotonic() + 30
    while True:
        dry = ("patch", "deployment", "--dry-run=server", "--type=merge", "-n", "default")
        held = plane.kubectl(*dry, "probe-free", "-p", change, "-o", "jsonpath={.spec.paused}").stdout == "true"
        resume = plane.kubectl(*dry, "probe", "-p", '{"spec":{"paused":false}}', check=False)
        if held == active and (resume.returncode != 0) == active:
            break
        assert time.monotonic() < deadline, f"policies should be {'on' if active else 'off'}: held={held} {resume.stderr}"
    plane.kubectl("delete", "deployment", "probe", "probe-free", "-n", "default", "--wait=false")


@pytest.fixture(scope="module", params=HOLDERS, ids=["policies", "webhook", "twin-without-policies"])
def guarded(request: pytest.FixtureRequest, control_plane: ControlPlane) -> Iterator[bool]:
    """Whether something holds: the policies, or the webhook beside the policy that refuses; in the twin that worked, and was deleted."""
    plane = control_plane
    if request.param == "policies" and not knows_mutating_policies(plane):
        pytest.skip(f"Kubernetes {plane.version} has no MutatingAdmissionPolicy v1")
    rules = hold_cases.policies(ACCOUNTS)
    with standing_in(plane, rules) if request.param == "webhook" else in_force(plane, rules):
        _await_effect(plane, active=True)
        if request.param == "twin":
            forget(plane, "linnet-hold", "linnet-release")
            _await_effect(plane, active=False)
        yield request.param != "twin"
    forget(plane, "linnet-hold", "linnet-release")


def _same(seen: Seen, wanted: Seen) -> None:
    assert wanted.message in seen.message
    assert replace(seen, message="") == replace(wanted, message="")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
async def test_a_write_ends_as_the_table_says(case: Case, api: Api, guarded: bool, place: str) -> None:
    """With the policies or the webhook the promise is seen; without them the harm."""
    seen = await hold_cases.run(case, api, place)
    _same(seen, case.promise if guarded or case.harm is None else case.harm)


async def test_create_is_never_held(api: Api, guarded: bool, place: str) -> None:
    """A Deployment that is created with every annotation of Linnet's rolls at once: nobody could release it before it is adopted."""
    code, body = await Subject(api=api, namespace=place).create(annotations=ADOPTED)
    assert (code, body["spec"].get("paused", False)) == (201, False)


@pytest.mark.parametrize("user", ["owner", "linnet"])
async def test_a_dry_run_tells_whether_a_write_would_be_held(api: Api, guarded: bool, place: str, user: User) -> None:
    """Linnet's own writes pass, but its dry run is answered as anyone's: so it learns whether the hold works without reading policies."""
    assert await hold_writes.dry_run_is_held(api, place, user) is guarded


async def test_a_held_template_starts_no_pod(control_plane: ControlPlane, api: Api, guarded: bool, namespace: str) -> None:
    """The ReplicaSets say what the hold is worth: the controller makes none for a held template, and one without the policies."""
    subject = Subject(api=api, namespace=namespace)
    await subject.create(annotations=ADOPTED)
    await hold_writes.observed(pods=1, updated=1)(subject)
    await hold_writes.set_image(BAD)(subject)
    generation = (await subject.read())["metadata"]["generation"]
    control_plane.kubectl(
        "wait", "deployment/checkout", "-n", namespace, f"--for=jsonpath={{.status.observedGeneration}}={generation}", "--timeout=30s"
    )
    images = control_plane.kubectl("get", "rs", "-n", namespace, "-o", "jsonpath={..containers[*].image}").stdout.split()
    assert (BAD in images) is not guarded


def test_the_documented_line_releases_without_the_daemon(control_plane: ControlPlane, guarded: bool, namespace: str) -> None:
    """What the refusal prints is copied from it and run by a shell: annotate, then resume, and the template rolls."""
    if not guarded:
        control_plane.apply(hold_writes.manifest("checkout", annotations=ADOPTED), namespace=namespace)
        control_plane.kubectl("set", "image", "deploy/checkout", f"app={BAD}", "-n", namespace)
        assert control_plane.kubectl("rollout", "resume", "deploy/checkout", "-n", namespace, check=False).stderr.count("not paused") == 1
        return
    control_plane.apply(hold_writes.manifest("checkout", annotations=ADOPTED), namespace=namespace)
    control_plane.kubectl("set", "image", "deploy/checkout", f"app={BAD}", "-n", namespace)
    refused = control_plane.kubectl("rollout", "resume", "deploy/checkout", "-n", namespace, check=False)
    assert refused.returncode != 0
    assert f"linnet promote --override checkout -n {namespace}" in refused.stderr
    line = refused.stderr[refused.stderr.index("kubectl annotate") :].strip().splitlines()[0]
    for command in line.split(" && "):
        control_plane.kubectl(*command.split()[1:])
    after = control_plane.json("get", "deploy", "checkout", "-n", namespace)
    assert not after["spec"].get("paused", False)


def test_every_case_of_a_protection_has_a_harm_of_its_own() -> None:
    """A harm that equals the promise would make the twin worthless."""
    assert [case.name for case in CASES if case.harm == case.promise] == []
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_policies_are_the_four_objects_that_the_fixtures_delete() -> None:
    """A policy that is added under another name would survive the twin and make it lie."""
    objects = hold_cases.policies([LINNET])
    assert sorted((o["kind"], o["metadata"]["name"]) for o in objects) == [
        ("MutatingAdmissionPolicy", "linnet-hold"),
        ("MutatingAdmissionPolicyBinding", "linnet-hold"),
        ("ValidatingAdmissionPolicy", "linnet-release"),
        ("ValidatingAdmissionPolicyBinding", "linnet-release"),
    ]
    assert "LINNET_USERNAMES" not in yaml.safe_dump_all(objects)
