"""The kill switch: flags are named, and every release that moves one of them takes all of its flags back at once.

A flag that is bad is noticed by its name, not by the name of the release that moves it, and several may be bad at a time. What follows
is the ordinary way back (promise P3): shares to 0, nothing disabled or deleted, then traffic and pods. At rest a flag is its people's.
"""

from collections.abc import Iterable, Mapping, Sequence

from daemon.api.status import CanaryStatus
from daemon.rollout import rollback
from daemon.rollout.model import Command
from daemon.rollout.turn import Turn

UNREASONED = "say why: it is kept with the release, and in every message about its end"


def driven(status: CanaryStatus) -> Mapping[str, str]:
    """Name -> key of the flags that move with the release under way, also those that no step has raised yet."""
    if status.rollout is None:
        return {}
    planned = {str(f["name"]): str(f.get("key") or f["name"]) for f in (status.rollout.spec or {}).get("flags") or []}
    return planned | {f.name: f.key for f in status.flags}


def named(status: CanaryStatus, flags: Iterable[str]) -> tuple[str, ...]:
    """Those of `flags`, by name or key, that move with the release under way."""
    known = driven(status)
    return tuple(flag for flag in flags if flag in known or flag in known.values())


def unmoved(statuses: Sequence[CanaryStatus], flags: Iterable[str]) -> tuple[str, ...]:
    """Those of `flags` that no release moves."""
    found = {flag for status in statuses for flag in driven(status).items()}
    known = {word for pair in found for word in pair}
    return tuple(flag for flag in flags if flag not in known)


def refusal(turn: Turn) -> str:
    """A release without flags has no kill switch, and is not ended by mistake."""
    return "" if turn.plan.flags else f"no flag moves with this release; linnet abort {turn.name} takes it back"


def kill(turn: Turn, command: Command, why: str) -> None:
    """As an abort; the sentence says that it was about the flags."""
    flags = ", ".join(driven(turn.status).values())
    rollback.begin(turn, "Aborted", f"flags {flags} killed by {command.by or 'a person'}{why}")
