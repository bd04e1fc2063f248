"""The part itself: it is what it says it is, and its log tells what people did to it."""

from __future__ import annotations

import pytest

from tests.testbed.build import UNLEASH
from tests.testbed.unleash import ADMIN, Unleash
from tests.witness.flaglog import FlagLog

pytestmark = pytest.mark.unleash


def test_the_server_says_the_version_that_is_locked(unleash: Unleash) -> None:
    """Over the wire, so that a log of CI says what was tested on."""
    wanted = (UNLEASH / "package.json").read_text()
    assert f'"unleash-server": "{unleash.versions()["unleash"]}"' in wanted
    assert int(unleash.versions()["postgresql"].split(".")[0]) >= 13


def test_the_witness_reads_what_people_did_in_order(unleash: Unleash) -> None:
    """Who, what, and which writes let more people in."""
    flag = unleash.flag()
    bob = unleash.person("bob")
    identity = unleash.strategy(flag, "production", rollout="0", title="mine")
    unleash.switch(flag, "production", on=True, token=bob)
    for percent in ("10", "0"):
        unleash.patch(flag, "production", identity, {"op": "replace", "path": "/parameters/rollout", "value": percent})
    unleash.strategy(flag, "development", rollout="50")
    log = FlagLog.read(unleash.url, ADMIN, flag).on("production")
    assert log.order() == [
        "strategy-add mine - -> 0",
        "environment-enabled",
        "strategy-update mine 0 -> 10",
        "strategy-update mine 10 -> 0",
    ]
    assert log.raises().order() == ["strategy-update mine 0 -> 10"]
    assert log.zeroes().order() == ["strategy-update mine 10 -> 0"]
    assert [entry.kind for entry in log if entry.user.startswith("bob")] == ["feature-environment-enabled"]
