"""Flag services of one's own, from a FlagSource object as people write it to what the service is asked."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from daemon.api.sources import SecretRef
from daemon.api.validation import lint
from daemon.control import objects as ours
from daemon.control.flagsources import FlagSources
from daemon.control.http import Http
from daemon.control.secrets import SecretMissing
from flags.errors import FlagError
from flags.model import Cohort, Constraint, Desired, FlagRef, Gate, Owner
from flags.provider import FlagProvider
from tests.serving import serving
from tests.unit.control.cluster import SHOP
from tests.unit.control.world import linnet

FLAG = FlagRef(key="new", source="default")
OWNER = Owner(cluster="prod", namespace="shop", name="web", uid="uid-1")
BETA = Cohort(name="beta", percent=100, constraints=(Constraint(attribute="plan", values=("beta",)),))


class Recorder:
    """Takes whatever is written under any path, gives back what was written last, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.document: dict[str, Any] = {"p": 0, "p2": 1, "by": "", "by2": "", "v": 1, "v2": 2, "on": True, "off": False, "who": "bob"}

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {
            name: value for name, value in request.headers.items() if name in ("Authorization", "X-Team", "If-Match", "Content-Type")
        }
        self.asked.append((request.method, request.path_qs, headers, json.loads(body) if body else None))
        if body and "instructions" not in json.loads(body):
            self.document.update(json.loads(body))
        return web.json_response(self.document, headers={"ETag": '"7"'})


class Secrets:
    """Secrets of the namespace."""

    async def read(self, namespace: str, ref: SecretRef) -> str:
        if namespace != SHOP:
            raise SecretMissing(namespace)
        return f"{ref.name}.{ref.key}"


@pytest.fixture
async def service() -> AsyncIterator[tuple[Recorder, str]]:
    recorder = Recorder()
    async with serving(recorder.answer) as url:
        yield recorder, url


BODY = '{"p": "{{percent}}", "by": "{{owner}}", "g": "{{gate}}", "c": "{{cohorts}}", "r": "{{revision}}"}'
SPEC: dict[str, Any] = {
    "url": "/api",
    "auth": {"bearerSecretRef": {"name": "flags", "key": "token"}},
    "headers": {"X-Team": "shop"},
    "read": {"path": "/flags/{{flag}}", "percent": "/p", "owner": "/by", "gate": "/g", "cohorts": "/c", "enabled": "/on", "revision": "/v"},
    "set": {"path": "/flags/{{flag}}", "body": BODY},
    "zero": {"path": "/flags/{{flag}}", "body": '{"p": 0}', "method": "POST"},
    "conditional": "Revision",
    "settle": "0s",
}
BASIC = {"usernameSecretRef": {"name": "a", "key": "b"}, "passwordSecretRef": {"name": "c", "key": "d"}}


async def observed(base: str, recorder: Recorder, spec: dict[str, Any]) -> Any:
    """Everything that is asked and answered in a short life of a flag."""
    recorder.__init__()  # type: ignore[misc]
    return await asked(recorder, {"type": "HTTP", "http": {**spec, "url": base + spec["url"]}})


async def asked(recorder: Recorder, spec: dict[str, Any]) -> Any:
    raw = linnet("FlagSource", "default", spec)
    assert lint(raw) == []
    source = msgspec.convert(raw, ours.FlagSource)
    http = Http()
    try:
        provider = await FlagSources(None, http, Secrets()).provider(source, OWNER)  # type: ignore[arg-type]
        return [
            await _said(provider),
            [(method, path, tuple(headers.items()), str(body)) for method, path, headers, body in recorder.asked],
        ]
    finally:
        await http.close()


async def _said(provider: FlagProvider) -> list[str]:
    desired = Desired(percent=5, gate=Gate(), cohorts=(BETA,))
    calls = (
        lambda: provider.read(FLAG),
        lambda: provider.apply(FLAG, desired, None),
        lambda: provider.read(FLAG),
        lambda: provider.verify(FLAG, desired, 4e9),
        lambda: provider.verify(FLAG, Desired(percent=70), 4e9),
        lambda: provider.zero(FLAG),
        lambda: provider.apply(FLAG, desired, Desired(percent=70)),
    )
    said = []
    for call in calls:
        try:
            found: Any = await call()
            said.append(str(msgspec.structs.replace(found, at=0.0) if hasattr(found, "at") else found))
        except FlagError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("url", "/other"),
        ("auth.bearerSecretRef.name", "others"),
        ("auth.bearerSecretRef.key", "other"),
        ("auth", {"basic": BASIC}),
        ("auth", {"basic": {**BASIC, "usernameSecretRef": {"name": "x", "key": "b"}}}),
        ("auth", {"basic": {**BASIC, "usernameSecretRef": {"name": "a", "key": "x"}}}),
        ("auth", {"basic": {**BASIC, "passwordSecretRef": {"name": "x", "key": "d"}}}),
        ("auth", {"basic": {**BASIC, "passwordSecretRef": {"name": "c", "key": "x"}}}),
        ("headers.X-Team", "another"),
        ("read.path", "/toggles/{{flag}}"),
        ("read.percent", "/p2"),
        ("read.owner", "/by2"),
        ("read.gate", "/who"),
        ("read.cohorts", "/none"),
        ("read.enabled", "/off"),
        ("read.revision", "/v2"),
        ("read.changedBy", "/who"),
        ("set.path", "/toggles/{{flag}}"),
        ("set.body", BODY.replace('"r"', '"rev"')),
        ("set.method", "PATCH"),
        ("zero.path", "/off/{{flag}}"),
        ("zero.body", '{"p": 0, "why": "{{flag}}"}'),
        ("zero.method", "PUT"),
        ("conditional", "ETag"),
        ("settle", "1h"),
    ],
)
async def test_each_field_of_an_http_source_changes_what_is_observed(service: tuple[Recorder, str], path: str, value: Any) -> None:
    """Alone, and on the wire or in what is said of the flag."""
    recorder, base = service
    changed = copy.deepcopy(SPEC)
    *parents, last = path.split(".")
    place = changed
    for name in parents:
        place = place[name]
    place[last] = value
    assert await observed(base, recorder, SPEC) != await observed(base, recorder, changed)


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"body": '{"p": {{percent}}}'}, "spec.http.set.body", "it is no JSON"),
        ({"body": '{"p": "{{share}}", "by": "{{owner}}"}'}, "spec.http.set.body", "nothing of that name is filled in"),
        ({"path": "/flags"}, "spec.http.set.path", "no {{flag}} says which flag is meant"),
    ],
)
def test_a_template_is_weighed_where_it_is_written(change: dict[str, str], field: str, says: str) -> None:
    """`linnet check` says it before the object is applied."""
    raw = linnet("FlagSource", "default", {"type": "HTTP", "http": {**SPEC, "url": "http://flags", "set": {**SPEC["set"], **change}}})
    [found] = lint(raw)
    assert (found.path, says in found.message) == (field, True)


DARKLY: dict[str, Any] = {
    "url": "",
    "tokenSecretRef": {"name": "ld", "key": "token"},
    "project": "shop",
    "environment": "production",
    "contextKind": "user",
    "settle": "0s",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("url", "/eu"),
        ("tokenSecretRef.name", "others"),
        ("tokenSecretRef.key", "other"),
        ("project", "another"),
        ("environment", "test"),
        ("contextKind", "account"),
        ("settle", "1h"),
    ],
)
async def test_each_field_of_a_launchdarkly_source_changes_what_is_observed(service: tuple[Recorder, str], path: str, value: Any) -> None:
    """Alone, on the wire or in what is said of the flag, which here is as the first write leaves it."""
    recorder, base = service
    changed = copy.deepcopy(DARKLY)
    place = changed
    *parents, last = path.split(".")
    for name in parents:
        place = place[name]
    place[last] = value
    outcomes = []
    for spec in (DARKLY, changed):
        recorder.__init__()  # type: ignore[misc]
        recorder.document = _darkly(OWNER)
        outcomes.append(await asked(recorder, {"type": "LaunchDarkly", "launchDarkly": {**spec, "url": base + spec["url"]}}))
    assert outcomes[0] != outcomes[1]


def _darkly(owner: Owner) -> dict[str, Any]:
    """A flag in two environments, driven by this owner at 70 %."""
    signature = {"contextKind": "user", "attribute": "key", "op": "in", "negate": True, "values": [f"linnet {owner.mark()}#all"]}
    named = {"contextKind": "user", "attribute": "anonymous", "op": "in", "negate": True, "values": [True]}
    weights = [{"variation": 0, "weight": 70_000}, {"variation": 1, "weight": 30_000}]
    rule = {"_id": "r", "clauses": [signature, named], "rollout": {"variations": weights}}
    config = {"on": True, "rules": [rule], "fallthrough": {"variation": 1}}
    variations = [{"_id": "t", "value": True}, {"_id": "f", "value": False}]
    return {"key": "new", "_version": 1, "variations": variations, "environments": {"production": config, "test": {**config, "on": False}}}
