"""The health check and the actions for Argo CD, run in a Lua interpreter on a Canary of every phase."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, get_args

import msgspec
import pytest

from daemon.api.conditions import conditions
from daemon.api.status import CanaryStatus, Phase, RolloutStatus, VerdictStatus
from daemon.rollout import commands
from tests.argocd import ArgoCd

PHASES: tuple[Phase, ...] = get_args(Phase)
UNDER_WAY = {"Starting", "Progressing", "Promoting", "RollingBack", "Settling", "Pending", "Deleting"}
OFFERED = {
    "Starting": {"promote", "abort"},
    "Progressing": {"promote", "abort", "pause", "resume"},
    "Paused": {"promote", "abort", "resume"},
    "Inconclusive": {"promote", "abort", "pause"},
    "Promoting": {"abort"},
    "Settling": {"abort"},
    "Held": {"retry"},
}


@pytest.fixture(scope="module")
def argo() -> ArgoCd:
    return ArgoCd()


def canary(phase: Phase, verdict: str = "") -> dict[str, Any]:
    """A Canary in this phase, with the conditions that the daemon writes."""
    judged = VerdictStatus(result=verdict, revision="7f9c") if verdict else None  # type: ignore[arg-type]
    told = conditions([], phase=phase, verdict=judged, sentence=f"it is {phase}", generation=3, revision="7f9c", now="2026-01-01T00:00:00Z")
    rollout = (
        RolloutStatus(revision="7f9c", started_at="2026-01-01T00:00:00Z")
        if phase in commands.IN_STEPS or phase in ("Promoting", "Settling")
        else None
    )
    status = CanaryStatus(observed_generation=3, phase=phase, observed_revision="7f9c", conditions=told, rollout=rollout)
    return {"kind": "Canary", "metadata": {"name": "shop", "generation": 3}, "spec": {}, "status": msgspec.to_builtins(status)}


@pytest.mark.parametrize("phase", PHASES)
def test_the_health_of_a_phase_is_what_its_conditions_say(argo: ArgoCd, phase: Phase) -> None:
    """Suspended where a person may have to act, Progressing under way, Degraded where nothing moves by itself."""
    status, message = argo.health(canary(phase))
    wanted = (
        "Progressing"
        if phase in UNDER_WAY
        else {"Idle": "Healthy", "Observing": "Healthy", "Paused": "Suspended", "Inconclusive": "Suspended"}.get(phase)
    )
    assert status == (wanted or "Degraded")
    assert phase in message


def test_a_rollback_is_degraded_and_says_the_sentence(argo: ArgoCd) -> None:
    """Idle again, and yet not what Git asked for."""
    assert argo.health(canary("Idle", "Fail")) == ("Degraded", "it is Idle")
    assert argo.health(canary("Idle", "Pass"))[0] == "Healthy"


def test_a_canary_that_linnet_has_not_looked_at_is_no_old_success(argo: ArgoCd) -> None:
    """A new object, and one whose spec changed after the last look, are Progressing."""
    fresh = canary("Idle", "Pass")
    fresh["metadata"]["generation"] = 4
    assert argo.health(fresh)[0] == "Progressing"
    assert argo.health({"kind": "Canary", "metadata": {"name": "shop", "generation": 1}, "spec": {}})[0] == "Progressing"


@pytest.mark.parametrize("phase", PHASES)
def test_only_verbs_that_the_phase_knows_are_offered(argo: ArgoCd, phase: Phase) -> None:
    """The buttons follow what the daemon would carry out."""
    assert argo.offered(canary(phase)) == OFFERED.get(phase, set())


@pytest.mark.parametrize("verb", sorted(ArgoCd().verbs))
def test_a_button_says_its_verb_to_the_revision_at_hand(argo: ArgoCd, verb: str) -> None:
    """As the daemon reads it: bound to the revision, by Argo CD, and gone in ten minutes."""
    phase: Phase = "Held" if verb == "retry" else "Progressing"
    before = canary(phase)
    after = argo.press(verb, before)
    text = str(after["metadata"]["annotations"]["linnet.dev/action"])
    command = commands.parse(text)
    assert command is not None
    assert (command.verb, command.revision) == (verb, "7f9c")
    tail = dict(part.split("=", 1) for part in text.partition("#")[2].split(";"))
    assert tail["by"] == "argocd"
    assert 0 < datetime.fromisoformat(tail["until"]).timestamp() - time.time() <= 601
    assert len(text) <= commands.REMEMBERED
    assert after["status"]["phase"] == before["status"]["phase"]


def test_a_button_on_a_canary_without_a_revision_is_an_error(argo: ArgoCd) -> None:
    """Nothing is written that no release could have meant."""
    with pytest.raises(Exception, match="no revision is known yet"):
        argo.press("abort", {"kind": "Canary", "metadata": {"name": "shop"}})
