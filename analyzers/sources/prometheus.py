"""Prometheus and what speaks like it (Thanos, Mimir, VictoriaMetrics): raw samples by an instant query with a range.

`query_range` resamples and `rate()` extrapolates to broken numbers; a range selector in an instant query returns what
was scraped. The server is told our deadline, warnings make an answer partial, and a login page is not an empty result.
"""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

from analyzers.series import RawSeries, Sample
from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, NoData, Outcome, Partial, Query, Samples

CONCURRENT: Final = 4
MARGIN: Final = 1.0
"""Seconds by which the client outwaits the server, so that its own words on a timeout arrive."""


class PrometheusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and how to speak to it. `parameters` go with each query (Thanos: max_source_resolution=0s)."""

    url: str
    bearer_token: str = ""
    username: str = ""
    password: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    ingestion_delay: float = 0.0

    def __repr__(self) -> str:
        """Without the secrets: options end up in logs and tracebacks."""
        return f"PrometheusOptions(url={self.url!r})"


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _Answer(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_MATRIX: Final = msgspec.json.Decoder(list[_Series])


class PrometheusSource:
    """Asks one server; at most four questions at a time."""

    settle_scrapes = 2
    backfills = True

    def __init__(self, options: PrometheusOptions, http: HttpClient) -> None:
        self._options, self._http = options, http
        self._headers = _headers(options)
        self._slots = asyncio.Semaphore(CONCURRENT)

    @property
    def ingestion_delay(self) -> float:
        return self._options.ingestion_delay

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(q, at=at, window=window, deadline=deadline)) for q in queries]
        return [t.result() for t in tasks]

    async def _one(self, query: Query, *, at: float, window: float, deadline: float) -> Outcome:
        text = f"{query.selector}[{max(1, math.ceil(window))}s]"
        form = {"query": text, "time": f"{at:.3f}", "timeout": f"{deadline:.3f}", **self._options.parameters}
        data = urlencode(form).encode()
        url = f"{self._options.url.rstrip('/')}/api/v1/query"
        async with self._slots:
            try:
                reply = await self._send(url, data, deadline)
            except TimeoutError:
                return Failure(kind=FailureKind.TIMEOUT, retryable=True, message=f"{url} did not answer within {deadline:g} s")
            except OSError as error:
                return Failure(kind=FailureKind.UNREACHABLE, retryable=True, message=f"{url} cannot be reached: {error}")
        return read_reply(reply, text)

    async def _send(self, url: str, data: bytes, deadline: float) -> HttpReply:
        """One more try when a kept-alive connection turns out dead, none for anything the server said."""
        try:
            return await self._http.request("POST", url, headers=self._headers, data=data, deadline=deadline + MARGIN)
        except ConnectionResetError:
            return await self._http.request("POST", url, headers=self._headers, data=data, deadline=deadline + MARGIN)


def build(options: PrometheusOptions, http: HttpClient) -> PrometheusSource:
    return PrometheusSource(options, http)


def _headers(options: PrometheusOptions) -> dict[str, str]:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", **options.headers}
    if options.bearer_token:
        headers["Authorization"] = f"Bearer {options.bearer_token}"
    elif options.username:
        pair = f"{options.username}:{options.password}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return headers


def read_reply(reply: HttpReply, query: str) -> Outcome:
    """Pure: an HTTP reply as a typed outcome."""
    try:
        answer = _ANSWER.decode(reply.body)
    except msgspec.MsgspecError:
        answer = None
    if reply.status != 200:
        return _refusal(reply, answer, query)
    if answer is None:
        return _not_prometheus(reply)
    if answer.status != "success" or answer.data is None:
        return _server_said(answer, query)
    if answer.data.result_type != "matrix":
        return Failure(
            kind=FailureKind.NOT_METRICS,
            retryable=False,
            message=f"{query} returned a {answer.data.result_type or 'nameless type'}, not raw samples",
        )
    try:
        series = _series(_MATRIX.decode(answer.data.result))
    except (msgspec.MsgspecError, ValueError) as error:
        return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=f"{query}: the answer cannot be read: {error}")
    if answer.warnings:
        return Partial(series=series, warnings=tuple(answer.warnings))
    return Samples(series=series) if series else NoData(message=f"{query} matches no sample")


def _series(result: list[_Series]) -> tuple[RawSeries, ...]:
    """Samples that are numbers; a NaN or an infinity is no count."""
    read = []
    for one in result:
        samples = tuple(Sample(at, v) for at, text in one.values if math.isfinite(v := float(text)))
        if samples:
            read.append(RawSeries(labels=one.metric, samples=samples))
    return tuple(read)


def _refusal(reply: HttpReply, answer: _Answer | None, query: str) -> Failure:
    said = answer.error if answer and answer.error else _excerpt(reply.body)
    message = f"HTTP {reply.status}: {said}" if said else f"HTTP {reply.status}"
    if reply.status == 401:
        return Failure(kind=FailureKind.UNAUTHORIZED, retryable=False, message=f"{message}; check the credentials of the metric source")
    if reply.status == 403:
        return Failure(kind=FailureKind.FORBIDDEN, retryable=False, message=f"{message}; the credentials may not query")
    if reply.status == 429:
        return Failure(kind=FailureKind.RATE_LIMITED, retryable=True, message=message, retry_after=_retry_after(reply))
    if answer is not None and answer.error_type == "timeout":
        return Failure(
            kind=FailureKind.TIMEOUT, retryable=True, message=f"{message} (the server gave up on {query})", retry_after=_retry_after(reply)
        )
    if 400 <= reply.status < 500:
        return Failure(kind=FailureKind.BAD_QUERY, retryable=False, message=f"{message} ({query})")
    if reply.status < 400:
        return _not_prometheus(reply)
    return Failure(kind=FailureKind.SERVER_ERROR, retryable=True, message=message, retry_after=_retry_after(reply))


def _server_said(answer: _Answer, query: str) -> Failure:
    kind = {"timeout": FailureKind.TIMEOUT, "bad_data": FailureKind.BAD_QUERY, "execution": FailureKind.BAD_QUERY}.get(
        answer.error_type, FailureKind.SERVER_ERROR
    )
    return Failure(
        kind=kind,
        retryable=kind is not FailureKind.BAD_QUERY,
        message=f"{answer.error_type or answer.status}: {answer.error or 'no data'} ({query})",
    )


def _not_prometheus(reply: HttpReply) -> Failure:
    what = "an HTML page (a login form?)" if reply.body.lstrip()[:1] == b"<" else "something that is not its API"
    return Failure(
        kind=FailureKind.NOT_METRICS,
        retryable=False,
        message=f"HTTP {reply.status}: the server answered with {what}; check url and credentials",
    )


def _retry_after(reply: HttpReply) -> float | None:
    """Seconds only; a date would need a clock."""
    value = next((v for k, v in reply.headers.items() if k.lower() == "retry-after"), "")
    return float(value) if value.strip().isdigit() else None


def _excerpt(body: bytes) -> str:
    return " ".join(body[:200].decode("utf-8", "replace").split()) if not body.lstrip().startswith(b"<") else ""
