"""The real way to Slack and Teams ends in the local inbox, and leads nowhere else."""

import asyncio
from pathlib import Path

import pytest

from daemon.cli.demo.objects import SLACK_HOST, TEAMS_HOST, WEBHOOKS
from daemon.notify.delivery import Courier
from daemon.notify.errors import DeliveryError
from daemon.notify.message import trial
from daemon.notify.targets import parse
from daemon.sandbox.inbox import Inbox
from daemon.sandbox.interception import intercepting

MESSAGE = trial(cluster="sandbox", namespace="shop", notifier="slack", who="a test")


async def test_native_slack_and_teams_addresses_reach_the_inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apprise posts over TLS to the real hosts' names; the inbox gets exactly what they would have got."""
    inbox = Inbox()
    async with intercepting(inbox, (SLACK_HOST, TEAMS_HOST), tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for url in WEBHOOKS.values():
            await Courier(parse(url)).deliver(MESSAGE)
    assert [post.kind for post in inbox.posts] == ["Slack", "Teams"]
    assert [post.headers["Host"] for post in inbox.posts] == [SLACK_HOST, TEAMS_HOST]
    assert inbox.posts[0].path.startswith("/services/T00000000/")
    assert all("Test message of Notifier shop/slack" in post.text for post in inbox.posts)


async def test_no_other_host_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that let calls through would send the demo's messages to strangers."""
    inbox = Inbox()
    async with intercepting(inbox, (SLACK_HOST,), tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(DeliveryError):
            await Courier(parse(WEBHOOKS["teams"])).deliver(MESSAGE)
    assert inbox.posts == []


async def test_a_caller_that_says_nothing_does_not_keep_the_proxy(tmp_path: Path) -> None:
    """The end of the demo waits for nobody."""
    async with intercepting(Inbox(), (SLACK_HOST,), tmp_path) as environment:
        host, _, port = environment["HTTPS_PROXY"].removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
