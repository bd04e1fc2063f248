"""Prometheus and what speaks like it (Thanos, Mimir, VictoriaMetrics): raw samples by an instant query with a range.

`query_range` resamples and `rate()` extrapolates to broken numbers; a range selector in an instant query returns what
was scraped. What is wanted at one moment is asked in as few queries as the labels allow. The server is told our deadline,
warnings make an answer partial, and a login page is not an empty result.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

from analyzers.metrics import Selector
from analyzers.series import NativeSample, RawSeries, Sample
from analyzers.sources.instant import read_instant
from analyzers.sources.login import Login, request_headers
from analyzers.sources.merging import alone, merge, pick
from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, NoData, Outcome, Partial, Query, Samples, ValueOutcome
from analyzers.sources.replies import MOST_SERIES, ask, not_metrics, refused, retry_after, too_much
from analyzers.sources.sigv4 import SignedHttp, SigV4

CONCURRENT: Final = 4
_DIVISIBLE: Final = frozenset({FailureKind.BAD_QUERY, FailureKind.TOO_MUCH, FailureKind.TIMEOUT})
"""What a smaller question may not meet."""


class PrometheusOptions(Login, frozen=True, kw_only=True):
    """Where the server is and how to speak to it. `parameters` go with each query (Thanos: max_source_resolution=0s)."""

    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    ingestion_delay: float = 0.0
    sigv4: SigV4 | None = None


class _Histogram(msgspec.Struct):
    """Each bucket: which of its ends belong to it, the ends, what it holds."""

    count: str
    buckets: list[tuple[int, str, str, str]] = []


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    histograms: list[tuple[float, _Histogram]] = []


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _Answer(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []
    infos: list[str] = []
    is_partial: bool = False


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_MATRIX: Final = msgspec.json.Decoder(list[_Series])


class PrometheusSource:
    """Asks one server; at most four questions at a time."""

    settle_scrapes = 2
    backfills = True

    def __init__(self, options: PrometheusOptions, http: HttpClient) -> None:
        self._options, self._http = options, http
        self._headers = request_headers(options)
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._apart = False

    @property
    def ingestion_delay(self) -> float:
        return self._options.ingestion_delay

    async def fetch(self, queries: Sequence[Query], *, at: float, window: float, deadline: float) -> list[Outcome]:
        """As few queries as give every selector its samples; what the server refuses as a whole is asked apart the next time."""
        selectors = [q.selector for q in queries]
        merged = alone(selectors) if self._apart else merge(selectors)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(m.selector, at=at, window=window, deadline=deadline)) for m in merged]
        outcomes: dict[int, Outcome] = {}
        for one, task in zip(merged, tasks, strict=True):
            answer = task.result()
            if len(one.members) > 1 and isinstance(answer, Failure) and answer.kind in _DIVISIBLE:
                self._apart = True
            for i in one.members:
                outcomes[i] = answer if one.selector == selectors[i] and len(one.members) == 1 else _share(answer, selectors[i])
        return [outcomes[i] for i in range(len(queries))]

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        """The values of an instant query: a list for a vector, one number for a scalar."""
        reply = await self._query(query, at=at, deadline=deadline)
        return reply if isinstance(reply, Failure) else read_instant(reply, query)

    async def _one(self, selector: Selector, *, at: float, window: float, deadline: float) -> Outcome:
        text = f"{selector}[{max(1, math.ceil(window))}s]"
        reply = await self._query(text, at=at, deadline=deadline)
        return reply if isinstance(reply, Failure) else read_reply(reply, text)

    async def _query(self, text: str, *, at: float, deadline: float) -> HttpReply | Failure:
        form = {"query": text, "time": f"{at:.3f}", "timeout": f"{deadline:.3f}", **self._options.parameters}
        url = f"{self._options.url.rstrip('/')}/api/v1/query"
        async with self._slots:
            return await ask(self._http, "POST", url, headers=self._headers, data=urlencode(form).encode(), deadline=deadline)


def _share(answer: Outcome, selector: Selector) -> Outcome:
    """One selector's part of a wider answer: as if it had been asked alone."""
    match answer:
        case Samples():
            own = pick(selector, answer.series)
            return Samples(series=own, missing=answer.missing) if own else NoData(message=f"{selector} matches no sample")
        case Partial():
            return Partial(series=pick(selector, answer.series), warnings=answer.warnings)
        case NoData():
            return NoData(message=f"{selector} matches no sample")
        case Failure():
            return answer


def build(options: PrometheusOptions, http: HttpClient) -> PrometheusSource:
    return PrometheusSource(options, SignedHttp(http, options.sigv4) if options.sigv4 else http)


def read_reply(reply: HttpReply, query: str) -> Outcome:
    """Pure: an HTTP reply as a typed outcome."""
    try:
        answer = _ANSWER.decode(reply.body)
    except msgspec.MsgspecError:
        answer = None
    if reply.status != 200:
        return _refusal(reply, answer, query)
    if answer is None:
        return not_metrics(reply)
    if answer.status != "success" or answer.data is None:
        return _server_said(answer, query)
    if answer.data.result_type != "matrix":
        return Failure(
            kind=FailureKind.NOT_METRICS,
            retryable=False,
            message=f"{query} returned a {answer.data.result_type or 'nameless type'}, not raw samples",
        )
    try:
        matrix = _MATRIX.decode(answer.data.result)
        if len(matrix) > MOST_SERIES:
            return too_much(f"{query} returned {len(matrix)} series, at most {MOST_SERIES} are read")
        series = _series(matrix)
    except (msgspec.MsgspecError, ValueError) as error:
        return Failure(kind=FailureKind.NOT_METRICS, retryable=False, message=f"{query}: the answer cannot be read: {error}")
    said = _caveats(answer)
    if said:
        return Partial(series=series, warnings=said)
    return Samples(series=series) if series else NoData(message=f"{query} matches no sample")


def _series(result: list[_Series]) -> tuple[RawSeries, ...]:
    """Samples that are numbers; a NaN or an infinity is no count."""
    read = []
    for one in result:
        if one.histograms:
            read.append(_native(one))
            continue
        samples = tuple(Sample(at, v) for at, text in one.values if math.isfinite(v := float(text)))
        if samples:
            read.append(RawSeries(labels=one.metric, samples=samples))
    return tuple(read)


def _native(one: _Series) -> RawSeries:
    """A native histogram: a series that was one only for a part of the time counts for that part."""
    samples = tuple(Sample(at, float(h.count)) for at, h in one.histograms)
    buckets = (
        (at, tuple((float(left), float(right), float(count)) for _, left, right, count in histogram.buckets))
        for at, histogram in one.histograms
    )
    if not all(math.isfinite(s.value) for s in samples):
        raise ValueError("a native histogram whose count is no number")
    return RawSeries(labels=one.metric, samples=samples, histograms=tuple(NativeSample(at, held) for at, held in buckets))


def _caveats(answer: _Answer) -> tuple[str, ...]:
    """Whatever the server adds to an answer. Raw samples give no cause for an annotation of a function, so even an info
    says that these are not simply all samples: a truncated or deduplicated answer is no evidence.
    """
    partial = ("the server marks the answer as partial (isPartial)",) if answer.is_partial else ()
    return (*answer.warnings, *answer.infos, *partial)


def _refusal(reply: HttpReply, answer: _Answer | None, query: str) -> Failure:
    """The server's own timeout is one, whatever status it comes under."""
    failure = refused(reply, said=answer.error if answer else "", asked=query)
    if answer is None or answer.error_type != "timeout" or reply.status in {401, 403, 429}:
        return failure
    message = f"{failure.message} (the server gave up on {query})"
    return Failure(kind=FailureKind.TIMEOUT, retryable=True, message=message, retry_after=failure.retry_after or retry_after(reply))


def _server_said(answer: _Answer, query: str) -> Failure:
    kind = {"timeout": FailureKind.TIMEOUT, "bad_data": FailureKind.BAD_QUERY, "execution": FailureKind.BAD_QUERY}.get(
        answer.error_type, FailureKind.SERVER_ERROR
    )
    return Failure(
        kind=kind,
        retryable=kind is not FailureKind.BAD_QUERY,
        message=f"{answer.error_type or answer.status}: {answer.error or 'no data'} ({query})",
    )
