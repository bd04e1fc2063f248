"""One thing to tell, as plain values: what happened, to what, who did it, the numbers and what to do next.

The sentence is built where the decision is made; here it is only carried. Everything is text, so that no service needs to know
what a Canary is.
"""

from typing import Literal, get_args

import msgspec

Kind = Literal["Started", "Step", "Paused", "Promoted", "RolledBack", "Inconclusive", "FlagDue", "Observed", "Digest", "Test"]
Severity = Literal["info", "success", "warning", "failure"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SEVERITY: dict[Kind, Severity] = {
    "Started": "info",
    "Step": "info",
    "Paused": "warning",
    "Promoted": "success",
    "RolledBack": "failure",
    "Inconclusive": "warning",
    "FlagDue": "warning",
    "Observed": "info",
    "Digest": "info",
    "Test": "info",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What people are told. `who` acted (a user or "linnet"), `command` is what to type next, `link` where to read more."""

    kind: Kind
    severity: Severity
    cluster: str
    namespace: str
    name: str
    revision: str
    sentence: str
    who: str = "linnet"
    facts: tuple[tuple[str, str], ...] = ()
    command: str = ""
    link: str = ""

    def subject(self) -> tuple[str, str, str]:
        """Whose rollout this is about."""
        return (self.cluster, self.namespace, self.name)


def severity_of(kind: Kind) -> Severity:
    """How loud a kind is unless the caller knows better."""
    return _SEVERITY[kind]


def trial(*, cluster: str, namespace: str, notifier: str, who: str) -> Message:
    """What `linnet notify test` sends: proof that the way to people works, and which Notifier it was."""
    return Message(
        kind="Test",
        severity=severity_of("Test"),
        cluster=cluster,
        namespace=namespace,
        name=notifier,
        revision="",
        sentence=f"Test message of Notifier {namespace}/{notifier}: what you read here is how releases will be announced.",
        who=who,
        facts=(("Sent by", "linnet notify test"),),
    )
