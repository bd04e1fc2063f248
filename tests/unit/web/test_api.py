"""The HTTP API: who is let in, what a verb needs, and what every refusal says. The API server's reviews are scripted here."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import trustme
from aiohttp.test_utils import TestClient, TestServer

from daemon.api.status import CanaryStatus, Phase, RolloutStatus
from daemon.control.api import ApiOptions
from daemon.kube.errors import NotFound, Unavailable
from daemon.rollout import commands
from daemon.web.api import Api, Release
from daemon.web.health import serve
from daemon.web.identity import REMEMBERED, Reviewer
from daemon.web.tls import Certificate, TlsError

CANARIES = "/api/v1/namespaces/shop/canaries"


class ApiServer:
    """What the reviews answer; counts how often it was asked."""

    def __init__(self) -> None:
        self.tokens = {"good": "alice"}
        self.rights = {"list", "get", "abort", "promote"}
        self.asked: list[str] = []
        self.away = False

    async def request(self, method: str, path: str, *, body: bytes, deadline: float, idempotent: bool) -> bytes:
        assert (method, idempotent) == ("POST", True)
        assert 0 < deadline <= 5
        self.asked.append(path.rpartition("/")[2])
        if self.away:
            raise Unavailable("connection refused")
        spec = msgspec.json.decode(body)["spec"]
        if path.endswith("tokenreviews"):
            name = self.tokens.get(spec["token"])
            status = {"authenticated": name is not None} | ({"user": {"username": name, "groups": ["dev"]}} if name else {})
        else:
            assert (spec["user"], spec["groups"]) == ("alice", ["dev"])
            status = {"allowed": spec["resourceAttributes"]["verb"] in self.rights}
        return msgspec.json.encode({"status": status})


class Shelf:
    """The Canaries."""

    def __init__(self) -> None:
        self.found = {"checkout": release("checkout", "Progressing"), "cart": release("cart", "Idle")}
        self.written: list[tuple[str, dict[str, str]]] = []
        self.carries_out = False

    async def list(self, namespace: str | None) -> Sequence[Release]:
        return [r for r in self.found.values() if namespace in (None, r.namespace)]

    async def get(self, namespace: str, name: str) -> Release:
        if name not in self.found:
            raise NotFound(f"canaries {namespace}/{name} not found")
        return self.found[name]

    async def annotate(self, namespace: str, name: str, annotations: dict[str, str]) -> None:
        assert namespace == "shop"
        self.written.append((name, annotations))
        if self.carries_out:
            old = self.found[name]
            status = msgspec.structs.replace(old.status, phase="RollingBack", last_action=annotations["linnet.dev/action"])
            self.found[name] = msgspec.structs.replace(old, status=status)


def release(name: str, phase: Phase) -> Release:
    rollout = RolloutStatus(revision="7f9c", started_at="2026-01-01T00:00:00Z") if phase in commands.IN_STEPS else None
    return Release(
        namespace="shop",
        name=name,
        workload=name,
        status=CanaryStatus(phase=phase, observed_revision="7f9c", rollout=rollout, sentence="so"),
    )


class Caller:
    """Asks with a good token unless told otherwise."""

    def __init__(self, client: TestClient[Any, Any], server: ApiServer, shelf: Shelf) -> None:
        self.client, self.server, self.shelf = client, server, shelf

    async def ask(self, method: str, path: str, *, token: str | None = "good", body: Any = None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        data = body if isinstance(body, str) else None
        async with self.client.request(method, path, headers=headers, json=None if data else body, data=data) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, await answer.json()


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
async def caller(clock: list[float]) -> Any:
    server, shelf = ApiServer(), Shelf()
    api = Api(shelf, Reviewer(server, lambda: clock[0]), lambda: 1_800_000_000.0)  # type: ignore[arg-type]
    async with TestClient(TestServer(api.application())) as client:
        yield Caller(client, server, shelf)


async def test_the_state_of_releases_is_read_with_the_verbs_that_make_sense_now(caller: Caller) -> None:
    """A list and one; the sentence is in the status."""
    code, body = await caller.ask("GET", "/api/v1/canaries")
    assert (code, [(i["name"], i["verbs"]) for i in body["items"]]) == (
        200,
        [
            ("checkout", ["promote", "abort", "kill", "pause", "resume", "override", "hotfix", "skip", "step", "set-weight", "approve"]),
            ("cart", ["override", "hotfix", "undo"]),
        ],
    )
    code, body = await caller.ask("GET", f"{CANARIES}/checkout")
    assert (code, body["revision"], body["status"]["sentence"]) == (200, "7f9c", "so")


async def test_a_verb_is_written_bound_to_the_revision_and_signed_by_its_author(caller: Caller) -> None:
    """As `linnet` writes it, with the stamp that a person's own write gets from the API server."""
    code, body = await caller.ask("POST", f"{CANARIES}/checkout/abort", body={"revision": "7f9c"})
    assert (code, body["carriedOut"]) == (202, False)
    ((name, annotations),) = caller.shelf.written
    assert (name, body["action"]) == ("checkout", annotations["linnet.dev/action"])
    assert body["action"].startswith("abort@7f9c#by=alice;until=2027-01-15T08:10:00.000Z;n=")
    assert annotations["linnet.dev/action-by"] == f"alice {body['action']}"


async def test_who_waits_is_told_when_it_was_carried_out(caller: Caller) -> None:
    """200, with the Canary as it is then."""
    caller.shelf.carries_out = True
    code, body = await caller.ask("POST", f"{CANARIES}/checkout/abort", body={"wait": 5})
    assert (code, body["carriedOut"], body["canary"]["status"]["phase"]) == (200, True, "RollingBack")


@pytest.mark.parametrize(
    ("path", "options", "code", "words"),
    [
        ("checkout/abort", {"token": None}, 401, "send Authorization: Bearer TOKEN"),
        ("checkout/abort", {"token": "bad"}, 401, "does not know this token"),
        ("checkout/pause", {}, 403, "alice may not pause canaries in namespace shop"),
        ("nothing/abort", {}, 404, "not found"),
        ("checkout/explode", {}, 404, "there is no verb 'explode'"),
        ("checkout/abort", {"body": {"revision": "old"}}, 409, "revision old is not at hand: it is 7f9c"),
        ("cart/abort", {}, 409, "a Canary that is Idle cannot be told to abort"),
        ("checkout/abort", {"body": "{"}, 400, "the body cannot be read"),
        ("checkout/abort", {"body": {"revison": "7f9c"}}, 400, "unknown field `revison`"),
        ("checkout/abort", {"body": {"wait": "long"}}, 400, "the body cannot be read"),
        ("checkout/abort", {"body": "x" * 20_000}, 413, "Too Large"),
    ],
)
async def test_what_cannot_be_said_is_refused_with_the_reason(
    caller: Caller, path: str, options: dict[str, Any], code: int, words: str
) -> None:
    """Nothing is written, and the answer says why and what to do."""
    status, body = await caller.ask("POST", f"{CANARIES}/{path}", **options)
    assert status == code
    assert words in f"{body['message']} {body.get('wayOut', '')}"
    assert caller.shelf.written == []


async def test_an_api_server_that_is_away_lets_nobody_in(caller: Caller) -> None:
    """503: neither a yes from memory of rights nor a fault of ours."""
    await caller.ask("GET", f"{CANARIES}/checkout")
    caller.server.away = True
    status, body = await caller.ask("POST", f"{CANARIES}/checkout/abort")
    assert (status, body["reason"]) == (503, "Unavailable")


async def test_a_token_is_looked_up_once_in_a_while_and_a_right_each_time(caller: Caller, clock: list[float]) -> None:
    """A revoked token works ten seconds longer at most; a right that was taken away is gone at once."""
    for _ in range(3):
        await caller.ask("GET", f"{CANARIES}/checkout")
    assert caller.server.asked.count("tokenreviews") == 1
    assert caller.server.asked.count("subjectaccessreviews") == 3
    caller.server.rights.discard("get")
    assert (await caller.ask("GET", f"{CANARIES}/checkout"))[0] == 403
    caller.server.tokens.clear()
    clock[0] += REMEMBERED
    assert (await caller.ask("GET", f"{CANARIES}/checkout"))[0] == 401


async def test_an_invented_token_is_asked_about_once(caller: Caller) -> None:
    """A flood of one bad token does not reach the API server."""
    for _ in range(5):
        assert (await caller.ask("GET", f"{CANARIES}/checkout", token="bad"))[0] == 401
    assert caller.server.asked == ["tokenreviews"]


async def test_the_kill_switch_leaves_releases_at_rest_alone(caller: Caller) -> None:
    """Only what is under way is aborted."""
    code, body = await caller.ask("POST", "/api/v1/abort")
    assert (code, [i["name"] for i in body["items"]]) == (202, ["checkout"])
    assert [name for name, _ in caller.shelf.written] == ["checkout"]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"flags": ["new"], "reason": " "}, 400, "kill needs a reason"),
        ({"flags": [], "reason": "x"}, 400, "the body cannot be read"),
        ({"reason": "x"}, 400, "missing required field `flags`"),
        ({"flags": ["nwe"], "reason": "x"}, 404, "no release under way moves nwe"),
    ],
)
async def test_a_kill_that_means_no_flag_is_refused(caller: Caller, body: dict[str, Any], code: int, words: str) -> None:
    """Nothing is written, and the answer says what to do."""
    flagged(caller)
    status, answer = await caller.ask("POST", "/api/v1/kill", body=body)
    assert (status, words in f"{answer['message']} {answer.get('wayOut', '')}") == (code, True), answer
    assert caller.shelf.written == []


async def test_flags_are_killed_by_name_or_key_in_every_release_that_moves_them(caller: Caller) -> None:
    """One call for several flags; the reason is kept, and a flag that none moves is listed."""
    flagged(caller)
    body = {"flags": ["new", "pay-key"], "reason": "orders are lost"}
    code, answer = await caller.ask("POST", "/api/v1/namespaces/shop/kill", body=body)
    assert (code, [(i["name"], i["flags"], i["killed"]) for i in answer["items"]]) == (
        202,
        [("checkout", ["new-key"], True), ("pay", ["pay-key"], True)],
    )
    assert sorted(name for name, _ in caller.shelf.written) == ["checkout", "pay"]
    assert all(a["linnet.dev/action"].endswith("why=orders are lost") for _, a in caller.shelf.written)
    assert (await caller.ask("POST", "/api/v1/kill", body=body | {"flags": ["new", "x"]}))[1]["notMoved"] == ["x"]
    caller.server.rights.discard("kill")
    code, answer = await caller.ask("POST", "/api/v1/kill", body=body)
    assert (code, [i["message"] for i in answer["items"]]) == (207, ["alice may not kill it"] * 2)


def flagged(caller: Caller) -> None:
    """checkout moves the flag new, pay the flag pay, and other, under way too, none."""
    caller.server.rights.add("kill")
    for name, flag in (("checkout", "new"), ("pay", "pay"), ("other", "")):
        made = release(name, "Progressing")
        assert made.status.rollout is not None
        flags = [{"name": flag, "key": f"{flag}-key"}] if flag else []
        rollout = msgspec.structs.replace(made.status.rollout, spec={"flags": flags})
        caller.shelf.found[name] = msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, rollout=rollout))


def _issue(authority: trustme.CA, folder: Path) -> None:
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path(folder / "tls.key")
    leaf.cert_chain_pems[0].write_to_path(folder / "tls.crt")


async def test_a_rotated_certificate_is_served_to_new_connections(tmp_path: Path) -> None:
    """No restart; and half a rotation leaves the old one in use."""
    first, second = trustme.CA(), trustme.CA()
    _issue(first, tmp_path)
    certificate = Certificate(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))

    async def reached(authority: trustme.CA, url: str) -> bool:
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        try:
            connector = aiohttp.TCPConnector(ssl=trust)
            async with aiohttp.ClientSession(connector=connector) as session, session.get(url.replace("127.0.0.1", "localhost")):
                return True
        except aiohttp.ClientConnectorCertificateError:
            return False

    api = Api(Shelf(), Reviewer(ApiServer(), lambda: 0.0))  # type: ignore[arg-type]
    async with serve(api.application(), "127.0.0.1:0", certificate.context) as url:
        assert url.startswith("https://")
        assert await reached(first, url)
        (tmp_path / "tls.crt").write_text("half")
        with pytest.raises(TlsError):
            certificate.load()
        assert await reached(first, url)
        _issue(second, tmp_path)
        assert certificate.load()
        assert not certificate.load()
        assert (await reached(second, url), await reached(first, url)) == (True, False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ApiOptions(address="0.0.0.0:8443"), "needs --api-cert and --api-key"),
        (ApiOptions(address="0.0.0.0:8443", cert="a"), "go together"),
        (ApiOptions(address="0.0.0.0:8443", cert="/nowhere", key="/nowhere"), "no certificate with its key in PEM"),
    ],
)
def test_tokens_never_travel_in_clear_beyond_the_loopback(options: ApiOptions, words: str) -> None:
    """Without a usable certificate it is not served."""
    with pytest.raises(TlsError, match=words):
        options.certificate()


@pytest.mark.parametrize("address", [None, "127.0.0.1:8443", "[::1]:8443", "localhost:8443"])
def test_the_loopback_needs_no_certificate(address: str | None) -> None:
    """For a sidecar that ends TLS, and to try it."""
    assert ApiOptions(address=address).certificate() is None
