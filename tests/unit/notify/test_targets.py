"""What people paste into a Secret is understood or refused, and never shown."""

import pytest

from daemon.notify.errors import InvalidTargetError
from daemon.notify.targets import parse

TEAMS_QUERY = "api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=planted"
AUTOMATE = "/powerautomate/automations/direct/workflows/643e/triggers/manual/paths/invoke"


@pytest.mark.parametrize(
    ("text", "service", "label"),
    [
        ("https://hooks.slack.com/services/T0A/B0B/planted", "slack", "Slack (hooks.slack.com)"),
        ("  https://hooks.slack.com/services/T0A/B0B/planted/\n", "slack", "Slack (hooks.slack.com)"),
        ("https://hooks.slack-gov.com/services/T0A/B0B/planted", "slack", "Slack (hooks.slack-gov.com)"),
        ("slack://T0A/B0B/planted", "slack", "Slack (slack.com)"),
        ("slack://xoxb-planted/#payments", "slack", "Slack (slack.com)"),
        (
            f"https://prod-1.westeurope.logic.azure.com:443/workflows/643e/triggers/manual/paths/invoke?{TEAMS_QUERY}",
            "workflows",
            "Teams (prod-1.westeurope.logic.azure.com)",
        ),
        (
            f"https://default643e.00.environment.api.powerplatform.com:443{AUTOMATE}?{TEAMS_QUERY}",
            "workflows",
            "Teams (default643e.00.environment.api.powerplatform.com)",
        ),
        ("workflows://teams.example:443/643e/planted", "workflows", "Teams (teams.example)"),
        ("https://relay.example/in/planted?token=planted", "webhook", "webhook (relay.example)"),
        ("https://user:planted@relay.example/", "webhook", "webhook (relay.example)"),
        ("jsons://relay.example/planted", "webhook", "webhook (relay.example)"),
        ("json://user:planted@relay.shop.svc:8080/x", "webhook", "webhook (relay.shop.svc)"),
        ("tgram://planted/1", "tgram", "tgram"),
    ],
)
def test_an_address_is_recognised_and_its_label_shows_no_secret(text: str, service: str, label: str) -> None:
    """Native URLs as they are pasted, and apprise's own."""
    target = parse(text)
    assert (target.service, target.label) == (service, label)
    assert "planted" in target.address
    assert "planted" not in repr(target)
    assert "planted" not in f"{target}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds nothing"),
        ("planted", "holds no address"),
        ("https://relay.example/ planted", "holds no address"),
        ("http://relay.example/planted", "unencrypted"),
        ("https:///planted", "without a host"),
        ("https://[planted/", "cannot be read"),
        ("https://relay.example:planted/", "cannot be read"),
        ("https://hooks.slack.com/triggers/T0A/1/planted", "no incoming webhook"),
        ("https://hooks.slack.com/services/T0A/planted", "no incoming webhook"),
        ("https://x.logic.azure.com/workflows/planted", "is incomplete"),
        ("https://x.logic.azure.com/workflows/planted/triggers/manual/paths/invoke?sv=1.0", "sig=... is missing"),
        ("https://acme.webhook.office.com/webhookb2/planted", "retired by Microsoft"),
        ("syslog://planted", "not available to a daemon"),
        ("dbus://planted", "not available to a daemon"),
        ("slack://T0A/B0B/planted?template=/var/run/secrets/token", "reads a file of the daemon"),
        ("workflows://h/planted/planted?Template=file:///etc/passwd", "reads a file of the daemon"),
        ("json://[planted", "cannot be read"),
    ],
)
def test_a_wrong_address_is_refused_with_the_way_out_and_without_itself(text: str, says: str) -> None:
    """People find the mistake from the message, and nobody finds the secret in it."""
    with pytest.raises(InvalidTargetError, match=says) as caught:
        parse(text)
    assert "planted" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not caught.value.retryable


def test_options_that_people_set_are_kept() -> None:
    """Only what is missing is added."""
    address = parse("slack://T0A/B0B/planted?footer=yes&blocks=no").address
    assert "footer=yes" in address
    assert "footer=no" not in address
    assert "image=no" in address
