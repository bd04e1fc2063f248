"""The node agent reads a Pod's spec as a kubelet does."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.testbed import podspec

POD = {
    "metadata": {"name": "p", "namespace": "shop", "uid": "u1", "labels": {"linnet.dev/track": "canary"}, "annotations": {}},
    "spec": {"nodeName": "node-1", "serviceAccountName": "robot"},
}


@pytest.fixture
def sources() -> podspec.Sources:
    found = podspec.Sources()
    found.configmaps["shop", "settings"] = {"data": {"level": "high", "b.json": "{}"}}
    found.secrets["shop", "key"] = {"data": {"token": base64.b64encode(b"s3cret").decode()}}
    return found


def test_environment_resolves_references_in_order(sources: podspec.Sources) -> None:
    """Literals, the downward API, ConfigMaps and Secrets become variables, and later ones see earlier ones."""
    container = {
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "S_"}],
        "env": [
            {"name": "TRACK", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['linnet.dev/track']"}}},
            {"name": "ABSENT", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['x']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
            {"name": "URL", "value": "http://$(IP)/$(UNKNOWN)/$$(IP)"},
        ],
    }
    assert podspec.environment(container, POD, sources, "10.99.1.1") == {
        "S_level": "high",
        "S_b.json": "{}",
        "TRACK": "canary",
        "ABSENT": "",
        "IP": "10.99.1.1",
        "TOKEN": "s3cret",
        "URL": "http://10.99.1.1/$(UNKNOWN)/$(IP)",
    }


def test_a_missing_secret_is_named_with_the_kubelets_reason(sources: podspec.Sources) -> None:
    """A container that refers to nothing waits, and says for what."""
    container = {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "x"}}}]}
    with pytest.raises(podspec.NotReadyError, match="Secret shop/gone not found") as caught:
        podspec.environment(container, POD, sources, "10.99.1.1")
    assert caught.value.reason == "CreateContainerConfigError"


def test_a_projected_volume_joins_its_sources(sources: podspec.Sources) -> None:
    """A token, a picked key and the namespace end in one folder, as for a client in a cluster."""
    volume = {
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "settings", "items": [{"key": "level", "path": "sub/level"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]
        }
    }
    assert podspec.volume_files(volume, POD, sources, "", {"token": b"t"}) == {"token": b"t", "sub/level": b"high", "namespace": b"shop"}
    assert podspec.volume_files({"emptyDir": {}}, POD, sources, "", {}) is None


def test_projection_swaps_all_files_at_once_and_only_on_change(tmp_path: Path) -> None:
    """Readers follow one link to a whole set of files; an unchanged object touches nothing."""
    assert podspec.project(tmp_path, {"a": b"1", "d/b": b"2"}) is True
    before = (tmp_path / "..data").readlink()
    assert podspec.project(tmp_path, {"a": b"1", "d/b": b"2"}) is False
    assert (tmp_path / "..data").readlink() == before
    assert podspec.project(tmp_path, {"a": b"3"}) is True
    assert (tmp_path / "a").read_bytes() == b"3"
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / before).exists()
