"""What the doctor says of webhooks: how Unleash is told where to send, or that nobody told it and changes are found by asking."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.cli.findings import Finding, bad, ok
from daemon.control import objects as ours
from daemon.control.flagging import FRESH
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.kube.errors import KubeError

DOCS = "docs: how-to/flags-unleash"


async def webhooks(what: str, sources: Iterable[ours.FlagSource], secrets: SecretReader) -> list[Finding]:
    """One line for each source that could be told of."""
    return [await _webhook(what, one, secrets) for one in {s.key: s for s in sources}.values() if one.spec.unleash is not None]


async def _webhook(what: str, source: ours.FlagSource, secrets: SecretReader) -> Finding:
    named = f"FlagSource {source.namespace}/{source.name}"
    ref = source.spec.unleash.webhook_secret_ref if source.spec.unleash is not None else None
    if ref is None:
        return ok(
            what, f"{named} is asked every {FRESH:g} s whether a flag changed; with webhookSecretRef Unleash tells it at once ({DOCS})"
        )
    try:
        secret = await secrets.read(source.namespace, ref)
    except (SecretMissing, KubeError) as e:
        return bad(what, f"{named}: no webhook is let in: {e}", "create the Secret, or leave webhookSecretRef out")
    if not secret:
        return bad(what, f"{named}: no webhook is let in: key {ref.key} of Secret {ref.name} is empty", "give it a long random value")
    path = f"/api/v1/namespaces/{source.namespace}/flagsources/{source.name}/changed"
    return ok(what, f"{named} hears of changes at {path} of the HTTP API, with Secret {ref.name}, key {ref.key} as Authorization ({DOCS})")
