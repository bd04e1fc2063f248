"""The JSON object and the exit code."""

import json

import msgspec
import pytest

from daemon.cli.demo import account
from daemon.cli.demo.account import Odds
from daemon.cli.demo.report import report, succeeded
from daemon.cli.demo.script import DemoOptions
from tests.unit.demo.stand import COUNTS, play, result


@pytest.mark.parametrize(
    ("outcomes", "ok"),
    [
        (("Promoted", "RolledBack"), True),
        (("Promoted", "Promoted"), False),
        (("RolledBack", "RolledBack"), False),
        (("Promoted", "Undecided"), False),
        (("Promoted",), False),
        ((), False),
    ],
)
def test_only_both_right_decisions_are_a_success(outcomes: tuple[str, ...], ok: bool) -> None:
    """A release that was not played, or not decided, is none."""
    played = play()
    played.scene.results = [result(played, number, outcome) for number, outcome in enumerate(outcomes)]
    assert succeeded(played) is ok


def test_the_order_changes_what_is_expected_of_which() -> None:
    """Bad first: rolled back, then promoted."""
    played = play(DemoOptions(order=("bad", "good")))
    played.scene.results = [result(played, 0, "RolledBack"), result(played, 1, "Promoted")]
    assert succeeded(played)


def test_the_object_holds_outcomes_odds_seconds_requests_and_sentences() -> None:
    """Everything that a script would look for, under its name."""
    played = play()
    played.load.outcomes.update(COUNTS)
    played.load.answered, played.load.sent = COUNTS.total(), COUNTS.total()
    rows = account.rows(COUNTS)
    odds = (Odds(metric="errors", worse="180 : 1", fine="0.1 : 1", bound=""),)
    saved = account.saved(rows, result(played).release, asked=1000, rate=200)
    played.scene.results = [result(played, 0, "Promoted"), result(played, 1, odds=odds, rows=rows, saved=saved)]
    found = json.loads(msgspec.json.encode(report(played, 66.6)))
    assert (found["ok"], found["seconds"]) == (True, 66.6)
    bad = found["releases"][1]
    assert (bad["kind"], bad["image"], bad["outcome"], bad["expected"], bad["seconds"]) == (
        "bad",
        "shop:v3",
        "RolledBack",
        "RolledBack",
        22.1,
    )
    assert bad["odds"] == [{"metric": "errors", "worse": "180 : 1", "fine": "0.1 : 1", "bound": ""}]
    assert bad["by_track_and_flag"][1] == {"version": "v3", "track": "canary", "flag": "on", "requests": 100, "failed": 3}
    assert bad["saved"]["saved"] == 27
    assert "rolled back after 15 s" in bad["sentence"]
    assert found["requests"]["failed"] == 3
    assert found["requests"]["unexpected_failures"] == 0
    assert found["daemon"].startswith("linnet run --kubeconfig ")
