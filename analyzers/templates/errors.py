"""What can be wrong with a template: its own fault, named with the place, never a verdict about a release."""

from analyzers.errors import AnalysisError


class ConditionError(AnalysisError):
    """A condition cannot be read or cannot be answered. `at` counts characters from 1."""

    def __init__(self, message: str, *, at: int | None = None) -> None:
        super().__init__(message if at is None else f"{message} (at character {at})", reason="InvalidCondition")
        self.at = at


class ArgError(AnalysisError):
    """An argument is unknown, missing or cannot be used where it stands."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="InvalidArgs")


class PathError(AnalysisError):
    """A JSON path cannot be read, or leads nowhere in an answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="InvalidPath")
