"""Deployments in the sandbox behave as under the native controllers, the corners that a hold leans on included."""

import pytest

from daemon.sandbox.controllers.access import DEPLOYMENTS, PODS, REPLICASETS
from daemon.sandbox.controllers.objects import controller_of, meta, name_of, pod_ready, status_of, terminating, uid_of
from tests.sandbox.workbench import Bench, Object, image_of, on_paper, service, web

REVISION = "deployment.kubernetes.io/revision"


async def test_a_new_image_replaces_all_pods_step_by_step() -> None:
    """Never fewer available pods nor more pods than the strategy allows, and the words are the native ones."""
    async with on_paper() as bench:
        bench.apply(web(replicas=4))
        await bench.until(bench.rolled_out)
        seen: list[tuple[int, int]] = []

        def count() -> tuple[int, int]:
            living = [p for p in bench.pods() if pod_ready(p) and not terminating(p)]
            return len(living), sum(rs["spec"]["replicas"] for rs in bench.sets())

        bench.store.subscribe(lambda _event, res, _obj: seen.append(count()) if res in (PODS, REPLICASETS) else None)
        bench.set_image("web", "app:v2")
        await bench.until(bench.rolled_out)
        assert min(ready for ready, _ in seen) >= 3
        assert max(wanted for _, wanted in seen) <= 5
        assert bench.sizes() == {"app:v1": 0, "app:v2": 4}
        new = bench.sets()[-1]
        progressing = bench.condition("Progressing")
        assert (progressing["status"], progressing["reason"]) == ("True", "NewReplicaSetAvailable")
        assert progressing["message"] == f'ReplicaSet "{name_of(new)}" has successfully progressed.'
        assert bench.condition("Available")["reason"] == "MinimumReplicasAvailable"
        assert meta(bench.deployment())["annotations"][REVISION] == meta(new)["annotations"][REVISION] == "2"


async def test_names_and_labels_carry_the_template_hash() -> None:
    """ReplicaSet and pods are named and labelled as tools expect them."""
    async with on_paper() as bench:
        bench.apply(web(replicas=1))
        await bench.until(bench.rolled_out)
        (found,), (pod,) = bench.sets(), bench.pods()
        digest = found["spec"]["selector"]["matchLabels"]["pod-template-hash"]
        assert name_of(found) == f"web-{digest}"
        assert meta(pod)["labels"] == {"app": "web", "pod-template-hash": digest}
        assert name_of(pod).startswith(f"web-{digest}-")
        assert (controller_of(pod) or {})["uid"] == uid_of(found)


async def test_a_paused_deployment_gets_no_new_replica_set() -> None:
    """The hold: a new template changes nothing but the condition."""
    async with on_paper() as bench:
        bench.apply(web())
        await bench.until(bench.rolled_out)
        before = {uid_of(p) for p in bench.pods()}
        bench.pause("web")
        bench.set_image("web", "app:v2")
        await bench.until(lambda: bench.condition("Progressing").get("reason") == "DeploymentPaused")
        await bench.idle()
        assert bench.sizes() == {"app:v1": 3}
        assert {uid_of(p) for p in bench.pods()} == before
        assert bench.condition("Progressing")["status"] == "Unknown"
        bench.pause("web", False)
        await bench.until(bench.rolled_out)
        assert bench.sizes() == {"app:v1": 0, "app:v2": 3}


async def test_a_paused_deployment_is_scaled_in_proportion() -> None:
    """Paused in mid-roll, both versions grow; the split is kept and the surge stays."""
    async with on_paper() as bench:
        assert bench.paper is not None
        bench.paper.ready = lambda pod: image_of(pod) == "app:v1"
        bench.apply(web(replicas=4, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}))
        await bench.until(bench.rolled_out)
        bench.set_image("web", "app:v2")
        await bench.until(lambda: bench.sizes().get("app:v2") == 2)
        bench.pause("web")
        bench.scale("web", 8)
        await bench.until(lambda: sum(bench.sizes().values()) == 10)
        await bench.idle()
        assert bench.sizes() == {"app:v1": 7, "app:v2": 3}


async def test_scaling_a_held_deployment_through_zero_revives_the_newest_created_replica_set() -> None:
    """After a rollback in the history the newest-created ReplicaSet is the wrong one, and it is the one that comes back."""
    async with on_paper() as bench:
        for image in ("app:v1", "app:v2", "app:v1"):
            if bench.store.get(DEPLOYMENTS, "default", "web") is None:
                bench.apply(web(image))
            else:
                bench.set_image("web", image)
            await bench.until(bench.rolled_out)
            bench.later(2)
        assert bench.sizes() == {"app:v1": 3, "app:v2": 0}
        bench.pause("web")
        bench.set_image("web", "app:v3")
        bench.scale("web", 0)
        await bench.until(lambda: not bench.pods())
        bench.scale("web", 2)
        await bench.until(lambda: sum(bench.sizes().values()) == 2)
        assert bench.sizes() == {"app:v1": 0, "app:v2": 2}


async def test_scaling_through_zero_without_history_leaves_nothing_to_revive() -> None:
    """With revisionHistoryLimit 0 the stable ReplicaSet is deleted while held, and scaling up gives no pod."""
    async with on_paper() as bench:
        bench.apply(web(revisionHistoryLimit=0))
        await bench.until(bench.rolled_out)
        bench.pause("web")
        bench.set_image("web", "app:v2")
        bench.scale("web", 0)
        await bench.until(lambda: not bench.sets())
        bench.scale("web", 3)
        await bench.idle()
        assert (bench.sets(), bench.pods()) == ([], [])


async def test_a_saturated_new_replica_set_ends_the_old_ones_even_while_paused() -> None:
    """A ReplicaSet with the new template that is as large as the Deployment and available takes over: trap 1 of an in-place canary."""
    async with on_paper() as bench:
        bench.apply(web(replicas=1))
        await bench.until(bench.rolled_out)
        bench.pause("web")
        bench.set_image("web", "app:v2")
        await bench.until(lambda: bench.condition("Progressing").get("reason") == "DeploymentPaused")
        bench.apply(_replica_set_of(bench.deployment(), "canary", 1))
        await bench.until(lambda: bench.sizes() == {"app:v1": 0, "app:v2": 1})


def _replica_set_of(deployment: Object, suffix: str, replicas: int, *, owned: bool = True) -> Object:
    """A ReplicaSet with the Deployment's template, as somebody other than the controller would make it."""
    template = {**deployment["spec"]["template"], "metadata": {"labels": {"app": "web", "pod-template-hash": suffix}}}
    ref = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "uid": uid_of(deployment),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"web-{suffix}",
            "namespace": "default",
            "labels": {"app": "web", "pod-template-hash": suffix},
            "annotations": {"deployment.kubernetes.io/desired-replicas": str(deployment["spec"]["replicas"])},
            "ownerReferences": [ref] if owned else [],
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web", "pod-template-hash": suffix}}, "template": template},
    }


async def test_an_orphaned_replica_set_is_adopted_and_counts() -> None:
    """Trap A10: whoever orphans a canary's ReplicaSet under the same labels shrinks stable."""
    async with on_paper() as bench:
        bench.apply(web(replicas=3))
        await bench.until(bench.rolled_out)
        bench.pause("web")
        bench.set_image("web", "app:v2")
        await bench.until(lambda: bench.condition("Progressing").get("reason") == "DeploymentPaused")
        orphan = bench.apply(_replica_set_of(bench.deployment(), "orphan", 2, owned=False))
        await bench.until(lambda: len(bench.sets()) == 2)
        found = bench.store.get(REPLICASETS, "default", name_of(orphan))
        assert found is not None
        assert (controller_of(found) or {})["uid"] == uid_of(bench.deployment())
        await bench.until(lambda: sum(bench.sizes().values()) == 4)
        assert bench.sizes()["app:v1"] < 3


async def test_a_replica_set_whose_labels_no_longer_match_is_released() -> None:
    """Taking the label away makes it nobody's, and its pods live on."""
    async with on_paper() as bench:
        bench.apply(web(replicas=2))
        await bench.until(bench.rolled_out)
        (old,) = bench.sets()
        bench.change(REPLICASETS, name_of(old), lambda rs: meta(rs).update(labels={"app": "other"}))
        await bench.until(lambda: controller_of(bench.store.get(REPLICASETS, "default", name_of(old)) or old) is None)


async def test_recreate_starts_the_new_version_after_the_old_one_has_gone() -> None:
    """No moment with pods of both versions."""
    async with on_paper() as bench:
        bench.apply(web(strategy={"type": "Recreate"}))
        await bench.until(bench.rolled_out)
        mixed: list[set[str]] = []
        bench.store.subscribe(lambda _e, res, _o: mixed.append({image_of(p) for p in bench.pods()}) if res == PODS else None)
        bench.set_image("web", "app:v2")
        await bench.until(bench.rolled_out)
        assert {"app:v1", "app:v2"} not in mixed
        assert bench.sizes() == {"app:v1": 0, "app:v2": 3}


async def test_a_version_that_never_gets_ready_stops_the_roll() -> None:
    """Old pods keep serving, and the deadline is said."""
    async with on_paper() as bench:
        assert bench.paper is not None
        bench.paper.ready = lambda pod: image_of(pod) != "app:bad"
        bench.apply(web(progressDeadlineSeconds=1, minReadySeconds=0))
        await bench.until(bench.rolled_out)
        bench.set_image("web", "app:bad")
        await bench.until(lambda: bench.condition("Progressing").get("reason") == "ProgressDeadlineExceeded")
        assert bench.sizes() == {"app:v1": 3, "app:bad": 1}
        assert bench.condition("Available")["status"] == "True"
        assert bench.condition("Progressing")["status"] == "False"


async def test_pods_are_available_only_after_min_ready_seconds() -> None:
    """Ready at once, available a second later."""
    async with on_paper() as bench:
        bench.apply(web(replicas=1, minReadySeconds=1))
        await bench.until(lambda: status_of(bench.deployment()).get("readyReplicas") == 1)
        assert not status_of(bench.deployment()).get("availableReplicas")
        await bench.until(bench.rolled_out)


async def test_going_back_reuses_the_old_replica_set_and_raises_its_revision() -> None:
    """`kubectl rollout undo` makes revision 1 revision 3 and remembers it."""
    async with on_paper() as bench:
        bench.apply(web())
        await bench.until(bench.rolled_out)
        first = uid_of(bench.sets()[0])
        for image in ("app:v2", "app:v1"):
            bench.set_image("web", image)
            await bench.until(bench.rolled_out)
        back = next(rs for rs in bench.sets() if rs["spec"]["replicas"] == 3)
        assert uid_of(back) == first
        assert meta(back)["annotations"][REVISION] == "3"
        assert meta(back)["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


async def test_old_replica_sets_beyond_the_history_limit_are_deleted() -> None:
    """The newest ones stay."""
    async with on_paper() as bench:
        bench.apply(web(revisionHistoryLimit=1))
        for image in ("app:v1", "app:v2", "app:v3", "app:v4"):
            bench.set_image("web", image)
            await bench.until(bench.rolled_out)
        await bench.until(lambda: set(bench.sizes()) == {"app:v3", "app:v4"})


async def test_unready_and_young_pods_are_deleted_first() -> None:
    """Scaling down takes the pod that serves least."""
    async with on_paper() as bench:
        assert bench.paper is not None
        sick: set[str] = set()
        bench.paper.ready = lambda pod: name_of(pod) not in sick
        bench.apply(web(replicas=3))
        await bench.until(bench.rolled_out)
        victim = name_of(bench.pods()[1])
        sick.add(victim)
        bench.change(PODS, victim, lambda p: meta(p).setdefault("annotations", {}).update(touched="yes"))
        await bench.until(lambda: status_of(bench.deployment()).get("readyReplicas") == 2)
        bench.scale("web", 2)
        await bench.until(lambda: len(bench.pods()) == 2)
        assert victim not in {name_of(p) for p in bench.pods()}


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_deleting_a_deployment_ends_its_pods(propagation: str) -> None:
    """The garbage collector follows the owners down; in the foreground the owner goes last."""
    async with on_paper() as bench:
        assert bench.paper is not None
        bench.apply(web())
        await bench.until(bench.rolled_out)
        leave = False
        bench.paper.drain = lambda _pod: leave
        bench.delete(DEPLOYMENTS, "web", propagation=propagation)
        await bench.until(lambda: all(terminating(p) for p in bench.pods()))
        assert (bench.store.get(DEPLOYMENTS, "default", "web") is not None) is (propagation == "Foreground")
        leave = True
        for pod in bench.pods():
            bench.change(PODS, name_of(pod), lambda p: meta(p).setdefault("annotations", {}).update(touched="yes"))
        await bench.until(lambda: not bench.pods() and not bench.store.list(REPLICASETS, "default"))
        await bench.until(lambda: bench.store.get(DEPLOYMENTS, "default", "web") is None)


async def test_orphaning_keeps_the_pods() -> None:
    """`kubectl delete --cascade=orphan` leaves ReplicaSet and pods, without the owner."""
    async with on_paper() as bench:
        bench.apply(web())
        await bench.until(bench.rolled_out)
        name = name_of(bench.sets()[0])
        bench.delete(DEPLOYMENTS, "web", propagation="Orphan")
        await bench.until(lambda: bench.store.get(DEPLOYMENTS, "default", "web") is None)
        await bench.idle()
        left = bench.store.get(REPLICASETS, "default", name)
        assert left is not None
        assert not meta(left).get("ownerReferences")
        assert len(bench.pods()) == 3


async def test_an_object_of_an_owner_that_is_gone_is_collected() -> None:
    """A dependent created with the uid of nobody does not stay, one with a second living owner does."""
    async with on_paper() as bench:
        bench.apply(web(replicas=1))
        await bench.until(bench.rolled_out)
        dead = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}
        living = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid_of(bench.deployment())}
        for name, owners in (("lost", [dead]), ("kept", [dead, living])):
            bench.apply(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "ownerReferences": owners}}
            )
        await bench.until(lambda: bench.store.get("configmaps", "default", "lost") is None)
        kept = await bench.until(lambda: _with_one_owner(bench))
        assert [r["name"] for r in meta(kept)["ownerReferences"]] == ["web"]


def _with_one_owner(bench: Bench) -> Object | None:
    found = bench.store.get("configmaps", "default", "kept")
    return found if found is not None and len(meta(found)["ownerReferences"]) == 1 else None


async def test_deleting_a_namespace_empties_it() -> None:
    """Everything in it goes, pods last, and then the namespace."""
    async with on_paper() as bench:
        bench.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        deployment = web(replicas=2)
        deployment["metadata"]["namespace"] = "shop"
        bench.apply(deployment)
        await bench.until(lambda: len(bench.store.list(PODS, "shop")) == 2)
        bench.delete("namespaces", "shop", ns="")
        await bench.until(lambda: bench.store.get("namespaces", "", "shop") is None)
        assert bench.store.list(PODS, "shop") == []


async def test_endpoints_follow_readiness_and_deletion() -> None:
    """Not ready: known but not served; ready: served; leaving: still serving, but no new requests."""
    async with on_paper() as bench:
        assert bench.paper is not None
        ready = drained = False
        bench.paper.ready = lambda _pod: ready
        bench.paper.drain = lambda _pod: drained
        bench.apply(service())
        bench.apply(web(replicas=1))
        (endpoint,) = await bench.until(bench.endpoints)
        assert endpoint["conditions"] == {"ready": False, "serving": False, "terminating": False}
        ready = True
        _touch(bench)
        await bench.until(lambda: [e["conditions"]["ready"] for e in bench.endpoints()] == [True])
        bench.scale("web", 0)
        await bench.until(lambda: [e["conditions"]["terminating"] for e in bench.endpoints()] == [True])
        (endpoint,) = bench.endpoints()
        assert endpoint["conditions"] == {"ready": False, "serving": True, "terminating": True}
        drained = True
        _touch(bench)
        await bench.until(lambda: not bench.endpoints())


def _touch(bench: Bench) -> None:
    for pod in bench.pods():
        bench.change(PODS, name_of(pod), lambda p: meta(p).setdefault("annotations", {}).update(touched=str(bench.store.revision)))


async def test_named_ports_are_resolved_at_each_pod() -> None:
    """Two versions that name the same port differently numbered land in two slices of one Service."""
    async with on_paper() as bench:
        bench.apply(service(ports=[{"name": "http", "port": 80, "targetPort": "web"}]))
        for name, port in (("one", 8080), ("two", 9090)):
            bench.apply(web(name=name, replicas=1, container={"ports": [{"name": "web", "containerPort": port}]}))
        for name in ("one", "two"):
            bench.change(DEPLOYMENTS, name, lambda d: d["spec"]["template"]["metadata"]["labels"].update(group="both"))
        bench.change("services", "web", lambda s: s["spec"].update(selector={"group": "both"}))
        await bench.until(lambda: len(bench.endpoints()) == 2)
        slices = bench.store.list("endpointslices.discovery.k8s.io", "default")
        assert sorted(s["ports"][0]["port"] for s in slices if s["endpoints"]) == [8080, 9090]
