"""Gates: nothing goes on past a closed one, an open one is on record, and each has an end."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.api.canary import Step
from daemon.api.gates import ReleaseGate, StepGate, Webhook
from daemon.api.sources import SecretRef
from daemon.rollout import model as m
from tests.unit.rollout.world import Version, World
from tests.unit.rollout.worlds import DWELL, releasing

HOOK = Webhook(url="https://gates.example/x", signing_key_secret_ref=SecretRef(name="gates", key="key"))
POINTS = ("Start", "FirstStep", "EachStep", "Promotion")


def gated(at: str, **more: Any) -> dict[str, Any]:
    gate: Any = {"name": "qa", "at": at, "webhook": HOOK, "timeout": "30m", **more}
    return {"gates": [ReleaseGate(**gate)]}


def stepped(**more: Any) -> dict[str, Any]:
    gate: Any = {"webhook": HOOK, "timeout": "30m", **more}
    steps = [Step(name="smoke", weight=5, dwell=DWELL), Step(name="qa", gate=StepGate(**gate)), Step(weight=50, dwell=DWELL)]
    return {"steps": steps}


def waiting(changes: dict[str, Any], version: Version | None = None) -> World:
    w = releasing(version, spec=changes)
    w.run(lambda w: w.status.waiting is not None and w.status.waiting.reason == "Gate")
    return w


def asked(w: World) -> list[str]:
    assert w.status.rollout is not None
    return [g.name for g in w.status.rollout.gates if g.state == "Waiting"]


def answer(w: World, **permit: Any) -> None:
    """Of every gate that is waited for."""
    w.permits = tuple(m.Permit(source="Gate", gate=name, **permit) for name in asked(w))


@pytest.mark.parametrize("at", POINTS)
def test_nothing_goes_on_while_a_gate_is_closed(at: str) -> None:
    """What it says is shown with its deadline and the way out; the weight does not move, and before the first step there is none."""
    w = waiting(gated(at))
    before = (w.weight, w.status.step)
    answer(w, advance=False, why="gates.example keeps it closed: not before the demo")
    w.seconds(600)
    assert (w.weight, w.status.step) == before
    assert bool(w.weight) == (at in ("EachStep", "Promotion"))
    found = w.status.waiting
    assert found is not None
    assert found.message == "gate qa: gates.example keeps it closed: not before the demo"
    assert found.until is not None
    assert "abort" in found.way_out
    assert (not w.canaries) == (at == "Start")


@pytest.mark.parametrize("changes", [*(gated(at) for at in POINTS), stepped()], ids=[*POINTS, "Step"])
def test_an_open_gate_is_on_record_and_the_release_goes_on(changes: dict[str, Any]) -> None:
    """Also where its receiver says no more: each gate is opened once, and one between steps is asked anew before each."""
    w = waiting(changes)
    answer(w, why="gates.example agreed: fine")
    w.turn()
    assert w.status.rollout is not None
    assert [(g.state, g.text) for g in w.status.rollout.gates] == [("Open", "gates.example agreed: fine")]
    assert "is open: gates.example agreed: fine" in " ".join(w.told("Resumed"))
    w.permits = ()
    w.settle()
    assert w.status.stable_revision == "v2"


@pytest.mark.parametrize(("on_timeout", "stable"), [(None, "v1"), ("Rollback", "v1"), ("Promote", "v2")])
@pytest.mark.parametrize("at", [*POINTS, "Step"])
def test_a_gate_that_stays_closed_ends_as_its_owner_wrote(at: str, on_timeout: str | None, stable: str) -> None:
    """Rolled back with what it waited for, or on with it."""
    w = waiting(stepped(on_timeout=on_timeout) if at == "Step" else gated(at, on_timeout=on_timeout))
    answer(w, advance=False, why="closed")
    w.settle()
    assert w.status.stable_revision == stable
    if stable == "v1":
        assert w.status.verdict is not None
        assert w.status.verdict.reason == "GateTimeout"
        assert "closed, for too long" in w.status.sentence


def test_an_answer_is_of_its_own_gate() -> None:
    """That of another gate, or of the same one before another step, opens nothing."""
    w = waiting(gated("EachStep"))
    w.permits = (m.Permit(source="Gate", gate="qa/7"), m.Permit(source="Gate", gate="other"))
    w.seconds(300)
    assert asked(w) == ["qa/0"]


def test_a_gate_of_a_job_that_failed_ends_the_release() -> None:
    """By its permit alone."""
    w = waiting(gated("FirstStep"))
    answer(w, advance=False, must_abort=True, why="gate qa: Job checkout-1 ended with exit code 1: no such table")
    w.settle()
    assert w.status.stable_revision == "v1"
    assert "exit code 1: no such table" in w.status.sentence


def test_a_person_steps_over_a_gate() -> None:
    """By skip, as `wayOut` says."""
    w = waiting(stepped())
    assert w.status.waiting is not None
    assert "linnet skip|abort checkout" in w.status.waiting.way_out
    w.say("skip")
    w.settle()
    assert w.status.stable_revision == "v2"


def test_harm_ends_the_exposure_while_a_gate_is_waited_for() -> None:
    """A gate shuts the way on, and never the way back."""
    w = waiting(stepped())
    w.permits = (m.Permit(source="Gate", gate="brake", must_abort=True, why="gate brake: gates.example agreed"),)
    w.settle()
    assert w.status.stable_revision == "v1"
