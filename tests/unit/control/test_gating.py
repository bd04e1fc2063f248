"""Gates asked by the whole daemon: signed requests to a receiver, Jobs, and what their answers do to a release."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.serving import serving
from tests.unit.control.cluster import ROOT, Object
from tests.unit.control.test_jobs import ends, job, jobs, open_shop, prepared, template
from tests.unit.control.world import STEPS, World
from tests.unit.control.world import canary as a_canary

KEY = "a signing key"
POD = {"template": {"spec": {"containers": [{"name": "migrate", "image": "migrate:1"}]}}}


def recipe() -> Callable[[str, dict[str, str], bytes], bool]:
    """The check that the page tells receivers to make, as it stands there."""
    text = (ROOT / "docs/how-to/gates.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    check: Callable[[str, dict[str, str], bytes], bool] = names["is_from_linnet"]
    return check


class Receiver:
    """Answers what a test says, and only to Linnet."""

    def __init__(self) -> None:
        self.status, self.text = 403, "not before the demo"
        self.asked: list[Object] = []
        self.check = recipe()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/hang":
            await asyncio.Event().wait()
        body = await request.read()
        headers = dict(request.headers)
        assert self.check(KEY, headers, body)
        assert not self.check("another key", headers, body)
        assert not self.check(KEY, headers, body + b" ")
        assert not self.check(KEY, headers | {"Linnet-Timestamp": str(int(headers["Linnet-Timestamp"]) - 1)}, body)
        self.asked.append(json.loads(body))
        return web.Response(status=self.status, text=self.text)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    async with serving(found.handle) as found.url:
        yield found


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("daemon.control.gating.EVERY", 0.1)
    found = prepared(tmp_path)
    async with found.running(), found.linnet(jobs=True, allow_addresses=("127.0.0.0/8",)):
        found.secret("gates", key=KEY)
        yield found


def hook(receiver: Receiver, **more: Any) -> Object:
    return {"url": f"{receiver.url}/x", "signingKeySecretRef": {"name": "gates", "key": "key"}, **more}


def judged(*gates: Object, **spec: Any) -> Object:
    """A Canary that one Job judges, with these gates."""
    return a_canary(analysis={"judge": "TemplatesOnly", "templates": [{"name": "smoke"}]}, gates=list(gates), **spec)


async def proven(world: World) -> None:
    """The Job of the template succeeds."""
    made = await world.until(lambda: [j for j in jobs(world) if "background" in str(j["metadata"]["annotations"])], "the template's Job")
    ends(world, made[0])


async def test_a_step_waits_for_its_receiver_and_goes_on_when_that_agrees(world: World, receiver: Receiver) -> None:
    """Closed with its text in the status; open, and on with it. Each request is signed as the page says."""
    gate = {"timeout": "1h", "webhook": hook(receiver, metadata={"team": "shop"})}
    await open_shop(world, template(), judged(steps=[STEPS[0], {"name": "qa", "gate": gate}, STEPS[1]]))
    world.release("app:v2")
    await proven(world)
    await world.until(lambda: "keeps it closed: not before the demo" in str(world.status().get("waiting")), "it says why it waits")
    assert world.share() == 20
    receiver.status, receiver.text = 200, "fine"
    assert "gate step 2 is open" in await world.told_any("is open")
    await world.told("Promoted")
    first = receiver.asked[0]
    assert (first["name"], first["namespace"], first["gate"], first["weight"]) == ("web", "shop", "step 2", 20)
    assert (first["metadata"], first["checksum"]) == ({"team": "shop"}, first["revision"])


async def test_a_receiver_may_end_a_release(world: World, receiver: Receiver) -> None:
    """Asked as long as the release lasts; only a 2xx ends it, with its text in the sentence."""
    receiver.status = 500
    steps = [{"weight": 20, "dwell": {"minDuration": "1h"}}]
    await open_shop(world, template(), judged({"name": "brake", "at": "Rollback", "webhook": hook(receiver)}, steps=steps))
    world.release("app:v2")
    await world.weighs(20)
    receiver.status, receiver.text = 200, "orders are falling"
    told = await world.told("RolledBack")
    assert "gate brake" in told
    assert "orders are falling" in told


async def test_no_canary_pod_is_there_before_the_migration_has_ended(world: World) -> None:
    """A Job at Start; its failure ends the release before it began."""
    marks = {"labels": {"team": "shop"}, "annotations": {"why": "schema"}}
    gate = {"name": "migrate", "at": "Start", "timeout": "1h", "job": {"spec": POD, "metadata": marks}}
    await open_shop(world, template(), judged(gate))
    world.release("app:v2")
    made = await job(world)
    await world.until(lambda: f"Job {made['metadata']['name']} runs" in str(world.status().get("waiting")), "it says what it waits for")
    assert marks["labels"].items() <= made["metadata"]["labels"].items()
    assert marks["annotations"].items() <= made["metadata"]["annotations"].items()
    assert not [d for d in world.list("deployments.apps") if "canary" in d["metadata"]["name"]]
    ends(world, made)
    await proven(world)
    await world.told("Promoted")
    assert [g["state"] for event, kind, o in world.history if kind == "canaries.linnet.dev" for g in (o.get("status", {}).get("rollout") or {}).get("gates", [])][-1] == "Open"  # fmt: skip
    world.release("app:v3")
    second = await world.until(lambda: [j for j in jobs(world) if "gate/migrate" in str(j["metadata"]) and j["metadata"]["name"] != made["metadata"]["name"]], "another Job")  # fmt: skip
    ends(world, second[0], "Failed", reason="BackoffLimitExceeded", code=1, said="no such table")
    assert "no such table" in await world.told("RolledBack")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"url": "http://169.254.169.254/latest"}, "may not be asked"),
        ({"signingKeySecretRef": {"name": "none", "key": "key"}}, "Secret shop/none does not exist"),
        ({"url": "http://127.0.0.1:9"}, "cannot be asked"),
        ({}, "answered with HTTP 302"),
        ({"url": "hang", "timeoutSeconds": 1}, "did not answer within 1 s"),
    ],
)
async def test_what_is_no_answer_is_said_and_rolls_back_in_time(world: World, receiver: Receiver, spoil: Object, says: str) -> None:
    """Neither an open gate nor a closed one; at its timeout the owner's answer counts."""
    receiver.status = 302
    asked = hook(receiver) | spoil
    asked["url"] = asked["url"] if asked["url"] != "hang" else f"{receiver.url}/hang"
    gate = {"name": "qa", "at": "FirstStep", "timeout": "2s", "webhook": asked}
    await open_shop(world, template(), judged(gate))
    world.release("app:v2")
    told = await world.told("RolledBack")
    assert says in told
    assert world.share() in (None, 0)


async def test_a_job_that_says_neither_is_asked_again(world: World) -> None:
    """Another Job, until one opens the gate or its time is over."""
    gate = {"name": "ready", "at": "FirstStep", "timeout": "1h", "job": {"spec": POD, "inconclusiveExitCodes": [75]}}
    await open_shop(world, template(), judged(gate))
    world.release("app:v2")
    first = await job(world)
    ends(world, first, "Failed", reason="BackoffLimitExceeded", code=75, said="no orders yet")
    second = await world.until(lambda: [j for j in jobs(world) if j["metadata"]["name"] != first["metadata"]["name"]], "another Job")
    ends(world, second[0])
    assert "gate ready is open" in await world.told_any("is open")
