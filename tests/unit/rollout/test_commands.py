"""Verbs of people: bound to a revision, carried out once, refused with a sentence that says the way out."""

from __future__ import annotations

import pytest

from daemon.rollout.commands import parse
from tests.unit.rollout.world import Version
from tests.unit.rollout.worlds import releasing, world


@pytest.mark.parametrize("verb", ["promote", "abort", "pause", "resume", "override", "retry"])
def test_a_verb_for_another_revision_is_refused_and_does_nothing(verb: str) -> None:
    """The sentence names the revision at hand."""
    w = releasing(Version("v2", judge="silent")).reach("Progressing").seconds(3)
    before = w.status.rollout
    w.say(verb, "v1")
    w.turn()
    assert w.phase == "Progressing"
    assert w.status.rollout == before
    assert w.told("CommandRefused") == [f"{verb} of v1 refused: the revision at hand is v2; the verb is bound to the one it was said for"]


def test_a_verb_applied_again_does_nothing_again() -> None:
    """GitOps re-applies annotations: a pause that was resumed does not pause again."""
    w = releasing().reach("Progressing").seconds(3)
    w.say("pause", raw="pause@v2#1")
    w.reach("Paused")
    pause = w.command
    w.say("resume", raw="resume@v2#2")
    w.turn()
    assert w.phase == "Progressing"
    for _ in range(5):
        w.turn()
    assert w.phase == "Progressing"
    assert pause is not None
    assert len(w.told("Resumed")) == 1


def test_a_verb_longer_than_the_status_field_is_carried_out_once() -> None:
    """What is remembered is cut; the comparison must be cut alike."""
    w = releasing(Version("v2", judge="silent")).reach("Progressing").seconds(3)
    w.say("pause", raw="pause@v2#" + "x" * 300)
    w.reach("Paused")
    for _ in range(3):
        w.turn()
    assert len(w.told("Paused")) == 1


@pytest.mark.parametrize(
    ("verb", "hint"), [("promote", "linnet promote --override checkout"), ("pause", "no release is under way, the Canary is Held")]
)
def test_a_verb_that_makes_no_sense_now_says_what_does(verb: str, hint: str) -> None:
    """A held, rejected revision is not promoted by the plain word."""
    w = releasing(Version("v2", judge="bad"), spec={"on_rollback": "Hold"}).settle()
    w.say(verb)
    w.settle()
    assert w.phase == "Held"
    assert hint in w.told("CommandRefused")[-1]


def test_an_override_of_what_is_stable_already_is_refused() -> None:
    """There is nothing to release."""
    w = world()
    w.say("override")
    w.settle()
    assert "v1 is stable already" in w.told("CommandRefused")[0]
    assert w.status.history == []


def test_a_refused_verb_is_refused_once() -> None:
    """One sentence, not one a second."""
    w = world()
    w.say("abort")
    w.seconds(10)
    assert len(w.told("CommandRefused")) == 1


@pytest.mark.parametrize("phase", ["Starting", "Progressing", "Paused"])
def test_an_abort_works_in_every_step(phase: str) -> None:
    """And is told with the name of who said it."""
    w = releasing(Version("v2", judge="silent")).reach("Starting")
    if phase != "Starting":
        w.reach("Progressing").seconds(3)
    if phase == "Paused":
        w.say("pause")
        w.reach("Paused")
    w.say("abort")
    w.settle()
    assert "stopped by ada" in w.status.sentence
    assert set(w.failed) == {"v2"}


def test_a_promotion_by_a_person_works_before_the_first_step() -> None:
    """The person takes the word for it, the canary has no traffic yet."""
    w = releasing(Version("v2", starts=False)).reach("Starting")
    w.versions["v2"].starts = True
    w.say("promote")
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize("text", ["", "promote", "promote@", "delete@v2", "@v2"])
def test_what_is_no_verb_is_no_command(text: str) -> None:
    """Words that are not ours are not guessed at."""
    assert parse(text) is None


def test_a_nonce_makes_the_same_verb_a_new_one() -> None:
    """`pause@v2#2` is another word than `pause@v2#1`, about the same revision."""
    one, two = parse("pause@v2#1"), parse("pause@v2#2")
    assert one is not None
    assert two is not None
    assert (one.revision, two.revision, one.raw == two.raw) == ("v2", "v2", False)
