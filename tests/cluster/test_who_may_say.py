"""Who may say which verb to a release, in three ways: the annotation, the command line and the HTTP API.

Four users with real tokens, on a real API server with the policies and the roles of the chart. The twin is the same user after the
policies were deleted: whoever may write Canaries then may say everything.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import yaml

from daemon.api.crds import crd
from daemon.api.kinds import KINDS
from daemon.cli import verbs as cli
from daemon.cli.cluster import Access, System, connected
from daemon.control.api import ApiOptions, serving
from daemon.control.observe import command_of
from daemon.kube.client import Client
from daemon.kube.config import ClusterConfig
from daemon.kube.errors import Forbidden
from daemon.kube.objects import ObjectMeta
from daemon.kube.transport import Transport
from daemon.rollout import commands
from tests.testbed.controlplane import ControlPlane
from tests.testbed.webhook import forget, in_force
from tests.unit.chart.rendered import Chart, one

pytestmark = pytest.mark.cluster

RBAC = "rbac.authorization.k8s.io"
PHASES = {"pause": "Progressing", "retry": "Held", "undo": "Held"}  # where a verb makes sense; the others do in a paused release
POLICIES = Path(__file__).parents[2] / "charts" / "linnet" / "files" / "verb-policies.yaml"
BASICS = [{"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["get", "list"]}]
PATCH = {"apiGroups": ["linnet.dev"], "resources": ["canaries"], "verbs": ["patch"]}
USERS = ("reader", "writer", "developer", "owner")


@dataclass(frozen=True, kw_only=True)
class World:
    """A namespace with one Canary in mid-release, and the tokens of those who act on it."""

    plane: ControlPlane
    namespace: str
    tokens: dict[str, str]
    port: int
    roots: ssl.SSLContext

    def name_of(self, user: str) -> str:
        return f"system:serviceaccount:{self.namespace}:{user}"

    def set_phase(self, phase: str) -> None:
        rollout = {"revision": "7f9c", "startedAt": "2026-01-01T00:00:00Z"} if phase != "Held" else None
        status = {"phase": phase, "observedRevision": "7f9c", "rollout": rollout}
        words = ("canary.linnet.dev", "shop", "-n", self.namespace, "--subresource=status", "--type=merge")
        self.plane.kubectl("patch", *words, "-p", json.dumps({"status": status}))

    def canary(self) -> dict[str, Any]:
        found: dict[str, Any] = self.plane.json("get", "canary.linnet.dev", "shop", "-n", self.namespace)
        return found

    def annotations(self) -> dict[str, str]:
        return dict(self.canary()["metadata"].get("annotations") or {})

    async def patch(self, user: str, body: dict[str, Any], *, dry_run: bool = False) -> tuple[int, str]:
        """A merge patch of the Canary by a user; the code and the message."""
        path = f"/apis/linnet.dev/v1alpha1/namespaces/{self.namespace}/canaries/shop" + ("?dryRun=All" if dry_run else "")
        headers = {"Authorization": f"Bearer {self.tokens[user]}", "Content-Type": "application/merge-patch+json"}
        trust = ssl.create_default_context(cafile=str(self.plane.ca))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
            session.patch(self.plane.url + path, data=json.dumps(body), headers=headers) as answer,
        ):
            return answer.status, (await answer.json()).get("message", "")

    async def post(self, path: str, token: str | None, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """A request to the HTTP API."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.roots)) as session,
            session.post(f"https://localhost:{self.port}{path}", json=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json()


def said(verb: str, **annotations: str) -> dict[str, Any]:
    """A patch that says a verb, each time anew."""
    return {"metadata": {"annotations": {"linnet.dev/action": f"{verb}@7f9c#n={time.monotonic_ns()}"} | annotations}}


def _roles(home: Path) -> dict[str, list[dict[str, Any]]]:
    """The rules of each user, from the roles that the chart makes for people."""
    made = Chart(home).render()
    view, edit, admin = (one(made, "ClusterRole", f"linnet-{name}")["rules"] for name in ("view", "edit", "admin"))
    reader = BASICS + view
    return {"reader": reader, "writer": [*reader, PATCH], "developer": reader + edit, "owner": reader + edit + admin}


def _grant(namespace: str, name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    meta = {"name": name, "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [subject],
        },
    ]


def _delegate(namespace: str) -> dict[str, Any]:
    """As the chart binds it for the HTTP API."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{namespace}-api"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": "linnet", "namespace": namespace}],
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("who")


@pytest.fixture(scope="module")
def place(control_plane: ControlPlane, home: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The namespace, its Canary, its users and the policies; yields the name and the tokens."""
    plane, name = control_plane, f"who-{time.monotonic_ns() % 10**8}"
    plane.apply(*(crd(kind) for kind in KINDS), server_side=True)
    plane.kubectl("wait", "--for=condition=Established", "crd/canaries.linnet.dev", "--timeout=30s")
    plane.kubectl("create", "namespace", name)
    daemon = [{"apiGroups": ["linnet.dev"], "resources": ["canaries"], "verbs": ["get", "list", "patch"]}]
    objects = [o for user, rules in _roles(home).items() for o in _grant(name, user, rules)]
    plane.apply(*objects, *_grant(name, "linnet", daemon), _delegate(name), namespace=name)
    spec = {"workloadRef": {"name": "shop"}, "steps": [{"weight": 10}]}
    plane.apply(
        {"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary", "metadata": {"name": "shop", "namespace": name}, "spec": spec},
        namespace=name,
    )
    text = POLICIES.read_text().replace("LINNET_USERNAMES", f"['system:serviceaccount:{name}:linnet']")
    with in_force(plane, [d for d in yaml.safe_load_all(text) if d]):
        yield name, {user: plane.service_account_token(name, user) for user in (*USERS, "linnet")}
    plane.kubectl("delete", "clusterrolebinding", f"{name}-api")
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def world(control_plane: ControlPlane, place: tuple[str, dict[str, str]], home: Path) -> AsyncIterator[World]:
    """The HTTP API beside it, over TLS, with the daemon's own token; the policies act."""
    namespace, tokens = place
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path(home / "key.pem")
    for index, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(home / "cert.pem", append=index > 0)
    roots = ssl.create_default_context()
    authority.configure_trust(roots)
    config = ClusterConfig(server=control_plane.url, ca_file=str(control_plane.ca), token=tokens["linnet"])
    options = ApiOptions(address="127.0.0.1:18443", cert=str(home / "cert.pem"), key=str(home / "key.pem"))
    async with Transport(config) as transport, serving(options, Client(transport, field_manager="linnet"), (namespace,)):
        here = World(plane=control_plane, namespace=namespace, tokens=tokens, port=18443, roots=roots)
        await _acting(here)
        yield here


async def _acting(world: World) -> None:
    """Policies reach the API server's evaluation a moment after they were written."""
    ends = asyncio.get_running_loop().time() + 30
    while (await world.patch("writer", said("abort"), dry_run=True))[0] != 403:
        assert asyncio.get_running_loop().time() < ends, "the policies do not act"
        await asyncio.sleep(0.3)


def allowed(user: str, verb: str) -> bool:
    """The table: who answers for a namespace may override, who works in it the rest, who only writes Canaries nothing."""
    return user == "owner" or (user == "developer" and verb not in ("override", "hotfix"))


async def by_annotation(world: World, user: str, verb: str) -> bool:
    """A patch, as kubectl annotate makes it."""
    code, message = await world.patch(user, said(verb))
    assert code in (200, 403), message
    return code == 200


async def by_command_line(world: World, user: str, verb: str) -> bool:
    """`linnet VERB shop`, with the user's kubeconfig; nobody carries it out here."""
    config = world.plane._kubeconfig(user, world.tokens[user], world.namespace)
    system = System(catalogue="linnet-system", lease_name="linnet", lease_namespace="linnet-system")
    async with connected(Access(kubeconfig=str(config), context=None, namespaces=(world.namespace,))) as cluster:
        try:
            await cli.say(cluster, system, "shop", verb, "7f9c", cli.More(why="a test"))  # type: ignore[arg-type]
        except Forbidden as refused:
            if "leases" not in str(refused):  # after the verb was written it is looked who leads, which these users may not
                return False
        return True


async def by_http(world: World, user: str, verb: str) -> bool:
    """A POST to the daemon."""
    path = f"/api/v1/namespaces/{world.namespace}/canaries/shop/{verb}"
    code, body = await world.post(path, world.tokens[user], {"revision": "7f9c", "reason": "a test"})
    assert code in (202, 403), body
    return code == 202


WAYS = {"annotation": by_annotation, "command-line": by_command_line, "http": by_http}


def test_the_chart_gives_every_verb_to_somebody(home: Path) -> None:
    """A verb that no role has could only be said by a cluster admin."""
    given = {verb for rule in _roles(home)["owner"] for verb in rule["verbs"]}
    assert set(commands.VERBS) <= given


@pytest.mark.parametrize("way", WAYS)
async def test_a_verb_is_said_by_those_who_have_it(world: World, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user and every verb: what is allowed is written, and nothing else is."""
    monkeypatch.setattr(cli, "PATIENCE", 0.1)
    table = {}
    for verb in commands.VERBS:
        world.set_phase(PHASES.get(verb, "Paused"))
        for user in USERS:
            before = world.annotations().get("linnet.dev/action", "")
            table[user, verb] = await WAYS[way](world, user, verb)
            after = world.annotations().get("linnet.dev/action", "")
            assert (after != before) == table[user, verb]
            assert not table[user, verb] or after.startswith(f"{verb}@7f9c")
    assert table == {(user, verb): allowed(user, verb) for user in USERS for verb in commands.VERBS}


@pytest.mark.parametrize("way", WAYS)
async def test_the_author_of_a_verb_is_who_wrote_it(world: World, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the API server's word: the daemon takes the stamp, whatever the text claims."""
    monkeypatch.setattr(cli, "PATIENCE", 0.1)
    world.set_phase("Paused")
    assert await WAYS[way](world, "developer", "abort")
    command = command_of(ObjectMeta(name="shop", annotations=world.annotations()))
    assert command is not None
    assert (command.verb, command.by) == ("abort", world.name_of("developer"))


async def test_a_forged_author_is_written_over_or_refused(world: World) -> None:
    """Somebody else's name beside a verb is replaced by one's own; without a verb it cannot be written at all."""
    forged = said("abort")
    text = forged["metadata"]["annotations"]["linnet.dev/action"] + ";by=alice"
    code, _ = await world.patch("developer", said("abort", **{"linnet.dev/action": text, "linnet.dev/action-by": f"alice {text}"}))
    assert code == 200
    assert world.annotations()["linnet.dev/action-by"] == f"{world.name_of('developer')} {text}"
    code, message = await world.patch("owner", {"metadata": {"annotations": {"linnet.dev/action-by": f"alice {text}"}}})
    assert (code, "stamped by the API server" in message) == (403, True)


async def test_what_was_said_before_may_be_applied_again_and_is_no_news(world: World) -> None:
    """A GitOps tool that may say nothing replays an old annotation: accepted, and still the words of whoever said it."""
    assert (await world.patch("owner", said("override")))[0] == 200
    stamped = world.annotations()
    again = {"metadata": {"labels": {"team": "shop"}, "annotations": {"linnet.dev/action": stamped["linnet.dev/action"]}}}
    assert (await world.patch("writer", again))[0] == 200
    assert world.annotations() == stamped


async def test_a_verb_smuggled_into_another_change_takes_that_change_down_with_it(world: World) -> None:
    """One write, one answer: the steps stay what they were."""
    before = world.canary()["spec"]
    code, message = await world.patch("writer", said("promote") | {"spec": {"steps": [{"weight": 90}]}})
    assert code == 403
    assert "may not promote the release of Canary shop: ask for the verb promote on canaries of linnet.dev" in message
    assert world.canary()["spec"] == before


async def test_the_http_api_knows_nobody_without_a_token(world: World) -> None:
    """401, and what to send."""
    path = f"/api/v1/namespaces/{world.namespace}/canaries/shop/abort"
    for token in (None, "nonsense"):
        code, body = await world.post(path, token)
        assert (code, body["reason"]) == (401, "Unauthorized")


async def test_the_kill_switch_aborts_what_its_user_may_abort(world: World) -> None:
    """One call for a namespace; a release at rest is not touched, and what may not be aborted is listed."""
    world.set_phase("Progressing")
    path = f"/api/v1/namespaces/{world.namespace}/abort"
    code, body = await world.post(path, world.tokens["developer"])
    assert (code, [(i["name"], i["aborted"]) for i in body["items"]]) == (202, [("shop", True)])
    assert world.annotations()["linnet.dev/action"].startswith("abort@7f9c")
    code, body = await world.post(path, world.tokens["writer"])
    assert (code, [(i["name"], i["aborted"]) for i in body["items"]]) == (207, [("shop", False)])
    world.set_phase("Held")
    assert (await world.post(path, world.tokens["developer"])) == (202, {"items": []})


async def test_without_the_policies_whoever_writes_canaries_says_everything(world: World) -> None:
    """The twin, and the last test of this file: the harm that the policies prevent."""
    forget(world.plane, "linnet-author", "linnet-verbs")
    ends = asyncio.get_running_loop().time() + 30
    while (await world.patch("writer", said("override")))[0] != 200:
        assert asyncio.get_running_loop().time() < ends
        await asyncio.sleep(0.3)
    assert world.annotations()["linnet.dev/action"].startswith("override@")
