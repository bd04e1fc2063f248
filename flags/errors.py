"""What can go wrong with a flag, so that the caller can tell "try again" from "a person must act".

The daemon never inspects messages: it branches on the class, shows `reason` as the condition's reason and the text to people.
"""

from typing import Literal

Direction = Literal["lower", "higher", "other"]


class FlagError(Exception):
    """Root of everything a provider raises. `reason` is CamelCase, fit for a Kubernetes condition."""

    reason: str = "FlagError"
    retryable: bool = False


class Retryable(FlagError):
    """The source did not answer, or not in time; the same call may succeed later."""

    reason = "FlagSourceUnavailable"
    retryable = True


class Conflict(Retryable):
    """Somebody wrote between our read and our write. Nothing was changed; read again and decide again."""

    reason = "FlagWriteConflict"


class Forbidden(FlagError):
    """The source refused our rights."""

    reason = "FlagSourceForbidden"


class Missing(FlagError):
    """The source, its document or the flag does not exist."""

    reason = "FlagNotFound"


class Invalid(FlagError):
    """A value we cannot work with: names the field, the value and the way out."""

    reason = "FlagInvalid"

    def __init__(self, *, field: str, value: object, problem: str, way_out: str) -> None:
        super().__init__(f"{field} is {_short(value)}: {problem}. {way_out}")
        self.field = field
        self.value = value
        self.problem = problem
        self.way_out = way_out


class Busy(FlagError):
    """Another Canary drives this flag."""

    reason = "FlagBusy"

    def __init__(self, message: str, *, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class Exposed(FlagError):
    """The flag already reaches requests that no gate of ours holds back, so a canary of it would prove nothing."""

    reason = "FlagAlreadyExposed"


class Drifted(FlagError):
    """The flag is not what we wrote. `lower`: a person pulled the brake; `higher`: somebody exposed more."""

    reason = "FlagDrifted"

    def __init__(self, message: str, *, direction: Direction, by: str) -> None:
        super().__init__(message)
        self.direction: Direction = direction
        self.by = by


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
