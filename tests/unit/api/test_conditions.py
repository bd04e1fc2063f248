"""Conditions as kubectl, Flux, Argo CD and Helm read them."""

from typing import get_args

import pytest

from daemon.api.conditions import STANDINGS, conditions
from daemon.api.status import Condition, Phase, VerdictStatus

PASS = VerdictStatus(result="Pass", revision="new")
FAIL = VerdictStatus(result="Fail", revision="new")


def states(
    phase: Phase,
    verdict: VerdictStatus | None = None,
    revision: str = "new",
    previous: list[Condition] | None = None,
    now: str = "t1",
    **more: str,
) -> dict[str, Condition]:
    found = conditions(
        previous or [], phase=phase, verdict=verdict, sentence="why", generation=3, revision=revision, now=now, refused=more.get("refused")
    )
    return {condition.type: condition for condition in found}


def words(found: dict[str, Condition]) -> str:
    """Ready Reconciling Stalled Promoted Failed, first letters."""
    return "".join(found[name].status[0] for name in ("Ready", "Reconciling", "Stalled", "Promoted", "Failed"))


@pytest.mark.parametrize(
    ("phase", "verdict", "expected"),
    [
        ("Pending", None, "UTFUU"),
        ("Idle", None, "TFFUU"),
        ("Starting", None, "UTFUU"),
        ("Progressing", None, "UTFUU"),
        ("Progressing", PASS, "UTFUU"),
        ("Paused", None, "UTFUU"),
        ("Inconclusive", None, "UTFUU"),
        ("Promoting", PASS, "UTFUU"),
        ("Idle", PASS, "TFFTF"),
        ("RollingBack", FAIL, "UTFUU"),
        ("Idle", FAIL, "FFTFT"),
        ("Held", FAIL, "FFTFT"),
        ("Bypassed", None, "FFTUU"),
        ("StableLost", None, "FFTUU"),
        ("Settling", None, "UTFUU"),
        ("Deleting", None, "UTFUU"),
    ],
)
def test_each_phase_looks_right_to_kstatus(phase: Phase, verdict: VerdictStatus | None, expected: str) -> None:
    """Under way is Reconciling, the end is Ready or Stalled, Promoted and Failed are final only at the end."""
    assert words(states(phase, verdict)) == expected


def test_every_phase_has_a_standing() -> None:
    """A new phase must say how it looks from outside."""
    assert set(STANDINGS) == set(get_args(Phase))


@pytest.mark.parametrize("phase", get_args(Phase))
def test_nothing_is_at_once_under_way_and_stuck(phase: Phase) -> None:
    """kstatus would read a contradiction as failed."""
    for verdict in (None, PASS, FAIL):
        found = states(phase, verdict)
        assert [found["Ready"].status == "True", found["Reconciling"].status == "True", found["Stalled"].status == "True"].count(True) == 1


def test_a_new_revision_ends_the_old_ones_promotion() -> None:
    """Waiting for Promoted right after the next release was seen cannot be satisfied by the one before."""
    before = states("Idle", PASS)
    after = states("Starting", PASS, revision="newer", previous=list(before.values()), now="t2")
    assert after["Promoted"].status == "Unknown"
    assert after["Promoted"].observed_revision == "newer"
    assert after["Promoted"].last_transition_time == "t2"


def test_the_time_of_a_status_is_kept_while_it_lasts() -> None:
    """lastTransitionTime says since when, not when last written; a status write only for a new time is saved."""
    before = states("Starting", now="t1")
    after = states("Progressing", previous=list(before.values()), now="t2")
    assert after["Reconciling"].last_transition_time == "t1"
    assert states("Idle", PASS, previous=list(after.values()), now="t3")["Reconciling"].last_transition_time == "t3"


def test_a_refused_canary_is_stalled_with_its_reason() -> None:
    """A missing Deployment or a StatefulSet needs a change by its owner."""
    found = states("Pending", refused="UnsupportedWorkload")
    assert words(found) == "FFTUU"
    assert {condition.reason for condition in found.values()} == {"UnsupportedWorkload"}


def test_every_condition_carries_generation_sentence_and_reason() -> None:
    """The fields that tools require."""
    for condition in states("Held", FAIL).values():
        assert (condition.observed_generation, condition.message, condition.reason) == (3, "why", "RolledBack")


def test_a_long_sentence_is_cut_to_what_the_schema_takes() -> None:
    """A status write must never be refused for its length."""
    found = conditions([], phase="Idle", verdict=None, sentence="x" * 5000, generation=1, revision=None, now="t")
    assert {len(condition.message) for condition in found} == {4096}


def test_a_status_that_another_revision_also_has_is_news() -> None:
    """Two rollbacks in a row: the second Failed has a time of its own."""
    before = states("Held", FAIL, now="t1")
    again = VerdictStatus(result="Fail", revision="newer")
    after = states("Held", again, revision="newer", previous=list(before.values()), now="t2")
    assert after["Failed"].status == "True"
    assert after["Failed"].last_transition_time == "t2"


@pytest.mark.parametrize("verdict", [PASS, FAIL])
def test_the_verdict_of_another_revision_says_nothing(verdict: VerdictStatus) -> None:
    """A verdict counts for its own revision only."""
    found = states("Idle", verdict, revision="newer")
    assert words(found) == "TFFUU"
