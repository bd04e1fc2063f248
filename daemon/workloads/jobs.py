"""The Job that is made of what an owner wrote, and what its end says.

A question (one measurement of one release) has one Job with one name, so that a daemon that was started anew finds the Job of the one
before. What a pod said last is kept by the kubelet in the pod's status: no right to read logs is needed.
"""

import hashlib
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, Final, Literal, NamedTuple

from daemon.api import names
from daemon.api.jobs import BOUNDS, JobCheck, JobMetadata, limit
from daemon.kube.objects import ContainerStatus, Job, Pod, StateTerminated, condition
from daemon.workloads.revisions import label_value

ANSWERS_FOR: Final = f"{names.GROUP}/answers-for"  # annotation: which question of which release it answers
RELEASE: Final = f"{names.GROUP}/release"  # label: a digest of its release
NAME: Final = 52  # characters: its pods have a suffix, and their label `job-name` has 63
TAIL: Final = 300  # characters of what its pod said last
LINES: Final = 3
CUT: Final = 2000  # bytes from which on the kubelet may have cut the first line

# Nodes that drain, and pods that make room for others, say nothing of a release.
_NOT_BLAMED: Final = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}
# The container never ran, or nobody knows how it ended: its exit code is the node's.
_NEVER_RAN: Final = frozenset({"ContainerCannotRun", "StartError", "ContainerStatusUnknown"})


class Question(NamedTuple):
    """What a Job is to answer."""

    namespace: str
    canary: str
    uid: str
    release: str  # the revision, and when its rollout began
    what: str  # template, metric and number of the measurement

    @property
    def id(self) -> str:
        return f"{self.release}/{self.what}"

    @property
    def name(self) -> str:
        digest = hashlib.sha256(f"{self.uid}/{self.id}".encode()).hexdigest()[:10]
        return f"{self.canary.replace('.', '-')[: NAME - len(digest) - 1].rstrip('-')}-{digest}"


class Ended(NamedTuple):
    """How a Job ended. `Error`: it says nothing of the release."""

    phase: Literal["Successful", "Failed", "Inconclusive", "Error"]
    what: str
    said: str = ""  # by its pod, as it was; it may hold what a Secret gave it

    @property
    def text(self) -> str:
        """One sentence, with the last lines of what was said."""
        whole = self.said if len(self.said) < CUT else self.said.partition("\n")[2]
        lines = [line.strip() for line in whole.splitlines() if line.strip()][-LINES:]
        tail = " / ".join(lines)[-TAIL:]
        return f"{self.what}: {tail}" if tail else self.what


def release_label(release: str) -> str:
    return hashlib.sha256(release.encode()).hexdigest()[:16]


def manifest(job: JobCheck, question: Question) -> dict[str, Any]:
    """The whole Job. It goes with its Canary."""
    spec: dict[str, Any] = deepcopy(job.spec)
    for field in BOUNDS:
        spec[field] = limit(job, field)
    spec.setdefault("podFailurePolicy", _NOT_BLAMED)
    pod = spec["template"]["spec"]
    pod["restartPolicy"] = "Never"
    if not pod.get("serviceAccountName"):
        pod.setdefault("automountServiceAccountToken", False)
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    given = job.metadata or JobMetadata()
    labels = {names.OWNER: label_value(question.canary), RELEASE: release_label(question.release)}
    owner = {"apiVersion": names.API_VERSION, "kind": "Canary", "name": question.canary, "uid": question.uid, "controller": True}
    return {
        "metadata": {
            "name": question.name,
            "namespace": question.namespace,
            "labels": (given.labels or {}) | labels,
            "annotations": (given.annotations or {}) | {ANSWERS_FOR: question.id},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def is_answer(job: Job, question: Question) -> bool:
    """Whether this is the Job of the question, and none that has its name."""
    owner = job.metadata.controller()
    return owner is not None and owner.uid == question.uid and job.metadata.annotation(ANSWERS_FOR) == question.id


def over(job: Job) -> bool:
    return _true(job, "Complete") or _true(job, "Failed")


def _true(job: Job, kind: str) -> bool:
    found = condition(job.status.conditions, kind)
    return found is not None and found.status == "True"


def end_of(job: Job, pods: Iterable[Pod], check: JobCheck) -> Ended | None:
    """What its end says; None while it goes on."""
    pods = tuple(pods)
    if _true(job, "Complete"):
        said = next((t.message for t in reversed(_terminated(pods)) if t.message), "")
        return Ended("Successful", f"Job {job.name} succeeded", said)
    if not _true(job, "Failed"):
        return None
    failed = condition(job.status.conditions, "Failed")
    codes = [t for t in _terminated(pods) if t.exit_code and t.reason not in _NEVER_RAN]
    if failed is not None and failed.reason == "DeadlineExceeded":
        late = f"Job {job.name} did not end within {limit(check, 'activeDeadlineSeconds')} s"
        began = bool(codes) or any(c.state.running or c.state.terminated for p in pods for c in p.status.container_statuses or ())
        return Ended("Failed" if began else "Error", late, codes[-1].message if codes else doing(pods))
    if not codes:
        return Ended("Error", f"Job {job.name} failed before any container of it ran", doing(pods) or (failed.message if failed else ""))
    last = codes[-1]
    unclear = last.exit_code in (check.inconclusive_exit_codes or ())
    return Ended("Inconclusive" if unclear else "Failed", f"Job {job.name} ended with exit code {last.exit_code}", last.message)


def _terminated(pods: Iterable[Pod]) -> list[StateTerminated]:
    """Containers that ended, the newest last."""
    found = [c.state.terminated for p in pods for c in _statuses(p) if c.state.terminated is not None]
    return sorted(found, key=lambda t: t.finished_at or "")


def _statuses(pod: Pod) -> Iterator[ContainerStatus]:
    yield from pod.status.init_container_statuses or ()
    yield from pod.status.container_statuses or ()


def doing(pods: Iterable[Pod]) -> str:
    """Why its pod does not run, in the kubelet's own words; empty where it does."""
    for pod in pods:
        for status in _statuses(pod):
            waiting = status.state.waiting
            if waiting is not None and waiting.reason not in ("", "ContainerCreating", "PodInitializing"):
                return f"{status.name}: {waiting.reason}{': ' if waiting.message else ''}{waiting.message}"
        unscheduled = condition(pod.status.conditions, "PodScheduled")
        if unscheduled is not None and unscheduled.status == "False":
            return f"{unscheduled.reason}: {unscheduled.message}"
    return ""
