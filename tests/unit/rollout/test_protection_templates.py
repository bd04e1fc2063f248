"""What makes a new version, and what does not: the comparison on which every hold and every release of one stands."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.rollout.templates import same_template

BASE: dict[str, Any] = {
    "metadata": {"labels": {"app": "shop"}, "annotations": {"team": "a"}},
    "spec": {"containers": [{"name": "shop", "image": "shop:v1"}]},
}


def changed(part: str, key: str, value: str) -> dict[str, Any]:
    metadata = {**BASE["metadata"], part: {**BASE["metadata"][part], key: value}}
    return {**BASE, "metadata": metadata}


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("annotations", "kubectl.kubernetes.io/restartedAt"),
        ("annotations", "linnet.dev/restarted-at"),
        ("labels", "pod-template-hash"),
        ("labels", "linnet.dev/track"),
    ],
)
def test_a_stamp_makes_no_new_version(part: str, key: str) -> None:
    """`kubectl rollout restart` of stable, or a track of ours, is the release that runs already."""
    assert same_template(BASE, changed(part, key, "2026-01-01T00:00:00Z"))


@pytest.mark.parametrize(("part", "key"), [("annotations", "team"), ("labels", "app"), ("annotations", "checksum/config")])
def test_anything_else_makes_one(part: str, key: str) -> None:
    """A checksum of the configuration, a label, an owner's annotation: what the app may read is a release."""
    assert not same_template(BASE, changed(part, key, "other"))
