"""What must agree before a release goes on: a Job that ends well, or a receiver of the owner's that says so when it is asked.

A gate has a deadline and an answer of the owner's for the case that nobody opens it (promise P6). Every request is signed: a receiver that
opens gates for anybody would be one that nobody should have.
"""

from typing import Annotated, Literal

import msgspec

from daemon.api import jobs
from daemon.api.errors import Errors, fault
from daemon.api.fields import Duration, Model, Name, doc
from daemon.api.jobs import JobCheck, Labels
from daemon.api.quantities import parse_duration
from daemon.api.sources import SecretRef
from daemon.api.templates import address_problem

GatePoint = Literal["Start", "FirstStep", "EachStep", "Promotion", "Rollback"]


class Webhook(Model, frozen=True, kw_only=True):
    """A signed POST. 2xx opens the gate, 403 and 409 keep it closed and say why; anything else is asked again."""

    url: Annotated[
        str, msgspec.Meta(min_length=1, max_length=2048), doc("http or https; addresses of the node and of cloud metadata are refused.")
    ]
    signing_key_secret_ref: Annotated[SecretRef, doc("The key of the HMAC-SHA256 signature, in the Canary's namespace.")]
    timeout_seconds: Annotated[Annotated[int, msgspec.Meta(ge=1, le=60)] | None, doc("Of one request. Default 10.")] = None
    metadata: Annotated[Labels | None, doc("Sent along as it is.")] = None


class StepGate(Model, frozen=True, kw_only=True):
    """A Job or a webhook: exactly one."""

    job: Annotated[JobCheck | None, doc("Opens the gate when it succeeds, and ends the release when it fails.")] = None
    webhook: Webhook | None = None
    timeout: Annotated[Duration, doc("How long it is waited for; the judge's deadline waits as well.")]
    on_timeout: Annotated[
        Literal["Rollback", "Promote", "Wait"] | None,
        doc("Where it stays closed: Rollback (the default), Promote (go on), or Wait without end."),
    ] = None


class ReleaseGate(Model, frozen=True, kw_only=True):
    """A gate at a point of every release: a Job or a webhook, exactly one."""

    name: Name
    at: Annotated[
        GatePoint,
        doc(
            "Start: before any canary pod (a migration). FirstStep: canary pods are ready, nobody meets them. EachStep: before each later step. "
            "Promotion. Rollback: a webhook that is asked all the time, and 2xx ends the release."
        ),
    ]
    job: Annotated[JobCheck | None, doc("Opens the gate when it succeeds, and ends the release when it fails.")] = None
    webhook: Webhook | None = None
    timeout: Annotated[Duration | None, doc("How long it is waited for; needed, but at Rollback.")] = None
    on_timeout: Annotated[
        Literal["Rollback", "Promote", "Wait"] | None,
        doc("Where it stays closed: Rollback (the default), Promote (go on), or Wait without end."),
    ] = None


def gate_faults(gate: StepGate | ReleaseGate, path: str) -> Errors:
    """Everything wrong with one gate."""
    if (gate.job is None) == (gate.webhook is None):
        yield fault(path, None, "needs a job or a webhook, and not both", "NotOneKind")
    if gate.job is not None:
        for found in jobs.faults(gate.job):
            yield fault(f"{path}.job{found.path}", found.value, found.message)
    problem = address_problem(gate.webhook.url) if gate.webhook is not None else None
    if problem and gate.webhook is not None:
        yield fault(f"{path}.webhook.url", gate.webhook.url, problem)
    if isinstance(gate, ReleaseGate) and gate.at == "Rollback":
        yield from _rollback_faults(gate, path)
    elif gate.timeout is None:
        yield fault(f"{path}.timeout", None, "is missing: say how long it is waited for", "Required")
    elif parse_duration(gate.timeout) <= 0:
        yield fault(f"{path}.timeout", gate.timeout, "must be longer than 0s: somebody has to answer")


def _rollback_faults(gate: ReleaseGate, path: str) -> Errors:
    way_out = "a gate at Rollback is asked as long as the release lasts"
    for field, value in (("timeout", gate.timeout), ("onTimeout", gate.on_timeout)):
        if value is not None:
            yield fault(f"{path}.{field}", value, f"goes without: {way_out}")
    if gate.job is not None:
        yield fault(f"{path}.job", None, f"goes with a webhook alone: {way_out}; let a template run the Job")


def all_gate_faults(gates: list[ReleaseGate], path: str, *, flags_only: bool) -> Errors:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        here = f"{path}[{index}]"
        yield from gate_faults(gate, here)
        if gate.name in seen:
            yield fault(f"{here}.name", gate.name, "is there twice: each gate has a name of its own")
        seen.add(gate.name)
        if flags_only and gate.at == "Start":
            message = "Start is before canary pods, and a release of flags alone has none: use FirstStep"
            yield fault(f"{here}.at", gate.at, message)
