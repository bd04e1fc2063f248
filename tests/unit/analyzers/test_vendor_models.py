"""Sources whose servers cannot run here, held against the clients that their vendors publish: the same request, the same reading."""

from __future__ import annotations

import asyncio
import io
import json
import math
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v1.api.metrics_api import MetricsApi
from influxdb_client.client.flux_csv_parser import FluxCsvParser, FluxSerializationMode
from influxdb_client.client.influxdb_client import InfluxDBClient

from analyzers.sources import SERVERS
from analyzers.sources.datadog import DatadogOptions
from analyzers.sources.datadog import build as build_datadog
from analyzers.sources.influxdb import InfluxDBOptions, read_csv
from analyzers.sources.influxdb import build as build_influxdb
from analyzers.sources.protocol import HttpReply, Value
from daemon.control.http import Http
from tests.unit.analyzers.sources import AT, Asked, Server, flux, points


def said(request: Asked, *headers: str) -> tuple[Any, ...]:
    """What a request says, in whatever order and spelling."""
    arrived = {name.lower(): value for name, value in request.headers.items()}
    parts = urlsplit(request.path)
    return (request.method, parts.path, sorted(parse_qsl(parts.query)), [arrived.get(h) for h in headers])


def test_every_vendor_model_is_held_here() -> None:
    """What the table calls a model has its test in this module, in one of its own, or (signatures) in that of SigV4."""
    assert {s.name for s in SERVERS if s.standing == "vendor model"} == {
        "Datadog",
        "InfluxDB 2",
        "Amazon Managed Prometheus",
        "Amazon CloudWatch",
        "New Relic",
        "Dynatrace",
        "Splunk Observability",
        "Google Cloud Monitoring",
    }


async def test_datadog_s_client_sends_the_same_and_reads_the_same(server: Server, http: Http) -> None:
    """Window, query and both keys; each series' newest number."""
    query = "sum:shop.errors{service:checkout} by {host}.as_count()"
    server.body = points([0.25, 3.0])
    ours = await build_datadog(DatadogOptions(url=server.url, api_key="key", application_key="app"), http).value(query, at=AT, deadline=5.0)
    config = Configuration(host=server.url, api_key={"apiKeyAuth": "key", "appKeyAuth": "app"})

    def ask() -> Any:
        with ApiClient(config) as client:
            return MetricsApi(client).query_metrics(_from=math.floor(AT - 300), to=math.floor(AT), query=query)

    theirs = await asyncio.to_thread(ask)
    mine, wanted = (said(request, "dd-api-key", "dd-application-key") for request in server.asked)
    assert mine == wanted
    newest = [[p.value[1] for p in s.pointlist if p.value[1] is not None][-1] for s in theirs.series]
    assert ours == Value(value=newest) == Value(value=[0.25, 3.0])


async def test_influxdb_s_client_sends_the_same_and_reads_the_same(server: Server, http: Http) -> None:
    """Organisation, token, query and dialect; every table's values."""
    query = 'from(bucket: "shop") |> range(start: -5m) |> filter(fn: (r) => r._measurement == "errors")'
    server.body = flux([0.25, 3.0, 7.0])
    ours = await build_influxdb(InfluxDBOptions(url=server.url, org="shop", token="secret"), http).value(query, at=AT, deadline=5.0)

    def ask() -> list[Any]:
        with InfluxDBClient(url=server.url, token="secret", org="shop") as client:
            return [record.get_value() for table in client.query_api().query(query) for record in table.records]

    theirs = await asyncio.to_thread(ask)
    mine, wanted = (said(request, "authorization") for request in server.asked)
    assert mine == wanted
    bodies = [json.loads(request.body) for request in server.asked]
    told = [(b["query"], b.get("type", "flux"), b["dialect"]["header"], sorted(b["dialect"]["annotations"])) for b in bodies]
    assert told[0] == told[1]
    assert ours == Value(value=theirs) == Value(value=[0.25, 3.0, 7.0])


TABLES = [
    flux([1.5]),
    b"#datatype,string,long,long\r\n#group,false,false,false\r\n#default,_result,,5\r\n,result,table,_value\r\n,,0,3\r\n,,0,\r\n",
    b"#datatype,string,long,boolean\r\n#group,false,false,false\r\n#default,_result,,\r\n,result,table,_value\r\n,,0,true\r\n,,0,false\r\n",
    b'#datatype,string,long,string\r\n#group,false,false,false\r\n#default,_result,,\r\n,result,table,_value\r\n,,0,"a, ""b"""\r\n',
    b"#datatype,string,long,double\r\n#group,false,false,false\r\n#default,_result,,\r\n,result,table,_value\r\n,,0,NaN\r\n,,0,+Inf\r\n",
    b"",
]


@pytest.mark.parametrize("body", TABLES)
def test_influxdb_s_own_parser_finds_the_same_values(body: bytes) -> None:
    """Numbers, defaults, truths, quoted text and what is no number."""
    parser = FluxCsvParser(io.BytesIO(body), FluxSerializationMode.tables)
    list(parser.generator())
    theirs = [record.get_value() for table in parser.tables for record in table.records]
    ours = read_csv(HttpReply(200, {}, body), "q")
    assert isinstance(ours, Value)
    assert str(ours.value) == str([float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in theirs])
