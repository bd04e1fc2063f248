"""Flagger's shared objects: a `MetricTemplate` is an AnalysisTemplate with its MetricSource, an `AlertProvider` a Notifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from daemon.cli.importing import queries
from daemon.cli.importing.draft import Draft
from daemon.cli.importing.ledger import Cursor, Ledger
from daemon.cli.importing.peers import Peers

_CHATS: Final = ("slack", "msteams")
_NO_DATA: Final = "a query without data was a failed check; here it is no measurement and the release waits: see onNoData"


def metric_template(ledger: Ledger, _: Peers) -> Iterator[Draft]:
    """One metric, whose limits and interval come from the release that uses it, as with Flagger."""
    top = ledger.cursor()
    spec = top.at("spec")
    namespace = top.at("metadata", "namespace").value
    kind = str(spec.at("provider", "type").value or "prometheus")
    if kind != "prometheus":
        spec.lost(f"{kind} is not among the providers of this version: ask it by a web check", "provider", "type")
        return
    made = Draft("AnalysisTemplate", ledger.name, namespace)
    text = str(spec.at("query").value or "")
    if queries.convert(text) == text:
        spec.take("query")
    elif "{{" in text and "target" in queries.args_of(text):
        spec.differs(queries.TARGET_TEXT, "query")
    else:
        spec.take("query")
    made.put("spec.metrics[0].name", ledger.name)
    made.put("spec.metrics[0].provider.prometheus.query", queries.convert(text), spec.at("query"))
    for index, name in enumerate(queries.args_of(text)):
        made.put(f"spec.args[{index}].name", name)
    spec.differs(_NO_DATA, "provider", "type")
    source = spec.at("provider", "address")
    if source:
        name = f"{ledger.name}-source"
        made.put("spec.metrics[0].provider.prometheus.sourceRef.name", name, source)
        yield made
        yield _metric_source(spec.at("provider"), name, namespace)
    else:
        yield made


def _metric_source(provider: Cursor, name: str, namespace: str | None) -> Draft:
    made = Draft("MetricSource", name, namespace)
    made.put("spec.type", "Prometheus")
    made.put("spec.prometheus.url", str(provider.take("address")).rstrip("/"), provider.at("address"))
    headers = provider.at("headers").value or {}
    if headers:
        provider.take("headers")
        first = {str(k): str(v[0] if isinstance(v, list) and v else v) for k, v in headers.items()}
        made.put("spec.prometheus.headers", first, provider.at("headers"))
    secret = provider.at("secretRef", "name")
    if secret:
        secret.differs("is read as a bearer token (key token); for username and password write auth.basic")
        made.put("spec.prometheus.auth.bearerSecretRef", {"name": secret.value, "key": "token"}, secret)
    return made


def alert_provider(ledger: Ledger, _: Peers) -> Iterator[Draft]:
    """Only the address of a webhook moves over; it lives in a Secret."""
    top = ledger.cursor()
    spec = top.at("spec")
    namespace = top.at("metadata", "namespace").value
    kind = str(spec.at("type").value or "")
    if kind in _CHATS:
        spec.take("type")
    else:
        spec.differs(f"put apprise's address for {kind} into the Secret: a webhook's own address is understood for Slack and Teams", "type")
    made = Draft("Notifier", ledger.name, namespace)
    secret = spec.at("secretRef", "name")
    address = spec.at("address")
    if secret:
        made.put("spec.urlSecretRef", {"name": secret.take(), "key": "address"}, secret)
        if address:
            address.differs("the Secret's address is used")
        yield made
        return
    name = f"{ledger.name}-address"
    made.put("spec.urlSecretRef", {"name": name, "key": "address"}, address)
    yield made
    if address:
        kept = Draft("Secret", name, namespace, api_version="v1")
        content: dict[str, Any] = {"address": address.value}
        kept.put("stringData", content, address)
        address.differs("is a password: the Secret that holds it is written beside; keep it out of Git")
        yield kept
