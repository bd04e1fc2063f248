"""Memory and ways back: what failed is held with its evidence, its images get no shortcut, and people can undo, skip and hurry."""

from __future__ import annotations

import pytest

from daemon.rollout import model as m
from daemon.rollout.commands import parse
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import paused_step, releasing, world

BAD = Version("v2", judge="bad", image="shop:2")


def failed_once(**spec: object) -> World:
    """v2 was tried and taken back; v1 runs."""
    return releasing(BAD, spec=dict(spec), gitops=str(spec.pop("gitops", ""))).settle()


def test_a_known_bad_template_is_held_with_its_evidence() -> None:
    """Applied again it moves nobody: the message says when, why and what ran, and people are told once."""
    w = failed_once()
    w.apply("v2")
    w.settle()
    assert (w.phase, w.paused) == ("Held", True)
    assert w.status.waiting is not None
    assert w.status.waiting.reason == "KnownBad"
    assert "revision v2 failed" in w.status.waiting.message
    assert "(Worse)" in w.status.waiting.message
    assert "it ran shop:2" in w.status.waiting.message
    assert "--override checkout --reason WHY" in w.status.waiting.way_out
    assert len(w.told("KnownBad")) == 1
    assert w.exposure["v2"] < 60


def test_another_known_bad_template_over_the_first_is_told_and_spoken_of() -> None:
    """Held for v2, v3 comes back, which failed too: people hear of v3, and what is said from now on is bound to it."""
    w = failed_once()
    w.versions["v3"] = Version("v3", judge="bad", image="shop:3")
    w.apply("v3")
    w.reach("RollingBack").settle()
    w.apply("v2")
    w.settle()
    w.apply("v3")
    w.settle()
    assert (w.phase, w.status.observed_revision) == ("Held", "v3")
    assert "revision v3 failed" in w.told("KnownBad")[-1]
    w.say("override")
    w.settle()
    assert w.status.stable_revision == "v3"


def test_a_new_canary_object_still_knows_what_failed() -> None:
    """The memory is beside the templates, not in the Canary's status."""
    w = failed_once()
    records = w.failed
    w.status = type(w.status)()
    w.reach("Idle").settle()
    assert w.failed == records
    w.apply("v2")
    w.settle()
    assert w.phase == "Held"
    assert w.status.waiting is not None
    assert "(Worse)" in w.status.waiting.message


@pytest.mark.parametrize("verb", ["skip", "hotfix", "set-weight", "step"])
def test_images_that_failed_start_over_without_shortcuts(verb: str) -> None:
    """The same image in another template is judged from the first step; each message says that it failed before."""
    w = failed_once()
    w.versions["v3"] = Version("v3", image="shop:2")
    w.apply("v3")
    w.reach("Progressing").seconds(3)
    assert w.status.rollout is not None
    assert w.status.rollout.step == 0
    assert "checkout v3 (images failed before, as v2) starts: 5 % first" in w.told("Started")[-1]
    w.say(verb, weight=50, step="half")
    w.turn()
    assert "images failed before, as v2: no step is spared it" in w.told("CommandRefused")[-1]
    w.settle()
    assert w.status.stable_revision == "v3"
    assert "checkout v3 (images failed before, as v2) promoted" in w.status.sentence
    assert w.exposure["v3"] > 200


def test_images_that_stable_has_too_are_not_held_against_a_release() -> None:
    """A sidecar that every version carries proves nothing."""
    w = world(Version("v2", judge="bad", image="shop:1"), Version("v3", image="shop:1"), Version("v1", image="shop:1"))
    w.apply("v2")
    w.settle()
    w.apply("v3")
    w.reach("Progressing")
    assert w.status.rollout is not None
    assert w.status.rollout.burden == ""


@pytest.mark.parametrize(("verb", "more"), [("override", {"why": ""}), ("override", {"expires": None}), ("hotfix", {"why": ""})])
def test_what_sets_a_promise_aside_needs_a_person_a_reason_and_an_expiry(verb: str, more: dict[str, object]) -> None:
    """Without one of them it is refused, with the command that writes all three."""
    w = releasing(Version("v2", judge="silent")).reach("Progressing").seconds(3)
    why = str(more.get("why", "the till is down"))
    expires = more.get("expires", w.now + 60)
    w.command = m.Command(verb=verb, revision="v2", raw=f"{verb}@v2", by="ada", why=why, expires=expires)  # type: ignore[arg-type]
    w.turn()
    assert w.phase == "Progressing"
    assert "it needs a person, a reason and an expiry: linnet" in w.told("CommandRefused")[0]


def test_an_override_says_who_and_why() -> None:
    """In the sentence, for good."""
    w = failed_once(on_rollback="Hold")
    w.say("override", why="the other one loses money")
    w.settle()
    assert w.status.stable_revision == "v2"
    assert "released by override by ada (the other one loses money), not judged" in w.status.sentence
    assert w.status.history[0].sentence == w.status.sentence


def promoted_twice(**spec: object) -> World:
    w = world(Version("v2", image="shop:2"), Version("v3", image="shop:3"), spec=dict(spec))
    for revision in ("v2", "v3"):
        w.apply(revision)
        w.settle()
    assert w.status.stable_revision == "v3"
    return w


def test_an_undo_goes_back_at_once_to_what_was_proven() -> None:
    """Without a canary, and never un-held before it was decided; the verdict is no proof."""
    w = promoted_twice()
    before = dict(w.exposure)
    w.say("undo", why="slow checkout")
    w.turn()
    assert (w.template, w.paused) == ("v2", True)
    w.settle()
    assert (w.status.stable_revision, w.template, w.paused) == ("v2", "v2", False)
    assert w.exposure == before
    assert "v2 promoted after" in w.status.sentence
    assert "brought back by ada (slow checkout); it was good before" in w.status.sentence
    assert w.status.verdict is not None
    assert (w.status.verdict.reason, w.status.verdict_text) == ("Undo", "Released (Undo)")
    w.as_found()


def test_an_undo_to_what_served_before_linnet_came_is_at_once_too() -> None:
    """It was the control of what came after it."""
    w = promoted_twice()
    w.say("undo", to="v1")
    w.settle()
    assert w.status.stable_revision == "v1"
    assert "v1" not in w.exposure


def test_an_undo_to_what_was_never_proven_takes_the_way_of_a_release() -> None:
    """A revision that a person promoted is judged this time."""
    w = world(Version("v2", judge="silent"), Version("v3"))
    w.apply("v2")
    w.reach("Progressing").seconds(5).say("promote")
    w.settle()
    w.apply("v3")
    w.settle()
    assert w.status.stable_revision == "v3"
    w.versions["v2"].judge = "good"
    seconds = w.exposure.pop("v2")
    w.say("undo")
    w.settle()
    assert w.status.stable_revision == "v2"
    assert w.exposure["v2"] > 200 > seconds
    assert w.status.verdict is not None
    assert w.status.verdict.reason == "Proven"


def test_an_undo_of_a_held_template_brings_stable_back() -> None:
    """In Held, undo is the revert."""
    w = failed_once(on_rollback="Hold")
    assert w.phase == "Held"
    w.say("undo")
    w.settle()
    assert (w.phase, w.template, w.paused) == ("Idle", "v1", False)


@pytest.mark.parametrize(
    ("to", "words"),
    [("v9", "v9 is not stored; stored beside v3: v1, v2"), ("v3", "v3 is what the Deployment asks for already")],
)
def test_an_undo_that_cannot_be_done_says_what_can(to: str, words: str) -> None:
    """Nothing is written."""
    w = promoted_twice()
    w.say("undo", to=to)
    w.settle()
    assert words in w.told("CommandRefused")[0]
    assert w.template == "v3"


def test_an_undo_to_a_failed_revision_is_refused_with_the_evidence() -> None:
    """Memory holds here too."""
    w = failed_once()
    w.apply("v3")
    w.settle()
    w.say("undo", to="v2")
    w.settle()
    assert "undo of v3 refused: revision v2 failed" in w.told("CommandRefused")[0]


def test_an_undo_tells_gitops_users_what_to_revert() -> None:
    """The next sync would undo the undo."""
    w = promoted_twice()
    w.gitops = "Argo CD"
    w.say("undo")
    w.turn()
    assert "Argo CD writes shop:3 again at its next sync: revert that in Git, to shop:2" in w.told("Undone")[0]


@pytest.mark.parametrize("after", [-1, 0, 1])
def test_an_undo_survives_the_death_of_the_daemon(after: int) -> None:
    """Whether it dies before its status, before the write, or after it."""
    w = promoted_twice()
    w.say("undo")
    w.crash_after = after
    w.turn()
    w.settle()
    assert w.status.stable_revision == "v2"
    assert w.status.undo is None
    w.as_found()


def test_an_undo_that_somebody_overtakes_is_dropped() -> None:
    """A newer template is a release of its own."""
    w = promoted_twice()
    w.say("undo")
    w.broken.add(m.PutTemplate)
    w.turn()
    w.apply("v4")
    w.broken.clear()
    w.settle()
    assert (w.status.stable_revision, w.status.undo) == ("v4", None)


def test_a_hotfix_waits_for_no_proof_but_for_pods() -> None:
    """It goes through every step in order, and says who hurried it and why."""
    w = releasing(Version("v2", judge="silent"))
    w.reach("Starting").say("hotfix", why="the till is down")
    w.settle()
    assert w.status.stable_revision == "v2"
    assert "released as a hotfix by ada (the till is down), not judged" in w.status.sentence
    weights = [a.weight for a in w.acted if isinstance(a, m.SetWeight)]
    assert weights[:3] == [0, 5, 50]


def test_a_hotfix_that_does_not_start_is_taken_back() -> None:
    """Safety is not skipped."""
    w = releasing(Version("v2", starts=False, fatal=True))
    w.say("hotfix")
    w.settle()
    assert w.status.stable_revision == "v1"
    assert set(w.failed) == {"v2"}


def test_skip_goes_to_the_next_step_at_once_and_once() -> None:
    """The same annotation again skips nothing more; the last step is not skipped."""
    w = releasing(Version("v2", judge="silent")).reach("Progressing").seconds(2)
    w.say("skip", step="smoke")
    w.reach("Progressing", step=1)
    w.seconds(5)
    w.say("skip", step="smoke")
    w.turn()
    assert "it was said for step smoke, and the step at hand is half" in w.told("CommandRefused")[-1]
    w.tick()
    w.say("skip")
    w.turn()
    assert "half is the last step; linnet promote checkout" in w.told("CommandRefused")[-1]
    assert w.phase == "Progressing"


def test_a_pipeline_drives_the_weights_itself() -> None:
    """set-weight holds within the step, a named step can be gone to, and only a person or a proof promotes."""
    w = releasing(Version("v2", judge="silent"), spec=paused_step()).reach("Progressing").seconds(2)
    for weight in (10, 40, 20):
        w.say("set-weight", weight=weight)
        w.seconds(5)
        assert (w.weight, w.phase) == (weight, "Progressing")
    w.say("step", step="50%")
    w.seconds(5)
    assert (w.weight, w.status.rollout and w.status.rollout.step) == (50, 2)
    w.tick()
    w.say("step", step="smoke")
    w.turn()
    assert "step smoke is not ahead of 50%" in w.told("CommandRefused")[-1]
    w.tick()
    w.say("set-weight", weight=101)
    w.turn()
    assert "whole number from 0 to 100" in w.told("CommandRefused")[-1]
    w.say("promote", why="the pipeline is green")
    w.settle()
    assert "by a person's decision by ada (the pipeline is green)" in w.status.sentence


def test_a_verb_carries_all_that_was_said() -> None:
    """The reason comes last and may have any characters."""
    found = parse("step@7f9c#by=ada;until=2026-01-02T03:04:05Z;step=half;weight=7;to=v1;n=1;why=because; a=b #1")
    assert found is not None
    assert (found.verb, found.revision, found.by, found.step, found.weight, found.to) == ("step", "7f9c", "ada", "half", 7, "v1")
    assert found.why == "because; a=b #1"
    expired = parse("abort@v2#until=tomorrow")
    assert expired is not None
    assert expired.expires == 0.0
