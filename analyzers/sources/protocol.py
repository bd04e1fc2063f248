"""What a metric source is, and how it answers: with a typed outcome, never with an exception.

A source has one of two uses, or both. Raw counters of each pod, from which the judge takes increments (`MetricSource`); and the value
of a query in the server's own language, which a template's condition looks at (`ValueSource`). What comes aggregated can only be the
second: a sum over pods cannot be told from a reset.

"The server has nothing", "the server is not well", "the answer is incomplete" and "you may not ask" call for different
actions; a float or an empty list cannot carry that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from analyzers.metrics import Selector
from analyzers.series import RawSeries


class HttpReply(NamedTuple):
    """`skew`: by how many seconds the server's clock (its Date header) is ahead of ours, None where it does not say."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    skew: float | None = None


class ReplyTooLarge(OSError):
    """The reply is longer than anything that is read; the message says how long that is."""


class HttpClient(Protocol):
    """How the outside world is reached. Given from outside: deadline, TLS, proxy and address guard are its business.

    `deadline` is in seconds from now. It raises `TimeoutError` when that has passed and `OSError` for any other failure
    of the transport (`ReplyTooLarge` for an endless reply); every HTTP status is a reply. Header names of the reply are
    compared without case.
    """

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply: ...


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A pod whose metrics page can be read. `started_at` (epoch) makes its first counts evidence instead of a base."""

    pod: str
    address: str
    path: str = "/metrics"
    started_at: float | None = None
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}{self.path}"


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Raw samples of one counter in one arm: by matchers where a server is asked, by targets where pods are."""

    selector: Selector
    targets: tuple[Target, ...] = ()


class FailureKind(StrEnum):
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    RATE_LIMITED = "RateLimited"
    BAD_QUERY = "BadQuery"
    TIMEOUT = "Timeout"
    UNREACHABLE = "Unreachable"
    SERVER_ERROR = "ServerError"
    NOT_METRICS = "NotMetrics"
    TOO_MUCH = "TooMuch"
    CLOCK_SKEW = "ClockSkew"


class Samples(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Complete as far as the source knows. `missing` names targets that did not answer this time."""

    series: tuple[RawSeries, ...]
    missing: tuple[str, ...] = ()


class NoData(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The source answered and has nothing for this selector."""

    message: str = "no series match"


class Partial(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The source itself says that something is missing: shown, never used as evidence."""

    series: tuple[RawSeries, ...]
    warnings: tuple[str, ...]


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The source could not answer. `retryable` speaks of the next tick; nothing is retried within one."""

    kind: FailureKind
    retryable: bool
    message: str
    retry_after: float | None = None


Outcome: TypeAlias = Samples | NoData | Partial | Failure


class Value(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a query for a template measured: a number, a list of numbers, or decoded JSON; an empty list or None where there is
    nothing.
    """

    value: Any


ValueOutcome: TypeAlias = Value | Failure


class MetricSource(Protocol):
    """Where raw counter samples come from.

    `settle_scrapes` is how many scrapes to wait before a tick is final, `ingestion_delay` what the source adds to that,
    `backfills` whether samples of the past can still be read after a restart.
    """

    @property
    def settle_scrapes(self) -> int: ...

    @property
    def ingestion_delay(self) -> float: ...

    @property
    def backfills(self) -> bool: ...

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        """One outcome per query: raw samples of (at - window, at]."""
        ...


class ValueSource(Protocol):
    """Where a template's values come from."""

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        """What `query`, in the server's language, is at `at` (epoch seconds)."""
        ...
