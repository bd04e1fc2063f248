"""Amazon CloudWatch: metric data queries and expressions by GetMetricData. For templates: it keeps statistics of each period.

A query is what AWS calls an expression (Metrics Insights or metric math), whose answer is each series' newest number; or the JSON
list of MetricDataQueries that users of Argo Rollouts and Flagger write, whose answer is the list of results with their `Values`,
the newest first. A result that is not `Complete`, or that comes with messages, is not all: it is never a value.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from analyzers.sources.protocol import Failure, HttpClient, HttpReply, Value, ValueOutcome
from analyzers.sources.replies import MOST_VALUES, ask, incomplete, not_metrics, refused, unusable, within
from analyzers.sources.sigv4 import SignedHttp, SigV4

SERVICE: Final = "monitoring"
TARGET: Final = "GraniteServiceVersion20100801.GetMetricData"
WINDOW: Final = 300.0
PERIOD: Final = 60
MOST_PAGES: Final = 20

_MEANS: Final = {
    401: ("UnrecognizedClient", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature",
          "ExpiredToken", "MissingAuthenticationToken"),
    403: ("AccessDenied", "NotAuthorized", "OptInRequired"),
    429: ("Throttling", "Throttled", "TooManyRequests", "RequestLimitExceeded", "LimitExceeded"),
}  # fmt: skip
"""AWS answers 400 to much that other APIs have a status for; its word says which."""


class CloudWatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks in which region, and how far back. `url` where the region's public endpoint is not reached."""

    login: SigV4
    url: str = ""
    window: float = WINDOW

    @property
    def endpoint(self) -> str:
        suffix = "amazonaws.com.cn" if self.login.region.startswith("cn-") else "amazonaws.com"
        return f"{self.url.rstrip('/') or f'https://{SERVICE}.{self.login.region}.{suffix}'}/"


class _Message(msgspec.Struct, rename="pascal"):
    code: str = ""
    value: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.code, self.value)))


class _Result(msgspec.Struct, rename="pascal"):
    id: str
    label: str = ""
    values: list[float | str] = []
    status_code: str = "Complete"
    messages: list[_Message] | None = None


class _Answer(msgspec.Struct, rename="pascal"):
    metric_data_results: list[_Result]
    next_token: str | None = None
    messages: list[_Message] | None = None


class _Told(msgspec.Struct):
    """What AWS says of a request that it refuses; the case of `message` differs between its services."""

    kind: str = msgspec.field(default="", name="__type")
    message: str = ""
    Message: str = ""


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class CloudWatchSource:
    """Asks one account in one region; each page is a request of its own, signed anew."""

    def __init__(self, options: CloudWatchOptions, http: HttpClient) -> None:
        self._options = options
        self._http = SignedHttp(http, options.login)

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        queries = queries_of(query)
        if isinstance(queries, str):
            return unusable(queries)
        return await within(deadline, self._options.endpoint, self._pages(query, queries, at, deadline))

    async def _pages(self, query: str, queries: list[dict[str, Any]], at: float, deadline: float) -> ValueOutcome:
        body = request_of(queries, at, self._options.window)
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": TARGET}
        read: list[_Answer] = []
        while len(read) < MOST_PAGES:
            data = msgspec.json.encode(body)
            reply = await ask(self._http, "POST", self._options.endpoint, headers=headers, data=data, deadline=deadline)
            page = reply if isinstance(reply, Failure) else read_page(reply, query)
            if isinstance(page, Failure):
                return page
            read.append(page)
            if not page.next_token:
                return value_of(read, query)
            body["NextToken"] = page.next_token
        return unusable(f"{query} has more than {MOST_PAGES} pages: ask for fewer series, or a longer period")


def build(options: CloudWatchOptions, http: HttpClient) -> CloudWatchSource:
    return CloudWatchSource(options, http)


def queries_of(query: str) -> list[dict[str, Any]] | str:
    """The MetricDataQueries that a query says, as AWS spells them; or why it says none."""
    text = query.strip()
    if not text.startswith(("[", "{")):
        return [{"Id": "q1", "Expression": text, "Period": PERIOD}]
    try:
        listed = msgspec.json.decode(text, type=list[dict[str, Any]])
    except msgspec.MsgspecError as error:
        return f"the query is neither an expression nor a JSON list of MetricDataQueries: {error}"
    found = [_pascal(one) for one in listed]
    bad = next((i for i, q in enumerate(found) if "Id" not in q or ("Expression" in q) is ("MetricStat" in q)), None)
    if bad is not None or not found:
        return f"metricDataQueries[{bad or 0}] needs an id, and exactly one of expression and metricStat"
    return found


def request_of(queries: list[dict[str, Any]], at: float, window: float) -> dict[str, Any]:
    """Pure: whole minutes only, since the last one is still being counted."""
    end = math.floor(at / PERIOD) * PERIOD
    return {"MetricDataQueries": queries, "StartTime": end - math.ceil(window / PERIOD) * PERIOD, "EndTime": end}


def read_page(reply: HttpReply, query: str) -> _Answer | Failure:
    """Pure: one page, or why it is none."""
    if reply.status != 200:
        return _refused(reply, query)
    try:
        return _ANSWER.decode(reply.body)
    except msgspec.MsgspecError:
        return not_metrics(reply)


def value_of(pages: list[_Answer], query: str) -> ValueOutcome:
    """Pure: the pages as one answer. Only the last word on a result counts: one that goes on is partial until its last page."""
    last = {(r.id, r.label): r for page in pages for r in page.metric_data_results}
    said = [str(m) for page in pages for m in page.messages or ()]
    said += [f"{r.label or r.id} is {r.status_code}" for r in last.values() if r.status_code != "Complete"]
    said += [str(m) for page in pages for r in page.metric_data_results for m in r.messages or ()]
    if said:
        return incomplete("; ".join(said), query)
    values: dict[tuple[str, str], list[float]] = {key: [] for key in last}
    try:
        for page in pages:
            for result in page.metric_data_results:
                values[result.id, result.label] += [float(v) for v in result.values]
    except ValueError as error:
        return unusable(f"{query}: the answer cannot be read: {error}")
    count = sum(map(len, values.values())) if _listed(query) else len(values)
    if count > MOST_VALUES:
        return unusable(f"{query} returns {count} values, at most {MOST_VALUES} are read: ask for fewer series, or a longer period")
    if not _listed(query):
        return Value(value=[found[0] for found in values.values() if found])
    results = [{"Id": key, "Label": label, "Values": found} for (key, label), found in values.items()]
    return Value(value=results if any(values.values()) else [])


def _listed(query: str) -> bool:
    return query.lstrip().startswith("[")


def _refused(reply: HttpReply, query: str) -> Failure:
    try:
        told = msgspec.json.decode(reply.body, type=_Told)
    except msgspec.MsgspecError:
        return refused(reply, asked=query)
    word = told.kind.rpartition("#")[2]
    means = next((status for status, words in _MEANS.items() if word.startswith(words)), 0) if reply.status == 400 else 0
    return refused(reply, said=": ".join(filter(None, (word, told.message or told.Message))), asked=query, means=means)


def _pascal(value: Any) -> Any:
    """Names as AWS spells them, for those who write `metricStat` as in a Rollout's template; durations of periods stay numbers."""
    if isinstance(value, dict):
        return {name[:1].upper() + name[1:]: _pascal(inner) for name, inner in value.items()}
    return [_pascal(inner) for inner in value] if isinstance(value, list) else value
