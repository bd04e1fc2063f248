"""What really arrives: apprise posts over TLS to a local server, and the bodies are checked against schemas of their formats."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.notify.delivery import Courier
from daemon.notify.errors import DeliveryError, InvalidTargetError
from daemon.notify.message import KINDS, Kind, Message, severity_of, trial
from daemon.notify.notifier import send_once
from daemon.notify.render import render
from daemon.notify.targets import Target, parse
from tests.unit.notify.conftest import SLACK
from tests.unit.notify.inbox import Inbox, message

SCHEMAS = Path(__file__).parent / "schemas"


def check(body: Any, schema: str) -> None:
    jsonschema.validate(body, json.loads((SCHEMAS / f"{schema}.json").read_text()), cls=jsonschema.Draft202012Validator)


def teams(inbox: Inbox, path: str = "") -> Target:
    return parse(f"workflows://localhost:{inbox.port}/643e69f83c8944438d/planted0secret0teams{path}")


def shown(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_reaches_slack_teams_and_webhook_in_their_formats(inbox: Inbox, kind: Kind) -> None:
    """Sentence, numbers, who, command and link are in each body, nothing of apprise's is."""
    told = message(kind)
    await send_once(parse(SLACK), told)
    await send_once(teams(inbox), told)
    await send_once(parse(f"{inbox.base}/relay"), told)
    assert [path.split("/")[1] for path, _ in inbox.received] == ["services", "workflows", "relay"]
    for (_, body), schema in zip(inbox.received, ("slack", "teams", "webhook"), strict=True):
        check(body, schema)
        text = shown(body)
        for part in (
            "checkout 7f9c rolled back after 1 min 45 s",
            "back at 0 after 0.4 s",
            "linnet promote checkout --override",
            told.link,
        ):
            assert part in text
        assert "apprise" not in text.lower()
        assert "caronc" not in text


async def test_slack_shows_severity_as_colour_and_a_link(inbox: Inbox) -> None:
    """A rollback is red, a promotion green."""
    colours = {}
    for kind in ("RolledBack", "Promoted"):
        await send_once(parse(SLACK), message(kind))
        colours[kind] = inbox.received[-1][1]["attachments"][0]["color"]
    assert colours["RolledBack"] != colours["Promoted"]
    text = inbox.received[-1][1]["attachments"][0]["blocks"][1]["text"]["text"]
    assert "<https://linnet.example.com/shop/checkout|Details>" in text
    assert "*Weight*: 5 %" in text


async def test_a_webhook_gets_the_message_as_fields_too(inbox: Inbox) -> None:
    """A relay need not parse sentences."""
    await send_once(parse(f"{inbox.base}/relay"), message("Promoted", who="ann@example.com"))
    linnet = inbox.received[0][1]["linnet"]
    assert (linnet["kind"], linnet["who"], linnet["namespace"]) == ("Promoted", "ann@example.com", "shop")
    assert linnet["facts"][0] == {"label": "Weight", "value": "5 %"}


async def test_a_webhook_is_posted_to_exactly_the_address_given(inbox: Inbox) -> None:
    """Escapes in the path, the query and the password survive the way through apprise."""
    url = f"https://bob:p%40ss@localhost:{inbox.port}/in/a%2Fb?token=x%2By&verify=no&format="
    await send_once(parse(url), message())
    assert inbox.received[0][0] == "/in/a%2Fb"
    assert inbox.queries[0] == {"token": "x+y", "verify": "no", "format": ""}
    assert inbox.headers[0]["Authorization"] == "Basic Ym9iOnBAc3M="


async def test_a_native_teams_address_is_posted_back_unchanged(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Id, signature, version and route of a pasted URL come out again, in the old and in the new form."""
    for path, version in (
        ("/workflows/643e", "2016-06-01"),
        ("/powerautomate/automations/direct/workflows/643e", "1"),
        ("/powerautomate/automations/direct/cu/07/workflows/643e", "2022-03-01-preview"),
    ):
        native = f"https://prod-1.westeurope.logic.azure.com:443{path}/triggers/manual/paths/invoke"
        target = parse(f"{native}?api-version={version}&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=KODu-ebW")
        here = Target(
            service=target.service,
            label=target.label,
            address=target.address.replace("prod-1.westeurope.logic.azure.com:443", f"localhost:{inbox.port}"),
        )
        await send_once(here, message())
        assert inbox.received[-1][0] == f"{path}/triggers/manual/paths/invoke"
        assert inbox.queries[-1] == {"api-version": version, "sp": "/triggers/manual/run", "sv": "1.0", "sig": "KODu-ebW"}


NASTY = "<!channel> <@U123> <at>Bob</at> *bold* _x_ [click](https://evil.example) `rm` <https://evil.example|ok> & \u202e\x1b[31m \\"


async def test_names_cannot_ping_or_fake_links(inbox: Inbox) -> None:
    """Text from annotations and images is shown, not obeyed."""
    told = message(sentence=NASTY, who=NASTY, facts=((NASTY, NASTY),), command=NASTY, link="javascript:alert(1)", revision=NASTY)
    await send_once(parse(SLACK), told)
    await send_once(teams(inbox), told)
    slack, card = inbox.received[0][1], inbox.received[1][1]
    check(slack, "slack")
    check(card, "teams")
    section = slack["attachments"][0]["blocks"][1]["text"]["text"]
    assert "<" not in section
    assert "\x1b" not in section
    body = card["attachments"][0]["content"]["body"][1]["text"]
    assert "<" not in body
    assert "](" not in body.replace("\\](", "")
    assert "javascript" not in shown([slack, card])


WORDS = st.text(max_size=40) | st.text("<&*_a \\", max_size=400) | st.sampled_from(["&" * 6000, "<" * 500, "a" * 1200])


@settings(max_examples=150)
@given(
    sentence=WORDS,
    facts=st.lists(st.tuples(WORDS, WORDS), max_size=20),
    who=WORDS,
    command=WORDS,
    link=st.sampled_from(["", "https://linnet.example.com/" + "x" * 450, "https://linnet.example.com"]),
    service=st.sampled_from(["slack", "workflows", "webhook", "mailto"]),
)
def test_every_message_fits_its_service(
    sentence: str, facts: list[tuple[str, str]], who: str, command: str, link: str, service: str
) -> None:
    """Whatever is said, title and body stay within the limits, and who did it is never cut away."""
    told = message(sentence=sentence, facts=tuple(facts), who=who, command=command, link=link)
    rendered = render(told, service)
    limit = {"slack": 3000, "workflows": 1000}.get(service, 2000)
    assert len(rendered.body) <= limit
    assert len(rendered.title) <= 150
    if service != "webhook":
        assert "By" in rendered.body
    else:
        body = {"version": "1.0", "title": rendered.title, "message": rendered.body or " ", "type": "info", **rendered.extra}
        check(body, "webhook")


@pytest.mark.parametrize(
    ("status", "retryable"), [(404, False), (403, False), (400, False), (429, True), (500, True), (503, True), (302, True)]
)
async def test_a_refusal_names_the_status_and_whether_to_try_again(inbox: Inbox, status: int, retryable: bool) -> None:
    """A dead address is not hammered; a busy server is tried again; a redirect is not followed to wherever it points."""
    with pytest.raises(DeliveryError, match=f"HTTP {status}") as caught:
        await send_once(parse(f"{inbox.base}/status/{status}/planted0secret0hook"), message())
    assert caught.value.retryable is retryable
    assert inbox.received == []


async def test_a_server_that_is_not_there_is_retryable(inbox: Inbox) -> None:
    """Connection refused may pass."""
    port = inbox.port
    await inbox.stop()
    with pytest.raises(DeliveryError, match="could not be reached") as caught:
        await send_once(parse(f"https://localhost:{port}/x"), message())
    assert caught.value.retryable


async def test_a_call_that_hangs_is_given_up_on_and_not_doubled(inbox: Inbox) -> None:
    """One thread for each address: while the old call hangs, no second one is started."""
    courier = Courier(parse(f"{inbox.base}/hang/planted0secret0hook"), timeout=0.5)
    with pytest.raises(DeliveryError, match=r"did not answer within 0\.5 s"):
        await courier.deliver(message())
    with pytest.raises(DeliveryError, match="still hangs"):
        await courier.deliver(message())
    assert inbox.hung <= 1


async def test_an_address_that_apprise_refuses_is_an_error_without_the_address() -> None:
    """Wrong tokens are the commonest mistake."""
    with pytest.raises(InvalidTargetError) as caught:
        await send_once(parse("slack://planted0secret0slack"), message())
    assert "planted0secret" not in str(caught.value)


async def test_planted_secrets_are_nowhere_to_be_read(
    inbox: Inbox, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With every logger at its loudest: success, refusal, hang and nonsense leave no trace of an address."""
    caplog.set_level(logging.DEBUG)
    addresses = [
        SLACK,
        f"workflows://localhost:{inbox.port}/planted0secret0id/planted0secret0sig",
        f"{inbox.base}/planted0secret0hook?token=planted0secret0query",
        f"https://planted0secret0user:planted0secret0pw@localhost:{inbox.port}/status/404/planted0secret",
        f"{inbox.base}/hang/planted0secret0hook",
        "slack://planted0secret0slack/#x",
        "nonsense://planted0secret",
        "tgram://planted0secret/1",
    ]
    problems = []
    for address in addresses:
        target = parse(address)
        problems += [repr(target), target.label]
        try:
            await send_once(target, message(), timeout=0.5)
        except (DeliveryError, InvalidTargetError) as problem:
            problems += [str(problem), repr(problem), repr(problem.__cause__), repr(problem.__context__)]
    seen = "\n".join([*problems, caplog.text, *capfd.readouterr()])
    assert "planted0secret" not in seen
    assert len(inbox.received) == 3


async def test_the_test_message_says_which_notifier_it_is(inbox: Inbox) -> None:
    """`linnet notify test` proves the way from end to end."""
    await send_once(parse(SLACK), trial(cluster="prod", namespace="shop", notifier="slack-payments", who="ann"))
    body = inbox.received[0][1]
    check(body, "slack")
    assert "shop/slack-payments" in shown(body)
    assert "ann" in shown(body)


async def test_posting_leaves_the_loop_free(inbox: Inbox) -> None:
    """While one post hangs in its thread, the loop serves everything else."""
    courier = Courier(parse(f"{inbox.base}/hang/x"), timeout=5)
    task = asyncio.ensure_future(courier.deliver(message()))
    await inbox.wait_for_hung()
    await send_once(parse(f"{inbox.base}/relay"), message())
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_every_kind_has_a_severity() -> None:
    """And a message carries what it is given."""
    assert {severity_of(kind) for kind in KINDS} == {"info", "success", "warning", "failure"}
    assert isinstance(message(), Message)
