"""A Job that answers by its exit code: what an owner may write of it.

Bounds that are absurd are refused, so that no Job outlives its release for long, is tried for ever, or is gone before its answer was read.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from daemon.api import names
from daemon.api.fields import Model, doc

BACKOFF: Final = (0, 6, 0)  # least, most, and what is meant where nothing is said
ACTIVE: Final = (1, 86_400, 600)
KEPT: Final = (600, 604_800, 3600)  # long enough for a daemon that was away to read the answer
BOUNDS: Final = {"backoffLimit": BACKOFF, "activeDeadlineSeconds": ACTIVE, "ttlSecondsAfterFinished": KEPT}
TAKEN: Final = {
    "suspend": "a Job that is suspended answers nothing: leave it out",
    "selector": "the Job controller makes the selector: leave it out",
    "manualSelector": "the Job controller makes the selector: leave it out",
    "managedBy": "only the native Job controller is understood: leave it out",
}
Labels = Annotated[dict[str, str], msgspec.Meta(max_length=16)]
ExitCode = Annotated[int, msgspec.Meta(ge=1, le=255)]


class JobMetadata(Model, frozen=True, kw_only=True):
    labels: Labels | None = None
    annotations: Labels | None = None


class JobCheck(Model, frozen=True, kw_only=True):
    """A Job in the Canary's namespace: exit code 0 succeeds, any other fails, with its last lines of log as the reason."""

    spec: Annotated[
        dict[str, Any],
        doc(
            "Of a batch/v1 Job. backoffLimit is 0, activeDeadlineSeconds 600 and ttlSecondsAfterFinished 3600 where left out; restartPolicy "
            "is Never."
        ),
    ]
    metadata: Annotated[JobMetadata | None, doc("Labels and annotations of the Job.")] = None
    inconclusive_exit_codes: Annotated[
        Annotated[list[ExitCode], msgspec.Meta(max_length=16)] | None, doc("Exit codes that say neither good nor bad.")
    ] = None


class JobFault(NamedTuple):
    """What is wrong: the path below the job, the value, the message with the way out."""

    path: str
    value: Any
    message: str


def faults(job: JobCheck) -> Iterator[JobFault]:
    """Everything wrong with it that shows before the API server sees it."""
    for field, message in TAKEN.items():
        if field in job.spec:
            yield JobFault(f".spec.{field}", job.spec[field], message)
    for field, (least, most, _) in BOUNDS.items():
        value = job.spec.get(field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most):
            yield JobFault(f".spec.{field}", value, f"is {value!r}: it must be a whole number between {least} and {most}")
    template = job.spec.get("template")
    pod = template.get("spec") if isinstance(template, dict) else None
    if not isinstance(template, dict) or not isinstance(pod, dict):
        yield JobFault(".spec.template.spec", None, "is missing: write the pod whose exit code is the answer")
        return
    policy = pod.get("restartPolicy", "Never")
    if policy != "Never":
        message = f"is {policy}: write Never, since the log of a container that is started again would be lost; backoffLimit tries again"
        yield JobFault(".spec.template.spec.restartPolicy", policy, message)
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers or not all(isinstance(c, dict) and c.get("image") for c in containers):
        yield JobFault(".spec.template.spec.containers", None, "needs at least one container, each with an image")
    yield from _label_faults(job, template)


def _label_faults(job: JobCheck, template: Mapping[str, Any]) -> Iterator[JobFault]:
    metadata = template.get("metadata")
    pods = metadata.get("labels") if isinstance(metadata, dict) else None
    own = job.metadata.labels if job.metadata is not None else None
    for where, labels in ((".metadata.labels", own), (".spec.template.metadata.labels", pods)):
        ours = next((key for key in labels or {} if str(key).startswith(f"{names.GROUP}/")), None)
        if ours is not None:
            yield JobFault(where, ours, f"{ours} is Linnet's own: choose a label of yours")


def limit(job: JobCheck, field: str) -> int:
    """A bound as it is in force."""
    value = job.spec.get(field)
    return value if isinstance(value, int) else BOUNDS[field][2]


def secrets_named(job: JobCheck) -> frozenset[str]:
    """Secrets whose values its containers could print."""
    pod = job.spec.get("template", {}).get("spec", {})
    return frozenset(_secrets_in(pod))


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for entry in value:
            yield from _secrets_in(entry)
    elif isinstance(value, dict):
        for key, below in value.items():
            if key in ("secretKeyRef", "secretRef", "secret") and isinstance(below, dict):
                name = below.get("secretName") or below.get("name")
                if isinstance(name, str):
                    yield name
            yield from _secrets_in(below)
