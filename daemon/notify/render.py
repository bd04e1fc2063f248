"""What a message looks like at each service: bounded, escaped, and with our words only.

Names, users and sentences reach us from annotations and images, so each is escaped for where it is shown: nobody can ping a
channel, fake a link or mention a colleague through the name of a revision.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from daemon.notify.message import Kind, Message

Service = str

# Slack: 150 characters in a header, 3,000 in a section. Teams: apprise puts 1,000 into a card's text block.
TITLE_LIMIT = 150
SLACK_LIMIT = 3_000
TEAMS_LIMIT = 1_000
TEXT_LIMIT = 2_000
# A link is left out rather than the sentence cut below this.
_SENTENCE_ROOM = 300
SCHEMA = "linnet.dev/notification/v1"

_WORDS: dict[Kind, str] = {
    "Started": "started",
    "Step": "moved on",
    "Paused": "paused",
    "Promoted": "promoted",
    "RolledBack": "rolled back",
    "Inconclusive": "inconclusive",
    "FlagDue": "flag to remove",
    "Observed": "observed",
    "Digest": "digest",
    "Test": "test",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"([\\*_\[\]`~])")


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """Title and body for apprise; `extra` is added to a webhook's JSON."""

    title: str
    body: str
    extra: dict[str, Any]


def render(message: Message, service: Service) -> Rendered:
    """The message for one kind of service; unknown ones get plain text."""
    match service:
        case "slack":
            # apprise escapes a Slack title itself, after our cut.
            return Rendered(title=_cut(_title(message), _entities, TITLE_LIMIT), body=_slack(message), extra={})
        case "workflows":
            return Rendered(title=_markdown(_cut(_title(message), _markdown, TITLE_LIMIT)), body=_teams(message), extra={})
        case "webhook":
            extra = {"linnet": _object(message)}
            return Rendered(title=bounded(_title(message), TITLE_LIMIT), body=bounded(message.sentence, TEXT_LIMIT), extra=extra)
        case _:
            return Rendered(title=bounded(_title(message), TITLE_LIMIT), body=_text(message), extra={})


def bounded(text: str, limit: int) -> str:
    """Cut with an ellipsis, never in silence; control and direction-override characters are dropped."""
    text = _CONTROL.sub("", text)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _title(message: Message) -> str:
    if message.kind == "Test":
        return f"Linnet test: {message.namespace}/{message.name}"
    if message.kind == "Digest":
        return f"Linnet's week: what it observed ({f'{message.cluster}, ' if message.cluster else ''}{message.namespace}/{message.name})"
    revision = f" {message.revision}" if message.revision else ""
    where = f" on {message.cluster}" if message.cluster else ""
    return f"{bounded(message.name, 63)}{bounded(revision, 40)} {_WORDS[message.kind]} ({message.namespace}{where})"


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _entities(text))


def _slack(message: Message) -> str:
    link = f"<{_url(message.link)}|Details>" if _url(message.link) else ""
    return _lines(message, escape=_entities, limit=SLACK_LIMIT, bold="*{}*", command="`{}`", link=link)


def _teams(message: Message) -> str:
    link = f"[Details]({_url(message.link)})" if _url(message.link) else ""
    return _lines(message, escape=_markdown, limit=TEAMS_LIMIT, bold="**{}**", command="{}", link=link, gap="\n\n")


def _text(message: Message) -> str:
    return _lines(message, escape=lambda text: text, limit=TEXT_LIMIT, bold="{}", command="{}", link=_url(message.link))


def _lines(message: Message, *, escape: Callable[[str], str], limit: int, bold: str, command: str, link: str, gap: str = "\n") -> str:
    """Sentence, facts, who, command and link; the facts give way first when it gets long, then the sentence."""
    tail = [f"{bold.format('By')}: {escape(_cut(message.who, escape, 150))}"]
    if message.command:
        typed = message.command.replace("`", "")
        tail.append(f"{bold.format('Next')}: {command.format(escape(_cut(typed, escape, 250)))}")
    if link and len(gap.join([*tail, link])) + _SENTENCE_ROOM <= limit:
        tail.append(link)
    room = limit - len(gap.join(tail)) - len(gap)
    sentence = escape(_cut(message.sentence, escape, room))
    room -= len(sentence)
    facts = []
    for label, value in message.facts:
        line = f"{bold.format(escape(bounded(label, 40)))}: {escape(bounded(value, 200))}"
        if len(line) + len(gap) > room:
            break
        facts.append(line)
        room -= len(line) + len(gap)
    return gap.join([sentence, *facts, *tail])


def _cut(text: str, escape: Callable[[str], str], room: int) -> str:
    """The text, cut so that it fits when escaped: half an escape sequence would show, or worse, not escape."""
    size = room
    while len(escape(found := bounded(text, size))) > room:
        size -= max(1, (len(escape(found)) - room) // 6)
    return found


def _url(link: str) -> str:
    """A link is shown only if it is one: https or http, and free of what would end it early."""
    return link if re.fullmatch(r"https?://[^\s<>|()\[\]\"'`\\]{1,500}", link) else ""


def _object(message: Message) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": message.kind,
        "severity": message.severity,
        "cluster": message.cluster,
        "namespace": message.namespace,
        "name": message.name,
        "revision": message.revision,
        "sentence": bounded(message.sentence, TEXT_LIMIT),
        "who": bounded(message.who, 120),
        "facts": [{"label": bounded(label, 40), "value": bounded(value, 200)} for label, value in message.facts[:40]],
        "command": bounded(message.command, 200),
        "link": _url(message.link),
    }
