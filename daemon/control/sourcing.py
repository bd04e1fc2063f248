"""From a `MetricSource` object to something that can be asked: its options with credentials filled in, and the client that trusts it.

The one place that knows both the object and the source: the judge and the templates get the same server by the same login.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from analyzers.errors import ConfigError
from analyzers.sources import SOURCES
from analyzers.sources.counts import VALUE, Counter, CountsOptions
from analyzers.sources.graphite import GraphiteOptions
from analyzers.sources.prometheus import PrometheusOptions
from analyzers.sources.protocol import HttpClient, MetricSource, ValueSource
from analyzers.sources.scrape import ScrapeOptions
from analyzers.sources.sigv4 import PROMETHEUS
from daemon.api.quantities import parse_duration
from daemon.api.sources import HttpAuth, HttpServer
from daemon.control import objects as ours
from daemon.control.http import Http
from daemon.control.secrets import SecretReader
from daemon.control.trust import Tls
from daemon.control.vendors import VENDORS, sigv4_of


async def source_of(item: ours.MetricSource, http: Http, secrets: SecretReader) -> MetricSource:
    """Whom the judge asks. SecretMissing where a Secret is not there, TrustError for a bad certificate, ConfigError without counters."""
    build = SOURCES[item.spec.type].counters
    if build is None:
        raise ConfigError(f"MetricSource {item.name} is of type {item.spec.type}: {SOURCES[item.spec.type].instead}")
    return build(await options_of(item, secrets), await client_of(item, http, secrets))


async def values_of(item: ours.MetricSource, http: Http, secrets: SecretReader) -> ValueSource:
    """Whom templates ask; the same errors."""
    build = SOURCES[item.spec.type].values
    if build is None:
        raise ConfigError(f"MetricSource {item.name} is of type {item.spec.type}: {SOURCES[item.spec.type].instead}")
    return build(await options_of(item, secrets), await client_of(item, http, secrets))


async def options_of(item: ours.MetricSource, secrets: SecretReader) -> Any:
    """How the server of a MetricSource is reached, credentials included."""
    return await _OPTIONS[item.spec.type](item, secrets)


async def client_of(item: ours.MetricSource, http: Http, secrets: SecretReader) -> HttpClient:
    """The client that trusts what a MetricSource trusts, and is whom it says; pods are reached past every proxy."""
    if item.spec.type == "Scrape":
        return http.direct()
    tls = await _tls(item, secrets)
    return http if tls == Tls() else http.with_tls(tls)


async def _tls(item: ours.MetricSource, secrets: SecretReader) -> Tls:
    server = item.spec.server
    ca = server.ca_secret_ref if server else None
    client = server.client_cert if server else None
    return Tls(
        ca=await secrets.read(item.namespace, ca) if ca else "",
        certificate=await secrets.read(item.namespace, client.cert_secret_ref) if client else "",
        key=await secrets.read(item.namespace, client.key_secret_ref) if client else "",
    )


async def _login(namespace: str, auth: HttpAuth | None, secrets: SecretReader) -> dict[str, str]:
    """The fields of options that hold a login."""
    found: dict[str, str] = {}
    if auth is not None and auth.bearer_secret_ref is not None:
        found["bearer_token"] = await secrets.read(namespace, auth.bearer_secret_ref)
    if auth is not None and auth.basic is not None:
        found["username"] = await secrets.read(namespace, auth.basic.username_secret_ref)
        found["password"] = await secrets.read(namespace, auth.basic.password_secret_ref)
    return found


async def _reached(item: ours.MetricSource, server: HttpServer | None, secrets: SecretReader) -> dict[str, Any]:
    """What every server over HTTP has."""
    if server is None:
        raise ConfigError(f"MetricSource {item.name} has no block for its type {item.spec.type}")
    return {"url": server.url, "headers": dict(server.headers or {}), **await _login(item.namespace, server.auth, secrets)}


async def prometheus_options(item: ours.MetricSource, secrets: SecretReader) -> PrometheusOptions:
    """How the Prometheus of a MetricSource is reached."""
    block = item.spec.prometheus
    delay = parse_duration(item.spec.ingestion_delay) if item.spec.ingestion_delay else 0.0
    common = await _reached(item, block, secrets)
    signed = await sigv4_of(item.namespace, block.sig_v4, PROMETHEUS, secrets) if block and block.sig_v4 else None
    parameters = dict((block.parameters if block else None) or {})
    return PrometheusOptions(parameters=parameters, ingestion_delay=delay, sigv4=signed, **common)


async def _graphite(item: ours.MetricSource, secrets: SecretReader) -> GraphiteOptions:
    return GraphiteOptions(**await _reached(item, item.spec.graphite, secrets))


async def _web(item: ours.MetricSource, secrets: SecretReader) -> CountsOptions:
    block = item.spec.web
    delay = parse_duration(item.spec.ingestion_delay) if item.spec.ingestion_delay else 0.0
    common = await _reached(item, block, secrets)
    counters = {c.name: Counter(path=c.json_path or "", value=c.value or VALUE) for c in (block.counters if block else ())}
    return CountsOptions(counters=counters, path=(block.path if block else None) or "", ingestion_delay=delay, **common)


async def _scrape(_item: ours.MetricSource, _secrets: SecretReader) -> ScrapeOptions:
    return ScrapeOptions()


_OPTIONS: Final[Mapping[str, Callable[[ours.MetricSource, SecretReader], Awaitable[Any]]]] = {
    "Prometheus": prometheus_options,
    "Scrape": _scrape,
    "Web": _web,
    "Graphite": _graphite,
    **VENDORS,
}
