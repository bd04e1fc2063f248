"""The one error tree of the package, so that a caller decides on `reason` and `retryable` and never on a message.

Expected trouble of a metric source (no data, a refused login, a partial answer) is *not* an exception: it is a typed
outcome in `analyzers.sources.protocol`. What is raised here is a mistake in the configuration or in the data's shape.
"""

from __future__ import annotations


class AnalysisError(Exception):
    """Root of everything `analyzers` raises on purpose."""

    def __init__(self, message: str, *, reason: str = "AnalysisError", retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class ConfigError(AnalysisError):
    """A field of the analysis cannot be used; the message names the field, the value and the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="InvalidAnalysis")


class TickOrderError(AnalysisError):
    """Ticks came twice, out of order or permuted: evidence that cannot be trusted is refused."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="TickOutOfOrder")


class EvidenceError(AnalysisError):
    """A stored evidence log is damaged, of an unknown version, or does not match its own digest."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="EvidenceRefused")
