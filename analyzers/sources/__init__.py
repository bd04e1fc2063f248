"""Metric sources: one module and one line here for each; the contract test runs over this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from analyzers.sources import prometheus, scrape
from analyzers.sources.protocol import HttpClient, MetricSource

SOURCES: Final[Mapping[str, tuple[type, Callable[[Any, HttpClient], MetricSource]]]] = {
    "Prometheus": (prometheus.PrometheusOptions, prometheus.build),
    "Scrape": (scrape.ScrapeOptions, scrape.build),
}
