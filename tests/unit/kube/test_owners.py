"""Giving fields back to their owners (trap A0), against a server with real optimistic locking."""

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from daemon.kube import errors, owners
from daemon.kube.objects import ObjectMeta
from daemon.kube.resources import DEPLOYMENTS
from tests.unit.kube.server import Server, client_of, deployment, serving, status
from tests.unit.kube.virtual import run

IMAGE: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {"f:image": {}}}}}}}
HELM_FIELDS: dict[str, Any] = {"f:spec": {"f:replicas": {}, **IMAGE["f:spec"]}}
HELM_TAKEN: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
PAUSED: dict[str, Any] = {"f:spec": {"f:paused": {}}}


def entry(
    manager: str, fields: dict[str, Any], *, operation: str = "Apply", time: str = "2026-01-01T00:00:00Z", **more: Any
) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    } | more


def ours(*fields: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in fields:
        whole = owners.union(whole, part)
    return entry("linnet", whole, operation="Update", time="2026-01-01T01:00:00Z")


HELM = entry("helm", HELM_FIELDS)
HPA = entry("hpa", {"f:status": {}}, operation="Update", subresource="status")


def test_with_nobody_else_writing_the_recorded_owners_go_back_verbatim() -> None:
    """Helm lost one leaf to us and gets exactly its old entry back; our own is gone."""
    live = [entry("helm", HELM_TAKEN), HPA, ours(IMAGE, PAUSED)]
    assert owners.settle(live, [HELM, HPA], "linnet") == [HELM, HPA]


def test_who_wrote_a_leaf_since_is_told_from_its_owners() -> None:
    """Our write takes the leaf from its owner; only another's later word counts, be it the old owner's, and none of a subresource's."""
    path = ("spec", "paused")
    before = entry("kubectl", PAUSED, operation="Update")
    later = before | {"time": "2026-01-01T02:00:00Z"}
    recorded = json.dumps([before])

    def since(*live: dict[str, Any]) -> bool:
        return owners.written_since(ObjectMeta(managed_fields=msgspec.Raw(msgspec.json.encode(live))), recorded, path, "linnet")

    assert not since(before)
    assert not since(ours(PAUSED), entry("kubectl", IMAGE, operation="Update"))
    assert since(later)
    assert since(entry("helm", PAUSED))
    assert not since(ours(PAUSED), entry("hpa", PAUSED, operation="Update", subresource="scale"))


def test_an_owner_from_whom_everything_was_taken_gets_its_entry_back() -> None:
    """The API server drops empty entries; the leaf must not end without an owner."""
    small = entry("kubectl-edit", IMAGE, operation="Update")
    assert owners.settle([ours(IMAGE)], [small], "linnet") == [small]


def test_a_leaf_comes_back_with_the_marks_of_the_nodes_above_it() -> None:
    """Seen on a kind whose schema takes anything: with its leaf kubectl lost the mark of the map that the leaf is in."""
    whole: dict[str, object] = {"f:spec": {".": {}, "f:weighted": {".": {}, "f:services": {}}, "f:other": {}}}
    left: dict[str, object] = {"f:spec": {".": {}, "f:other": {}}}
    taken = ours({"f:spec": {"f:weighted": {"f:services": {}}}})
    assert owners.settle([entry("kubectl", left), taken], [entry("kubectl", whole)], "linnet") == [entry("kubectl", whole)]


def test_an_owner_who_spoke_since_keeps_its_own_word() -> None:
    """Helm was upgraded during the rollout without the field: giving it back would make the next upgrade delete it."""
    newer = entry("helm", HELM_TAKEN, time="2026-01-01T02:00:00Z")
    assert owners.settle([newer, ours(IMAGE)], [HELM], "linnet") == [newer]


def test_an_owner_who_left_on_its_own_is_not_called_back() -> None:
    """Its entry had more than what we took, so somebody else removed it."""
    assert owners.settle([entry("argocd", HELM_TAKEN), ours(IMAGE)], [HELM], "linnet") == [entry("argocd", HELM_TAKEN)]


def test_a_newcomer_is_kept_and_the_old_owner_still_gets_its_leaf() -> None:
    """Another manager wrote another field meanwhile: only our entry is taken out."""
    new = entry("kubectl", {"f:metadata": {"f:labels": {"f:x": {}}}}, time="2026-01-01T03:00:00Z")
    assert owners.settle([entry("helm", HELM_TAKEN), new, ours(IMAGE)], [HELM], "linnet") == [HELM, new]


def test_without_an_entry_of_ours_nothing_is_to_be_done() -> None:
    """Somebody forced our fields away; writing anything would only be noise. What we own in a subresource stays ours."""
    assert owners.settle([HELM], [HELM], "linnet") is None
    assert owners.settle([HELM, ours(IMAGE) | {"subresource": "status"}], [HELM], "linnet") is None


TREES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.just({}), lambda below: st.dictionaries(st.sampled_from(["f:a", "f:b", "k:{}", "."]), below, min_size=1, max_size=3), max_leaves=8
)


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = {path} if not tree and path else set()
    for part, below in tree.items():
        found |= leaves(below, (*path, part))
    return found


@given(a=TREES, b=TREES)
def test_union_and_intersection_are_those_of_sets(a: dict[str, Any], b: dict[str, Any]) -> None:
    """FieldsV1 trees behave as sets of leaves: nothing is invented, and what both own is found."""
    assert owners.union(a, a) == a
    assert leaves(owners.union(a, b)) <= leaves(a) | leaves(b)
    assert leaves(a) & leaves(b) <= leaves(owners.intersection(a, b))
    assert owners.intersection(a, a) == a
    assert owners.union(a, owners.intersection(a, b)) == a


class Api:
    """One Deployment, JSON Patch by resourceVersion, and somebody who writes before the first patches arrive."""

    def __init__(self, server: Server, live: list[dict[str, Any]], *, races: int = 0) -> None:
        self.live = live
        self.races = races
        self.version = 5
        self.patches: list[Any] = []
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "PATCH":
            if self.races:
                self.races -= 1
                self.version += 1
            test, write = json.loads(await request.read())
            assert test["path"] == "/metadata/resourceVersion"
            if test["value"] != str(self.version):
                return status(422, "Invalid", "testing value /metadata/resourceVersion failed")
            self.patches.append(write)
            self.live = write["value"]
            self.version += 1
        found = deployment("a", self.version)
        found["metadata"]["managedFields"] = self.live
        return web.json_response(found)


def test_the_write_back_is_one_patch_guarded_by_the_version_and_survives_races() -> None:
    """Two writes race ours; the third attempt sticks, on what is live then."""

    async def main() -> None:
        async with serving() as server:
            api = Api(server, [entry("helm", HELM_TAKEN), ours(IMAGE)], races=2)
            recorded = owners.record(ObjectMeta(managed_fields=msgspec.Raw(json.dumps([HELM]).encode())))
            assert " " not in recorded
            async with client_of(server) as client:
                assert await owners.give_back(client, DEPLOYMENTS, "shop", "a", recorded) is True
                assert api.live == [HELM]
                assert len(api.patches) == 1
                assert await owners.give_back(client, DEPLOYMENTS, "shop", "a", recorded) is False
                assert len(api.patches) == 1

    run(main())


def test_an_object_that_never_had_owners_ends_without_any() -> None:
    """An empty list would be ignored by the API server; one empty entry clears."""

    async def main() -> None:
        async with serving() as server:
            api = Api(server, [ours(IMAGE)])
            async with client_of(server) as client:
                assert await owners.give_back(client, DEPLOYMENTS, "shop", "a", "[]") is True
            assert api.patches[0]["value"] == [{}]

    run(main())


def test_endless_races_surface_for_the_callers_queue() -> None:
    """After a few attempts the caller decides, and knows that a retry may help."""

    async def main() -> None:
        async with serving() as server:
            Api(server, [ours(IMAGE)], races=99)
            async with client_of(server) as client:
                with pytest.raises(errors.PatchTestFailed) as caught:
                    await owners.give_back(client, DEPLOYMENTS, "shop", "a", "[]", attempts=3)
                assert caught.value.retryable

    run(main())


def test_an_unreadable_record_is_refused() -> None:
    """A status that was edited by hand must not clear somebody's owners."""
    with pytest.raises(ValueError, match="recorded managedFields"):
        owners.parse('{"not": "a list"}')
