"""Watches: where they begin, what they tell, when they expire and end."""

from __future__ import annotations

import pytest

from tests.conformance.client import Api
from tests.conformance.objects import configmap, pod

MINE = "set=mine"


def _mine(name: str, **labels: str) -> dict[str, object]:
    return configmap(name, labels={"set": "mine", **labels})


async def test_a_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    """ADDED for each object, then what happens."""
    for name in ("a", "b"):
        (await api.create("configmaps", _mine(name))).must(201)
    async with api.watch("configmaps", labelSelector=MINE) as watch:
        assert sorted(await watch.names(2)) == [("ADDED", "a"), ("ADDED", "b")]
        (await api.create("configmaps", _mine("c"))).must(201)
        assert await watch.names(1) == [("ADDED", "c")]


async def test_a_watch_from_a_version_tells_what_came_after(api: Api) -> None:
    """Created, changed, deleted: in order, and nothing from before."""
    (await api.create("configmaps", _mine("before"))).must(201)
    version = (await api.list("configmaps")).must(200)["metadata"]["resourceVersion"]
    (await api.create("configmaps", _mine("a"))).must(201)
    changed = (await api.patch("configmaps", "a", "merge", {"data": {"x": "y"}})).must(200)
    (await api.delete("configmaps", "a")).must(200)
    async with api.watch("configmaps", labelSelector=MINE, resourceVersion=version) as watch:
        events = [await watch.next() for _ in range(3)]
    assert [kind for kind, _ in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert events[1][1]["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
    assert events[1][1]["kind"] == "ConfigMap"
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in events]
    assert versions == sorted(set(versions))
    assert events[2][1]["data"] == {"x": "y"}


async def test_an_object_that_begins_to_match_is_added(api: Api) -> None:
    """And one that ceases to match is deleted, for this watch."""
    version = (await api.create("configmaps", _mine("a"))).must(201)["metadata"]["resourceVersion"]
    async with api.watch("configmaps", labelSelector="x=y", resourceVersion=version) as watch:
        (await api.patch("configmaps", "a", "merge", {"metadata": {"labels": {"x": "y"}}})).must(200)
        (await api.patch("configmaps", "a", "merge", {"data": {"k": "v"}})).must(200)
        (await api.patch("configmaps", "a", "merge", {"metadata": {"labels": {"x": None}}})).must(200)
        (await api.patch("configmaps", "a", "merge", {"data": {"k": "w"}})).must(200)
        (await api.patch("configmaps", "a", "merge", {"metadata": {"labels": {"x": "y"}}})).must(200)
        assert await watch.names(4) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "a")]


async def test_a_watch_by_name(api: Api) -> None:
    """A field selector on metadata.name."""
    version = (await api.create("configmaps", _mine("a"))).must(201)["metadata"]["resourceVersion"]
    async with api.watch("configmaps", fieldSelector="metadata.name=b", resourceVersion=version) as watch:
        (await api.patch("configmaps", "a", "merge", {"data": {"k": "v"}})).must(200)
        (await api.create("configmaps", _mine("b"))).must(201)
        assert await watch.names(1) == [("ADDED", "b")]


async def test_a_watch_of_pods_by_node(api: Api) -> None:
    """As a node asks for its own."""
    version = (await api.create("pods", pod("other", schedulingGates=[{"name": "example.com/wait"}]))).must(201)["metadata"][
        "resourceVersion"
    ]
    async with api.watch("pods", fieldSelector="spec.nodeName=here", resourceVersion=version) as watch:
        (await api.create("pods", pod("a", nodeName="here"))).must(201)
        assert await watch.names(1) == [("ADDED", "a")]


async def test_a_streaming_list_ends_with_its_bookmark(api: Api) -> None:
    """`sendInitialEvents`: ADDED for each object, a bookmark that says so, then what happens."""
    for name in ("a", "b"):
        (await api.create("configmaps", _mine(name))).must(201)
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true", "labelSelector": MINE}
    async with api.watch("configmaps", **query) as watch:
        assert sorted(await watch.names(2)) == [("ADDED", "a"), ("ADDED", "b")]
        kind, bookmark = await watch.next()
        assert (kind, bookmark["kind"]) == ("BOOKMARK", "ConfigMap")
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(bookmark["metadata"]["resourceVersion"]) > 0
        (await api.create("configmaps", _mine("c"))).must(201)
        assert await watch.names(1) == [("ADDED", "c")]


async def test_a_streaming_list_resumes_from_its_bookmark(api: Api) -> None:
    """Its version is where the next watch begins."""
    (await api.create("configmaps", _mine("a"))).must(201)
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true", "labelSelector": MINE}
    async with api.watch("configmaps", **query) as watch:
        await watch.next()
        version = (await watch.next())[1]["metadata"]["resourceVersion"]
    (await api.create("configmaps", _mine("b"))).must(201)
    async with api.watch("configmaps", labelSelector=MINE, resourceVersion=version) as watch:
        assert await watch.names(1) == [("ADDED", "b")]


@pytest.mark.parametrize(
    "query", [{"sendInitialEvents": "true"}, {"resourceVersionMatch": "NotOlderThan"}], ids=["no-match", "match-alone"]
)
async def test_a_streaming_list_must_say_what_it_means(api: Api, query: dict[str, str]) -> None:
    """422: both parameters or neither."""
    answer = await api.list("configmaps", watch="1", allowWatchBookmarks="true", timeoutSeconds="1", **query)
    assert (answer.status, answer.fields) == (422, ["resourceVersionMatch"])


async def test_a_version_that_is_too_old_has_expired(widgets: Api) -> None:
    """An ERROR event with 410 Expired; the client has to list again. Of a kind that came later: its history begins after version 1."""
    async with widgets.watch("widgets", resourceVersion=1) as watch:
        kind, status = await watch.next()
        assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        assert status["message"].startswith("too old resource version: 1")
        assert await watch.ended()


async def test_a_watch_ends_after_its_time(api: Api) -> None:
    """`timeoutSeconds`."""
    version = (await api.list("configmaps")).must(200)["metadata"]["resourceVersion"]
    async with api.watch("configmaps", resourceVersion=version, timeoutSeconds=1, labelSelector=MINE) as watch:
        assert await watch.ended()


async def test_a_watch_may_be_of_metadata_alone(widgets: Api) -> None:
    """Of custom resources too."""
    from tests.conformance.objects import widget

    version = (await widgets.create("widgets", widget("a"))).must(201)["metadata"]["resourceVersion"]
    async with widgets.watch("widgets", resourceVersion=version) as watch:
        (await widgets.patch("widgets", "a", "merge", {"spec": {"size": 6}})).must(200)
        kind, obj = await watch.next()
        assert (kind, obj["kind"], obj["spec"]["size"]) == ("MODIFIED", "Widget", 6)


async def test_a_write_that_changes_nothing_is_no_event(api: Api) -> None:
    """The next event is the next change."""
    created = (await api.create("configmaps", _mine("a"))).must(201)
    async with api.watch("configmaps", labelSelector=MINE, resourceVersion=created["metadata"]["resourceVersion"]) as watch:
        (await api.put("configmaps", created)).must(200)
        (await api.patch("configmaps", "a", "merge", {"data": {"x": "y"}})).must(200)
        assert (await watch.next())[1]["data"] == {"x": "y"}
