"""The Deployment controller: ReplicaSets come and go, grow and shrink, as the native one would have them.

The decisions are `rolling` and `conditions`; this is the order in which they are taken and written. That order is what a hold leans
on: a paused Deployment is scaled and cleaned up but gets no new ReplicaSet, and one that is scaled back from zero revives whichever
ReplicaSet is the newest.
"""

import copy
import time
from collections.abc import Iterable, Sequence

from daemon.sandbox.controllers import conditions, rolling
from daemon.sandbox.controllers.access import DEPLOYMENTS, PODS, REPLICASETS, Access
from daemon.sandbox.controllers.objects import (
    Object,
    annotations_of,
    condition_of,
    controller_of,
    controller_ref,
    created,
    is_controlled_by,
    labels_of,
    matches,
    meta,
    name_of,
    namespace_of,
    same_template,
    selects_everything,
    status_of,
    terminating,
    total,
    uid_of,
)
from daemon.sandbox.controllers.rolling import replicas_of
from daemon.sandbox.controllers.runtime import Key
from daemon.sandbox.errors import ApiError, conflict

HASH_LABEL = "pod-template-hash"
_HISTORY_CHARS = 2000


class DeploymentController:
    name = "deployment-controller"

    def __init__(self, access: Access) -> None:
        self._api = access

    def start(self) -> Iterable[Key]:
        return [(namespace_of(d), name_of(d)) for d in self._api.list(DEPLOYMENTS)]

    def keys(self, event: str, resource: str, obj: Object) -> Iterable[Key]:
        if resource == DEPLOYMENTS:
            yield namespace_of(obj), name_of(obj)
        elif resource == REPLICASETS:
            yield from self._of_replica_set(obj)
        elif resource == PODS and event == "DELETED":
            owner = controller_of(obj)
            replica_set = self._api.get(REPLICASETS, namespace_of(obj), owner["name"]) if owner is not None else None
            if replica_set is not None:
                yield from self._of_replica_set(replica_set)

    def _of_replica_set(self, replica_set: Object) -> Iterable[Key]:
        owner = controller_of(replica_set)
        if owner is not None:
            if owner["kind"] == "Deployment":
                yield namespace_of(replica_set), owner["name"]
            return
        for deployment in self._api.list(DEPLOYMENTS, namespace_of(replica_set)):
            if matches(deployment["spec"].get("selector"), labels_of(replica_set)):
                yield namespace_of(deployment), name_of(deployment)

    def sync(self, key: Key) -> float | None:
        deployment = self._api.get(DEPLOYMENTS, *key)
        if deployment is None:
            return None
        if selects_everything(deployment["spec"].get("selector")):
            self._api.event(
                deployment, "Warning", "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required."
            )
            return None
        return _Pass(self._api, deployment).run()


class _Pass:
    """One look at one Deployment."""

    def __init__(self, api: Access, deployment: Object) -> None:
        self._api = api
        self._deployment = deployment
        self._now = time.time()
        self._sets: list[Object] = []

    def run(self) -> float | None:
        self._sets = self._claim()
        deployment = self._deployment
        if terminating(deployment):
            new, old = self._new_and_old(create=False)
            self._write_status(conditions.calculate(deployment, [*old, new], new, self._now))
            return None
        said = conditions.pause_condition(deployment, self._now)
        if said is not None:
            status = copy.deepcopy(status_of(deployment))
            conditions.set_condition(status, said)
            self._write_status(status)
        if self._deployment["spec"].get("paused") or self._scaling_event():
            self._sync_scale()
            return None
        return self._roll() if rolling.is_rolling(self._deployment) else self._recreate()

    # Which ReplicaSets are ours.

    def _claim(self) -> list[Object]:
        """Ours by owner; an orphan that matches is adopted, an owned one that no longer matches is released."""
        deployment, ours = self._deployment, []
        for replica_set in self._api.list(REPLICASETS, namespace_of(deployment)):
            owner = controller_of(replica_set)
            matching = matches(deployment["spec"].get("selector"), labels_of(replica_set))
            if owner is None and matching and not terminating(deployment) and not terminating(replica_set):
                ours.append(self._own(replica_set, adopt=True))
            elif is_controlled_by(replica_set, deployment) and matching:
                ours.append(replica_set)
            elif is_controlled_by(replica_set, deployment) and not terminating(deployment):
                self._own(replica_set, adopt=False)
        return ours

    def _own(self, replica_set: Object, *, adopt: bool) -> Object:
        refs = [r for r in meta(replica_set).get("ownerReferences") or [] if r["uid"] != uid_of(self._deployment)]
        if adopt:
            refs.append(controller_ref(self._deployment, "apps/v1", "Deployment"))
        meta(replica_set)["ownerReferences"] = refs
        return self._api.update(REPLICASETS, replica_set)

    def _new_and_old(self, *, create: bool) -> tuple[Object | None, list[Object]]:
        found = rolling.find_new(self._deployment, self._sets)
        old = [rs for rs in self._sets if found is None or uid_of(rs) != uid_of(found)]
        revision = max((rolling.revision_of(rs) for rs in old), default=0) + 1
        if found is not None:
            return self._sync_new(found, revision), old
        return (self._create_new(old, revision) if create else None), old

    def _sync_new(self, new: Object, revision: int) -> Object:
        """Keep the revision, the copied annotations and minReadySeconds of the new ReplicaSet in step."""
        changed = _annotate(self._deployment, new, revision)
        seconds = self._deployment["spec"].get("minReadySeconds") or 0
        if changed or (new["spec"].get("minReadySeconds") or 0) != seconds:
            if seconds:
                new["spec"]["minReadySeconds"] = seconds
            else:
                new["spec"].pop("minReadySeconds", None)
            new = self._replace(self._api.update(REPLICASETS, new))
        status = copy.deepcopy(status_of(self._deployment))
        if conditions.deadline_of(self._deployment) is not None and condition_of(status, "Progressing") is None:
            message = f'Found new replica set "{name_of(new)}"'
            conditions.set_condition(status, conditions.new_condition("Progressing", "True", "FoundNewReplicaSet", message, self._now))
        self._write_status(status, revision=annotations_of(new).get(rolling.REVISION))
        return new

    def _create_new(self, old: Sequence[Object], revision: int) -> Object | None:
        new = self._render(revision)
        new["spec"]["replicas"] = size = rolling.new_replicas(self._deployment, [*old, new], new)
        status = copy.deepcopy(status_of(self._deployment))
        try:
            stored = self._api.create(REPLICASETS, new)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return self._collision(new, status)
            message = f'Failed to create new replica set "{name_of(new)}": {error}'
            if conditions.deadline_of(self._deployment) is not None:
                failed = conditions.new_condition("Progressing", "False", "ReplicaSetCreateError", message, self._now)
                conditions.set_condition(status, failed)
                self._write_status(status)
            self._api.event(self._deployment, "Warning", "ReplicaSetCreateError", message)
            raise
        self._sets.append(stored)
        if size > 0:
            self._scaled_event("up", stored, 0, size)
        if conditions.deadline_of(self._deployment) is not None:
            message = f'Created new replica set "{name_of(stored)}"'
            conditions.set_condition(status, conditions.new_condition("Progressing", "True", "NewReplicaSetCreated", message, self._now))
        self._write_status(status, revision=str(revision))
        return stored

    def _collision(self, wanted: Object, status: Object) -> Object:
        """The name is taken: by our own ReplicaSet, or by chance, and then another hash is tried."""
        existing = self._api.get(REPLICASETS, namespace_of(wanted), name_of(wanted))
        template = self._deployment["spec"]["template"]
        if existing is not None and is_controlled_by(existing, self._deployment) and same_template(existing["spec"]["template"], template):
            return existing
        status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
        self._write_status(status)
        raise conflict("replicasets", "apps", name_of(wanted), "it exists with another template; another hash will be tried")

    def _render(self, revision: int) -> Object:
        deployment = self._deployment
        spec = deployment["spec"]
        template = copy.deepcopy(spec["template"])
        digest = rolling.template_hash(template, status_of(deployment).get("collisionCount"))
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = digest
        selector = copy.deepcopy(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
        replica_set: Object = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{name_of(deployment)[: 252 - len(digest)]}-{digest}",
                "namespace": namespace_of(deployment),
                "labels": dict(template["metadata"]["labels"]),
                "annotations": {},
                "ownerReferences": [controller_ref(deployment, "apps/v1", "Deployment")],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        }
        if spec.get("minReadySeconds"):
            replica_set["spec"]["minReadySeconds"] = spec["minReadySeconds"]
        _annotate(deployment, replica_set, revision)
        annotations_of(replica_set).update(_sizes(deployment))
        return replica_set

    # Scaling.

    def _scaling_event(self) -> bool:
        new, old = self._new_and_old(create=False)
        desired = replicas_of(self._deployment)
        noted = [rolling.annotated_number(rs, rolling.DESIRED_REPLICAS) for rs in rolling.active([*old, new])]
        return any(number is not None and number != desired for number in noted)

    def _sync_scale(self) -> None:
        """Scale without rolling: what a paused Deployment gets, and any other when only `replicas` changed."""
        new, old = self._new_and_old(create=False)
        only = rolling.find_active_or_latest(new, old)
        if only is not None:
            self._scale(only, replicas_of(self._deployment))
        elif rolling.is_saturated(self._deployment, new):
            for replica_set in rolling.active(old):
                self._scale(replica_set, 0)
        elif rolling.is_rolling(self._deployment):
            for replica_set, size in rolling.proportional_sizes(self._deployment, [*old, new]):
                self._scale(replica_set, size, force=True)
        if self._deployment["spec"].get("paused"):
            self._cleanup(old)
        new, old = self._current(new), [rs for rs in map(self._current, old) if rs is not None]
        self._write_status(conditions.calculate(self._deployment, [*old, new], new, self._now))

    def _scale(self, replica_set: Object, size: int, *, force: bool = False) -> bool:
        before = replicas_of(replica_set)
        if before == size and not force:
            return False
        annotations = meta(replica_set).setdefault("annotations", {})
        if before == size and annotations | _sizes(self._deployment) == annotations:
            return False
        annotations.update(_sizes(self._deployment))
        replica_set["spec"]["replicas"] = size
        stored = self._replace(self._api.update(REPLICASETS, replica_set))
        if before != size:
            self._scaled_event("up" if before < size else "down", stored, before, size)
        return before != size

    def _scaled_event(self, direction: str, replica_set: Object, before: int, after: int) -> None:
        message = f"Scaled {direction} replica set {name_of(replica_set)} from {before} to {after}"
        self._api.event(self._deployment, "Normal", "ScalingReplicaSet", message)

    # The two strategies.

    def _roll(self) -> float | None:
        new, old = self._new_and_old(create=True)
        assert new is not None
        every = [*old, new]
        if self._grow_new(every, new) or self._shrink_old(every, rolling.active(old), new):
            return self._finish(new)
        if conditions.complete(self._deployment, status_of(self._deployment)):
            self._cleanup(old)
        return self._finish(new)

    def _grow_new(self, every: Sequence[Object], new: Object) -> bool:
        desired = replicas_of(self._deployment)
        if replicas_of(new) == desired:
            return False
        return self._scale(new, desired if replicas_of(new) > desired else rolling.new_replicas(self._deployment, every, new))

    def _shrink_old(self, every: Sequence[Object], old: Sequence[Object], new: Object) -> bool:
        if not old:
            return False
        floor = replicas_of(self._deployment) - rolling.max_unavailable(self._deployment)
        new_unavailable = replicas_of(new) - total([new], "status", "availableReplicas")
        limit = sum(map(replicas_of, every)) - floor - new_unavailable
        if limit <= 0:
            return False
        scaled = [self._scale(rs, size) for rs, size in rolling.unhealthy_cleanup(old, limit)]
        fresh = [rs for rs in map(self._current, old) if rs is not None]
        scaled += [self._scale(rs, size) for rs, size in rolling.old_scale_down(self._deployment, [*fresh, new], fresh)]
        return any(scaled)

    def _recreate(self) -> float | None:
        new, old = self._new_and_old(create=False)
        scaled = [self._scale(rs, 0) for rs in rolling.active(old)]
        if any(scaled) or self._old_pods_running(new, old):
            return self._finish(new)
        if new is None:
            new, old = self._new_and_old(create=True)
        assert new is not None
        self._scale(new, replicas_of(self._deployment))
        if conditions.complete(self._deployment, status_of(self._deployment)):
            self._cleanup(old)
        return self._finish(new)

    def _old_pods_running(self, new: Object | None, old: Sequence[Object]) -> bool:
        if total(old, "status", "replicas") > 0:
            return True
        others = {uid_of(rs) for rs in self._sets if new is None or uid_of(rs) != uid_of(new)}
        pods = self._api.list(PODS, namespace_of(self._deployment))
        return any(
            (controller_of(pod) or {}).get("uid") in others and status_of(pod).get("phase") not in {"Failed", "Succeeded"} for pod in pods
        )

    def _cleanup(self, old: Sequence[Object]) -> None:
        """Keep as many empty old ReplicaSets as revisionHistoryLimit allows."""
        limit = self._deployment["spec"].get("revisionHistoryLimit")
        if limit is None or limit == conditions.NO_DEADLINE:
            return
        current = [rs for rs in map(self._current, old) if rs is not None and not terminating(rs)]
        alive = sorted(current, key=lambda rs: (rolling.revision_of(rs), created(rs), name_of(rs)))
        for replica_set in alive[: max(0, len(alive) - limit)]:
            status = status_of(replica_set)
            stale = meta(replica_set).get("generation", 0) > status.get("observedGeneration", 0)
            if not status.get("replicas") and replicas_of(replica_set) == 0 and not stale:
                self._api.delete(REPLICASETS, replica_set)

    # Writing.

    def _finish(self, new: Object | None) -> float | None:
        """Status at the end of a pass over a Deployment that rolls."""
        current = self._current(new)
        status = conditions.rollout_status(self._deployment, self._sets, current, self._now)
        self._write_status(status)
        return conditions.next_progress_check(self._deployment, status, self._now)

    def _write_status(self, status: Object, *, revision: str | None = None) -> None:
        deployment = copy.deepcopy(self._deployment)
        if revision is not None:
            meta(deployment).setdefault("annotations", {})[rolling.REVISION] = revision
        deployment["status"] = status
        if not deployment["status"].get("conditions"):
            deployment["status"].pop("conditions", None)
        if deployment != self._deployment:
            self._deployment = self._api.update(DEPLOYMENTS, deployment, subresource="status")

    def _replace(self, replica_set: Object) -> Object:
        self._sets = [replica_set if uid_of(rs) == uid_of(replica_set) else rs for rs in self._sets]
        return replica_set

    def _current(self, replica_set: Object | None) -> Object | None:
        if replica_set is None:
            return None
        return next((rs for rs in self._sets if uid_of(rs) == uid_of(replica_set)), replica_set)


def _sizes(deployment: Object) -> dict[str, str]:
    desired = replicas_of(deployment)
    return {rolling.DESIRED_REPLICAS: str(desired), rolling.MAX_REPLICAS: str(desired + rolling.max_surge(deployment))}


def _annotate(deployment: Object, replica_set: Object, revision: int) -> bool:
    """Copy the Deployment's annotations and raise the revision; a set that comes back remembers its former revisions."""
    annotations = meta(replica_set).setdefault("annotations", {})
    before = dict(annotations)
    annotations.update({k: v for k, v in annotations_of(deployment).items() if k not in rolling.NOT_COPIED})
    old = rolling.revision_of(replica_set)
    if old < revision:
        annotations[rolling.REVISION] = str(revision)
        if rolling.REVISION in before:
            history = [*filter(None, annotations.get(rolling.REVISION_HISTORY, "").split(",")), before[rolling.REVISION]]
            while len(",".join(history)) > _HISTORY_CHARS:
                history.pop(0)
            annotations[rolling.REVISION_HISTORY] = ",".join(history)
    return bool(annotations != before)
