"""What the doctor says of the webhooks of flag services."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from daemon.api.sources import SecretRef
from daemon.cli.flaghooks import webhooks
from daemon.control import objects as ours
from daemon.control.secrets import SecretMissing

HOOK = {"webhookSecretRef": {"name": "hook", "key": "value"}}


class Secrets:
    """A reader with one value, or none."""

    def __init__(self, value: str | None) -> None:
        self.value = value

    async def read(self, namespace: str, ref: SecretRef) -> str:
        assert (namespace, ref.name, ref.key) == ("shop", "hook", "value")
        if self.value is None:
            raise SecretMissing("Secret shop/hook does not exist")
        return self.value


def source(**unleash: Any) -> ours.FlagSource:
    given = {"url": "https://u.test", "tokenSecretRef": {"name": "u", "key": "t"}, "environment": "production", **unleash}
    body = {"metadata": {"name": "unleash", "namespace": "shop"}, "spec": {"type": "Unleash", "unleash": given}}
    return msgspec.convert(body, ours.FlagSource)


@pytest.mark.parametrize(
    ("unleash", "value", "level", "says"),
    [
        ({}, None, "OK", "is asked every 10 s"),
        (HOOK, "s3cret", "OK", "/api/v1/namespaces/shop/flagsources/unleash/changed"),
        (HOOK, None, "FAIL", "does not exist"),
        (HOOK, "", "FAIL", "is empty"),
    ],
)
async def test_each_source_that_can_be_told_of_has_one_line(unleash: dict[str, Any], value: str | None, level: str, says: str) -> None:
    """How it is told, or what keeps it from being told; never the value."""
    used = source(**unleash)
    [found] = await webhooks("Canary shop/web", [used, used], cast("Any", Secrets(value)))
    assert (found.level, says in found.message, "s3cret" in str(found)) == (level, True, False)
