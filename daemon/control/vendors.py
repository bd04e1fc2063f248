"""The options of sources that vendors run: their keys and addresses, as each block of a `MetricSource` says them.

Beside `sourcing`, which does the same for servers that anybody runs over HTTP, and chooses.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from analyzers.errors import ConfigError
from analyzers.sources import cloudwatch, datadog, dynatrace, google, newrelic, splunk
from analyzers.sources.cloudwatch import CloudWatchOptions
from analyzers.sources.datadog import DatadogOptions
from analyzers.sources.dynatrace import DynatraceOptions
from analyzers.sources.google import GoogleOptions
from analyzers.sources.influxdb import InfluxDBOptions
from analyzers.sources.newrelic import NewRelicOptions
from analyzers.sources.sigv4 import SigV4
from analyzers.sources.splunk import SplunkOptions
from daemon.api import sources as api
from daemon.api.quantities import parse_duration
from daemon.control import objects as ours
from daemon.control.secrets import SecretReader

Block = TypeVar("Block")


async def sigv4_of(namespace: str, wanted: api.SigV4, service: str, secrets: SecretReader) -> SigV4:
    """Who signs; `service` where the object does not say it."""
    token = wanted.session_token_secret_ref
    return SigV4(
        region=wanted.region,
        service=wanted.service or service,
        access_key=await secrets.read(namespace, wanted.access_key_secret_ref),
        secret_key=await secrets.read(namespace, wanted.secret_key_secret_ref),
        session_token=await secrets.read(namespace, token) if token else "",
    )


def _there(item: ours.MetricSource, block: Block | None) -> Block:
    """The block of the type, which admission asks for."""
    if block is None:
        raise ConfigError(f"MetricSource {item.name} has no block for its type {item.spec.type}")
    return block


async def _datadog(item: ours.MetricSource, secrets: SecretReader) -> DatadogOptions:
    block = _there(item, item.spec.datadog)
    return DatadogOptions(
        url=block.url or datadog.SITE,
        api_key=await secrets.read(item.namespace, block.api_key_secret_ref),
        application_key=await secrets.read(item.namespace, block.application_key_secret_ref),
    )


async def _influxdb(item: ours.MetricSource, secrets: SecretReader) -> InfluxDBOptions:
    block = _there(item, item.spec.influxdb)
    return InfluxDBOptions(url=block.url, org=block.org, token=await secrets.read(item.namespace, block.token_secret_ref))


async def _cloud_watch(item: ours.MetricSource, secrets: SecretReader) -> CloudWatchOptions:
    block = _there(item, item.spec.cloud_watch)
    login = await sigv4_of(item.namespace, block.sig_v4, cloudwatch.SERVICE, secrets)
    return CloudWatchOptions(login=login, url=block.url or "", window=_window(block.window, cloudwatch.WINDOW))


async def _new_relic(item: ours.MetricSource, secrets: SecretReader) -> NewRelicOptions:
    block = _there(item, item.spec.new_relic)
    key = await secrets.read(item.namespace, block.api_key_secret_ref)
    return NewRelicOptions(account_id=block.account_id, api_key=key, url=block.url or newrelic.URL)


async def _dynatrace(item: ours.MetricSource, secrets: SecretReader) -> DynatraceOptions:
    block = _there(item, item.spec.dynatrace)
    token = await secrets.read(item.namespace, block.token_secret_ref)
    return DynatraceOptions(url=block.url, token=token, window=_window(block.window, dynatrace.WINDOW))


async def _splunk(item: ours.MetricSource, secrets: SecretReader) -> SplunkOptions:
    block = _there(item, item.spec.splunk)
    token = await secrets.read(item.namespace, block.token_secret_ref)
    return SplunkOptions(realm=block.realm, token=token, url=block.url or "", window=_window(block.window, splunk.WINDOW))


async def _google(item: ours.MetricSource, secrets: SecretReader) -> GoogleOptions:
    block = _there(item, item.spec.google_cloud_monitoring)
    key = await secrets.read(item.namespace, block.key_secret_ref)
    return GoogleOptions(project=block.project, key=key, url=block.url or google.URL)


def _window(said: str | None, usual: float) -> float:
    return parse_duration(said) if said else usual


VENDORS: Final[Mapping[str, Callable[[ours.MetricSource, SecretReader], Awaitable[Any]]]] = {
    "Datadog": _datadog,
    "InfluxDB": _influxdb,
    "CloudWatch": _cloud_watch,
    "NewRelic": _new_relic,
    "Dynatrace": _dynatrace,
    "Splunk": _splunk,
    "GoogleCloudMonitoring": _google,
}
