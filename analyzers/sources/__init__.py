"""Metric sources: one module and one line here for each; the contract test runs over this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from analyzers.sources import prometheus, scrape
from analyzers.sources.protocol import HttpClient, MetricSource


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What can be asked through a source. `tried` is what the tests ask, empty where nothing real was at hand."""

    name: str
    type: str
    tried: str = ""
    note: str = ""


SERVERS: Final = (
    Server(name="Prometheus", type="Prometheus", tried="the server itself, built from its module: births, resets, scale-downs, an outage"),
    Server(name="Thanos", type="Prometheus", note="`parameters: {max_source_resolution: 0s}`; warnings of stores that are away hold"),
    Server(
        name="Grafana Mimir, Cortex",
        type="Prometheus",
        note="`headers: {X-Scope-OrgID: TENANT}`, `ingestionDelay: 30s` behind remote write",
    ),
    Server(name="VictoriaMetrics", type="Prometheus", note="an answer marked isPartial holds"),
    Server(name="Amazon Managed Prometheus", type="Prometheus", note="only behind a proxy that signs: SigV4 is not in this version"),
    Server(name="Google Managed Prometheus", type="Prometheus", note="through its frontend, which signs in"),
    Server(name="pods' own pages", type="Scrape", tried="prometheus-client, Traefik"),
)

SOURCES: Final[Mapping[str, tuple[type, Callable[[Any, HttpClient], MetricSource]]]] = {
    "Prometheus": (prometheus.PrometheusOptions, prometheus.build),
    "Scrape": (scrape.ScrapeOptions, scrape.build),
}
