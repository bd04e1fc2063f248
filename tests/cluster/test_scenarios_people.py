"""What people and their tools do in the middle of a release: revert, resume, re-apply, scale, delete, push the next version."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cluster.scenario import ACCOUNT, Shop, canary
from tests.cluster.stage import scenario
from tests.testbed.gateway import http_route
from tests.testbed.linnet import eventually

pytestmark = pytest.mark.cluster

# Steps in which a scenario has the time to do something.
SLOW = [{"weight": 20, "dwell": {"minDuration": "2m"}}, {"weight": 50, "dwell": {"minDuration": "2m"}}]


def outcomes(shop: Shop) -> list[str]:
    return [entry["outcome"] for entry in shop.status().get("history") or []]


@scenario
def test_applying_the_old_template_takes_the_release_back(shop: Shop) -> None:
    """A revert in mid-release ends it without blame: traffic first, then the canary, and the Deployment was never rolled.

    Pods end at once here: that they had no requests any more is Linnet's doing, not a preStop hook's.
    """
    shop.open({"steps": SLOW}, flags=True, pre_stop=0)
    shop.load()
    shop.push("v2")
    shop.await_weight(20)
    shop.push("v1")
    shop.until(lambda s: s.get("phase") == "Idle" and s.get("history"), "the release ended")
    seen = shop.stop_load()
    assert outcomes(shop) == ["Withdrawn"]
    shop.assert_clean()
    shop.assert_as_before("shop:v1")
    shop.assert_no_switch_hurt(seen)
    assert seen.outcomes() == {"200": seen.total}
    words = [w for w in shop.steps() if w not in ("status", "analysisruns", "template")]
    back = words[words.index("weight 20") :]
    assert back.index("weight 0") < back.index("route back") < back.index("delete canary"), words
    assert "restore" not in words  # the user's own apply had done that


@scenario
def test_resuming_a_held_deployment_is_refused_and_says_what_to_do(shop: Shop) -> None:
    """`kubectl rollout resume` does not roll what was not judged; `abort` in Linnet's own words gives the stable template back."""
    shop.open({"steps": SLOW})
    shop.push("v2")
    shop.await_weight(20)
    said = shop.kubectl("rollout", "resume", "deployment/shop", check=False)
    assert "linnet promote --override shop" in said, said
    assert shop.get("deployment", "shop")["spec"]["paused"]
    assert shop.weights() == {"shop": 80, "shop-canary": 20}
    shop.order("abort")
    status = shop.await_verdict("Fail")
    assert "stopped by admin" in status["sentence"], "the API server's word, not the annotation's: " + status["sentence"]
    shop.assert_clean()
    shop.assert_as_before("shop:v1")


@scenario
def test_a_route_that_is_applied_again_voids_the_evidence_and_holds(shop: Shop) -> None:
    """The taking manager is named, Linnet does not write the route again until a person resumes, and then the release goes on."""
    shop.open({"steps": SLOW})
    shop.load()
    shop.push("v2")
    shop.await_weight(20)
    route = http_route("shop", shop.host, {"shop": None})
    taken = time.time()
    shop.plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=gitops-tool", "-n", shop.namespace, "-f", "-", input=_yaml(route)
    )
    status = shop.until(lambda s: (s.get("waiting") or {}).get("reason") == "RouteTakenBack", "RouteTakenBack")
    assert "gitops-tool" in status["waiting"]["message"], status["waiting"]
    assert "linnet resume shop" in status["waiting"]["wayOut"]
    assert not status["rollout"].get("exposedAt")
    assert "gitops-tool" in shop.await_event("TakenBack")
    time.sleep(3)  # long enough for a fight to begin
    assert [one.target for one in shop.writes(taken).on("httproutes")] == []
    assert shop.weights() == {"shop": 1}
    shop.order("resume")
    shop.await_weight(20)
    assert shop.weights() == {"shop": 80, "shop-canary": 20}
    shop.order("abort")
    shop.await_verdict("Fail")
    seen = shop.stop_load()
    shop.assert_no_switch_hurt(seen)
    assert shop.weights() == {"shop": 1}
    shop.assert_clean()


def _yaml(*objects: Any) -> str:
    import yaml

    return str(yaml.safe_dump_all(list(objects)))


@scenario
def test_deleting_the_canary_in_mid_release_leaves_what_was_judged_fine(shop: Shop) -> None:
    """P10: traffic, flag, Deployment and owners go back, then the Canary goes; no request is lost on the way."""
    shop.open({"steps": SLOW}, flags=True)
    shop.load()
    shop.push("v2")
    shop.await_weight(20)
    shop.kubectl("delete", "canaries.linnet.dev", "shop", "--timeout=60s")
    seen = shop.stop_load()
    shop.assert_clean()
    shop.assert_as_before("shop:v1")
    assert "linnet.dev/canary" not in (shop.get("deployment", "shop")["metadata"].get("annotations") or {})
    assert {one["metadata"]["name"] for one in shop.items("service")} == {"shop"}
    assert [one for one in shop.items("revisions") if "linnet" in one["metadata"]["name"]] == []
    shop.assert_no_switch_hurt(seen)


@scenario
def test_removing_the_annotation_in_mid_release_leaves_what_was_judged_fine(shop: Shop) -> None:
    """The short form ends as the long one: the Canary that was made of the annotations goes, after everything was taken back."""
    shop.open(adopted=False)
    shop.kubectl("annotate", "deployment", "shop", "linnet.dev/profile=web", "linnet.dev/steps=20:5m,50:5m")
    shop.await_phase("Idle")
    shop.push_image("v2")
    shop.await_weight(1)  # where the profile's ramp begins
    shop.kubectl("annotate", "deployment", "shop", "linnet.dev/profile-", "linnet.dev/steps-")
    shop.kubectl("wait", "--for=delete", "canaries.linnet.dev/shop", "--timeout=60s")
    shop.assert_clean()
    assert shop.image() == "shop:v1"
    assert shop.weights() == {"shop": 1}
    assert {one["metadata"]["name"] for one in shop.items("service")} == {"shop"}


@scenario
def test_a_newer_version_in_mid_release_replaces_the_canary_at_weight_0(shop: Shop) -> None:
    """Two new versions never stand behind one Service: the first canary is gone before the second is made."""
    shop.open({"steps": [{"weight": 20, "dwell": {"minDuration": "8s"}}]})
    shop.load()
    shop.push("v2")
    first = shop.await_weight(20)["rollout"]["revision"]
    shop.push("v3")
    status = shop.await_verdict("Pass", 80)
    seen = shop.stop_load()
    assert outcomes(shop) == ["Promoted", "Superseded"]
    assert status["verdict"]["revision"] != first
    assert shop.image() == "shop:v3"
    shop.assert_clean()
    shop.assert_as_before("shop:v3")
    shop.assert_no_switch_hurt(seen)
    words = shop.steps()
    second = len(words) - 1 - words[::-1].index("create canary")
    assert words.index("create canary") < words.index("delete canary") < second, words
    assert "weight 0" in words[: words.index("delete canary")]


@scenario
def test_a_newer_version_in_mid_promotion_waits_until_stable_is_one_version(shop: Shop) -> None:
    """The roll of the judged version is finished first, by pods in lock step; only then the next release begins."""
    shop.open({"steps": [{"weight": 20, "dwell": {"minDuration": "2s"}}]}, replicas=3, startup_seconds=3)
    shop.load()
    shop.push("v2")
    rolling = shop.until(lambda s: s.get("phase") == "Promoting" and _rolling(shop), "stable rolls", 60)
    first = rolling["rollout"]["revision"]
    shop.push("v3")
    shop.await_phase("Settling", 20)
    status = shop.until(lambda s: s.get("stableRevision") == first and s.get("phase") in ("Starting", "Progressing"), "v3 starts", 80)
    seen = shop.stop_load()
    assert outcomes(shop) == ["Promoted"]
    assert status["rollout"]["revision"] != first
    shop.assert_no_switch_hurt(seen)
    versions = {p["spec"]["containers"][0]["image"] for p in shop.items("pods") if "linnet.dev/track" not in p["metadata"]["labels"]}
    assert versions == {"shop:v2"}
    assert "replicaset" in shop.steps()


def _rolling(shop: Shop) -> bool:
    """Both versions have pods of the Deployment's own."""
    return (
        len([one for one in shop.items("replicasets") if one["spec"]["replicas"] and not one["metadata"]["name"].startswith("shop-canary")])
        == 2
    )


@scenario
def test_scaling_to_zero_in_mid_release_and_back_loses_no_stable(shop: Shop) -> None:
    """The release ends, the held template stays held, and what comes back with the pods is stable, then the release starts over."""
    shop.open({"steps": SLOW})
    shop.push("v2")
    shop.await_weight(20)
    shop.kubectl("scale", "deployment/shop", "--replicas=0")
    shop.until(lambda s: s.get("phase") == "Idle" and (s.get("waiting") or {}).get("reason") == "ScaledToZero", "scaled to zero")
    assert outcomes(shop) == ["ScaledToZero"]
    assert shop.weights() == {"shop": 1}
    shop.kubectl("scale", "deployment/shop", "--replicas=2")
    shop.await_phase("Progressing", 40)
    own = [p for p in shop.items("pods") if p["metadata"]["labels"]["app"] == "shop"]
    assert {p["spec"]["containers"][0]["image"] for p in own} == {"shop:v1"}


@scenario
def test_a_single_recreated_replica_is_promoted_behind_a_full_canary(shop: Shop) -> None:
    """Where a native roll would empty stable, all traffic goes to a canary of full size first: nobody notices the recreation.

    Not even where pods end at once: the hold ends only when the gateway has long stopped using stable.
    """
    shop.open({"steps": [{"weight": 20, "dwell": {"minDuration": "2s"}}]}, replicas=1, strategy={"type": "Recreate"}, pre_stop=0)
    shop.load()
    shop.push("v2")
    shop.await_verdict("Pass", 80)
    seen = shop.stop_load()
    shop.assert_no_switch_hurt(seen)
    assert seen.outcomes() == {"200": seen.total}
    words = shop.steps()
    assert words.index("weight 20") < words.index("weight 100") < words.index("release") < words.index("delete canary"), words
    shop.assert_as_before("shop:v2")


def hpa(minimum: int) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "minReplicas": minimum,
            "maxReplicas": 6,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    }


@scenario
def test_the_autoscalers_floor_is_lifted_for_the_release_and_restored_with_its_owners(shop: Shop) -> None:
    """While traffic is away stable must not shrink, and what it grows to must carry all; then the minimum and its owner are what they were."""
    shop.open({"steps": [{"weight": 20, "dwell": {"minDuration": "10s"}}]}, replicas=3, extra=[hpa(1)])
    shop.load()
    shop.push("v2")
    shop.await_weight(20)
    assert shop.get("hpa", "shop")["spec"]["minReplicas"] == 3
    shop.kubectl("scale", "deployment/shop", "--replicas=4")  # what the autoscaler does for four fifths of a load that grew
    eventually(lambda: shop.get("hpa", "shop")["spec"]["minReplicas"] == 5, "the floor for all of it", 20)
    shop.await_verdict("Pass", 80)
    shop.stop_load()
    assert shop.image() == "shop:v2"
    shop.assert_as_before("shop:v2", changed="deployment")  # its replicas: ours above


@scenario
def test_an_autoscaler_that_would_count_canary_pods_is_refused(shop: Shop) -> None:
    """In pod-ratio mode the canary keeps the labels that the autoscaler selects: refused with the way out, nothing is touched."""
    shop.open(adopted=False, extra=[hpa(1)], replicas=2, route=False)
    shop.apply(canary(traffic={"mode": "PodRatio"}))
    status = shop.until(lambda s: (s.get("waiting") or {}).get("reason") == "AutoscalerSeesCanary", "the refusal")
    assert "HorizontalPodAutoscaler shop" in status["waiting"]["message"]
    assert "canary pods" in shop.await_event("Refused", "Canary")
    shop.assert_as_before("shop:v1")
    shop.push("v2")
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")  # nothing holds it


@scenario
def test_a_version_on_top_of_one_that_was_never_judged_waits_for_a_word(shop: Shop) -> None:
    """Somebody broke the glass for v2 and mended it again: v3 is held, nothing rolls back, and v2 once accepted is what v3 is judged against."""
    shop.open({"steps": [{"weight": 20, "dwell": {"minDuration": "2s"}}]})
    shop.push_image("v2")
    second = shop.until(lambda s: s.get("phase") == "Starting", "v2 is held")["rollout"]["revision"]
    shop.kubectl("annotate", "deployment", "shop", "linnet.dev/hold=off")
    shop.kubectl("rollout", "resume", "deployment/shop")
    shop.kubectl("annotate", "deployment", "shop", "linnet.dev/hold-")
    shop.await_phase("Bypassed", 60)
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    shop.load(80)
    shop.push_image("v3")
    status = shop.until(lambda s: "is held" in (s.get("waiting") or {}).get("message", ""), "v3 waits for a word")
    assert f"--revision {second}" in status["waiting"]["wayOut"], status["waiting"]
    assert f"{second} serves was never judged" in shop.story()
    time.sleep(12)  # longer than stable may be missing
    assert (shop.status()["phase"], shop.image()) == ("Bypassed", "shop:v3")
    assert {p["spec"]["containers"][0]["image"] for p in shop.items("pods")} == {"shop:v2"}
    shop.kubectl("annotate", "canaries.linnet.dev", "shop", "--overwrite", f"linnet.dev/action=override@{second}#by=alice;{ACCOUNT}")
    status = shop.await_verdict("Pass", 90)
    seen = shop.stop_load()
    assert (shop.image(), status["verdict"]["reason"]) == ("shop:v3", "Proven")
    shop.assert_no_switch_hurt(seen)
    shop.assert_clean()


@scenario
def test_by_share_of_pods_a_release_goes_without_a_router(shop: Shop) -> None:
    """Canary pods join stable's behind the user's own Service; the route is never touched, and no stable pod is taken over."""
    steps = [{"weight": 25, "dwell": {"minDuration": "2s"}}, {"weight": 50, "dwell": {"minDuration": "2s"}}]
    shop.open({"steps": steps, "traffic": {"mode": "PodRatio"}}, replicas=3)
    shop.load(80)
    shop.push("v2")
    shop.await_weight(25)
    shop.await_verdict("Pass", 80)
    seen = shop.stop_load()
    shop.assert_no_switch_hurt(seen)
    assert seen.by("track")["canary"] > 0
    assert [one.target for one in shop.writes().on("httproutes")] == []
    shop.assert_clean()
    shop.assert_as_before("shop:v2")
    eventually(lambda: len(shop.items("pods")) == 3, "three pods are left", 30)


@scenario
def test_a_restart_of_a_rejected_template_releases_nothing(shop: Shop) -> None:
    """A tool that writes only a restart stamp onto the held, rejected template does not make it a release."""
    shop.open({"steps": SLOW, "onRollback": "Hold"})
    shop.push("v2")
    shop.await_weight(20)
    shop.order("abort")
    shop.await_phase("Held")
    stamp = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}}}}
    shop.kubectl("patch", "deployment", "shop", "--type=merge", "-p", json.dumps(stamp))
    time.sleep(3)  # long enough to be released by mistake
    assert shop.status()["phase"] == "Held"
    assert shop.get("deployment", "shop")["spec"]["paused"]
    assert {p["spec"]["containers"][0]["image"] for p in shop.items("pods")} == {"shop:v1"}
    # An override ships it after all: a person's word, said in the sentence.
    shop.order("override")
    status = shop.await_verdict("Pass", 60)
    assert "override" in status["sentence"], status["sentence"]
    assert shop.image() == "shop:v2"
    shop.assert_clean()
