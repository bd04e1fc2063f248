"""The inbox, trusted by apprise for the length of a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from daemon.notify import delivery, targets
from tests.unit.notify.inbox import Inbox

SLACK = "https://hooks.slack.com/services/T0AAAAAAA/B0BBBBBBB/planted0secret0slack"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def inbox(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inbox]:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    server = Inbox(authority)
    # Slack's host is fixed in the plugin; only the class can be pointed elsewhere.
    slack = type(delivery.build(targets.parse(SLACK)))
    monkeypatch.setattr(slack, "webhook_url", f"{server.base}/services")
    monkeypatch.setattr(slack, "request_rate_per_sec", 0)
    yield server
    await server.stop()
