"""Kinds that are described and not brought: each field of the description changes what is moved, or when it counts as taken."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daemon.api.routers import CustomRouter, RouteReady
from daemon.traffic.dialect import share, splits_of, weigh
from daemon.traffic.generic import dialect_of
from daemon.traffic.router import RouteObject, Scope

ROUTER = CustomRouter(
    kind="Split",
    group="mesh.test",
    version="v1",
    resource="splits",
    backends=["spec/rules/*/to"],
    service="ref/name",
    weight="share",
    port="ref/port",
    unset=0,
    ready=RouteReady(path="status/state", value="Ready", generation="status/seen"),
    settle="7s",
)
SCOPE = Scope(namespace="shop", name="web", stable="web", canary="web-canary", kind="Split", custom=ROUTER, port=80)
REF = {"name": "web", "port": 80}
SPEC = {"rules": [{"to": [{"ref": REF, "share": 1}]}], "else": {"to": [{"ref": REF, "share": 1}]}}
STATUS = {"state": "Ready", "word": "Ready", "seen": 2, "old": 1}


def seen(router: CustomRouter, spec: Any = SPEC) -> Any:
    """All that a description decides of one object."""
    raw = {"metadata": {"name": "web", "namespace": "shop", "generation": 2}, "spec": spec, "status": STATUS}
    route = msgspec.convert(msgspec.json.decode(msgspec.json.encode(raw)), dict)
    item = msgspec.json.decode(msgspec.json.encode(route), type=RouteObject)
    dialect = dialect_of(router)
    splits = splits_of(dialect, item, SCOPE)
    return (
        (dialect.resource.api_version, dialect.resource.plural, dialect.kind),
        dialect.settle,
        dialect.accepted(item) if dialect.accepted else None,
        [(s.path, share(dialect, s), weigh(dialect, s, SCOPE, 20)) for s in splits],
    )


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Other"},
        {"group": "other.test"},
        {"version": "v2"},
        {"resource": "others"},
        {"backends": ["spec/else/to"]},
        {"service": "name"},
        {"weight": "weight"},
        {"port": "port"},
        {"unset": 3},
        {"ready": {"path": "status/other", "value": "Ready", "generation": "status/seen"}},
        {"ready": {"path": "status/state", "value": "Accepted", "generation": "status/seen"}},
        {"ready": {"path": "status/state", "value": "Ready", "generation": "status/old"}},
        {"ready": None},
        {"settle": "8s"},
    ],
    ids=str,
)
def test_each_field_of_a_description_changes_what_is_moved(change: dict[str, Any]) -> None:
    """One at a time, on an object where both would find something else."""
    wire = {key: value for key, value in (msgspec.to_builtins(ROUTER) | change).items() if value is not None}
    both = {"rules": [{"to": [{"ref": REF}, {"ref": {"name": "web-canary", "port": 80}, "share": 1}]}], "else": SPEC["else"]}
    assert seen(msgspec.convert(wire, CustomRouter), both) != seen(ROUTER, both)


def test_what_is_left_out_is_what_most_kinds_write() -> None:
    """`name`, `weight` and `port` in the backend; 5 s where nothing is reported."""
    bare = CustomRouter(kind="Split", group="mesh.test", version="v1", resource="splits", backends=["spec/to"])
    _, settle, accepted, [(path, at_present, operations)] = seen(bare, {"to": [{"name": "web", "port": 80}]})
    assert (settle, accepted, path, at_present) == (5.0, None, "/spec/to", 0)
    assert [(o.op, o.path, o.value) for o in operations] == [
        ("test", "/spec/to/0/name", "web"),
        ("add", "/spec/to/0/weight", 80),
        ("add", "/spec/to/-", {"name": "web-canary", "port": 80, "weight": 20}),
    ]


def test_a_service_may_be_written_as_a_host() -> None:
    """The domain stays; another Service's host, or another namespace's, is none of ours."""
    bare = CustomRouter(kind="Split", group="mesh.test", version="v1", resource="splits", backends=["spec/to"], service="host")
    scope = msgspec.structs.replace(SCOPE, port=None)
    for host in ("web.shop", "web.shop.svc", "web.shop.svc.cluster.local"):
        item = msgspec.json.decode(msgspec.json.encode({"spec": {"to": [{"host": host}]}}), type=RouteObject)
        [split] = splits_of(dialect_of(bare), item, scope)
        assert weigh(dialect_of(bare), split, scope, 5)[-1].value["host"] == host.replace("web", "web-canary")
    for host in ("web2.shop.svc", "web.other.svc", "web.example.com", "web.shopping"):
        item = msgspec.json.decode(msgspec.json.encode({"spec": {"to": [{"host": host}]}}), type=RouteObject)
        assert splits_of(dialect_of(bare), item, scope) == []
