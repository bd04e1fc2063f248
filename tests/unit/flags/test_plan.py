"""What comes before what, as tables: the order is the promise (P3), so it is written out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Desired, FlagRef, Gate
from flags.plan import PATIENCE, Action, Answering, Driven, Flag, Pods, Stage, Weight, Zero, back, forward, promote, walk

A, B, C = FlagRef(key="a", source="s"), FlagRef(key="b", source="t"), FlagRef(key="c", source="t")


def at(percent: int, *, gate: bool = True) -> Desired:
    return Desired(percent=percent, gate=Gate() if gate else None)


def attempts(stages: tuple[Stage, ...], elapsed: float) -> list[Action]:
    """What is attempted after so many seconds in which nothing ever succeeded."""
    found: list[Action] = []

    def attempt(action: Action) -> bool:
        found.append(action)
        return False

    walk(stages, attempt, elapsed=elapsed)
    return found


def order(stages: tuple[Stage, ...]) -> list[str]:
    """One line for each stage, actions that run together joined by `+`."""
    lines = []
    for stage in stages:
        words = []
        for action in stage.actions:
            what = type(action).__name__.lower()
            flag, desired = getattr(action, "flag", None), getattr(action, "desired", None)
            number = desired.percent if desired else getattr(action, "weight", None)
            gate = "" if desired is None or desired.gate else "!"
            words.append("".join([what, f" {flag.key}" if flag else "", "" if number is None else f" {number}", gate]))
        lines.append(" + ".join(words))
    return lines


@pytest.mark.parametrize(
    ("weight", "flags", "expected"),
    [
        (5, [], ["capacity 5", "weight 5", "settled 5"]),
        (
            5,
            [Driven(flag=A, then=at(100))],
            ["capacity 5", "weight 5", "answering a", "flag a 100", "seen a 100", "settled 5"],
        ),
        (50, [Driven(flag=A, now=at(50), then=at(50))], ["capacity 50", "weight 50", "flag a 50", "seen a 50", "settled 50"]),
        (50, [Driven(flag=A, now=at(50))], ["capacity 50", "weight 50", "settled 50"]),
        (
            25,
            [Driven(flag=A, now=at(10), then=at(50)), Driven(flag=B, mode="Aligned", then=at(25))],
            ["capacity 25", "weight 25", "answering a + answering b", "flag a 50 + flag b 25", "seen a 50 + seen b 25", "settled 25"],
        ),
        (
            25,
            [Driven(flag=A, now=at(50), then=at(10)), Driven(flag=B, now=at(10), then=at(25))],
            [
                "capacity 25",
                "flag a 10",
                "weight 25",
                "answering a + answering b",
                "flag b 25",
                "seen a 10 + seen b 25",
                "settled 25",
            ],
        ),
    ],
)
def test_forward_capacity_then_weight_then_flags_then_seen_then_settled(weight: int, flags: list[Driven], expected: list[str]) -> None:
    """A rising flag never precedes the code; a falling one never waits for it; samples count last."""
    assert order(forward(weight=weight, flags=flags)) == expected


GATED = Driven(flag=A, now=at(50))
ALIGNED = Driven(flag=B, mode="Aligned", now=at(50, gate=False))
INDEPENDENT = Driven(flag=B, mode="Independent", now=at(50, gate=False))
FAILING = Driven(flag=B, mode="Aligned", now=at(50, gate=False), failing=True)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["weight 0", "settled 0", "pods"]),
        ([GATED], ["weight 0 + zero a", "settled 0", "pods", "restore a"]),
        ([ALIGNED], ["zero b", "weight 0", "settled 0", "pods", "restore b"]),
        ([INDEPENDENT], ["zero b", "weight 0", "settled 0", "pods", "restore b"]),
        ([FAILING], ["weight 0 + zero b", "settled 0", "pods", "restore b"]),
        ([GATED, ALIGNED], ["zero a + zero b", "weight 0", "settled 0", "pods", "restore a + restore b"]),
        ([GATED, FAILING], ["weight 0 + zero a + zero b", "settled 0", "pods", "restore a + restore b"]),
    ],
)
def test_back_gated_at_once_and_others_flags_first(flags: list[Driven], expected: list[str]) -> None:
    """The weight waits for aligned and independent flags, at most the patience, and for a failing source not at all."""
    stages = back(flags)
    assert order(stages) == expected
    assert all(stage.until == PATIENCE for stage in stages if any(isinstance(action, Zero) for action in stage.actions))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["rolled", "weight 0", "settled 0", "pods"]),
        ([GATED], ["rolled", "flag a 50!", "seen a 50!", "weight 0", "settled 0", "pods", "release a"]),
        (
            [Driven(flag=A, now=at(50), on_promotion="Open")],
            ["rolled", "flag a 100!", "seen a 100!", "weight 0", "settled 0", "pods", "release a"],
        ),
        ([Driven(flag=A, now=at(50), on_promotion="Remove")], ["rolled", "restore a", "weight 0", "settled 0", "pods", "restore a"]),
        ([INDEPENDENT], ["rolled", "flag b 50!", "seen b 50!", "weight 0", "settled 0", "pods", "release b"]),
        ([Driven(flag=A)], ["rolled", "weight 0", "settled 0", "pods"]),
    ],
)
def test_promotion_swaps_the_gate_between_the_roll_and_the_return(flags: list[Driven], expected: list[str]) -> None:
    """Before the roll old pods would get the flag; after the canary nobody would. The end waits for what was late."""
    stages = promote(flags, patience=600.0)
    assert order(stages) == expected
    traffic = expected.index("weight 0")
    assert [stage.until for stage in stages[1:traffic]] == [600.0] * (traffic - 1)
    assert [stage.until for stage in stages[traffic:]] == [None] * (len(stages) - traffic)


FLAGS = st.lists(
    st.builds(
        Driven,
        flag=st.sampled_from([A, B, C]),
        mode=st.sampled_from(["Gated", "Aligned", "Independent"]),
        now=st.none() | st.integers(0, 100).map(at),
        then=st.none() | st.integers(0, 100).map(at),
        failing=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda flag: flag.flag.key,
)


@given(flags=FLAGS)
def test_on_the_way_back_every_flag_is_zeroed_once_and_the_weight_waits_at_most_the_patience(flags: list[Driven]) -> None:
    """P3: whatever the mix, traffic leaves the canary within one patience of the decision, for all flags together."""
    stages = back(flags)
    zeroed = [action.flag for stage in stages for action in stage.actions if isinstance(action, Zero)]
    assert sorted(flag.key for flag in zeroed) == sorted(flag.flag.key for flag in flags)
    attempted = attempts(stages, PATIENCE)
    assert any(isinstance(action, Weight) for action in attempted)
    assert not any(isinstance(action, Pods) for action in attempted), "pods do not go under weight"


@given(flags=FLAGS, weight=st.integers(0, 100))
def test_no_flag_rises_before_the_weight_is_written(flags: list[Driven], weight: int) -> None:
    """Forward, each flag of the step is written exactly once and on the right side of the weight."""
    flat = [action for stage in forward(weight=weight, flags=flags) for action in stage.actions]
    written = {action.flag: i for i, action in enumerate(flat) if isinstance(action, Flag)}
    position = next(i for i, action in enumerate(flat) if isinstance(action, Weight))
    wanted = {flag.flag: flag for flag in flags if flag.then is not None}
    assert set(written) == set(wanted)
    for ref, flag in wanted.items():
        assert flag.then is not None
        rises = flag.then.percent >= (flag.now.percent if flag.now else 0)
        assert (written[ref] > position) == rises


@given(flags=FLAGS, weight=st.integers(0, 100), silent=st.sets(st.sampled_from([A, B, C])))
def test_a_step_raises_all_of_its_flags_or_none(flags: list[Driven], weight: int, silent: set[FlagRef]) -> None:
    """While the source of one does not answer, no other is raised."""
    raised: list[FlagRef] = []
    now = {flag.flag: flag.now.percent if flag.now else 0 for flag in flags}

    def attempt(action: Action) -> bool:
        if isinstance(action, Flag) and action.desired.percent > now[action.flag]:
            raised.append(action.flag)
        return not (isinstance(action, Answering) and action.flag in silent)

    walk(forward(weight=weight, flags=flags), attempt)
    step = {flag.flag: flag for flag in flags if flag.then is not None}
    if silent & set(step):
        assert not raised
    else:
        assert set(raised) == {ref for ref, flag in step.items() if flag.then is not None and flag.then.percent > now[ref]}


def test_a_stage_whose_time_is_over_is_attempted_on() -> None:
    """What is late does not hold up what comes after it, and is never given up."""
    stages = back([ALIGNED])
    assert attempts(stages, PATIENCE - 0.1) == [Zero(flag=B)]
    assert attempts(stages, PATIENCE)[:2] == [Zero(flag=B), Weight(weight=0)]
