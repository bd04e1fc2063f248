"""Failures of workload writes that are not the API server's own."""


class WorkloadError(Exception):
    """Root of this package's errors.

    Attributes:
        reason: CamelCase word for conditions and Events.
        retryable: whether the next pass may succeed without anyone's help.
    """

    def __init__(self, message: str, *, reason: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class Moved(WorkloadError):
    """The object is no longer what the decision was based on: nothing was written, the next pass decides anew."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Moved", retryable=True)


class NameTaken(WorkloadError):
    """An object of that name exists and is not ours: it is never touched."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="NameTaken")
