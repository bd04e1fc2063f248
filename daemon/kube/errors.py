"""One tree for everything that can go wrong between us and an API server.

A caller must be able to say `except Conflict` without knowing whether a status code, an in-stream ERROR event, a reset socket or
a page of HTML from a proxy was the cause, and a retry loop must be able to ask `error.retryable` without a table of its own. So
every failure that leaves this package is one of these classes, and the transport's own exception stays as the `__cause__`.
"""

import re
from collections.abc import Mapping

import msgspec


class KubeError(Exception):
    """Root of the package.

    Attributes:
        reason: Kubernetes' CamelCase word ("Conflict"), fit for a condition or a metric label.
        retryable: whether the same call may succeed later without anyone changing the request.
        status: the HTTP status, or None when no reply came.
        message: what the server (or the socket) said.
        retry_after: seconds that the server asked us to stay away, or None.
    """

    reason: str = "Unknown"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retryable: bool | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        if reason:
            self.reason = reason
        if retryable is not None:
            self.retryable = retryable


class NotFound(KubeError):
    """404: the object, or the whole kind, is not there."""

    reason = "NotFound"


class Conflict(KubeError):
    """409: somebody wrote first, or another manager owns a field. Read again, then decide again."""

    reason = "Conflict"
    retryable = True


class AlreadyExists(Conflict):
    """409 on a create: the name is taken. Repeating the same create cannot help."""

    reason = "AlreadyExists"
    retryable = False


class Invalid(KubeError):
    """400 or 422: the server understood the request and refuses its content."""

    reason = "Invalid"


class PatchTestFailed(Invalid):
    """Our JSON Patch does not fit: a `test` failed, or a path is missing. The object is no longer what we decided on: read it again."""

    reason = "PatchTestFailed"
    retryable = True


class Forbidden(KubeError):
    """403: RBAC, a quota or an admission policy said no; the message says which."""

    reason = "Forbidden"


class Unauthorized(KubeError):
    """401: the credentials are missing, wrong or expired; a rotated token heals it."""

    reason = "Unauthorized"
    retryable = True


class Gone(KubeError):
    """410: the resourceVersion (or the page token) is too old; list anew."""

    reason = "Expired"
    retryable = True


class TooManyRequests(KubeError):
    """429: priority and fairness, or an eviction that a PodDisruptionBudget forbids just now."""

    reason = "TooManyRequests"
    retryable = True


class Unavailable(KubeError):
    """5xx, refused, reset, truncated: nobody answered, or the one who answered could not."""

    reason = "Unavailable"
    retryable = True


class Timeout(KubeError, TimeoutError):
    """Our own deadline passed. Whether a write took effect is not known."""

    reason = "Timeout"
    retryable = True


class BadResponse(KubeError):
    """A reply that no API server sends: HTML of a proxy or a login page, JSON of another shape, a line beyond all limits."""

    reason = "BadResponse"
    retryable = True


class ConfigError(KubeError):
    """The kubeconfig or the mounted ServiceAccount cannot be used; the message names file, field and way out."""

    reason = "BadConfiguration"


class _Cause(msgspec.Struct, frozen=True):
    message: str = ""
    reason: str = ""
    field: str = ""


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    causes: tuple[_Cause, ...] | None = None
    retry_after_seconds: int | None = None


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """`meta/v1 Status`, the body of every error reply and of an in-stream ERROR event."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(Status)
_BY_CODE: Mapping[int, type[KubeError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
# What a JSON Patch that does not fit the object comes back as. Seen on 1.36.3: the bare sentence at the end, without a cause, for a
# `test` that fails and for a path that is missing alike; a schema or a policy that refuses names a field or itself. Other servers
# pass on what their patch library said.
_TEST_FAILED = re.compile(r"testing (path|value) .*failed|test failed|rejected our request due to an error in our request", re.IGNORECASE)


def parse_status(body: bytes) -> Status | None:
    """The Status in `body`, or None when it holds something else."""
    try:
        status = _STATUS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return status if status.kind == "Status" else None


def from_status(status: Status, *, what: str = "", retry_after: float | None = None) -> KubeError:
    """The error for a Status, whether it came as an HTTP body or inside a watch."""
    code = status.code or 500
    text = status.message or status.reason or f"HTTP {code}"
    causes = status.details.causes or () if status.details else ()
    more = "; ".join(c.message for c in causes if c.message and c.message not in text)
    message = f"{what}: {text}" if what else text
    if more:
        message = f"{message} ({more})"
    kind = _BY_CODE.get(code, Unavailable if code >= 500 else KubeError)
    if status.reason == "AlreadyExists":
        kind = AlreadyExists
    elif status.reason in {"Expired", "Gone"}:
        kind = Gone
    elif kind is Invalid and _TEST_FAILED.search(f"{text} {more}"):
        return PatchTestFailed(message, status=code)
    if retry_after is None and status.details and status.details.retry_after_seconds:
        retry_after = float(status.details.retry_after_seconds)
    return kind(message, reason=status.reason or None, status=code, retry_after=retry_after)


def from_response(code: int, body: bytes, *, what: str, retry_after: float | None = None) -> KubeError:
    """The error for an HTTP reply of 400 and above; a body that is no Status is quoted in short."""
    status = parse_status(body)
    if status is not None:
        return from_status(msgspec.structs.replace(status, code=status.code or code), what=what, retry_after=retry_after)
    excerpt = " ".join(body[:200].decode("utf-8", "replace").split())
    kind = _BY_CODE.get(code, Unavailable if code >= 500 else BadResponse)
    return kind(f"{what}: HTTP {code}: {excerpt or 'empty body'}", status=code, retry_after=retry_after)
