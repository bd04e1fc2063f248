"""What cannot work, what is misspelt, what is not ready: said with the way out, on the object that people look at, and nothing is touched."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any, cast

import pytest

from tests.cluster.scenario import API, Shop, canary, metric_source
from tests.cluster.stage import scenario
from tests.testbed.controlplane import ADDRESS
from tests.testbed.linnet import eventually
from tests.testbed.nodes import shop as manifests

pytestmark = pytest.mark.cluster


def refused(shop: Shop, reason: str, *words: str, name: str = "shop", event: bool = True) -> None:
    """The Canary waits for `reason` with a way out, a condition says so, and so does an Event."""

    def there() -> dict[str, Any] | None:
        seen = shop.status(name)
        return seen if (seen.get("waiting") or {}).get("reason") == reason else None

    try:
        status = eventually(there, reason, 40)
    except AssertionError:
        raise AssertionError(f"{reason} expected, seen: {shop.status(name)}") from None
    said = status["waiting"]["message"] + status["waiting"].get("wayOut", "")
    assert status["waiting"]["wayOut"], status["waiting"]
    assert all(word in said for word in words), said
    told = [c for c in status["conditions"] if status["waiting"]["message"][:60] in c.get("message", "")]
    assert told, status["conditions"]
    if not event:
        return
    notes = [e["note"] for e in shop.events() if e["regarding"]["name"] == name]
    eventually(
        lambda: any(words[0] in e["note"] for e in shop.events() if e["regarding"]["name"] == name),
        f"an Event that names {words[0]!r}; there are {notes}",
        10,
    )


def untouched(shop: Shop, image: str = "shop:v1") -> None:
    """No write of the daemon's into anything of the user's, and the next version rolls freely."""
    shop.assert_as_before(image)
    assert [w for w in shop.steps() if w not in ("status", "canaries")] == []
    shop.push("v9")
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")


@scenario
def test_a_canary_without_its_deployment_says_so(shop: Shop) -> None:
    """A Canary may be there first: it waits, and takes the Deployment on when it comes."""
    shop.apply(canary())
    refused(shop, "WorkloadMissing", "shop", "create it")
    shop.open(adopted=False, replicas=1, startup_seconds=0)
    shop.await_phase("Idle")


@scenario
def test_pods_that_no_service_selects_are_refused(shop: Shop) -> None:
    """Without a Service there is nothing to split, and the way out for a worker is named."""
    shop.apply(metric_source(), *manifests("shop", replicas=1, startup_seconds=0)[:1], canary())
    refused(shop, "NoService", "no Service selects", "PodRatio")


@scenario
def test_the_second_canary_of_a_deployment_is_refused(shop: Shop) -> None:
    """The older one keeps working; the newer one says whose the Deployment is."""
    shop.open(replicas=1, startup_seconds=0)
    second = canary()
    second["metadata"]["name"] = "twice"
    shop.apply(second)
    refused(shop, "WorkloadTaken", "already released by Canary shop", name="twice")
    assert shop.status()["phase"] == "Idle"


@scenario
def test_a_statefulset_is_refused_with_a_sentence(shop: Shop) -> None:
    """Any kind may be named; what cannot run two versions side by side is told why."""
    shop.open(adopted=False, replicas=1, startup_seconds=0)
    shop.apply(canary(workloadRef={"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "shop"}))
    refused(shop, "WorkloadUnsupported", "StatefulSet", "Deployment")
    assert shop.status()["waiting"]["message"].count("side by side") == 1  # said once
    untouched(shop)


@scenario
def test_a_volume_that_one_node_holds_is_refused(shop: Shop) -> None:
    """Canary pods would wait for it for ever; the claim and its access mode are named, and nothing is held."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}
    workload, *others = manifests("shop", replicas=1, startup_seconds=0)
    workload["spec"]["template"]["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    shop.apply(metric_source(), claim, workload, *others, canary())
    refused(shop, "VolumeNotShared", "PersistentVolumeClaim data", "ReadWriteOnce", "ReadWriteMany")
    assert "linnet.dev/canary" not in (shop.get("deployment", "shop")["metadata"].get("annotations") or {})


@scenario
def test_a_deployment_of_no_replicas_is_not_taken_as_stable(shop: Shop) -> None:
    """Nothing runs that a new version could be compared with; scaled up it is taken on."""
    shop.apply(metric_source(), *manifests("shop", replicas=0, startup_seconds=0), canary())
    refused(shop, "ScaledToZero", "replicas is 0", "scale")
    shop.kubectl("scale", "deployment/shop", "--replicas=1")
    shop.await_phase("Idle")


@scenario
def test_a_deployment_that_its_owner_paused_is_left_alone(shop: Shop) -> None:
    """The pause is the owner's: it stays, is told, and ends when they end it."""
    shop.open(adopted=False, replicas=1, startup_seconds=0)
    shop.kubectl("rollout", "pause", "deployment/shop")
    shop.apply(canary())
    refused(shop, "PausedByOwner", "paused by its owner", "resume")
    assert shop.get("deployment", "shop")["spec"]["paused"]
    shop.kubectl("rollout", "resume", "deployment/shop")
    shop.await_phase("Idle")


@scenario
def test_names_that_would_grow_too_long_are_refused(shop: Shop) -> None:
    """A Service of 60 characters leaves no room for its canary's name; the longest possible name is told."""
    name = "s" * 60
    shop.apply(metric_source(), *manifests(name, replicas=1, startup_seconds=0), canary(name))
    refused(shop, "NameTooLong", "63", "at most", name=name)


@scenario
def test_a_network_policy_that_would_miss_the_canary_is_refused(shop: Shop) -> None:
    """The canary would run without the protection that stable has: refused before anything is touched."""
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only-front"},
        "spec": {"podSelector": {"matchLabels": {"app": "shop"}}, "policyTypes": ["Ingress"]},
    }
    shop.open(adopted=False, extra=[policy], replicas=1, startup_seconds=0)
    shop.apply(canary())
    refused(shop, "IdentityUnsafe", "NetworkPolicy only-front", "label")
    untouched(shop)


@scenario
def test_an_annotated_deployment_is_never_held_at_its_creation(shop: Shop) -> None:
    """It rolls at once; only when it is complete is it stable, and the next template is held."""
    marks = {"linnet.dev/profile": "web", "linnet.dev/steps": "20:5m"}
    shop.apply(
        {
            "apiVersion": API,
            "kind": "MetricSource",
            "metadata": {"name": "default"},
            "spec": {"type": "Scrape", "scrape": {"port": "http"}},
        },
        *manifests("shop", replicas=1, annotations=marks),
    )
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")
    status = shop.await_phase("Idle")
    assert status["plan"].startswith("The next template change is held"), status["plan"]
    shop.push_image("v2")
    eventually(lambda: shop.get("deployment", "shop")["spec"].get("paused"), "held", 10)


@scenario
def test_adoption_in_mid_roll_waits_for_its_end(shop: Shop) -> None:
    """Half old, half new is no stable version: the roll goes on as if Linnet were not there."""
    shop.open(adopted=False, replicas=3, startup_seconds=0)
    shop.push("v2", STARTUP_SECONDS="10")  # a roll of half a minute: the refusal is there before its end, however slow the machine
    shop.apply(canary())
    refused(shop, "StableNotReady", "of 3 pods", "nothing is held", event=False)
    status = shop.await_phase("Idle", 90)
    assert status["stableRevision"] and shop.image() == "shop:v2"


@scenario
def test_a_broken_deployment_is_not_taken_as_stable_and_can_be_repaired(shop: Shop) -> None:
    """The kubelet's own words are told, and the repairing template is not held."""
    shop.apply(metric_source(), *manifests("shop", image="no-such-image:v1", replicas=1, startup_seconds=0), canary())
    refused(shop, "StableNotReady", "0 of 1", "nothing is held", event=False)
    eventually(lambda: "no-such-image" in (shop.status().get("waiting") or {}).get("message", ""), "the kubelet's words", 20)
    shop.push_image("v1")
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")


@scenario
def test_a_misspelt_annotation_holds_nothing_and_names_the_nearest(shop: Shop) -> None:
    """The Event on the Deployment says what was probably meant."""
    shop.open(adopted=False, replicas=1, startup_seconds=0)
    shop.kubectl("annotate", "deployment", "shop", "linnet.dev/profil=web")
    note = shop.await_event("InvalidAnnotation", "Deployment")
    assert "linnet.dev/profile" in note, note
    shop.push_image("v2")
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")


@scenario
def test_an_unknown_profile_holds_nothing_and_names_the_nearest(shop: Shop) -> None:
    """A Canary whose profile does not exist must not hold what comes next."""
    shop.open(adopted=False, replicas=1, startup_seconds=0)
    shop.kubectl("annotate", "deployment", "shop", "linnet.dev/profile=wbe")
    refused(shop, "CanaryProfileMissing", "wbe", "did you mean web?")
    shop.push_image("v2")
    shop.kubectl("rollout", "status", "deployment/shop", "--timeout=40s")


@scenario
def test_with_hold_always_the_deployment_is_paused_between_releases(shop: Shop) -> None:
    """The way for a cluster without the policies: the pause is there before the template is, and comes back after the promotion."""
    shop.open({"hold": "Always", "steps": [{"weight": 20, "dwell": {"minDuration": "2s"}}]})
    eventually(lambda: shop.get("deployment", "shop")["spec"].get("paused"), "paused at rest", 10)
    shop.load(80)
    shop.push("v2")
    shop.await_verdict("Pass", 80)
    seen = shop.stop_load()
    shop.assert_no_switch_hurt(seen)
    eventually(lambda: shop.get("deployment", "shop")["spec"].get("paused"), "paused at rest again", 10)
    assert shop.image() == "shop:v2"


class Inbox(http.server.ThreadingHTTPServer):
    """What was posted to a webhook."""

    def __init__(self) -> None:
        super().__init__((ADDRESS, 0), _Handler)
        self.heard: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cast("Inbox", self.server).heard.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        return


@scenario
def test_a_notifier_hears_of_the_release_from_its_start_to_its_end(shop: Shop) -> None:
    """Started, Step and Promoted, then Started, Step and RolledBack, in order, each with the sentence; the Secret's address in no Event."""
    inbox = Inbox()
    url = f"json://{ADDRESS}:{inbox.server_address[1]}/hook-s3cret"
    extra: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "stringData": {"url": url}},
        {
            "apiVersion": API,
            "kind": "Notifier",
            "metadata": {"name": "team"},
            "spec": {"urlSecretRef": {"name": "hook", "key": "url"}},
        },
    ]
    steps = [{"weight": 20, "dwell": {"minDuration": "2s"}}]
    shop.open({"steps": steps, "notify": [{"notifierRef": {"name": "team"}}]}, extra=extra)
    shop.load(80)
    shop.push("v2")
    shop.await_verdict("Pass", 80)
    shop.push("bad-40")
    status = shop.await_verdict("Fail", 60)
    shop.stop_load()
    eventually(lambda: len(inbox.heard) >= 6, "six messages", 20)
    texts = [json.dumps(one) for one in inbox.heard]
    kinds = [next((k for k in ("RolledBack", "Promoted", "Started", "Step") if k.lower() in t.lower().replace(" ", "")), t) for t in texts]
    assert kinds == ["Started", "Step", "Promoted", "Started", "Step", "RolledBack"], texts
    assert status["sentence"].split(":")[0] in texts[-1]
    assert not [e for e in shop.events() if "s3cret" in e["note"]]
    inbox.shutdown()
    inbox.server_close()


def prometheus_source(url: str, **more: Any) -> dict[str, Any]:
    spec = {"type": "Prometheus", "prometheus": {"url": url, **more}}
    return {"apiVersion": API, "kind": "MetricSource", "metadata": {"name": "default"}, "spec": spec}


@scenario
def test_an_unreachable_prometheus_is_told_before_any_release(shop: Shop) -> None:
    """Nothing could judge a release: none starts, and nothing is held meanwhile."""
    shop.open(adopted=False, source=prometheus_source(f"http://{ADDRESS}:9"), replicas=1, startup_seconds=0)
    shop.apply(canary())
    refused(shop, "MetricSourceUnreachable", "does not answer", "url")
    untouched(shop)


@scenario
def test_a_wrong_secret_of_a_metric_source_is_told_before_any_release(shop: Shop) -> None:
    """The Secret is named, its key too, and what to do."""
    auth = {"bearerSecretRef": {"name": "no-such", "key": "token"}}
    source = prometheus_source(f"http://{ADDRESS}:9", auth=auth)
    shop.open(adopted=False, source=source, replicas=1, startup_seconds=0)
    shop.apply(canary())
    refused(shop, "SecretMissing", "no-such", "create it")
    untouched(shop)
