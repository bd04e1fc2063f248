"""Pods tell their track to the flag SDK: all containers of a canary do, no stable pod claims to, and a live pod is seen to."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.workloads.gate import containers_of, pretends, tell_track, unwired

TOLD = {"name": "LINNET_TRACK", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels['linnet.dev/track']"}}}


def spec() -> dict[str, Any]:
    return {
        "initContainers": [{"name": "migrate"}, {"name": "flagd", "restartPolicy": "Always"}],
        "containers": [
            {"name": "shop", "env": [{"name": "LINNET_TRACK", "value": "mine"}, {"name": "A", "value": "1"}]},
            {"name": "proxy"},
        ],
    }


def pod(track: str | None = "canary") -> dict[str, Any]:
    told = spec()
    tell_track(told)
    return {"metadata": {"name": "shop-1", "labels": {"linnet.dev/track": track} if track else {}}, "spec": told}


def test_every_container_that_runs_is_told() -> None:
    """Sidecars that are started before the others, too: a flagd there answers for the pod. What only prepares is not."""
    found = spec()
    tell_track(found)
    assert [c.get("env") for c in found["initContainers"]] == [None, [TOLD]]
    assert found["containers"][0]["env"] == [{"name": "A", "value": "1"}, TOLD]
    assert found["containers"][1]["env"] == [TOLD]
    assert containers_of({"spec": found}) == ("flagd", "shop", "proxy")


def test_a_pod_as_it_was_made_is_wired() -> None:
    """Whatever somebody else put in beside its containers."""
    found = pod()
    found["spec"]["containers"].append({"name": "istio-proxy"})
    assert unwired(found, ("flagd", "shop", "proxy")) == ""


def test_a_pod_without_its_label_is_not() -> None:
    """The variable would be empty."""
    assert "no label linnet.dev/track=canary" in unwired(pod(None), ("shop",))
    assert "no label" in unwired(pod("stable"), ("shop",))


def test_a_container_that_lost_its_variable_is_named() -> None:
    """By an admission webhook, for instance."""
    found = pod()
    found["spec"]["containers"][1]["env"] = []
    assert unwired(found, ("shop", "proxy")).startswith("container proxy of pod shop-1 does not get LINNET_TRACK")


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ({"metadata": {"labels": {"linnet.dev/track": "canary"}}}, "label linnet.dev/track"),
        (
            {"spec": {"containers": [{"name": "shop", "env": [{"name": "LINNET_TRACK", "value": "canary"}]}]}},
            "LINNET_TRACK of container shop",
        ),
    ],
)
def test_a_template_that_claims_the_track_is_refused(template: dict[str, Any], what: str) -> None:
    """Its stable pods would pass the gate."""
    found = pretends(template)
    assert found is not None and found.reason == "GateNotWired" and what in found.message


def test_a_template_that_only_reads_its_track_is_not() -> None:
    """By the downward API stable pods get none."""
    assert pretends({"spec": {"containers": [{"name": "shop", "env": [TOLD]}]}}) is None
    assert pretends({"spec": spec()}) is None
