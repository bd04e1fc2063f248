"""What can go wrong on the way to people. Messages of these errors never carry an address: an incoming webhook's URL is its password."""


class NotifyError(Exception):
    """Root of this package. `reason` is CamelCase, fit for a Kubernetes condition."""

    reason: str = "NotifyFailed"
    retryable: bool = False


class InvalidTargetError(NotifyError):
    """The text in the Secret is not an address we can post to."""

    reason = "NotifierInvalid"


class DeliveryError(NotifyError):
    """The service did not take the message."""

    reason = "NotifyFailed"

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
