"""Conditions that kubectl, Flux, Argo CD and Helm understand without knowing Linnet.

kstatus reads them so: `Reconciling` true means under way, `Stalled` true means that nothing happens without a change, `Ready`
says how it ended. `Promoted` and `Failed` are final for one revision, which each condition names, so that waiting for the
release just applied cannot be satisfied by the one before.
"""

from typing import Final, Literal, NamedTuple

from daemon.api.status import Condition, FlagStatus, Phase, VerdictStatus, Waiting

Status = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT: Final = 4096
GATE: Final = "GateNotWired"  # of those Canaries alone that have gated flags
PENDING: Final = "FlagRollbackPending"  # there only while it is true, as is the next
DUE: Final = "FlagRemovalDue"
UNMET: Final = "NoExposure"  # the same, as is the next
MISMATCH: Final = "ExposureMismatch"
UNTRIED: Final = "SourceUntried"  # the same
OBSERVED: Final = "Observed"  # of those alone that only observe


class Standing(NamedTuple):
    """How a phase looks to someone who only knows kstatus."""

    ready: Status
    reconciling: Status
    stalled: Status


UNDER_WAY: Final = Standing("Unknown", "True", "False")
STUCK: Final = Standing("False", "False", "True")
NOT_PROMOTED: Final = ("Fail", "NoData", "Inconclusive")  # at the end of a rollout each of them means that it was taken back
FINE: Final = Standing("True", "False", "False")

STANDINGS: Final[dict[Phase, Standing]] = {
    "Pending": UNDER_WAY,
    "Idle": FINE,
    "Starting": UNDER_WAY,
    "Progressing": UNDER_WAY,
    "Paused": UNDER_WAY,
    "Promoting": UNDER_WAY,
    "RollingBack": UNDER_WAY,
    "Inconclusive": UNDER_WAY,  # a person or its own deadline moves it on
    "Held": STUCK,
    "Settling": UNDER_WAY,
    "Bypassed": STUCK,
    "StableLost": STUCK,
    "Observing": FINE,  # the Deployment itself says how it rolls
    "Deleting": UNDER_WAY,
}


def conditions(
    previous: list[Condition],
    *,
    phase: Phase,
    verdict: VerdictStatus | None,
    sentence: str,
    generation: int,
    revision: str | None,
    now: str,
    refused: str | None = None,
) -> list[Condition]:
    """The five conditions. `revision` is the one they speak of; `refused` is a reason (CamelCase) why nothing can start."""
    mine = verdict is not None and verdict.revision == revision
    result = verdict.result if verdict is not None and mine else "Pending"
    over = phase in ("Idle", "Held")
    failed, promoted = over and result in NOT_PROMOTED, phase == "Idle" and result == "Pass"
    standing = STUCK if refused or failed else STANDINGS[phase]
    reason = refused or ("RolledBack" if failed else "Promoted" if promoted else phase)
    ended = failed or (over and result == "Pass")
    states: dict[str, tuple[Status, str]] = {
        "Ready": (standing.ready, reason),
        "Reconciling": (standing.reconciling, reason),
        "Stalled": (standing.stalled, reason),
        "Promoted": ("True" if promoted else "False" if ended else "Unknown", reason),
        "Failed": ("True" if failed else "False" if ended else "Unknown", reason),
    }
    before = {condition.type: condition for condition in previous}
    return [
        Condition(
            type=name,
            status=status,
            reason=why,
            message=sentence[:MESSAGE_LIMIT],
            observed_generation=generation,
            observed_revision=revision,
            last_transition_time=_since(before.get(name), status, revision, now),
        )
        for name, (status, why) in states.items()
    ]


def gate_condition(
    previous: list[Condition], *, phase: Phase, waiting: Waiting | None, generation: int, revision: str | None, now: str
) -> Condition:
    """Of a Canary with gated flags: whether its pods can tell their track. What was found in one release holds until the next."""
    before = next((c for c in previous if c.type == GATE), None)
    if waiting is not None and waiting.reason == GATE:
        status, reason, message = "True", "TrackMissing", waiting.message
    elif phase in ("Progressing", "Paused", "Inconclusive", "Promoting"):
        status, reason, message = "False", "TrackSeen", "a canary pod of this revision gets its track from Linnet"
    elif before is not None and before.status == "False":
        status, reason, message = "False", before.reason, before.message
    else:
        status, reason, message = "Unknown", "NotLookedAt", "looked at in the first canary pod, before the first step"
    known: Status = "True" if status == "True" else "False" if status == "False" else "Unknown"
    return _noted(previous, GATE, reason, message, status=known, generation=generation, revision=revision, now=now)


def pending_condition(previous: list[Condition], message: str, *, generation: int, revision: str | None, now: str) -> Condition:
    """Flags that are still on after the traffic was taken back without them: somebody may have to turn them off by hand."""
    return _noted(previous, PENDING, "SourceAway", message, generation=generation, revision=revision, now=now)


def due_condition(previous: list[Condition], message: str, *, generation: int, revision: str | None, now: str) -> Condition:
    """Flags that were promoted long ago and are still in the code."""
    return _noted(previous, DUE, "RemoveAfter", message, generation=generation, revision=revision, now=now)


def source_condition(previous: list[Condition], message: str, *, generation: int, revision: str | None, now: str) -> Condition:
    """Metric sources that Linnet asks by the word of their vendors alone: nobody tried it on a running one."""
    return _noted(previous, UNTRIED, "NotLive", message, generation=generation, revision=revision, now=now)


def usage_conditions(
    previous: list[Condition], flags: list[FlagStatus], *, generation: int, revision: str | None, now: str
) -> list[Condition]:
    """Flags that nobody met, or not as often as was set: what is learnt of the release says little or nothing of them."""
    found = []
    for kind, reason in ((UNMET, "NeverOn"), (MISMATCH, "ShareFarOff")):
        told = "; ".join(f.usage.message for f in flags if f.usage is not None and f.usage.found == kind)
        if told:
            found.append(_noted(previous, kind, reason, told, generation=generation, revision=revision, now=now))
    return found


def observed_condition(
    previous: list[Condition], outcome: str, message: str, *, generation: int, revision: str | None, now: str
) -> Condition:
    """Of a Canary that only observes: whether Linnet would have released the revision that was last watched."""
    status: Status = "True" if outcome == "WouldPromote" else "False" if outcome == "WouldRollBack" else "Unknown"
    return _noted(previous, OBSERVED, outcome, message, status=status, generation=generation, revision=revision, now=now)


def group_conditions(previous: list[Condition], wrong: str, phase: str, sentence: str, *, generation: int, now: str) -> list[Condition]:
    """Of a ReleaseGroup: whether it is right, and whether nothing of it moves any more."""
    frozen = phase == "Frozen"
    refused: Status = "False" if wrong else "True"
    stands: Status = "True" if frozen else "False"
    reason, message = ("Refused", wrong) if wrong else ("Accepted", "")
    return [
        _noted(previous, "Accepted", reason, message, status=refused, generation=generation, revision=None, now=now),
        _noted(previous, "Frozen", phase, sentence if frozen else "", status=stands, generation=generation, revision=None, now=now),
    ]


def _noted(
    previous: list[Condition],
    kind: str,
    reason: str,
    message: str,
    *,
    status: Status = "True",
    generation: int,
    revision: str | None,
    now: str,
) -> Condition:
    """A condition beside those that every Canary has, or of another kind; most are there only while they are true."""
    before = next((c for c in previous if c.type == kind), None)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        observed_generation=generation,
        observed_revision=revision,
        last_transition_time=_since(before, status, revision, now),
    )


def _since(old: Condition | None, status: Status, revision: str | None, now: str) -> str:
    """When the status became what it is; for another revision it is news even where the word is the same."""
    if old is None or old.status != status or old.observed_revision != revision or old.last_transition_time is None:
        return now
    return old.last_transition_time
