"""One real Unleash for the session, in a network namespace that the session enters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.testbed import netns
from tests.testbed.unleash import Unleash, missing


@pytest.fixture(scope="session")
def unleash() -> Iterator[Unleash]:
    """Unleash on PostgreSQL; each test takes a flag of its own."""
    reason = netns.unavailable() or missing()
    if reason:
        pytest.skip(reason)
    name = netns.create()
    try:
        with netns.entered(name):
            server = Unleash()
            try:
                yield server.start()
            finally:
                server.stop()
    finally:
        netns.delete(name)
