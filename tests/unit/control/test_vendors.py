"""Each field of a vendor's block of a MetricSource is in the options that its source asks with, each changed alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from daemon.api.sources import METRIC_SOURCES, MetricSourceSpec
from daemon.control.sourcing import options_of
from tests.unit.control.cluster import Object
from tests.unit.control.test_measuring import Secrets
from tests.unit.control.test_sourcing import item


def ref(name: str) -> Object:
    return {"name": name, "key": "k"}


AWS: Object = {
    "region": "eu-west-1",
    "accessKeySecretRef": ref("id"),
    "secretKeySecretRef": ref("secret"),
    "sessionTokenSecretRef": ref("token"),
}
BLOCKS: dict[str, Object] = {
    "CloudWatch": {"sigV4": AWS},
    "NewRelic": {"accountId": 7, "apiKeySecretRef": ref("nr")},
    "Dynatrace": {"url": "https://a.live.dynatrace.com", "tokenSecretRef": ref("dt")},
    "Splunk": {"realm": "eu0", "tokenSecretRef": ref("sf")},
    "GoogleCloudMonitoring": {"project": "shop", "keySecretRef": ref("gcp")},
}
"""The least that each type needs, and what it may have of Secrets."""
Reads = Callable[[Any], Any]
FIELDS: list[tuple[str, Object, Reads, Any]] = [
    ("CloudWatch", {"url": "https://vpce.example"}, lambda o: o.endpoint, "https://vpce.example/"),
    ("CloudWatch", {"window": "10m"}, lambda o: o.window, 600.0),
    ("CloudWatch", {"sigV4": {**AWS, "region": "us-east-1"}}, lambda o: o.endpoint, "https://monitoring.us-east-1.amazonaws.com/"),
    ("CloudWatch", {"sigV4": {**AWS, "service": "other"}}, lambda o: o.login.service, "other"),
    ("NewRelic", {"accountId": 8}, lambda o: o.account_id, 8),
    ("NewRelic", {"url": "https://api.eu.newrelic.com/graphql"}, lambda o: o.url, "https://api.eu.newrelic.com/graphql"),
    ("Dynatrace", {"url": "https://dt.example/e/1"}, lambda o: o.url, "https://dt.example/e/1"),
    ("Dynatrace", {"window": "10m"}, lambda o: o.window, 600.0),
    ("Splunk", {"realm": "us1"}, lambda o: o.endpoint, "https://stream.us1.signalfx.com"),
    ("Splunk", {"url": "https://sf.example"}, lambda o: o.endpoint, "https://sf.example"),
    ("Splunk", {"window": "10m"}, lambda o: o.window, 600.0),
    ("GoogleCloudMonitoring", {"project": "example.com:other"}, lambda o: o.project, "example.com:other"),
    ("GoogleCloudMonitoring", {"url": "https://restricted.example"}, lambda o: o.url, "https://restricted.example"),
]


def secrets_of(kind: str) -> list[tuple[str, tuple[str, ...], str]]:
    """Every reference to a Secret in a block: its path, and the part that is changed."""

    def walk(value: Object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        inner = [found for name, v in value.items() if isinstance(v, dict) for found in walk(v, (*path, name))]
        return [path] if set(value) == {"name", "key"} else inner

    return [(kind, path, part) for path in walk(BLOCKS[kind], ()) for part in ("name", "key")]


REFS = [row for kind in BLOCKS for row in secrets_of(kind)]


async def options(kind: str, block: Object) -> Any:
    return await options_of(item(kind, name_of(kind), block), Secrets())


def name_of(kind: str) -> str:
    names = {f.name: f.encode_name for f in msgspec.structs.fields(MetricSourceSpec)}
    return names[METRIC_SOURCES[kind]]


@pytest.mark.parametrize(("kind", "changed", "read", "wanted"), FIELDS, ids=[f"{row[0]}-{'-'.join(row[1])}" for row in FIELDS])
async def test_each_field_of_a_vendor_reaches_its_options(kind: str, changed: Object, read: Reads, wanted: Any) -> None:
    """And is not what it would be without."""
    assert read(await options(kind, BLOCKS[kind])) != wanted
    assert read(await options(kind, {**BLOCKS[kind], **changed})) == wanted


@pytest.mark.parametrize(("kind", "path", "part"), REFS, ids=[f"{kind}-{path[-1]}-{part}" for kind, path, part in REFS])
async def test_each_secret_of_a_vendor_is_read_by_name_and_key(kind: str, path: tuple[str, ...], part: str) -> None:
    """And none of them is shown."""
    block = msgspec.json.decode(msgspec.json.encode(BLOCKS[kind]))
    inner = block
    for name in path:
        inner = inner[name]
    inner[part] = "z"
    value = f"shop.{inner['name']}.{inner['key']}"
    before, after = await options(kind, BLOCKS[kind]), await options(kind, block)
    assert value not in str(flat(before))
    assert value in flat(after)
    assert value not in repr(after)


def flat(found: Any) -> list[str]:
    """Every text in options."""
    values = msgspec.to_builtins(found)
    inner = list(values.values()) if isinstance(values, dict) else values if isinstance(values, list) else [values]
    return [text for v in inner for text in (flat(v) if isinstance(v, dict | list) else [str(v)])]
