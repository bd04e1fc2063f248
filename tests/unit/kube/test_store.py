"""Whatever an API server does to its objects, the store ends equal to it, its handlers heard a consistent story, its indexes agree."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from daemon.kube.informer import Informer
from daemon.kube.objects import Deployment, ObjectMeta
from daemon.kube.resources import DEPLOYMENTS
from daemon.kube.store import Store
from tests.unit.kube.server import client_of, event, listing, serving, watching
from tests.unit.kube.virtual import run

NAMES = st.sampled_from("abc")
NAMESPACES = st.sampled_from(["n", "m"])


def item(namespace: str, name: str, uid: int, version: int, color: str = "") -> Deployment:
    meta = ObjectMeta(
        namespace=namespace, name=name, uid=str(uid), resource_version=str(version), labels={"color": color} if color else None
    )
    return Deployment(metadata=meta)


def colors(d: Deployment) -> list[str]:
    return [d.metadata.label("color")] if d.metadata.label("color") else []


class StoreMachine(RuleBasedStateMachine):
    """Puts, drops and replacements against a dict; the listener replays what it hears into a dict of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.store: Store[Deployment] = Store({"color": colors})
        self.model: dict[tuple[str, str], Deployment] = {}
        self.heard: dict[tuple[str, str], Deployment] = {}
        self.version = 0
        self.store.add_handler(self.listen)

    def listen(self, old: Deployment | None, new: Deployment | None) -> None:
        some = new or old
        assert some is not None
        assert self.heard.get(some.key) is old or self.heard.get(some.key) == old
        if old is not None and new is not None:
            assert old.metadata.uid == new.metadata.uid
            assert old.metadata.resource_version != new.metadata.resource_version
        if new is None:
            del self.heard[some.key]
        else:
            self.heard[some.key] = new
            assert new in self.store.by("color", new.metadata.label("color")) or not new.metadata.label("color")

    @rule(namespace=NAMESPACES, name=NAMES, uid=st.integers(1, 2), color=st.sampled_from(["", "red", "blue"]))
    def put(self, namespace: str, name: str, uid: int, color: str) -> None:
        self.version += 1
        new = item(namespace, name, uid, self.version, color)
        self.store.put(new)
        self.model[new.key] = new

    @rule(namespace=NAMESPACES, name=NAMES, age=st.integers(0, 3))
    def hear_late(self, namespace: str, name: str, age: int) -> None:
        """A watch event from before our own write: no news."""
        now = self.model.get((namespace, name))
        if now is not None:
            version = max(1, int(now.metadata.resource_version) - age)
            self.store.put(item(namespace, name, int(now.metadata.uid), version, "red"))

    @rule(namespace=NAMESPACES, name=NAMES)
    def drop(self, namespace: str, name: str) -> None:
        self.store.drop((namespace, name))
        self.model.pop((namespace, name), None)

    @rule(scope=st.one_of(st.none(), NAMESPACES), names=st.sets(st.tuples(NAMESPACES, NAMES)), keep=st.sets(st.tuples(NAMESPACES, NAMES)))
    def replace(self, scope: str | None, names: set[tuple[str, str]], keep: set[tuple[str, str]]) -> None:
        self.version += 1
        listed = [item(ns, n, 1, self.version) for ns, n in names if scope in (None, ns)]
        self.store.replace(listed, namespace=scope, keep=keep)
        self.model = {k: v for k, v in self.model.items() if k in keep or (scope is not None and k[0] != scope)}
        self.model |= {d.key: d for d in listed}

    @invariant()
    def equal(self) -> None:
        assert {d.key: d for d in self.store} == self.model == self.heard
        for color in ("red", "blue"):
            assert {d.key for d in self.store.by("color", color)} == {k for k, d in self.model.items() if colors(d) == [color]}
        assert self.store.index_keys("color") == {c for d in self.model.values() for c in colors(d)}


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=30)


class History:
    """An API server whose objects change by script, and whose connections break by script."""

    def __init__(self, steps: list[tuple[str, str]]) -> None:
        self.steps = list(steps)
        self.version = 10
        self.objects: dict[str, dict[str, Any]] = {}

    def change(self, name: str, what: str) -> bytes | None:
        self.version += 1
        meta = {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(self.version)}
        if what == "delete":
            found = self.objects.pop(name, None)
            return event("DELETED", found | {"metadata": meta}) if found else None
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.objects[name] = {"kind": "Deployment", "metadata": meta, "spec": {"replicas": self.version}}
        return event(kind, self.objects[name])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            return listing(self.version, *self.objects.values())
        if int(request.query["resourceVersion"]) != self.version:
            return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
        reply = await watching(request)
        while self.steps:
            what, name = self.steps.pop(0)
            match what:
                case "silent":  # the event is lost: a change while nobody watched
                    self.change(name, "put")
                    self.change("z", "delete")
                    return reply
                case "410":
                    await reply.write(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
                    return reply
                case "cut":
                    line = self.change(name, "put") or b""
                    await reply.write(line[: len(line) // 2])
                    return reply
                case "junk":
                    await reply.write(json.dumps({"no": "event"}).encode() + b"\n")
                    return reply
                case _:
                    await reply.write(self.change(name, what) or b"\n")
        await asyncio.Event().wait()
        return reply


STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "delete", "silent", "410", "cut", "junk"]), st.sampled_from("abz")), max_size=12)


@settings(max_examples=30)
@given(steps=STEPS)
def test_after_any_history_the_store_equals_the_server(steps: list[tuple[str, str]]) -> None:
    """Lost events, expiries, cuts and junk in any order: in the end the cache is right and so is what its listeners believe."""

    async def main() -> None:
        async with serving() as server:
            history = History(steps)
            server.handler = history.handle
            async with client_of(server) as client:
                informer = Informer(client, DEPLOYMENTS, rng=lambda: 0.5)
                heard: dict[str, int] = {}

                def listen(old: Deployment | None, new: Deployment | None) -> None:
                    if new is None:
                        assert old is not None
                        del heard[old.name]
                    else:
                        assert (new.name in heard) == (old is not None)
                        heard[new.name] = new.spec.replicas or 0

                informer.store.add_handler(listen)
                task = asyncio.create_task(informer.run())
                await asyncio.sleep(600)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert not history.steps
                want = {name: o["spec"]["replicas"] for name, o in history.objects.items()}
                assert {d.name: d.spec.replicas for d in informer.store} == want == heard

    run(main())


def test_a_broken_handler_or_index_costs_nobody_else_anything(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged with the object's name and the others hear the news."""

    def explode(_: Any, __: Any = None) -> list[str]:
        raise RuntimeError("boom")

    store: Store[Deployment] = Store({"bad": explode, "color": colors})
    heard: list[str] = []
    store.add_handler(explode)  # type: ignore[arg-type]
    stop = store.add_handler(lambda old, new: heard.append((new or item("", "", 0, 0)).name))
    store.put(item("n", "a", 1, 1, "red"))
    assert heard == ["a"]
    assert [d.name for d in store.by("color", "red")] == ["a"]
    assert store.by("bad", "x") == ()
    assert "boom" in caplog.text
    stop()
    store.put(item("n", "b", 1, 2))
    assert heard == ["a"]


def test_what_was_before_our_own_write_does_not_come_back() -> None:
    """The answer to a write is stored at once; events from before it are ignored, by number, for the same object only."""
    store: Store[Deployment] = Store({"color": colors})
    heard: list[str] = []
    store.add_handler(lambda old, new: heard.append(new.metadata.resource_version if new else "gone"))
    for uid, version in ((1, 9), (1, 11), (1, 9), (1, 10), (1, 11)):
        store.put(item("n", "a", uid, version))
    assert heard == ["9", "11"]
    store.replace([item("n", "a", 1, 10)])
    assert heard == ["9", "11"]
    store.put(item("n", "a", 2, 5))
    assert heard == ["9", "11", "gone", "5"], "another object of the name has a history of its own"


def test_a_late_handler_hears_what_is_there() -> None:
    """Replay tells a new listener of every object, so that the order of wiring does not matter."""
    store: Store[Deployment] = Store()
    store.put(item("n", "a", 1, 1))
    heard: list[str] = []
    store.add_handler(lambda old, new: heard.append(new.name if new else ""))
    store.add_handler(lambda old, new: heard.append("never"), replay=False)
    assert heard == ["a"]
