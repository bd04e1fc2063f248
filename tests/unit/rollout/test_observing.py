"""`mode: Observe` in the core alone: in no state, by no fact and no verb does it ask for a write, and its first word is its last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.api.canary import CanarySpec, WorkloadRef
from daemon.api.defaults import effective
from daemon.api.status import CanaryStatus
from daemon.rollout import model as m
from daemon.rollout.decide import decide

START = 1_760_000_000.0
Word = Literal["Hold", "Promote", "Rollback", "Inconclusive"]
SPEC = effective(CanarySpec(mode="Observe", workload_ref=WorkloadRef(name="web")))


@dataclass
class Roll:
    """A Deployment as its people roll it, and a judge."""

    status: CanaryStatus = field(default_factory=CanaryStatus)
    now: float = START
    pods: dict[str, int] = field(default_factory=lambda: {"v1": 3})
    template: str = "v1"
    told: list[m.Event] = field(default_factory=list)

    def turn(self, judge: Word | None = "Hold", *, after: float = 1.0, code: str = "", **seen: Any) -> Roll:
        self.now += after
        sets = tuple(m.ReplicaSetView(name=f"web-{r}", revision=r, replicas=n, available=n) for r, n in self.pods.items() if n)
        count = sum(self.pods.values())
        done = set(self.pods) == {self.template}
        workload = m.WorkloadView(revision=self.template, replicas=3, available=count, complete=done, active=sets, adopted=False)
        mine = self.pods.get(self.template, 0)
        facts: dict[str, Any] = {
            "workload": workload,
            "canary": m.CanaryView(revision=self.template, replicas=mine, available=mine),
            "judge": m.JudgeView(action=judge, code=code, text="looked") if judge and self.status.rollout else None,
        }
        decision = decide(SPEC, self.status, m.Observed(**{**facts, **seen}), self.now, name="web")
        assert decision.actions == ()
        self.status = decision.status
        self.told += decision.events
        return self

    def roll(self, **pods: int) -> Roll:
        self.pods = {k: v for k, v in pods.items() if v}
        return self

    def push(self, template: str) -> Roll:
        self.template = template
        return self

    @property
    def outcomes(self) -> list[str]:
        return [h.outcome for h in self.status.history]


def rolling() -> Roll:
    """v1 serves, v2 comes beside it."""
    found = Roll().turn()
    assert found.status.stable_revision == "v1"
    return found.push("v2").roll(v1=3, v2=1).turn().turn()


@pytest.mark.parametrize(
    ("judge", "outcome", "stable"),
    [("Rollback", "WouldRollBack", "v1"), ("Promote", "WouldPromote", "v2"), ("Inconclusive", "WouldAsk", "v2")],
)
def test_the_judges_word_becomes_what_would_have_been_done(judge: Word, outcome: str, stable: str) -> None:
    """Once: whatever the judge says later of the same revision is not told."""
    roll = rolling().turn(judge)
    assert roll.status.verdict is not None and roll.status.verdict.reason == outcome
    for later in ("Promote", "Rollback", "Hold"):
        roll.turn(later)
    assert roll.outcomes == [outcome]
    assert roll.status.stable_revision == stable
    assert [e.reason for e in roll.told].count("Observed") == 1
    assert roll.roll(v2=3).turn().turn().outcomes == [outcome]


def test_pods_that_do_not_start_need_no_metrics() -> None:
    """The kubelet's own words are the reason."""
    words = "pod web-v2-x, container main: CrashLoopBackOff: back-off"
    roll = rolling().turn(None, canary=m.CanaryView(revision="v2", replicas=1, available=0, failing=words, fatal=True))
    assert roll.status.verdict is not None and roll.status.verdict.result == "Fail"
    assert words in roll.status.sentence


def test_a_roll_that_ends_before_a_proof_is_too_short_to_tell_and_never_called_fine() -> None:
    """P4: no harm seen is not a proof."""
    roll = rolling().roll(v2=3).turn()
    assert roll.status.rollout is not None, "the time before may still say something"
    for _ in range(10):
        roll.turn(code="NoControl", after=15)
    assert roll.outcomes == ["TooShort"]
    assert "too short to tell" in roll.status.sentence
    assert roll.status.verdict is not None and roll.status.verdict.result == "Inconclusive"


def test_after_the_last_old_pod_what_is_counted_belongs_to_no_comparison_side_by_side() -> None:
    """The exposure says so, from which the judge knows to compare with the time before."""
    rollout = rolling().roll(v2=3).turn().status.rollout
    assert rollout is not None
    assert [e.weight for e in rollout.exposures] == [50, 100]


def test_a_newer_template_begins_anew_beside_what_serves() -> None:
    """P4: no evidence of two revisions is mixed; the history says that nothing was proven."""
    roll = rolling().push("v3").roll(v1=1, v2=2, v3=1).turn().turn().turn()
    assert roll.outcomes == ["Superseded"]
    rollout = roll.status.rollout
    assert rollout is not None and rollout.observed is not None
    assert (rollout.revision, rollout.observed.baseline, rollout.observed.old) == ("v3", "v1", ["web-v1"])


def test_people_who_go_back_are_noted_and_the_bad_version_is_watched_again() -> None:
    """A revert is no update to judge; the same bad template later is."""
    roll = rolling().turn("Rollback").turn().roll(v2=3).turn()
    roll.push("v1").roll(v1=1, v2=2).turn(after=60).roll(v1=3).turn()
    assert roll.status.rollout is None
    assert "Taken back by its people after 1 min" in roll.status.history[0].sentence
    roll.push("v2").roll(v1=3, v2=1).turn().turn("Rollback").turn()
    assert roll.outcomes == ["WouldRollBack", "WouldRollBack"]


def test_a_wait_for_a_word_ends_at_the_deadline() -> None:
    """P6: a roll that neither ends nor proves anything."""
    roll = rolling()
    assert roll.status.waiting is not None and roll.status.waiting.until
    assert roll.turn(after=3700).turn().outcomes == ["WouldAsk"]


def test_a_verb_is_refused_once_with_what_would_help() -> None:
    """An observed update is not Linnet's to promote or abort."""
    command = m.Command(verb="abort", revision="v2", raw="abort@v2")
    roll = rolling().turn(command=command).turn(command=command)
    assert [e.message for e in roll.told if e.reason == "CommandRefused"] == [
        "abort of v2 does nothing: web is only observed (spec.mode: Observe); kubectl rollout undo takes an update back"
    ]


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "problems": st.just((m.Problem(reason="MetricSourceMissing", message="none", unhold=True),)),
        "strays": st.just(("web-canary-v0",)),
        "floor_written": st.just(True),
        "routes": st.just((m.RouteView(kind="HTTPRoute", name="web", weight=20),)),
        "flags": st.just((m.FlagView(name="new", key="new", source="s", percent=10),)),
        "command": st.sampled_from(
            [m.Command(verb=v, revision="v2", raw=f"{v}@v2") for v in ("promote", "abort", "override", "kill", "undo")]
        ),
    },
)
PODS = st.fixed_dictionaries({"v1": st.integers(0, 3), "v2": st.integers(0, 3), "v3": st.integers(0, 3)})


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(PODS, st.sampled_from(["v1", "v2", "v3"]), st.sampled_from(["Hold", "Promote", "Rollback", None]), FACTS), max_size=8
    )
)
def test_whatever_is_seen_nothing_is_written(moves: list[tuple[dict[str, int], str, Any, dict[str, Any]]]) -> None:
    """`turn` asserts it of every pass; the status can be stored after each."""
    roll = Roll()
    for pods, template, judge, facts in moves:
        roll.push(template).roll(**pods).turn(judge, after=200, **facts)
        assert msgspec.convert(msgspec.to_builtins(roll.status), CanaryStatus) == roll.status
        assert roll.status.phase == "Observing"


def test_a_deployment_without_pods_or_without_itself_is_waited_for() -> None:
    """Said once, with the way out."""
    roll = Roll().turn(workload=None)
    assert roll.status.waiting is not None and roll.status.waiting.reason == "WorkloadMissing"
    assert [e.reason for e in roll.turn(workload=None).told] == ["Refused"]
    assert Roll(pods={}).turn().status.waiting is not None
