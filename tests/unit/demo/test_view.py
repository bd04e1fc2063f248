"""What people see: each thing once, whole at 80 and at 120 columns."""

import io
import time

import pytest
from rich.console import Console

from daemon.api.status import CanaryStatus, RolloutStatus
from daemon.cli.demo import narration
from daemon.cli.demo.account import rows, saved
from daemon.cli.demo.narration import Narrator
from daemon.cli.demo.play import Play
from daemon.cli.demo.show import Lines
from daemon.cli.demo.view import LiveView
from daemon.sandbox.inbox import Post
from tests.unit.demo.stand import COUNTS, SENTENCE, play, result, under_way

SLACK = b'{"attachments": [{"title": "shop f985d promoted", "text": "shop f985d promoted after 41 s: fine\\n*Weight*: 0 %\\n*Next*: `linnet status shop`", "color": "#0a0", "mrkdwn_in": ["text"]}]}'


def texts(lines: list[narration.Line]) -> list[str]:
    return [line.text for line in lines]


def post() -> Post:
    return Post(at=time.time(), path="/services/T/B/x", headers={}, body=SLACK)


def test_each_thing_is_said_once() -> None:
    """The second look at the same scene has nothing to add."""
    narrator, played = Narrator(), under_way()
    first = texts(narrator.look(played))
    assert first[0] == "Release 1 of 2: shop:v2, a good build, its feature is behind flag new-checkout"
    assert "kubectl set image deploy/shop shop=shop:v2 -n shop" in first
    assert narrator.look(played) == []


def test_a_change_of_weight_flag_and_phase_is_told() -> None:
    """What the audience came for: traffic and flag move together, and the decision."""
    narrator, played = Narrator(), under_way()
    flags, rollout = played.scene.status.flags, played.scene.status.rollout
    played.scene.weight, played.scene.status = 0, CanaryStatus(phase="Idle")
    narrator.look(played)
    played.scene.weight, played.scene.status = 50, CanaryStatus(phase="Progressing", flags=flags, rollout=rollout)
    assert texts(narrator.look(played)) == [
        "The route gives the canary 50 % of the requests.",
        "Flag new-checkout 100 %, on the canary's pods alone.",
    ]
    played.scene.status = CanaryStatus(phase="Promoting", flags=flags, rollout=rollout)
    assert texts(narrator.look(played)) == ["Proven fine: the Deployment rolls to v2, while the canary keeps its share."]
    returning = RolloutStatus(revision="f985d", started_at="2026-01-01T00:00:00Z", promotion="Returning")
    played.scene.status = CanaryStatus(phase="Promoting", flags=flags, rollout=returning)
    assert texts(narrator.look(played))[0].startswith("The Deployment runs v2:")


def decided(played: Play) -> None:
    found = rows(COUNTS)
    number = result(played)
    played.scene.release = None
    played.scene.results = [
        result(played, 0, "Promoted"),
        result(played, 1, rows=found, saved=saved(found, number.release, asked=1000, rate=200)),
    ]


def test_the_end_names_both_sentences_what_was_saved_and_every_other_failure() -> None:
    """Numbers from the load generator's own counts."""
    played = under_way()
    decided(played)
    played.load.sent = 210
    said = " ".join(texts(narration.closing(played)))
    assert said.count(SENTENCE) == 2
    assert (
        "Saved 27 requests: 3 failed; of the 1 000 asked while the canary served, 30 would have failed at 100 %, and about 360 more" in said
    )
    assert "210 requests sent, none failed for any other reason" in said


def test_a_decision_against_the_expectation_is_said() -> None:
    """With `--bad-error-percent 0` the bad build is fine, and the demo does not hide that it expected otherwise."""
    played = play()
    said = texts(narration.ends(result(played, 1, "Promoted")))
    assert said[-1] == "Expected was rolled back, decided was promoted."


def test_a_letter_is_shown_without_the_marks_of_its_service() -> None:
    """Bold and code as people see them, the facts on one line."""
    assert narration.letter(post()) == (
        "Slack would have shown",
        "shop f985d promoted\nshop f985d promoted after 41 s: fine\nWeight: 0 % | Next: linnet status shop",
    )


def test_a_pipe_gets_plain_lines() -> None:
    """No colours, no cursor movements, one line for each thing."""
    out = io.StringIO()
    show, played = Lines(out.write), under_way()
    show.opened(played)
    show(played)
    played.stage.inbox.posts.append(post())
    show(played)
    decided(played)
    show.over(played)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "$ linnet run --kubeconfig" in text
    assert " s  Slack would have shown: shop f985d promoted / shop f985d promoted after 41 s: fine" in text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [80, 120])
def test_the_view_fits_and_shows_traffic_flag_table_and_state(width: int) -> None:
    """Nothing is cut that matters, and the present takes at most half of a small terminal."""
    out = io.StringIO()
    view = LiveView(Console(file=out, width=width, force_terminal=False, highlight=False))
    played = under_way()
    view.opened(played)
    view(played)
    played.stage.inbox.posts.append(post())
    view(played)
    story = out.getvalue()
    out.truncate(0)
    view.console.print(view)
    present = out.getvalue().lstrip("\0")
    assert max(len(line) for line in (story + present).splitlines()) <= width
    assert "10 % of requests to the canary" in present
    assert "100 % new-checkout" in present
    assert "step 10% lasts at least until then" in present
    assert len(present.splitlines()) <= 12
    assert "Slack would have shown" in story
    assert "3.0 %" in present


def test_before_the_shop_serves_the_view_says_what_it_waits_for() -> None:
    """The first seconds are not an empty screen."""
    out = io.StringIO()
    view = LiveView(Console(file=out, width=80))
    view.console.print(view)
    view.opened(play())
    view.console.print(view)
    assert "starting an API server" in out.getvalue()
    assert "the shop starts" in out.getvalue()
