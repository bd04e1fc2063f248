"""Metric sources: one module and one line here for each; the contract tests run over this table.

A line says which of the two uses a source has: `counters` for the judge (increments of each arm), `values` for templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from analyzers.sources import cloudwatch, counts, datadog, dynatrace, google, graphite, influxdb, newrelic, prometheus, scrape, splunk
from analyzers.sources.protocol import HttpClient, MetricSource, ValueSource


class SourceType(msgspec.Struct, frozen=True, kw_only=True):
    """How a source is built from its options, for each use that it has; `instead` says why it has not the other, and what to do.

    `probe` (without counters) is a query that costs nothing and whose answer is of no interest: whether it is answered is.
    """

    options: type
    counters: Callable[[Any, HttpClient], MetricSource] | None = None
    values: Callable[[Any, HttpClient], ValueSource] | None = None
    instead: str = ""
    probe: str = ""

    @property
    def uses(self) -> tuple[str, ...]:
        """For whom it is."""
        return tuple(name for name, build in (("the judge", self.counters), ("templates", self.values)) if build is not None)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What can be asked through a source, and how far that was tried.

    `tried`: on this running server. `model`: requests and answers are validated by this published client of the vendor's.
    """

    name: str
    type: str
    tried: str = ""
    model: str = ""
    note: str = ""

    @property
    def standing(self) -> str:
        return "live" if self.tried else "vendor model" if self.model else "unverified"


SERVERS: Final = (
    Server(name="Prometheus", type="Prometheus", tried="the server itself, built from its module: births, resets, scale-downs, an outage"),
    Server(name="Thanos", type="Prometheus", note="`parameters: {max_source_resolution: 0s}`; warnings of stores that are away hold"),
    Server(
        name="Grafana Mimir, Cortex",
        type="Prometheus",
        note="`headers: {X-Scope-OrgID: TENANT}`, `ingestionDelay: 30s` behind remote write",
    ),
    Server(
        name="VictoriaMetrics",
        type="Prometheus",
        tried="its single-node server, built from its module: births, resets, scale-downs, an outage",
        note="`ingestionDelay: 5s` where scrapes are less than 3 s apart: one is found up to 3 s later. Its cluster was not tried",
    ),
    Server(
        name="Amazon Managed Prometheus",
        type="Prometheus",
        model="signatures: the AWS Common Runtime (awscrt) comes to the same",
        note="`sigV4: {region, accessKeySecretRef, secretKeySecretRef}`, `ingestionDelay: 30s`",
    ),
    Server(name="Google Managed Prometheus", type="Prometheus", note="through its frontend, which signs in; `ingestionDelay: 30s`"),
    Server(
        name="Graphite",
        type="Graphite",
        tried="carbon and graphite-web",
        note="a target, or `target=...&from=-2min`; the last five minutes where no `from` is said",
    ),
    Server(
        name="Datadog",
        type="Datadog",
        model="datadog-api-client sends the same request and reads the same answer",
        note="the newest point of the last five minutes; a grouped query is a list",
    ),
    Server(
        name="InfluxDB 2",
        type="InfluxDB",
        model="influxdb-client sends the same request and reads the same answer",
        note="a Flux query with its own range; the column `_value` of all tables",
    ),
    Server(
        name="Amazon CloudWatch",
        type="CloudWatch",
        model="botocore's service model: the same request, the same reading of the answer, the same signature",
        note="Metrics Insights or metric math (a list of each series' newest number), or a JSON list of MetricDataQueries (results with `Values`)",
    ),
    Server(
        name="New Relic",
        type="NewRelic",
        model="NerdGraph's schema, as newrelic-sb-sdk publishes it, has all that is asked for; rows (NrdbResult) have no schema",
        note="NRQL with its own `SINCE`; one row is a map, several are a list of maps",
    ),
    Server(
        name="Dynatrace",
        type="Dynatrace",
        model="Dynatrace's dt sends the same request and reads the same answer",
        note="a metric selector (one number for each series), or `metricSelector=...&resolution=...&from=...`",
    ),
    Server(
        name="Splunk Observability",
        type="Splunk",
        model="signalflow-client-python sends the same request and reads the same answer",
        note="a SignalFlow program; the newest number of each series that it publishes",
    ),
    Server(
        name="Google Cloud Monitoring",
        type="GoogleCloudMonitoring",
        model="Google's discovery document makes the same request, google-auth the same claim; answers are read as Prometheus' own",
        note="PromQL over any metric of the project, by a service account's key; the metadata server is not asked",
    ),
    Server(
        name="JSON over HTTP",
        type="Web",
        tried="an HTTP server that counts visits and orders of both versions",
        note="counts of each version that only grow: numbers, or records with a count and what tells them apart",
    ),
    Server(name="pods' own pages", type="Scrape", tried="prometheus-client, Traefik"),
)


def standing(kind: str, *, signed: bool = False) -> str:
    """How far Linnet was tried with a server of that type, best word first; what only speaks like Prometheus is not seen from here.
    `signed`: asked with Amazon's signatures.
    """
    told = {s.standing for s in SERVERS if s.type == kind and s.name.startswith("Amazon") is (signed or kind == "CloudWatch")}
    return next((word for word in ("live", "vendor model") if word in told), "unverified")


SUMS: Final = "it keeps sums, no counters of each pod that could be compared; ask it in a template"
SOURCES: Final[Mapping[str, SourceType]] = {
    "Prometheus": SourceType(options=prometheus.PrometheusOptions, counters=prometheus.build, values=prometheus.build),
    "Scrape": SourceType(
        options=scrape.ScrapeOptions, counters=scrape.build, instead="it reads counters and answers no queries; name another one"
    ),
    "Web": SourceType(
        options=counts.CountsOptions, counters=counts.build, instead="templates ask JSON over HTTP by a provider of their own: web"
    ),
    "Graphite": SourceType(options=graphite.GraphiteOptions, values=graphite.build, instead=SUMS, probe="constantLine(1)"),
    "Datadog": SourceType(options=datadog.DatadogOptions, values=datadog.build, instead=SUMS, probe="avg:system.load.1{*}"),
    "InfluxDB": SourceType(
        options=influxdb.InfluxDBOptions, values=influxdb.build, instead=SUMS, probe='import "array" array.from(rows: [{_value: 1}])'
    ),
    "CloudWatch": SourceType(
        options=cloudwatch.CloudWatchOptions,
        values=cloudwatch.build,
        instead=SUMS,
        probe='SELECT COUNT(CallCount) FROM SCHEMA("AWS/Usage", Class, Resource, Service, Type)',
    ),
    "NewRelic": SourceType(
        options=newrelic.NewRelicOptions, values=newrelic.build, instead=SUMS, probe="SELECT count(*) FROM Metric SINCE 1 minute ago"
    ),
    "Dynatrace": SourceType(
        options=dynatrace.DynatraceOptions, values=dynatrace.build, instead=SUMS, probe="builtin:host.cpu.usage:splitBy():avg"
    ),
    "Splunk": SourceType(options=splunk.SplunkOptions, values=splunk.build, instead=SUMS, probe="const(1).publish()"),
    "GoogleCloudMonitoring": SourceType(options=google.GoogleOptions, values=google.build, instead=SUMS, probe="vector(1)"),
}
