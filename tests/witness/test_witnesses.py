"""The witnesses see what they are for: refusals, order, and stories that differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.witness.audit import Audit
from tests.witness.exposure import Exposure
from tests.witness.requests import compare


def line(
    second: int,
    verb: str,
    resource: str,
    name: str = "",
    *,
    user: str = "linnet",
    code: int = 200,
    stage: str = "ResponseComplete",
    **more: Any,
) -> str:
    stamp = f"2026-01-01T00:00:{second:02}.000000Z"
    ref = {"resource": resource, "namespace": "shop", "name": name, **more.pop("ref", {})}
    event = {
        "stage": stage,
        "requestURI": "/x",
        "verb": verb,
        "user": {"username": user},
        "objectRef": ref,
        "responseStatus": {"code": code},
        **more,
    }
    return json.dumps({**event, "requestReceivedTimestamp": stamp, "stageTimestamp": stamp})


def audit(folder: Path, *lines: str) -> Audit:
    path = folder / "audit.log"
    path.write_text("".join(f"{one}\n" for one in lines) + '{"half a li')
    return Audit.read(path)


def test_the_audit_witness_orders_writes_and_tells_users_apart(tmp_path: Path) -> None:
    """Events come by time of arrival, whatever their order in the file; a line still being written is left out."""
    seen = audit(
        tmp_path,
        line(3, "patch", "httproutes", "web"),
        line(1, "create", "deployments", responseObject={"metadata": {"name": "web-canary"}}),
        line(2, "get", "pods", "p"),
        line(2, "patch", "deployments", "web", user="alice"),
        line(4, "patch", "deployments", "web", code=409, ref={"subresource": "scale"}),
    )
    assert seen.by("linnet").writes().order() == ["create deployments shop/web-canary", "patch httproutes shop/web"]
    assert seen.by("ali*").order() == ["patch deployments shop/web"]
    assert seen.counts()["patch", "deployments/scale"] == 1
    assert [one.name for one in seen.reads()] == ["p"]
    assert seen.granted() == {("create", "", "deployments"), ("get", "", "pods"), ("patch", "", "deployments"), ("patch", "", "httproutes")}


def test_the_audit_witness_counts_a_watch_once_and_finds_refusals(tmp_path: Path) -> None:
    """A watch is one request although the log shows its opening and its end."""
    opened = line(1, "watch", "pods", stage="ResponseStarted")
    seen = audit(tmp_path, opened, line(1, "watch", "pods"), line(2, "list", "secrets", code=403))
    assert seen.counts() == {("watch", "pods"): 1, ("list", "secrets"): 1}
    assert seen.forbidden().order() == ["list secrets shop/"]
    assert len(seen.between(seen[1].time)) == 1


def test_the_request_witness_finds_each_kind_of_disagreement() -> None:
    """Lost answers, repeated requests, altered statuses and answers out of nowhere are told apart."""

    def client(identity: str, outcome: str = "200", pod: str | None = "p1") -> dict[str, Any]:
        return {"id": identity, "outcome": outcome, "pod": pod}

    def app(identity: str, status: int = 200, pod: str = "p1") -> dict[str, Any]:
        return {"id": identity, "status": status, "pod": pod}

    sent = [
        client("same"),
        client("lost", "502", None),
        client("refused", "502", None),
        client("ghost"),
        client("altered", "500"),
        client("twice"),
    ]
    served = [app("same"), app("lost"), app("altered"), app("twice"), app("twice"), app("probe")]
    found = compare(sent, served)
    assert found.agreed == 2
    assert [one["id"] for one in found.unseen_by_client] == ["lost"]
    assert [one["id"] for one in found.unseen_by_app] == ["ghost"]
    assert [one["id"] for one, _ in found.different] == ["altered"]
    assert found.repeated == ["twice"]
    assert not found.whole
    assert compare(sent[:1], served[:1]).whole


def test_a_flag_that_is_lost_shows_in_the_app_s_own_log() -> None:
    """By pod for what SDKs learn at their own times, by user for who should not have it, by time for what should have ended."""

    def answer(at: int, user: str, pod: str, track: str, *, flag: bool) -> dict[str, Any]:
        return {"time": at, "user": user, "pod": pod, "track": track, "flag": flag}

    fine = [answer(1, "in", "c", "canary", flag=True), answer(2, "in", "s", "", flag=False), answer(3, "in", "s", "", flag=True)]
    seen = Exposure([*fine, answer(3, "out", "s", "", flag=False)], reached=lambda user: user == "in")
    assert (seen.users_reached, seen.lost(), seen.without_flag(since=3), seen.unreached_with_flag()) == (1, [], [], [])
    assert not seen.with_flag_outside("canary", before=3)
    late = answer(4, "in", "s", "", flag=False)
    worse = Exposure([late, *fine, answer(4, "out", "s", "", flag=True)], reached=lambda user: user == "in")
    assert (worse.lost(), worse.without_flag(since=3)) == ([late], [late])
    assert [r["user"] for r in worse.unreached_with_flag()] == ["out"]
    assert len(worse.with_flag_outside("canary", before=4)) == 1
