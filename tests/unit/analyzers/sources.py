"""What the contract of metric sources is held against: a local server that is told how to misbehave, and an adapter for each source.

An adapter knows how its source speaks: how a page or an answer with these samples looks, and where it is asked for.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from analyzers.metrics import Selector, parse_selector
from analyzers.sources import SOURCES
from analyzers.sources.cloudwatch import CloudWatchOptions
from analyzers.sources.counts import Counter, CountsOptions
from analyzers.sources.datadog import DatadogOptions
from analyzers.sources.dynatrace import DynatraceOptions
from analyzers.sources.google import GoogleOptions
from analyzers.sources.graphite import GraphiteOptions
from analyzers.sources.influxdb import InfluxDBOptions
from analyzers.sources.newrelic import NewRelicOptions
from analyzers.sources.prometheus import PrometheusOptions
from analyzers.sources.protocol import HttpClient, MetricSource, Outcome, Query, Target, ValueOutcome, ValueSource
from analyzers.sources.scrape import ScrapeOptions
from analyzers.sources.sigv4 import SigV4
from analyzers.sources.splunk import SplunkOptions
from tests.serving import serving

AT = 1_760_000_010.0
TOTAL = parse_selector("requests_total")
Counters = Mapping[tuple[str, str], float]  # pod, code -> value


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Server:
    """Answers with what the test set; keeps what it was asked."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    held: asyncio.Event | None = None
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(Asked(request.method, request.path_qs, dict(request.headers), await request.read()))
        if self.held is not None:
            await self.held.wait()
        return web.Response(status=self.status, headers=self.headers, body=self.body)

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")


@asynccontextmanager
async def scripted() -> AsyncIterator[Server]:
    server = Server()
    async with serving(server.answer) as server.url:
        try:
            yield server
        finally:
            if server.held is not None:
                server.held.set()


@dataclass(frozen=True)
class Adapter:
    """`speak` is an answer with these counters; `partial` how the source's server marks an answer as not all, if it can at all;
    `rubbish` are answers under status 200 that are none.

    `shape` is what a condition sees of numbers: a list, unless the server's users know it otherwise.

    The same for values: `tell` is an answer with these numbers, `untold` none at all, `unfinished` those that the server itself calls
    incomplete.
    """

    name: str
    options: Callable[[str], Any]
    speak: Callable[[Counters], bytes] | None = None
    rubbish: Sequence[bytes] = ()
    partial: Sequence[Callable[[Counters], bytes]] = ()
    tell: Callable[[Sequence[float]], bytes] | None = None
    untold: Sequence[bytes] = ()
    unfinished: Sequence[bytes] = ()
    query: str = "up"
    shape: Callable[[list[float]], Any] = list


@dataclass(frozen=True)
class CounterUse:
    """As the judge asks."""

    adapter: Adapter

    def source(self, url: str, http: HttpClient) -> MetricSource:
        build = SOURCES[self.adapter.name].counters
        assert build is not None
        return build(self.adapter.options(url), http)

    def query(self, server: Server, selector: Selector = TOTAL) -> Query:
        return Query(selector=selector, targets=(Target(pod="a", address=server.address, started_at=1.0),))

    def speak(self, counters: Counters) -> bytes:
        assert self.adapter.speak is not None
        return self.adapter.speak(counters)

    async def ask(self, server: Server, http: HttpClient, *, deadline: float = 5.0) -> Outcome:
        (found,) = await self.source(server.url, http).fetch([self.query(server)], at=AT, window=60.0, deadline=deadline)
        return found


@dataclass(frozen=True)
class ValueUse:
    """As a template asks."""

    adapter: Adapter

    def source(self, url: str, http: HttpClient) -> ValueSource:
        build = SOURCES[self.adapter.name].values
        assert build is not None
        return build(self.adapter.options(url), http)

    def tell(self, values: Sequence[float]) -> bytes:
        assert self.adapter.tell is not None
        return self.adapter.tell(values)

    async def ask(self, server: Server, http: HttpClient, *, deadline: float = 5.0) -> ValueOutcome:
        return await self.source(server.url, http).value(self.adapter.query, at=AT, deadline=deadline)


Use = CounterUse | ValueUse
"""One source in one of its uses."""


def matrix(counters: Counters, at: float = AT, **more: Any) -> bytes:
    series = [{"metric": {"__name__": "requests_total", "pod": p, "code": c}, "values": [(at, str(v))]} for (p, c), v in counters.items()]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}, **more}).encode()


def vector(values: Sequence[float]) -> bytes:
    return _rubbish_matrix([{"metric": {"n": str(i)}, "value": [AT, str(v)]} for i, v in enumerate(values)], "vector")


def render(values: Sequence[float]) -> bytes:
    """One target; an interval without anything between any two."""
    points = [p for i, v in enumerate(values) for p in ([v, AT - 60 + i], [None, AT - 59 + i])]
    return json.dumps([{"target": "t", "datapoints": points}] if values else []).encode()


def points(values: Sequence[float], status: str = "ok") -> bytes:
    """A series for each value, which is its newest; the interval that has just begun holds nothing yet."""
    series = [
        {"pointlist": [[(AT - 60) * 1000, 7.0], [(AT - 30) * 1000, v], [AT * 1000, None]], "scope": f"host:{i}"}
        for i, v in enumerate(values)
    ]
    return json.dumps({"status": status, "series": series, "res_type": "time_series"}).encode()


def flux(values: Sequence[float], end: str = "") -> bytes:
    """Two tables, as a grouped Flux query gives them, and perhaps an error at the end."""
    head = "#datatype,string,long,dateTime:RFC3339,double\r\n#group,false,false,false,false\r\n#default,_result,,,\r\n,result,table,_time,_value\r\n"
    half = (len(values) + 1) // 2
    tables = [list(values[:half]), list(values[half:])]
    text = "\r\n".join(head + "".join(f",,{i},2026-01-01T00:00:00Z,{v}\r\n" for v in table) for i, table in enumerate(tables) if table)
    return (text + end).encode()


def metric_data(series: Mapping[str, Sequence[Any]], **more: Any) -> bytes:
    """Results of GetMetricData, the newest value first."""
    ended = AT - AT % 60
    results = [
        {
            "Id": "q1",
            "Label": label,
            "Timestamps": [ended - 60.0 * (i + 1) for i in range(len(v))],
            "Values": list(v),
            "StatusCode": "Complete",
        }
        for label, v in series.items()
    ]
    return json.dumps({"MetricDataResults": results, "Messages": [], **more}).encode()


def metric_data_values(values: Sequence[float]) -> bytes:
    """A series for each value, which is its newest."""
    return metric_data({str(i): [v, 7.0] for i, v in enumerate(values)})


def nrql(rows: Sequence[Mapping[str, Any]], messages: Sequence[str] = (), errors: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """What NerdGraph answers; errors beside the data, as GraphQL has them."""
    found = {"results": list(rows), "metadata": {"messages": list(messages), "facets": None}}
    answer: dict[str, Any] = {"data": {"actor": {"account": {"nrql": found}}}}
    return json.dumps(answer | ({"errors": list(errors)} if errors else {})).encode()


def selected(values: Sequence[float], **more: Any) -> bytes:
    """One series of Dynatrace for each value, which is its newest; the interval that has just begun holds nothing yet."""
    stamps = [(AT - 60 * i) * 1000 for i in (2, 1, 0)]
    data = [
        {"dimensions": [str(i)], "dimensionMap": {"d": str(i)}, "timestamps": stamps, "values": [7.0, v, None]}
        for i, v in enumerate(values)
    ]
    result = [{"metricId": "shop.errors", "data": data, "dataPointCountRatio": 0.1, "dimensionCountRatio": 0.1}]
    return json.dumps({"totalCount": len(data), "nextPageKey": None, "resolution": "1m", "result": result, **more}).encode()


def stream(values: Sequence[float], *more: tuple[str, Any], ended: bool = True) -> bytes:
    """What a SignalFlow program publishes: two batches, the second with the newest of each series."""
    ids = [f"AAAA{i:06}" for i in range(len(values))]
    events: list[tuple[str, Any]] = [
        ("control-message", {"event": "STREAM_START", "timestampMs": 1}),
        ("control-message", {"event": "JOB_START", "handle": "H", "timestampMs": 2}),
        *(("metadata", {"tsId": i, "properties": {"sf_key": []}}) for i in ids[:2]),
        ("data", {"logicalTimestampMs": int(AT - 60) * 1000, "data": [{"tsId": i, "value": 7.0} for i in ids]}),
        (
            "message",
            {
                "logicalTimestampMs": int(AT - 60) * 1000,
                "message": {"messageCode": "JOB_RUNNING_RESOLUTION", "contents": {"resolutionMs": 1000}},
            },
        ),
        ("data", {"logicalTimestampMs": int(AT - 30) * 1000, "data": [{"tsId": i, "value": v} for i, v in zip(ids, values, strict=True)]}),
        *more,
        *([("control-message", {"event": "END_OF_CHANNEL", "timestampMs": 3})] if ended else []),
    ]
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events).encode()


@functools.cache
def private_key() -> str:
    """Of a service account; made anew in each run."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.private_bytes(*form).decode()


def google_key(token_url: str) -> str:
    """A key as Google issues it."""
    known = {"type": "service_account", "project_id": "shop", "private_key_id": "kid", "client_email": "linnet@shop.iam"}
    return json.dumps({**known, "private_key": private_key(), "token_uri": token_url})


def signed_in(values: Sequence[float], **more: Any) -> bytes:
    """The answer to the sign-in and to the query, in one."""
    return json.dumps({**json.loads(vector(values)), "access_token": "ya29", **more}).encode()


AWS = SigV4(region="eu-west-1", access_key="AKID", secret_key="secret", service="monitoring")


def _one_or_many(values: list[float]) -> Any:
    return values if len(values) > 1 else values[0] if values else None


def _rows(values: list[float]) -> Any:
    rows = [{"result": v} for v in values]
    return rows if len(rows) != 1 else rows[0]


BROKEN = "\r\n#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,engine: shard 3 is gone,897\r\n"


def rows(counters: Counters) -> bytes:
    """As a grouped query answers; another count of the same group is no label."""
    found = [
        {"pod": p, "code": c, "value": v if math.isfinite(v) else None, "cost": v * 2 if math.isfinite(v) else 0}
        for (p, c), v in counters.items()
    ]
    return json.dumps({"rows": found}).encode()


def page(counters: Counters) -> bytes:
    """One pod's: the pod is not on it, so the code tells the series apart."""
    return "".join(f'requests_total{{code="{c}"}} {v}\n' for (_, c), v in counters.items()).encode()


def _rubbish_matrix(result: Any, kind: str = "matrix") -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


ADAPTERS = [
    Adapter(
        name="Prometheus",
        options=lambda url: PrometheusOptions(url=url),
        speak=matrix,
        rubbish=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'{"status":"success"}',
            _rubbish_matrix([{"metric": {"__name__": "requests_total", "pod": "a"}, "values": [[AT, "many"]]}]),
            _rubbish_matrix([{"metric": {"__name__": "requests_total", "pod": "a"}, "values": [["now", "1"]]}]),
            _rubbish_matrix([[AT, "1"]], "vector"),
            _rubbish_matrix([AT, "1"], "scalar"),
            _rubbish_matrix([AT, "hello"], "string"),
        ],
        partial=[
            lambda c: matrix(c, warnings=["store eu-1 did not answer"]),
            lambda c: matrix(c, infos=["results truncated to 10 series"]),
            lambda c: matrix(c, isPartial=True),
        ],
        tell=vector,
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'{"status":"success"}',
            matrix({("a", "200"): 1.0}),
            _rubbish_matrix([AT, "hello"], "string"),
            _rubbish_matrix([{"metric": {}, "value": [AT, "many"]}], "vector"),
        ],
        unfinished=[
            _rubbish_matrix([{"metric": {}, "value": [AT, "1"]}], "vector")[:-1] + b',"warnings":["store eu-1 did not answer"]}',
            _rubbish_matrix([{"metric": {}, "value": [AT, "1"]}], "vector")[:-1] + b',"isPartial":true}',
        ],
    ),
    Adapter(
        name="Scrape",
        options=lambda _: ScrapeOptions(),
        speak=page,
        rubbish=[b"<!doctype html><form>login</form>", b'requests_total{code="200"} many\n', b'requests_total{code="200" 1\n'],
    ),
    Adapter(
        name="Web",
        options=lambda url: CountsOptions(url=url, counters={"requests_total": Counter(path="{$.rows}")}),
        speak=rows,
        rubbish=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'{"rows":"many"}',
            b'{"rows":true}',
            b'{"rows":-1}',
            b'{"rows":[{"code":"200"}]}',
            b'{"rows":[{"code":"200","value":"many"}]}',
            b'{"rows":[{"code":"200","value":1},{"code":"500","value":-1}]}',
        ],
    ),
    Adapter(
        name="Graphite",
        options=lambda url: GraphiteOptions(url=url),
        tell=render,
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'[{"target":"t","datapoints":[["many",1]]}]',
            b'[{"target":"t","datapoints":[1]}]',
        ],
        query="sumSeries(shop.*.errors)",
    ),
    Adapter(
        name="Datadog",
        options=lambda url: DatadogOptions(url=url, api_key="a", application_key="b"),
        tell=points,
        untold=[b"<!doctype html><form>login</form>", b"hello", b"{}", b'{"status":"ok","series":[{"pointlist":[[1,"many"]]}]}'],
        unfinished=[points([1.0], status="error"), b'{"status":"error","error":"query timed out"}'],
        query="sum:shop.errors{*}.as_count()",
        shape=_one_or_many,
    ),
    Adapter(
        name="InfluxDB",
        options=lambda url: InfluxDBOptions(url=url, org="shop", token="t"),
        tell=flux,
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            flux([1.0]).replace(b"_value", b"_field"),
            flux([1.0]).replace(b"1.0", b"many"),
            flux([1.0]).replace(b",1.0", b""),
        ],
        unfinished=[flux([1.0], BROKEN)],
        query='from(bucket: "shop") |> range(start: -5m)',
    ),
    Adapter(
        name="CloudWatch",
        options=lambda url: CloudWatchOptions(url=url, login=AWS),
        tell=metric_data_values,
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'{"MetricDataResults": [{"Id": "q1", "Values": ["many"]}]}',
            b'{"MetricDataResults": [{"Id": "q1", "Values": [[1]]}]}',
        ],
        unfinished=[
            metric_data_values([1.0]).replace(b"Complete", b"PartialData"),
            metric_data_values([1.0]).replace(b"Complete", b"InternalError"),
            metric_data_values([1.0]).replace(b"Complete", b"Forbidden"),
            metric_data({"a": [1.0]}, Messages=[{"Code": "MaxMetricsExceeded", "Value": "results may be incomplete"}]),
        ],
        query='SELECT SUM(Errors) FROM "Shop" GROUP BY Service',
    ),
    Adapter(
        name="NewRelic",
        options=lambda url: NewRelicOptions(url=f"{url}/graphql", account_id=7, api_key="NRAK"),
        tell=lambda values: nrql([{"result": v} for v in values]),
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'{"data": {"actor": {"account": null}}}',
            b'{"data": {"actor": {"account": {"nrql": {"results": [1]}}}}}',
            nrql([{"result": 1.0}], errors=[{"message": "NRQL Syntax Error", "extensions": {"errorClass": "INVALID_INPUT"}}]),
        ],
        unfinished=[
            nrql([{"result": 1.0}], messages=["Inspected count limit exceeded"]),
            nrql([{"result": 1.0}], errors=[{"message": "too long", "extensions": {"errorClass": "TIMEOUT"}}]),
        ],
        query="SELECT count(*) FROM Transaction SINCE 5 minutes ago",
        shape=_rows,
    ),
    Adapter(
        name="Dynatrace",
        options=lambda url: DynatraceOptions(url=url, token="dt0c01"),
        tell=selected,
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'{"result": [{"data": [{"values": ["many"]}]}]}',
            b'{"result": [{"data": [[1]]}]}',
        ],
        unfinished=[
            selected([1.0], warnings=["The limit of 100 dimensions was reached"]),
            selected([1.0]).replace(b'"dimensionCountRatio"', b'"warnings": ["x"], "dimensionCountRatio"'),
        ],
        query="builtin:service.errors.total.count:splitBy():sum",
    ),
    Adapter(
        name="Splunk",
        options=lambda url: SplunkOptions(realm="eu0", url=url, token="t"),
        tell=stream,
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            stream([1.0]).replace(b"1.0", b'"many"'),
            stream([], ("error", {"errors": [{"code": "ANALYTICS_PROGRAM_NAME_ERROR", "context": {"message": "no such name"}}]})),
            b"event: data\ndata: [1]\n\n",
        ],
        unfinished=[
            stream([1.0], ended=False),
            stream([1.0], ("control-message", {"event": "CHANNEL_ABORT", "abortInfo": {"sf_job_abortReason": "too many"}}), ended=False),
            stream(
                [1.0], ("message", {"message": {"messageCode": "FIND_LIMITED_RESULT_SET", "contents": {"matchedSize": 9, "limitSize": 1}}})
            ),
        ],
        query="data('shop.errors').sum().publish()",
    ),
    Adapter(
        name="GoogleCloudMonitoring",
        options=lambda url: GoogleOptions(project="shop", key=google_key(f"{url}/token"), url=url),
        tell=signed_in,
        untold=[
            b"<!doctype html><form>login</form>",
            b"hello",
            b"{}",
            b'{"access_token": "ya29"}',
            signed_in([1.0]).replace(b'"1.0"', b'"many"'),
        ],
        unfinished=[signed_in([1.0], warnings=["some locations did not answer"])],
    ),
]
COUNTERS = [CounterUse(a) for a in ADAPTERS if a.speak is not None]
VALUES = [ValueUse(a) for a in ADAPTERS if a.tell is not None]
USES: list[Use] = [*COUNTERS, *VALUES]
